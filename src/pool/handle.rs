//! Reaching a pool from other threads: [`Handle`].

use std::fmt;
use std::sync::{Arc, Weak};

use super::error::SubmitError;
use super::threads::Threads;
use crate::observe::{Counters, Stats};
use crate::request::RequestSpec;

/// Submits jobs to a [`Pool`](crate::Pool), cancels it and observes it, from any thread, those of its workers included.
/// Created by [`Pool::handle`](crate::Pool::handle).
///
/// It keeps nothing alive: once the pool is dropped, [`submit`](Self::submit) gives its requests back.
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
}

impl Handle {
    pub(super) fn new(threads: &Arc<Threads>) -> Self {
        Self {
            threads: Arc::downgrade(threads),
            counters: Arc::clone(&threads.core.counters),
        }
    }

    /// Submits a job. Returns its index: 0, 1, 2 … in the order in which jobs are accepted.
    ///
    /// Unlike [`Pool::submit`](crate::Pool::submit) it also works while the pool is joined or iterated over: jobs are
    /// accepted as long as work is outstanding, even if that is only the outcome that the iterator has just yielded.
    ///
    /// # Errors
    ///
    /// Returns an error, which gives the request back, if the work is over, if the pool was shut down, cancelled or dropped,
    /// or if no worker can be started.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        match self.threads.upgrade() {
            Some(threads) => threads.submit(request.into()),
            None => Err(SubmitError::new(request.into())),
        }
    }

    /// Ends the work now. Every job that has no outcome yet, queued or in flight, ends as
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and calls that wait for the pool return.
    ///
    /// Workers finish their current attempts on their own, and the results are discarded. Jobs in a channel of your own that
    /// no worker has taken are left to the channel's other receivers. Does nothing if the work is over.
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
