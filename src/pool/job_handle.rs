//! A job that is waited for, or cancelled, by itself: [`JobHandle`].

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::job::{FinishedAttempt, Job, PlaceInFlight, ReplyRoute, RunningJob};
use super::threads::Threads;
use crate::outcome::Outcome;
use crate::panics;
use crate::request::RequestSpec;
use crate::schedule::OriginKey;
use crate::sync::{Mutex, Parker};

/// A job whose outcome goes to the holder of this handle, not to the pool's channels. Created by
/// [`Pool::spawn`](crate::Pool::spawn) and [`Handle::spawn`](crate::Handle::spawn).
///
/// Threads wait for the outcome with [`join`](Self::join), async code awaits the handle on any executor:
///
/// ```
/// use threaded::Pool;
///
/// let url = "https://example.com/";
/// # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// # let url = url.as_str();
/// let pool = Pool::builder().num_threads(8).build()?;
/// let first = pool.spawn(url)?;
/// let second = pool.spawn(url)?;
/// println!("{} {}", first.join()?.status(), second.join()?.status());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The job always has an outcome, whatever becomes of the pool: if it is shut down, cancelled or dropped before the job is
/// sent, that is an exception of kind [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled). Dropping the handle detaches the
/// job: it is done all the same, and its outcome is dropped. To stop it, [cancel](Self::cancel) it before, or ask for that
/// with [`cancel_on_drop`](Self::cancel_on_drop), where an async timeout or a closed connection drops the future.
#[must_use = "dropping the handle detaches the job and drops its outcome"]
pub struct JobHandle {
    job: Arc<SpawnedJob>,
    threads: Weak<Threads>,
    cancels_on_drop: bool,
}

impl JobHandle {
    pub(super) fn new(job: Arc<SpawnedJob>, threads: &Arc<Threads>) -> Self {
        Self {
            job,
            threads: Arc::downgrade(threads),
            cancels_on_drop: false,
        }
    }

    /// Cancels the job when the handle is dropped before it has its outcome, instead of detaching it: for a wait with a time
    /// limit, or a task that may be dropped.
    ///
    /// ```
    /// use std::time::Duration;
    /// use threaded::Pool;
    ///
    /// let url = "https://example.com/";
    /// # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// # let url = url.as_str();
    /// let pool = Pool::builder().concurrency(8).build()?;
    /// let outcome = pool.spawn(url)?.cancel_on_drop().join_timeout(Duration::from_secs(60));
    /// assert!(outcome.is_some_and(|outcome| outcome.is_ok()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels_on_drop = true;
        self
    }

    /// Blocks until the job has its outcome, and returns it.
    ///
    /// On a thread of an async runtime, which must not be blocked, await the handle instead. On a worker's thread, inside a
    /// handler or an observer, it may wait for ever: the worker that it waits for may be this one.
    pub fn join(self) -> Outcome {
        let parker = Parker::new();
        loop {
            if let Some(outcome) = self.job.take_outcome(parker.waker()) {
                return outcome;
            }
            parker.park(None);
        }
    }

    /// Blocks until the job has its outcome, at most for this time. `None` if it takes longer: the job goes on.
    ///
    /// Once the job has its outcome, this and every further call returns it.
    pub fn join_timeout(&mut self, timeout: Duration) -> Option<Outcome> {
        // A time that the clock cannot express never comes.
        let until = Instant::now().checked_add(timeout);
        let parker = Parker::new();
        loop {
            if let Some(outcome) = self.job.outcome(Some(parker.waker())) {
                return Some(outcome);
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            parker.park(until);
        }
    }

    /// The outcome, if the job has it by now. Does not block.
    pub fn try_join(&mut self) -> Option<Outcome> {
        self.job.outcome(None)
    }

    /// Cancels the job, unless it has its outcome: it ends now, as
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    ///
    /// If the job is queued, what it holds is freed: request, body, extensions. If it is in flight, its worker stops as soon as
    /// the transport can be interrupted: between two redirects, and between two pieces of the body. **While the server has not
    /// responded, a blocking transport cannot be interrupted, and the worker is busy until the attempt's
    /// [`timeout`](crate::RequestSpec::timeout)**: set that to what an attempt may take.
    pub fn cancel(&self) {
        if let Some(threads) = self.threads.upgrade() {
            threads.core.cancel_spawned(&self.job);
        }
    }

    /// Returns the job's index in its pool, as [`Pool::submit`](crate::Pool::submit) does.
    pub fn index(&self) -> usize {
        self.job.index
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        self.job.detach();
        if self.cancels_on_drop {
            self.cancel();
        }
    }
}

/// Completes when the job has its outcome. Needs no runtime: the worker wakes the task.
impl Future for JobHandle {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match self.job.outcome(Some(context.waker())) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("index", &self.index())
            .field("is_done", &self.job.is_done())
            .finish_non_exhaustive()
    }
}

/// What a handle, the queue and the worker share of a job. While the job is queued, its request is in here, so that a
/// cancellation can free it: the queue holds a ticket only.
pub(super) struct SpawnedJob {
    pub(super) index: usize,
    state: Mutex<JobState>,
}

struct JobState {
    stage: JobStage,
    is_cancelled: bool,
    /// Whether the handle was dropped, so that the outcome has no reader.
    is_detached: bool,
    /// Of the thread or task that waits for the outcome.
    waker: Option<Waker>,
}

enum JobStage {
    Queued(RequestSpec, Option<Box<FinishedAttempt>>),
    /// Between two of the other stages: whatever has taken the job out of its stage is responsible for it.
    Moving,
    InFlight(PlaceInFlight),
    Done(Outcome),
}

/// Where a cancellation finds a job.
pub(super) enum CancelledAt {
    Queued(Job),
    InFlight(PlaceInFlight),
}

impl SpawnedJob {
    pub(super) fn new(index: usize, request: RequestSpec) -> Arc<Self> {
        Arc::new(Self {
            index,
            state: Mutex::new(JobState {
                stage: JobStage::Queued(request, None),
                is_cancelled: false,
                is_detached: false,
                waker: None,
            }),
        })
    }

    /// A job with a pending retry is queued again. Gives it back if it was cancelled.
    pub(super) fn put_back(&self, job: Job) -> Result<(), Job> {
        let mut state = self.state.lock();
        if state.is_cancelled {
            return Err(job);
        }
        state.stage = JobStage::Queued(job.request, job.last_attempt);
        Ok(())
    }

    /// Takes the job of a ticket. `None` if it was cancelled.
    pub(super) fn take(self: &Arc<Self>, origin: OriginKey) -> Option<Job> {
        let mut state = self.state.lock();
        self.take_queued(&mut state, origin)
    }

    fn take_queued(self: &Arc<Self>, state: &mut JobState, origin: OriginKey) -> Option<Job> {
        state.take(|stage| match stage {
            JobStage::Queued(request, last_attempt) => Ok(Job {
                index: self.index,
                request,
                route: ReplyRoute::Handle(Arc::clone(self)),
                origin,
                last_attempt,
            }),
            stage => Err(stage),
        })
    }

    /// A worker has started an attempt.
    pub(super) fn started(&self, running: &RunningJob) {
        let mut state = self.state.lock();
        // It may have its outcome already, if everything was cancelled meanwhile.
        if matches!(state.stage, JobStage::Moving) {
            state.stage = JobStage::InFlight(running.place());
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.lock().is_cancelled
    }

    /// `None` if there is nothing to end: the job has its outcome, or what is responsible for it sees the cancellation.
    pub(super) fn cancel(self: &Arc<Self>) -> Option<CancelledAt> {
        let mut state = self.state.lock();
        state.is_cancelled = true;
        if let Some(job) = self.take_queued(&mut state, OriginKey::NONE) {
            return Some(CancelledAt::Queued(job));
        }
        state.take(|stage| match stage {
            JobStage::InFlight(place) => Ok(CancelledAt::InFlight(place)),
            stage => Err(stage),
        })
    }

    pub(super) fn complete(&self, outcome: Outcome) {
        let mut state = self.state.lock();
        if state.is_detached {
            drop(state);
            return drop(outcome);
        }
        state.stage = JobStage::Done(outcome);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            // A panic of the executor's is not the job's.
            let _ = panics::caught(|| waker.wake());
        }
    }

    fn detach(&self) {
        let mut state = self.state.lock();
        state.is_detached = true;
        let waker = state.waker.take();
        let outcome = state.take_outcome();
        drop(state);
        drop((waker, outcome));
    }

    fn is_done(&self) -> bool {
        matches!(self.state.lock().stage, JobStage::Done(_))
    }

    /// The outcome, if it is there. Otherwise `waker` is called when it is.
    fn outcome(&self, waker: Option<&Waker>) -> Option<Outcome> {
        self.outcome_by(waker, |state| match &state.stage {
            JobStage::Done(outcome) => Some(outcome.clone()),
            _ => None,
        })
    }

    /// Like `outcome`, for a handle that will not ask again.
    fn take_outcome(&self, waker: &Waker) -> Option<Outcome> {
        self.outcome_by(Some(waker), JobState::take_outcome)
    }

    fn outcome_by(
        &self,
        waker: Option<&Waker>,
        get: impl FnOnce(&mut JobState) -> Option<Outcome>,
    ) -> Option<Outcome> {
        // Cloned and dropped without the lock: that is the executor's code.
        let mut waker = waker.cloned();
        let mut state = self.state.lock();
        let outcome = get(&mut state);
        if outcome.is_none() && waker.is_some() {
            std::mem::swap(&mut state.waker, &mut waker);
        }
        drop(state);
        drop(waker);
        outcome
    }
}

impl JobState {
    fn take_outcome(&mut self) -> Option<Outcome> {
        self.take(|stage| match stage {
            JobStage::Done(outcome) => Ok(outcome),
            stage => Err(stage),
        })
    }

    /// Takes the job out of its stage, unless it is another one than `take` is for, which gives it back.
    fn take<T>(&mut self, take: impl FnOnce(JobStage) -> Result<T, JobStage>) -> Option<T> {
        match take(std::mem::replace(&mut self.stage, JobStage::Moving)) {
            Ok(taken) => Some(taken),
            Err(stage) => {
                self.stage = stage;
                None
            }
        }
    }
}
