//! Fairness among the origins that are ready: a round-robin queue, with affinity and work stealing.
//!
//! Round robin: an origin goes once, then to the end of the queue.
//!
//! With affinity, a worker stays with an origin for a streak, and each worker has a queue beside the shared one: an origin
//! that has gone before is queued at the worker that served it, which has a warm connection to it. After a streak, a worker
//! takes the oldest entry of its own queue, the shared one, and those of workers that are held up by a long job. If these
//! are empty, it steals from the back of the longest other queue, where the owner would come last, an origin that no worker
//! is serving: a cold connection is better than an idle worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::origins::OriginKey;

/// The maximum number of consecutive jobs a worker takes from one origin while other origins are ready. Long enough that an
/// origin with a hundred jobs does not leave a few of them for workers without a connection to it.
const MAX_STREAK: usize = 64;

/// The maximum time of a streak: where responses take long, a few jobs make up for a new connection as well.
const MAX_STREAK_TIME: Duration = Duration::from_millis(50);

/// How long a worker can be busy with one job until other workers serve its queue.
const HELD_UP_AFTER: Duration = Duration::from_secs(1);

pub(super) struct FairQueue {
    affinity: bool,
    shared: RunQueue,
    workers: Vec<WorkerQueue>,
    /// By the number of the origin.
    slots: Vec<Slot>,
    /// The number of queued origins.
    len: usize,
    next_generation: Generation,
}

/// Tells a queue entry from outdated ones of the same origin. Counts up with each entry.
type Generation = u64;

/// A FIFO queue with lazy deletion.
#[derive(Default)]
struct RunQueue {
    entries: VecDeque<(OriginKey, Generation)>,
    /// The number of entries that are not outdated.
    len: usize,
}

#[derive(Default)]
struct WorkerQueue {
    queue: RunQueue,
    streak: Option<Streak>,
    /// When the worker last asked for a job.
    seen_at: Option<Instant>,
}

/// The position of an origin.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// `None` if the origin is not queued. Entries of other generations are outdated.
    generation: Option<Generation>,
    /// The worker whose queue it is in, or was in; `None` is the shared one.
    home: Option<usize>,
}

/// The consecutive jobs of one origin that a worker has taken.
#[derive(Clone, Copy)]
struct Streak {
    origin: OriginKey,
    length: usize,
    started_at: Instant,
}

impl FairQueue {
    pub(super) fn new(affinity: bool) -> Self {
        Self {
            affinity,
            shared: RunQueue::default(),
            workers: Vec::new(),
            slots: Vec::new(),
            len: 0,
            next_generation: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The origins that are queued, in no particular order.
    pub(super) fn origins(&self) -> impl Iterator<Item = OriginKey> {
        let own = self.workers.iter().map(|worker| &worker.queue);
        let entries = std::iter::once(&self.shared).chain(own);
        let entries = entries.flat_map(|queue| &queue.entries);
        let current = entries.filter(|entry| is_current(&self.slots, **entry));
        current.map(|(origin, _)| *origin)
    }

    /// Enqueues an origin that is not queued.
    pub(super) fn push(&mut self, origin: OriginKey) {
        self.next_generation += 1;
        self.len += 1;
        let generation = self.next_generation;
        let slot = self.slots.grown_to(origin.number());
        slot.generation = Some(generation);
        let queue = match slot.home {
            Some(worker) => &mut self.workers.grown_to(worker).queue,
            None => &mut self.shared,
        };
        queue.len += 1;
        queue.entries.push_back((origin, generation));
        queue.compact(&self.slots);
    }

    /// Dequeues the origin that this worker is to serve next.
    pub(super) fn pop(&mut self, now: Instant, worker: usize) -> Option<OriginKey> {
        let origin = if self.affinity {
            self.workers.grown_to(worker).seen_at = Some(now);
            match self.streak_origin(now, worker) {
                Some(origin) => origin,
                None => self.next_origin(now, worker)?,
            }
        } else {
            self.shared.front(&self.slots)?.0
        };
        let slot = self.slots.grown_to(origin.number());
        slot.generation = None;
        let home = slot.home;
        self.len -= 1;
        match home {
            Some(home) => self.workers.grown_to(home).queue.len -= 1,
            None => self.shared.len -= 1,
        }
        if self.affinity {
            self.slots.grown_to(origin.number()).home = Some(worker);
            let streak = &mut self.workers.grown_to(worker).streak;
            *streak = Some(match *streak {
                Some(streak) if streak.origin == origin => Streak {
                    length: streak.length + 1,
                    ..streak
                },
                _ => Streak {
                    origin,
                    length: 1,
                    started_at: now,
                },
            });
        }
        Some(origin)
    }

    /// Forgets which worker served an origin, since another origin reuses its key.
    pub(super) fn forget(&mut self, origin: OriginKey) {
        *self.slots.grown_to(origin.number()) = Slot::default();
        for worker in &mut self.workers {
            worker.streak = worker.streak.filter(|streak| streak.origin != origin);
        }
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.shared = RunQueue::default();
        for worker in &mut self.workers {
            worker.queue = RunQueue::default();
        }
        for slot in &mut self.slots {
            slot.generation = None;
        }
    }

    /// The origin of the worker's streak, if that goes on.
    fn streak_origin(&mut self, now: Instant, worker: usize) -> Option<OriginKey> {
        let streak = self.workers.grown_to(worker).streak?;
        let slot = self.slots.grown_to(streak.origin.number());
        let is_queued = slot.generation.is_some();
        let goes_on = streak.length < MAX_STREAK && now < streak.started_at + MAX_STREAK_TIME;
        (is_queued && goes_on).then_some(streak.origin)
    }

    fn next_origin(&mut self, now: Instant, worker: usize) -> Option<OriginKey> {
        let slots = &self.slots;
        let mut oldest = self.shared.front(slots);
        for (number, other) in self.workers.iter_mut().enumerate() {
            let is_open = number == worker || other.is_held_up(now);
            if is_open && other.queue.len > 0 {
                oldest = older(oldest, other.queue.front(slots));
            }
        }
        // The next origin starts a streak, even if it is the same one.
        self.workers.grown_to(worker).streak = None;
        match oldest {
            Some((origin, _)) => Some(origin),
            None => self.steal(),
        }
    }

    /// The last origin of the longest queue that no worker is serving.
    fn steal(&mut self) -> Option<OriginKey> {
        let served: Vec<OriginKey> = self
            .workers
            .iter()
            .filter_map(|worker| Some(worker.streak?.origin))
            .collect();
        let queues = self.workers.iter_mut().map(|worker| &mut worker.queue);
        let longest = queues.max_by_key(|queue| queue.len)?;
        longest.last_except(&served, &self.slots)
    }
}

impl WorkerQueue {
    fn is_held_up(&self, now: Instant) -> bool {
        self.seen_at.is_none_or(|at| now >= at + HELD_UP_AFTER)
    }
}

impl RunQueue {
    /// The first entry. Removes the outdated ones before it.
    fn front(&mut self, slots: &[Slot]) -> Option<(OriginKey, Generation)> {
        while let Some(entry) = self.entries.front().copied() {
            if is_current(slots, entry) {
                return Some(entry);
            }
            self.entries.pop_front();
        }
        None
    }

    /// The last origin that is not one of these, or the last of these if there is no other.
    fn last_except(&mut self, these: &[OriginKey], slots: &[Slot]) -> Option<OriginKey> {
        let mut passed = Vec::new();
        let mut found = None;
        // Each entry that is popped is either outdated, and gone for good, or one of these few.
        while let Some(entry) = self.entries.pop_back() {
            if !is_current(slots, entry) {
                continue;
            }
            passed.push(entry);
            if !these.contains(&entry.0) {
                found = Some(entry.0);
                break;
            }
        }
        let last = passed.first().map(|(origin, _)| *origin);
        self.entries.extend(passed.into_iter().rev());
        found.or(last)
    }

    /// Removes the outdated entries when they are the majority.
    fn compact(&mut self, slots: &[Slot]) {
        if self.entries.len() > 2 * self.len + 8 {
            self.entries.retain(|entry| is_current(slots, *entry));
        }
    }
}

fn is_current(slots: &[Slot], (origin, generation): (OriginKey, Generation)) -> bool {
    slots
        .get(origin.number())
        .is_some_and(|slot| slot.generation == Some(generation))
}

fn older(
    one: Option<(OriginKey, Generation)>,
    other: Option<(OriginKey, Generation)>,
) -> Option<(OriginKey, Generation)> {
    one.into_iter()
        .chain(other)
        .min_by_key(|(_, generation)| *generation)
}

/// A vector with an entry for each number, made when it is first needed.
trait GrowOnAccess<T> {
    fn grown_to(&mut self, number: usize) -> &mut T;
}

impl<T: Default> GrowOnAccess<T> for Vec<T> {
    #[expect(
        clippy::indexing_slicing,
        reason = "the vector was just grown to this length"
    )]
    fn grown_to(&mut self, number: usize) -> &mut T {
        if number >= self.len() {
            self.resize_with(number + 1, T::default);
        }
        &mut self[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<OriginKey> {
        (1..=count).map(OriginKey::numbered).collect()
    }

    /// Lets workers take turns, with each served origin enqueued again, and records which worker served which origin.
    fn served(queue: &mut FairQueue, workers: usize, times: usize) -> Vec<(usize, OriginKey)> {
        let mut served = Vec::new();
        for turn in 0..times {
            let worker = turn % workers;
            let origin = queue
                .pop(Instant::now(), worker)
                .expect("all are enqueued again");
            queue.push(origin);
            served.push((worker, origin));
        }
        served
    }

    #[test]
    fn without_affinity_it_is_round_robin() {
        let mut queue = FairQueue::new(false);
        let origins = keys(3);
        origins.iter().for_each(|origin| queue.push(*origin));
        let order: Vec<OriginKey> = served(&mut queue, 2, 9)
            .into_iter()
            .map(|(_, origin)| origin)
            .collect();
        assert_eq!(order, [&origins[..], &origins, &origins].concat());
    }

    #[test]
    fn an_origin_is_popped_only_while_it_is_queued() {
        for affinity in [false, true] {
            let mut queue = FairQueue::new(affinity);
            assert_eq!(queue.pop(Instant::now(), 0), None);
            let origin = keys(1)[0];
            queue.push(origin);
            assert!(!queue.is_empty());
            assert_eq!(queue.pop(Instant::now(), 1), Some(origin));
            assert!(queue.is_empty());
            assert_eq!(queue.pop(Instant::now(), 1), None);
            queue.push(origin);
            queue.clear();
            assert_eq!(queue.pop(Instant::now(), 1), None);
        }
    }

    #[test]
    fn with_affinity_each_origin_stays_with_one_worker() {
        let mut queue = FairQueue::new(true);
        let origins = keys(12);
        origins.iter().for_each(|origin| queue.push(*origin));
        let served = served(&mut queue, 3, 12 * MAX_STREAK * 10);
        for origin in &origins {
            let mut workers: Vec<usize> = served
                .iter()
                .filter(|(_, other)| other == origin)
                .map(|(worker, _)| *worker)
                .collect();
            assert!(workers.len() >= 5 * MAX_STREAK, "{origin:?} is not starved");
            workers.dedup();
            assert_eq!(workers.len(), 1, "{origin:?}");
        }
        for worker in 0..3 {
            let own: Vec<OriginKey> = served
                .iter()
                .filter(|(other, _)| *other == worker)
                .map(|(_, origin)| *origin)
                .collect();
            for streak in own.chunk_by(|one, other| one == other) {
                assert!(streak.len() <= MAX_STREAK);
            }
        }
    }

    #[test]
    fn no_worker_idles_while_an_origin_is_queued() {
        let mut queue = FairQueue::new(true);
        let origins = keys(2);
        origins.iter().for_each(|origin| queue.push(*origin));
        // The first worker serves both and has both in its queue.
        for _ in 0..3 * MAX_STREAK {
            let origin = queue.pop(Instant::now(), 0).expect("an origin is queued");
            queue.push(origin);
        }
        assert!(queue.pop(Instant::now(), 1).is_some());
        assert!(queue.pop(Instant::now(), 2).is_some());
        assert_eq!(queue.pop(Instant::now(), 3), None);
    }

    #[test]
    fn an_origin_whose_worker_is_held_up_is_served_by_another() {
        let start = Instant::now();
        let mut queue = FairQueue::new(true);
        let origins = keys(3);
        queue.push(origins[0]);
        queue.push(origins[1]);
        // The first worker has served both, and does not come back.
        for _ in 0..=MAX_STREAK {
            let origin = queue.pop(start, 0).expect("an origin is queued");
            queue.push(origin);
        }
        queue.push(origins[2]);
        let mut served_by_second = |at: Instant| -> Vec<OriginKey> {
            let served = (0..4 * MAX_STREAK).map(|_| {
                let origin = queue.pop(at, 1).expect("an origin is queued");
                queue.push(origin);
                origin
            });
            served.collect()
        };
        let served = served_by_second(start + HELD_UP_AFTER / 2);
        assert!(
            served.iter().all(|origin| *origin == origins[2]),
            "its own queue goes first"
        );
        let served = served_by_second(start + HELD_UP_AFTER);
        assert!(served.contains(&origins[0]) && served.contains(&origins[1]));
    }

    #[test]
    fn a_streak_is_bounded_by_time() {
        let start = Instant::now();
        let mut queue = FairQueue::new(true);
        let origins = keys(2);
        origins.iter().for_each(|origin| queue.push(*origin));
        let mut serve = |at: Instant| {
            let origin = queue.pop(at, 0).expect("an origin is queued");
            queue.push(origin);
            origin
        };
        assert_eq!(serve(start), origins[0]);
        assert_eq!(serve(start + MAX_STREAK_TIME / 2), origins[0]);
        assert_eq!(serve(start + MAX_STREAK_TIME), origins[1]);
        assert_eq!(serve(start + MAX_STREAK_TIME * 3 / 2), origins[1]);
        assert_eq!(serve(start + MAX_STREAK_TIME * 2), origins[0]);
    }

    #[test]
    fn many_origins_with_a_job_each_are_served_in_no_time() {
        let mut queue = FairQueue::new(true);
        let origins = keys(200_000);
        let now = Instant::now();
        // All of them are at home with the first worker.
        for origin in &origins {
            queue.push(*origin);
            assert_eq!(queue.pop(now, 0), Some(*origin));
        }
        origins.iter().for_each(|origin| queue.push(*origin));
        let served = std::iter::from_fn(|| queue.pop(now, 1)).count();
        assert_eq!(served, origins.len());
    }

    #[test]
    fn outdated_entries_do_not_pile_up() {
        let mut queue = FairQueue::new(true);
        let origins = keys(5);
        origins.iter().for_each(|origin| queue.push(*origin));
        served(&mut queue, 2, 10_000);
        let own = queue
            .workers
            .iter()
            .map(|worker| worker.queue.entries.len());
        let entries = queue.shared.entries.len() + own.sum::<usize>();
        assert!(entries < 100, "{entries}");
    }
}
