//! What is known of each origin: its waiting jobs and its limits.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use crate::limits::{CheckedLimits, Rate};
use crate::origin::Origin;

/// Names an origin for as long as it holds jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OriginId(usize);

impl OriginId {
    /// Small: the origins are numbered.
    pub(super) fn number(self) -> usize {
        self.0
    }

    #[cfg(test)]
    pub(super) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

pub(super) struct OriginState<J> {
    pub(super) waiting: VecDeque<J>,
    /// Jobs that are to be tried again, now: before those that wait.
    pub(super) again: VecDeque<J>,
    pub(super) in_flight: usize,
    /// Jobs that wait, are in flight, or are to be tried again.
    pub(super) held: usize,
    pub(super) place: Place,
    pub(super) rate: Option<Rate>,
    pub(super) cool_until: Option<Instant>,
    most_in_flight: Option<usize>,
}

/// Where an origin stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    InLine,
    /// Among the timers.
    NotYet,
}

pub(super) struct Origins<J> {
    states: Vec<OriginState<J>>,
    ids: HashMap<Origin, OriginId>,
    /// Places that were cleared.
    vacant: Vec<OriginId>,
    limits: Option<CheckedLimits>,
    /// At how many origins to clear those that are at rest, so that a crawl of the whole web stays small.
    clear_at: usize,
}

/// The jobs that have no origin.
pub(super) const NO_ORIGIN: OriginId = OriginId(0);

/// Fewer than this are not worth clearing.
const FEW: usize = 1024;

impl<J> Origins<J> {
    pub(super) fn new(limits: Option<CheckedLimits>) -> Self {
        Self {
            states: vec![OriginState::new(None, None)],
            ids: HashMap::new(),
            vacant: Vec::new(),
            limits,
            clear_at: FEW,
        }
    }

    /// The name of an origin. `forget` is told each time that an origin is given a name that another one had.
    pub(super) fn id_of(
        &mut self,
        origin: Option<Origin>,
        now: Instant,
        forget: impl FnOnce(OriginId),
    ) -> OriginId {
        let Some(origin) = origin else {
            return NO_ORIGIN;
        };
        if let Some(id) = self.ids.get(&origin) {
            return *id;
        }
        if self.ids.len() >= self.clear_at {
            self.clear(now);
        }
        let state = OriginState::new(Some(&origin), self.limits.as_ref());
        let id = match self.vacant.pop() {
            Some(id) => {
                *self.get_mut(id) = state;
                forget(id);
                id
            }
            None => {
                self.states.push(state);
                OriginId(self.states.len() - 1)
            }
        };
        self.ids.insert(origin, id);
        id
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "ids are only made here, and their places stay"
    )]
    pub(super) fn get(&self, id: OriginId) -> &OriginState<J> {
        &self.states[id.0]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "ids are only made here, and their places stay"
    )]
    pub(super) fn get_mut(&mut self, id: OriginId) -> &mut OriginState<J> {
        &mut self.states[id.0]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Takes out all waiting jobs.
    pub(super) fn drain(&mut self) -> Vec<J> {
        let mut jobs = Vec::new();
        for state in &mut self.states {
            let before = jobs.len();
            jobs.extend(state.again.drain(..).chain(state.waiting.drain(..)));
            state.held = state.held.saturating_sub(jobs.len() - before);
            state.place = Place::Nowhere;
        }
        jobs
    }

    /// Forgets the origins that would be the same if they came anew.
    fn clear(&mut self, now: Instant) {
        let (states, vacant) = (&mut self.states, &mut self.vacant);
        self.ids.retain(|_, id| {
            let is_at_rest = states.get(id.0).is_none_or(|state| state.is_at_rest(now));
            if is_at_rest {
                vacant.push(*id);
            }
            !is_at_rest
        });
        self.clear_at = FEW.max(2 * self.ids.len());
    }
}

impl<J> OriginState<J> {
    fn new(origin: Option<&Origin>, limits: Option<&CheckedLimits>) -> Self {
        let limits = match (origin, limits) {
            (Some(origin), Some(limits)) => limits.of(origin),
            _ => Default::default(),
        };
        Self {
            waiting: VecDeque::new(),
            again: VecDeque::new(),
            in_flight: 0,
            held: 0,
            place: Place::Nowhere,
            rate: limits.rate(),
            cool_until: None,
            most_in_flight: limits.in_flight,
        }
    }

    pub(super) fn next_job(&mut self) -> Option<J> {
        self.again.pop_front().or_else(|| self.waiting.pop_front())
    }

    pub(super) fn has_jobs(&self) -> bool {
        !(self.again.is_empty() && self.waiting.is_empty())
    }

    pub(super) fn is_full(&self) -> bool {
        self.most_in_flight
            .is_some_and(|most| self.in_flight >= most)
    }

    /// From when on a job may be sent; `None` for now.
    pub(super) fn not_before(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate.as_ref().and_then(Rate::ready_at);
        rate.max(self.cool_until).filter(|at| *at > now)
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.held == 0
            && self.place == Place::Nowhere
            && self.rate.as_ref().is_none_or(|rate| rate.is_at_rest(now))
            && self.cool_until.is_none_or(|until| until <= now)
    }
}
