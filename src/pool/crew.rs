//! The workers of a pool as a whole: starting them, and what they have in common.

mod endings;
mod roster;

use std::io;
use std::sync::{Arc, PoisonError};

use self::roster::Roster;
use super::in_flight::InFlight;
use super::queue::Queue;
use super::rules::Rules;
use super::worker::Worker;
use crate::observe::WorkerTally;
use crate::panics;
use crate::pool::{PoolError, SubmitError};
use crate::request::RequestSpec;
use crate::session::factory::SessionFactory;
use crate::sync::channel::bounded;
use crate::sync::{Mutex, MutexGuard, thread};

pub(super) struct Crew {
    pub(super) queue: Queue,
    pub(super) in_flight: InFlight,
    /// Counts the jobs that end without a worker.
    tally: Arc<WorkerTally>,
    pub(super) session_factory: Arc<dyn SessionFactory>,
    pub(super) rules: Rules,
    pub(super) threads: ThreadSettings,
    roster: Mutex<Roster>,
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
        session_factory: Arc<dyn SessionFactory>,
        rules: Rules,
        threads: ThreadSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            tally: queue.tally().add_worker(),
            queue,
            in_flight: InFlight::default(),
            session_factory,
            rules,
            roster: Mutex::new(Roster::new(threads.most)),
            threads,
        })
    }

    /// How many workers there are, those included that are about to be started.
    pub(super) fn size(&self) -> usize {
        self.roster().wanted()
    }

    /// Starts the first worker and waits until it has its session. The others come up after it, and are not waited for.
    pub(super) fn start(self: &Arc<Self>, workers: usize) -> Result<(), PoolError> {
        if workers == 0 {
            return Ok(());
        }
        let (ready_tx, ready) = bounded(1);
        self.start_first(|worker| worker.run_first(ready_tx))
            .map_err(PoolError::spawn)?;
        match ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => return Err(PoolError::session(fault)),
            Err(_) => return Err(PoolError::session("the first worker died")),
        }
        self.roster().want(workers);
        self.bring_up();
        Ok(())
    }

    /// Adds a job, and a worker if there may be one more: a pool made from a few known jobs has started just as many.
    pub(super) fn submit(self: &Arc<Self>, request: RequestSpec) -> Result<usize, SubmitError> {
        let has_workers = self.size() > 0;
        if !has_workers {
            // Without any, the job would wait in vain.
            if let Err(error) = self.start_first(Worker::run) {
                return Err(SubmitError::without_worker(request, error));
            }
        }
        let index = self.queue.submit(request)?;
        let is_one_to_come = has_workers && self.roster().want_another();
        if is_one_to_come {
            self.bring_up();
        }
        // Something may have come in between: then the job waits for workers that are all busy.
        self.see_to_waiting();
        Ok(index)
    }

    /// A worker has its session, or goes without: the next ones may come up.
    pub(super) fn came_up(self: &Arc<Self>) {
        self.roster().came_up();
        self.bring_up();
    }

    /// Starts the workers that may come up now, as long as there is use for them.
    fn bring_up(self: &Arc<Self>) {
        while self.queue.has_use_for_another() {
            // Without the lock: starting a thread takes its time.
            let Some(number) = self.roster().next() else {
                return;
            };
            if let Err(error) = self.spawn(number, Worker::run) {
                self.roster().was_not_started();
                self.queue.tally().worker_failed();
                log::warn!("a worker's thread could not be started: {error}");
                return;
            }
        }
    }

    /// Starts the first worker, unless somebody has done so already.
    fn start_first(self: &Arc<Self>, run: impl FnOnce(Worker) + Send + 'static) -> io::Result<()> {
        let mut roster = self.roster();
        roster.want(1);
        let Some(number) = roster.next() else {
            return Ok(());
        };
        drop(roster);
        self.spawn(number, run)
            .inspect_err(|_| self.roster().was_not_started())
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn(
        self: &Arc<Self>,
        number: usize,
        run: impl FnOnce(Worker) + Send + 'static,
    ) -> io::Result<()> {
        let name = panics::caught(|| (self.threads.name)(number));
        let name = name.unwrap_or_else(|_| ThreadSettings::default_name(number));
        // A name with a NUL would make `spawn` panic.
        let mut thread = thread::Builder::new().name(name.replace('\0', ""));
        if let Some(bytes) = self.threads.stack_size {
            thread = thread.stack_size(bytes);
        }
        let crew = Arc::clone(self);
        // Nobody waits for the thread itself: it may outlive the work by the time that its transport takes to close.
        thread
            .spawn(move || run(Worker::new(crew, number)))
            .map(drop)
    }
}
