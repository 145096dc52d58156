//! What one worker does: open a session, then take jobs and turn each into its outcome.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;

use super::crew::Crew;
use super::in_flight::{Begun, Desk};
use super::job::Job;
use super::queue::Fate;
use super::results::Outcome;
use crate::error::Error;
use crate::fetch::fetch;
use crate::observe::{Attempt, WorkerTally};
use crate::panics;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::session::factory::{SessionError, WorkerSessions};
use crate::sync::channel::Sender;

pub(super) struct Worker {
    crew: Arc<Crew>,
    number: usize,
    /// `None` until it is opened, and after a panic, which may have left it in any state.
    sessions: Option<WorkerSessions>,
    tally: Arc<WorkerTally>,
    /// Where the job lies that it is at.
    desk: Arc<Desk>,
}

impl Worker {
    pub(super) fn new(crew: Arc<Crew>, number: usize) -> Self {
        Self {
            number,
            tally: crew.queue.tally().add_worker(),
            desk: crew.in_flight.add_desk(),
            crew,
            sessions: None,
        }
    }

    /// The life of the first worker: it works only if its session can be opened, and says whether it was.
    pub(super) fn run_first(mut self, ready: Sender<Result<(), SessionError>>) {
        let opened = self.open_sessions().map(drop);
        let is_open = opened.is_ok();
        self.crew.came_up();
        let _ = ready.send(opened);
        if is_open {
            self.work();
        }
    }

    /// The life of a worker.
    pub(super) fn run(mut self) {
        let is_dispensable = self.is_dispensable();
        self.crew.came_up();
        if !is_dispensable {
            self.work();
        }
    }

    fn work(mut self) {
        self.serve();
        // After the lanes were let go: whoever reads them need not wait for the session to close.
        self.close_sessions();
    }

    fn serve(&mut self) {
        // None is left if the work was over before the session was open.
        let Some(lanes) = self.crew.queue.outbox().lanes() else {
            return;
        };
        while let Some(job) = self.crew.queue.next(self.number) {
            if let Some(outcome) = self.outcome(job) {
                self.crew.deliver(&lanes, outcome);
            }
            if self.is_dispensable() {
                return;
            }
        }
    }

    /// Whether this worker cannot open a session, while others can go on without it. The last one stays, whatever happens,
    /// so that no job is left without an outcome.
    fn is_dispensable(&mut self) -> bool {
        let has_colleagues = self.crew.queue.tally().live_workers() > 0;
        if self.sessions.is_some() || !has_colleagues {
            return false;
        }
        let Err(fault) = self.open_sessions() else {
            return false;
        };
        self.crew.queue.tally().worker_failed();
        log::warn!("a worker gives up, the others go on: {fault}");
        true
    }

    /// `None` if the job was taken from this worker and has its outcome from elsewhere, or is to be tried again.
    fn outcome(&mut self, mut job: Job) -> Option<Outcome> {
        let queue = &self.crew.queue;
        match job.past.take() {
            None => {
                self.tally.job_started();
                self.crew.rules.job_started();
            }
            Some(past) if queue.fate() == Fate::GivenBack => {
                queue.left(job.origin);
                return Some(self.crew.concluded(job, *past, &self.tally));
            }
            Some(past) => {
                queue.tally().job_resumed();
                job.past = Some(past);
            }
        }
        let at = Instant::now();
        let mut track = job.track(at);
        let begun = Arc::new(Begun { job, at });
        self.desk.put(&begun);
        if queue.fate() == Fate::CalledOff {
            // Who has called it off may have looked at this desk before the job was there.
            self.crew.see_to_waiting();
            queue.left(track.origin);
            return None;
        }
        let attempts = &mut track.attempts;
        let result = match panics::caught(|| self.attempt_authorized(&begun.job, attempts)) {
            Ok(result) => result,
            Err(message) => {
                self.close_sessions();
                Err(Error::panicked(message))
            }
        };
        let is_still_there = self.desk.take().is_some();
        // Then nobody else has it now.
        let Some(Begun { job, .. }) = is_still_there.then(|| Arc::into_inner(begun)).flatten()
        else {
            self.crew.queue.left(track.origin);
            return None;
        };
        let outcome = job.ended(&mut track, at, result);
        self.crew.conclude(outcome, track, &self.tally)
    }

    /// An attempt, and another one if it takes fresh credentials to get an answer.
    fn attempt_authorized(&mut self, job: &Job, attempts: &mut u32) -> Result<Response, Error> {
        let response = self.attempt(job, attempts)?;
        let may_be_stale = self.crew.rules.reauthenticate
            && self.crew.queue.fate() == Fate::Sent
            && response.status() == StatusCode::UNAUTHORIZED
            && response.is_of_one_origin()
            && !job.request.has_credentials();
        if may_be_stale && self.reauthenticate(&job.request) {
            self.crew.queue.count_attempt(job.origin);
            let repeated = self.attempt(job, attempts);
            return repeated.map_err(Error::after_earlier_exchange);
        }
        Ok(response)
    }

    fn attempt(&mut self, job: &Job, attempts: &mut u32) -> Result<Response, Error> {
        *attempts += 1;
        let request = &job.request;
        if let Some(observer) = &self.crew.rules.observer {
            observer.attempt_started(&Attempt {
                request,
                index: job.index,
                number: *attempts,
            });
        }
        let limits = self.crew.rules.limits;
        let sessions = self.open_sessions()?;
        // The time of the attempt does not run while a session is opened.
        fetch(sessions.for_request(request)?, request, &limits)
    }

    /// Whether the credentials for this request are other ones now.
    fn reauthenticate(&mut self, request: &RequestSpec) -> bool {
        let Some(sessions) = &mut self.sessions else {
            return false;
        };
        match sessions.reauthenticate(request) {
            Ok(have_changed) => have_changed,
            Err(error) => {
                log::warn!("no fresh credentials: {error}");
                false
            }
        }
    }

    fn open_sessions(&mut self) -> Result<&mut WorkerSessions, SessionError> {
        match &mut self.sessions {
            Some(sessions) => Ok(sessions),
            closed => {
                let sessions = WorkerSessions::open(&self.crew.session_factory)?;
                self.crew.queue.tally().worker_opened();
                Ok(closed.insert(sessions))
            }
        }
    }

    fn close_sessions(&mut self) {
        if let Some(sessions) = self.sessions.take() {
            self.crew.queue.tally().worker_closed();
            drop(sessions);
        }
    }
}
