//! The file descriptors of the process, and how many of them idle connections may take, over all clients.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The idle connections of this process.
pub(crate) static IDLE: LazyLock<IdleBudget> = LazyLock::new(|| IdleBudget::new(places()));

pub(crate) struct IdleBudget {
    count: AtomicUsize,
    max: usize,
}

impl IdleBudget {
    /// Half of the connections that there may be.
    fn new(places: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            max: places / 2,
        }
    }

    /// One more connection may be idle, unless as many are as may be. Returns whether it may.
    pub(super) fn try_add(&self) -> bool {
        let add = |count: usize| (count < self.max).then_some(count + 1);
        self.count
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, add)
            .is_ok()
    }

    /// One more connection is idle, if only for a moment.
    #[cfg(feature = "hyper")]
    pub(super) fn add(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    #[cfg(feature = "hyper")]
    pub(super) fn is_exceeded(&self) -> bool {
        self.count.load(Ordering::SeqCst) > self.max
    }

    /// So many connections are no longer idle.
    pub(super) fn remove(&self, count: usize) {
        self.count.fetch_sub(count, Ordering::SeqCst);
    }
}

/// How many connections there may be: a quarter of the limit is left to files and to the rest of the program.
pub(super) fn places() -> usize {
    static LIMIT: LazyLock<usize> = LazyLock::new(raised_limit);
    (*LIMIT - *LIMIT / 4).max(1)
}

/// The maximum number of descriptors, after it was raised as far as the system allows.
#[cfg(unix)]
fn raised_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let is_raised = setrlimit(Resource::Nofile, raised).is_ok();
    let current = if is_raised {
        limit.maximum
    } else {
        limit.current
    };
    current.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// Elsewhere, sockets are not limited by number.
#[cfg(not(unix))]
fn raised_limit() -> usize {
    usize::MAX
}
