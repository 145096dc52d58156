//! What holds a pool's work open.
//!
//! Jobs come from two sides: they are submitted, or workers take them out of the user's own channel. The work is over
//! when nothing can come any more and nothing is under way. To know that, this counts what holds it open:
//!
//! ```text
//! the pool, until its intake is closed               1
//! the user's channel, until it is drained            1
//! each job, from its acceptance to its outcome       1    (and on, while somebody iterates, until they ask for the next)
//! each worker that is looking into the channel       1    (it becomes the one of the job that it finds there)
//! ```
//!
//! Whoever takes the count to 0 ends the work. The last line is why no job slips through: a worker that takes the last
//! job out of the channel holds the work open before another one can find the channel empty.

use crate::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Holds(AtomicUsize);

impl Holds {
    pub(super) fn new(holds: usize) -> Self {
        Self(AtomicUsize::new(holds))
    }

    /// Adds one, unless the work is over.
    pub(super) fn add(&self) -> bool {
        let added = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |holds| {
                (holds > 0).then(|| holds + 1)
            });
        added.is_ok()
    }

    /// Takes so many away. `true` if they were the last ones.
    pub(super) fn release(&self, holds: usize) -> bool {
        holds > 0 && self.0.fetch_sub(holds, Ordering::SeqCst) == holds
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}
