//! The workers of a pool as a whole: starting them, and what they have in common.

mod endings;

use std::io;
use std::sync::Arc;

use super::in_flight::InFlight;
use super::queue::Queue;
use super::recipe::Recipe;
use super::rules::Rules;
use super::worker::Worker;
use crate::error::{PoolError, SubmitError};
use crate::observe::WorkerTally;
use crate::panics;
use crate::request::RequestSpec;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::bounded;
use crate::sync::thread;

pub(super) struct Crew {
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    /// Counts the jobs that end without a worker.
    tally: Arc<WorkerTally>,
    pub(super) recipe: Arc<dyn Recipe>,
    pub(super) rules: Rules,
    pub(super) threads: ThreadSettings,
    started: AtomicUsize,
}

pub(super) struct ThreadSettings {
    /// Most workers that the pool may have.
    pub(super) most: usize,
    pub(super) name: Box<dyn Fn(usize) -> String + Send + Sync>,
    pub(super) stack_size: Option<usize>,
}

impl ThreadSettings {
    pub(super) fn default_name(number: usize) -> String {
        format!("threaded-{number}")
    }
}

impl Crew {
    pub(super) fn new(
        queue: Queue,
        recipe: Arc<dyn Recipe>,
        rules: Rules,
        threads: ThreadSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            tally: queue.tally().add_worker(),
            queue,
            in_flight: InFlight::default(),
            recipe,
            rules,
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
        let has_workers = self.started() > 0;
        if !has_workers {
            // Without any, the job would wait in vain.
            if let Err(error) = self.spawn(Worker::run) {
                return Err(SubmitError::without_worker(request, error));
            }
        }
        let index = self.queue.submit(request)?;
        if has_workers {
            self.start_another();
        }
        // Something may have come in between: then the job waits for workers that are all busy.
        self.see_to_waiting();
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
        let name = panics::caught(|| (self.threads.name)(number));
        let name = name.unwrap_or_else(|_| ThreadSettings::default_name(number));
        // A name with a NUL would make `spawn` panic.
        let mut thread = thread::Builder::new().name(name.replace('\0', ""));
        if let Some(bytes) = self.threads.stack_size {
            thread = thread.stack_size(bytes);
        }
        let crew = Arc::clone(self);
        // Nobody waits for the thread itself: it may outlive the work by the time that its transport takes to close.
        match thread.spawn(move || run(Worker::new(crew, number))) {
            Ok(_) => Ok(true),
            Err(error) => {
                self.started.fetch_sub(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}
