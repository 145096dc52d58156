//! Whose turn it is among the origins that may be sent to.
//!
//! Round robin: an origin has its turn, then goes to the end of the line.
//!
//! With affinity, a worker stays with an origin for a run of turns, and there is a line for each worker beside the common
//! one: an origin that has had a turn stands in the line of the worker that served it, which has a warm connection to it.
//! After a run, a worker serves who has stood longest in its own line, in the common one, or in that of a worker which is
//! held up by a job. With these empty, it takes the last one of the longest other line who is not being served, whom that
//! worker would come to last: a cold connection is better than an idle worker.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::origins::OriginId;

/// Most turns in a row of one origin at one worker, while others stand in line: long enough that an origin with a hundred
/// jobs is not left with a few of them, for others to take over.
const LONGEST_RUN: usize = 64;

/// The longest time of such a run: where answers take long, a run of few turns makes up for a new connection as well.
const LONGEST_RUN_TIME: Duration = Duration::from_millis(50);

/// How long a worker may be at one job until others serve its line.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Turns {
    affinity: bool,
    common: Line,
    workers: Vec<Worker>,
    /// By origin.
    standings: Vec<Standing>,
    /// How many origins stand in line.
    standing: usize,
    tickets: u64,
}

/// Counts up with each place in a line that is taken.
type Ticket = u64;

#[derive(Default)]
struct Line {
    places: VecDeque<(OriginId, Ticket)>,
    /// How many of the places are not left.
    standing: usize,
}

#[derive(Default)]
struct Worker {
    line: Line,
    run: Option<Run>,
    /// When it asked for its last turn.
    seen_at: Option<Instant>,
}

#[derive(Clone, Copy, Default)]
struct Standing {
    /// `None` if it stands in no line. Places with another ticket are those that it has left out of turn.
    ticket: Option<Ticket>,
    /// Whose line it stands in, or would stand in; `None` is the common one.
    home: Option<usize>,
}

#[derive(Clone, Copy)]
struct Run {
    origin: OriginId,
    length: usize,
    began_at: Instant,
}

impl Turns {
    pub(super) fn new(affinity: bool) -> Self {
        Self {
            affinity,
            common: Line::default(),
            workers: Vec::new(),
            standings: Vec::new(),
            standing: 0,
            tickets: 0,
        }
    }

    /// Whether an origin stands in line.
    pub(super) fn any(&self) -> bool {
        self.standing > 0
    }

    /// Puts an origin that stands in no line at the end of one.
    pub(super) fn push(&mut self, origin: OriginId) {
        self.tickets += 1;
        self.standing += 1;
        let ticket = self.tickets;
        let standing = self.standings.at(origin.number());
        standing.ticket = Some(ticket);
        let line = match standing.home {
            Some(worker) => &mut self.workers.at(worker).line,
            None => &mut self.common,
        };
        line.standing += 1;
        line.places.push_back((origin, ticket));
        line.clear_up(&self.standings);
    }

    /// Takes the origin whose turn it is at this worker out of its line.
    pub(super) fn next(&mut self, now: Instant, worker: usize) -> Option<OriginId> {
        let origin = match self.affinity {
            false => self.common.front(&self.standings)?.0,
            true => {
                self.workers.at(worker).seen_at = Some(now);
                self.of_run(now, worker)
                    .or_else(|| self.after_run(now, worker))?
            }
        };
        let standing = self.standings.at(origin.number());
        standing.ticket = None;
        let home = standing.home;
        self.standing -= 1;
        match home {
            Some(home) => self.workers.at(home).line.standing -= 1,
            None => self.common.standing -= 1,
        }
        if self.affinity {
            self.standings.at(origin.number()).home = Some(worker);
            let run = &mut self.workers.at(worker).run;
            *run = Some(match *run {
                Some(run) if run.origin == origin => Run {
                    length: run.length + 1,
                    ..run
                },
                _ => Run {
                    origin,
                    length: 1,
                    began_at: now,
                },
            });
        }
        Some(origin)
    }

    /// Forgets who was served by whom, since another origin takes this number.
    pub(super) fn forget(&mut self, origin: OriginId) {
        *self.standings.at(origin.number()) = Standing::default();
        for worker in &mut self.workers {
            worker.run = worker.run.filter(|run| run.origin != origin);
        }
    }

    pub(super) fn clear(&mut self) {
        self.standing = 0;
        self.common = Line::default();
        for worker in &mut self.workers {
            worker.line = Line::default();
        }
        for standing in &mut self.standings {
            standing.ticket = None;
        }
    }

    fn of_run(&mut self, now: Instant, worker: usize) -> Option<OriginId> {
        let run = self.workers.at(worker).run?;
        let stands = self.standings.at(run.origin.number()).ticket.is_some();
        let goes_on = run.length < LONGEST_RUN && now < run.began_at + LONGEST_RUN_TIME;
        (stands && goes_on).then_some(run.origin)
    }

    fn after_run(&mut self, now: Instant, worker: usize) -> Option<OriginId> {
        let standings = &self.standings;
        let mut oldest = self.common.front(standings);
        for (number, other) in self.workers.iter_mut().enumerate() {
            let is_open = number == worker || other.is_held_up(now);
            if is_open && other.line.standing > 0 {
                oldest = older(oldest, other.line.front(standings));
            }
        }
        // Whoever comes next begins a run, be it the same origin again.
        self.workers.at(worker).run = None;
        match oldest {
            Some((origin, _)) => Some(origin),
            None => self.last_of_longest(),
        }
    }

    fn last_of_longest(&mut self) -> Option<OriginId> {
        let served: Vec<OriginId> = self
            .workers
            .iter()
            .filter_map(|worker| Some(worker.run?.origin))
            .collect();
        let lines = self.workers.iter_mut().map(|worker| &mut worker.line);
        let longest = lines.max_by_key(|line| line.standing)?;
        longest.last_but(&served, &self.standings)
    }
}

impl Worker {
    fn is_held_up(&self, now: Instant) -> bool {
        self.seen_at.is_none_or(|at| now >= at + PATIENCE)
    }
}

impl Line {
    /// The first who still stands here. Clears away the places before.
    fn front(&mut self, standings: &[Standing]) -> Option<(OriginId, Ticket)> {
        while let Some(place) = self.places.front().copied() {
            if is_taken(standings, place) {
                return Some(place);
            }
            self.places.pop_front();
        }
        None
    }

    /// The last who still stands here and is none of these; if there are no others, the last one of these.
    fn last_but(&mut self, these: &[OriginId], standings: &[Standing]) -> Option<OriginId> {
        let mut passed = Vec::new();
        let mut found = None;
        // Each place is either gone for good then, or one of these few.
        while let Some(place) = self.places.pop_back() {
            if !is_taken(standings, place) {
                continue;
            }
            passed.push(place);
            if !these.contains(&place.0) {
                found = Some(place.0);
                break;
            }
        }
        let last = passed.first().map(|(origin, _)| *origin);
        self.places.extend(passed.into_iter().rev());
        found.or(last)
    }

    /// Keeps the places that were left from being more than the others.
    fn clear_up(&mut self, standings: &[Standing]) {
        if self.places.len() > 2 * self.standing + 8 {
            self.places.retain(|place| is_taken(standings, *place));
        }
    }
}

fn is_taken(standings: &[Standing], (origin, ticket): (OriginId, Ticket)) -> bool {
    standings
        .get(origin.number())
        .is_some_and(|standing| standing.ticket == Some(ticket))
}

fn older(
    one: Option<(OriginId, Ticket)>,
    other: Option<(OriginId, Ticket)>,
) -> Option<(OriginId, Ticket)> {
    one.into_iter()
        .chain(other)
        .min_by_key(|(_, ticket)| *ticket)
}

/// A list that has an entry for each number.
trait Grows<T> {
    fn at(&mut self, number: usize) -> &mut T;
}

impl<T: Default> Grows<T> for Vec<T> {
    #[expect(clippy::indexing_slicing, reason = "it has just grown to hold it")]
    fn at(&mut self, number: usize) -> &mut T {
        if number >= self.len() {
            self.resize_with(number + 1, T::default);
        }
        &mut self[number]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<OriginId> {
        (1..=count).map(OriginId::numbered).collect()
    }

    /// Lets workers take turns, each served origin lining up again, and notes who was served by whom.
    fn served(turns: &mut Turns, workers: usize, times: usize) -> Vec<(usize, OriginId)> {
        let mut served = Vec::new();
        for turn in 0..times {
            let worker = turn % workers;
            let origin = turns
                .next(Instant::now(), worker)
                .expect("all stand in line again");
            turns.push(origin);
            served.push((worker, origin));
        }
        served
    }

    #[test]
    fn without_affinity_it_is_round_robin() {
        let mut turns = Turns::new(false);
        let origins = ids(3);
        origins.iter().for_each(|origin| turns.push(*origin));
        let order: Vec<OriginId> = served(&mut turns, 2, 9)
            .into_iter()
            .map(|(_, origin)| origin)
            .collect();
        assert_eq!(order, [&origins[..], &origins, &origins].concat());
    }

    #[test]
    fn who_is_not_in_line_has_no_turn() {
        for affinity in [false, true] {
            let mut turns = Turns::new(affinity);
            assert_eq!(turns.next(Instant::now(), 0), None);
            let origin = ids(1)[0];
            turns.push(origin);
            assert!(turns.any());
            assert_eq!(turns.next(Instant::now(), 1), Some(origin));
            assert!(!turns.any());
            assert_eq!(turns.next(Instant::now(), 1), None);
            turns.push(origin);
            turns.clear();
            assert_eq!(turns.next(Instant::now(), 1), None);
        }
    }

    #[test]
    fn with_affinity_each_origin_stays_with_one_worker() {
        let mut turns = Turns::new(true);
        let origins = ids(12);
        origins.iter().for_each(|origin| turns.push(*origin));
        let served = served(&mut turns, 3, 12 * LONGEST_RUN * 10);
        for origin in &origins {
            let mut workers: Vec<usize> = served
                .iter()
                .filter(|(_, other)| other == origin)
                .map(|(worker, _)| *worker)
                .collect();
            assert!(
                workers.len() >= 5 * LONGEST_RUN,
                "{origin:?} is not starved"
            );
            workers.dedup();
            assert_eq!(workers.len(), 1, "{origin:?}");
        }
        for worker in 0..3 {
            let own: Vec<OriginId> = served
                .iter()
                .filter(|(other, _)| *other == worker)
                .map(|(_, origin)| *origin)
                .collect();
            for run in own.chunk_by(|one, other| one == other) {
                assert!(run.len() <= LONGEST_RUN);
            }
        }
    }

    #[test]
    fn no_worker_idles_while_somebody_stands_in_line() {
        let mut turns = Turns::new(true);
        let origins = ids(2);
        origins.iter().for_each(|origin| turns.push(*origin));
        // The first worker serves both and has both in its line.
        for _ in 0..3 * LONGEST_RUN {
            let origin = turns
                .next(Instant::now(), 0)
                .expect("somebody stands in line");
            turns.push(origin);
        }
        assert!(turns.next(Instant::now(), 1).is_some());
        assert!(turns.next(Instant::now(), 2).is_some());
        assert_eq!(turns.next(Instant::now(), 3), None);
    }

    #[test]
    fn an_origin_whose_worker_is_held_up_is_served_by_another() {
        let start = Instant::now();
        let mut turns = Turns::new(true);
        let origins = ids(3);
        turns.push(origins[0]);
        turns.push(origins[1]);
        // The first worker has served both, and does not come back.
        for _ in 0..=LONGEST_RUN {
            let origin = turns.next(start, 0).expect("somebody stands in line");
            turns.push(origin);
        }
        turns.push(origins[2]);
        let mut served_by_second = |at: Instant| -> Vec<OriginId> {
            let turns = (0..4 * LONGEST_RUN).map(|_| {
                let origin = turns.next(at, 1).expect("somebody stands in line");
                turns.push(origin);
                origin
            });
            turns.collect()
        };
        let served = served_by_second(start + PATIENCE / 2);
        assert!(
            served.iter().all(|origin| *origin == origins[2]),
            "its own is nearer"
        );
        let served = served_by_second(start + PATIENCE);
        assert!(served.contains(&origins[0]) && served.contains(&origins[1]));
    }

    #[test]
    fn a_run_is_bounded_by_time() {
        let start = Instant::now();
        let mut turns = Turns::new(true);
        let origins = ids(2);
        origins.iter().for_each(|origin| turns.push(*origin));
        let mut serve = |at: Instant| {
            let origin = turns.next(at, 0).expect("somebody stands in line");
            turns.push(origin);
            origin
        };
        assert_eq!(serve(start), origins[0]);
        assert_eq!(serve(start + LONGEST_RUN_TIME / 2), origins[0]);
        assert_eq!(serve(start + LONGEST_RUN_TIME), origins[1]);
        assert_eq!(serve(start + LONGEST_RUN_TIME * 3 / 2), origins[1]);
        assert_eq!(serve(start + LONGEST_RUN_TIME * 2), origins[0]);
    }

    #[test]
    fn many_origins_with_a_job_each_are_served_in_no_time() {
        let mut turns = Turns::new(true);
        let origins = ids(200_000);
        let now = Instant::now();
        // All of them are at home with the first worker.
        for origin in &origins {
            turns.push(*origin);
            assert_eq!(turns.next(now, 0), Some(*origin));
        }
        origins.iter().for_each(|origin| turns.push(*origin));
        let served = std::iter::from_fn(|| turns.next(now, 1)).count();
        assert_eq!(served, origins.len());
    }

    #[test]
    fn lines_do_not_grow_with_the_number_of_turns() {
        let mut turns = Turns::new(true);
        let origins = ids(5);
        origins.iter().for_each(|origin| turns.push(*origin));
        served(&mut turns, 2, 10_000);
        let own = turns.workers.iter().map(|worker| worker.line.places.len());
        let places = turns.common.places.len() + own.sum::<usize>();
        assert!(places < 100, "{places}");
    }
}
