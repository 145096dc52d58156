//! When a pool's work ends: a count of outstanding work, and the shutdown mode.
//!
//! Jobs come from two sources: they are submitted, or workers take them out of the user's job channel. The work is over when
//! no more can come and none is outstanding. The count is a wait group of everything that keeps the work open:
//!
//! ```text
//! the pool, until its intake is closed                1
//! the user's channel, until it is closed              1
//! each job, from its acceptance to its outcome        1    (while the pool is iterated over: until the next one is asked for)
//! each worker that is looking into the channel        1    (it becomes that of the job found there)
//! ```
//!
//! Whatever takes the count to 0 ends the work. The last line is the reason that no job slips through: a worker that takes
//! the last job out of the channel keeps the work open before another worker can find the channel empty.

use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

pub(super) struct Outstanding(AtomicUsize);

impl Outstanding {
    pub(super) fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// Adds one, unless the work is over.
    pub(super) fn add(&self) -> bool {
        let added = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                (count > 0).then(|| count + 1)
            });
        added.is_ok()
    }

    /// Whether these were the last ones.
    pub(super) fn release(&self, count: usize) -> bool {
        count > 0 && self.0.fetch_sub(count, Ordering::SeqCst) == count
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

/// What happens to jobs that no worker has started. It only ever moves on to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum ShutdownMode {
    Running,
    /// They are given back, and jobs in flight go on.
    Returning,
    /// They are cancelled, and so are the jobs in flight.
    Cancelled,
    /// The pool was dropped, so their outcomes have no reader.
    Dropped,
}

pub(super) struct AtomicShutdownMode(AtomicU8);

impl Default for AtomicShutdownMode {
    fn default() -> Self {
        Self(AtomicU8::new(ShutdownMode::Running as u8))
    }
}

impl AtomicShutdownMode {
    pub(super) fn get(&self) -> ShutdownMode {
        use ShutdownMode::*;

        let value = self.0.load(Ordering::SeqCst);
        [Running, Returning, Cancelled]
            .into_iter()
            .find(|mode| *mode as u8 == value)
            .unwrap_or(Dropped)
    }

    pub(super) fn advance_to(&self, mode: ShutdownMode) {
        self.0.fetch_max(mode as u8, Ordering::SeqCst);
    }
}
