//! A job: a request that a pool has accepted, and what is known of its attempts until it has its outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::outcome::{JobInfo, Outcome, ThreadException, ThreadResponse};
use crate::request::RequestSpec;
use crate::response::Response;
use crate::schedule::OriginKey;
use crate::sync::Mutex;

pub(super) struct Job {
    pub(super) index: usize,
    pub(super) request: RequestSpec,
    /// The origin that it counts for, as far as the schedule tells origins apart.
    pub(super) origin: OriginKey,
    /// The last attempt, while a retry is pending. Most jobs have none, and millions may wait: they pay one pointer for it.
    pub(super) last_attempt: Option<Box<FinishedAttempt>>,
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
    pub(super) fn new(index: usize, request: RequestSpec) -> Self {
        Self {
            index,
            request,
            origin: OriginKey::NONE,
            last_attempt: None,
        }
    }

    /// The outcome of a job whose last attempt is this one.
    #[inline]
    pub(super) fn into_outcome(self, attempt: FinishedAttempt) -> Outcome {
        let info = JobInfo {
            request: self.request,
            index: self.index,
            attempts: attempt.log.attempts,
            elapsed: attempt.finished_at - attempt.log.first_started_at,
            last_attempt_elapsed: attempt.elapsed,
            finished_at: attempt.finished_at,
        };
        match attempt.result {
            Ok(response) => Ok(ThreadResponse::new(info, response)),
            Err(error) => Err(ThreadException::new(info, error, None)),
        }
    }

    /// The attempt that a job ends with that is cancelled while no worker is at it.
    pub(super) fn cancelled_attempt(&self) -> FinishedAttempt {
        let finished_at = Instant::now();
        let last = self.last_attempt.as_deref();
        let log = last.map_or_else(|| AttemptLog::starting_at(finished_at), |last| last.log);
        FinishedAttempt {
            log,
            result: Err(Error::cancelled().sent(log.was_sent)),
            elapsed: last.map_or(Duration::ZERO, |last| last.elapsed),
            finished_at,
        }
    }
}

impl AttemptLog {
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
}

impl StartedJob {
    /// The attempt that a job ends with that is cancelled while a worker is at it, and a copy of the job.
    pub(super) fn cancelled(&self) -> (Job, FinishedAttempt) {
        let finished_at = Instant::now();
        let job = Job {
            request: self.job.request.clone(),
            last_attempt: None,
            ..self.job
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
        let log = last.map_or_else(|| AttemptLog::starting_at(started_at), |last| last.log);
        let started = Arc::new(StartedJob {
            job,
            started_at,
            log,
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
        drop(self.shard(worker).lock().remove(slot, &started)?);
        Arc::into_inner(started)
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
    fn remove(&mut self, slot: usize, started: &Arc<StartedJob>) -> Option<Arc<StartedJob>> {
        let entry = self.slots.get_mut(slot)?;
        let removed = entry.take_if(|entry| Arc::ptr_eq(entry, started))?;
        self.vacant.push(slot);
        Some(removed)
    }
}
