//! The core of a pool: the state that all workers share, and the life of a job. It is independent of threads.
//!
//! ```text
//! submit → JobQueue → poll_next → start → (an attempt) → finish → complete → results
//!             ↑__________________ a retry, with a time on it _______|
//! ```
//!
//! Between `start` and `finish` any number of jobs may be in flight at the same worker. A cancellation completes jobs in
//! flight from outside; what `finish` is then told of them is discarded.

mod completion;

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::error::SubmitError;
use super::job::{FinishedAttempt, InFlight, Job, ReplyRoute, RunningJob, StartedJob};
use super::job_handle::SpawnedJob;
use super::policy::Policy;
use super::queue::{JobQueue, PendingJob, QueuedJob};
use super::results::{ResultSender, Unnotified};
use super::round::Round;
use super::shutdown::{AtomicShutdownMode, Outstanding, ShutdownMode};
use super::user_channel::UserChannel;
use crate::error::{Error, ErrorKind};
use crate::observe::Counters;
use crate::origin::Origin;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::schedule::OriginKey;
use crate::sync::Mutex;
use crate::sync::channel::{Receiver, TryRecvError};

pub(super) struct Core {
    pub(super) policy: Policy,
    pub(super) counters: Arc<Counters>,
    pub(super) queue: Arc<JobQueue>,
    user_channel: Option<UserChannel>,
    /// Whether limits or affinity need to know where a job goes.
    needs_origins: bool,
    /// Whether only the observer and the counters get to know the outcomes of the pool's own jobs.
    discards_outcomes: bool,
    in_flight: InFlight,
    outstanding: Outstanding,
    mode: AtomicShutdownMode,
    returned: Mutex<Vec<Job>>,
    results: ResultSender,
}

/// What a worker is to do next.
pub(super) enum Next {
    Start(Job),
    /// Wait until its waker is called, or until this time.
    Wait(Option<Instant>),
    Exit,
}

/// Jobs that end without a worker count for the first one.
const NO_WORKER: usize = 0;

impl Core {
    pub(super) fn new(
        policy: Policy,
        queue: Arc<JobQueue>,
        user_channel: Option<UserChannel>,
        needs_origins: bool,
        discards_outcomes: bool,
        results: ResultSender,
    ) -> Self {
        Self {
            counters: Arc::clone(&policy.counters),
            policy,
            queue,
            outstanding: Outstanding::new(1 + usize::from(user_channel.is_some())),
            user_channel,
            needs_origins,
            discards_outcomes,
            in_flight: InFlight::default(),
            mode: AtomicShutdownMode::default(),
            returned: Mutex::default(),
            results,
        }
    }

    /// Accepts a job, unless the intake is closed or the work is over. Returns the job's index.
    pub(super) fn submit(
        &self,
        request: RequestSpec,
        round: Option<Arc<Round>>,
    ) -> Result<usize, SubmitError> {
        let request = self.admit(request)?;
        if round.as_ref().is_some_and(|round| !round.accept()) {
            self.done();
            return Err(SubmitError::closed(request, ShutdownMode::Closed));
        }
        let (index, pending) = self.accept(request, round);
        self.queue.push(pending);
        self.sweep();
        Ok(index)
    }

    /// Like `submit`, for a job with a handle.
    pub(super) fn spawn(&self, request: RequestSpec) -> Result<Arc<SpawnedJob>, SubmitError> {
        let request = self.admit(request)?;
        let origin = self.origin_of(&request);
        let job = SpawnedJob::new(self.counters.job_submitted(), request);
        self.queue
            .push((QueuedJob::Ticket(Arc::clone(&job)), origin));
        self.sweep();
        Ok(job)
    }

    /// Gives a request that was not accepted an outcome all the same: it counts as a job that ends with this error. Returns
    /// its index.
    pub(super) fn refuse(&self, request: RequestSpec, round: &Arc<Round>, error: Error) -> usize {
        round.add();
        let index = self.counters.job_submitted();
        let job = Job {
            index,
            request,
            route: ReplyRoute::Round(Arc::clone(round)),
            origin: OriginKey::NONE,
            last_attempt: None,
        };
        self.deliver_unattempted(job, error);
        index
    }

    /// The next job for a worker. If there is none, `waker` is called when there may be one, or when the work is over.
    pub(super) fn poll_next(&self, worker: usize, waker: &Waker) -> Next {
        let mut brought = None;
        loop {
            let has_brought = brought.is_some();
            // A job that was brought along is in nothing but this worker's hands.
            if !has_brought && self.is_over() {
                return Next::Exit;
            }
            if !has_brought && self.results.is_full() {
                self.queue.park_held_back(worker, waker);
                // What ends the waiting from now on wakes this worker; what has ended it before is seen here.
                if self.results.is_full() && !self.is_over() {
                    return Next::Wait(None);
                }
                continue;
            }
            if let Some(job) = self.queue.take(worker, brought.take()) {
                if self.starts_jobs() && !job.route.is_unwanted() {
                    if self.results.has_limit() {
                        // One outcome that was read wakes one worker, but there may be room for more of them.
                        self.queue.wake_one();
                    }
                    return Next::Start(job);
                }
                self.queue.release(job.origin);
                self.end_pending(job);
                continue;
            }
            if has_brought {
                self.sweep();
                continue;
            }
            brought = self.take_from_user_channel();
            if brought.is_some() {
                continue;
            }
            let Ok(until) = self.queue.park(worker, waker) else {
                continue;
            };
            // What ends the work from now on wakes this worker; what has ended it before is seen here. Likewise, the
            // channel is watched only from now on.
            if !self.is_over() {
                self.watch_user_channel();
                return Next::Wait(until);
            }
        }
    }

    /// Calls the waker when the work is over, also if the worker does not wait for a job.
    #[cfg(any(feature = "hyper", feature = "journal", feature = "redis"))]
    pub(super) fn wake_at_end(&self, waker: &Waker) {
        self.queue.wake_with_all(waker);
    }

    /// A worker starts an attempt at a job. `None` if the job was cancelled meanwhile.
    pub(super) fn start(&self, worker: usize, job: Job) -> Option<RunningJob> {
        #[cfg(any(feature = "journal", feature = "redis"))]
        let job = self.start_leased(job)?;
        if job.last_attempt.is_none() {
            self.counters.job_started(worker);
            self.policy.pay_into_retry_budget();
        } else {
            self.counters.job_resumed();
        }
        let running = self.in_flight.insert(worker, job);
        match running.route() {
            ReplyRoute::Pool => {}
            ReplyRoute::Round(round) if round.is_abandoned() => self.cancel_unwanted(),
            ReplyRoute::Round(_) => {}
            ReplyRoute::Handle(spawned) => {
                spawned.started(&running);
                if spawned.is_cancelled() {
                    self.cancel_spawned(spawned);
                }
            }
        }
        if self.mode.get() >= ShutdownMode::Cancelled {
            // The cancellation may have gone through the table before the job was in it.
            self.sweep();
        }
        if running.cancel_flag().is_set() {
            self.queue.release(running.origin());
            return None;
        }
        Some(running)
    }

    /// An attempt is over: the job gets its outcome, or another attempt later. With `unnotified`, its reader is woken by
    /// [`notify_readers`](Self::notify_readers).
    pub(super) fn finish(
        &self,
        running: RunningJob,
        mut result: Result<Response, Error>,
        unnotified: Option<&mut Unnotified>,
    ) {
        let (worker, origin, mut log) = (running.worker, running.origin(), running.log);
        let Some(StartedJob {
            mut job,
            started_at,
            ..
        }) = self.in_flight.remove(running)
        else {
            return self.queue.release(origin);
        };
        let finished_at = Instant::now();
        let would_fail_again =
            (result.as_ref()).is_err_and(|error| error.kind() == ErrorKind::InvalidRequest);
        // What the error says about the attempt, the outcome says about the job.
        if log.was_sent {
            result = result.map_err(Error::after_earlier_exchange);
        }
        log.was_sent = result.as_ref().err().is_none_or(Error::was_sent);
        if let Some(until) = self.policy.cool_down(&result) {
            self.queue.cool_down(origin, until);
        }
        let next_attempt_at = if would_fail_again || !self.starts_jobs() || job.route.is_unwanted()
        {
            Ok(None)
        } else {
            self.policy.next_attempt_at(&job, log, &result)
        };
        let mut attempt = FinishedAttempt {
            log,
            result,
            elapsed: finished_at - started_at,
            finished_at,
        };
        match next_attempt_at {
            #[cfg(any(feature = "journal", feature = "redis"))]
            Ok(Some(until)) if job.is_leased() => {
                attempt.log.retries += 1;
                self.queue.release(origin);
                self.postpone_leased(job, &attempt, until, worker);
                return self.sweep();
            }
            Ok(Some(until)) => {
                attempt.log.retries += 1;
                job.last_attempt = Some(Box::new(attempt));
                self.counters.job_delayed();
                if let Err(cancelled) = self.queue.delay(job, until) {
                    self.queue.release(origin);
                    self.end_pending(cancelled);
                }
                return self.sweep();
            }
            Ok(None) => {}
            Err(message) => attempt.result = Err(Error::panicked(message)),
        }
        self.queue.release(origin);
        self.complete(job, attempt, worker, unnotified);
    }

    /// Wakes the readers of outcomes that are there by now.
    #[cfg(feature = "hyper")]
    pub(super) fn notify_readers(&self, unnotified: &mut Unnotified) {
        unnotified.notify(&self.results);
    }

    /// A worker repeats an attempt at once.
    pub(super) fn repeat(&self, running: &RunningJob) {
        self.queue.count_attempt(running.origin());
    }

    /// Closes the intake. The user's channel goes on until its senders are gone.
    pub(super) fn close(&self) {
        self.advance_to(ShutdownMode::Closed);
    }

    /// Ends the work when there are no jobs left: until then, they may lead to more.
    pub(super) fn drain(&self) {
        self.advance_to(ShutdownMode::Draining);
    }

    /// The pool is iterated over from now on.
    pub(super) fn iterate(&self) {
        self.results.iterate();
    }

    /// Whether a job that is submitted now is accepted.
    pub(super) fn accepts_jobs(&self) -> bool {
        self.mode.get() < ShutdownMode::Closed && !self.outstanding.is_zero()
    }

    pub(super) fn starts_jobs(&self) -> bool {
        self.mode.get() < ShutdownMode::Returning
    }

    /// Whether one more worker could find something to do.
    pub(super) fn can_use_worker(&self) -> bool {
        let is_intake_open = self.mode.get() == ShutdownMode::Open;
        let more_may_come = is_intake_open || self.user_channel.is_some();
        !self.is_over() && (more_may_come || !self.queue.is_empty())
    }

    /// Ends the work when there are no jobs left; of the user's channel, takes only what is in it now. The caller waits for the
    /// end, so unread outcomes hold no worker back.
    pub(super) fn drain_present(&self) {
        self.drain();
        self.results.lift_limit();
        if let Some(channel) = &self.user_channel {
            channel.limit_to_present();
            self.queue.wake_all();
        }
    }

    /// Starts no more jobs, and blocks until those in flight are done. Returns the others: the accepted ones, in the order of
    /// their acceptance, and what is in the user's channel.
    pub(super) fn shut_down(&self) -> Vec<RequestSpec> {
        self.advance_to(ShutdownMode::Returning);
        self.results.lift_limit();
        let channel = self.close_user_channel();
        self.sweep();
        self.outstanding
            .wait(|| self.outstanding.is_idle() || self.is_dropped());
        let mut returned = std::mem::take(&mut *self.returned.lock());
        returned.sort_unstable_by_key(|job| job.index);
        let mut unsent: Vec<_> = returned.into_iter().map(|job| job.request).collect();
        if let Some(channel) = channel {
            // Its senders may go on sending, to other receivers.
            let left = channel.len();
            unsent.extend(channel.try_iter().take(left));
        }
        unsent
    }

    /// Completes all jobs now. Attempts that workers are at stop as soon as their transport can be interrupted, without an
    /// effect on the outcomes.
    pub(super) fn cancel(&self) {
        self.advance_to(ShutdownMode::Cancelled);
        self.results.lift_limit();
        self.close_user_channel();
        self.sweep();
    }

    /// The pool was dropped: ends the work, as a cancellation does. Outcomes of its channels have no reader any more, so queued
    /// jobs are dropped.
    pub(super) fn abandon(&self) {
        self.advance_to(ShutdownMode::Dropped);
        self.close_user_channel();
        self.sweep();
        self.outstanding.notify();
        self.end();
    }

    /// Blocks until no job is queued, delayed or in flight. The caller may be the reader, so unread outcomes hold no worker back
    /// meanwhile.
    pub(super) fn wait_idle(&self) {
        self.results.lift_limit();
        self.outstanding.wait(|| {
            let channel = self.user_channel.as_ref();
            // In this order: a job that is taken out of the channel is counted before.
            let has_more = channel.is_some_and(|channel| !channel.is_empty());
            self.is_dropped() || (!has_more && self.outstanding.is_idle())
        });
        self.results.restore_limit();
    }

    /// These jobs have their outcomes, and the reader, which has kept the work open for them, asks for the next ones.
    pub(super) fn processed(&self, jobs: usize) {
        if self.outstanding.release_kept_open(jobs) {
            self.end();
        }
    }

    /// The user's channel is ready: a parked worker has to look into it.
    pub(super) fn user_channel_is_ready(&self) {
        if let Some(channel) = &self.user_channel {
            channel.was_watched();
            self.queue.wake_one();
        }
    }

    /// Counts one more job as outstanding.
    fn admit(&self, request: RequestSpec) -> Result<RequestSpec, SubmitError> {
        let accepts = || self.mode.get() < ShutdownMode::Closed;
        if accepts() && self.outstanding.add() {
            // Once more: either a shutdown counts this job, or its mode is seen here.
            if accepts() {
                return Ok(request);
            }
            self.done();
        }
        Err(SubmitError::closed(request, self.mode.get()))
    }

    fn advance_to(&self, mode: ShutdownMode) {
        let before = self.mode.advance_to(mode);
        if before == ShutdownMode::Open && self.outstanding.release_source() {
            self.end();
        }
    }

    /// Returns the job's index.
    fn accept(&self, request: RequestSpec, round: Option<Arc<Round>>) -> (usize, PendingJob) {
        let index = self.counters.job_submitted();
        let origin = self.origin_of(&request);
        let job = QueuedJob::Whole {
            index,
            request,
            round,
            last_attempt: None,
        };
        (index, (job, origin))
    }

    /// The origin that a job counts for, if that matters.
    fn origin_of(&self, request: &RequestSpec) -> Option<Box<Origin>> {
        if !self.needs_origins {
            return None;
        }
        let url = request.parsed_url().ok()?;
        Origin::from_url(&url).map(Box::new)
    }

    fn take_from_user_channel(&self) -> Option<PendingJob> {
        let channel = self.user_channel.as_ref()?;
        if !self.queue.has_room() || !self.outstanding.add() {
            return None;
        }
        let taken = if self.starts_jobs() {
            channel.try_take()
        } else {
            Err(TryRecvError::Empty)
        };
        match taken {
            Ok(request) => {
                // The job is this worker's; for the next one, another has to look.
                if self.queue.has_parked() {
                    channel.watch();
                }
                return Some(self.accept(request, None).1);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.close_user_channel();
            }
        }
        self.done();
        None
    }

    fn watch_user_channel(&self) {
        if let Some(channel) = &self.user_channel {
            if self.queue.has_room() {
                channel.watch();
            }
        }
    }

    fn close_user_channel(&self) -> Option<Receiver<RequestSpec>> {
        let jobs = self.user_channel.as_ref()?.close()?;
        if self.outstanding.release_source() {
            self.end();
        }
        Some(jobs)
    }

    /// One less is outstanding: a job has its outcome or was given back, or there was none after all.
    fn done(&self) {
        if self.outstanding.release() {
            self.end();
        }
    }

    /// Whether a worker has nothing more to do.
    pub(super) fn is_over(&self) -> bool {
        self.is_dropped() || self.outstanding.is_zero()
    }

    fn is_dropped(&self) -> bool {
        self.mode.get() == ShutdownMode::Dropped
    }

    fn end(&self) {
        self.results.close();
        self.queue.wake_all();
    }
}
