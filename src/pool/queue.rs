//! Who goes next, and when all is done: jobs come in here, and workers wait here for them.

mod fate;
mod holds;
mod scheduled;
mod user_channel;
mod waiting;

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use self::fate::Decision;
pub(super) use self::fate::Fate;
use self::holds::Holds;
use self::scheduled::{Scheduled, WakeUps};
use self::user_channel::UserChannel;
use super::job::Job;
use super::results::Outbox;
use crate::limits::CheckedLimits;
use crate::observe::Tally;
use crate::origin::Origin;
use crate::pool::SubmitError;
use crate::request::RequestSpec;
use crate::schedule::{OriginId, Schedule};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, Sender, unbounded};

enum Message {
    Job(Job),
    /// Something has changed: look again. Who finds the work over passes it on to the next one.
    Wake,
}

/// What makes a pool's jobs wait for more than a free worker.
pub(super) struct Waits {
    pub(super) limits: Option<CheckedLimits>,
    pub(super) affinity: bool,
    /// As many jobs may wait here, of those that workers take out of the user's channel.
    pub(super) room: usize,
}

pub(super) struct Queue {
    /// Where jobs wait, if they wait for more than a free worker: then only wake-ups go over the channel.
    scheduled: Option<Scheduled>,
    /// Whether jobs are told apart by where they are sent.
    knows_origins: bool,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    channel: Option<UserChannel>,
    holds: Holds,
    is_intake_closed: AtomicBool,
    fate: Decision,
    given_back: Mutex<Vec<Job>>,
    /// Closed when the work is over.
    outbox: Outbox,
    tally: Arc<Tally>,
}

impl Queue {
    pub(super) fn new(
        jobs: Option<Receiver<RequestSpec>>,
        outbox: Outbox,
        waits: Option<Waits>,
    ) -> Self {
        let (sender, receiver) = unbounded();
        let channel = jobs.map(UserChannel::new);
        let knows_origins = waits
            .as_ref()
            .is_some_and(|waits| waits.limits.is_some() || waits.affinity);
        let scheduled = waits
            .map(|waits| Scheduled::new(Schedule::new(waits.limits, waits.affinity), waits.room));
        Self {
            scheduled,
            knows_origins,
            sender,
            receiver,
            holds: Holds::new(1 + usize::from(channel.is_some())),
            channel,
            is_intake_closed: AtomicBool::new(false),
            fate: Decision::default(),
            given_back: Mutex::default(),
            outbox,
            tally: Arc::default(),
        }
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Accepts a job, as long as the work is not over. Returns the job's index.
    pub(super) fn submit(&self, request: RequestSpec) -> Result<usize, SubmitError> {
        if self.fate() != Fate::Sent || !self.holds.add() {
            return Err(SubmitError::new(request));
        }
        let index = self.tally.job_submitted();
        self.line_up(Job::new(index, request));
        Ok(index)
    }

    pub(super) fn is_intake_closed(&self) -> bool {
        self.is_intake_closed.load(Ordering::SeqCst)
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.get()
    }

    /// Whether one more worker might find something to do: more may come, or wait for who takes it.
    pub(super) fn has_use_for_another(&self) -> bool {
        let may_come = !self.is_intake_closed() || self.channel.is_some();
        !self.is_over() && (may_come || self.scheduled.is_some() || !self.receiver.is_empty())
    }

    /// A job that was in flight is over, as far as its origin is concerned.
    pub(super) fn left(&self, origin: Option<OriginId>) {
        if let (Some(scheduled), Some(origin)) = (&self.scheduled, origin) {
            self.wake(scheduled.finished(origin));
        }
    }

    /// Takes a job that was in flight back, to hand it out again, but not before then.
    pub(super) fn postpone(&self, job: Job, until: Instant) {
        match (&self.scheduled, job.origin) {
            (Some(scheduled), Some(origin)) => {
                self.wake(scheduled.postpone(job, origin, until));
            }
            // Without a schedule there is nothing that could wait.
            _ => self.line_up(job),
        }
    }

    /// Counts one more attempt at a job that is in flight.
    pub(super) fn count_attempt(&self, origin: Option<OriginId>) {
        if let (Some(scheduled), Some(origin)) = (&self.scheduled, origin) {
            scheduled.count_attempt(origin);
        }
    }

    /// Hands out no job of this origin before then.
    pub(super) fn cool_down(&self, origin: Option<OriginId>, until: Instant) {
        if let (Some(scheduled), Some(origin)) = (&self.scheduled, origin) {
            scheduled.cool_down(origin, until);
        }
    }

    /// So many jobs have their outcomes, and whoever reads them has dealt with them or will not be waited for.
    pub(super) fn finished(&self, jobs: usize) {
        if self.holds.release(jobs) {
            self.end();
        }
    }

    /// Takes no more jobs from outside. The user's channel goes on until its senders are gone.
    pub(super) fn close_intake(&self) {
        if !self.is_intake_closed.swap(true, Ordering::SeqCst) {
            self.let_go();
        }
    }

    /// Of the user's channel, takes only what is in it now.
    pub(super) fn drain_channel(&self) {
        if let Some(channel) = &self.channel {
            channel.take_only_what_is_there();
            self.send(Message::Wake);
        }
    }

    /// From now on, what no worker has begun is given back. Who calls this must see to what is waiting.
    ///
    /// Returns the user's channel, for what is left in it.
    pub(super) fn give_back(&self) -> Option<Receiver<RequestSpec>> {
        self.fate.move_on(Fate::GivenBack);
        self.close_intake();
        self.close_channel()
    }

    /// What was given back, in the order of its acceptance.
    pub(super) fn take_given_back(&self) -> Vec<RequestSpec> {
        let mut given_back = self
            .given_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        given_back.sort_unstable_by_key(|job| job.index);
        given_back.drain(..).map(|job| job.request).collect()
    }

    /// From now on, no job is begun. Who calls this must see to those that are waiting.
    pub(super) fn call_off(&self) {
        self.fate.move_on(Fate::CalledOff);
        self.close_intake();
        self.close_channel();
    }

    /// Ends the work now: what is queued is forgotten, what is in flight goes on unheard.
    pub(super) fn forget(&self) {
        self.fate.move_on(Fate::Forgotten);
        self.close_channel();
        self.end();
    }

    /// Takes the jobs that wait.
    pub(super) fn for_each_waiting(&self, see_to: impl FnMut(Job)) {
        if let Some(scheduled) = &self.scheduled {
            return scheduled.drain().into_iter().for_each(see_to);
        }
        let waiting = self
            .receiver
            .try_iter()
            .filter_map(|message| match message {
                Message::Job(job) => Some(job),
                Message::Wake => None,
            });
        waiting.for_each(see_to);
        // In place of those that were taken out with the jobs. One too many does no harm.
        self.send(Message::Wake);
    }

    /// Gives a job back that no worker has begun.
    pub(super) fn return_to_sender(&self, job: Job) {
        self.tally.job_given_back();
        let mut given_back = self
            .given_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        given_back.push(job);
        drop(given_back);
        self.let_go();
    }

    fn line_up(&self, job: Job) {
        let Some(scheduled) = &self.scheduled else {
            return self.send(Message::Job(job));
        };
        let origin = self.origin(&job);
        self.wake(scheduled.admit(job, origin));
    }

    /// Where a job is sent, as far as anybody asks.
    fn origin(&self, job: &Job) -> Option<Origin> {
        match self.knows_origins {
            true => Origin::of(&job.request.parsed_url().ok()?),
            false => None,
        }
    }

    /// Takes nothing more out of the user's channel.
    fn close_channel(&self) -> Option<Receiver<RequestSpec>> {
        let jobs = self.channel.as_ref()?.close()?;
        self.let_go();
        self.send(Message::Wake);
        Some(jobs)
    }

    fn let_go(&self) {
        self.finished(1);
    }

    fn end(&self) {
        self.outbox.close();
        self.send(Message::Wake);
    }

    fn is_over(&self) -> bool {
        self.fate() == Fate::Forgotten || !self.holds.any()
    }

    fn wake(&self, workers: WakeUps) {
        for _ in 0..workers {
            self.send(Message::Wake);
        }
    }

    fn send(&self, message: Message) {
        // The queue owns both ends, so neither is ever disconnected.
        let _ = self.sender.send(message);
    }
}
