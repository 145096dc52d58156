//! Result channels: one for responses and one for exceptions, which are read apart or, in completion order, together.
//!
//! A pool has a pair of them for the jobs that are submitted to it, and one for each [round](crate::Pool::map) of jobs.

use std::convert::Infallible;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Instant;

use super::queue::JobQueue;
use super::round::Round;
use super::{Pool, PoolGuard};
use crate::outcome::{self, Outcome, ThreadException, ThreadResponse};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use crate::sync::{Mutex, RwLock, WaitList};

/// Makes both ends.
pub(super) fn channel(max_unread: Option<UnreadLimit>) -> (ResultSender, ResultReceiver) {
    let (response_tx, responses) = unbounded();
    let (exception_tx, exceptions) = unbounded();
    let (over_tx, over) = unbounded();
    let shared = Arc::new(Shared {
        is_open: AtomicBool::new(true),
        is_iterated: AtomicBool::new(false),
        readers: WaitList::default(),
        early: Mutex::new(None),
        max_unread,
    });
    let senders = Senders {
        responses: response_tx,
        exceptions: exception_tx,
        _over: over_tx,
    };
    let sender = ResultSender {
        senders: RwLock::new(Some(senders)),
        shared: Arc::clone(&shared),
    };
    let receiver = ResultReceiver {
        responses,
        exceptions,
        over,
        shared,
    };
    (sender, receiver)
}

/// The sending end, until the work is over. All channels are unbounded, so sending never waits.
pub(super) struct ResultSender {
    senders: RwLock<Option<Senders>>,
    shared: Arc<Shared>,
}

struct Senders {
    responses: Sender<ThreadResponse>,
    exceptions: Sender<ThreadException>,
    /// Disconnects those that wait for the end of the work.
    _over: Sender<Infallible>,
}

/// What both ends share.
struct Shared {
    is_open: AtomicBool,
    is_iterated: AtomicBool,
    /// The threads that wait for an outcome of either kind.
    readers: WaitList,
    /// Taken out of one channel while the first outcome of the other one was done before it.
    early: Mutex<Option<Outcome>>,
    max_unread: Option<UnreadLimit>,
}

impl ResultSender {
    /// From now on, an outcome keeps the work open in its job's place until the reader asks for the next one. Outcomes that do
    /// not are in the channels by now.
    pub(super) fn iterate(&self) {
        let _none_is_being_sent = self.senders.write();
        self.shared.is_iterated.store(true, Ordering::SeqCst);
    }

    /// Returns whether the outcome keeps the work open; if so, `keep_open` was called before. Once the work is over or the
    /// receiving end was dropped, outcomes have no reader and are dropped.
    ///
    /// A reader that waits is to be [told](Self::notify) of it.
    pub(super) fn send(&self, mut outcome: Outcome, keep_open: impl FnOnce()) -> bool {
        let senders = self.senders.read();
        let Some(open) = &*senders else {
            return false;
        };
        let keeps_open = self.shared.is_iterated.load(Ordering::SeqCst);
        if keeps_open {
            keep_open();
            outcome::keep_open(&mut outcome);
        }
        match outcome {
            Ok(response) => drop(open.responses.send(response)),
            Err(exception) => drop(open.exceptions.send(exception)),
        }
        keeps_open
    }

    /// Wakes readers for this many outcomes.
    pub(super) fn notify(&self, outcomes: usize) {
        match outcomes {
            0 => {}
            1 => self.shared.readers.notify_one(),
            _ => self.shared.readers.notify_all(),
        }
    }

    /// There will be no more outcomes: all of them have been sent by now, or have no reader.
    pub(super) fn close(&self) {
        let senders = self.senders.write().take();
        self.shared.is_open.store(false, Ordering::SeqCst);
        drop(senders);
        self.wake_readers();
    }

    /// Those that wait for an outcome have to look whether any more can come.
    pub(super) fn wake_readers(&self) {
        self.shared.readers.notify_all();
    }

    pub(super) fn has_limit(&self) -> bool {
        self.shared.max_unread.is_some()
    }

    /// Whether workers have to wait for the reader.
    pub(super) fn is_full(&self) -> bool {
        let Some(limit) = &self.shared.max_unread else {
            return false;
        };
        let senders = self.senders.read();
        let unread = senders.as_ref().map_or(0, |senders| {
            senders.responses.len() + senders.exceptions.len()
        });
        limit.is_reached(unread)
    }

    /// Lets workers go on, however many outcomes are unread.
    pub(super) fn lift_limit(&self) {
        if let Some(limit) = &self.shared.max_unread {
            limit.lift();
        }
    }

    /// Ends a `lift_limit`.
    pub(super) fn restore_limit(&self) {
        if let Some(limit) = &self.shared.max_unread {
            limit.restore();
        }
    }
}

/// Outcomes of which readers are yet to be told. An event loop tells of several at once: to wake a thread for each costs more than
/// half of what a request does.
#[derive(Default)]
pub(super) struct Unnotified {
    /// Those of the pool's own jobs.
    pool: usize,
    rounds: Vec<(Arc<Round>, usize)>,
    len: usize,
}

impl Unnotified {
    pub(super) fn add(&mut self, round: Option<&Arc<Round>>) {
        self.len += 1;
        let Some(round) = round else {
            self.pool += 1;
            return;
        };
        let known = self.rounds.iter_mut();
        match known
            .into_iter()
            .find(|(other, _)| Arc::ptr_eq(other, round))
        {
            Some((_, outcomes)) => *outcomes += 1,
            None => self.rounds.push((Arc::clone(round), 1)),
        }
    }

    #[cfg(feature = "hyper")]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Tells them now.
    #[cfg(feature = "hyper")]
    pub(super) fn notify(&mut self, pool: &ResultSender) {
        self.len = 0;
        pool.notify(std::mem::take(&mut self.pool));
        for (round, outcomes) in self.rounds.drain(..) {
            round.notify(outcomes);
        }
    }
}

/// The maximum number of unread outcomes with which workers start a job.
pub(super) struct UnreadLimit {
    max: usize,
    /// How many reasons there are to ignore the limit.
    lifts: AtomicUsize,
    /// Of the workers that wait.
    queue: Arc<JobQueue>,
}

impl UnreadLimit {
    pub(super) fn new(max: usize, queue: &Arc<JobQueue>) -> Self {
        Self {
            max,
            lifts: AtomicUsize::new(0),
            queue: Arc::clone(queue),
        }
    }

    fn is_reached(&self, unread: usize) -> bool {
        unread >= self.max && self.lifts.load(Ordering::SeqCst) == 0
    }

    fn lift(&self) {
        self.lifts.fetch_add(1, Ordering::SeqCst);
        self.queue.wake_all();
    }

    fn restore(&self) {
        self.lifts.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The receiving end.
pub(super) struct ResultReceiver {
    responses: Receiver<ThreadResponse>,
    exceptions: Receiver<ThreadException>,
    /// Carries nothing; it is disconnected when the work is over.
    over: Receiver<Infallible>,
    shared: Arc<Shared>,
}

impl ResultReceiver {
    /// Is disconnected when the work is over.
    pub(super) fn over(&self) -> &Receiver<Infallible> {
        &self.over
    }

    /// Blocks until the work is over.
    pub(super) fn wait_until_over(&self) {
        let _ = self.over.recv();
    }

    pub(super) fn responses(&self) -> Responses {
        Responses {
            channel: self.responses.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    pub(super) fn exceptions(&self) -> Exceptions {
        Exceptions {
            channel: self.exceptions.clone(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// The channels themselves. What is read from them wakes no worker, so there is no limit from now on.
    pub(super) fn channels(&self) -> (&Receiver<ThreadResponse>, &Receiver<ThreadException>) {
        if let Some(limit) = &self.shared.max_unread {
            limit.lift();
        }
        (&self.responses, &self.exceptions)
    }

    /// Of the first outcomes of both channels, the one that was done first.
    pub(super) fn try_recv(&self) -> Option<Outcome> {
        let mut early = self.shared.early.lock();
        let (response, exception) = match early.take() {
            Some(Ok(response)) => (Some(response), self.exceptions.try_recv().ok()),
            Some(Err(exception)) => (self.responses.try_recv().ok(), Some(exception)),
            None if self.exceptions.is_empty() => (self.responses.try_recv().ok(), None),
            None => (
                self.responses.try_recv().ok(),
                self.exceptions.try_recv().ok(),
            ),
        };
        let outcome = match (response, exception) {
            (Some(response), Some(exception)) => {
                if response.finished_at() <= exception.finished_at() {
                    *early = Some(Err(exception));
                    Ok(response)
                } else {
                    *early = Some(Ok(response));
                    Err(exception)
                }
            }
            (Some(response), None) => Ok(response),
            (None, Some(exception)) => Err(exception),
            (None, None) => return None,
        };
        drop(early);
        self.shared.was_read();
        Some(outcome)
    }

    /// Blocks until there is an outcome, or there will be no more.
    pub(super) fn recv(&self, until: Option<Instant>) -> Result<Outcome, RecvTimeoutError> {
        let found = self.wait(until, || !self.shared.is_open.load(Ordering::SeqCst));
        match found {
            Some(Some(outcome)) => Ok(outcome),
            Some(None) => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Blocks until there is an outcome, or `is_over` tells that there will be no more: that is `Some(None)`. `None` when the
    /// time has come.
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        is_over: impl Fn() -> bool,
    ) -> Option<Option<Outcome>> {
        self.shared.readers.wait(until, || {
            // In this order: what was sent before the end is found.
            let is_over = is_over();
            match self.try_recv() {
                None if !is_over => None,
                outcome => Some(outcome),
            }
        })
    }

    /// The number of outcomes that are available.
    pub(super) fn len(&self) -> usize {
        let early = usize::from(self.shared.early.lock().is_some());
        self.responses.len() + self.exceptions.len() + early
    }
}

impl Shared {
    /// The next outcome of one kind. `kind` gives those of the other kind back.
    fn next<T>(
        &self,
        channel: &Receiver<T>,
        kind: impl FnOnce(Outcome) -> Result<T, Outcome>,
    ) -> Option<T> {
        let mut early = self.early.lock();
        let next = match early.take().map(kind) {
            Some(Ok(next)) => next,
            other => {
                *early = other.and_then(Result::err);
                channel.try_recv().ok()?
            }
        };
        drop(early);
        self.was_read();
        Some(next)
    }

    /// An outcome was taken out of a channel: a worker may go on.
    fn was_read(&self) {
        if let Some(limit) = &self.max_unread {
            limit.queue.wake_one();
        }
    }
}

/// The responses that are available, in the order in which the jobs were done. Created by
/// [`Pool::responses`](crate::Pool::responses) and [`map`](crate::map).
///
/// It never waits: it ends when no response is available. Items that were not yielded stay in the pool, for the next
/// call.
pub struct Responses {
    channel: Receiver<ThreadResponse>,
    shared: Arc<Shared>,
}

impl Responses {
    /// The number that is available now.
    pub fn len(&self) -> usize {
        let early = matches!(&*self.shared.early.lock(), Some(Ok(_)));
        self.channel.len() + usize::from(early)
    }

    /// Whether none is available now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for Responses {
    type Item = ThreadResponse;

    fn next(&mut self) -> Option<ThreadResponse> {
        self.shared
            .next(&self.channel, |outcome| outcome.map_err(Err))
    }
}

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responses({} available)", self.len())
    }
}

/// The exceptions that are available, in the order in which the jobs were done. Created by
/// [`Pool::exceptions`](crate::Pool::exceptions) and [`map`](crate::map).
///
/// It never waits: it ends when no exception is available. Items that were not yielded stay in the pool, for the next
/// call.
pub struct Exceptions {
    channel: Receiver<ThreadException>,
    shared: Arc<Shared>,
}

impl Exceptions {
    /// The number that is available now.
    pub fn len(&self) -> usize {
        let early = matches!(&*self.shared.early.lock(), Some(Err(_)));
        self.channel.len() + usize::from(early)
    }

    /// Whether none is available now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Iterator for Exceptions {
    type Item = ThreadException;

    fn next(&mut self) -> Option<ThreadException> {
        self.shared.next(&self.channel, |outcome| match outcome {
            Ok(response) => Err(Ok(response)),
            Err(exception) => Ok(exception),
        })
    }
}

impl fmt::Debug for Exceptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exceptions({} available)", self.len())
    }
}

/// Closes the intake and yields each outcome as it comes. A [`Responses`] or [`Exceptions`] that was made before must not be
/// used at the same time: the iteration would wait for the outcomes that they have taken.
impl IntoIterator for Pool {
    type Item = Result<ThreadResponse, ThreadException>;
    type IntoIter = Outcomes;

    fn into_iter(self) -> Outcomes {
        self.core().iterate();
        Outcomes {
            guard: self.guard,
            kept_open: 0,
            closes_intake: true,
        }
    }
}

/// The outcomes of a pool, in the order in which the jobs are done. Created by iterating over a [`Pool`].
///
/// It waits for the next one and ends when the work is over. Jobs that the loop body submits through a
/// [`Handle`](crate::Handle) are part of the work: an outcome counts as processed only when the next one is requested.
/// Dropping the iterator early discards queued jobs and does not block.
pub struct Outcomes {
    guard: PoolGuard,
    /// How many jobs keep the work open until their outcomes, which were yielded already, are processed.
    kept_open: usize,
    /// Whether the intake is yet to be closed: outcomes from before the iteration go first, since they may lead to more jobs.
    closes_intake: bool,
}

impl Iterator for Outcomes {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        let results = &self.guard.results;
        let outcome = match results.try_recv() {
            Some(outcome) => outcome,
            None => {
                // The caller has processed the outcomes before, and has submitted what follows from them.
                let core = &self.guard.threads.core;
                core.processed(std::mem::take(&mut self.kept_open));
                if std::mem::take(&mut self.closes_intake) {
                    core.drain();
                }
                results.recv(None).ok()?
            }
        };
        self.kept_open += usize::from(outcome::keeps_open(&outcome));
        Some(outcome)
    }
}

impl FusedIterator for Outcomes {}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outcomes")
            .field("ready", &self.guard.results.len())
            .field("stats", &self.guard.threads.core.counters.snapshot())
            .finish_non_exhaustive()
    }
}

/// Yields each outcome as it comes, without closing the intake: see [`Pool::recv`].
impl<'a> IntoIterator for &'a Pool {
    type Item = Outcome;
    type IntoIter = Incoming<'a>;

    fn into_iter(self) -> Incoming<'a> {
        Incoming { pool: self }
    }
}

/// The outcomes of a pool that stays open, in the order in which the jobs are done. Created by iterating over a reference to a
/// [`Pool`].
///
/// It waits for the next one, however long the pool is idle, and ends when the work is over: when the intake was closed, and
/// all outcomes are read. Several threads can each have one: every outcome goes to one of them.
#[derive(Debug)]
pub struct Incoming<'a> {
    pool: &'a Pool,
}

impl Iterator for Incoming<'_> {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        self.pool.recv()
    }
}

impl FusedIterator for Incoming<'_> {}
