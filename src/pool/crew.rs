//! The workers of a pool as a whole: starting them, and what they have in common.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::bounded;

use super::queue::Queue;
use super::recipe::Recipe;
use super::worker::Worker;
use crate::error::{PoolError, SubmitError};
use crate::fetch::AttemptLimits;
use crate::request::RequestSpec;

pub(super) struct Crew {
    pub(super) queue: Queue,
    pub(super) recipe: Arc<Recipe>,
    pub(super) limits: AttemptLimits,
    pub(super) error_for_status: bool,
    pub(super) threads: ThreadSettings,
    started: AtomicUsize,
}

pub(super) struct ThreadSettings {
    /// Most workers that the pool may have.
    pub(super) most: usize,
    pub(super) name: Box<dyn Fn(usize) -> String + Send + Sync>,
    pub(super) stack_size: Option<usize>,
}

impl Crew {
    pub(super) fn new(
        queue: Queue,
        recipe: Arc<Recipe>,
        limits: AttemptLimits,
        error_for_status: bool,
        threads: ThreadSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            recipe,
            limits,
            error_for_status,
            threads,
            started: AtomicUsize::new(0),
        })
    }

    /// How many workers were started.
    pub(super) fn started(&self) -> usize {
        self.started.load(Ordering::SeqCst)
    }

    /// Starts the first worker and waits until it has its session, then the others, which are not waited for.
    pub(super) fn start(self: &Arc<Self>, workers: usize) -> Result<(), PoolError> {
        if workers == 0 {
            return Ok(());
        }
        let (ready_tx, ready) = bounded(1);
        self.spawn(|worker| worker.run_first(ready_tx))
            .map_err(PoolError::Spawn)?;
        match ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(PoolError::Session(fault.into())),
            Err(_) => return Err(PoolError::Session("the first worker died".into())),
        }
        while self.started() < workers && self.start_another() {}
        Ok(())
    }

    /// Adds a job, and a worker if there may be one more: a pool made from a few known jobs has started just as many.
    pub(super) fn submit(self: &Arc<Self>, request: RequestSpec) -> Result<usize, SubmitError> {
        let index = self.queue.submit(request)?;
        self.start_another();
        Ok(index)
    }

    /// Starts one more worker, if there may be one more.
    pub(super) fn start_another(self: &Arc<Self>) -> bool {
        match self.spawn(Worker::run) {
            Ok(is_started) => is_started,
            Err(error) => {
                self.queue.tally().worker_failed();
                log::warn!("a worker's thread could not be started: {error}");
                false
            }
        }
    }

    /// `Ok(false)` if there are as many workers as there may be.
    fn spawn(self: &Arc<Self>, run: impl FnOnce(Worker) + Send + 'static) -> io::Result<bool> {
        let number = self
            .started
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |started| {
                (started < self.threads.most).then_some(started + 1)
            });
        let Ok(number) = number else {
            return Ok(false);
        };
        // A name with a NUL would make `spawn` panic.
        let name = (self.threads.name)(number).replace('\0', "");
        let mut thread = thread::Builder::new().name(name);
        if let Some(bytes) = self.threads.stack_size {
            thread = thread.stack_size(bytes);
        }
        let worker = Worker::new(Arc::clone(self));
        // Nobody waits for the thread itself: it may outlive the work by the time that its transport takes to close.
        match thread.spawn(move || run(worker)) {
            Ok(_) => Ok(true),
            Err(error) => {
                self.started.fetch_sub(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}
