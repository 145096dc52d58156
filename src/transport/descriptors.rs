//! The file descriptors of the process, as far as connections take them: a connection waits for a place rather than fail, and
//! idle ones give way to it.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::idle_budget::{IDLE, places};
use crate::sync::Mutex;

/// The descriptors of this process.
pub(crate) static DESCRIPTORS: LazyLock<Descriptors> = LazyLock::new(|| Descriptors::new(places()));

/// How long to wait for a descriptor that something else than a connection may have taken. Nothing tells when it is released.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Descriptors {
    places: Arc<Semaphore>,
    /// How many connections there are.
    open: AtomicUsize,
    /// How many connections wait for a place.
    waiting: AtomicUsize,
    holders: Mutex<Vec<Weak<dyn IdleConnections>>>,
}

/// The place of a connection. It is free again when this is dropped.
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    is_open: bool,
}

impl Place {
    fn new(permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            _permit: permit,
            is_open: false,
        }
    }

    /// The connection has a descriptor, which it will release.
    pub(crate) fn open(&mut self) {
        if !std::mem::replace(&mut self.is_open, true) {
            DESCRIPTORS.open.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_open {
            DESCRIPTORS.open.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The idle connections of one client.
pub(crate) trait IdleConnections: Send + Sync {
    /// Since when the one is idle that has been so for longest.
    fn oldest_since(&self) -> Option<Instant>;

    /// Closes that one. Returns whether there was one.
    fn close_oldest(&self) -> bool;
}

impl Descriptors {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            holders: Mutex::default(),
        }
    }

    /// Takes idle connections into account, until they are dropped.
    pub(crate) fn register(&self, holder: Weak<dyn IdleConnections>) {
        let mut holders = self.holders.lock();
        holders.retain(|holder| holder.strong_count() > 0);
        holders.push(holder);
    }

    /// Waits for the place of a new connection. The oldest idle connections are closed if there is none.
    pub(crate) async fn place(&self) -> Place {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Place::new(Some(place));
        }
        // From now on, no connection stays idle: see `may_idle` and `became_idle`.
        let _waiting = Waiting::new(&self.waiting);
        let mut acquired = pin!(Arc::clone(&self.places).acquire_owned());
        loop {
            // The place of an HTTP/2 connection is free a moment after it was closed; and nothing tells when one becomes idle.
            self.close_oldest_idle();
            let permit = tokio::time::timeout(RETRY_INTERVAL, acquired.as_mut()).await;
            if let Ok(permit) = permit {
                // The semaphore is never closed.
                return Place::new(permit.ok());
            }
        }
    }

    /// Waits until a descriptor may be available, after the system has refused one. Returns whether there is hope: connections
    /// that will release theirs.
    pub(crate) async fn relieved(&self) -> bool {
        if self.close_oldest_idle() {
            return true;
        }
        let is_hopeful = self.open.load(Ordering::SeqCst) > 0;
        if is_hopeful {
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
        is_hopeful
    }

    /// Whether a connection may become idle, rather than be closed for one that waits.
    pub(crate) fn may_idle(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) == 0
    }

    /// A connection is idle, and can be closed; the oldest one is, if there are too many, or one waits for its place.
    pub(crate) fn became_idle(&self) {
        if IDLE.is_exceeded() || !self.may_idle() {
            self.close_oldest_idle();
        }
    }

    fn close_oldest_idle(&self) -> bool {
        let holders: Vec<_> = self
            .holders
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        let oldest = holders
            .iter()
            .filter_map(|holder| Some((holder.oldest_since()?, holder)))
            .min_by_key(|(since, _)| *since);
        oldest.is_some_and(|(_, holder)| holder.close_oldest())
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
