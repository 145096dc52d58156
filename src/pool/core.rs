//! The core of a pool: the state that all workers share, and the life of a job. It is independent of threads.
//!
//! ```text
//! submit → JobQueue → poll_next → start → (an attempt) → finish → complete → results
//!             ↑__________________ a retry, with a time on it _______|
//! ```
//!
//! Between `start` and `finish` any number of jobs may be in flight at the same worker. A cancellation completes jobs in
//! flight from outside; what `finish` is then told of them is discarded.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::error::SubmitError;
use super::job::{FinishedAttempt, InFlight, Job, RunningJob, StartedJob};
use super::policy::Policy;
use super::queue::{JobQueue, PendingJob};
use super::results::ResultSender;
use super::shutdown::{AtomicShutdownMode, Outstanding, ShutdownMode};
use super::user_channel::UserChannel;
use crate::error::{Error, ErrorKind};
use crate::observe::Counters;
use crate::origin::Origin;
use crate::outcome::ThreadResponse;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, TryRecvError};

pub(super) struct Core {
    pub(super) policy: Policy,
    pub(super) counters: Arc<Counters>,
    queue: JobQueue,
    user_channel: Option<UserChannel>,
    /// Whether limits or affinity need to know where a job goes.
    needs_origins: bool,
    in_flight: InFlight,
    outstanding: Outstanding,
    is_intake_closed: AtomicBool,
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
        queue: JobQueue,
        user_channel: Option<UserChannel>,
        needs_origins: bool,
        results: ResultSender,
    ) -> Self {
        Self {
            policy,
            counters: Arc::default(),
            queue,
            outstanding: Outstanding::new(1 + usize::from(user_channel.is_some())),
            user_channel,
            needs_origins,
            in_flight: InFlight::default(),
            is_intake_closed: AtomicBool::new(false),
            mode: AtomicShutdownMode::default(),
            returned: Mutex::default(),
            results,
        }
    }

    /// Accepts a job, unless the work is over. Returns the job's index.
    pub(super) fn submit(&self, request: RequestSpec) -> Result<usize, SubmitError> {
        if !self.is_running() || !self.outstanding.add() {
            return Err(SubmitError::new(request));
        }
        let (index, pending) = self.accept(request);
        self.queue.push(pending);
        self.sweep();
        Ok(index)
    }

    /// The next job for a worker. If there is none, `waker` is called when there may be one, or when the work is over.
    pub(super) fn poll_next(&self, worker: usize, waker: &Waker) -> Next {
        let mut brought = None;
        loop {
            if self.is_over() {
                return Next::Exit;
            }
            let has_brought = brought.is_some();
            if let Some(job) = self.queue.take(worker, brought.take()) {
                if self.is_running() {
                    return Next::Start(job);
                }
                self.end_pending(job);
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

    /// A worker starts an attempt at a job. `None` if the job was cancelled meanwhile.
    pub(super) fn start(&self, worker: usize, job: Job) -> Option<RunningJob> {
        if job.last_attempt.is_none() {
            self.counters.job_started(worker);
            self.policy.job_started();
        } else {
            self.counters.job_resumed();
        }
        let running = self.in_flight.insert(worker, job);
        if self.mode.get() == ShutdownMode::Cancelled {
            // The cancellation may have gone through the table before the job was in it.
            self.sweep();
            self.queue.release(running.origin());
            return None;
        }
        Some(running)
    }

    /// An attempt is over: the job gets its outcome, or another attempt later.
    pub(super) fn finish(&self, running: RunningJob, mut result: Result<Response, Error>) {
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
        let next_attempt_at = if would_fail_again || !self.is_running() {
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
            Ok(Some(until)) => {
                attempt.log.retries += 1;
                job.last_attempt = Some(Box::new(attempt));
                self.counters.job_delayed();
                self.queue.delay(job, until);
                return self.sweep();
            }
            Ok(None) => {}
            Err(message) => attempt.result = Err(Error::panicked(message)),
        }
        self.queue.release(origin);
        self.complete(job, attempt, worker);
    }

    /// A worker repeats an attempt at once.
    pub(super) fn repeat(&self, running: &RunningJob) {
        self.queue.count_attempt(running.origin());
    }

    /// Closes the intake. The user's channel goes on until its senders are gone.
    pub(super) fn close_intake(&self) {
        if !self.is_intake_closed.swap(true, Ordering::SeqCst) {
            self.done(1);
        }
    }

    pub(super) fn is_intake_closed(&self) -> bool {
        self.is_intake_closed.load(Ordering::SeqCst)
    }

    pub(super) fn is_running(&self) -> bool {
        self.mode.get() == ShutdownMode::Running
    }

    /// Whether one more worker could find something to do.
    pub(super) fn can_use_worker(&self) -> bool {
        let more_may_come = !self.is_intake_closed() || self.user_channel.is_some();
        !self.is_over() && (more_may_come || !self.queue.is_empty())
    }

    /// Closes the intake; of the user's channel, takes only what is in it now.
    pub(super) fn close_after_present(&self) {
        self.close_intake();
        if let Some(channel) = &self.user_channel {
            channel.limit_to_present();
            self.queue.wake_all();
        }
    }

    /// Starts no more jobs. Those that no worker has started are given back.
    pub(super) fn shut_down(&self) -> Option<Receiver<RequestSpec>> {
        self.mode.advance_to(ShutdownMode::Returning);
        self.close_intake();
        let channel = self.close_user_channel();
        self.sweep();
        channel
    }

    /// The jobs that were given back, in the order of their acceptance.
    pub(super) fn take_returned(&self) -> Vec<RequestSpec> {
        let mut returned = std::mem::take(&mut *self.returned.lock());
        returned.sort_unstable_by_key(|job| job.index);
        returned.into_iter().map(|job| job.request).collect()
    }

    /// Completes all jobs now. Workers go on with the attempts that they are at, without an effect on the outcomes.
    pub(super) fn cancel(&self) {
        self.mode.advance_to(ShutdownMode::Cancelled);
        self.close_intake();
        self.close_user_channel();
        self.sweep();
    }

    /// The pool was dropped: ends the work without outcomes.
    pub(super) fn abandon(&self) {
        self.mode.advance_to(ShutdownMode::Dropped);
        self.close_user_channel();
        self.end();
    }

    /// These jobs no longer keep the work open: they have their outcomes, and the reader asks for the next ones.
    pub(super) fn done(&self, jobs: usize) {
        if self.outstanding.release(jobs) {
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

    fn accept(&self, request: RequestSpec) -> (usize, PendingJob) {
        let index = self.counters.job_submitted();
        let origin = if self.needs_origins {
            let url = request.parsed_url().ok();
            url.and_then(|url| Origin::from_url(&url)).map(Box::new)
        } else {
            None
        };
        (index, (Job::new(index, request), origin))
    }

    fn take_from_user_channel(&self) -> Option<PendingJob> {
        let channel = self.user_channel.as_ref()?;
        if !self.queue.has_room() || !self.outstanding.add() {
            return None;
        }
        let taken = if self.is_running() {
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
                return Some(self.accept(request).1);
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.close_user_channel();
            }
        }
        self.done(1);
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
        self.done(1);
        Some(jobs)
    }

    /// After a shutdown or a cancellation, ends the jobs that are queued, and those in flight if they are cancelled. Called
    /// again by whatever enqueues or starts a job meanwhile.
    fn sweep(&self) {
        let mode = self.mode.get();
        if !matches!(mode, ShutdownMode::Returning | ShutdownMode::Cancelled) {
            return;
        }
        for job in self.queue.drain() {
            self.end_pending(job);
        }
        if mode == ShutdownMode::Cancelled {
            for started in self.in_flight.drain() {
                let (job, attempt) = started.cancelled();
                self.complete(job, attempt, NO_WORKER);
            }
        }
    }

    /// Ends a job that no worker is at, as the shutdown mode says.
    fn end_pending(&self, mut job: Job) {
        match self.mode.get() {
            ShutdownMode::Returning => match job.last_attempt.take() {
                None => self.give_back(job),
                // It was sent, so it ends with what its last attempt was.
                Some(attempt) => {
                    self.counters.job_resumed();
                    self.complete(job, *attempt, NO_WORKER);
                }
            },
            ShutdownMode::Cancelled => {
                if job.last_attempt.is_some() {
                    self.counters.job_resumed();
                } else {
                    self.counters.job_started(NO_WORKER);
                }
                let attempt = job.cancelled_attempt();
                self.complete(job, attempt, NO_WORKER);
            }
            ShutdownMode::Running | ShutdownMode::Dropped => {}
        }
    }

    fn give_back(&self, job: Job) {
        self.counters.job_given_back();
        self.returned.lock().push(job);
        self.done(1);
    }

    /// The outcome of a job, which is built here alone: counted, told to the observer, and sent to its reader.
    #[inline]
    fn complete(&self, job: Job, attempt: FinishedAttempt, worker: usize) {
        let mut outcome = job.into_outcome(attempt);
        if self.policy.error_for_status {
            outcome = outcome.and_then(ThreadResponse::error_for_status);
        }
        match &outcome {
            Ok(response) => {
                self.counters
                    .job_responded(worker, response.bytes().len() as u64);
                self.policy.notify(|observer| observer.response(response));
            }
            Err(exception) => {
                self.counters.job_failed(worker);
                self.policy.notify(|observer| observer.exception(exception));
            }
        }
        let is_kept_open_by_reader = self.results.send(outcome);
        if !is_kept_open_by_reader {
            self.done(1);
        }
    }

    fn is_over(&self) -> bool {
        self.mode.get() == ShutdownMode::Dropped || self.outstanding.is_zero()
    }

    fn end(&self) {
        self.results.close();
        self.queue.wake_all();
    }
}
