//! What threads share and wait on: locks without poisoning, atomics, channels, parking.
//!
//! Under `--cfg shuttle` all of it is the model checker's, which explores schedules of the threads: see `tests/model`.

use std::fmt;
use std::sync::PoisonError;
use std::time::Instant;

#[cfg(not(shuttle))]
pub(crate) use {
    crossbeam_channel as channel,
    std::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic},
    std::thread,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic},
    thread,
};

#[cfg(shuttle)]
#[path = "../tests/model/channel.rs"]
#[allow(
    missing_docs,
    missing_debug_implementations,
    reason = "only the models use it"
)]
pub mod channel;

#[cfg(shuttle)]
use shuttle::sync as inner;
#[cfg(not(shuttle))]
use std::sync as inner;

/// A mutex without poisoning. No panic leaves what it protects half changed: user code that runs under a lock is caught.
#[derive(Default)]
pub(crate) struct Mutex<T>(inner::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(inner::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex(..)")
    }
}

/// A readers-writer lock without poisoning.
pub(crate) struct RwLock<T>(inner::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(inner::RwLock::new(value))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(shuttle))]
const YIELDS: usize = 4;

/// Blocks until the current thread is unparked or the time has come; it may also return earlier.
pub(crate) fn park(until: Option<Instant>) {
    // What this thread waits for often comes within microseconds: then neither it nor the thread that unparks it pays for
    // sleeping and waking up. The channels of crossbeam yield this often too, before they block.
    #[cfg(not(shuttle))]
    (0..YIELDS).for_each(|_| thread::yield_now());
    match until {
        None => thread::park(),
        #[cfg(not(shuttle))]
        Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
        // In a model, time passes at any moment.
        #[cfg(shuttle)]
        Some(_) => thread::yield_now(),
    }
}
