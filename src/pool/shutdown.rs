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
//! Of the jobs, a second count leaves out those that are done and kept open by the reader of their outcomes: at 0, the pool
//! is idle. A round on a pool has counts of its own, with one source that is never released.

use crate::sync::WaitList;
use crate::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

pub(super) struct Outstanding {
    count: AtomicUsize,
    /// The jobs that are not done.
    active: AtomicUsize,
    idle: WaitList,
}

impl Outstanding {
    pub(super) fn new(sources: usize) -> Self {
        Self {
            count: AtomicUsize::new(sources),
            active: AtomicUsize::new(0),
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
        if added.is_ok() {
            self.active.fetch_add(1, Ordering::SeqCst);
        }
        added.is_ok()
    }

    /// Ends a job. Returns whether that has ended the work.
    pub(super) fn release(&self) -> bool {
        self.job_done();
        self.release_kept_open(1)
    }

    /// Returns whether that has ended the work.
    pub(super) fn release_source(&self) -> bool {
        self.release_kept_open(1)
    }

    /// A job is done, and stays open until the reader of its outcome asks for the next one.
    pub(super) fn keep_open(&self) {
        self.job_done();
    }

    /// Ends jobs that were kept open. Returns whether that has ended the work.
    pub(super) fn release_kept_open(&self, jobs: usize) -> bool {
        jobs > 0 && self.count.fetch_sub(jobs, Ordering::SeqCst) == jobs
    }

    fn job_done(&self) {
        if self.active.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.idle.notify_all();
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// Whether all jobs are done.
    pub(super) fn is_idle(&self) -> bool {
        self.active.load(Ordering::SeqCst) == 0
    }

    /// Blocks until `is_over`, which is asked again when the last job is done.
    pub(super) fn wait(&self, is_over: impl Fn() -> bool) {
        self.idle.wait(None, || is_over().then_some(()));
    }

    /// Those that wait have to ask again.
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
