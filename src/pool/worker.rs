//! What one worker does: open a session, then take jobs and turn each into its outcome.

use std::sync::Arc;
use std::time::Instant;

use super::crew::Crew;
use super::in_flight::{Begun, Desk};
use super::queue::{Fate, Job};
use super::recipe::SessionFault;
use super::results::Outcome;
use super::sessions::Sessions;
use crate::error::Error;
use crate::exception::ThreadException;
use crate::fetch::fetch;
use crate::observe::{Attempt, WorkerTally};
use crate::outcome::Record;
use crate::panics;
use crate::response::{Response, ThreadResponse};
use crate::sync::channel::Sender;

pub(super) struct Worker {
    crew: Arc<Crew>,
    /// `None` until it is opened, and after a panic, which may have left it in any state.
    sessions: Option<Sessions>,
    tally: Arc<WorkerTally>,
    /// Where the job lies that it is at.
    desk: Arc<Desk>,
}

impl Worker {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        Self {
            tally: crew.queue.tally().add_worker(),
            desk: crew.in_flight.add_desk(),
            crew,
            sessions: None,
        }
    }

    /// The life of the first worker: it works only if its session can be opened, and says whether it was.
    pub(super) fn run_first(mut self, ready: Sender<Result<(), SessionFault>>) {
        let opened = self.open_sessions().map(drop);
        let is_open = opened.is_ok();
        let _ = ready.send(opened);
        if is_open {
            self.run();
        }
    }

    /// The life of a worker.
    pub(super) fn run(mut self) {
        self.serve();
        // After the lanes were let go: whoever reads them need not wait for the session to close.
        self.close_sessions();
    }

    fn serve(&mut self) {
        if self.is_dispensable() {
            return;
        }
        // None is left if the work was over before the session was open.
        let Some(lanes) = self.crew.queue.outbox().lanes() else {
            return;
        };
        while let Some(job) = self.crew.queue.next() {
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

    /// `None` if the job was taken from this worker and has its outcome from elsewhere.
    fn outcome(&mut self, job: Job) -> Option<Outcome> {
        let begun = Arc::new(Begun {
            job,
            at: Instant::now(),
        });
        self.tally.job_started();
        self.desk.put(&begun);
        if self.crew.queue.fate() == Fate::CalledOff {
            // Who has called it off may have looked at this desk before the job was there.
            self.crew.call_off();
            return None;
        }
        let result = match panics::caught(|| self.attempt(&begun.job)) {
            Ok(result) => result,
            Err(message) => {
                self.close_sessions();
                Err(Error::Panicked { message })
            }
        };
        self.desk.take()?;
        // Nobody else has it now.
        let Begun { job, at } = Arc::into_inner(begun)?;
        let finished_at = Instant::now();
        let record = Record {
            request: job.request,
            index: job.index,
            attempts: 1,
            elapsed: finished_at - at,
            last_attempt_elapsed: finished_at - at,
            finished_at,
        };
        let outcome = match result {
            Ok(response) if self.crew.error_for_status => {
                ThreadResponse::new(record, response).error_for_status()
            }
            Ok(response) => Ok(ThreadResponse::new(record, response)),
            Err(error) => Err(ThreadException::new(record, error, None)),
        };
        match &outcome {
            Ok(response) => self.tally.job_answered(response.bytes().len() as u64),
            Err(_) => self.tally.job_failed(),
        }
        Some(outcome)
    }

    fn attempt(&mut self, job: &Job) -> Result<Response, Error> {
        let request = &job.request;
        if let Some(observer) = &self.crew.observer {
            observer.attempt_started(&Attempt {
                request,
                index: job.index,
                number: 1,
            });
        }
        let limits = self.crew.limits;
        let sessions = self.open_sessions().map_err(|fault| Error::Session {
            source: fault.into(),
        })?;
        // The time of the attempt does not run while a session is opened.
        fetch(sessions.for_request(request)?, request, &limits)
    }

    fn open_sessions(&mut self) -> Result<&mut Sessions, SessionFault> {
        match &mut self.sessions {
            Some(sessions) => Ok(sessions),
            closed => {
                let sessions = Sessions::open(&self.crew.recipe)?;
                self.crew.queue.tally().worker_opened();
                Ok(closed.insert(sessions))
            }
        }
    }

    fn close_sessions(&mut self) {
        if let Some(sessions) = self.sessions.take() {
            self.crew.queue.tally().worker_closed();
            sessions.dispose();
        }
    }
}
