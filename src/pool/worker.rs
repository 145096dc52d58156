//! A worker of the blocking engine: it takes a job, makes an attempt, and finishes it, on one thread.

use std::sync::Arc;

use http::StatusCode;

use super::core::Next;
use super::job::{Job, RunningJob};
use super::threads::Threads;
use crate::error::Error;
use crate::fetch::fetch;
use crate::observe::Attempt;
use crate::panics;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::session::error::SessionError;
use crate::session::factory::WorkerSessions;
use crate::sync::Parker;
use crate::sync::channel::Sender;

/// How often an attempt is repeated at most, since one credential after the other has expired before it was its turn.
const MAX_REPETITIONS: usize = 10;

pub(super) struct Worker {
    threads: Arc<Threads>,
    number: usize,
    /// `None` until it is opened, and after a panic, which may have left it in any state.
    sessions: Option<WorkerSessions>,
}

impl Worker {
    pub(super) fn new(threads: Arc<Threads>, number: usize) -> Self {
        Self {
            threads,
            number,
            sessions: None,
        }
    }

    /// The life of the first worker: it works only if its session can be opened, and reports whether it was.
    pub(super) fn run_first(mut self, ready: Sender<Result<(), SessionError>>) {
        let opened = self.open_sessions().map(drop);
        let is_open = opened.is_ok();
        self.threads.came_up();
        let _ = ready.send(opened);
        if is_open {
            self.serve();
        }
    }

    /// The life of every other worker.
    pub(super) fn run(mut self) {
        let retires = self.should_retire();
        self.threads.came_up();
        if !retires {
            self.serve();
        }
    }

    fn serve(mut self) {
        let parker = Parker::new();
        while let Some(job) = self.next(&parker) {
            if let Some(running) = self.threads.core.start(self.number, job) {
                self.attempt(running);
            }
            if self.should_retire() {
                break;
            }
        }
        self.close_sessions();
    }

    /// The next job; blocks until there is one. `None` when the work is over.
    fn next(&self, parker: &Parker) -> Option<Job> {
        loop {
            match self.threads.core.poll_next(self.number, parker.waker()) {
                Next::Start(job) => return Some(job),
                Next::Wait(until) => parker.park(until),
                Next::Exit => return None,
            }
        }
    }

    fn attempt(&mut self, mut running: RunningJob) {
        let result = panics::caught(|| self.attempt_authorized(&mut running));
        let result = result.unwrap_or_else(|message| {
            self.close_sessions();
            Err(Error::panicked(message))
        });
        self.threads.core.finish(running, result);
    }

    /// An attempt, which is repeated if its credentials were refused and new ones are available.
    fn attempt_authorized(&mut self, running: &mut RunningJob) -> Result<Response, Error> {
        let mut response = self.attempt_once(running)?;
        for repetition in 0..MAX_REPETITIONS {
            if !self.credentials_are_stale(running.request(), &response, repetition)?
                || !self.reauthenticate(running.request())?
            {
                break;
            }
            self.threads.core.repeat(running);
            let repeated = self.attempt_once(running);
            response = repeated.map_err(Error::after_earlier_exchange)?;
        }
        Ok(response)
    }

    /// Whether the response is a refusal of credentials that others may come after. Credentials that are refused although
    /// they are new are not stale but wrong, unless they are the pool's, and have been accepted by now from another worker.
    fn credentials_are_stale(
        &mut self,
        request: &RequestSpec,
        response: &Response,
        repetition: usize,
    ) -> Result<bool, Error> {
        let core = &self.threads.core;
        let credentials = self.threads.sessions.credentials();
        let is_about_them = (credentials.is_some() || core.policy.reauthenticate)
            && response.never_left_origin()
            && !request.has_credentials();
        if !is_about_them || !core.starts_jobs() {
            return Ok(false);
        }
        let is_refused = response.status() == StatusCode::UNAUTHORIZED;
        let (Some(credentials), Some(sessions)) = (credentials, &mut self.sessions) else {
            return Ok(is_refused && repetition == 0);
        };
        let generation = sessions.generation(request)?;
        if !is_refused {
            credentials.accept(generation);
        }
        Ok(is_refused && (repetition == 0 || credentials.was_accepted(generation)))
    }

    fn attempt_once(&mut self, running: &mut RunningJob) -> Result<Response, Error> {
        running.log.attempts += 1;
        let request = running.request();
        if let Some(observer) = &self.threads.core.policy.observer {
            observer.attempt_started(&Attempt {
                request,
                index: running.index(),
                number: running.log.attempts,
            });
        }
        let limits = self.threads.core.policy.attempt_limits;
        let sessions = self.open_sessions()?;
        // The time of the attempt does not include that of opening a session.
        let session = sessions.for_request(request)?;
        fetch(session, request, &limits, running.cancel_flag())
    }

    /// Whether the credentials for this request have changed. It fails if those of the pool cannot be renewed; if the auth
    /// generator fails, the response stands.
    fn reauthenticate(&mut self, request: &RequestSpec) -> Result<bool, Error> {
        let Some(sessions) = &mut self.sessions else {
            return Ok(false);
        };
        match sessions.reauthenticate(request) {
            Err(error) if self.threads.sessions.credentials().is_none() => {
                log::warn!("could not renew the credentials: {error}");
                Ok(false)
            }
            result => result.map_err(Error::after_earlier_exchange),
        }
    }

    /// Whether this worker cannot open a session, while others can go on without it. The last one stays in any case, so that
    /// each job gets its outcome.
    fn should_retire(&mut self) -> bool {
        let has_others = self.threads.core.counters.live_workers() > 0;
        if self.sessions.is_some() || !has_others {
            return false;
        }
        let Err(fault) = self.open_sessions() else {
            return false;
        };
        self.threads.core.counters.worker_failed();
        log::warn!("a worker has no session and ends, the others go on: {fault}");
        true
    }

    fn open_sessions(&mut self) -> Result<&mut WorkerSessions, SessionError> {
        match &mut self.sessions {
            Some(sessions) => Ok(sessions),
            closed => {
                let sessions = WorkerSessions::open(&self.threads.sessions)?;
                self.threads.core.counters.worker_opened();
                Ok(closed.insert(sessions))
            }
        }
    }

    fn close_sessions(&mut self) {
        if let Some(sessions) = self.sessions.take() {
            self.threads.core.counters.worker_closed();
            drop(sessions);
        }
    }
}
