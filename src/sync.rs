//! What threads share and wait on: locks without poisoning, atomics, channels, parking.
//!
//! Under `--cfg shuttle` all of it is the model checker's, which explores schedules of the threads: see `tests/model`.

use std::fmt;
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};
#[cfg(feature = "redis")]
use std::time::Duration;
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

/// Timers of an event loop.
#[cfg(all(feature = "hyper", not(shuttle)))]
pub(crate) mod time {
    pub(crate) use tokio::time::{Sleep, sleep, sleep_until};
}

/// In a model, time passes at any moment.
#[cfg(all(feature = "hyper", shuttle))]
pub(crate) mod time {
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use shuttle::rand::{Rng, thread_rng};

    pub(crate) struct Sleep;

    pub(crate) fn sleep(_: Duration) -> Sleep {
        Sleep
    }

    pub(crate) fn sleep_until(_: tokio::time::Instant) -> Sleep {
        Sleep
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if thread_rng().gen_bool(0.5) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
}

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

/// Tells an attempt to stop, whatever it waits for.
#[derive(Default)]
pub(crate) struct CancelFlag {
    is_set: atomic::AtomicBool,
    /// What drives the attempt, if that is an event loop.
    waker: Mutex<Option<Waker>>,
}

impl CancelFlag {
    pub(crate) fn set(&self) {
        self.is_set.store(true, atomic::Ordering::SeqCst);
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.is_set.load(atomic::Ordering::SeqCst)
    }

    /// Calls the waker when the flag is set. If it was set before, the caller sees that from now on.
    pub(crate) fn wake_on_set(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }
}

/// Calls `is_there` a few times, for a few microseconds in all. What a thread waits for often comes within that time: then
/// neither it nor the thread that brings it pays for sleeping and waking up. The channels of crossbeam do so too.
fn spin<T>(mut is_there: impl FnMut() -> Option<T>) -> Option<T> {
    const SPINS: u32 = 6;
    const YIELDS: u32 = 4;

    // In a model, each step on something shared lets the other threads go on.
    if cfg!(shuttle) {
        return is_there();
    }
    for step in 0..SPINS + YIELDS {
        if let Some(found) = is_there() {
            return Some(found);
        }
        if step < SPINS {
            (0..1_u32 << step).for_each(|_| std::hint::spin_loop());
        } else {
            thread::yield_now();
        }
    }
    is_there()
}

/// Blocks until the current thread is unparked or the time has come; it may also return earlier.
fn park(until: Option<Instant>) {
    match until {
        None => thread::park(),
        #[cfg(not(shuttle))]
        Some(until) => thread::park_timeout(until.saturating_duration_since(Instant::now())),
        // In a model, time passes at any moment.
        #[cfg(shuttle)]
        Some(_) => thread::yield_now(),
    }
}

/// Blocks the thread that has made it until its waker is called.
pub(crate) struct Parker {
    parked: Arc<ParkedThread>,
    waker: Waker,
}

struct ParkedThread {
    thread: thread::Thread,
    is_woken: atomic::AtomicBool,
}

impl Wake for ParkedThread {
    fn wake(self: Arc<Self>) {
        self.is_woken.store(true, atomic::Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Parker {
    pub(crate) fn new() -> Self {
        let parked = Arc::new(ParkedThread {
            thread: thread::current(),
            is_woken: atomic::AtomicBool::new(false),
        });
        Self {
            waker: Waker::from(Arc::clone(&parked)),
            parked,
        }
    }

    pub(crate) fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Blocks until the waker is called, if it has not been since the last time, or the time has come; it may also return
    /// earlier.
    pub(crate) fn park(&self, until: Option<Instant>) {
        let was_woken = || {
            let is_woken = &self.parked.is_woken;
            is_woken.swap(false, atomic::Ordering::SeqCst).then_some(())
        };
        if spin(was_woken).is_none() {
            park(until);
            self.parked.is_woken.store(false, atomic::Ordering::SeqCst);
        }
    }
}

/// The threads that wait for one thing, such as an outcome to read.
#[derive(Default)]
pub(crate) struct WaitList {
    /// The number of waiting threads, for a look without the lock.
    len: atomic::AtomicUsize,
    threads: Mutex<Vec<thread::Thread>>,
}

impl WaitList {
    /// Blocks until `check` returns something, which it may when the list was notified. `None` when the time has come.
    pub(crate) fn wait<T>(
        &self,
        until: Option<Instant>,
        mut check: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        loop {
            if let Some(found) = spin(&mut check) {
                return Some(found);
            }
            self.enter();
            // Either this finds what is there by now, or the thread that makes it available finds this one in the list.
            let found = check();
            let is_over = until.is_some_and(|until| Instant::now() >= until);
            if found.is_none() && !is_over {
                park(until);
            }
            let was_notified = !self.leave();
            if found.is_none() && !is_over {
                continue;
            }
            if was_notified {
                // The notification was for something else than what was found.
                self.notify_one();
            }
            return found;
        }
    }

    /// Waits before another attempt at something that has failed: longer each time, up to 5 s, and not as long as other processes
    /// do. Ends when `is_over`, which is asked again when the list is notified.
    #[cfg(feature = "redis")]
    pub(crate) fn back_off(&self, delay: &mut Duration, is_over: impl Fn() -> bool) {
        const MAX: Duration = Duration::from_secs(5);
        let jittered = delay.mul_f64(0.5 + fastrand::f64() / 2.0);
        let until = Instant::now().checked_add(jittered);
        self.wait(until, || is_over().then_some(()));
        *delay = (*delay * 2).min(MAX);
    }

    /// Something that one thread may wait for is available.
    pub(crate) fn notify_one(&self) {
        if self.has_waiting() {
            let mut threads = self.threads.lock();
            let woken = threads.pop();
            self.count(&threads);
            drop(threads);
            if let Some(thread) = woken {
                thread.unpark();
            }
        }
    }

    /// Something that all threads wait for has happened.
    pub(crate) fn notify_all(&self) {
        if self.has_waiting() {
            let mut threads = self.threads.lock();
            let woken = std::mem::take(&mut *threads);
            self.count(&threads);
            drop(threads);
            woken.iter().for_each(thread::Thread::unpark);
        }
    }

    fn has_waiting(&self) -> bool {
        atomic::fence(atomic::Ordering::SeqCst);
        self.len.load(atomic::Ordering::SeqCst) > 0
    }

    fn enter(&self) {
        let mut threads = self.threads.lock();
        threads.push(thread::current());
        self.count(&threads);
        drop(threads);
        atomic::fence(atomic::Ordering::SeqCst);
    }

    /// Whether the current thread was still in the list.
    fn leave(&self) -> bool {
        let current = thread::current().id();
        let mut threads = self.threads.lock();
        let position = threads.iter().position(|thread| thread.id() == current);
        if let Some(position) = position {
            threads.swap_remove(position);
            self.count(&threads);
        }
        position.is_some()
    }

    fn count(&self, threads: &[thread::Thread]) {
        self.len.store(threads.len(), atomic::Ordering::SeqCst);
    }
}
