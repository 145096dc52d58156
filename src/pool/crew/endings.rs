//! What becomes of jobs after their attempts: another one later, an outcome, or to be called off or given back.

use std::time::{Duration, Instant, SystemTime};

use super::Crew;
use crate::error::Error;
use crate::observe::WorkerTally;
use crate::outcome::JobInfo;
use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;
use crate::panics;
use crate::pool::job::{Job, Past, Track};
use crate::pool::queue::Fate;
use crate::pool::results::{Lanes, Outcome};
use crate::request::RequestSpec;
use crate::retry::{self, Tried};
use crate::schedule::OriginId;
use crate::sync::channel::Receiver;

impl Crew {
    /// After an attempt that is not called off: the outcome of its job, or `None` if there is to be another one.
    pub(in crate::pool) fn conclude(
        &self,
        mut outcome: Outcome,
        track: Track,
        tally: &WorkerTally,
    ) -> Option<Outcome> {
        self.cool_down(&outcome, track.origin);
        match self.next_attempt_at(&outcome, track) {
            Ok(None) => {}
            Ok(Some(until)) => {
                self.queue.tally().job_postponed();
                self.queue.postpone(Job::again(outcome, track), until);
                self.see_to_waiting();
                return None;
            }
            Err(message) => outcome = Err(panicked(outcome, message)),
        }
        self.queue.left(track.origin);
        Some(self.final_outcome(outcome, tally))
    }

    /// The outcome of a job that was to be tried again, and is not.
    pub(in crate::pool) fn concluded(&self, job: Job, past: Past, tally: &WorkerTally) -> Outcome {
        self.queue.tally().job_resumed();
        self.final_outcome(job.concluded(past), tally)
    }

    /// The outcome as the user wants it, counted.
    fn final_outcome(&self, outcome: Outcome, tally: &WorkerTally) -> Outcome {
        let outcome = match self.rules.error_for_status {
            true => outcome.and_then(ThreadResponse::error_for_status),
            false => outcome,
        };
        match &outcome {
            Ok(response) => tally.job_answered(response.bytes().len() as u64),
            Err(_) => tally.job_failed(),
        }
        outcome
    }

    /// Hands an outcome over; with it, the job no longer holds the work open, unless its reader wants it to.
    pub(in crate::pool) fn deliver(&self, lanes: &Lanes, outcome: Outcome) {
        self.rules.tell(|observer| match &outcome {
            Ok(response) => observer.response(response),
            Err(exception) => observer.exception(exception),
        });
        let is_held_by_reader = lanes.send(outcome);
        if !is_held_by_reader {
            self.queue.finished(1);
        }
    }

    /// Sends nothing new, and gives back what waits. Returns the user's channel, for what is left in it.
    pub(in crate::pool) fn give_back(&self) -> Option<Receiver<RequestSpec>> {
        let channel = self.queue.give_back();
        // Workers help, but all of them may be busy.
        self.see_to_waiting();
        channel
    }

    /// Ends all jobs now. Their workers may go on with what they are at, and nobody waits for them.
    pub(in crate::pool) fn call_off(&self) {
        self.queue.call_off();
        self.see_to_waiting();
    }

    /// Sees to jobs that were put where nobody may look any more.
    pub(in crate::pool) fn see_to_waiting(&self) {
        let fate = self.queue.fate();
        if !matches!(fate, Fate::GivenBack | Fate::CalledOff) {
            return;
        }
        let Some(lanes) = self.queue.outbox().lanes() else {
            return;
        };
        self.queue.for_each_waiting(|job| match fate {
            Fate::GivenBack => self.end_given_back(&lanes, job),
            _ => self.end_called_off(&lanes, &job, None),
        });
        if fate == Fate::CalledOff {
            for begun in self.in_flight.take_all() {
                self.end_called_off(&lanes, &begun.job, Some(begun.at));
            }
        }
    }

    /// Gives a job back; one that was sent already ends as what its last attempt was.
    fn end_given_back(&self, lanes: &Lanes, mut job: Job) {
        match job.past.take() {
            None => self.queue.return_to_sender(job),
            Some(past) => {
                let outcome = self.concluded(job, *past, &self.tally);
                self.deliver(lanes, outcome);
            }
        }
    }

    fn end_called_off(&self, lanes: &Lanes, job: &Job, begun_at: Option<Instant>) {
        let finished_at = Instant::now();
        let past = job.past.as_deref();
        if begun_at.is_none() {
            match past {
                None => self.tally.job_started(),
                Some(_) => self.queue.tally().job_resumed(),
            }
        }
        let track = past.map(|past| past.track);
        let first_begun_at = track.map(|track| track.first_begun_at).or(begun_at);
        let last_attempt_elapsed = match begun_at {
            Some(at) => finished_at - at,
            None => past.map_or(Duration::ZERO, |past| past.last_attempt_elapsed),
        };
        let record = JobInfo {
            request: job.request.clone(),
            index: job.index,
            attempts: track.map_or(0, |track| track.attempts) + u32::from(begun_at.is_some()),
            elapsed: first_begun_at.map_or(Duration::ZERO, |at| finished_at - at),
            last_attempt_elapsed,
            finished_at,
        };
        let sent = begun_at.is_some() || track.is_some_and(|track| track.was_sent);
        let error = Error::cancelled().sent(sent);
        self.tally.job_failed();
        self.deliver(lanes, Err(ThreadException::new(record, error, None)));
    }

    /// Leaves the whole origin alone for as long as it asks for, if it does.
    fn cool_down(&self, outcome: &Outcome, origin: Option<OriginId>) {
        let (Some(longest), Ok(response)) = (self.rules.longest_cool_down, outcome) else {
            return;
        };
        let Some(wait) = retry::cool_down(response, SystemTime::now()) else {
            return;
        };
        let until = Instant::now() + wait.min(longest);
        self.queue.cool_down(origin, until);
    }

    /// When to try again, if at all. `Err` is the message of the policy's panic.
    fn next_attempt_at(&self, outcome: &Outcome, track: Track) -> Result<Option<Instant>, String> {
        let Some(retrying) = &self.rules.retrying else {
            return Ok(None);
        };
        if track.is_hopeless || self.queue.fate() != Fate::Sent {
            return Ok(None);
        }
        let mut tried = Tried::new(outcome, track.retries);
        let delay = panics::caught(|| {
            let (now, chance) = (SystemTime::now(), fastrand::f64());
            retrying.policy.delay(&mut tried, now, chance)
        })?;
        let Some(delay) = delay else {
            return Ok(None);
        };
        // Beyond the clock's end, or that of the run, is never.
        let until = Instant::now().checked_add(delay);
        let deadline = self.rules.deadline;
        let Some(until) = until.filter(|until| deadline.is_none_or(|deadline| *until < deadline))
        else {
            return Ok(None);
        };
        if retrying
            .budget
            .as_ref()
            .is_some_and(|budget| !budget.spend())
        {
            log::debug!(
                "job {} is not tried again: the budget is spent",
                tried.index()
            );
            return Ok(None);
        }
        self.rules.tell(|observer| observer.retry(&tried, delay));
        Ok(Some(until))
    }
}

/// The same outcome, of a job whose policy has panicked over it.
fn panicked(outcome: Outcome, message: String) -> ThreadException {
    let record = match outcome {
        Ok(response) => response.into_info().0,
        Err(exception) => exception.into_info().0,
    };
    ThreadException::new(record, Error::panicked(message), None)
}
