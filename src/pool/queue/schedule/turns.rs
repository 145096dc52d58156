//! Whose turn it is among the origins that may be sent to.
//!
//! Round robin: an origin has its turn, then goes to the end of the line.
//!
//! With affinity, a worker stays with an origin for a run of turns, and there is a line for each worker beside the common
//! one: an origin that has had a turn stands in the line of the worker that served it, which has a warm connection to it.
//! After a run, a worker serves who has stood longest, in its own line or in the common one. With both empty, it takes the
//! last one of the longest other line who is not being served, whom that worker would come to last: a cold connection is better than an idle
//! worker. An origin whose own worker does not come back for it, because it is held up elsewhere, is taken by another after
//! a few rounds.

use std::collections::VecDeque;

use super::origins::OriginId;

/// Most turns in a row of one origin at one worker, while others stand in line: long enough to make new connections rare,
/// short enough that everybody's turn comes soon.
const LONGEST_RUN: usize = 64;

/// How many rounds an origin waits for its own worker, when all stand in line, before any other may take it. In a calm run,
/// each has its turn after one round.
const ROUNDS_OF_PATIENCE: usize = 2;

pub(super) struct Turns {
    affinity: bool,
    common: Line,
    own: Vec<Line>,
    /// By origin.
    standings: Vec<Standing>,
    runs: Vec<Option<Run>>,
    /// How many origins stand in line.
    standing: usize,
    tickets: usize,
}

type Line = VecDeque<(OriginId, Ticket)>;

/// Counts up with each place in a line that is taken.
type Ticket = usize;

#[derive(Clone, Copy, Default)]
struct Standing {
    /// `None` if it stands in no line. Places with another ticket are those that it has left out of turn.
    ticket: Option<Ticket>,
    home: Option<usize>,
}

#[derive(Clone, Copy)]
struct Run {
    origin: OriginId,
    length: usize,
}

impl Turns {
    pub(super) fn new(affinity: bool) -> Self {
        Self {
            affinity,
            common: Line::new(),
            own: Vec::new(),
            standings: Vec::new(),
            runs: Vec::new(),
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
        let home = standing.home;
        let longest = 2 * self.standing + 8;
        let (own, standings) = (&mut self.own, &self.standings);
        let line = match home {
            Some(worker) => own.at(worker),
            None => &mut self.common,
        };
        line.push_back((origin, ticket));
        if line.len() > longest {
            line.retain(|place| is_taken(standings, *place));
        }
    }

    /// Takes the origin whose turn it is at this worker out of its line.
    pub(super) fn next(&mut self, worker: usize) -> Option<OriginId> {
        let origin = match self.affinity {
            false => front(&mut self.common, &self.standings)?.0,
            true => self.of_run(worker).or_else(|| self.after_run(worker))?,
        };
        self.standings.at(origin.number()).ticket = None;
        self.standing -= 1;
        if self.affinity {
            self.standings.at(origin.number()).home = Some(worker);
            let run = self.runs.at(worker);
            let length = match run {
                Some(run) if run.origin == origin => run.length + 1,
                _ => 1,
            };
            *run = Some(Run { origin, length });
        }
        Some(origin)
    }

    /// Forgets who was served by whom, since another origin takes this number.
    pub(super) fn forget(&mut self, origin: OriginId) {
        *self.standings.at(origin.number()) = Standing::default();
    }

    pub(super) fn clear(&mut self) {
        self.standing = 0;
        self.common.clear();
        self.own.iter_mut().for_each(VecDeque::clear);
        for standing in &mut self.standings {
            standing.ticket = None;
        }
    }

    fn of_run(&mut self, worker: usize) -> Option<OriginId> {
        let run = (*self.runs.at(worker))?;
        let standing = self.standings.at(run.origin.number());
        (standing.ticket.is_some() && run.length < LONGEST_RUN).then_some(run.origin)
    }

    fn after_run(&mut self, worker: usize) -> Option<OriginId> {
        // Beside the worker's line is room for the others.
        self.own.at(worker);
        // Whoever comes next begins a run, be it the same origin again.
        *self.runs.at(worker) = None;
        let standings = &self.standings;
        let common = front(&mut self.common, standings);
        let mut nearest = common;
        let mut oldest = common;
        for (home, line) in self.own.iter_mut().enumerate() {
            let first = front(line, standings);
            oldest = older(oldest, first);
            if home == worker {
                nearest = older(nearest, first);
            }
        }
        let (oldest, ticket) = oldest?;
        let patience = ROUNDS_OF_PATIENCE * LONGEST_RUN * (self.standing + self.own.len());
        let is_overlooked = self.tickets - ticket > patience;
        match nearest {
            Some((nearest, _)) if !is_overlooked => Some(nearest),
            None if !is_overlooked => self.last_of_longest().or(Some(oldest)),
            _ => Some(oldest),
        }
    }

    fn last_of_longest(&self) -> Option<OriginId> {
        let left_alone = |line: &Line| -> Vec<OriginId> {
            let standing = line
                .iter()
                .filter(|place| is_taken(&self.standings, **place));
            let origins = standing.map(|(origin, _)| *origin);
            origins
                .filter(|origin| !self.is_being_served(*origin))
                .collect()
        };
        let longest = self.own.iter().map(left_alone).max_by_key(Vec::len)?;
        longest.last().copied()
    }

    fn is_being_served(&self, origin: OriginId) -> bool {
        let mut runs = self.runs.iter().flatten();
        runs.any(|run| run.origin == origin)
    }
}

/// The first who still stands in this line. Clears away the places before.
fn front(line: &mut Line, standings: &[Standing]) -> Option<(OriginId, Ticket)> {
    while let Some(place) = line.front().copied() {
        if is_taken(standings, place) {
            return Some(place);
        }
        line.pop_front();
    }
    None
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
            let origin = turns.next(worker).expect("all stand in line again");
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
            assert_eq!(turns.next(0), None);
            let origin = ids(1)[0];
            turns.push(origin);
            assert!(turns.any());
            assert_eq!(turns.next(1), Some(origin));
            assert!(!turns.any());
            assert_eq!(turns.next(1), None);
            turns.push(origin);
            turns.clear();
            assert_eq!(turns.next(1), None);
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
            let origin = turns.next(0).expect("somebody stands in line");
            turns.push(origin);
        }
        assert!(turns.next(1).is_some());
        assert!(turns.next(2).is_some());
        assert_eq!(turns.next(3), None);
    }

    #[test]
    fn an_origin_whose_worker_is_held_up_is_served_by_another() {
        let mut turns = Turns::new(true);
        let origins = ids(3);
        turns.push(origins[0]);
        turns.push(origins[1]);
        // The first worker has served both, and does not come back.
        for _ in 0..=LONGEST_RUN {
            let origin = turns.next(0).expect("somebody stands in line");
            turns.push(origin);
        }
        turns.push(origins[2]);
        let served = served_by_second(&mut turns, 5 * ROUNDS_OF_PATIENCE * LONGEST_RUN * 5);
        assert!(served.contains(&origins[0]) && served.contains(&origins[1]));
        assert_eq!(served[0], origins[2], "its own is nearer");
    }

    fn served_by_second(turns: &mut Turns, times: usize) -> Vec<OriginId> {
        (0..times)
            .map(|_| {
                let origin = turns.next(1).expect("somebody stands in line");
                turns.push(origin);
                origin
            })
            .collect()
    }

    #[test]
    fn lines_do_not_grow_with_the_number_of_turns() {
        let mut turns = Turns::new(true);
        let origins = ids(5);
        origins.iter().for_each(|origin| turns.push(*origin));
        served(&mut turns, 2, 10_000);
        let places = turns.common.len() + turns.own.iter().map(Line::len).sum::<usize>();
        assert!(places < 100, "{places}");
    }
}
