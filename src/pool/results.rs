//! Reply routes: how outcomes get to the pool's user, by two channels, or by one while the pool is iterated over.

use std::convert::Infallible;
use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;

use super::{Pool, PoolGuard};
use crate::outcome::{Outcome, ThreadException, ThreadResponse};
use crate::sync::RwLock;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::channel::{Receiver, Sender, unbounded};

/// Makes both ends.
pub(super) fn channel() -> (ResultSender, ResultReceiver) {
    let (response_tx, responses) = unbounded();
    let (exception_tx, exceptions) = unbounded();
    let (merged_tx, merged) = unbounded();
    let (over_tx, over) = unbounded();
    let is_merging = Arc::new(AtomicBool::new(false));
    let senders = Senders {
        responses: response_tx,
        exceptions: exception_tx,
        merged: merged_tx,
        is_merging: Arc::clone(&is_merging),
        _over: over_tx,
    };
    let receiver = ResultReceiver {
        responses,
        exceptions,
        merged,
        is_merging,
        over,
    };
    (ResultSender(RwLock::new(Some(senders))), receiver)
}

/// The sending end, until the work is over. All channels are unbounded, so sending never waits.
pub(super) struct ResultSender(RwLock<Option<Senders>>);

struct Senders {
    responses: Sender<ThreadResponse>,
    exceptions: Sender<ThreadException>,
    merged: Sender<MergedMessage>,
    is_merging: Arc<AtomicBool>,
    /// Disconnects those that wait for the end of the work.
    _over: Sender<Infallible>,
}

/// What an iterator waits for: on one channel, since waiting for one costs much less than waiting for several.
enum MergedMessage {
    Outcome(Outcome),
    /// An outcome was sent to the channel of its kind while the switch to merged mode was in progress.
    LookAtChannels,
    /// There will be no more.
    End,
}

impl ResultSender {
    /// Whether the reader keeps the work open in the job's place, until it asks for the next outcome.
    pub(super) fn send(&self, outcome: Outcome) -> bool {
        match &*self.0.read() {
            Some(senders) => senders.send(outcome),
            None => false,
        }
    }

    /// There will be no more outcomes: all of them have been sent by now, or have no reader.
    pub(super) fn close(&self) {
        if let Some(senders) = self.0.write().take() {
            let _ = senders.merged.send(MergedMessage::End);
        }
    }
}

impl Senders {
    fn send(&self, outcome: Outcome) -> bool {
        // Without a receiver, the pool and its iterators were dropped, and the outcome has no reader.
        if self.is_merging.load(Ordering::Relaxed) {
            return self.merged.send(MergedMessage::Outcome(outcome)).is_ok();
        }
        match outcome {
            Ok(response) => drop(self.responses.send(response)),
            Err(exception) => drop(self.exceptions.send(exception)),
        }
        // Either the iterator, which looks at the channels after it has set the flag, finds what was sent above; or the
        // flag is seen here. The fences, here and there, exclude that neither happens.
        fence(Ordering::SeqCst);
        let is_merging = self.is_merging.load(Ordering::Relaxed);
        is_merging && self.merged.send(MergedMessage::LookAtChannels).is_ok()
    }
}

/// The receiving end.
pub(super) struct ResultReceiver {
    pub(super) responses: Receiver<ThreadResponse>,
    pub(super) exceptions: Receiver<ThreadException>,
    merged: Receiver<MergedMessage>,
    is_merging: Arc<AtomicBool>,
    /// Carries nothing; it is disconnected when the work is over.
    over: Receiver<Infallible>,
}

impl ResultReceiver {
    /// Is disconnected when the work is over.
    pub(super) fn over(&self) -> Receiver<Infallible> {
        self.over.clone()
    }

    /// Blocks until the work is over.
    pub(super) fn wait_until_over(&self) {
        let _ = self.over.recv();
    }

    pub(super) fn responses(&self) -> Responses {
        Responses(self.responses.clone())
    }

    pub(super) fn exceptions(&self) -> Exceptions {
        Exceptions(self.exceptions.clone())
    }

    /// From now on, outcomes come over one channel. What was sent before stays in the channels of its kind.
    fn merge(&self) {
        self.is_merging.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// The responses that are available, in the order in which the jobs were done. Created by
/// [`Pool::responses`](crate::Pool::responses) and [`map`](crate::map).
///
/// It never waits: it ends when no response is available. What it has not yielded stays in the pool, for the next one.
pub struct Responses(Receiver<ThreadResponse>);

impl Responses {
    /// The number that is available now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the channel is empty now.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Responses {
    type Item = ThreadResponse;

    fn next(&mut self) -> Option<ThreadResponse> {
        self.0.try_recv().ok()
    }
}

impl fmt::Debug for Responses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(channel) = self;
        write!(f, "Responses({} available)", channel.len())
    }
}

/// The exceptions that are available, in the order in which the jobs were done. Created by
/// [`Pool::exceptions`](crate::Pool::exceptions) and [`map`](crate::map).
///
/// It never waits: it ends when no exception is available. What it has not yielded stays in the pool, for the next one.
pub struct Exceptions(Receiver<ThreadException>);

impl Exceptions {
    /// The number that is available now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the channel is empty now.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Iterator for Exceptions {
    type Item = ThreadException;

    fn next(&mut self) -> Option<ThreadException> {
        self.0.try_recv().ok()
    }
}

impl fmt::Debug for Exceptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(channel) = self;
        write!(f, "Exceptions({} available)", channel.len())
    }
}

/// Closes the intake and yields each outcome as it comes.
impl IntoIterator for Pool {
    type Item = Result<ThreadResponse, ThreadException>;
    type IntoIter = Outcomes;

    fn into_iter(self) -> Outcomes {
        self.guard.results.merge();
        Outcomes {
            guard: self.guard,
            early: None,
            look_at_channels: true,
            kept_open: 0,
            is_over: false,
            closes_intake: true,
        }
    }
}

/// The outcomes of a pool, in the order in which the jobs are done. Created by iterating over a [`Pool`].
///
/// It waits for the next one and ends when the work is over. What the loop over it submits through a
/// [`Handle`](crate::Handle) is part of the work: an outcome counts as processed when the next one is asked for. Dropping
/// it early cancels what is queued and does not wait.
pub struct Outcomes {
    pub(super) guard: PoolGuard,
    /// Taken out of one channel while the first outcome of the other one was done before it.
    early: Option<Outcome>,
    look_at_channels: bool,
    /// How many jobs keep the work open until their outcomes, which were yielded already, are processed.
    kept_open: usize,
    is_over: bool,
    /// Whether the intake is yet to be closed: outcomes from before the iteration go first, since they may lead to more jobs.
    pub(super) closes_intake: bool,
}

impl Iterator for Outcomes {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        loop {
            if self.look_at_channels {
                match self.next_of_channels() {
                    Some(outcome) => return Some(outcome),
                    None => self.look_at_channels = false,
                }
            }
            if self.is_over {
                return None;
            }
            // The caller has processed the outcomes before, and has submitted what follows from them.
            let core = &self.guard.threads.core;
            core.done(std::mem::take(&mut self.kept_open));
            if std::mem::take(&mut self.closes_intake) {
                core.close_intake();
            }
            match self.guard.results.merged.recv() {
                Ok(MergedMessage::Outcome(outcome)) => {
                    self.kept_open += 1;
                    return Some(outcome);
                }
                Ok(MergedMessage::LookAtChannels) => {
                    self.kept_open += 1;
                    self.look_at_channels = true;
                }
                Ok(MergedMessage::End) | Err(_) => self.is_over = true,
            }
        }
    }
}

impl Outcomes {
    /// Of the first outcomes of both channels, the one that was done first.
    fn next_of_channels(&mut self) -> Option<Outcome> {
        let ResultReceiver {
            responses,
            exceptions,
            ..
        } = &self.guard.results;
        let (response, exception) = match self.early.take() {
            Some(Ok(response)) => (Some(response), exceptions.try_recv().ok()),
            Some(Err(exception)) => (responses.try_recv().ok(), Some(exception)),
            None => (responses.try_recv().ok(), exceptions.try_recv().ok()),
        };
        match (response, exception) {
            (Some(response), Some(exception)) => {
                if response.finished_at() <= exception.finished_at() {
                    self.early = Some(Err(exception));
                    Some(Ok(response))
                } else {
                    self.early = Some(Ok(response));
                    Some(Err(exception))
                }
            }
            (Some(response), None) => Some(Ok(response)),
            (None, Some(exception)) => Some(Err(exception)),
            (None, None) => None,
        }
    }
}

impl FusedIterator for Outcomes {}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResultReceiver {
            responses,
            exceptions,
            ..
        } = &self.guard.results;
        let ready = responses.len() + exceptions.len() + usize::from(self.early.is_some());
        f.debug_struct("Outcomes")
            .field("ready", &ready)
            .field("stats", &self.guard.threads.core.counters.snapshot())
            .finish_non_exhaustive()
    }
}
