//! The event-driven engine: it takes jobs while it has room, drives all its attempts on one thread, and finishes them in any
//! order.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime;
use tokio::time::{Sleep, sleep};

use super::{Worker, blocking};
use crate::error::Error;
use crate::panics;
use crate::pool::core::{Core, Next};
use crate::pool::job::RunningJob;
use crate::pool::results::Unnotified;
use crate::response::Response;
use crate::sync::{Mutex, Parker};

pub(super) fn serve(worker: &Worker) {
    let parker = Parker::new();
    let runtime = loop {
        match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => break runtime,
            // There are no descriptors for it now. The next job tries again.
            Err(error) => {
                let Some(job) = blocking::next(worker, &parker) else {
                    return worker.close_sessions();
                };
                if let Some(running) = worker.threads.core.start(worker.number, job) {
                    let error = Error::local_resource(error);
                    worker.threads.core.finish(running, Err(error), &mut None);
                }
            }
        }
    };
    let max = worker.threads.in_flight_at(worker.number);
    // Attempts share the turn of one task: the loop itself lets connections take turns.
    runtime.block_on(tokio::task::unconstrained(drive(worker, max)));
    worker.close_sessions();
    // The tasks of connections end with it; it does not wait for the threads of the resolver.
    runtime.shutdown_background();
}

/// Drives attempts, up to this many at a time, until the work is over.
async fn drive(worker: &Worker, max: usize) {
    let core = &worker.threads.core;
    let mut attempts = FuturesUnordered::new();
    let (attempts_wake, attempts_waker) = EventLoopWaker::new();
    let mut queue = QueueWatch::default();
    let mut readers = ReaderWatch::default();
    poll_fn(|context| {
        if attempts_wake.is_new(context.waker()) {
            queue.wake.is_new(context.waker());
            core.wake_at_end(context.waker());
        }
        for _ in 0..MAX_TURNS {
            let mut rounds = 0;
            attempts_wake.was_called.store(false, Ordering::SeqCst);
            attempts_wake.is_awake.store(true, Ordering::SeqCst);
            loop {
                let mut attempts_context = Context::from_waker(&attempts_waker);
                if let Poll::Ready(Some((job, result))) =
                    attempts.poll_next_unpin(&mut attempts_context)
                {
                    JobInFlight::finish(job, result, &mut readers.unnotified);
                    readers.notify_many(worker);
                    continue;
                }
                // It calls its waker itself when it has polled each attempt once: with few of them, each time. Going
                // through the system's poll for that would double the cost of a request.
                rounds += 1;
                if rounds == MAX_ROUNDS {
                    context.waker().wake_by_ref();
                } else if attempts_wake.was_called.swap(false, Ordering::SeqCst) {
                    continue;
                }
                attempts_wake.is_awake.store(false, Ordering::SeqCst);
                if rounds == MAX_ROUNDS || !attempts_wake.was_called.load(Ordering::SeqCst) {
                    break;
                }
            }
            if core.is_over() {
                readers.notify_all(worker);
                return Poll::Ready(());
            }
            let before = attempts.len();
            while attempts.len() < max && queue.may_have_jobs(context) {
                match core.poll_next(worker.number, &queue.waker) {
                    Next::Start(job) => {
                        if let Some(running) = core.start(worker.number, job) {
                            attempts.push(attempt(worker, running));
                        }
                    }
                    Next::Wait(until) => queue.wait(until),
                    Next::Exit => {
                        readers.notify_all(worker);
                        return Poll::Ready(());
                    }
                }
            }
            if attempts.len() == before {
                // Without more to do, it may be up to the reader that there is.
                if queue.is_waiting {
                    readers.notify_all(worker);
                }
                readers.notify_in_time(worker, context);
                return Poll::Pending;
            }
        }
        // Attempts may end as soon as they start, one after the other: connections and timers get their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How often the attempts are polled before the events of connections are looked at again.
const MAX_ROUNDS: usize = 4;

/// How often attempts are started before that.
const MAX_TURNS: usize = 32;

/// Makes an attempt, and ends it at once when it is cancelled.
async fn attempt(worker: &Worker, running: RunningJob) -> (JobInFlight<'_>, AttemptResult) {
    let cancel_flag = Arc::clone(running.cancel_flag());
    let mut job = JobInFlight {
        core: &worker.threads.core,
        running: Some(running),
    };
    let result = {
        let mut attempt = pin!(job.attempt(worker));
        let mut is_watched = false;
        poll_fn(|context| {
            if !std::mem::replace(&mut is_watched, true) {
                cancel_flag.wake_on_set(context.waker());
            }
            if cancel_flag.is_set() {
                return Poll::Ready(Err(Error::cancelled().sent(true)));
            }
            let polled = panics::caught(|| attempt.as_mut().poll(context));
            polled.unwrap_or_else(|message| Poll::Ready(Err(Error::panicked(message))))
        })
        .await
    };
    (job, result)
}

type AttemptResult = Result<Response, Error>;

/// A job in flight. If it is dropped with the event loop, it is finished all the same: a handle may wait for its outcome.
struct JobInFlight<'a> {
    core: &'a Core,
    /// `None` once it is finished.
    running: Option<RunningJob>,
}

impl JobInFlight<'_> {
    async fn attempt(&mut self, worker: &Worker) -> AttemptResult {
        match &mut self.running {
            Some(running) => worker.attempt(running).await,
            None => Err(Error::cancelled()),
        }
    }

    fn finish(mut self, result: AttemptResult, unnotified: &mut Option<Unnotified>) {
        if let Some(running) = self.running.take() {
            self.core.finish(running, result, unnotified);
        }
    }
}

impl Drop for JobInFlight<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let cancelled = Err(Error::cancelled().sent(true));
            self.core.finish(running, cancelled, &mut None);
        }
    }
}

/// Wakes the event loop, unless it is awake, and remembers that it was called.
#[derive(Default)]
struct EventLoopWaker {
    was_called: AtomicBool,
    is_awake: AtomicBool,
    event_loop: Mutex<Option<Waker>>,
}

impl EventLoopWaker {
    fn new() -> (Arc<Self>, Waker) {
        let new = Arc::new(Self::default());
        (Arc::clone(&new), Waker::from(new))
    }

    /// Sets what drives the event loop. Returns whether it is another waker than before.
    fn is_new(&self, event_loop: &Waker) -> bool {
        let mut current = self.event_loop.lock();
        let current = &mut *current;
        if current
            .as_ref()
            .is_some_and(|current| current.will_wake(event_loop))
        {
            return false;
        }
        *current = Some(event_loop.clone());
        true
    }
}

impl Wake for EventLoopWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.was_called.store(true, Ordering::SeqCst);
        if self.is_awake.load(Ordering::SeqCst) {
            return;
        }
        let event_loop = self.event_loop.lock().clone();
        if let Some(event_loop) = event_loop {
            event_loop.wake();
        }
    }
}

/// Tells whether the queue may have a job for this worker, so that it is not asked at each event of a connection.
struct QueueWatch {
    wake: Arc<EventLoopWaker>,
    /// What the queue calls.
    waker: Waker,
    /// Whether the queue had nothing and will call the waker.
    is_waiting: bool,
    /// When the worker asks again by itself.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Default for QueueWatch {
    fn default() -> Self {
        let (wake, waker) = EventLoopWaker::new();
        Self {
            wake,
            waker,
            is_waiting: false,
            timer: None,
        }
    }
}

impl QueueWatch {
    fn may_have_jobs(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_waiting {
            return true;
        }
        let was_called = self.wake.was_called.swap(false, Ordering::SeqCst);
        let timer = self.timer.as_mut();
        if was_called || timer.is_some_and(|timer| timer.as_mut().poll(context).is_ready()) {
            self.is_waiting = false;
            self.timer = None;
        }
        !self.is_waiting
    }

    fn wait(&mut self, until: Option<Instant>) {
        self.is_waiting = true;
        self.timer = until.map(|until| Box::pin(tokio::time::sleep_until(until.into())));
    }
}

/// The maximum number of outcomes of which readers are told at once.
const MAX_BATCH: usize = 32;

/// How long readers are not told of an outcome at most, while there are more jobs to start.
const MAX_DELAY: Duration = Duration::from_millis(1);

/// Wakes the readers of outcomes: not for each of them.
struct ReaderWatch {
    unnotified: Option<Unnotified>,
    /// When they are told, however few there are.
    timer: Option<Pin<Box<Sleep>>>,
    is_timed: bool,
}

impl Default for ReaderWatch {
    fn default() -> Self {
        Self {
            unnotified: Some(Unnotified::default()),
            timer: None,
            is_timed: false,
        }
    }
}

impl ReaderWatch {
    fn len(&self) -> usize {
        self.unnotified.as_ref().map_or(0, Unnotified::len)
    }

    /// Tells readers if there are many outcomes.
    fn notify_many(&mut self, worker: &Worker) {
        if self.len() >= MAX_BATCH {
            self.notify_all(worker);
        }
    }

    fn notify_all(&mut self, worker: &Worker) {
        if let Some(unnotified) = &mut self.unnotified {
            worker.threads.core.notify_readers(unnotified);
        }
        self.is_timed = false;
    }

    /// The event loop waits: readers are told when the time has come.
    fn notify_in_time(&mut self, worker: &Worker, context: &mut Context<'_>) {
        if self.len() == 0 {
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(MAX_DELAY)));
        if !std::mem::replace(&mut self.is_timed, true) {
            timer
                .as_mut()
                .reset(tokio::time::Instant::now() + MAX_DELAY);
        }
        if timer.as_mut().poll(context).is_ready() {
            self.notify_all(worker);
        }
    }
}
