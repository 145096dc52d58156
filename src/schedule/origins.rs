//! The origins a schedule knows: the waiting jobs, jobs in flight and limits of each.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::sharing::Share;
use crate::limits::{CheckedLimits, RateLimiter};
use crate::origin::Origin;

/// Identifies an origin as long as it has outstanding jobs; afterwards another origin may get the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OriginKey(usize);

impl OriginKey {
    /// Of the jobs without an origin.
    pub(crate) const NONE: Self = Self(0);

    /// Keys are consecutive numbers.
    pub(super) fn number(self) -> usize {
        self.0
    }

    #[cfg(test)]
    pub(super) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

/// The jobs and the limits of one origin.
pub(super) struct OriginQueue<J> {
    pub(super) waiting: VecDeque<J>,
    /// Jobs whose retry is due: they go before those that wait.
    pub(super) retries: VecDeque<J>,
    pub(super) in_flight: usize,
    /// Jobs that wait, are in flight, or have a pending retry.
    pub(super) outstanding: usize,
    pub(super) state: OriginState,
    pub(super) rate: Option<RateLimiter>,
    cool_until: Option<Instant>,
    max_in_flight: Option<usize>,
    /// If its limits are shared: instead of its own rate and in-flight limit.
    pub(super) share: Option<Box<Share>>,
}

/// When the next job of an origin may go.
pub(super) enum Turn {
    Now,
    At(Instant),
    /// When something changes.
    Later,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OriginState {
    Idle,
    /// In the fair queue.
    Ready,
    /// Has a timer.
    Delayed,
}

pub(super) struct Origins<J> {
    queues: Vec<OriginQueue<J>>,
    keys: HashMap<Origin, OriginKey>,
    /// Keys whose origins were evicted.
    vacant: Vec<OriginKey>,
    limits: Option<CheckedLimits>,
    /// The number of origins at which idle ones are evicted, so that a crawl of the whole web needs little memory.
    evict_at: usize,
}

/// Evicting from fewer origins than this would save nothing.
const MIN_EVICT_AT: usize = 1024;

impl<J> Origins<J> {
    pub(super) fn new(limits: Option<CheckedLimits>) -> Self {
        Self {
            queues: vec![OriginQueue::new(None, None)],
            keys: HashMap::new(),
            vacant: Vec::new(),
            limits,
            evict_at: MIN_EVICT_AT,
        }
    }

    /// The key of an origin. Calls `forget` if it was another origin's before.
    pub(super) fn key_of(
        &mut self,
        origin: Option<Origin>,
        now: Instant,
        forget: impl FnOnce(OriginKey),
    ) -> OriginKey {
        let Some(origin) = origin else {
            return OriginKey::NONE;
        };
        if let Some(key) = self.keys.get(&origin) {
            return *key;
        }
        if self.keys.len() >= self.evict_at {
            self.evict_idle(now);
        }
        let queue = OriginQueue::new(Some(&origin), self.limits.as_ref());
        let key = match self.vacant.pop() {
            Some(key) => {
                *self.get_mut(key) = queue;
                forget(key);
                key
            }
            None => {
                self.queues.push(queue);
                OriginKey(self.queues.len() - 1)
            }
        };
        self.keys.insert(origin, key);
        key
    }

    /// The key of an origin that has one.
    pub(super) fn find(&self, origin: &Origin) -> Option<OriginKey> {
        self.keys.get(origin).copied()
    }

    /// All origins, those included that were evicted and are as new.
    pub(super) fn all(&self) -> impl Iterator<Item = &OriginQueue<J>> {
        self.queues.iter()
    }

    /// The keys of all origins.
    pub(super) fn known(&self) -> Vec<OriginKey> {
        self.keys.values().copied().collect()
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "keys are made only here, and queues are never removed"
    )]
    pub(super) fn get(&self, key: OriginKey) -> &OriginQueue<J> {
        &self.queues[key.0]
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "keys are made only here, and queues are never removed"
    )]
    pub(super) fn get_mut(&mut self, key: OriginKey) -> &mut OriginQueue<J> {
        &mut self.queues[key.0]
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// Removes all waiting jobs.
    pub(super) fn drain(&mut self) -> Vec<J> {
        let mut jobs = Vec::new();
        for queue in &mut self.queues {
            let before = jobs.len();
            jobs.extend(queue.retries.drain(..).chain(queue.waiting.drain(..)));
            queue.outstanding = queue.outstanding.saturating_sub(jobs.len() - before);
            queue.state = OriginState::Idle;
        }
        jobs
    }

    /// Evicts the origins whose state is that of a new one.
    fn evict_idle(&mut self, now: Instant) {
        let (queues, vacant) = (&mut self.queues, &mut self.vacant);
        self.keys.retain(|_, key| {
            let is_as_new = queues.get(key.0).is_none_or(|queue| queue.is_as_new(now));
            if is_as_new {
                vacant.push(*key);
            }
            !is_as_new
        });
        self.evict_at = MIN_EVICT_AT.max(2 * self.keys.len());
    }
}

impl<J> OriginQueue<J> {
    fn new(origin: Option<&Origin>, limits: Option<&CheckedLimits>) -> Self {
        let (limits, share) = match (origin, limits) {
            (Some(origin), Some(limits)) if limits.server.is_some() => {
                let shared = limits.for_origin(origin);
                let share = Share::new(Some(origin.clone()), shared.rate, shared.in_flight);
                (Default::default(), Some(Box::new(share)))
            }
            (Some(origin), Some(limits)) => (limits.for_origin(origin), None),
            _ => Default::default(),
        };
        Self {
            waiting: VecDeque::new(),
            retries: VecDeque::new(),
            in_flight: 0,
            outstanding: 0,
            state: OriginState::Idle,
            rate: limits.rate_limiter(),
            cool_until: None,
            max_in_flight: limits.in_flight,
            share,
        }
    }

    pub(super) fn pop(&mut self) -> Option<J> {
        self.retries
            .pop_front()
            .or_else(|| self.waiting.pop_front())
    }

    /// A job that was in flight is not any more.
    pub(super) fn end_one(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(share) = &mut self.share {
            share.free_place();
        }
    }

    /// Starts no job before this time.
    pub(super) fn pause(&mut self, until: Instant) {
        self.cool_until = self.cool_until.max(Some(until));
    }

    pub(super) fn has_jobs(&self) -> bool {
        !(self.retries.is_empty() && self.waiting.is_empty())
    }

    /// How many jobs could start if the limits allow it.
    pub(super) fn startable(&self, now: Instant) -> usize {
        if self.cool_until.is_some_and(|until| until > now) {
            return 0;
        }
        self.retries.len() + self.waiting.len()
    }

    /// When the limits and the cool-down allow the next job.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        if self.max_in_flight.is_some_and(|max| self.in_flight >= max) {
            return Turn::Later;
        }
        let shared = self
            .share
            .as_ref()
            .map(|share| share.turn(now, self.in_flight));
        let slot = match shared {
            // What is given out is asked for when the cool-down is over.
            Some(Turn::Later) => {
                let cool_until = self.cool_until.filter(|until| *until > now);
                return cool_until.map_or(Turn::Later, Turn::At);
            }
            Some(Turn::At(at)) => Some(at),
            Some(Turn::Now) | None => None,
        };
        let rate = self.rate.as_ref().and_then(RateLimiter::ready_at);
        match rate.max(self.cool_until).max(slot) {
            Some(at) if at > now => Turn::At(at),
            _ => Turn::Now,
        }
    }

    fn is_as_new(&self, now: Instant) -> bool {
        self.outstanding == 0
            && self.state == OriginState::Idle
            && self.rate.as_ref().is_none_or(|rate| rate.is_idle(now))
            && self.cool_until.is_none_or(|until| until <= now)
            && self.share.as_ref().is_none_or(|share| share.is_as_new())
    }
}
