//! A schedule that workers share, and which of them wait for what.
//!
//! One waiting worker keeps the time: it wakes up by itself when the next job may go. The others wait until they are woken.
//! Whoever leaves with a job sees to it that somebody else keeps the time from then on, if there is still something to
//! wait for.
//!
//! `idle` counts the workers that wait and have not been sent a wake-up. It may be too high for a moment, which costs a
//! wake-up in vain, but never too low: a worker that comes back without having been woken takes itself off.

use std::sync::PoisonError;
use std::time::Instant;

use crate::origin::Origin;
use crate::pool::job::Job;
use crate::schedule::{OriginId, Schedule, Turn};
use crate::sync::{Mutex, MutexGuard};

pub(super) struct Scheduled {
    state: Mutex<State>,
    /// As many jobs may wait here, of those that workers take out of the user's channel.
    room: usize,
}

struct State {
    schedule: Schedule<Job>,
    idle: usize,
    /// Whether all that waited was taken out, because nothing new is to be sent.
    is_drained: bool,
    timekeeper: Option<(Worker, Instant)>,
}

type Worker = usize;

/// How many workers to wake.
pub(super) type WakeUps = usize;

pub(super) enum Next {
    Run(Job),
    /// Until woken, at the latest until this moment. It counts as waiting from now on.
    Wait {
        until: Option<Instant>,
        has_room: bool,
    },
}

impl Scheduled {
    pub(super) fn new(schedule: Schedule<Job>, room: usize) -> Self {
        let state = State {
            schedule,
            idle: 0,
            is_drained: false,
            timekeeper: None,
        };
        Self {
            state: Mutex::new(state),
            room,
        }
    }

    pub(super) fn admit(&self, job: Job, origin: Option<Origin>) -> WakeUps {
        let now = Instant::now();
        self.lock().admit(job, origin, now)
    }

    /// The same, unless nobody will look here any more for jobs that are not to be sent.
    pub(super) fn admit_unless_drained(
        &self,
        job: Job,
        origin: Option<Origin>,
    ) -> Result<WakeUps, Job> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.is_drained {
            return Err(job);
        }
        Ok(state.admit(job, origin, now))
    }

    /// What this worker is to do now.
    pub(super) fn next(&self, worker: Worker) -> (Next, WakeUps) {
        let now = Instant::now();
        let mut state = self.lock();
        state.timekeeper = state.timekeeper.filter(|(keeper, _)| *keeper != worker);
        let had_room = state.schedule.waiting() < self.room;
        let until = match state.schedule.next(now, worker) {
            Turn::Run(mut job, origin) => {
                job.origin = Some(origin);
                let wake_ups = match had_room {
                    true => state.wake_for_next(now),
                    // None of those that wait listens to the user's channel.
                    false => std::mem::take(&mut state.idle),
                };
                return (Next::Run(job), wake_ups);
            }
            Turn::WaitUntil(at) => state.keep_time(worker, at),
            Turn::Wait => None,
        };
        state.idle += 1;
        let has_room = state.schedule.waiting() < self.room;
        (Next::Wait { until, has_room }, 0)
    }

    /// A worker no longer waits, and nobody has woken it.
    pub(super) fn came_back(&self) {
        let mut state = self.lock();
        state.idle = state.idle.saturating_sub(1);
    }

    pub(super) fn finished(&self, origin: OriginId) -> WakeUps {
        let now = Instant::now();
        let mut state = self.lock();
        state.schedule.finished(origin, now);
        state.wake_for_next(now)
    }

    pub(super) fn postpone(&self, job: Job, origin: OriginId, until: Instant) -> WakeUps {
        let now = Instant::now();
        let mut state = self.lock();
        state.schedule.postpone(job, origin, now, until);
        state.wake_for_next(now)
    }

    pub(super) fn count_attempt(&self, origin: OriginId) {
        self.lock().schedule.count_attempt(origin, Instant::now());
    }

    pub(super) fn cool_down(&self, origin: OriginId, until: Instant) {
        self.lock().schedule.cool_down(origin, until);
    }

    pub(super) fn drain(&self) -> Vec<Job> {
        let mut state = self.lock();
        state.is_drained = true;
        state.schedule.drain()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn admit(&mut self, job: Job, origin: Option<Origin>, now: Instant) -> WakeUps {
        self.schedule.admit(job, origin, now);
        self.wake_for_next(now)
    }

    /// One, if somebody waits and nobody will wake up in time for the next job that may go.
    fn wake_for_next(&mut self, now: Instant) -> WakeUps {
        let Some(at) = self.schedule.next_at(now) else {
            return 0;
        };
        let is_kept = self.timekeeper.is_some_and(|(_, kept)| kept <= at);
        if is_kept || self.idle == 0 {
            return 0;
        }
        self.idle -= 1;
        1
    }

    /// Until when this worker is to wait: only one needs to wake up by itself.
    fn keep_time(&mut self, worker: Worker, at: Instant) -> Option<Instant> {
        if self.timekeeper.is_some_and(|(_, kept)| kept <= at) {
            return None;
        }
        self.timekeeper = Some((worker, at));
        Some(at)
    }
}
