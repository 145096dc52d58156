//! The workers of a pool as a whole: starting them, and what they have in common.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::in_flight::InFlight;
use super::queue::{Fate, Job, Queue};
use super::recipe::Recipe;
use super::results::{Lanes, Outcome};
use super::worker::Worker;
use crate::error::{Error, PoolError, SubmitError};
use crate::exception::ThreadException;
use crate::fetch::AttemptLimits;
use crate::observe::{Observer, WorkerTally};
use crate::outcome::Record;
use crate::panics;
use crate::redact::Clipped;
use crate::request::RequestSpec;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::bounded;
use crate::sync::thread;

pub(super) struct Crew {
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    /// Counts the jobs that were taken from their workers, or from the queue.
    called_off: Arc<WorkerTally>,
    pub(super) recipe: Arc<Recipe>,
    pub(super) limits: AttemptLimits,
    pub(super) error_for_status: bool,
    pub(super) observer: Option<Box<dyn Observer>>,
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
        recipe: Arc<Recipe>,
        limits: AttemptLimits,
        error_for_status: bool,
        observer: Option<Box<dyn Observer>>,
        threads: ThreadSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            called_off: queue.tally().add_worker(),
            queue,
            in_flight: InFlight::default(),
            recipe,
            limits,
            error_for_status,
            observer,
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
        if self.queue.fate() == Fate::CalledOff {
            // It came in between: the job may wait for workers that are all busy.
            self.call_off();
        }
        Ok(index)
    }

    /// Ends all jobs now. Their workers may go on with what they are at, and nobody waits for them.
    pub(super) fn call_off(&self) {
        self.queue.call_off();
        let Some(lanes) = self.queue.outbox().lanes() else {
            return;
        };
        self.queue.for_each_waiting(|job| {
            self.called_off.job_started();
            self.end_called_off(&lanes, &job, None);
        });
        for begun in self.in_flight.take_all() {
            self.end_called_off(&lanes, &begun.job, Some(begun.at));
        }
    }

    fn end_called_off(&self, lanes: &Lanes, job: &Job, begun_at: Option<Instant>) {
        let finished_at = Instant::now();
        let elapsed = begun_at.map_or(Duration::ZERO, |at| finished_at - at);
        let record = Record {
            request: job.request.clone(),
            index: job.index,
            attempts: u32::from(begun_at.is_some()),
            elapsed,
            last_attempt_elapsed: elapsed,
            finished_at,
        };
        let error = Error::Cancelled {
            sent: begun_at.is_some(),
        };
        self.called_off.job_failed();
        self.deliver(lanes, Err(ThreadException::new(record, error, None)));
    }

    /// Hands an outcome over; with it, the job no longer holds the work open, unless its reader wants it to.
    pub(super) fn deliver(&self, lanes: &Lanes, outcome: Outcome) {
        if let Some(observer) = &self.observer {
            let told = panics::caught(|| match &outcome {
                Ok(response) => observer.response(response),
                Err(exception) => observer.exception(exception),
            });
            if let Err(message) = told {
                log::error!("the observer panicked: {}", Clipped(message));
            }
        }
        let is_held_by_reader = lanes.send(outcome);
        if !is_held_by_reader {
            self.queue.finished(1);
        }
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
        match thread.spawn(move || run(Worker::new(crew))) {
            Ok(_) => Ok(true),
            Err(error) => {
                self.started.fetch_sub(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}
