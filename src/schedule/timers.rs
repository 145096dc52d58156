//! The timer queue: pending retries, and origins that may not be sent to yet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::origins::OriginKey;

pub(super) enum TimerEvent<J> {
    Retry(J, OriginKey),
    OriginReady(OriginKey),
    /// The server of shared limits may be asked again.
    Ask(OriginKey),
}

pub(super) struct TimerQueue<J> {
    heap: BinaryHeap<Reverse<Timer<J>>>,
    /// Keeps timers of the same time in the order in which they were set.
    next_number: u64,
}

struct Timer<J> {
    at: Instant,
    number: u64,
    event: TimerEvent<J>,
}

impl<J> Default for TimerQueue<J> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next_number: 0,
        }
    }
}

impl<J> TimerQueue<J> {
    pub(super) fn push(&mut self, at: Instant, event: TimerEvent<J>) {
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Reverse(Timer { at, number, event }));
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<TimerEvent<J>> {
        if self.earliest()? > now {
            return None;
        }
        let Reverse(timer) = self.heap.pop()?;
        Some(timer.event)
    }

    /// Removes all timers; yields the jobs with pending retries.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (J, OriginKey)> + use<J> {
        let timers = std::mem::take(&mut self.heap).into_iter();
        timers.filter_map(|Reverse(timer)| match timer.event {
            TimerEvent::Retry(job, key) => Some((job, key)),
            TimerEvent::OriginReady(_) | TimerEvent::Ask(_) => None,
        })
    }
}

impl<J> Timer<J> {
    fn key(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl<J> Ord for Timer<J> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<J> PartialOrd for Timer<J> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<J> PartialEq for Timer<J> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<J> Eq for Timer<J> {}
