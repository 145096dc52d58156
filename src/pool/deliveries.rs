//! Jobs from a durable queue: [`Deliveries`] and [`Delivery`].

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Instant;

use super::round::{Round, RoundReceiver};
use super::{Handle, Pool};
use crate::error::ErrorKind;
use crate::observe::Stats;
use crate::outcome::{self, Outcome};
use crate::queue::recorder::Recorder;
use crate::queue::{Acked, Lease, Queue, QueueError, TakenJob};
use crate::sync::atomic::{AtomicBool, Ordering};

/// Takes jobs from a durable queue as there is room for them, sends them, and yields their outcomes, in completion order, to be
/// [acknowledged](Delivery::ack). Created by [`PoolBuilder::deliveries`](crate::PoolBuilder::deliveries); see the
/// [`queue`](crate::queue) module.
///
/// It ends when the queue is [closed](Queue::close) and every job is recorded or dead. Until then, it waits for more: also
/// for deliveries that were yielded before, since they may be dropped, and given back to the queue. So acknowledge or drop
/// each of them before the next one, or on another thread.
///
/// An error of the queue is yielded as such; then nothing more is taken, and it ends with the jobs in flight. Dropping it early
/// cancels the jobs in flight and gives all jobs without a record back to the queue. It does not block: a Redis server is told in
/// the background, so a process that ends at once may leave them leased until the lease runs out. One that has come to the end
/// of the iteration has told it.
///
/// To stop it, use a [`handle`](Self::handle): after [`Handle::shutdown`] it yields the outcomes of the jobs in flight, and ends.
/// Cancelled jobs are not yielded but given back, so that nothing is recorded of them. So are those that are cancelled by the
/// [`deadline`](crate::PoolBuilder::deadline) of the run.
pub struct Deliveries {
    receiver: RoundReceiver,
    queue: Queue,
    news: Arc<News>,
    waker: Waker,
    /// When a delayed job of the queue is due.
    next_at: Option<Instant>,
    /// The number of jobs in the pool when it was decided how many to take.
    held_before: usize,
    /// Whether more jobs are taken.
    is_open: bool,
    /// Whether it has come to its end.
    is_over: bool,
    failure: Option<QueueError>,
    recorder: Arc<Recorder>,
    pool: Pool,
}

/// Wakes the iterator when there may be something to take, or the pool's work is over.
struct News {
    has_some: AtomicBool,
    round: Arc<Round>,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        self.has_some.store(true, Ordering::SeqCst);
        self.round.wake_readers();
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.queue.0.unwatch(&self.waker);
        if let Some(observer) = &self.pool.core().policy.observer {
            self.queue.0.unobserve(observer);
        }
    }
}

impl Deliveries {
    pub(super) fn new(pool: Pool, queue: &Queue) -> Self {
        let receiver = RoundReceiver::new(true);
        let news = Arc::new(News {
            has_some: AtomicBool::new(false),
            round: Arc::clone(receiver.round()),
        });
        let waker = Waker::from(Arc::clone(&news));
        pool.core().wake_at_end(&waker);
        queue.0.watch(&waker);
        let observer = pool.core().policy.observer.clone();
        if let Some(observer) = &observer {
            queue.0.observe(observer);
        }
        let recorder = Arc::new(Recorder::new(pool.window, waker.clone(), observer));
        Self {
            receiver,
            queue: queue.clone(),
            news,
            waker,
            next_at: None,
            held_before: 0,
            is_open: true,
            is_over: false,
            failure: None,
            recorder,
            pool,
        }
    }

    /// A handle to reach the pool from other threads, or from the loop over its deliveries. Jobs are submitted to the
    /// [queue](Queue::submit): what is submitted to the handle is sent, but not delivered.
    pub fn handle(&self) -> Handle {
        Handle::new(&self.pool.guard.threads, Some(self.receiver.round()))
    }

    /// A snapshot of what the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// Takes jobs until the window is full or there are none.
    fn pull(&mut self) {
        if let Some(error) = self.recorder.take_failure().filter(|_| !self.is_over) {
            self.is_open = false;
            self.failure = Some(error);
        }
        while self.is_open {
            let round = self.receiver.round();
            if round.is_closed() || !self.pool.core().accepts_jobs() {
                self.is_open = false;
                return;
            }
            let (window, held) = (self.pool.window, self.receiver.held());
            let room = window.saturating_sub(held);
            self.held_before = held;
            // Several at a time cost less. The rest of the window keeps the workers busy meanwhile.
            if room == 0 || room < window / 4 {
                self.next_at = None;
                return;
            }
            match self.queue.0.take(room) {
                Ok(taken) => {
                    self.next_at = taken.next_at;
                    self.is_open = !taken.is_over;
                    if taken.jobs.is_empty() {
                        return;
                    }
                    taken.jobs.into_iter().for_each(|job| self.submit(job));
                }
                Err(error) => {
                    self.is_open = false;
                    self.failure = Some(error);
                }
            }
        }
    }

    fn submit(&self, job: TakenJob) {
        let TakenJob {
            entry,
            request,
            made,
        } = job;
        let (threads, round) = (&self.pool.guard.threads, self.receiver.round());
        let starts = entry.starts;
        let may_be_sent = starts == 0 || request.is_idempotent();
        let lease = Arc::new(Lease::new(&self.queue.0, entry, made));
        let request = request.extension(Arc::clone(&lease));
        if may_be_sent {
            // If it is refused, it is dropped, and given back to the queue.
            let _ = threads.submit(request, Some(Arc::clone(round)));
        } else if lease.start(false).is_ok() {
            // It counts as a delivery: one that is never acknowledged must not come back for ever.
            let error = crate::Error::interrupted(starts);
            threads.core.refuse(request, round, error);
        }
    }
}

impl Iterator for Deliveries {
    type Item = Result<Delivery, QueueError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.pull();
            if let Some(error) = self.failure.take() {
                return Some(Err(error));
            }
            let (is_open, before, news) = (self.is_open, self.held_before, &self.news);
            let outcome = self.receiver.recv_until(self.next_at, |held| {
                let has_news = news.has_some.swap(false, Ordering::SeqCst);
                let is_over = if is_open {
                    // A job that was given back has made room for another one.
                    held < before || news.round.is_closed()
                } else {
                    held == 0
                };
                has_news || is_over
            });
            match outcome.map(|outcome| Delivery::new(outcome, &self.recorder)) {
                Some(Some(delivery)) => return Some(Ok(delivery)),
                Some(None) => {}
                None if !self.is_open && self.receiver.held() == 0 => {
                    self.pool.close();
                    if std::mem::replace(&mut self.is_over, true) {
                        return None;
                    }
                    self.recorder.settle();
                    self.queue.0.settle();
                    #[cfg(feature = "redis")]
                    self.pool.core().queue.settle_limits();
                    return self.recorder.take_failure().map(Err);
                }
                None => {}
            }
        }
    }
}

impl FusedIterator for Deliveries {}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries")
            .field("queue", &self.queue)
            .field("held", &self.receiver.held())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// The outcome of a job of a durable queue, to be acknowledged. Yielded by [`Deliveries`].
///
/// A delivery that is dropped without that is given back: the job is sent again, until it was delivered
/// [too often](crate::queue#what-is-promised).
#[must_use = "the job is sent again unless it is acknowledged"]
pub struct Delivery {
    outcome: Outcome,
    lease: Arc<Lease>,
    recorder: Arc<Recorder>,
}

impl Delivery {
    /// `None` if the job was cancelled, so that it is given back, or does not come from a queue.
    fn new(mut outcome: Outcome, recorder: &Arc<Recorder>) -> Option<Self> {
        let lease = outcome::request_mut(&mut outcome).take_extension::<Arc<Lease>>()?;
        let kind = outcome.as_ref().err().map(|exception| exception.kind());
        if kind == Some(ErrorKind::Cancelled) {
            // The worker may be busy with the request still, and drop it later.
            lease.give_back();
            return None;
        }
        Some(Self {
            outcome,
            lease,
            recorder: Arc::clone(recorder),
        })
    }

    /// Returns the id of the job.
    pub fn job_id(&self) -> &str {
        &self.lease.entry().job_id
    }

    /// Returns how often the job was started without an outcome before this time.
    pub fn interruptions(&self) -> u32 {
        self.lease.entry().starts
    }

    /// Returns the outcome.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Records the outcome, without the body of the response: the job is done. Call it when what you need of the outcome is
    /// stored.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be written. It can be called again.
    pub fn ack(&self) -> Result<Acked, QueueError> {
        self.recorder.record(&self.lease, &self.outcome, false)
    }

    /// Like [`ack`](Self::ack), and records the body too, unless it was saved to a file: for a program that has no other store,
    /// and reads the [outcomes](Queue::outcomes) later.
    ///
    /// # Errors
    ///
    /// Returns an error as `ack` does.
    pub fn ack_with_body(&self) -> Result<Acked, QueueError> {
        self.recorder.record(&self.lease, &self.outcome, true)
    }

    /// Like [`ack`](Self::ack), in the background and together with others: the outcome is recorded soon, and what keeps it from
    /// that is yielded by the iteration over [`Deliveries`]. Until then the job is leased, and if the process ends before, it is sent
    /// again. On a Redis server, this is several times as fast.
    ///
    /// Blocks while as many outcomes wait to be recorded as there are jobs in the [`window`](crate::PoolBuilder::window), up to 1,000: the server
    /// is slow, or away. At its end, the iteration waits until all are recorded, for up to 5 s.
    pub fn ack_soon(self) {
        self.record_soon(false);
    }

    /// Like [`ack_soon`](Self::ack_soon), and records the body too, as [`ack_with_body`](Self::ack_with_body) does.
    pub fn ack_soon_with_body(self) {
        self.record_soon(true);
    }

    fn record_soon(self, with_body: bool) {
        let Self {
            outcome,
            lease,
            recorder,
        } = self;
        recorder.push(lease, &outcome, with_body);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("job_id", &self.job_id())
            .field("interruptions", &self.interruptions())
            .field("outcome", &self.outcome)
            .finish()
    }
}
