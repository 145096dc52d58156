//! Who goes next, and when: plain data that knows no threads and no clock.
//!
//! Each job waits with its origin. Each origin that has waiting jobs stands in one of three places:
//!
//! ```text
//! ready        its next job may go now: it stands in line for its turn            (fairness)
//! not yet      by its rate or its cool-down, its next job may go at a known time  (timers)
//! full         as many of its jobs as may be are in flight: `finished` moves it on
//! ```
//!
//! A job that is to be tried again later waits among the timers, and then, before the others, with its origin. Jobs without
//! an origin, those that cannot be sent anywhere, go first and count for no limit.

mod fairness;
mod origins;
mod timers;

use std::time::Instant;

use self::fairness::Turns;
pub(crate) use self::origins::OriginId;
use self::origins::{NO_ORIGIN, Origins, Place};
use self::timers::{Due, Timers};
use crate::limits::{CheckedLimits, Rate};
use crate::origin::Origin;

/// What a worker is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<J> {
    Run(J, OriginId),
    /// Nothing may go before this moment.
    WaitUntil(Instant),
    /// Nothing may go before something changes.
    Wait,
}

pub(crate) struct Schedule<J> {
    origins: Origins<J>,
    turns: Turns,
    timers: Timers<J>,
    /// The account of the whole pool.
    rate: Option<Rate>,
    /// How many jobs wait.
    waiting: usize,
}

impl<J> Schedule<J> {
    pub(crate) fn new(limits: Option<CheckedLimits>, affinity: bool) -> Self {
        Self {
            rate: limits.as_ref().and_then(CheckedLimits::rate),
            origins: Origins::new(limits),
            turns: Turns::new(affinity),
            timers: Timers::default(),
            waiting: 0,
        }
    }

    /// Takes in a job. What cannot be sent anywhere has no origin, and no limits.
    pub(crate) fn admit(&mut self, job: J, origin: Option<Origin>, now: Instant) {
        let Self { origins, turns, .. } = self;
        let id = origins.id_of(origin, now, |id| turns.forget(id));
        let state = self.origins.get_mut(id);
        state.waiting.push_back(job);
        state.held += 1;
        self.waiting += 1;
        self.settle(id, now);
    }

    /// What the worker is to do now.
    pub(crate) fn next(&mut self, now: Instant, worker: usize) -> Turn<J> {
        self.release(now);
        if let Some(job) = self.origins.get_mut(NO_ORIGIN).next_job() {
            self.waiting -= 1;
            return Turn::Run(job, NO_ORIGIN);
        }
        match self.next_at(now) {
            Some(at) if at > now => return Turn::WaitUntil(at),
            Some(_) => {}
            None => return Turn::Wait,
        }
        while let Some(id) = self.turns.next(now, worker) {
            // It may have become limited since it was put in line.
            if self.settle_in_line(id, now) {
                return self.run(id, now);
            }
        }
        self.next_at(now).map_or(Turn::Wait, Turn::WaitUntil)
    }

    /// A job of this origin that was in flight is over.
    pub(crate) fn finished(&mut self, id: OriginId, now: Instant) {
        let state = self.origins.get_mut(id);
        state.in_flight = state.in_flight.saturating_sub(1);
        state.held = state.held.saturating_sub(1);
        self.settle(id, now);
    }

    /// A job of this origin that was in flight is to be tried again.
    pub(crate) fn postpone(&mut self, job: J, id: OriginId, now: Instant, until: Instant) {
        self.waiting += 1;
        self.timers.push(until, Due::Job(job, id));
        let state = self.origins.get_mut(id);
        state.in_flight = state.in_flight.saturating_sub(1);
        self.settle(id, now);
    }

    /// Counts one more attempt of a job that is in flight.
    pub(crate) fn count_attempt(&mut self, id: OriginId, now: Instant) {
        if id == NO_ORIGIN {
            return;
        }
        let rates = [&mut self.origins.get_mut(id).rate, &mut self.rate];
        for rate in rates.into_iter().flatten() {
            rate.take(now);
        }
    }

    /// Sends nothing to this origin before then.
    pub(crate) fn cool_down(&mut self, id: OriginId, until: Instant) {
        let state = self.origins.get_mut(id);
        state.cool_until = Some(state.cool_until.map_or(until, |other| other.max(until)));
    }

    /// When the next one may go, as far as can be told; `None` if that depends on others.
    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.origins.get(NO_ORIGIN).has_jobs() {
            return Some(now);
        }
        if !self.turns.any() {
            return self.timers.earliest();
        }
        let rate = self.rate.as_ref().and_then(Rate::ready_at);
        Some(rate.map_or(now, |at| at.max(now)))
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes out all that wait.
    pub(crate) fn drain(&mut self) -> Vec<J> {
        self.waiting = 0;
        self.turns.clear();
        let mut jobs = self.origins.drain();
        for (job, id) in self.timers.drain() {
            let state = self.origins.get_mut(id);
            state.held = state.held.saturating_sub(1);
            jobs.push(job);
        }
        jobs
    }

    /// Moves on what was waiting for its time.
    fn release(&mut self, now: Instant) {
        while let Some(due) = self.timers.pop_due(now) {
            match due {
                Due::Job(job, id) => {
                    self.origins.get_mut(id).again.push_back(job);
                    self.settle(id, now);
                }
                Due::Origin(id) => {
                    self.origins.get_mut(id).place = Place::Nowhere;
                    self.settle(id, now);
                }
            }
        }
    }

    fn run(&mut self, id: OriginId, now: Instant) -> Turn<J> {
        let state = self.origins.get_mut(id);
        let Some(job) = state.next_job() else {
            return Turn::Wait;
        };
        state.in_flight += 1;
        self.waiting -= 1;
        self.count_attempt(id, now);
        self.settle(id, now);
        Turn::Run(job, id)
    }

    /// Puts an origin that stands nowhere to where it belongs now.
    fn settle(&mut self, id: OriginId, now: Instant) {
        let state = self.origins.get_mut(id);
        let has_none = id == NO_ORIGIN;
        if has_none || state.place != Place::Nowhere || !state.has_jobs() || state.is_full() {
            return;
        }
        match state.not_before(now) {
            None => {
                state.place = Place::InLine;
                self.turns.push(id);
            }
            Some(at) => {
                state.place = Place::NotYet;
                self.timers.push(at, Due::Origin(id));
            }
        }
    }

    /// Takes an origin out of line. `false` if it is not its turn after all; then it is put to where it belongs.
    fn settle_in_line(&mut self, id: OriginId, now: Instant) -> bool {
        let state = self.origins.get_mut(id);
        state.place = Place::Nowhere;
        let may_go = state.has_jobs() && !state.is_full() && state.not_before(now).is_none();
        if !may_go {
            self.settle(id, now);
        }
        may_go
    }
}

#[cfg(test)]
mod tests;
