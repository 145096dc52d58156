//! Reaching a pool from elsewhere: [`Handle`].

use std::fmt;
use std::sync::{Arc, Weak};

use super::threads::Threads;
use crate::observe::{Counters, Stats};
use crate::pool::SubmitError;
use crate::request::RequestSpec;

/// Reaches a [`Pool`](crate::Pool) from any thread, those of its workers included. Made by
/// [`Pool::handle`](crate::Pool::handle).
///
/// It keeps nothing alive: once the pool is gone, [`submit`](Self::submit) gives its requests back.
///
/// A crawler hands in the links that it finds, and ends by itself when there are no more:
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use threaded::Pool;
///
/// # // Each page links to the next two.
/// # let answer = |exchange: Exchange<'_>| {
/// #     let page: u32 = exchange.url().path()[1..].parse().unwrap();
/// #     let links = format!("http://test/{}\nhttp://test/{}", 2 * page, 2 * page + 1);
/// #     Ok(http::Response::new(ResponseBody::from(if page < 8 { links } else { String::new() })))
/// # };
/// # let builder = Pool::builder().num_threads(2).session(move || Session::new(answer));
/// # let pool = builder.build_from_urls(["http://test/1"])?;
/// // let pool = Pool::from_urls(["https://…"])?;
/// let handle = pool.handle();
/// let mut pages = 0;
/// for response in pool.into_iter().flatten() {
///     pages += 1;
///     for link in response.text().lines() {
///         handle.submit(link)?;
///     }
/// }
/// assert_eq!(pages, 15);
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

    /// Adds a job. Returns its index: 0, 1, 2 … in the order in which jobs are accepted.
    ///
    /// Unlike [`Pool::submit`](crate::Pool::submit) it may be called when the pool is being joined or iterated over: jobs
    /// are accepted as long as there is work, be it only the outcome that the iterator has just handed out.
    ///
    /// # Errors
    ///
    /// If the work is over or the pool is gone. The error gives the request back.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        match self.threads.upgrade() {
            Some(threads) => threads.submit(request.into()),
            None => Err(SubmitError::new(request.into())),
        }
    }

    /// Ends the work now. Every job that has no outcome yet, queued or in flight, ends as
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), and whoever waits for the pool need wait no longer.
    ///
    /// Workers finish what they are at on their own; nobody learns how. Jobs in a channel of yours that no worker has taken
    /// are left to the channel's other receivers. Nothing happens if the work is over.
    pub fn cancel(&self) {
        if let Some(threads) = self.threads.upgrade() {
            threads.core.cancel();
        }
    }

    /// What the pool has done so far.
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
