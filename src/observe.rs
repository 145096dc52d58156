//! Watching a pool: [`Stats`].

use std::sync::atomic::{AtomicUsize, Ordering};

/// What a pool has done so far, as it was at one moment.
///
/// The numbers agree with each other: `submitted() == queued() + in_flight() + responses() + exceptions()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    submitted: usize,
    started: usize,
    responses: usize,
    exceptions: usize,
    live_workers: usize,
    failed_workers: usize,
}

impl Stats {
    /// Jobs that were accepted. Those in your own job channel count from when a worker takes them.
    pub fn submitted(&self) -> usize {
        self.submitted
    }

    /// Jobs that wait for a worker.
    pub fn queued(&self) -> usize {
        self.submitted - self.started
    }

    /// Jobs that a worker is at.
    pub fn in_flight(&self) -> usize {
        self.started - self.responses - self.exceptions
    }

    /// Jobs that ended in a response, read or not.
    pub fn responses(&self) -> usize {
        self.responses
    }

    /// Jobs that ended in an exception, read or not.
    pub fn exceptions(&self) -> usize {
        self.exceptions
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
#[derive(Debug, Default)]
pub(crate) struct Tally {
    submitted: AtomicUsize,
    started: AtomicUsize,
    responses: AtomicUsize,
    exceptions: AtomicUsize,
    live_workers: AtomicUsize,
    failed_workers: AtomicUsize,
}

impl Tally {
    /// Counts a job in; returns its index.
    pub(crate) fn job_submitted(&self) -> usize {
        self.submitted.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn job_started(&self) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn job_answered(&self) {
        self.responses.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn job_failed(&self) {
        self.exceptions.fetch_add(1, Ordering::SeqCst);
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
        // Each job passes the counters from the last of these to the first. Read in the opposite direction, a job that
        // moves on meanwhile is seen at most too early in its life, so no difference becomes negative.
        let exceptions = self.exceptions.load(Ordering::SeqCst);
        let responses = self.responses.load(Ordering::SeqCst);
        let started = self.started.load(Ordering::SeqCst);
        let submitted = self.submitted.load(Ordering::SeqCst);
        Stats {
            submitted,
            started,
            responses,
            exceptions,
            live_workers: self.live_workers(),
            failed_workers: self.failed_workers.load(Ordering::SeqCst),
        }
    }
}
