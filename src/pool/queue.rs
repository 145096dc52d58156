//! The job queue: the schedule that workers share, what feeds it, and the workers that wait for a job.
//!
//! Submitted jobs come in over a lock-free channel, which the schedule is refilled from under its lock. A worker that finds
//! nothing to do leaves its waker here and is woken for one job, when there is one. If jobs wait for a time, one of the
//! waiting workers owns the timer: it wakes up by itself then, and the others need not. A worker that leaves with a job wakes
//! another one if more jobs are ready, or if the timer has no owner any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Waker;
#[cfg(feature = "redis")]
use std::time::Duration;
use std::time::Instant;

use super::job::{FinishedAttempt, Job, ReplyRoute};
use super::job_handle::SpawnedJob;
use super::round::Round;
use crate::origin::Origin;
use crate::request::RequestSpec;
use crate::schedule::{Decision, OriginKey, Schedule};
use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::channel::{Receiver, Sender, unbounded};
use crate::sync::{Mutex, MutexGuard, WaitList};

/// A job on its way into the schedule, with the origin that it counts for. Boxed since most pools have no need for it, and
/// millions of jobs may wait.
pub(super) type PendingJob = (QueuedJob, Option<Box<Origin>>);

/// A job that waits for a worker: what it needs to wait, since millions may.
pub(super) enum QueuedJob {
    Whole {
        index: usize,
        request: RequestSpec,
        /// Where its outcome goes, if not to the pool's channels.
        round: Option<Arc<Round>>,
        last_attempt: Option<Box<FinishedAttempt>>,
    },
    /// The job waits where its handle can cancel it.
    Ticket(Arc<SpawnedJob>),
}

impl QueuedJob {
    /// Fails, and gives the job back, if it has a handle and was cancelled meanwhile.
    pub(super) fn new(job: Job) -> Result<Self, Job> {
        let round = match &job.route {
            ReplyRoute::Pool => None,
            ReplyRoute::Round(round) => Some(Arc::clone(round)),
            ReplyRoute::Handle(spawned) => {
                let spawned = Arc::clone(spawned);
                spawned.put_back(job)?;
                return Ok(Self::Ticket(spawned));
            }
        };
        Ok(Self::Whole {
            index: job.index,
            request: job.request,
            round,
            last_attempt: job.last_attempt,
        })
    }

    /// `None` if the job was cancelled, and has its outcome.
    fn redeem(self, origin: OriginKey) -> Option<Job> {
        match self {
            Self::Whole {
                index,
                request,
                round,
                last_attempt,
            } => Some(Job {
                index,
                request,
                route: round.map_or(ReplyRoute::Pool, ReplyRoute::Round),
                origin,
                last_attempt,
            }),
            Self::Ticket(spawned) => spawned.take(origin),
        }
    }
}

pub(super) struct JobQueue {
    intake_tx: Sender<PendingJob>,
    intake: Receiver<PendingJob>,
    /// Whether the schedule chooses among all submitted jobs, or they go in their order.
    looks_ahead: bool,
    /// How many jobs the schedule holds before no more are taken out of the user's channel.
    room: usize,
    state: Mutex<State>,
    /// The number of parked workers, for a look without the lock.
    parked: AtomicUsize,
    pub(super) asking: Arc<Asking>,
}

/// What the threads have that ask the server of shared limits and listen to it, also when the queue has gone.
#[derive(Default)]
pub(super) struct Asking {
    /// Notified when there is something to ask for, and when the queue has gone.
    pub(super) waiting: WaitList,
    /// Notified when something was asked for.
    #[cfg(feature = "redis")]
    pub(super) settled: WaitList,
    /// What the queue has left, once it has gone.
    pub(super) left: Mutex<Option<LeftLimits>>,
}

/// What is to be told the server of shared limits in the end.
#[derive(Default)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "for limits on a server")
)]
pub(super) struct LeftLimits {
    /// Cool-downs that it was not told.
    pub(super) untold: Vec<(Origin, Instant)>,
    /// The origins that it keeps places of.
    pub(super) held: Vec<Origin>,
}

struct State {
    schedule: Schedule<QueuedJob>,
    parked: BTreeMap<usize, Waker>,
    /// The wakers that are called whenever all workers are woken, parked or not.
    with_all: Vec<Waker>,
    timer_owner: Option<(usize, Instant)>,
}

impl JobQueue {
    pub(super) fn new(schedule: Schedule<QueuedJob>, looks_ahead: bool, room: usize) -> Self {
        let (intake_tx, intake) = unbounded();
        Self {
            intake_tx,
            intake,
            looks_ahead,
            room,
            state: Mutex::new(State {
                schedule,
                parked: BTreeMap::new(),
                with_all: Vec::new(),
                timer_owner: None,
            }),
            parked: AtomicUsize::new(0),
            asking: Arc::default(),
        }
    }

    pub(super) fn push(&self, pending: PendingJob) {
        // The queue owns both ends, so they are never disconnected.
        let _ = self.intake_tx.send(pending);
        // Either a worker that parks now counts itself in time to be woken; or it looks into the intake after the send above,
        // and finds the job. The fences, in `wake_one` and `park`, exclude that neither happens.
        self.wake_one();
    }

    /// The next job for this worker, without waiting. A job that the worker brings along is pushed before.
    pub(super) fn take(&self, worker: usize, brought: Option<PendingJob>) -> Option<Job> {
        let now = Instant::now();
        let mut state = self.state.lock();
        self.unpark(&mut state, worker);
        if let Some((job, origin)) = brought {
            state.schedule.push(job, origin.map(|origin| *origin), now);
        }
        self.look_ahead(&mut state, now);
        let was_full = state.schedule.len() >= self.room;
        let (job, is_scheduled) = loop {
            let (queued, origin, is_scheduled) = match state.schedule.next(now, worker) {
                Decision::Run(queued, origin) => (queued, origin, true),
                // Without origins, jobs go in their order, and the next one need not pass through the schedule.
                _ if !self.looks_ahead => (self.intake.try_recv().ok()?.0, OriginKey::NONE, false),
                _ => {
                    self.wake(state, None);
                    return None;
                }
            };
            match queued.redeem(origin) {
                Some(job) => break (job, is_scheduled),
                None if origin == OriginKey::NONE => {}
                None => state.schedule.release(origin, now),
            }
        };
        // Parked workers do not watch the user's channel while the schedule is full. And this worker may have been woken for
        // a job that is still in the intake.
        let woken = if was_full || (is_scheduled && !self.intake.is_empty()) {
            self.pop_parked(&mut state)
        } else {
            self.needed_next(&mut state, now)
        };
        self.wake(state, woken);
        Some(job)
    }

    /// Registers a worker to be woken, unless there is something to do. `Ok` has the time at which it is to look again by
    /// itself.
    pub(super) fn park(&self, worker: usize, waker: &Waker) -> Result<Option<Instant>, Ready> {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.parked.insert(worker, waker.clone());
        self.count_parked(&state);
        fence(Ordering::SeqCst);
        self.look_ahead(&mut state, now);
        let next_at = state.schedule.next_at(now);
        if !self.intake.is_empty() || next_at.is_some_and(|at| at <= now) {
            self.unpark(&mut state, worker);
            return Err(Ready);
        }
        let timer = next_at.filter(|at| state.timer_owner.is_none_or(|(_, owned)| *at < owned));
        if let Some(at) = timer {
            state.timer_owner = Some((worker, at));
        }
        Ok(timer)
    }

    /// Registers a worker that starts nothing for now, whatever there is to do. It does not watch the time.
    pub(super) fn park_held_back(&self, worker: usize, waker: &Waker) {
        let mut state = self.state.lock();
        self.unpark(&mut state, worker);
        state.parked.insert(worker, waker.clone());
        self.count_parked(&state);
        drop(state);
        fence(Ordering::SeqCst);
    }

    pub(super) fn has_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst) > 0
    }

    /// Whether the schedule takes more jobs out of the user's channel.
    pub(super) fn has_room(&self) -> bool {
        self.state.lock().schedule.len() < self.room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.intake.is_empty() && self.state.lock().schedule.len() == 0
    }

    /// Ends a job of this origin that was in flight.
    pub(super) fn release(&self, origin: OriginKey) {
        if origin == OriginKey::NONE {
            return;
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        state.schedule.release(origin, now);
        let woken = self.needed_next(&mut state, now);
        self.wake(state, woken);
    }

    /// Takes a job back that was in flight, for a retry at this time. Gives it back if it was cancelled meanwhile.
    pub(super) fn delay(&self, job: Job, until: Instant) -> Result<(), Job> {
        let now = Instant::now();
        let origin = job.origin;
        let job = QueuedJob::new(job)?;
        let mut state = self.state.lock();
        state.schedule.delay(job, origin, now, until);
        let woken = self.needed_next(&mut state, now);
        self.wake(state, woken);
        Ok(())
    }

    /// Counts one more attempt of a job in flight.
    pub(super) fn count_attempt(&self, origin: OriginKey) {
        if origin != OriginKey::NONE {
            let now = Instant::now();
            let mut state = self.state.lock();
            state.schedule.count_attempt(origin, now);
            self.wake(state, None);
        }
    }

    /// Starts no job of this origin before this time.
    pub(super) fn cool_down(&self, origin: OriginKey, until: Instant) {
        if origin != OriginKey::NONE {
            let mut state = self.state.lock();
            state.schedule.cool_down(origin, until);
            self.wake(state, None);
        }
    }

    /// Removes all waiting jobs.
    pub(super) fn drain(&self) -> Vec<Job> {
        // Under the lock, or a worker could move jobs from the intake, yet to be drained, to the schedule, drained already.
        let mut state = self.state.lock();
        let mut jobs = state.schedule.drain();
        jobs.extend(self.intake.try_iter().map(|(job, _)| job));
        drop(state);
        let jobs = jobs.into_iter();
        jobs.filter_map(|job| job.redeem(OriginKey::NONE)).collect()
    }

    pub(super) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        if !self.has_parked() {
            return;
        }
        let mut state = self.state.lock();
        let woken = self.pop_parked(&mut state);
        self.wake(state, woken);
    }

    pub(super) fn wake_all(&self) {
        let mut state = self.state.lock();
        let woken = std::mem::take(&mut state.parked);
        self.count_parked(&state);
        let with_all = state.with_all.clone();
        self.wake(state, woken.into_values().chain(with_all));
    }

    /// Calls this waker too, from now on, whenever all workers are woken.
    #[cfg(any(feature = "hyper", feature = "journal", feature = "redis"))]
    pub(super) fn wake_with_all(&self, waker: &Waker) {
        self.state.lock().with_all.push(waker.clone());
    }

    /// Whether the server of shared limits is to be asked for something.
    #[cfg(feature = "redis")]
    pub(super) fn has_to_ask(&self) -> bool {
        self.state.lock().schedule.has_to_ask()
    }

    /// Gives up what no job needs of shared limits, and waits for that, but not for long.
    #[cfg(feature = "redis")]
    pub(super) fn settle_limits(&self) {
        const MAX: Duration = Duration::from_secs(2);
        let until = Instant::now().checked_add(MAX);
        self.with_schedule(|schedule, _| schedule.renew());
        self.asking.settled.wait(until, || {
            (self.state.lock().schedule.has_given_back()).then_some(())
        });
    }

    /// Does something with the schedule, and wakes a worker if that makes a job ready.
    #[cfg(feature = "redis")]
    pub(super) fn with_schedule<T>(
        &self,
        change: impl FnOnce(&mut Schedule<QueuedJob>, Instant) -> T,
    ) -> T {
        let now = Instant::now();
        let mut state = self.state.lock();
        let result = change(&mut state.schedule, now);
        let woken = self.needed_next(&mut state, now);
        self.wake(state, woken);
        result
    }

    /// Moves the submitted jobs to the schedule, if it chooses among all of them.
    fn look_ahead(&self, state: &mut State, now: Instant) {
        if !self.looks_ahead {
            return;
        }
        while let Ok((job, origin)) = self.intake.try_recv() {
            state.schedule.push(job, origin.map(|origin| *origin), now);
        }
    }

    /// A parked worker, if a job is ready, or will be before the owner of the timer wakes up.
    fn needed_next(&self, state: &mut State, now: Instant) -> Option<Waker> {
        if state.parked.is_empty() {
            return None;
        }
        let at = state.schedule.next_at(now)?;
        let is_needed = state.timer_owner.is_none_or(|(_, owned)| at < owned);
        is_needed.then(|| self.pop_parked(state)).flatten()
    }

    fn pop_parked(&self, state: &mut State) -> Option<Waker> {
        let (_, waker) = state.parked.pop_first()?;
        self.count_parked(state);
        Some(waker)
    }

    /// A worker is awake, whatever woke it.
    fn unpark(&self, state: &mut State, worker: usize) {
        state.timer_owner = state.timer_owner.filter(|(owner, _)| *owner != worker);
        if state.parked.remove(&worker).is_some() {
            self.count_parked(state);
        }
    }

    fn count_parked(&self, state: &State) {
        self.parked.store(state.parked.len(), Ordering::SeqCst);
    }

    /// Wakes workers after the lock was released, which they will want to have, and the thread that asks for shared limits.
    fn wake(&self, state: MutexGuard<'_, State>, woken: impl IntoIterator<Item = Waker>) {
        let has_to_ask = state.schedule.has_to_ask();
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        if has_to_ask {
            self.asking.waiting.notify_one();
        }
    }
}

impl Drop for JobQueue {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let left = LeftLimits {
            untold: state.schedule.take_untold(Instant::now()),
            held: state.schedule.held_origins(),
        };
        drop(state);
        *self.asking.left.lock() = Some(left);
        self.asking.waiting.notify_all();
    }
}

/// There is something to do: the worker is not parked.
pub(super) struct Ready;

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_worker_does_not_park_while_a_job_is_there() {
        let queue = JobQueue::new(Schedule::new(None, false), false, usize::MAX);
        assert!(queue.park(0, Waker::noop()).is_ok());
        let job = QueuedJob::Whole {
            index: 0,
            request: RequestSpec::get("http://test/"),
            round: None,
            last_attempt: None,
        };
        queue.push((job, None));
        assert!(queue.park(0, Waker::noop()).is_err());
        assert!(queue.take(0, None).is_some_and(|job| job.index == 0));
        assert!(queue.park(0, Waker::noop()).is_ok());
    }
}
