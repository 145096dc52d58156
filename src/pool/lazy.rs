//! A pool that takes its jobs out of an iterator, a few at a time.

use std::fmt;

use super::queue::Fate;
use super::results::Outcome;
use super::{Outcomes, Pool};
use crate::request::RequestSpec;

/// Admits jobs while fewer than the window are held: queued, in flight, or done and not yet handed out.
pub(crate) struct Lazy<I> {
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
    pub(crate) fn fill(&mut self) {
        let crew = &self.outcomes.running.crew;
        while self.held < self.window {
            if crew.queue.fate() != Fate::Sent {
                // Called off: what is not drawn by now stays in the input.
                self.requests = None;
            }
            let Some(request) = self.requests.as_mut().and_then(Iterator::next) else {
                self.requests = None;
                crew.queue.close_intake();
                return;
            };
            match crew.submit(request.into()) {
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
        outcomes.is_intake_open = false;
        Self {
            requests: Some(requests),
            window,
            may_be_cut,
            held: 0,
            outcomes,
        }
    }

    /// How many jobs are held.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Blocks until a job is done. Its place in the window is taken until [`handed_out`](Self::handed_out).
    pub(crate) fn wait(&mut self) -> Option<Outcome> {
        self.outcomes.next()
    }

    /// An outcome leaves: there is room for another job.
    pub(crate) fn handed_out(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    pub(crate) fn size_hint(&self) -> (usize, Option<usize>) {
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
