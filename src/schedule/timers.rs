//! What waits for its time: jobs to be tried again, and origins that may not be sent to yet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::origins::OriginId;

pub(super) enum Due<J> {
    Job(J, OriginId),
    Origin(OriginId),
}

pub(super) struct Timers<J> {
    heap: BinaryHeap<Reverse<Timer<J>>>,
    /// Tells timers of the same moment apart: first come, first served.
    next_number: u64,
}

struct Timer<J> {
    at: Instant,
    number: u64,
    due: Due<J>,
}

impl<J> Default for Timers<J> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            next_number: 0,
        }
    }
}

impl<J> Timers<J> {
    pub(super) fn push(&mut self, at: Instant, due: Due<J>) {
        let number = self.next_number;
        self.next_number += 1;
        self.heap.push(Reverse(Timer { at, number, due }));
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.at)
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due<J>> {
        if self.earliest()? > now {
            return None;
        }
        let Reverse(timer) = self.heap.pop()?;
        Some(timer.due)
    }

    /// Takes out all jobs.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (J, OriginId)> + use<J> {
        let all = std::mem::take(&mut self.heap).into_iter();
        all.filter_map(|Reverse(timer)| match timer.due {
            Due::Job(job, id) => Some((job, id)),
            Due::Origin(_) => None,
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
