//! Threads for closures that may block or take their time, so that others do not wait: [`BlockingThreads`].

use std::collections::VecDeque;
#[cfg(feature = "hyper")]
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

#[cfg(feature = "hyper")]
use tokio::sync::oneshot;

use crate::error::Error;

/// Resolves host names. A name whose server is silent takes a thread for 10 s or more, so the maximum is high: it takes as
/// many such names at once before one that resolves has to wait.
#[cfg(all(feature = "hyper", not(feature = "hickory-dns")))]
pub(crate) static LOOKUPS: BlockingThreads = BlockingThreads::new("threaded-dns", 256);

/// Reads and writes files.
#[cfg(feature = "hyper")]
pub(crate) static FILES: BlockingThreads = BlockingThreads::new("threaded-files", 32);

/// Runs the handlers of bodies, and hooks that renew credentials. They may take any time.
#[cfg(feature = "hyper")]
pub(crate) static HANDLERS: BlockingThreads = BlockingThreads::new("threaded-handlers", 512);

/// Computes digests of bodies. More threads than a machine has cores would make none of them faster.
pub(crate) static DIGESTS: BlockingThreads = BlockingThreads::new("threaded-digests", 16);

/// How long a thread waits for the next closure before it ends.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// Runs closures on threads that are started when they are needed, up to a maximum, and end when they are not. Closures
/// beyond it wait in the order in which they came.
pub(crate) struct BlockingThreads {
    name: &'static str,
    max: usize,
    state: Mutex<State>,
    has_work: Condvar,
}

struct State {
    queue: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
    idle: usize,
}

impl BlockingThreads {
    const fn new(name: &'static str, max: usize) -> Self {
        Self {
            name,
            max,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            has_work: Condvar::new(),
        }
    }

    /// Runs a closure, and waits for its result without blocking. Once begun, it runs to its end even if the future is
    /// dropped; before, it is dropped when its turn has come.
    ///
    /// # Errors
    ///
    /// Fails with [`LocalResource`](crate::ErrorKind::LocalResource) if there is no thread for it and none can be started. A
    /// panic of the closure goes on in the caller.
    #[cfg(feature = "hyper")]
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (done, result) = oneshot::channel();
        self.spawn(move || {
            if !done.is_closed() {
                let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            }
        })?;
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            // No thread could be started after all.
            Err(gone) => Err(Error::local_resource(gone)),
        }
    }

    /// Runs a closure, which must not panic. Fails if there is no thread for it and none can be started.
    pub(crate) fn spawn(&'static self, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let mut state = self.state();
        state.queue.push_back(Box::new(work));
        if state.queue.len() <= state.idle || state.threads >= self.max {
            drop(state);
            self.has_work.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let spawned = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || self.serve());
        let Err(error) = spawned else {
            return Ok(());
        };
        let mut state = self.state();
        state.threads -= 1;
        if state.threads > 0 {
            // It waits for one of them.
            return Ok(());
        }
        let unserved = std::mem::take(&mut state.queue);
        drop(state);
        drop(unserved);
        let message = format!("no thread can be started for what blocks: {error}");
        Err(Error::local_resource(io::Error::new(error.kind(), message)))
    }

    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                work();
                state = self.state();
                continue;
            }
            state.idle += 1;
            let waited = self.has_work.wait_timeout(state, IDLE_TIME);
            let (woken, waiting) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waiting.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
