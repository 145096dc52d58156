//! The job channel that the user has brought.

use std::sync::PoisonError;

use crate::request::RequestSpec;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, TryRecvError};

pub(super) struct UserChannel {
    /// `None` once no more is taken out of it: its senders shall learn that.
    jobs: Mutex<Option<Receiver<RequestSpec>>>,
    /// How many more jobs to take out of it: without bound, until `join_all` asks for what is there and no more.
    budget: AtomicUsize,
}

const NO_BOUND: usize = usize::MAX;

impl UserChannel {
    pub(super) fn new(jobs: Receiver<RequestSpec>) -> Self {
        Self {
            jobs: Mutex::new(Some(jobs)),
            budget: AtomicUsize::new(NO_BOUND),
        }
    }

    /// `None` once it is closed.
    pub(super) fn jobs(&self) -> Option<Receiver<RequestSpec>> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.clone()
    }

    pub(super) fn take_only_what_is_there(&self) {
        let there = self.jobs().map_or(0, |jobs| jobs.len());
        // A worker may take one of them between the two steps; then one that came later is taken instead.
        self.budget.store(there, Ordering::SeqCst);
    }

    pub(super) fn close(&self) -> Option<Receiver<RequestSpec>> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Takes a job within the budget; beyond it, the channel counts as disconnected.
    pub(super) fn take(&self, jobs: &Receiver<RequestSpec>) -> Result<RequestSpec, TryRecvError> {
        let budget =
            self.budget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                    NO_BOUND => Some(NO_BOUND),
                    bound => bound.checked_sub(1),
                });
        match budget {
            Err(_) => Err(TryRecvError::Disconnected),
            Ok(NO_BOUND) => jobs.try_recv(),
            // Nobody else takes what was counted, but for a receiver that the user has kept.
            Ok(_) => jobs.try_recv().map_err(|_| TryRecvError::Disconnected),
        }
    }
}
