//! The event-driven engine: it takes jobs while it has room, drives all its attempts on one thread, and finishes them in any
//! order.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
#[cfg(not(shuttle))]
use tokio::runtime;

use super::Worker;
#[cfg(not(shuttle))]
use super::blocking;
use crate::error::Error;
use crate::panics;
use crate::pool::core::{Core, Next};
use crate::pool::job::RunningJob;
use crate::pool::results::Unnotified;
use crate::response::Response;
use crate::sync::Mutex;
#[cfg(not(shuttle))]
use crate::sync::Parker;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::time::{Sleep, sleep, sleep_until};

pub(super) fn serve(worker: &Worker) {
    let max = worker.threads.in_flight_at(worker.number);
    // Attempts share the turn of one task: the loop itself lets connections take turns.
    block_on(worker, tokio::task::unconstrained(drive(worker, max)));
    worker.close_sessions();
}

#[cfg(not(shuttle))]
fn block_on(worker: &Worker, event_loop: impl Future<Output = ()>) {
    let parker = Parker::new();
    let runtime = loop {
        match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => break runtime,
            // There are no descriptors for it now. The next job tries again.
            Err(error) => {
                let Some(job) = blocking::next(worker, &parker) else {
                    return;
                };
                if let Some(running) = worker.threads.core.start(worker.number, job) {
                    let error = Error::local_resource(error);
                    worker.threads.core.finish(running, Err(error), None);
                }
            }
        }
    };
    runtime.block_on(event_loop);
    // The tasks of connections end with it; it does not wait for the threads of the resolver.
    runtime.shutdown_background();
}

#[cfg(shuttle)]
fn block_on(_: &Worker, event_loop: impl Future<Output = ()>) {
    shuttle::future::block_on(event_loop);
}

/// What the attempts on an event loop share.
struct EventLoop<'a> {
    worker: &'a Worker,
    readers: RefCell<ReaderWatch>,
    /// The slots that have finished their jobs.
    free: RefCell<Vec<FreeSlot<'a>>>,
}

/// A slot that waits until it is told what comes next.
struct FreeSlot<'a> {
    next: Rc<Cell<NextTurn<'a>>>,
    waker: Waker,
}

/// What comes next for a slot.
#[derive(Default)]
enum NextTurn<'a> {
    #[default]
    Undecided,
    Job(JobInFlight<'a>),
    End,
}

impl<'a> FreeSlot<'a> {
    fn goes_on(self, next: NextTurn<'a>) {
        self.next.set(next);
        self.waker.wake();
    }
}

/// Drives attempts, up to this many at a time, until the work is over.
async fn drive(worker: &Worker, max: usize) {
    let core = &worker.threads.core;
    let event_loop = EventLoop {
        worker,
        readers: RefCell::default(),
        free: RefCell::default(),
    };
    let mut slots = FuturesUnordered::new();
    let (slots_wake, slots_waker) = EventLoopWaker::new();
    let mut queue = QueueWatch::default();
    poll_fn(|context| {
        if slots_wake.is_new(context.waker()) {
            queue.wake.is_new(context.waker());
            core.wake_at_end(context.waker());
        }
        for _ in 0..MAX_TURNS {
            let mut rounds = 0;
            slots_wake.was_called.store(false, Ordering::SeqCst);
            slots_wake.is_awake.store(true, Ordering::SeqCst);
            loop {
                let mut slots_context = Context::from_waker(&slots_waker);
                if let Poll::Ready(Some(())) = slots.poll_next_unpin(&mut slots_context) {
                    continue;
                }
                // It calls its waker itself when it has polled each slot once: with few of them, each time. Going through
                // the system's poll for that would double the cost of a request.
                rounds += 1;
                if rounds == MAX_ROUNDS {
                    context.waker().wake_by_ref();
                } else if slots_wake.was_called.swap(false, Ordering::SeqCst) {
                    continue;
                }
                slots_wake.is_awake.store(false, Ordering::SeqCst);
                if rounds == MAX_ROUNDS || !slots_wake.was_called.load(Ordering::SeqCst) {
                    break;
                }
            }
            if core.is_over() {
                event_loop.readers.borrow_mut().notify_all(worker);
                return Poll::Ready(());
            }
            // Slots that are woken from here on are polled in the next turn, without a detour through the system.
            slots_wake.is_awake.store(true, Ordering::SeqCst);
            // Jobs are started together: so a server that has gone to sleep is woken once.
            let mut free = event_loop.free.take();
            let mut has_woken = false;
            let most = max.min(slots.len() - free.len() + MAX_STARTS);
            while slots.len() - free.len() < most && queue.may_have_jobs(context) {
                match core.poll_next(worker.number, &queue.waker) {
                    Next::Start(job) => {
                        let running = core.start(worker.number, job);
                        if running.is_none() {
                            continue;
                        }
                        has_woken = true;
                        let job = JobInFlight { core, running };
                        match free.pop() {
                            Some(slot) => slot.goes_on(NextTurn::Job(job)),
                            None => slots.push(event_loop.serve(job)),
                        }
                    }
                    Next::Wait(until) => queue.wait(until),
                    Next::Exit => {
                        event_loop.readers.borrow_mut().notify_all(worker);
                        return Poll::Ready(());
                    }
                }
            }
            if queue.is_waiting {
                has_woken |= !free.is_empty();
                free.drain(..).for_each(|slot| slot.goes_on(NextTurn::End));
            }
            *event_loop.free.borrow_mut() = free;
            if has_woken {
                continue;
            }
            slots_wake.is_awake.store(false, Ordering::SeqCst);
            if !slots_wake.was_called.load(Ordering::SeqCst) {
                let mut readers = event_loop.readers.borrow_mut();
                // Without more to do, it may be up to the reader that there is.
                if queue.is_waiting {
                    readers.notify_all(worker);
                }
                readers.notify_in_time(worker, context);
                return Poll::Pending;
            }
        }
        // Connections and timers get their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// How often the slots are polled before jobs are started.
const MAX_ROUNDS: usize = 4;

/// How many jobs are started together.
const MAX_STARTS: usize = 32;

/// How often both are done before the events of connections are looked at again: after 128 jobs at most, each of which may take
/// 100 µs to start.
const MAX_TURNS: usize = 4;

impl<'a> EventLoop<'a> {
    /// A slot: it makes attempts at one job after the other, in the same memory, and ends when there is none to start.
    async fn serve(&self, first: JobInFlight<'a>) {
        let next = Rc::new(Cell::default());
        let mut current = Some(first);
        while let Some(job) = current {
            self.attempt(job).await;
            let mut is_free = false;
            current = poll_fn(|context| {
                match next.take() {
                    NextTurn::Job(job) => return Poll::Ready(Some(job)),
                    NextTurn::End => return Poll::Ready(None),
                    NextTurn::Undecided => {}
                }
                // Its last connection may still call its waker.
                if !std::mem::replace(&mut is_free, true) {
                    self.free.borrow_mut().push(FreeSlot {
                        next: Rc::clone(&next),
                        waker: context.waker().clone(),
                    });
                }
                Poll::Pending
            })
            .await;
        }
    }

    /// Makes an attempt, ends it at once when it is cancelled, and finishes its job.
    async fn attempt(&self, mut job: JobInFlight<'a>) {
        let Some(running) = &job.running else {
            return;
        };
        let cancel_flag = Arc::clone(running.cancel_flag());
        let result = {
            let mut attempt = pin!(job.attempt(self.worker));
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
        let mut readers = self.readers.borrow_mut();
        job.finish(result, &mut readers.unnotified);
        readers.notify_many(self.worker);
    }
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

    fn finish(mut self, result: AttemptResult, unnotified: &mut Unnotified) {
        if let Some(running) = self.running.take() {
            self.core.finish(running, result, Some(unnotified));
        }
    }
}

impl Drop for JobInFlight<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let cancelled = Err(Error::cancelled().sent(true));
            self.core.finish(running, cancelled, None);
        }
    }
}

/// Wakes the event loop, unless it is awake, and remembers that it was called.
struct EventLoopWaker {
    was_called: AtomicBool,
    is_awake: AtomicBool,
    event_loop: Mutex<Option<Waker>>,
}

impl EventLoopWaker {
    fn new() -> (Arc<Self>, Waker) {
        let new = Arc::new(Self {
            was_called: AtomicBool::new(false),
            is_awake: AtomicBool::new(false),
            event_loop: Mutex::default(),
        });
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
        self.timer = until.map(|until| Box::pin(sleep_until(until.into())));
    }
}

/// The maximum number of outcomes of which readers are told at once.
const MAX_BATCH: usize = 32;

/// How long readers are not told of an outcome at most, while there are more jobs to start.
const MAX_DELAY: Duration = Duration::from_millis(1);

/// Wakes the readers of outcomes: not for each of them.
#[derive(Default)]
struct ReaderWatch {
    unnotified: Unnotified,
    /// When they are told, however few there are.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ReaderWatch {
    /// Tells readers if there are many outcomes.
    fn notify_many(&mut self, worker: &Worker) {
        if self.unnotified.len() >= MAX_BATCH {
            self.notify_all(worker);
        }
    }

    fn notify_all(&mut self, worker: &Worker) {
        worker.threads.core.notify_readers(&mut self.unnotified);
        self.timer = None;
    }

    /// The event loop waits: readers are told when the time has come.
    fn notify_in_time(&mut self, worker: &Worker, context: &mut Context<'_>) {
        if self.unnotified.len() == 0 {
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(MAX_DELAY)));
        if timer.as_mut().poll(context).is_ready() {
            self.notify_all(worker);
        }
    }
}
