//! How jobs end: with an outcome, or given back without one.

use std::sync::Arc;
#[cfg(any(feature = "journal", feature = "redis"))]
use std::time::Instant;

use super::{Core, NO_WORKER};
use crate::error::Error;
use crate::outcome::ThreadResponse;
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::pool::job::AttemptLog;
use crate::pool::job::{FinishedAttempt, Job, ReplyRoute};
use crate::pool::job_handle::{CancelledAt, SpawnedJob};
use crate::pool::results::Unnotified;
use crate::pool::round::Round;
use crate::pool::shutdown::ShutdownMode;
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::queue::{Delay, Made};

impl Core {
    /// Completes one job now, wherever it is.
    pub(in crate::pool) fn cancel_spawned(&self, spawned: &Arc<SpawnedJob>) {
        match spawned.cancel() {
            Some(CancelledAt::Queued(job)) => self.end_cancelled(job),
            Some(CancelledAt::InFlight(place)) => {
                if let Some(started) = self.in_flight.remove_at(&place) {
                    let (job, attempt) = started.cancel();
                    self.complete(job, attempt, NO_WORKER, None);
                }
            }
            None => {}
        }
    }

    /// After a shutdown, a cancellation or the pool's drop, ends the jobs that are queued and, unless it is a shutdown, those in
    /// flight. Called again by whatever enqueues or starts a job meanwhile.
    pub(super) fn sweep(&self) {
        let mode = self.mode.get();
        if mode < ShutdownMode::Returning {
            return;
        }
        for job in self.queue.drain() {
            self.end_pending(job);
        }
        if mode >= ShutdownMode::Cancelled {
            for started in self.in_flight.drain() {
                let (job, attempt) = started.cancel();
                self.complete(job, attempt, NO_WORKER, None);
            }
        }
    }

    /// The reader of a round is gone: ends its jobs in flight. Those that are queued end when a worker comes by.
    pub(in crate::pool) fn cancel_unwanted(&self) {
        for started in self.in_flight.drain_unwanted() {
            let (job, attempt) = started.cancel();
            self.complete(job, attempt, NO_WORKER, None);
        }
    }

    /// Ends a job that no worker is at, as its cancellation or the shutdown mode says.
    pub(super) fn end_pending(&self, mut job: Job) {
        match (self.mode.get(), &job.route) {
            (ShutdownMode::Returning, route)
                if job.last_attempt.is_some() && !route.is_unwanted() =>
            {
                // It was sent, so it ends with what its last attempt was.
                if let Some(attempt) = job.last_attempt.take() {
                    self.counters.job_resumed();
                    self.complete(job, *attempt, NO_WORKER, None);
                }
            }
            (ShutdownMode::Returning, ReplyRoute::Pool) => self.give_back(job),
            (ShutdownMode::Returning, ReplyRoute::Round(round))
                if round.gives_back() && !round.is_abandoned() =>
            {
                self.give_back(job);
            }
            (ShutdownMode::Dropped, ReplyRoute::Pool) => self.done(),
            _ => self.end_cancelled(job),
        }
    }

    fn end_cancelled(&self, job: Job) {
        let is_kept_open = self.deliver_unattempted(job, Error::cancelled());
        if !is_kept_open {
            self.done();
        }
    }

    /// Like `deliver`, for a job that no worker is at.
    pub(super) fn deliver_unattempted(&self, job: Job, error: Error) -> bool {
        if job.last_attempt.is_some() {
            self.counters.job_resumed();
        } else {
            self.counters.job_started(NO_WORKER);
        }
        let attempt = job.ended_attempt(error);
        self.deliver(job, attempt, NO_WORKER, None)
    }

    /// A job of a durable queue is about to be started. `None` if the queue could not be told.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(super) fn start_leased(&self, job: Job) -> Option<Job> {
        let lease = job.lease().cloned();
        let started = lease.map_or(Ok(()), |lease| lease.start(job.request.is_idempotent()));
        if let Err(error) = started {
            log::error!("job {} is not sent: {error}", job.index);
            self.queue.release(job.origin);
            self.give_back(job);
            return None;
        }
        Some(job)
    }

    /// A job of a durable queue waits there for its retry.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(super) fn postpone_leased(
        &self,
        job: Job,
        attempt: &FinishedAttempt,
        until: Instant,
        worker: usize,
    ) {
        let AttemptLog {
            attempts,
            retries,
            was_sent,
            ..
        } = attempt.log;
        let made = Made {
            attempts,
            retries,
            was_sent,
        };
        let time = until.saturating_duration_since(Instant::now());
        let delay = Delay { time, made };
        let lease = job.lease().cloned();
        if let Some(Err(error)) = lease.map(|lease| lease.postpone(delay)) {
            log::error!("job {} is not retried now: {error}", job.index);
        }
        self.counters.job_postponed(worker);
        if let ReplyRoute::Round(round) = &job.route {
            round.give_back();
        }
        self.done();
    }

    fn give_back(&self, job: Job) {
        self.counters.job_given_back();
        let route = job.route.clone();
        if job.is_leased() {
            // It goes back to its queue.
            drop(job);
        } else {
            self.returned.lock().push(job);
        }
        if let ReplyRoute::Round(round) = route {
            round.give_back();
        }
        self.done();
    }

    /// The end of a job, after which it no longer keeps the work open, unless the reader of its outcome does.
    #[inline]
    pub(super) fn complete(
        &self,
        job: Job,
        attempt: FinishedAttempt,
        worker: usize,
        unnotified: Option<&mut Unnotified>,
    ) {
        let is_kept_open = self.deliver(job, attempt, worker, unnotified);
        if !is_kept_open {
            self.done();
        }
    }

    /// The outcome of a job, which is built here alone: counted, told to the observer, and sent to its reader. The reader is
    /// woken now, or it is noted that it is to be. Returns whether the reader keeps the work open for it.
    fn deliver(
        &self,
        job: Job,
        attempt: FinishedAttempt,
        worker: usize,
        unnotified: Option<&mut Unnotified>,
    ) -> bool {
        let (mut outcome, route) = job.into_outcome(attempt);
        if self.policy.error_for_status {
            outcome = outcome.and_then(ThreadResponse::error_for_status);
        }
        match &outcome {
            Ok(response) => {
                self.counters.job_responded(worker);
                self.policy.notify(|observer| observer.response(response));
            }
            Err(exception) => {
                self.counters.job_failed(worker);
                self.policy.notify(|observer| observer.exception(exception));
            }
        }
        match route {
            ReplyRoute::Pool if self.discards_outcomes => drop(outcome),
            ReplyRoute::Pool => {
                let keep_open = || self.outstanding.keep_open();
                let is_kept_open = self.results.send(outcome, keep_open);
                self.notify(None, unnotified);
                return is_kept_open;
            }
            ReplyRoute::Round(round) => {
                round.complete(outcome);
                self.notify(Some(&round), unnotified);
            }
            ReplyRoute::Handle(spawned) => spawned.complete(outcome),
        }
        false
    }

    /// Wakes a reader of the round, or of the pool, for one outcome; or notes that it is to be woken.
    fn notify(&self, round: Option<&Arc<Round>>, unnotified: Option<&mut Unnotified>) {
        match (unnotified, round) {
            (Some(unnotified), _) => unnotified.add(round),
            (None, Some(round)) => round.notify(1),
            (None, None) => self.results.notify(1),
        }
    }
}
