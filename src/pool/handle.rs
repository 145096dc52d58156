//! Reaching a pool from other threads: [`Handle`].

use std::fmt;
use std::sync::{Arc, Weak};

use super::error::SubmitError;
use super::job_handle::JobHandle;
use super::round::Round;
use super::shutdown::ShutdownMode;
use super::threads::Threads;
use crate::observe::{Counters, Stats};
use crate::request::RequestSpec;

/// Submits jobs to a [`Pool`](crate::Pool), ends it and observes it, from any thread, those of its workers included.
/// Created by [`Pool::handle`](crate::Pool::handle), [`Imap::handle`](crate::Imap::handle) and
/// [`ImapUnordered::handle`](crate::ImapUnordered::handle).
///
/// Its methods follow the rules of those of the pool. It keeps nothing alive: once the pool is dropped,
/// [`submit`](Self::submit) gives its requests back.
///
/// A crawler submits the links that it finds, and ends by itself when there are no more:
///
/// ```
/// use threaded::Pool;
///
/// let first = "https://example.com/1";
/// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// # let first = format!("{site}/1");
/// let pool = Pool::from_urls([first])?;
/// let handle = pool.handle();
/// let mut pages = 0;
/// for response in pool.into_iter().flatten() {
///     pages += 1;
///     for link in response.text().lines().filter(|line| line.starts_with("https://")) {
///         handle.submit(link)?;
///     }
/// }
/// assert_eq!(pages, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Handle {
    threads: Weak<Threads>,
    counters: Arc<Counters>,
    /// What is submitted is part of this round.
    round: Option<Weak<Round>>,
}

impl Handle {
    pub(super) fn new(threads: &Arc<Threads>, round: Option<&Arc<Round>>) -> Self {
        Self {
            threads: Arc::downgrade(threads),
            counters: Arc::clone(&threads.core.counters),
            round: round.map(Arc::downgrade),
        }
    }

    /// Submits a job, as [`Pool::submit`](crate::Pool::submit) does. Returns its index: 0, 1, 2 … in the order in which jobs
    /// are accepted.
    ///
    /// While the pool is joined or iterated over, jobs are accepted as long as work is outstanding, even if that is only the
    /// outcome that the iterator has just yielded.
    ///
    /// # Errors
    ///
    /// Returns an error, which gives the request back, if the work is over, if the pool was closed, shut down, cancelled or
    /// dropped, or if no worker can be started.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        let request = request.into();
        let round = self.round.as_ref().map(Weak::upgrade);
        match (self.threads.upgrade(), round) {
            (Some(threads), None) => threads.submit(request, None),
            (Some(_), Some(Some(round))) if round.is_closed() => {
                Err(SubmitError::closed(request, ShutdownMode::Closed))
            }
            (Some(threads), Some(Some(round))) => threads.submit(request, Some(round)),
            _ => Err(SubmitError::closed(request, ShutdownMode::Dropped)),
        }
    }

    /// Submits a job whose outcome comes back through its own handle, as [`Pool::spawn`](crate::Pool::spawn) does.
    ///
    /// # Errors
    ///
    /// Returns an error, which gives the request back, as [`submit`](Self::submit) does.
    pub fn spawn(&self, request: impl Into<RequestSpec>) -> Result<JobHandle, SubmitError> {
        let request = request.into();
        match self.threads.upgrade() {
            Some(threads) => threads.spawn_job(request),
            None => Err(SubmitError::closed(request, ShutdownMode::Dropped)),
        }
    }

    /// Closes the intake without waiting, as [`Pool::close`](crate::Pool::close) does. The handle of an
    /// [`imap`](crate::Imap::handle) run closes that of the run only.
    pub fn close(&self) {
        if let Some(round) = &self.round {
            if let Some(round) = round.upgrade() {
                round.close();
            }
            return;
        }
        if let Some(threads) = self.threads.upgrade() {
            threads.core.close();
        }
    }

    /// Starts no more jobs, waits for the jobs in flight, and returns the requests that were not sent, as
    /// [`Pool::shutdown`](crate::Pool::shutdown) does. None if the pool was dropped, or another call has returned them.
    ///
    /// It stops an iteration from a handler for Ctrl-C: the iterator yields the outcomes of the jobs in flight, and ends. A
    /// [`cancel`](Self::cancel) meanwhile ends the wait. Must not be called on a worker's thread.
    pub fn shutdown(&self) -> Vec<RequestSpec> {
        match self.threads.upgrade() {
            Some(threads) => threads.core.shut_down(),
            None => Vec::new(),
        }
    }

    /// Blocks until no job is queued, delayed or in flight, as [`Pool::wait_idle`](crate::Pool::wait_idle) does. Returns at once
    /// if the pool was dropped.
    pub fn wait_idle(&self) {
        if let Some(threads) = self.threads.upgrade() {
            threads.core.wait_idle();
        }
    }

    /// Ends the work now. Every job that has no outcome yet, queued or in flight, fails with
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and calls that wait for the pool return.
    ///
    /// Workers stop their current attempts as soon as the transport can be interrupted, and the results are discarded. Jobs in
    /// a channel of your own that no worker has taken are left to the channel's other receivers. Does nothing if the work is
    /// over.
    pub fn cancel(&self) {
        if let Some(threads) = self.threads.upgrade() {
            threads.core.cancel();
        }
    }

    /// A snapshot of what the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
