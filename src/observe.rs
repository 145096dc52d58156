//! Observability: [`Stats`] snapshots and [`Observer`] callbacks.

mod observer;

use std::fmt;

pub(crate) use observer::notify;
pub use observer::{Attempt, Event, Observer, Progress, RetryEvent};
#[cfg(any(feature = "journal", feature = "redis"))]
pub use observer::{QueueDown, QueueUp, Superseded};

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A snapshot of the counters of a pool.
///
/// The numbers are consistent:
/// `submitted() == queued() + in_flight() + delayed() + responses() + exceptions() + given_back()`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    submitted: usize,
    started: usize,
    delayed: usize,
    retries: usize,
    denied_retries: usize,
    responses: usize,
    exceptions: usize,
    bytes_received: u64,
    given_back: usize,
    live_workers: usize,
    failed_workers: usize,
}

impl Stats {
    /// Returns the number of jobs that were accepted. A job in your own job channel counts once a worker has taken it.
    pub fn submitted(&self) -> usize {
        self.submitted
    }

    /// Returns the number of jobs that are waiting for their first attempt.
    pub fn queued(&self) -> usize {
        self.submitted - self.started - self.given_back
    }

    /// Returns the number of jobs that are being executed.
    pub fn in_flight(&self) -> usize {
        self.started - self.delayed - self.responses - self.exceptions
    }

    /// Returns the number of jobs that are waiting for a retry.
    pub fn delayed(&self) -> usize {
        self.delayed
    }

    /// Returns the number of retries that the [`Retry`](crate::Retry) policy has decided on.
    pub fn retries(&self) -> usize {
        self.retries
    }

    /// Returns the number of retries that the policy wanted and its [budget](crate::RetryBudget) did not allow: these jobs
    /// have ended with the result of the attempt before.
    pub fn denied_retries(&self) -> usize {
        self.denied_retries
    }

    /// Returns the number of jobs that have ended in a response, read or unread.
    pub fn responses(&self) -> usize {
        self.responses
    }

    /// Returns the number of jobs that have ended in an exception, read or unread.
    pub fn exceptions(&self) -> usize {
        self.exceptions
    }

    /// Returns the number of bytes that have arrived so far of the bodies of responses, whether they go into memory, to files or to
    /// handlers, in all attempts: as they come, before decoding. What is left of bodies that are not read counts in part.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Returns the number of jobs that [`Pool::shutdown`](crate::Pool::shutdown) has returned unsent, and of those that a
    /// durable queue has got back, since the pool was shut down or to wait for a retry there.
    pub fn given_back(&self) -> usize {
        self.given_back
    }

    /// Returns the number of workers with an open session, without those that are still starting.
    pub fn live_workers(&self) -> usize {
        self.live_workers
    }

    /// Returns the number of workers that failed: their thread could not be spawned, or their session not opened.
    pub fn failed_workers(&self) -> usize {
        self.failed_workers
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            submitted,
            started: _,
            delayed,
            retries,
            denied_retries,
            responses,
            exceptions,
            bytes_received,
            given_back,
            live_workers,
            failed_workers,
        } = self;
        f.debug_struct("Stats")
            .field("submitted", submitted)
            .field("queued", &self.queued())
            .field("in_flight", &self.in_flight())
            .field("delayed", delayed)
            .field("retries", retries)
            .field("denied_retries", denied_retries)
            .field("responses", responses)
            .field("exceptions", exceptions)
            .field("bytes_received", bytes_received)
            .field("given_back", given_back)
            .field("live_workers", live_workers)
            .field("failed_workers", failed_workers)
            .finish()
    }
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    submitted: AtomicUsize,
    given_back: AtomicUsize,
    delayed: AtomicUsize,
    retries: AtomicUsize,
    denied_retries: AtomicUsize,
    live_workers: AtomicUsize,
    failed_workers: AtomicUsize,
    /// Workers count in different cache lines, since a line that all of them write to would move between the cores.
    shards: Box<[Shard]>,
}

const SHARDS: usize = 16;

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    started: AtomicUsize,
    responses: AtomicUsize,
    exceptions: AtomicUsize,
    bytes_received: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            submitted: AtomicUsize::default(),
            given_back: AtomicUsize::default(),
            delayed: AtomicUsize::default(),
            retries: AtomicUsize::default(),
            denied_retries: AtomicUsize::default(),
            live_workers: AtomicUsize::default(),
            failed_workers: AtomicUsize::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

impl Counters {
    /// Returns the index of the job.
    pub(crate) fn job_submitted(&self) -> usize {
        self.submitted.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn job_given_back(&self) {
        self.given_back.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn job_started(&self, worker: usize) {
        self.shard(worker).started.fetch_add(1, Ordering::SeqCst);
    }

    /// A started job is waiting for a retry.
    pub(crate) fn job_delayed(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.delayed.fetch_add(1, Ordering::SeqCst);
    }

    /// A started job waits for a retry elsewhere, and is not this pool's any more.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(crate) fn job_postponed(&self, worker: usize) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.shard(worker).started.fetch_sub(1, Ordering::SeqCst);
        self.job_given_back();
    }

    pub(crate) fn retry_denied(&self) {
        self.denied_retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A job that was waiting for a retry is in flight again.
    pub(crate) fn job_resumed(&self) {
        self.delayed.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn bytes_received(&self, worker: usize, bytes: u64) {
        let shard = self.shard(worker);
        shard.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn job_responded(&self, worker: usize) {
        let shard = self.shard(worker);
        shard.responses.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn job_failed(&self, worker: usize) {
        self.shard(worker).exceptions.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn worker_opened(&self) {
        self.live_workers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn worker_closed(&self) {
        self.live_workers.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn worker_failed(&self) {
        self.failed_workers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn live_workers(&self) -> usize {
        self.live_workers.load(Ordering::SeqCst)
    }

    pub(crate) fn snapshot(&self) -> Stats {
        let sum = |counter: fn(&Shard) -> &AtomicUsize| {
            let counts = self
                .shards
                .iter()
                .map(|shard| counter(shard).load(Ordering::SeqCst));
            counts.sum::<usize>()
        };
        // Each job passes the counters from the last of these to the first. They are read in the opposite order, so
        // that a job that moves on meanwhile is seen in an earlier state at worst, and no difference becomes negative.
        // `delayed` is not a total but the number of jobs in that state, which a job leaves before its outcome counts.
        let exceptions = sum(|shard| &shard.exceptions);
        let responses = sum(|shard| &shard.responses);
        let bytes_received = self
            .shards
            .iter()
            .map(|shard| shard.bytes_received.load(Ordering::Relaxed))
            .sum();
        let delayed = self.delayed.load(Ordering::SeqCst);
        let given_back = self.given_back.load(Ordering::SeqCst);
        let started = sum(|shard| &shard.started);
        let submitted = self.submitted.load(Ordering::SeqCst);
        Stats {
            submitted,
            started,
            delayed,
            retries: self.retries.load(Ordering::Relaxed),
            denied_retries: self.denied_retries.load(Ordering::Relaxed),
            responses,
            exceptions,
            bytes_received,
            given_back,
            live_workers: self.live_workers(),
            failed_workers: self.failed_workers.load(Ordering::SeqCst),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is a valid index")]
    fn shard(&self, worker: usize) -> &Shard {
        &self.shards[worker % SHARDS]
    }
}
