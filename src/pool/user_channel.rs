//! The job channel that the user has brought, and the thread that watches it for workers that wait.
//!
//! Workers take jobs out of the channel themselves, when they are free: so a bounded channel holds its producer back, and
//! what no worker has taken is left to the channel's other receivers. But a worker waits on its waker, not on channels. So
//! one small thread waits on the channel in place of all of them, whenever a worker asks for that, and wakes one.

use std::io;

use crate::request::RequestSpec;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, Select, Sender, TryRecvError, unbounded};
use crate::sync::{Mutex, thread};

pub(super) struct UserChannel {
    /// `None` once it is closed, so that its senders are disconnected.
    open: Mutex<Option<Open>>,
    /// How many more jobs to take out of it: without bound, until `join_all` limits it to those that are in it.
    budget: AtomicUsize,
    /// Whether the watcher has been asked to watch, and has not woken a worker since.
    is_watched: AtomicBool,
}

struct Open {
    jobs: Receiver<RequestSpec>,
    /// Asks the watcher to watch the channel once; it ends when this is dropped.
    watch: Sender<()>,
}

const UNLIMITED: usize = usize::MAX;

impl UserChannel {
    pub(super) fn new(jobs: Receiver<RequestSpec>) -> (Self, ChannelWatcher) {
        let (watch, asked) = unbounded();
        let watcher = ChannelWatcher {
            jobs: jobs.clone(),
            asked,
        };
        let channel = Self {
            open: Mutex::new(Some(Open { jobs, watch })),
            budget: AtomicUsize::new(UNLIMITED),
            is_watched: AtomicBool::new(false),
        };
        (channel, watcher)
    }

    /// Takes a job within the budget; beyond it, the channel counts as disconnected.
    pub(super) fn try_take(&self) -> Result<RequestSpec, TryRecvError> {
        let Some(jobs) = self.jobs() else {
            return Err(TryRecvError::Disconnected);
        };
        let budget =
            self.budget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                    UNLIMITED => Some(UNLIMITED),
                    left => left.checked_sub(1),
                });
        match budget {
            Err(_) => Err(TryRecvError::Disconnected),
            Ok(UNLIMITED) => jobs.try_recv(),
            // Only a receiver that the user has kept can have taken what was counted.
            Ok(_) => jobs.try_recv().map_err(|_| TryRecvError::Disconnected),
        }
    }

    /// From now on, only as many jobs are taken as are in the channel now.
    pub(super) fn limit_to_present(&self) {
        let present = self.jobs().map_or(0, |jobs| jobs.len());
        // If a worker takes one of them between the two steps, one that comes later is taken in its place.
        self.budget.store(present, Ordering::SeqCst);
    }

    /// Whether there is nothing to take out of it.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs().is_none_or(|jobs| jobs.is_empty())
    }

    /// Takes nothing more. Returns the channel if it was open.
    pub(super) fn close(&self) -> Option<Receiver<RequestSpec>> {
        self.open.lock().take().map(|open| open.jobs)
    }

    /// Has the watcher wake a worker when there is a job in the channel, or its senders are gone.
    pub(super) fn watch(&self) {
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            if let Some(open) = &*self.open.lock() {
                let _ = open.watch.send(());
            }
        }
    }

    /// The watcher is about to wake a worker.
    pub(super) fn was_watched(&self) {
        self.is_watched.store(false, Ordering::SeqCst);
    }

    fn jobs(&self) -> Option<Receiver<RequestSpec>> {
        self.open.lock().as_ref().map(|open| open.jobs.clone())
    }
}

/// Waits on the channel in place of the workers.
pub(super) struct ChannelWatcher {
    jobs: Receiver<RequestSpec>,
    asked: Receiver<()>,
}

impl ChannelWatcher {
    /// Calls `wake` each time that the channel was to be watched and is ready, until the channel is closed.
    pub(super) fn start(self, wake: impl Fn() + Send + 'static) -> io::Result<()> {
        thread::Builder::new()
            .name("threaded-intake".to_owned())
            .spawn(move || {
                let Self { jobs, asked } = self;
                while asked.recv().is_ok() {
                    let mut ready = Select::new();
                    ready.recv(&jobs);
                    // Disconnected when the channel is closed.
                    ready.recv(&asked);
                    ready.ready();
                    wake();
                }
            })
            .map(drop)
    }
}
