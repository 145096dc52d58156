//! The jobs of a journal, as far as memory needs to know them: ids as hashes, and where in the file they are.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use slab::Slab;

use super::line::{DelayData, Line, Verb};
use crate::queue::{Delay, Made, QueueStats};

/// Where a line is in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) len: usize,
}

/// An id: 128 bits of hash, so that two of them being the same is out of the question.
type Key = u128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is being written.
    Submitting,
    Waiting,
    Delayed(Instant),
    Leased,
    /// Its outcome is being written.
    Recording,
    Dead(Span),
    /// It was dead, and its outcome is being written.
    Discarding(Span),
}

struct OpenJob {
    key: Key,
    submitted: Span,
    starts: u32,
    made: Option<Box<Made>>,
    stage: Stage,
}

/// A job that was taken out of the queue.
pub(super) struct TakenSlot {
    pub(super) slot: usize,
    pub(super) submitted: Span,
    pub(super) starts: u32,
    pub(super) made: Option<Made>,
}

/// A change that counts once its line is in the file.
pub(super) enum Change {
    Submit(usize, Span),
    Start(usize),
    Record(usize, Span),
    Delay(usize, Delay),
    Dead(usize, Span),
    Requeue(usize),
    Close,
}

impl Change {
    /// Whether there may be more jobs to take with it, or a time at which one is due.
    pub(super) fn may_free_jobs(&self) -> bool {
        !matches!(self, Self::Start(_) | Self::Record(..))
    }
}

pub(super) struct Jobs {
    hashers: [RandomState; 2],
    open: HashMap<Key, usize>,
    /// The ids of jobs that are done, if they are remembered.
    finished: Option<HashSet<Key>>,
    slots: Slab<OpenJob>,
    waiting: VecDeque<usize>,
    delayed: BTreeSet<(Instant, usize)>,
    recorded: usize,
    dead: BTreeSet<usize>,
    live_bytes: u64,
    is_closed: bool,
}

impl Jobs {
    pub(super) fn new(remembers_ids: bool) -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            open: HashMap::new(),
            finished: remembers_ids.then(HashSet::new),
            slots: Slab::new(),
            waiting: VecDeque::new(),
            delayed: BTreeSet::new(),
            recorded: 0,
            dead: BTreeSet::new(),
            live_bytes: 0,
            is_closed: false,
        }
    }

    fn key(&self, id: &str) -> Key {
        let [first, second] = &self.hashers;
        (u128::from(first.hash_one(id)) << 64) | u128::from(second.hash_one(id))
    }

    fn get(&mut self, slot: usize) -> Option<&mut OpenJob> {
        self.slots.get_mut(slot)
    }

    // ---- what is asked for -----------------------------------------------------------------------------------------

    /// Reserves a slot for a job, unless its id is known.
    pub(super) fn begin_submit(&mut self, id: &str) -> Option<usize> {
        self.insert(self.key(id))
    }

    fn insert(&mut self, key: Key) -> Option<usize> {
        let is_finished = self.finished.as_ref().is_some_and(|ids| ids.contains(&key));
        if is_finished || self.open.contains_key(&key) {
            return None;
        }
        let job = OpenJob {
            key,
            submitted: Span::default(),
            starts: 0,
            made: None,
            stage: Stage::Submitting,
        };
        let slot = self.slots.insert(job);
        self.open.insert(key, slot);
        Some(slot)
    }

    /// `false` if the job is not leased, since there is a record of it.
    pub(super) fn begin_record(&mut self, slot: usize) -> bool {
        let Some(job) = self.get(slot).filter(|job| job.stage == Stage::Leased) else {
            return false;
        };
        job.stage = Stage::Recording;
        true
    }

    /// The dead job with this id, and where the line is that tells of it.
    pub(super) fn dead_with_id(&self, id: &str) -> Option<(usize, Span)> {
        let slot = *self.open.get(&self.key(id))?;
        match self.slots.get(slot)?.stage {
            Stage::Dead(span) => Some((slot, span)),
            _ => None,
        }
    }

    /// Whether the line with which a job was submitted is needed still, or one that tells of its starts.
    pub(super) fn is_open(&self, id: &str, submitted: Option<Span>) -> bool {
        let slot = self.open.get(&self.key(id));
        let job = slot.and_then(|slot| self.slots.get(*slot));
        job.is_some_and(|job| submitted.is_none_or(|span| span == job.submitted))
    }

    /// The bytes of the lines that are needed still, apart from a few short ones.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The file was replaced by another one, in which the lines are elsewhere.
    pub(super) fn relocate(&mut self, place: impl Fn(Span) -> Span) {
        for (_, job) in &mut self.slots {
            job.submitted = place(job.submitted);
            if let Stage::Dead(span) | Stage::Discarding(span) = &mut job.stage {
                *span = place(*span);
            }
        }
    }

    /// `false` if the job is not dead any more.
    pub(super) fn begin_discard(&mut self, slot: usize, span: Span) -> bool {
        let Some(job) = (self.get(slot)).filter(|job| job.stage == Stage::Dead(span)) else {
            return false;
        };
        job.stage = Stage::Discarding(span);
        true
    }

    /// The lines that tell of the dead.
    pub(super) fn dead(&self) -> Vec<Span> {
        let jobs = self.dead.iter().filter_map(|slot| self.slots.get(*slot));
        jobs.filter_map(|job| match job.stage {
            Stage::Dead(span) => Some(span),
            _ => None,
        })
        .collect()
    }

    /// Leases jobs.
    pub(super) fn take(&mut self, max: usize, now: Instant) -> Vec<TakenSlot> {
        while let Some((at, slot)) = self.delayed.first().copied() {
            if at > now {
                break;
            }
            self.delayed.pop_first();
            self.set_waiting(slot);
        }
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(slot) = self.waiting.pop_front() else {
                break;
            };
            let Some(job) = self.get(slot) else {
                continue;
            };
            job.stage = Stage::Leased;
            taken.push(TakenSlot {
                slot,
                submitted: job.submitted,
                starts: job.starts,
                made: job.made.as_deref().copied(),
            });
        }
        taken
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.delayed.first().map(|(at, _)| *at)
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_closed && self.open.len() == self.dead.len()
    }

    /// Ends a lease: the job is the next one.
    pub(super) fn give_back(&mut self, slot: usize) {
        let Some(job) = self.get(slot) else {
            return;
        };
        if job.stage == Stage::Leased {
            job.stage = Stage::Waiting;
            self.waiting.push_front(slot);
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        let (waiting, delayed, dead) = (self.waiting.len(), self.delayed.len(), self.dead.len());
        QueueStats {
            waiting,
            delayed,
            leased: self.open.len().saturating_sub(waiting + delayed + dead),
            dead,
            recorded: self.recorded,
            damaged: 0,
            is_closed: self.is_closed,
        }
    }

    // ---- what has happened -----------------------------------------------------------------------------------------

    /// The line of a change is in the file.
    pub(super) fn commit(&mut self, change: Change) {
        match change {
            Change::Submit(slot, span) => {
                self.is_closed = false;
                self.live_bytes += span.len as u64;
                if let Some(job) = self.get(slot) {
                    job.submitted = span;
                }
                self.set_waiting(slot);
            }
            Change::Start(slot) => {
                if let Some(job) = self.get(slot) {
                    job.starts = job.starts.saturating_add(1);
                }
            }
            Change::Record(slot, span) => {
                self.recorded += 1;
                self.live_bytes += span.len as u64;
                self.finish(slot);
            }
            Change::Delay(slot, delay) => self.set_delayed(slot, delay),
            Change::Dead(slot, span) => {
                if let Some(job) = self.get(slot) {
                    job.stage = Stage::Dead(span);
                    self.dead.insert(slot);
                }
            }
            Change::Requeue(slot) => {
                if let Some(job) = self.get(slot) {
                    job.starts = 0;
                    job.made = None;
                }
                if self.dead.remove(&slot) {
                    self.set_waiting(slot);
                }
            }
            Change::Close => self.is_closed = true,
        }
    }

    /// The line of a change could not be written.
    pub(super) fn roll_back(&mut self, change: Change) {
        match change {
            Change::Submit(slot, _) => drop(self.remove(slot)),
            Change::Record(slot, _) => {
                if let Some(job) = self.get(slot) {
                    job.stage = match job.stage {
                        Stage::Discarding(span) => Stage::Dead(span),
                        _ => Stage::Leased,
                    };
                }
            }
            Change::Dead(slot, _) => self.give_back(slot),
            Change::Start(_) | Change::Delay(..) | Change::Requeue(_) | Change::Close => {}
        }
    }

    /// Takes in a line of a file that is being opened. Fails with what is wrong with it.
    pub(super) fn replay(&mut self, line: &Line<'_>, span: Span) -> Result<(), String> {
        if line.verb == Verb::Close {
            self.commit(Change::Close);
            return Ok(());
        }
        let key = self.key(&line.id);
        if line.verb == Verb::Submit {
            // A second one with the same id, of a file that was put together by hand.
            let slot = self.insert(key);
            let slot = slot.ok_or_else(|| format!("`{}` was submitted before", line.id))?;
            self.commit(Change::Submit(slot, span));
            return Ok(());
        }
        let Some(slot) = self.open.get(&key).copied() else {
            // Compaction has removed the line that it was submitted with, since there is a record of it.
            if line.verb == Verb::Record {
                self.recorded += 1;
                self.live_bytes += span.len as u64;
                if let Some(finished) = &mut self.finished {
                    finished.insert(key);
                }
            }
            return Ok(());
        };
        let change = match line.verb {
            Verb::Start => Change::Start(slot),
            Verb::Record => Change::Record(slot, span),
            Verb::Delay => {
                let data = serde_json::from_slice::<DelayData>(line.payload);
                let data = data.map_err(|error| error.to_string())?;
                Change::Delay(slot, data.into_delay())
            }
            Verb::Dead => Change::Dead(slot, span),
            Verb::Requeue => Change::Requeue(slot),
            Verb::Submit | Verb::Close => return Ok(()),
        };
        self.commit(change);
        Ok(())
    }

    /// After the last line of a file: puts the jobs in the order in which they were submitted, and gives back the memory of
    /// those that are done.
    pub(super) fn end_replay(&mut self) {
        let open = std::mem::take(&mut self.slots).into_iter();
        let mut open: Vec<OpenJob> = open.map(|(_, job)| job).collect();
        open.sort_unstable_by_key(|job| job.submitted.at);
        self.waiting = VecDeque::new();
        self.delayed.clear();
        self.dead.clear();
        self.open = HashMap::with_capacity(open.len());
        self.slots = Slab::with_capacity(open.len());
        for job in open {
            let (key, stage) = (job.key, job.stage);
            let slot = self.slots.insert(job);
            self.open.insert(key, slot);
            match stage {
                Stage::Delayed(until) => drop(self.delayed.insert((until, slot))),
                Stage::Dead(_) => drop(self.dead.insert(slot)),
                _ => self.waiting.push_back(slot),
            }
        }
    }

    fn set_waiting(&mut self, slot: usize) {
        if let Some(job) = self.get(slot) {
            job.stage = Stage::Waiting;
            self.waiting.push_back(slot);
        }
    }

    fn set_delayed(&mut self, slot: usize, delay: Delay) {
        let now = Instant::now();
        // A time that the clock cannot express is far away.
        let far = now + std::time::Duration::from_secs(1 << 31);
        let until = now.checked_add(delay.time).unwrap_or(far);
        if let Some(job) = self.get(slot) {
            // The attempt before has ended as it should, and the next one is decided on.
            job.starts = 0;
            job.made = Some(Box::new(delay.made));
            job.stage = Stage::Delayed(until);
            self.delayed.insert((until, slot));
        }
    }

    fn finish(&mut self, slot: usize) {
        if let Some(job) = self.remove(slot) {
            let submitted = job.submitted.len as u64;
            self.live_bytes = self.live_bytes.saturating_sub(submitted);
            if let Some(finished) = &mut self.finished {
                finished.insert(job.key);
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Option<OpenJob> {
        let job = self.slots.try_remove(slot)?;
        self.open.remove(&job.key);
        self.dead.remove(&slot);
        Some(job)
    }
}
