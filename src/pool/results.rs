//! The two lanes that outcomes come back on, and the iterators over them.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, select, unbounded};

use crate::exception::ThreadException;
use crate::response::ThreadResponse;

/// The outcome of a job.
pub(super) type Outcome = Result<ThreadResponse, ThreadException>;

/// Makes both ends of the lanes.
pub(super) fn lanes() -> (Outbox, Inbox) {
    let (response_tx, responses) = unbounded();
    let (exception_tx, exceptions) = unbounded();
    let (over_tx, over) = unbounded();
    let lanes = Lanes {
        responses: response_tx,
        exceptions: exception_tx,
    };
    let outbox = Outbox(Mutex::new(Some((lanes, over_tx))));
    let inbox = Inbox {
        responses,
        exceptions,
        over,
    };
    (outbox, inbox)
}

/// The sending end of both lanes. They are unbounded, so sending never waits.
#[derive(Clone)]
pub(super) struct Lanes {
    responses: Sender<ThreadResponse>,
    exceptions: Sender<ThreadException>,
}

impl Lanes {
    pub(super) fn send(&self, outcome: Outcome) {
        // Without a receiver, the pool and its iterators are gone, and with them who wanted to know.
        match outcome {
            Ok(response) => drop(self.responses.send(response)),
            Err(exception) => drop(self.exceptions.send(exception)),
        }
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
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The receiving end of both lanes.
#[derive(Clone)]
pub(super) struct Inbox {
    pub(super) responses: Receiver<ThreadResponse>,
    pub(super) exceptions: Receiver<ThreadException>,
    /// Carries nothing; it is disconnected when the work is over.
    over: Receiver<Infallible>,
}

impl Inbox {
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
}

/// The responses that are there, in the order in which the jobs were done. Made by
/// [`Pool::responses`](crate::Pool::responses) and [`map`](crate::map).
///
/// It never waits: it ends when no response is there. What it has not handed out stays where it is, for the next one.
pub struct Responses(Receiver<ThreadResponse>);

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

/// Both lanes as one, in the order in which the jobs were done.
pub(super) struct Merged {
    inbox: Inbox,
    response: Option<ThreadResponse>,
    exception: Option<ThreadException>,
}

impl Merged {
    pub(super) fn new(inbox: Inbox) -> Self {
        Self {
            inbox,
            response: None,
            exception: None,
        }
    }

    /// The next outcome; blocks until there is one. `None` when the work is over and all has been handed out.
    pub(super) fn next(&mut self) -> Option<Outcome> {
        loop {
            self.look();
            if let Some(outcome) = self.take_earlier() {
                return Some(outcome);
            }
            select! {
                recv(self.inbox.responses) -> response => self.response = response.ok(),
                recv(self.inbox.exceptions) -> exception => self.exception = exception.ok(),
                recv(self.inbox.over) -> _ => {
                    // Whatever there is was sent before.
                    self.look();
                    return self.take_earlier();
                }
            }
        }
    }

    /// How many outcomes are there now.
    pub(super) fn len(&self) -> usize {
        let held = usize::from(self.response.is_some()) + usize::from(self.exception.is_some());
        held + self.inbox.responses.len() + self.inbox.exceptions.len()
    }

    /// Looks for the first outcome of each lane. An exception that is there was sent after all the responses that came
    /// before it, but maybe after the first look at their lane: hence the second one.
    fn look(&mut self) {
        let Self {
            inbox,
            response,
            exception,
        } = self;
        let look_for_response = |response: &mut Option<_>| {
            if response.is_none() {
                *response = inbox.responses.try_recv().ok();
            }
        };
        look_for_response(response);
        if exception.is_none() {
            *exception = inbox.exceptions.try_recv().ok();
        }
        look_for_response(response);
    }

    fn take_earlier(&mut self) -> Option<Outcome> {
        let exception_first = match (&self.response, &self.exception) {
            (Some(response), Some(exception)) => exception.finished_at() < response.finished_at(),
            (None, _) => true,
            (Some(_), None) => false,
        };
        if exception_first {
            self.exception.take().map(Err)
        } else {
            self.response.take().map(Ok)
        }
    }
}
