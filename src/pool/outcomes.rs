//! Iterating over a pool.

use std::fmt;
use std::iter::FusedIterator;

use super::results::{Merged, Outcome};
use super::{Pool, Running};
use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;

/// Closes the intake and hands out each outcome as it comes.
impl IntoIterator for Pool {
    type Item = Result<ThreadResponse, ThreadException>;
    type IntoIter = Outcomes;

    fn into_iter(self) -> Outcomes {
        Outcomes {
            merged: self.running.inbox.merge(),
            running: self.running,
            is_intake_open: true,
        }
    }
}

/// The outcomes of a pool, in the order in which the jobs are done. Made by iterating over a [`Pool`].
///
/// It waits for the next one and ends when the work is over. What the loop over it submits through a
/// [`Handle`](crate::Handle) is part of the work: an outcome counts as dealt with when the next one is asked for. Dropping
/// it early cancels what is queued and does not wait.
pub struct Outcomes {
    merged: Merged,
    pub(super) running: Running,
    /// What came before the iteration is dealt with first, since it may lead to further jobs.
    pub(super) is_intake_open: bool,
}

impl Iterator for Outcomes {
    type Item = Outcome;

    fn next(&mut self) -> Option<Outcome> {
        let Self {
            merged,
            running,
            is_intake_open,
        } = self;
        let queue = &running.crew.queue;
        merged.next(|finished| {
            queue.finished(finished);
            if std::mem::take(is_intake_open) {
                queue.close_intake();
            }
        })
    }
}

impl FusedIterator for Outcomes {}

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            merged,
            running,
            is_intake_open: _,
        } = self;
        f.debug_struct("Outcomes")
            .field("there", &merged.len())
            .field("stats", &running.crew.queue.tally().snapshot())
            .finish()
    }
}
