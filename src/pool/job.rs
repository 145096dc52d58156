//! A job: a request that a pool has accepted, and what is known of its attempts until it has its outcome.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::job_handle::SpawnedJob;
use super::round::Round;
use crate::error::Error;
use crate::outcome::{JobInfo, Outcome, ThreadException, ThreadResponse};
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::queue::Lease;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::schedule::OriginKey;
use crate::sync::{CancelFlag, Mutex};

pub(super) struct Job {
    pub(super) index: usize,
    pub(super) request: RequestSpec,
    pub(super) route: ReplyRoute,
    /// The origin that it counts for, as far as the schedule tells origins apart.
    pub(super) origin: OriginKey,
    /// The last attempt, while a retry is pending. Most jobs have none, and millions may wait: they pay one pointer for it.
    pub(super) last_attempt: Option<Box<FinishedAttempt>>,
}

/// Where the outcome of a job goes.
#[derive(Clone)]
pub(super) enum ReplyRoute {
    /// To the result channels of the pool.
    Pool,
    /// To those of a round.
    Round(Arc<Round>),
    /// To a [`JobHandle`](super::JobHandle).
    Handle(Arc<SpawnedJob>),
}

impl ReplyRoute {
    /// Whether a job is not to be attempted any more: it was cancelled, or its outcome has no reader.
    pub(super) fn is_unwanted(&self) -> bool {
        match self {
            Self::Pool => false,
            Self::Round(round) => round.is_abandoned(),
            Self::Handle(job) => job.is_cancelled(),
        }
    }
}

/// What is known of a job's attempts so far.
#[derive(Clone, Copy)]
pub(super) struct AttemptLog {
    pub(super) attempts: u32,
    /// The attempts that a [`Retry`](crate::Retry) policy has decided on.
    pub(super) retries: u32,
    /// Whether a server may have seen any of them.
    pub(super) was_sent: bool,
    pub(super) first_started_at: Instant,
}

pub(super) struct FinishedAttempt {
    /// This attempt included.
    pub(super) log: AttemptLog,
    pub(super) result: Result<Response, Error>,
    pub(super) elapsed: Duration,
    pub(super) finished_at: Instant,
}

impl Job {
    /// The outcome of a job whose last attempt is this one, and where it goes.
    #[inline]
    pub(super) fn into_outcome(self, attempt: FinishedAttempt) -> (Outcome, ReplyRoute) {
        let info = JobInfo {
            request: self.request,
            index: self.index,
            keeps_open: false,
            attempts: attempt.log.attempts,
            elapsed: attempt.finished_at - attempt.log.first_started_at,
            last_attempt_elapsed: attempt.elapsed,
            finished_at: attempt.finished_at,
        };
        let outcome = match attempt.result {
            Ok(response) => Ok(ThreadResponse::new(info, response)),
            Err(error) => Err(ThreadException::new(info, error, None)),
        };
        (outcome, self.route)
    }

    /// The lease of a job that comes from a durable queue.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(super) fn lease(&self) -> Option<&Arc<Lease>> {
        self.request.extensions().get()
    }

    /// Whether it comes from a durable queue, which gets it back if it has no outcome.
    pub(super) fn is_leased(&self) -> bool {
        #[cfg(any(feature = "journal", feature = "redis"))]
        return self.lease().is_some();
        #[cfg(not(any(feature = "journal", feature = "redis")))]
        return false;
    }

    /// The attempt that a job ends with that gets its outcome while no worker is at it.
    pub(super) fn ended_attempt(&self, error: Error) -> FinishedAttempt {
        let finished_at = Instant::now();
        let last = self.last_attempt.as_deref();
        let log = last.map_or_else(|| AttemptLog::starting_at(finished_at), |last| last.log);
        FinishedAttempt {
            log,
            result: Err(error.sent(log.was_sent)),
            elapsed: last.map_or(Duration::ZERO, |last| last.elapsed),
            finished_at,
        }
    }
}

impl AttemptLog {
    /// Before the first attempt of this pool at a job.
    fn of(job: &Job, now: Instant) -> Self {
        let log = Self::starting_at(now);
        #[cfg(any(feature = "journal", feature = "redis"))]
        if let Some(made) = job.lease().and_then(|lease| lease.made()) {
            return Self {
                attempts: made.attempts,
                retries: made.retries,
                was_sent: made.was_sent,
                ..log
            };
        }
        let _ = job;
        log
    }

    fn starting_at(now: Instant) -> Self {
        Self {
            attempts: 0,
            retries: 0,
            was_sent: false,
            first_started_at: now,
        }
    }
}

/// A job that a worker is at. What it holds is shared with the table of jobs in flight, so that a cancellation can end the
/// job while the worker is still busy with it.
pub(super) struct RunningJob {
    started: Arc<StartedJob>,
    slot: usize,
    pub(super) worker: usize,
    pub(super) log: AttemptLog,
}

pub(super) struct StartedJob {
    pub(super) job: Job,
    pub(super) started_at: Instant,
    /// Before this attempt.
    log: AttemptLog,
    /// Set when a cancellation has ended the job: the attempt is to stop as soon as it can.
    cancel_flag: Arc<CancelFlag>,
}

impl RunningJob {
    pub(super) fn request(&self) -> &RequestSpec {
        &self.started.job.request
    }

    pub(super) fn index(&self) -> usize {
        self.started.job.index
    }

    pub(super) fn origin(&self) -> OriginKey {
        self.started.job.origin
    }

    pub(super) fn route(&self) -> &ReplyRoute {
        &self.started.job.route
    }

    pub(super) fn cancel_flag(&self) -> &Arc<CancelFlag> {
        &self.started.cancel_flag
    }

    /// What a cancellation of this job alone needs to find it.
    pub(super) fn place(&self) -> PlaceInFlight {
        PlaceInFlight {
            started: Arc::downgrade(&self.started),
            slot: self.slot,
            worker: self.worker,
        }
    }
}

/// Where a job is in the table of jobs in flight.
pub(super) struct PlaceInFlight {
    started: Weak<StartedJob>,
    slot: usize,
    worker: usize,
}

impl StartedJob {
    /// The attempt that a job ends with that is cancelled while a worker is at it, and a copy of the job.
    pub(super) fn cancel(&self) -> (Job, FinishedAttempt) {
        self.cancel_flag.set();
        let finished_at = Instant::now();
        let job = Job {
            index: self.job.index,
            request: self.job.request.clone(),
            route: self.job.route.clone(),
            origin: self.job.origin,
            last_attempt: None,
        };
        let attempt = FinishedAttempt {
            log: AttemptLog {
                attempts: self.log.attempts + 1,
                ..self.log
            },
            result: Err(Error::cancelled().sent(true)),
            elapsed: finished_at - self.started_at,
            finished_at,
        };
        (job, attempt)
    }
}

/// The number of locks that the table of jobs in flight is spread over, so that workers seldom wait for each other.
const SHARDS: usize = 16;

/// The jobs in flight. Whatever removes a job from the table is responsible for its outcome: its worker, or a cancellation.
pub(super) struct InFlight(Box<[Mutex<Shard>]>);

/// The jobs of some workers, in slots that are reused.
#[derive(Default)]
struct Shard {
    slots: Vec<Option<Arc<StartedJob>>>,
    vacant: Vec<usize>,
}

impl Default for InFlight {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Mutex::default()).collect())
    }
}

impl InFlight {
    /// A worker starts an attempt at a job.
    pub(super) fn insert(&self, worker: usize, mut job: Job) -> RunningJob {
        let started_at = Instant::now();
        let last = job.last_attempt.take();
        let log = last.map_or_else(|| AttemptLog::of(&job, started_at), |last| last.log);
        let started = Arc::new(StartedJob {
            job,
            started_at,
            log,
            cancel_flag: Arc::default(),
        });
        RunningJob {
            slot: self.shard(worker).lock().insert(Arc::clone(&started)),
            started,
            worker,
            log,
        }
    }

    /// `None` if a cancellation has ended the job meanwhile.
    pub(super) fn remove(&self, running: RunningJob) -> Option<StartedJob> {
        let RunningJob {
            started,
            slot,
            worker,
            ..
        } = running;
        drop(
            self.shard(worker)
                .lock()
                .remove(slot, Arc::as_ptr(&started))?,
        );
        Arc::into_inner(started)
    }

    /// Removes one for its cancellation. `None` if the attempt is over.
    pub(super) fn remove_at(&self, place: &PlaceInFlight) -> Option<Arc<StartedJob>> {
        let shard = self.shard(place.worker);
        shard.lock().remove(place.slot, place.started.as_ptr())
    }

    /// Removes those whose outcomes have no reader any more.
    pub(super) fn drain_unwanted(&self) -> Vec<Arc<StartedJob>> {
        let shards = self.0.iter();
        shards
            .flat_map(|shard| shard.lock().remove_if(|job| job.route.is_unwanted()))
            .collect()
    }

    /// Removes all of them.
    pub(super) fn drain(&self) -> Vec<Arc<StartedJob>> {
        let shards = self.0.iter();
        shards
            .flat_map(|shard| std::mem::take(&mut *shard.lock()).slots)
            .flatten()
            .collect()
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is a valid index")]
    fn shard(&self, worker: usize) -> &Mutex<Shard> {
        &self.0[worker % SHARDS]
    }
}

impl Shard {
    fn remove_if(&mut self, is_meant: impl Fn(&Job) -> bool) -> Vec<Arc<StartedJob>> {
        let mut removed = Vec::new();
        for (slot, entry) in self.slots.iter_mut().enumerate() {
            if let Some(started) = entry.take_if(|started| is_meant(&started.job)) {
                self.vacant.push(slot);
                removed.push(started);
            }
        }
        removed
    }

    fn insert(&mut self, started: Arc<StartedJob>) -> usize {
        let vacant = self.vacant.pop();
        if let Some((slot, entry)) = vacant.and_then(|slot| Some((slot, self.slots.get_mut(slot)?)))
        {
            *entry = Some(started);
            return slot;
        }
        self.slots.push(Some(started));
        self.slots.len() - 1
    }

    /// Removes this job, unless it was removed before and the slot is empty, or another job's.
    fn remove(&mut self, slot: usize, started: *const StartedJob) -> Option<Arc<StartedJob>> {
        let entry = self.slots.get_mut(slot)?;
        let removed = entry.take_if(|entry| Arc::as_ptr(entry) == started)?;
        self.vacant.push(slot);
        Some(removed)
    }
}
