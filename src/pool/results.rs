//! How outcomes come back: on two lanes, or merged into one while somebody iterates over the pool.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::channel::{Receiver, Sender, unbounded};

/// The outcome of a job.
pub(super) type Outcome = Result<ThreadResponse, ThreadException>;

/// Makes both ends.
pub(super) fn lanes() -> (Outbox, Inbox) {
    let (response_tx, responses) = unbounded();
    let (exception_tx, exceptions) = unbounded();
    let (merged_tx, merged) = unbounded();
    let (over_tx, over) = unbounded();
    let is_merging = Arc::new(AtomicBool::new(false));
    let lanes = Lanes {
        responses: response_tx,
        exceptions: exception_tx,
        merged: merged_tx,
        is_merging: Arc::clone(&is_merging),
    };
    let outbox = Outbox(Mutex::new(Some((lanes, over_tx))));
    let inbox = Inbox {
        responses,
        exceptions,
        merged,
        is_merging,
        over,
    };
    (outbox, inbox)
}

/// The sending end. All lanes are unbounded, so sending never waits.
#[derive(Clone)]
pub(super) struct Lanes {
    responses: Sender<ThreadResponse>,
    exceptions: Sender<ThreadException>,
    merged: Sender<Arrival>,
    is_merging: Arc<AtomicBool>,
}

/// What an iterator waits for: on one channel, since waiting for one costs much less than waiting for several.
enum Arrival {
    Outcome(Outcome),
    /// An outcome has gone to its lane while the merging began.
    LookAtLanes,
    /// There will be no more.
    End,
}

impl Lanes {
    /// Whether the reader has been told to hold the work open in the job's place, until it asks for the next outcome.
    pub(super) fn send(&self, outcome: Outcome) -> bool {
        // Without a receiver, the pool and its iterators are gone, and with them who wanted to know.
        if self.is_merging.load(Ordering::Relaxed) {
            return self.merged.send(Arrival::Outcome(outcome)).is_ok();
        }
        match outcome {
            Ok(response) => drop(self.responses.send(response)),
            Err(exception) => drop(self.exceptions.send(exception)),
        }
        // Either the iterator's look at the lanes, which comes after it has set the flag, finds what was sent above; or the
        // flag is seen here. The fences, here and there, exclude that neither happens.
        fence(Ordering::SeqCst);
        self.is_merging.load(Ordering::Relaxed) && self.merged.send(Arrival::LookAtLanes).is_ok()
    }
}

/// Hands out the lanes for as long as there may be outcomes. A worker that is only just opening its session holds none,
/// so it keeps nobody waiting.
pub(super) struct Outbox(Mutex<Option<(Lanes, Sender<Infallible>)>>);

impl Outbox {
    /// `None` once the work is over.
    pub(super) fn lanes(&self) -> Option<Lanes> {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(|(lanes, _)| lanes.clone())
    }

    /// Tells that there will be no more outcomes. All of them have been sent by now.
    pub(super) fn close(&self) {
        let open = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((lanes, _)) = open {
            let _ = lanes.merged.send(Arrival::End);
        }
    }
}

/// The receiving end.
pub(super) struct Inbox {
    pub(super) responses: Receiver<ThreadResponse>,
    pub(super) exceptions: Receiver<ThreadException>,
    merged: Receiver<Arrival>,
    is_merging: Arc<AtomicBool>,
    /// Carries nothing; it is disconnected when the work is over.
    over: Receiver<Infallible>,
}

impl Inbox {
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

    /// From now on, outcomes come over one channel. What has come before stays in the lanes.
    pub(super) fn merge(&self) -> Merged {
        self.is_merging.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Merged {
            responses: self.responses.clone(),
            exceptions: self.exceptions.clone(),
            arrivals: self.merged.clone(),
            early: None,
            look_at_lanes: true,
            held: 0,
            is_over: false,
        }
    }
}

/// The responses that are there, in the order in which the jobs were done. Made by
/// [`Pool::responses`](crate::Pool::responses) and [`map`](crate::map).
///
/// It never waits: it ends when no response is there. What it has not handed out stays where it is, for the next one.
pub struct Responses(Receiver<ThreadResponse>);

impl Responses {
    /// How many are there now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is there now.
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
        let Self(lane) = self;
        write!(f, "Responses({} there)", lane.len())
    }
}

/// The exceptions that are there, in the order in which the jobs were done. Made by
/// [`Pool::exceptions`](crate::Pool::exceptions) and [`map`](crate::map).
///
/// It never waits: it ends when no exception is there. What it has not handed out stays where it is, for the next one.
pub struct Exceptions(Receiver<ThreadException>);

impl Exceptions {
    /// How many are there now.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is there now.
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
        let Self(lane) = self;
        write!(f, "Exceptions({} there)", lane.len())
    }
}

/// All outcomes, in the order in which the jobs are done.
pub(super) struct Merged {
    responses: Receiver<ThreadResponse>,
    exceptions: Receiver<ThreadException>,
    arrivals: Receiver<Arrival>,
    /// Taken out of one lane while what the other one has to offer was done before it.
    early: Option<Outcome>,
    look_at_lanes: bool,
    /// How many jobs hold the work open until their outcomes, handed out already, have been dealt with.
    held: usize,
    is_over: bool,
}

impl Merged {
    /// The next outcome; blocks until there is one. `None` when the work is over and all has been handed out.
    ///
    /// Who asks for the next one is done with those before, and has submitted what follows from them. So before it waits,
    /// it calls `let_go` with how many jobs no longer hold the work open.
    pub(super) fn next(&mut self, mut let_go: impl FnMut(usize)) -> Option<Outcome> {
        loop {
            if self.look_at_lanes {
                match self.next_of_lanes() {
                    Some(outcome) => return Some(outcome),
                    None => self.look_at_lanes = false,
                }
            }
            if self.is_over {
                return None;
            }
            let_go(std::mem::take(&mut self.held));
            match self.arrivals.recv() {
                Ok(Arrival::Outcome(outcome)) => {
                    self.held += 1;
                    return Some(outcome);
                }
                Ok(Arrival::LookAtLanes) => {
                    self.held += 1;
                    self.look_at_lanes = true;
                }
                Ok(Arrival::End) | Err(_) => self.is_over = true,
            }
        }
    }

    /// How many outcomes are there now, at least.
    pub(super) fn len(&self) -> usize {
        let in_lanes = self.responses.len() + self.exceptions.len();
        in_lanes + usize::from(self.early.is_some())
    }

    /// Of the first outcomes of both lanes, the one that was done first.
    fn next_of_lanes(&mut self) -> Option<Outcome> {
        let (response, exception) = match self.early.take() {
            Some(Ok(response)) => (Some(response), self.exceptions.try_recv().ok()),
            Some(Err(exception)) => (self.responses.try_recv().ok(), Some(exception)),
            None => (
                self.responses.try_recv().ok(),
                self.exceptions.try_recv().ok(),
            ),
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
