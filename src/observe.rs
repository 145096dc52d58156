//! Watching a pool: [`Stats`] for a look at it, [`Observer`] to be told.

mod observer;

pub use observer::{Attempt, Event, Observer};

use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What a pool has done so far, as it was at one moment.
///
/// The numbers agree with each other:
/// `submitted() == queued() + in_flight() + delayed() + responses() + exceptions() + given_back()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    submitted: usize,
    started: usize,
    delayed: usize,
    retries: usize,
    responses: usize,
    exceptions: usize,
    bytes_received: u64,
    given_back: usize,
    live_workers: usize,
    failed_workers: usize,
}

impl Stats {
    /// Jobs that were accepted. Those in your own job channel count from when a worker takes them.
    pub fn submitted(&self) -> usize {
        self.submitted
    }

    /// Jobs that wait for their first attempt.
    pub fn queued(&self) -> usize {
        self.submitted - self.started - self.given_back
    }

    /// Jobs that a worker is at.
    pub fn in_flight(&self) -> usize {
        self.started - self.delayed - self.responses - self.exceptions
    }

    /// Jobs that wait to be tried again.
    pub fn delayed(&self) -> usize {
        self.delayed
    }

    /// Attempts beyond the first ones that the [`Retry`](crate::Retry) policy has decided on.
    pub fn retries(&self) -> usize {
        self.retries
    }

    /// Jobs that ended in a response, read or not.
    pub fn responses(&self) -> usize {
        self.responses
    }

    /// Jobs that ended in an exception, read or not.
    pub fn exceptions(&self) -> usize {
        self.exceptions
    }

    /// Bytes of the bodies in memory that responses have brought, after decoding.
    pub fn bytes_received(&self) -> u64 {
        self.bytes_received
    }

    /// Jobs that [`Pool::shutdown`](crate::Pool::shutdown) has given back.
    pub fn given_back(&self) -> usize {
        self.given_back
    }

    /// Workers that have a session to send with. Those that are still opening theirs do not count.
    pub fn live_workers(&self) -> usize {
        self.live_workers
    }

    /// Workers that gave up because their thread or their session could not be made.
    pub fn failed_workers(&self) -> usize {
        self.failed_workers
    }
}

/// The counters behind [`Stats`].
#[derive(Debug)]
pub(crate) struct Counters {
    submitted: AtomicUsize,
    given_back: AtomicUsize,
    delayed: AtomicUsize,
    retries: AtomicUsize,
    live_workers: AtomicUsize,
    failed_workers: AtomicUsize,
    /// Workers count in different cache lines: one that all of them write to would wander from core to core.
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
            live_workers: AtomicUsize::default(),
            failed_workers: AtomicUsize::default(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
        }
    }
}

impl Counters {
    /// Returns the job's index.
    pub(crate) fn job_submitted(&self) -> usize {
        self.submitted.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn job_given_back(&self) {
        self.given_back.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn job_started(&self, worker: usize) {
        self.shard(worker).started.fetch_add(1, Ordering::SeqCst);
    }

    /// A job that was started waits for a retry.
    pub(crate) fn job_delayed(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.delayed.fetch_add(1, Ordering::SeqCst);
    }

    /// A job that has waited for a retry is in flight.
    pub(crate) fn job_resumed(&self) {
        self.delayed.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn job_answered(&self, worker: usize, bytes: u64) {
        let shard = self.shard(worker);
        shard.bytes_received.fetch_add(bytes, Ordering::Relaxed);
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
        // Each job passes the counters from the last of these to the first. Read in the opposite direction, a job that
        // moves on meanwhile is seen too early in its life at most, so no difference becomes negative. Being delayed is not
        // counted but a state, which a job leaves before its outcome counts.
        let exceptions = sum(|shard| &shard.exceptions);
        let responses = sum(|shard| &shard.responses);
        let bytes_received = self
            .shards
            .iter()
            .map(|shard| shard.bytes_received.load(Ordering::Relaxed))
            .sum();
        let delayed = self.delayed.load(Ordering::SeqCst);
        let started = sum(|shard| &shard.started);
        let given_back = self.given_back.load(Ordering::SeqCst);
        let submitted = self.submitted.load(Ordering::SeqCst);
        Stats {
            submitted,
            started,
            delayed,
            retries: self.retries.load(Ordering::Relaxed),
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
