//! When a pool's work ends: a count of outstanding work, and the shutdown mode.
//!
//! Jobs come from two sources: they are submitted, or workers take them out of the user's job channel. The work is over when
//! no more can come and none is outstanding. The count is a wait group of everything that keeps the work open:
//!
//! ```text
//! a source: the pool, until its intake is closed      1
//! a source: the user's channel, until it is closed    1
//! each job, from its acceptance to its outcome        1    (while the pool is iterated over: until the next one is asked for)
//! each worker that is looking into the channel        1    (it becomes that of the job found there)
//! ```
//!
//! Whatever takes the count to 0 ends the work. The last line is the reason that no job slips through: a worker that takes
//! the last job out of the channel keeps the work open before another worker can find the channel empty.
//!
//! Without jobs, other than those that are done and kept open by the reader of their outcomes, the count is idle. A round on a
//! pool has a count of its own, with the round as the only source.

use crate::sync::WaitList;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// Sources count in the upper half.
const SOURCE: usize = 1 << (usize::BITS / 2);

pub(super) struct Outstanding {
    count: AtomicUsize,
    /// How many of the jobs are done and kept open.
    kept_open: AtomicUsize,
    idle: WaitList,
}

/// What is left after a release.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Jobs,
    /// Sources, but no jobs.
    Idle,
    Nothing,
}

impl Outstanding {
    pub(super) fn new(sources: usize) -> Self {
        Self {
            count: AtomicUsize::new(sources * SOURCE),
            kept_open: AtomicUsize::new(0),
            idle: WaitList::default(),
        }
    }

    /// Adds a job, unless the work is over.
    pub(super) fn add(&self) -> bool {
        let added = self
            .count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                (count > 0).then(|| count + 1)
            });
        added.is_ok()
    }

    pub(super) fn release(&self, jobs: usize) -> Left {
        if jobs == 0 {
            return Left::Jobs;
        }
        self.left_after(self.count.fetch_sub(jobs, Ordering::SeqCst) - jobs)
    }

    pub(super) fn release_source(&self) -> Left {
        self.left_after(self.count.fetch_sub(SOURCE, Ordering::SeqCst) - SOURCE)
    }

    /// A job is done, and stays open until the reader of its outcome asks for the next one.
    pub(super) fn keep_open(&self) {
        self.kept_open.fetch_add(1, Ordering::SeqCst);
        if self.is_idle() {
            self.idle.notify_all();
        }
    }

    pub(super) fn release_kept_open(&self, jobs: usize) -> Left {
        self.kept_open.fetch_sub(jobs, Ordering::SeqCst);
        self.release(jobs)
    }

    fn left_after(&self, count: usize) -> Left {
        if self.is_idle() {
            self.idle.notify_all();
        }
        match (count, count % SOURCE) {
            (0, _) => Left::Nothing,
            (_, 0) => Left::Idle,
            _ => Left::Jobs,
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    pub(super) fn jobs(&self) -> usize {
        self.count.load(Ordering::SeqCst) % SOURCE
    }

    fn is_idle(&self) -> bool {
        self.jobs() <= self.kept_open.load(Ordering::SeqCst)
    }

    /// Blocks until `is_over`, which is told whether there are no jobs but those that are kept open.
    pub(super) fn wait(&self, is_over: impl Fn(bool) -> bool) {
        self.idle
            .wait(None, || is_over(self.is_idle()).then_some(()));
    }

    /// Those that wait have to look again.
    pub(super) fn notify(&self) {
        self.idle.notify_all();
    }
}

/// Which jobs a pool still accepts and starts. It only ever moves on to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum ShutdownMode {
    Open,
    /// The pool is joined or iterated over: as long as there are jobs, they may lead to more.
    Draining,
    /// The intake was closed.
    Closed,
    /// Jobs that no worker has started are given back, and jobs in flight go on.
    Returning,
    /// Jobs that no worker has started are cancelled, and so are the jobs in flight.
    Cancelled,
    /// The pool was dropped, so outcomes of its channels have no reader.
    Dropped,
}

pub(super) struct AtomicShutdownMode(AtomicU8);

impl Default for AtomicShutdownMode {
    fn default() -> Self {
        Self(AtomicU8::new(ShutdownMode::Open as u8))
    }
}

impl AtomicShutdownMode {
    pub(super) fn get(&self) -> ShutdownMode {
        Self::mode(self.0.load(Ordering::SeqCst))
    }

    /// Returns the mode before.
    pub(super) fn advance_to(&self, mode: ShutdownMode) -> ShutdownMode {
        Self::mode(self.0.fetch_max(mode as u8, Ordering::SeqCst))
    }

    fn mode(value: u8) -> ShutdownMode {
        use ShutdownMode::*;

        [Open, Draining, Closed, Returning, Cancelled]
            .into_iter()
            .find(|mode| *mode as u8 == value)
            .unwrap_or(Dropped)
    }
}
