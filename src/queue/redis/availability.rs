//! Whether the server of a queue is there, and telling the observers of the pools that consume it.

use std::sync::Arc;

use crate::observe::{self, Observer, QueueDown, QueueUp};
use crate::sync::Mutex;

#[derive(Default)]
pub(super) struct Availability(Mutex<State>);

#[derive(Default)]
struct State {
    /// Why the server could not be used, if the last call shows that it is away.
    outage: Option<Arc<str>>,
    observers: Vec<Observing>,
    /// Whether a thread is calling observers. It tells them what other threads find out meanwhile, so that each observer is told
    /// one thing after the other, and the last one is what is.
    is_telling: bool,
}

struct Observing {
    observer: Arc<dyn Observer>,
    /// Whether the last that it was told is that the server is away.
    is_told_away: bool,
}

impl Availability {
    pub(super) fn is_connected(&self) -> bool {
        self.0.lock().outage.is_none()
    }

    pub(super) fn is_back(&self, queue: &str) {
        if self.0.lock().outage.take().is_some() {
            self.tell(queue);
        }
    }

    pub(super) fn is_away(&self, queue: &str, reason: impl ToString) {
        let mut state = self.0.lock();
        if state.outage.is_none() {
            state.outage = Some(reason.to_string().into());
            drop(state);
            self.tell(queue);
        }
    }

    pub(super) fn observe(&self, queue: &str, observer: &Arc<dyn Observer>) {
        self.0.lock().observers.push(Observing {
            observer: Arc::clone(observer),
            is_told_away: false,
        });
        self.tell(queue);
    }

    pub(super) fn unobserve(&self, observer: &Arc<dyn Observer>) {
        let mut state = self.0.lock();
        let mut observers = state.observers.iter();
        // Pools that are built alike have the same one.
        let position = observers.position(|observing| Arc::ptr_eq(&observing.observer, observer));
        let removed = position.map(|position| state.observers.swap_remove(position));
        drop(state);
        // It may be the last one, of the user, and do anything when it is dropped.
        drop(removed);
    }

    /// Calls the observers that know it otherwise, without the lock.
    fn tell(&self, queue: &str) {
        let mut state = self.0.lock();
        if state.is_telling {
            return;
        }
        loop {
            let outage = state.outage.clone();
            let mut observers = state.observers.iter_mut();
            let next = observers.find(|observing| observing.is_told_away != outage.is_some());
            let Some(observing) = next else {
                state.is_telling = false;
                return;
            };
            observing.is_told_away = outage.is_some();
            let observer = Arc::clone(&observing.observer);
            state.is_telling = true;
            drop(state);
            observe::notify(Some(&observer), |observer| match &outage {
                Some(reason) => observer.queue_down(&QueueDown { queue, reason }),
                None => observer.queue_up(&QueueUp { queue }),
            });
            state = self.0.lock();
        }
    }
}
