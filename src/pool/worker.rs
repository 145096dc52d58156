//! What one worker does: open a session, then take jobs and turn each into its outcome.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use super::crew::Crew;
use super::queue::Job;
use super::recipe::SessionFault;
use super::results::Outcome;
use super::sessions::Sessions;
use crate::error::Error;
use crate::exception::ThreadException;
use crate::fetch::fetch;
use crate::observe::WorkerTally;
use crate::outcome::Record;
use crate::panics;
use crate::request::RequestSpec;
use crate::response::{Response, ThreadResponse};

pub(super) struct Worker {
    crew: Arc<Crew>,
    /// `None` until it is opened, and after a panic, which may have left it in any state.
    sessions: Option<Sessions>,
    tally: Arc<WorkerTally>,
}

impl Worker {
    pub(super) fn new(crew: Arc<Crew>) -> Self {
        Self {
            tally: crew.queue.tally().add_worker(),
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
            let is_held_by_reader = lanes.send(self.outcome(job));
            if !is_held_by_reader {
                self.crew.queue.finished(1);
            }
            if self.is_dispensable() {
                return;
            }
        }
    }

    /// Whether this worker cannot open a session, while others can go on without it. The last one stays, whatever happens,
    /// so that no job is left without an outcome.
    fn is_dispensable(&mut self) -> bool {
        let Err(fault) = self.open_sessions() else {
            return false;
        };
        let tally = self.crew.queue.tally();
        let is_dispensable = tally.live_workers() > 0;
        if is_dispensable {
            tally.worker_failed();
            log::warn!("a worker gives up, the others go on: {fault}");
        }
        is_dispensable
    }

    fn outcome(&mut self, job: Job) -> Outcome {
        let started = Instant::now();
        self.tally.job_started();
        let result = match panics::caught(|| self.attempt(&job.request)) {
            Ok(result) => result,
            Err(message) => {
                self.close_sessions();
                Err(Error::Panicked { message })
            }
        };
        let finished_at = Instant::now();
        let record = Record {
            request: job.request,
            index: job.index,
            attempts: 1,
            elapsed: finished_at - started,
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
            Ok(_) => self.tally.job_answered(),
            Err(_) => self.tally.job_failed(),
        }
        outcome
    }

    fn attempt(&mut self, request: &RequestSpec) -> Result<Response, Error> {
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
