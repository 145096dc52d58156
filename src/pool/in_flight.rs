//! The jobs that workers are at. A job can be taken from its worker, so that nobody has to wait for it.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::job::Job;
use crate::sync::Mutex;

/// A job that a worker has begun.
pub(super) struct Begun {
    pub(super) job: Job,
    pub(super) at: Instant,
}

/// Where one worker has its job lie. Whoever takes it from there answers for its outcome.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<Arc<Begun>>>);

impl Desk {
    pub(super) fn put(&self, begun: &Arc<Begun>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(begun));
    }

    pub(super) fn take(&self) -> Option<Arc<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The desks of all workers.
#[derive(Default)]
pub(super) struct InFlight(Mutex<Vec<Arc<Desk>>>);

impl InFlight {
    pub(super) fn add_desk(&self) -> Arc<Desk> {
        let desk = Arc::<Desk>::default();
        let mut desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desks.push(Arc::clone(&desk));
        desk
    }

    pub(super) fn take_all(&self) -> Vec<Arc<Begun>> {
        let desks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        desks.iter().filter_map(|desk| desk.take()).collect()
    }
}
