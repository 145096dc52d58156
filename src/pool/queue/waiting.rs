//! How workers wait for their next job.

use std::time::Instant;

use super::scheduled::{Next, Scheduled};
use super::user_channel::UserChannel;
use super::{Fate, Message, Queue};
use crate::pool::job::Job;
use crate::sync::channel::{Select, TryRecvError};

impl Queue {
    /// The next job for this worker; blocks until there is one. `None` when the work is over.
    pub(in crate::pool) fn next(&self, worker: usize) -> Option<Job> {
        match (&self.scheduled, &self.channel) {
            (Some(scheduled), _) => self.next_scheduled(scheduled, worker),
            (None, None) => self.next_submitted(),
            (None, Some(channel)) => self.next_of_both(channel),
        }
    }

    fn next_submitted(&self) -> Option<Job> {
        loop {
            if self.is_over() {
                return self.pass_on_the_end();
            }
            match self.receiver.recv() {
                Ok(Message::Job(job)) => {
                    if let Some(job) = self.to_be_begun(job) {
                        return Some(job);
                    }
                }
                Ok(Message::Wake) | Err(_) => {}
            }
        }
    }

    fn next_of_both(&self, channel: &UserChannel) -> Option<Job> {
        loop {
            if self.is_over() {
                return self.pass_on_the_end();
            }
            match self.receiver.try_recv() {
                Ok(Message::Job(job)) => match self.to_be_begun(job) {
                    Some(job) => return Some(job),
                    None => continue,
                },
                Ok(Message::Wake) => continue,
                Err(_) => {}
            }
            if let Some(job) = self.take_from(channel) {
                return Some(job);
            }
            let jobs = channel.jobs();
            let mut ready = Select::new();
            ready.recv(&self.receiver);
            if let Some(jobs) = &jobs {
                ready.recv(jobs);
            }
            ready.ready();
        }
    }

    fn next_scheduled(&self, scheduled: &Scheduled, worker: usize) -> Option<Job> {
        loop {
            if self.is_over() {
                return self.pass_on_the_end();
            }
            let (next, wake_ups) = scheduled.next(worker);
            self.wake(wake_ups);
            let (until, has_room) = match next {
                Next::Run(job) => match self.to_be_begun(job) {
                    Some(job) => return Some(job),
                    None => continue,
                },
                Next::Wait { until, has_room } => (until, has_room),
            };
            let channel = self.channel.as_ref().filter(|_| has_room);
            if let Some(job) = channel.and_then(|channel| self.take_from(channel)) {
                scheduled.came_back();
                let origin = self.origin(&job);
                match scheduled.admit_unless_drained(job, origin) {
                    Ok(wake_ups) => self.wake(wake_ups),
                    Err(job) => match self.to_be_begun(job) {
                        Some(job) => return Some(job),
                        None => continue,
                    },
                }
            } else if !self.wait(channel, until) {
                scheduled.came_back();
            }
        }
    }

    /// Waits for something to do. `false` if it was not woken: the time has come, or something is in the channel.
    fn wait(&self, channel: Option<&UserChannel>, until: Option<Instant>) -> bool {
        if let Some(jobs) = channel.and_then(UserChannel::jobs) {
            let mut ready = Select::new();
            ready.recv(&self.receiver);
            ready.recv(&jobs);
            match until {
                Some(until) => drop(ready.ready_deadline(until)),
                None => drop(ready.ready()),
            }
            return self.receiver.try_recv().is_ok();
        }
        match until {
            Some(until) => self.receiver.recv_deadline(until).is_ok(),
            None => self.receiver.recv().is_ok(),
        }
    }

    /// Hands the job on to its worker, who sees to those that are called off or have a past, or gives it back.
    fn to_be_begun(&self, job: Job) -> Option<Job> {
        match self.fate() {
            Fate::Sent | Fate::CalledOff => return Some(job),
            Fate::GivenBack if job.past.is_some() => return Some(job),
            Fate::GivenBack => self.return_to_sender(job),
            Fate::Forgotten => {}
        }
        None
    }

    fn take_from(&self, channel: &UserChannel) -> Option<Job> {
        let jobs = channel.jobs()?;
        if !self.holds.add() {
            return None;
        }
        if self.fate() != Fate::Sent {
            self.let_go();
            return None;
        }
        match channel.take(&jobs) {
            Ok(request) => {
                let index = self.tally.job_submitted();
                return Some(Job::new(index, request));
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => {
                self.close_channel();
            }
        }
        self.let_go();
        None
    }

    fn pass_on_the_end(&self) -> Option<Job> {
        self.send(Message::Wake);
        None
    }
}
