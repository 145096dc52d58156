//! The scheduler: which job may go next, and when. Pure data without threads or a clock.
//!
//! Each job waits in the queue of its origin. Each origin with waiting jobs is in one of three states:
//!
//! ```text
//! ready     its next job may go now: the origin is in the fair queue                   (fairness)
//! delayed   its rate limit or cool-down ends at a known time: it has a timer           (timers)
//! idle      its in-flight limit is reached (or it has no jobs): `release` reschedules it
//!           or it waits for what a server gives of limits that are shared: `give` does         (sharing)
//! ```
//!
//! A job with a pending retry has a timer of its own, and goes before the other jobs of its origin when that fires. Jobs
//! without an origin (invalid URLs, or all jobs where neither limits nor affinity need origins) are one FIFO queue that goes
//! first and is not limited.

mod fairness;
mod origins;
mod sharing;
mod timers;

use std::time::Instant;

use self::fairness::FairQueue;
pub(crate) use self::origins::OriginKey;
use self::origins::{OriginState, Origins, Turn};
use self::sharing::Sharing;
use self::timers::{TimerEvent, TimerQueue};
use crate::limits::{CheckedLimits, RateLimiter};
use crate::origin::Origin;

/// What a worker can do now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<J> {
    Run(J, OriginKey),
    /// No job may go before this time.
    WaitUntil(Instant),
    /// No job may go before something changes.
    Wait,
}

pub(crate) struct Schedule<J> {
    origins: Origins<J>,
    ready: FairQueue,
    timers: TimerQueue<J>,
    /// Limits all origins together.
    rate: Option<RateLimiter>,
    /// If the limits are shared with other pools.
    sharing: Option<Box<Sharing>>,
    /// The number of waiting jobs.
    len: usize,
}

impl<J> Schedule<J> {
    pub(crate) fn new(limits: Option<CheckedLimits>, affinity: bool) -> Self {
        let server = limits.as_ref().and_then(|limits| limits.server.as_ref());
        let sharing = (limits.as_ref().zip(server))
            .map(|(limits, server)| Box::new(Sharing::new(limits, &**server)));
        Self {
            rate: limits.as_ref().and_then(CheckedLimits::rate_limiter),
            sharing,
            origins: Origins::new(limits),
            ready: FairQueue::new(affinity),
            timers: TimerQueue::default(),
            len: 0,
        }
    }

    pub(crate) fn push(&mut self, job: J, origin: Option<Origin>, now: Instant) {
        let Self { origins, ready, .. } = self;
        let sharing = self.sharing.as_ref();
        let cool_until = sharing.and_then(|sharing| sharing.cool_until(origin.as_ref()?));
        let key = origins.key_of(origin, now, |reused| ready.forget(reused));
        let queue = self.origins.get_mut(key);
        queue.waiting.push_back(job);
        queue.outstanding += 1;
        if let Some(until) = cool_until {
            queue.pause(until);
        }
        self.len += 1;
        self.reschedule(key, now);
    }

    /// The next job for this worker, or how long to wait for it.
    pub(crate) fn next(&mut self, now: Instant, worker: usize) -> Decision<J> {
        self.fire_timers(now);
        if let Some(job) = self.origins.get_mut(OriginKey::NONE).pop() {
            self.len -= 1;
            return Decision::Run(job, OriginKey::NONE);
        }
        match self.next_at(now) {
            Some(at) if at > now => return Decision::WaitUntil(at),
            Some(_) => {}
            None => return Decision::Wait,
        }
        while let Some(key) = self.ready.pop(now, worker) {
            // The origin may have become limited since it was enqueued.
            if self.is_still_ready(key, now) {
                return self.run(key, now);
            }
        }
        self.next_at(now)
            .map_or(Decision::Wait, Decision::WaitUntil)
    }

    /// Ends a job of this origin that was in flight.
    pub(crate) fn release(&mut self, key: OriginKey, now: Instant) {
        let queue = self.origins.get_mut(key);
        queue.end_one();
        queue.outstanding = queue.outstanding.saturating_sub(1);
        self.reschedule(key, now);
    }

    /// Takes a job of this origin back that was in flight, for a retry at this time.
    pub(crate) fn delay(&mut self, job: J, key: OriginKey, now: Instant, until: Instant) {
        self.len += 1;
        self.timers.push(until, TimerEvent::Retry(job, key));
        let queue = self.origins.get_mut(key);
        queue.end_one();
        self.reschedule(key, now);
    }

    /// Counts one more attempt of a job in flight.
    pub(crate) fn count_attempt(&mut self, key: OriginKey, now: Instant) {
        let rates = [&mut self.origins.get_mut(key).rate, &mut self.rate];
        for rate in rates.into_iter().flatten() {
            rate.take(now);
        }
        if let Some(sharing) = &mut self.sharing {
            sharing.pool.take(now);
            if let Some(share) = &mut self.origins.get_mut(key).share {
                share.take(now);
            }
        }
    }

    /// Starts no job of this origin before this time.
    pub(crate) fn cool_down(&mut self, key: OriginKey, until: Instant) {
        self.origins.get_mut(key).pause(until);
        self.share_cool_down(key, until);
    }

    /// When the next job may go, as far as that is known; `None` if it depends on jobs in flight.
    pub(crate) fn next_at(&self, now: Instant) -> Option<Instant> {
        if self.origins.get(OriginKey::NONE).has_jobs() {
            return Some(now);
        }
        if self.ready.is_empty() || !self.is_complete() {
            return self.timers.earliest();
        }
        match self
            .sharing
            .as_ref()
            .map(|sharing| sharing.pool.turn(now, 0))
        {
            Some(Turn::Later) => return self.timers.earliest(),
            Some(Turn::At(at)) => return Some(at),
            Some(Turn::Now) | None => {}
        }
        let rate = self.rate.as_ref().and_then(RateLimiter::ready_at);
        Some(rate.map_or(now, |at| at.max(now)))
    }

    /// The number of waiting jobs.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Removes all waiting jobs.
    pub(crate) fn drain(&mut self) -> Vec<J> {
        self.len = 0;
        self.ready.clear();
        let mut jobs = self.origins.drain();
        for (job, key) in self.timers.drain() {
            let queue = self.origins.get_mut(key);
            queue.outstanding = queue.outstanding.saturating_sub(1);
            jobs.push(job);
        }
        jobs
    }

    fn fire_timers(&mut self, now: Instant) {
        while let Some(event) = self.timers.pop_due(now) {
            match event {
                TimerEvent::Retry(job, key) => {
                    self.origins.get_mut(key).retries.push_back(job);
                    self.reschedule(key, now);
                }
                TimerEvent::OriginReady(key) => {
                    self.origins.get_mut(key).state = OriginState::Idle;
                    self.reschedule(key, now);
                }
                TimerEvent::Ask(key) => self.list_if_needed(key, now),
            }
        }
    }

    fn run(&mut self, key: OriginKey, now: Instant) -> Decision<J> {
        let queue = self.origins.get_mut(key);
        let Some(job) = queue.pop() else {
            return Decision::Wait;
        };
        queue.in_flight += 1;
        self.len -= 1;
        self.count_attempt(key, now);
        self.reschedule(key, now);
        Decision::Run(job, key)
    }

    /// Moves an idle origin on to the fair queue or the timers, if it has a job that may go.
    fn reschedule(&mut self, key: OriginKey, now: Instant) {
        let queue = self.origins.get_mut(key);
        let is_idle = key != OriginKey::NONE && queue.state == OriginState::Idle;
        if is_idle && queue.has_jobs() && self.is_complete() {
            let queue = self.origins.get_mut(key);
            match queue.turn(now) {
                Turn::Now => {
                    queue.state = OriginState::Ready;
                    self.ready.push(key);
                }
                Turn::At(at) => {
                    queue.state = OriginState::Delayed;
                    self.timers.push(at, TimerEvent::OriginReady(key));
                }
                Turn::Later => {}
            }
        }
        self.list_if_needed(key, now);
    }

    /// Whether a job of an origin that has just left the fair queue may go. If not, the origin is rescheduled.
    fn is_still_ready(&mut self, key: OriginKey, now: Instant) -> bool {
        let queue = self.origins.get_mut(key);
        queue.state = OriginState::Idle;
        let is_ready = queue.has_jobs() && matches!(queue.turn(now), Turn::Now);
        if !is_ready {
            self.reschedule(key, now);
        }
        is_ready
    }
}

#[cfg(test)]
mod tests;
