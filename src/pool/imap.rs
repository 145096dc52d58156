//! Any number of jobs in constant memory: [`ImapUnordered`] and [`Imap`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::round::RoundReceiver;
use super::{Handle, Pool};
use crate::error::Error;
use crate::observe::Stats;
use crate::outcome::{Outcome, OutcomeExt};
use crate::request::RequestSpec;

/// Like Python's `imap_unordered`: pulls requests from an iterator as there is room for them, and yields their outcomes in
/// completion order. Created by [`imap_unordered`](crate::imap_unordered),
/// [`PoolBuilder::imap_unordered`](crate::PoolBuilder::imap_unordered) and, on a pool that stays,
/// [`Pool::imap_unordered`](crate::Pool::imap_unordered).
///
/// Each call of `next` pulls requests until the [`window`](crate::PoolBuilder::window) is full, then waits for an outcome.
/// It ends when the input is exhausted and all outcomes have been yielded. Dropping it early discards its queued jobs,
/// cancels those in flight and does not block.
///
/// The input is asked again after it has returned `None`, as long as there are jobs: a work list that grows with the outcomes
/// is a crawl in bounded memory. To stop early, see [`handle`](Self::handle).
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
pub struct ImapUnordered<'a, I> {
    input: WindowedInput<'a, I>,
}

impl<'a, I: Iterator> ImapUnordered<'a, I> {
    pub(super) fn new(input: WindowedInput<'a, I>) -> Self {
        Self { input }
    }
}

impl<I> ImapUnordered<'_, I> {
    /// A handle to reach the run from other threads, or from the loop over it. What it [submits](Handle::submit) is part of
    /// the run: the iterator yields the outcomes. With [`Handle::close`] the run pulls no more requests, and ends with the
    /// jobs that it holds.
    ///
    /// Everything else that the handle does is about the whole pool, **also if other rounds run on it**: with
    /// [`Handle::shutdown`] they end when the jobs in flight are done, and what was not sent is returned there; with
    /// [`Handle::cancel`] they end at once.
    pub fn handle(&self) -> Handle {
        self.input.handle()
    }

    /// A snapshot of what the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.input.pool.get().stats()
    }
}

impl<I> Iterator for ImapUnordered<'_, I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        self.input.pull(0, |_| ());
        let outcome = self.input.receiver.recv();
        outcome.or_else(|| self.input.end())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.input.size_hint(0)
    }
}

impl<I> FusedIterator for ImapUnordered<'_, I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
}

impl<I> fmt::Debug for ImapUnordered<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input } = self;
        input.fmt_fields(0, &mut f.debug_struct("ImapUnordered"))
    }
}

/// Like Python's `imap`: pulls requests from an iterator as there is room for them, and yields their outcomes in the order
/// of the requests. Created by [`imap`](crate::imap), [`PoolBuilder::imap`](crate::PoolBuilder::imap) and, on a pool that
/// stays, [`Pool::imap`](crate::Pool::imap).
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
pub struct Imap<'a, I> {
    input: WindowedInput<'a, I>,
    /// The indices of the jobs whose outcomes are to be yielded, in their order.
    order: VecDeque<usize>,
    /// Outcomes of later jobs.
    early: BTreeMap<usize, Outcome>,
}

impl<'a, I: Iterator> Imap<'a, I> {
    pub(super) fn new(input: WindowedInput<'a, I>) -> Self {
        Self {
            input,
            order: VecDeque::new(),
            early: BTreeMap::new(),
        }
    }
}

impl<I> Imap<'_, I> {
    /// A handle to reach the run from other threads, or from the loop over it: see
    /// [`ImapUnordered::handle`]. Outcomes of what it submits are yielded as they come.
    pub fn handle(&self) -> Handle {
        self.input.handle()
    }

    /// A snapshot of what the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.input.pool.get().stats()
    }
}

impl<I> Iterator for Imap<'_, I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        let Self {
            input,
            order,
            early,
        } = self;
        input.pull(early.len(), |index| order.push_back(index));
        loop {
            let next_index = order.front().copied();
            if let Some(outcome) = next_index.and_then(|index| early.remove(&index)) {
                order.pop_front();
                return Some(outcome);
            }
            let Some(outcome) = input.receiver.recv() else {
                // Jobs before the early ones were given back.
                order.clear();
                let next = early.pop_first().map(|(_, outcome)| outcome);
                return next.or_else(|| input.end());
            };
            let index = outcome.index();
            // Indices grow, so the order is sorted. What a handle has submitted is not in it.
            match order.binary_search(&index) {
                Ok(0) => {
                    order.pop_front();
                    return Some(outcome);
                }
                Ok(_) => drop(early.insert(index, outcome)),
                Err(_) => return Some(outcome),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.input.size_hint(self.early.len())
    }
}

impl<I> FusedIterator for Imap<'_, I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
}

impl<I> fmt::Debug for Imap<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            input,
            order: _,
            early,
        } = self;
        input.fmt_fields(early.len(), &mut f.debug_struct("Imap"))
    }
}

/// An input, from which jobs are pulled as long as fewer of them than the window are held: queued, in flight, or done and not
/// yet yielded.
pub(super) struct WindowedInput<'a, I> {
    /// `None` once it is not pulled any more.
    requests: Option<I>,
    window: usize,
    has_pulled: bool,
    receiver: RoundReceiver,
    pool: RunningPool<'a>,
}

/// The pool that the jobs of an input run on.
pub(super) enum RunningPool<'a> {
    /// It was started for this input.
    Own {
        pool: Pool,
        has_deadline: bool,
    },
    Shared(&'a Pool),
}

impl RunningPool<'_> {
    fn get(&self) -> &Pool {
        match self {
            Self::Own { pool, .. } => pool,
            Self::Shared(pool) => pool,
        }
    }
}

impl<I> WindowedInput<'_, I>
where
    I: Iterator,
    I::Item: Into<RequestSpec>,
{
    /// Submits jobs until the window is full, `early` outcomes in the caller's hands included, and tells their indices. Runs
    /// the input on the caller's thread; if it panics, no job is lost.
    fn pull(&mut self, early: usize, mut submitted: impl FnMut(usize)) {
        let threads = &self.pool.get().guard.threads;
        while self.receiver.held() + early < self.window {
            let round = self.receiver.round();
            let is_closed = round.is_closed() || !threads.core.accepts_jobs();
            // Requests that were not pulled stay in the input, but a pool that takes none at all must not look as if it had
            // done them: it refuses the first one.
            if is_closed && self.has_pulled {
                self.requests = None;
            }
            let Some(request) = self.requests.as_mut().and_then(Iterator::next) else {
                return;
            };
            self.has_pulled = true;
            let index = match threads.submit(request.into(), Some(Arc::clone(round))) {
                Ok(index) => index,
                Err(refused) => {
                    self.requests = None;
                    let error = Error::cancelled();
                    threads.core.refuse(refused.into_request(), round, error)
                }
            };
            submitted(index);
        }
    }
}

impl<'a, I: Iterator> WindowedInput<'a, I> {
    pub(super) fn new(pool: RunningPool<'a>, requests: I, window: usize) -> Self {
        Self {
            requests: Some(requests),
            window,
            has_pulled: false,
            receiver: RoundReceiver::new(true),
            pool,
        }
    }

    fn size_hint(&self, early: usize) -> (usize, Option<usize>) {
        let held = self.receiver.held() + early;
        let (lower, upper) = match (&self.requests, &self.pool) {
            // A run that is cancelled leaves the rest of its input alone.
            (
                Some(requests),
                RunningPool::Own {
                    has_deadline: true, ..
                },
            ) => (0, requests.size_hint().1),
            (Some(requests), _) => requests.size_hint(),
            (None, _) => (0, Some(0)),
        };
        let upper = upper.and_then(|upper| upper.checked_add(held));
        (lower.saturating_add(held), upper)
    }
}

/// Ends what was pulled and not yielded. A pool of its own does so when it is dropped.
impl<I> Drop for WindowedInput<'_, I> {
    fn drop(&mut self) {
        self.receiver.abandon();
        if let RunningPool::Shared(pool) = &self.pool {
            pool.guard.threads.core.cancel_unwanted();
        }
    }
}

impl<I> WindowedInput<'_, I> {
    fn handle(&self) -> Handle {
        let threads = &self.pool.get().guard.threads;
        Handle::new(threads, Some(self.receiver.round()))
    }

    /// The input has ended, and all outcomes were yielded, unless a handle has submitted a job just now.
    fn end(&mut self) -> Option<Outcome> {
        self.requests = None;
        self.receiver.round().close();
        let last = self.receiver.recv();
        if let (None, RunningPool::Own { pool, .. }) = (&last, &self.pool) {
            pool.close();
        }
        last
    }

    fn fmt_fields(&self, early: usize, shown: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        let Self {
            requests,
            window,
            has_pulled: _,
            receiver,
            pool: _,
        } = self;
        shown
            .field("has_input", &requests.is_some())
            .field("window", window)
            .field("held", &(receiver.held() + early))
            .field("early", &early)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// Sends the requests of an iterator on the workers of this pool, and yields their outcomes in the order of the requests.
    /// A round on a pool that stays, as [`map`](Self::map); otherwise like [`threaded::imap`](crate::imap).
    ///
    /// The window is that of the [pool's builder](crate::PoolBuilder::window), 4 jobs per worker by default. If the pool stops
    /// to accept jobs, nothing more is pulled, and the iterator ends with the last job that was pulled. If it accepts none from
    /// the beginning, the first request fails with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled).
    pub fn imap<I>(&self, requests: I) -> Imap<'_, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        Imap::new(self.windowed(requests.into_iter()))
    }

    /// Sends the requests of an iterator on the workers of this pool, and yields their outcomes in completion order.
    /// A round on a pool that stays, as [`map`](Self::map); otherwise like [`imap`](Self::imap).
    ///
    /// ```
    /// use threaded::Pool;
    ///
    /// let site = "https://example.com";
    /// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// let pool = Pool::builder().num_threads(8).build()?;
    /// let odd = pool.imap_unordered((1..100).step_by(2).map(|page| format!("{site}/{page}")));
    /// let even = pool.imap_unordered((0..100).step_by(2).map(|page| format!("{site}/{page}")));
    /// assert_eq!(odd.zip(even).count(), 50);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn imap_unordered<I>(&self, requests: I) -> ImapUnordered<'_, I::IntoIter>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        ImapUnordered::new(self.windowed(requests.into_iter()))
    }

    fn windowed<I: Iterator>(&self, requests: I) -> WindowedInput<'_, I> {
        WindowedInput::new(RunningPool::Shared(self), requests, self.window)
    }
}
