//! Any number of jobs in constant memory: [`ImapUnordered`] and [`Imap`].

use std::collections::BTreeMap;
use std::fmt;
use std::iter::FusedIterator;

use crate::exception::ThreadException;
use crate::pool::lazy::Lazy;
use crate::request::RequestSpec;
use crate::response::ThreadResponse;

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
    pub(crate) fn new(lazy: Lazy<I>) -> Self {
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
    pub(crate) fn new(lazy: Lazy<I>) -> Self {
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
