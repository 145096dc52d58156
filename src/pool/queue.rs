//! Who goes next, and when all is done.
//!
//! Jobs come from two sides: they are submitted, or workers take them out of the user's own channel. The work is over
//! when nothing can come any more and nothing is under way. To know that, the queue counts what holds it open:
//!
//! ```text
//! the pool, until its intake is closed               1
//! the user's channel, until it is drained            1
//! each job, from its acceptance to its outcome       1    (and on, while somebody iterates, until they ask for the next)
//! each worker that is looking into the channel       1    (it becomes the one of the job that it finds there)
//! ```
//!
//! Whoever takes the count to 0 ends the work. The last line is why no job slips through: a worker that takes the last
//! job out of the channel holds the queue open before another one can find the channel empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, unbounded};

use super::results::Outbox;
use crate::error::SubmitError;
use crate::observe::Tally;
use crate::request::RequestSpec;

/// A request that the pool has accepted.
pub(super) struct Job {
    pub(super) index: usize,
    pub(super) request: RequestSpec,
}

enum Message {
    Job(Job),
    /// Something has changed: look again. Who finds the work over passes it on to the next one.
    Wake,
}

pub(super) struct Queue {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    channel: Option<UserChannel>,
    /// What holds the queue open; see the table above.
    open: AtomicUsize,
    is_intake_closed: AtomicBool,
    is_cancelled: AtomicBool,
    /// Closed when the work is over.
    outbox: Outbox,
    tally: Arc<Tally>,
}

/// The job channel that the user has brought.
struct UserChannel {
    jobs: Receiver<RequestSpec>,
    /// How many more jobs to take out of it: without bound, until `join_all` asks for what is there and no more.
    budget: AtomicUsize,
    is_drained: AtomicBool,
}

const NO_BOUND: usize = usize::MAX;

impl Queue {
    pub(super) fn new(jobs: Option<Receiver<RequestSpec>>, outbox: Outbox) -> Self {
        let (sender, receiver) = unbounded();
        let channel = jobs.map(|jobs| UserChannel {
            jobs,
            budget: AtomicUsize::new(NO_BOUND),
            is_drained: AtomicBool::new(false),
        });
        Self {
            sender,
            receiver,
            open: AtomicUsize::new(1 + usize::from(channel.is_some())),
            channel,
            is_intake_closed: AtomicBool::new(false),
            is_cancelled: AtomicBool::new(false),
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
        if self.is_cancelled() || !self.hold_open() {
            return Err(SubmitError::new(request));
        }
        let index = self.tally.job_submitted();
        self.send(Message::Job(Job { index, request }));
        Ok(index)
    }

    /// The next job; blocks until there is one. `None` when the work is over.
    pub(super) fn next(&self) -> Option<Job> {
        match &self.channel {
            None => self.next_submitted(),
            Some(channel) => self.next_of_both(channel),
        }
    }

    /// So many jobs have their outcomes, and whoever reads them has dealt with them or will not be waited for.
    pub(super) fn finished(&self, jobs: usize) {
        if jobs > 0 && self.open.fetch_sub(jobs, Ordering::SeqCst) == jobs {
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
            let there = channel.jobs.len();
            // A worker may take one of them between the two steps; then one that came later is taken instead.
            channel.budget.store(there, Ordering::SeqCst);
            self.send(Message::Wake);
        }
    }

    /// Ends the work now: what is queued is forgotten, what is in flight goes on unheard.
    pub(super) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::SeqCst);
        self.end();
    }

    fn next_submitted(&self) -> Option<Job> {
        loop {
            if self.is_over() {
                return self.pass_on_the_end();
            }
            match self.receiver.recv() {
                Ok(Message::Job(job)) if !self.is_cancelled() => return Some(job),
                Ok(Message::Job(_) | Message::Wake) | Err(_) => {}
            }
        }
    }

    fn next_of_both(&self, channel: &UserChannel) -> Option<Job> {
        loop {
            if self.is_over() {
                return self.pass_on_the_end();
            }
            match self.receiver.try_recv() {
                Ok(Message::Job(job)) if !self.is_cancelled() => return Some(job),
                Ok(Message::Job(_) | Message::Wake) => continue,
                Err(_) => {}
            }
            if let Some(job) = self.take_from(channel) {
                return Some(job);
            }
            let mut ready = Select::new();
            ready.recv(&self.receiver);
            if !channel.is_drained.load(Ordering::SeqCst) {
                ready.recv(&channel.jobs);
            }
            ready.ready();
        }
    }

    fn take_from(&self, channel: &UserChannel) -> Option<Job> {
        if channel.is_drained.load(Ordering::SeqCst) || !self.hold_open() {
            return None;
        }
        match channel.take() {
            Ok(request) => {
                let index = self.tally.job_submitted();
                return Some(Job { index, request });
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                if !channel.is_drained.swap(true, Ordering::SeqCst) {
                    self.let_go();
                }
            }
        }
        self.let_go();
        None
    }

    /// Counts in one more reason to stay open, unless the work is over.
    fn hold_open(&self) -> bool {
        self.open
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |open| {
                (open > 0).then(|| open + 1)
            })
            .is_ok()
    }

    fn let_go(&self) {
        self.finished(1);
    }

    fn end(&self) {
        self.outbox.close();
        self.send(Message::Wake);
    }

    fn pass_on_the_end(&self) -> Option<Job> {
        self.send(Message::Wake);
        None
    }

    fn is_over(&self) -> bool {
        self.is_cancelled() || self.open.load(Ordering::SeqCst) == 0
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    fn send(&self, message: Message) {
        // The queue owns both ends, so neither is ever disconnected.
        let _ = self.sender.send(message);
    }
}

impl UserChannel {
    /// Takes a job within the budget; beyond it, the channel counts as disconnected.
    fn take(&self) -> Result<RequestSpec, TryRecvError> {
        let budget =
            self.budget
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                    NO_BOUND => Some(NO_BOUND),
                    bound => bound.checked_sub(1),
                });
        match budget {
            Err(_) => Err(TryRecvError::Disconnected),
            Ok(NO_BOUND) => self.jobs.try_recv(),
            // Nobody else takes what was counted, but for a receiver that the user has kept.
            Ok(_) => self.jobs.try_recv().map_err(|_| TryRecvError::Disconnected),
        }
    }
}
