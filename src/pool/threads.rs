//! The threads of a pool: starting workers, few at a time, and watching the deadline of the run.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::error::{PoolError, SubmitError};
use super::job_handle::JobHandle;
use super::results::ResultReceiver;
use super::round::Round;
use super::worker::Worker;
use crate::panics;
use crate::request::RequestSpec;
use crate::session::factory::SessionFactory;
use crate::sync::channel::{RecvTimeoutError, bounded};
use crate::sync::{Mutex, MutexGuard, thread};

pub(super) struct Threads {
    pub(super) core: Core,
    pub(super) sessions: Arc<dyn SessionFactory>,
    settings: ThreadSettings,
    ramp: Mutex<ThreadRamp>,
}

pub(super) struct ThreadSettings {
    /// The maximum number of workers.
    pub(super) max: usize,
    /// The maximum number of requests in flight, over all workers.
    #[cfg_attr(not(feature = "hyper"), expect(dead_code, reason = "for event loops"))]
    pub(super) concurrency: usize,
    pub(super) name: Arc<dyn Fn(usize) -> String + Send + Sync>,
    pub(super) stack_size: Option<usize>,
}

impl ThreadSettings {
    pub(super) fn default_name(number: usize) -> String {
        format!("threaded-{number}")
    }
}

impl Threads {
    pub(super) fn new(
        core: Core,
        sessions: Arc<dyn SessionFactory>,
        settings: ThreadSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            core,
            sessions,
            ramp: Mutex::new(ThreadRamp::new(settings.max)),
            settings,
        })
    }

    /// The number of workers, including those that are yet to be started.
    pub(super) fn count(&self) -> usize {
        self.ramp().wanted
    }

    /// The maximum number of requests that this worker may have in flight.
    #[cfg(feature = "hyper")]
    pub(super) fn in_flight_at(&self, number: usize) -> usize {
        let ThreadSettings {
            max, concurrency, ..
        } = self.settings;
        let remainder = usize::from(number % max < concurrency % max);
        concurrency / max + remainder
    }

    /// Starts the first worker and waits until it has its session. The other workers follow, and are not waited for.
    pub(super) fn start(self: &Arc<Self>, workers: usize) -> Result<(), PoolError> {
        if workers == 0 {
            return Ok(());
        }
        let (ready_tx, ready) = bounded(1);
        self.spawn_first(|worker| worker.run_first(ready_tx))
            .map_err(PoolError::spawn)?;
        match ready.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(PoolError::session(error)),
            Err(_) => return Err(PoolError::session("the first worker panicked")),
        }
        self.ramp().want(workers);
        self.spawn_more();
        Ok(())
    }

    /// Submits a job. A pool that was made from a few known jobs has as many workers, and gets one more for it.
    pub(super) fn submit(
        self: &Arc<Self>,
        request: RequestSpec,
        round: Option<Arc<Round>>,
    ) -> Result<usize, SubmitError> {
        self.with_a_worker(request, |request| self.core.submit(request, round))
    }

    /// Like `submit`, for a job with a handle.
    pub(super) fn spawn_job(
        self: &Arc<Self>,
        request: RequestSpec,
    ) -> Result<JobHandle, SubmitError> {
        let job = self.with_a_worker(request, |request| self.core.spawn(request))?;
        Ok(JobHandle::new(job, self))
    }

    fn with_a_worker<T>(
        self: &Arc<Self>,
        request: RequestSpec,
        submit: impl FnOnce(RequestSpec) -> Result<T, SubmitError>,
    ) -> Result<T, SubmitError> {
        let has_workers = self.count() > 0;
        if !has_workers && self.core.accepts_jobs() {
            // Without any, the job would wait for ever.
            if let Err(error) = self.spawn_first(Worker::run) {
                return Err(SubmitError::without_worker(request, error));
            }
        }
        let submitted = submit(request)?;
        if has_workers && self.ramp().want_another() {
            self.spawn_more();
        }
        Ok(submitted)
    }

    /// A worker has opened its session, or goes without: the next workers may be started.
    pub(super) fn came_up(self: &Arc<Self>) {
        self.ramp().came_up();
        self.spawn_more();
    }

    /// Cancels the run at its deadline, unless the work is over before. Waits on a thread of its own.
    pub(super) fn watch_deadline(
        self: &Arc<Self>,
        results: &ResultReceiver,
        deadline: Instant,
    ) -> Result<(), PoolError> {
        let (threads, over) = (Arc::downgrade(self), results.over().clone());
        thread::Builder::new()
            .name("threaded-deadline".to_owned())
            .spawn(move || {
                if let Err(RecvTimeoutError::Timeout) = over.recv_deadline(deadline) {
                    if let Some(threads) = threads.upgrade() {
                        threads.core.cancel();
                    }
                }
            })
            .map(drop)
            .map_err(PoolError::spawn)
    }

    /// Starts the workers that may come up now, as long as there is use for them.
    fn spawn_more(self: &Arc<Self>) {
        while self.core.can_use_worker() {
            // Without the lock: starting a thread takes its time.
            let Some(number) = self.ramp().next() else {
                return;
            };
            if let Err(error) = self.spawn(number, Worker::run) {
                self.ramp().failed();
                self.core.counters.worker_failed();
                log::warn!("could not start a worker's thread: {error}");
                return;
            }
        }
    }

    /// Starts the first worker, unless another thread has done so already.
    fn spawn_first(self: &Arc<Self>, run: impl FnOnce(Worker) + Send + 'static) -> io::Result<()> {
        let mut ramp = self.ramp();
        ramp.want(1);
        let Some(number) = ramp.next() else {
            return Ok(());
        };
        drop(ramp);
        self.spawn(number, run)
            .inspect_err(|_| self.ramp().failed())
    }

    fn ramp(&self) -> MutexGuard<'_, ThreadRamp> {
        self.ramp.lock()
    }

    fn spawn(
        self: &Arc<Self>,
        number: usize,
        run: impl FnOnce(Worker) + Send + 'static,
    ) -> io::Result<()> {
        let name = panics::caught(|| (self.settings.name)(number));
        let name = name.unwrap_or_else(|_| ThreadSettings::default_name(number));
        // A name with a NUL would make `spawn` panic.
        let mut thread = thread::Builder::new().name(name.replace('\0', ""));
        if let Some(bytes) = self.settings.stack_size {
            thread = thread.stack_size(bytes);
        }
        let threads = Arc::clone(self);
        // The thread is not joined: it may outlive the work by the time that its transport takes to close.
        thread
            .spawn(move || run(Worker::new(threads, number)))
            .map(drop)
    }
}

/// Slow start: no more workers come up at a time than are up already.
///
/// A reqwest client takes 2.4 ms of CPU time to build (measured): 256 at once would use all cores for a third of a second, in
/// which no job would finish. With each step the number of workers doubles, so sessions that take long for another reason,
/// such as a login, do not come up one after the other either.
#[derive(Debug)]
struct ThreadRamp {
    max: usize,
    /// How many are to be started in the end.
    wanted: usize,
    started: usize,
    /// Numbers are given once: `started` goes back when a thread cannot be started.
    next_number: usize,
    /// Of those started, the ones that have opened their sessions or go without.
    up: usize,
}

/// How many come up at a time in the beginning, so that one that hangs does not keep all others waiting.
const MIN_COMING_UP: usize = 2;

impl ThreadRamp {
    fn new(max: usize) -> Self {
        Self {
            max,
            wanted: 0,
            started: 0,
            next_number: 0,
            up: 0,
        }
    }

    fn want(&mut self, workers: usize) {
        self.wanted = self.wanted.max(workers.min(self.max));
    }

    /// Wants one more, if there may be one. Whether any is still to be started.
    fn want_another(&mut self) -> bool {
        self.want(self.wanted + 1);
        self.started < self.wanted
    }

    /// The number of the worker that is to be started now, if any.
    fn next(&mut self) -> Option<usize> {
        let coming_up = self.started - self.up;
        if self.started >= self.wanted || coming_up >= self.up.max(MIN_COMING_UP) {
            return None;
        }
        self.started += 1;
        self.next_number += 1;
        Some(self.next_number - 1)
    }

    fn came_up(&mut self) {
        self.up = (self.up + 1).min(self.started);
    }

    /// The last one could not be started: the system has no more threads, so no more are wanted.
    fn failed(&mut self) {
        self.started = self.started.saturating_sub(1).max(self.up);
        self.wanted = self.started;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_all(ramp: &mut ThreadRamp) -> Vec<usize> {
        std::iter::from_fn(|| ramp.next()).collect()
    }

    #[test]
    fn as_many_come_up_at_a_time_as_are_up() {
        let mut ramp = ThreadRamp::new(20);
        ramp.want(20);
        let mut coming_up = 0;
        let waves: Vec<usize> = std::iter::from_fn(|| {
            (0..coming_up).for_each(|_| ramp.came_up());
            coming_up = start_all(&mut ramp).len();
            (coming_up > 0).then_some(coming_up)
        })
        .collect();
        assert_eq!(waves, [2, 2, 4, 8, 4]);
    }

    #[test]
    fn a_worker_that_hangs_keeps_no_others_waiting() {
        let mut ramp = ThreadRamp::new(20);
        ramp.want(20);
        assert_eq!(start_all(&mut ramp), [0, 1]);
        for _ in 0..19 {
            ramp.came_up();
            start_all(&mut ramp);
        }
        assert_eq!(ramp.started, 20);
    }

    #[test]
    fn numbers_are_given_once_and_not_beyond_what_is_wanted() {
        let mut ramp = ThreadRamp::new(20);
        assert_eq!(ramp.next(), None);
        ramp.want(2);
        ramp.want(1);
        assert_eq!(start_all(&mut ramp), [0, 1]);
        ramp.want(3);
        ramp.came_up();
        assert_eq!(start_all(&mut ramp), [2]);
    }

    #[test]
    fn after_a_failure_no_worker_is_started_until_another_one_is_wanted() {
        let mut ramp = ThreadRamp::new(20);
        ramp.want(8);
        assert_eq!(ramp.next(), Some(0));
        ramp.came_up();
        assert_eq!(ramp.next(), Some(1));
        ramp.failed();
        assert_eq!((ramp.next(), ramp.wanted), (None, 1));
        assert!(ramp.want_another());
        assert_eq!(ramp.next(), Some(2), "no number is given twice");
    }

    #[test]
    fn there_are_never_more_than_there_may_be() {
        let mut ramp = ThreadRamp::new(2);
        ramp.want(9);
        assert_eq!(start_all(&mut ramp), [0, 1]);
        assert!(!ramp.want_another());
        assert_eq!((ramp.next(), ramp.wanted), (None, 2));
    }
}
