//! What a durable queue and a pool have between them: the store of the jobs, and the lease of each job that was taken.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::{Acked, DeadJob, Job, QueueError, QueueStats, Recorded, sealing};
use crate::error::Error;
use crate::limits::shared::LimitServer;
use crate::observe::Observer;
use crate::outcome::{JobInfo, Outcome, OutcomeData, ThreadException};
use crate::redact::Truncated;
use crate::request::RequestSpec;
use crate::sync::atomic::{AtomicBool, Ordering};

/// For how long the end of the deliveries waits until all is recorded, and until the server knows what was given back.
pub(super) const MAX_SETTLING: Duration = Duration::from_secs(5);

/// What holds the jobs.
pub(crate) trait Store: Send + Sync + fmt::Debug {
    /// Returns how many were accepted.
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>) -> Result<usize, QueueError>;

    fn close(&self) -> Result<(), QueueError>;

    /// Leases jobs, at most so many, without waiting for any.
    fn take(&self, max: usize) -> Result<Taken, QueueError>;

    /// Calls the waker whenever [`take`](Self::take) may have something new to tell.
    fn watch(&self, waker: &Waker);

    fn unwatch(&self, waker: &Waker);

    /// Tells the observer whenever the server goes away, and when it is back.
    fn observe(&self, _: &Arc<dyn Observer>) {}

    fn unobserve(&self, _: &Arc<dyn Observer>) {}

    /// A leased job is about to be sent.
    fn start(&self, entry: &Entry, is_idempotent: bool) -> Result<(), QueueError>;

    /// Records outcomes, in their JSON form. All of them, or none if it fails.
    fn record(&self, outcomes: &[(&Entry, &[u8])]) -> Result<Vec<Acked>, QueueError>;

    /// Ends a lease until a retry.
    fn postpone(&self, entry: &Entry, delay: Delay) -> Result<(), QueueError>;

    /// Ends a lease without an outcome. Must not block.
    fn give_back(&self, entry: &Entry);

    /// Waits until what was given back is, but not for long.
    fn settle(&self);

    fn outcomes(&self) -> Result<RecordedOutcomes, QueueError>;

    fn dead(&self) -> Result<Vec<DeadJob>, QueueError>;

    fn requeue(&self, job_id: &str) -> Result<bool, QueueError>;

    fn discard(&self, job_id: &str) -> Result<bool, QueueError>;

    fn stats(&self) -> Result<QueueStats, QueueError>;

    fn is_connected(&self) -> bool {
        true
    }

    /// What keeps limits for all consumers; `None` if there is only one.
    fn limits(&self) -> Option<Arc<dyn LimitServer>> {
        None
    }
}

pub(crate) type RecordedOutcomes = Box<dyn Iterator<Item = Result<Recorded, QueueError>> + Send>;

/// Jobs that are submitted at once.
pub(super) struct Batch {
    /// Ids, and requests in their JSON form.
    pub(super) jobs: Vec<(String, Vec<u8>)>,
    /// Why there are no more.
    pub(super) end: Option<Result<(), QueueError>>,
}

impl Batch {
    /// Takes jobs until there are so many, or so many bytes of them.
    pub(super) fn next(
        source: &mut dyn Iterator<Item = Job>,
        keys: &sealing::Keys,
        prepare: impl Fn(RequestSpec) -> Result<RequestSpec, String>,
        (max_jobs, max_bytes): (usize, usize),
    ) -> Self {
        let mut jobs = Vec::new();
        let mut size = 0;
        while jobs.len() < max_jobs && size < max_bytes {
            let next = source
                .next()
                .map(|Job { id, request }| match prepare(request) {
                    Ok(request) => keys.write(Job { id, request }),
                    Err(message) => Err(QueueError::Job { id, message }),
                });
            let end = match next {
                Some(Ok((id, json))) => {
                    size += json.len() + id.len();
                    jobs.push((id, json));
                    continue;
                }
                Some(Err(error)) => Some(Err(error)),
                None => Some(Ok(())),
            };
            return Self { jobs, end };
        }
        Self { jobs, end: None }
    }
}

/// What [`Store::take`] returns.
pub(crate) struct Taken {
    pub(crate) jobs: Vec<TakenJob>,
    /// When the next delayed job is due.
    pub(crate) next_at: Option<Instant>,
    /// Whether the queue is closed and no job is left.
    pub(crate) is_over: bool,
}

pub(crate) struct TakenJob {
    pub(crate) entry: Entry,
    pub(crate) request: RequestSpec,
    /// What is known of its attempts, if it waited for a retry.
    pub(crate) made: Option<Made>,
}

/// A leased job, as its store knows it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) job_id: Box<str>,
    pub(crate) place: usize,
    /// How often it was started without an outcome.
    pub(crate) starts: u32,
}

/// A retry that waits in the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) time: Duration,
    pub(crate) made: Made,
}

/// What is known of the attempts before a retry, also in its JSON form.
#[derive(Clone, Copy, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Made {
    pub(crate) attempts: u32,
    pub(crate) retries: u32,
    pub(crate) was_sent: bool,
}

/// The outcome of a job that is not delivered any more, in its JSON form.
pub(super) fn outcome_of_dead(job_id: &str, request: RequestSpec, error: Error) -> Vec<u8> {
    log::warn!("the job `{}` is dead: {error}", Truncated(job_id));
    let info = JobInfo::without_attempt(request);
    let outcome = Err(ThreadException::new(info, error, None));
    serde_json::to_vec(&OutcomeData::of(&outcome, false)).unwrap_or_default()
}

/// Why a dead job is dead, according to its outcome.
pub(super) fn reason_of(outcome: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Outcome {
        error: Message,
    }
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Outcome>(outcome) {
        Ok(outcome) => outcome.error.message,
        Err(error) => format!("its outcome is not understood: {error}"),
    }
}

/// A lease, which travels with its job through the pool: wherever the job is dropped, it is given back to the queue.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    entry: Entry,
    /// What is known of the attempts before, if the job has waited for a retry.
    made: Option<Made>,
    /// Whether it has ended, or another thread is about to end it.
    is_settled: AtomicBool,
}

impl Lease {
    pub(crate) fn new(store: &Arc<dyn Store>, entry: Entry, made: Option<Made>) -> Self {
        Self {
            store: Arc::clone(store),
            entry,
            made,
            is_settled: AtomicBool::new(false),
        }
    }

    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// What is known of the attempts before, if the job has waited for a retry.
    pub(crate) fn made(&self) -> Option<Made> {
        self.made
    }

    pub(crate) fn start(&self, is_idempotent: bool) -> Result<(), QueueError> {
        self.store.start(&self.entry, is_idempotent)
    }

    /// The JSON form of the outcome of its job.
    pub(super) fn describe(
        &self,
        outcome: &Outcome,
        with_body: bool,
    ) -> Result<Vec<u8>, QueueError> {
        // Most are not larger.
        let mut json = Vec::with_capacity(512);
        let written = serde_json::to_writer(&mut json, &OutcomeData::of(outcome, with_body));
        written.map_err(|error| QueueError::Job {
            id: self.entry.job_id.to_string(),
            message: error.to_string(),
        })?;
        Ok(json)
    }

    /// Records outcomes of jobs of one store, in their JSON form.
    pub(super) fn record_all<L: Borrow<Self>>(
        outcomes: &[(L, Vec<u8>)],
    ) -> Result<Vec<Acked>, QueueError> {
        let mut acked = vec![Acked::Superseded; outcomes.len()];
        let (mut leases, mut records) = (Vec::new(), Vec::new());
        for (place, (lease, json)) in outcomes.iter().enumerate() {
            let lease = lease.borrow();
            // One that has ended, or is about to, has no record any more.
            if !lease.is_settled.swap(true, Ordering::SeqCst) {
                leases.push((place, lease));
                records.push((&lease.entry, &**json));
            }
        }
        let Some((_, lease)) = leases.first() else {
            return Ok(acked);
        };
        let recorded = lease.store.record(&records).inspect_err(|_| {
            for (_, lease) in &leases {
                lease.is_settled.store(false, Ordering::SeqCst);
            }
        })?;
        for ((place, _), recorded) in leases.into_iter().zip(recorded) {
            if let Some(acked) = acked.get_mut(place) {
                *acked = recorded;
            }
        }
        Ok(acked)
    }

    /// Ends the lease without an outcome, unless it has ended.
    pub(crate) fn give_back(&self) {
        if !self.is_settled.swap(true, Ordering::SeqCst) {
            self.store.give_back(&self.entry);
        }
    }

    pub(crate) fn postpone(&self, delay: Delay) -> Result<(), QueueError> {
        self.store.postpone(&self.entry, delay)?;
        self.is_settled.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back();
    }
}
