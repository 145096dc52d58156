//! Any number of jobs in constant memory: [`ImapUnordered`] and [`Imap`].

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;

use super::{Outcomes, Pool};
use crate::outcome::{Outcome, ThreadException, ThreadResponse};
use crate::request::RequestSpec;

/// Like Python's `imap_unordered`: pulls requests from an iterator as there is room for them, and yields their outcomes in
/// completion order. Created by [`imap_unordered`](crate::imap_unordered) and
/// [`PoolBuilder::imap_unordered`](crate::PoolBuilder::imap_unordered).
///
/// Each call of `next` pulls requests until the [`window`](crate::PoolBuilder::window) is full, then waits for an outcome.
/// It ends when the input has ended and all outcomes were yielded. Dropping it early cancels queued jobs and does not block.
///
/// ```
/// let site = "https://example.com";
/// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// let endless = (1..).map(|page| format!("{site}/{page}"));
/// let outcomes = threaded::imap_unordered(endless)?;
/// let sizes = outcomes.flatten().take(100).map(|response| response.bytes().len());
/// println!("{} bytes", sizes.sum::<usize>());
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub struct ImapUnordered<I> {
    pool: WindowedPool<I>,
}

impl<I: Iterator> ImapUnordered<I> {
    pub(super) fn new(pool: WindowedPool<I>) -> Self {
        Self { pool }
    }
}

impl<I> Iterator for ImapUnordered<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    type Item = Result<ThreadResponse, ThreadException>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pool.fill();
        if self.pool.held == 0 {
            return None;
        }
        let outcome = self.pool.outcomes.next()?;
        self.pool.make_room();
        Some(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pool.size_hint()
    }
}

impl<I> FusedIterator for ImapUnordered<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
}

impl<I> fmt::Debug for ImapUnordered<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pool } = self;
        let mut shown = f.debug_struct("ImapUnordered");
        pool.fmt_fields(&mut shown);
        shown.finish_non_exhaustive()
    }
}

/// Like Python's `imap`: pulls requests from an iterator as there is room for them, and yields their outcomes in the order
/// of the requests. Created by [`imap`](crate::imap) and [`PoolBuilder::imap`](crate::PoolBuilder::imap).
///
/// Outcomes that arrive out of order are kept until it is their turn, and take up room in the
/// [`window`](crate::PoolBuilder::window). Otherwise it is like [`ImapUnordered`].
///
/// ```
/// let site = "https://example.com";
/// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// let pages = threaded::imap((0..20).map(|page| format!("{site}/{page}")))?;
/// for (number, page) in pages.enumerate() {
///     assert!(page?.request().url().ends_with(&format!("/{number}")));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Imap<I> {
    pool: WindowedPool<I>,
    /// The index of the job whose outcome is yielded next.
    next_index: usize,
    /// Outcomes of later jobs.
    early: BTreeMap<usize, Outcome>,
}

impl<I: Iterator> Imap<I> {
    pub(super) fn new(pool: WindowedPool<I>) -> Self {
        Self {
            pool,
            next_index: 0,
            early: BTreeMap::new(),
        }
    }
}

impl<I> Iterator for Imap<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    type Item = Result<ThreadResponse, ThreadException>;

    fn next(&mut self) -> Option<Self::Item> {
        self.pool.fill();
        if self.pool.held == 0 {
            return None;
        }
        let outcome = loop {
            if let Some(outcome) = self.early.remove(&self.next_index) {
                break outcome;
            }
            let outcome = self.pool.outcomes.next()?;
            let index = match &outcome {
                Ok(response) => response.index(),
                Err(exception) => exception.index(),
            };
            if index == self.next_index {
                break outcome;
            }
            self.early.insert(index, outcome);
        };
        self.next_index += 1;
        self.pool.make_room();
        Some(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.pool.size_hint()
    }
}

impl<I> FusedIterator for Imap<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
}

impl<I> fmt::Debug for Imap<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            next_index: _,
            early,
        } = self;
        let mut shown = f.debug_struct("Imap");
        pool.fmt_fields(&mut shown);
        shown.field("early", &early.len()).finish_non_exhaustive()
    }
}

/// A pool that pulls its jobs from an iterator, as long as it holds fewer of them than the window: queued, in flight, or
/// done and not yet yielded.
pub(super) struct WindowedPool<I> {
    /// `None` once it has ended: it is not polled again then.
    requests: Option<I>,
    window: usize,
    has_deadline: bool,
    held: usize,
    outcomes: Outcomes,
}

impl<I> WindowedPool<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    /// Submits jobs until the window is full. Runs the input on the caller's thread; if it panics, no job is lost.
    fn fill(&mut self) {
        let threads = &self.outcomes.guard.threads;
        while self.held < self.window {
            if !threads.core.is_running() {
                // Cancelled: requests that were not pulled stay in the input.
                self.requests = None;
            }
            let Some(request) = self.requests.as_mut().and_then(Iterator::next) else {
                self.requests = None;
                threads.core.close_intake();
                return;
            };
            match threads.submit(request.into()) {
                Ok(_) => self.held += 1,
                Err(_) => self.requests = None,
            }
        }
    }
}

impl<I: Iterator> WindowedPool<I> {
    pub(super) fn new(pool: Pool, requests: I, window: usize, has_deadline: bool) -> Self {
        let mut outcomes = pool.into_iter();
        // The intake is closed when the input has ended.
        outcomes.closes_intake = false;
        Self {
            requests: Some(requests),
            window,
            has_deadline,
            held: 0,
            outcomes,
        }
    }

    /// An outcome is yielded: there is room for another job.
    fn make_room(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (lower, upper) = match &self.requests {
            // A run that is cancelled leaves the rest of its input alone.
            Some(requests) if self.has_deadline => (0, requests.size_hint().1),
            Some(requests) => requests.size_hint(),
            None => (0, Some(0)),
        };
        let upper = upper.and_then(|upper| upper.checked_add(self.held));
        (lower.saturating_add(self.held), upper)
    }
}

impl<I> WindowedPool<I> {
    fn fmt_fields(&self, shown: &mut fmt::DebugStruct<'_, '_>) {
        let Self {
            requests,
            window,
            has_deadline: _,
            held,
            outcomes: _,
        } = self;
        shown
            .field("has_input", &requests.is_some())
            .field("window", window)
            .field("held", held);
    }
}
