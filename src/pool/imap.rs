//! Any number of jobs in constant memory: [`ImapUnordered`] and [`Imap`].

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;

use super::{Outcomes, Pool};
use crate::outcome::{Outcome, ThreadException, ThreadResponse};
use crate::request::RequestSpec;

/// Outcomes of requests that are drawn from an iterator as there is room for them. Made by
/// [`imap_unordered`](crate::imap_unordered) and [`PoolBuilder::imap_unordered`](crate::PoolBuilder::imap_unordered).
///
/// Each call of `next` draws requests until the [`window`](crate::PoolBuilder::window) is full, then waits for an outcome.
/// It ends when the input has ended and all outcomes have been handed out. Dropping it early cancels what is queued and
/// does not wait.
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use threaded::Pool;
///
/// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("hello")));
/// let endless = (1..).map(|page| format!("http://test/{page}"));
/// # let builder = Pool::builder().session(move || Session::new(answer));
/// let outcomes = builder.imap_unordered(endless)?;
/// // let outcomes = threaded::imap_unordered(endless)?;
/// let bytes: usize = outcomes.flatten().take(1000).map(|response| response.bytes().len()).sum();
/// assert_eq!(bytes, 5000);
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub struct ImapUnordered<I> {
    lazy: Lazy<I>,
}

impl<I: Iterator> ImapUnordered<I> {
    pub(super) fn new(lazy: Lazy<I>) -> Self {
        Self { lazy }
    }
}

impl<I> Iterator for ImapUnordered<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    type Item = Result<ThreadResponse, ThreadException>;

    fn next(&mut self) -> Option<Self::Item> {
        self.lazy.fill();
        if self.lazy.held() == 0 {
            return None;
        }
        let outcome = self.lazy.wait()?;
        self.lazy.handed_out();
        Some(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.lazy.size_hint()
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
        let Self { lazy } = self;
        write!(f, "ImapUnordered({lazy:?})")
    }
}

/// Outcomes in the order of the requests, which are drawn from an iterator as there is room for them. Made by
/// [`imap`](crate::imap) and [`PoolBuilder::imap`](crate::PoolBuilder::imap).
///
/// Outcomes that come before their turn are kept until then, and take their places in the
/// [`window`](crate::PoolBuilder::window). Otherwise it is like [`ImapUnordered`].
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use threaded::Pool;
///
/// # let answer = |exchange: Exchange<'_>| {
/// #     Ok(http::Response::new(ResponseBody::from(exchange.url().path().to_owned())))
/// # };
/// # let builder = Pool::builder().session(move || Session::new(answer));
/// let pages = builder.imap((0..100).map(|page| format!("http://test/{page}")))?;
/// // let pages = threaded::imap((0..100).map(|page| format!("https://…/{page}")))?;
/// for (number, page) in pages.enumerate() {
///     assert_eq!(page?.text(), format!("/{number}"));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Imap<I> {
    lazy: Lazy<I>,
    /// The index of the job whose turn it is.
    turn: usize,
    /// Done before their turn.
    early: BTreeMap<usize, Result<ThreadResponse, ThreadException>>,
}

impl<I: Iterator> Imap<I> {
    pub(super) fn new(lazy: Lazy<I>) -> Self {
        Self {
            lazy,
            turn: 0,
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
        self.lazy.fill();
        if self.lazy.held() == 0 {
            return None;
        }
        let outcome = loop {
            if let Some(outcome) = self.early.remove(&self.turn) {
                break outcome;
            }
            let outcome = self.lazy.wait()?;
            let index = match &outcome {
                Ok(response) => response.index(),
                Err(exception) => exception.index(),
            };
            if index == self.turn {
                break outcome;
            }
            self.early.insert(index, outcome);
        };
        self.turn += 1;
        self.lazy.handed_out();
        Some(outcome)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.lazy.size_hint()
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
            lazy,
            turn: _,
            early,
        } = self;
        f.debug_struct("Imap")
            .field("lazy", lazy)
            .field("early", &early.len())
            .finish()
    }
}

/// Admits jobs while fewer than the window are held: queued, in flight, or done and not yet handed out.
pub(super) struct Lazy<I> {
    /// `None` once it has ended: an iterator is not asked again then.
    requests: Option<I>,
    window: usize,
    may_be_cut: bool,
    held: usize,
    outcomes: Outcomes,
}

impl<I> Lazy<I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    /// Admits what there is room for. Runs the input on the caller's thread; if it panics, nothing is lost or changed.
    pub(super) fn fill(&mut self) {
        let threads = &self.outcomes.guard.threads;
        while self.held < self.window {
            if !threads.core.is_running() {
                // Called off: what is not drawn by now stays in the input.
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

impl<I: Iterator> Lazy<I> {
    pub(super) fn new(pool: Pool, requests: I, window: usize, may_be_cut: bool) -> Self {
        let mut outcomes = pool.into_iter();
        // The intake is closed when the input has ended.
        outcomes.closes_intake = false;
        Self {
            requests: Some(requests),
            window,
            may_be_cut,
            held: 0,
            outcomes,
        }
    }

    /// How many jobs are held.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Blocks until a job is done. Its place in the window is taken until [`handed_out`](Self::handed_out).
    pub(super) fn wait(&mut self) -> Option<Outcome> {
        self.outcomes.next()
    }

    /// An outcome leaves: there is room for another job.
    pub(super) fn handed_out(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    pub(super) fn size_hint(&self) -> (usize, Option<usize>) {
        let (least, most) = match &self.requests {
            // A run that is called off leaves the rest of its input alone.
            Some(requests) if self.may_be_cut => (0, requests.size_hint().1),
            Some(requests) => requests.size_hint(),
            None => (0, Some(0)),
        };
        let most = most.and_then(|most| most.checked_add(self.held));
        (least.saturating_add(self.held), most)
    }
}

impl<I> fmt::Debug for Lazy<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            requests,
            window,
            may_be_cut: _,
            held,
            outcomes: _,
        } = self;
        f.debug_struct("Lazy")
            .field("has_input", &requests.is_some())
            .field("window", window)
            .field("held", held)
            .finish_non_exhaustive()
    }
}
