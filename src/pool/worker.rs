//! A worker: its sessions, and the attempts that it makes at jobs. An engine drives them: `blocking`, one at a time, or
//! `event`, many at the same time.

mod blocking;
#[cfg(feature = "hyper")]
mod event;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;

use super::job::RunningJob;
use super::threads::Threads;
use crate::error::Error;
use crate::fetch::{Fetch, Meter};
use crate::observe::Attempt;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::session::error::SessionError;
use crate::session::factory::WorkerSessions;
use crate::session::{OpenSession, SessionState};
use crate::sync::channel::Sender;
use crate::transport::ByEngine;
#[cfg(feature = "hyper")]
use crate::transport::hyper::HyperTransport;

/// How often an attempt is repeated at most, since one credential after the other has expired before it was its turn.
const MAX_REPETITIONS: usize = 10;

pub(super) struct Worker {
    threads: Arc<Threads>,
    number: usize,
    /// `None` until they are opened, and after a panic, which may have left them in any state.
    sessions: RefCell<Option<Rc<WorkerSessions>>>,
}

impl Worker {
    pub(super) fn new(threads: Arc<Threads>, number: usize) -> Self {
        Self {
            threads,
            number,
            sessions: RefCell::default(),
        }
    }

    /// The life of the first worker: it works only if its session can be opened, and reports whether it was.
    pub(super) fn run_first(self, ready: Sender<Result<(), SessionError>>) {
        let opened = self.open_sessions().map(drop);
        let is_open = opened.is_ok();
        self.threads.came_up();
        let _ = ready.send(opened);
        if is_open {
            self.serve();
        }
    }

    /// The life of every other worker.
    pub(super) fn run(self) {
        let retires = self.should_retire();
        self.threads.came_up();
        if !retires {
            self.serve();
        }
    }

    fn serve(self) {
        #[cfg(feature = "hyper")]
        if self.threads.sessions.is_event_driven() {
            return event::serve(&self);
        }
        blocking::serve(&self);
    }

    /// An attempt, which is repeated if its credentials were refused and new ones are available.
    async fn attempt(&self, running: &mut RunningJob) -> Result<Response, Error> {
        let (mut response, mut sent_with) = self.attempt_once(running).await?;
        for repetition in 0..MAX_REPETITIONS {
            if !self.credentials_are_stale(running.request(), &response, &sent_with, repetition)
                || !Box::pin(self.reauthenticate(running.request(), &sent_with)).await?
            {
                break;
            }
            self.threads.core.repeat(running);
            let repeated = self.attempt_once(running).await;
            (response, sent_with) = repeated.map_err(Error::after_earlier_exchange)?;
        }
        Ok(response)
    }

    /// Whether the response is a refusal of credentials that others may come after. Credentials that are refused although
    /// they are new are not stale but wrong, unless they are the pool's, and have been accepted by now from another worker.
    fn credentials_are_stale(
        &self,
        request: &RequestSpec,
        response: &Response,
        sent_with: &SessionState,
        repetition: usize,
    ) -> bool {
        let core = &self.threads.core;
        let credentials = self.threads.sessions.credentials();
        let is_about_them = (credentials.is_some() || core.policy.reauthenticate)
            && response.never_left_origin()
            && !request.has_credentials();
        if !is_about_them || !core.starts_jobs() {
            return false;
        }
        let is_refused = response.status() == StatusCode::UNAUTHORIZED;
        let Some(credentials) = credentials else {
            return is_refused && repetition == 0;
        };
        if !is_refused {
            credentials.accept(sent_with.generation);
        }
        is_refused && (repetition == 0 || credentials.was_accepted(sent_with.generation))
    }

    /// Returns the response, and what the session was when it sent the request.
    async fn attempt_once(
        &self,
        running: &mut RunningJob,
    ) -> Result<(Response, SessionState), Error> {
        running.log.attempts += 1;
        let request = running.request();
        let policy = &self.threads.core.policy;
        let watched = policy.observer.as_ref().map(|observer| {
            let attempt = Attempt {
                request,
                index: running.index(),
                number: running.log.attempts,
            };
            observer.attempt_started(&attempt);
            (observer, attempt)
        });
        let sessions = self.open_sessions()?;
        let start = |session: &mut OpenSession| {
            // The time of the attempt does not include that of opening a session.
            let limits = &policy.attempt_limits;
            let cancel_flag = running.cancel_flag();
            let mut fetch = Fetch::start(
                session,
                request,
                limits,
                &policy.handlers,
                cancel_flag,
                Meter::new(
                    &policy.counters,
                    self.number,
                    watched,
                    policy.bandwidths.as_ref(),
                ),
            )?;
            let sent_with = session.state.clone();
            let begun = match session.transport.by_engine() {
                ByEngine::Blocking(transport) => Begun::Over(fetch.complete(transport)?),
                #[cfg(feature = "hyper")]
                ByEngine::EventDriven(transport) => Begun::Waits(transport.clone()),
            };
            Ok((fetch, begun, sent_with))
        };
        #[cfg_attr(
            not(feature = "hyper"),
            expect(unused_variables, unused_mut, reason = "for event loops")
        )]
        let (mut fetch, begun, sent_with) = sessions.with(request, start).await?;
        let response = match begun {
            Begun::Over(response) => response,
            #[cfg(feature = "hyper")]
            Begun::Waits(mut transport) => fetch.run(&mut transport).await?,
        };
        Ok((response, sent_with))
    }

    /// Whether the credentials for this request have changed. It fails if those of the pool cannot be renewed; if the auth
    /// generator fails, the response stands.
    async fn reauthenticate(
        &self,
        request: &RequestSpec,
        sent_with: &SessionState,
    ) -> Result<bool, Error> {
        let Some(sessions) = self.sessions.borrow().clone() else {
            return Ok(false);
        };
        match sessions.reauthenticate(request, sent_with).await {
            Err(error) if self.threads.sessions.credentials().is_none() => {
                log::warn!("could not renew the credentials: {error}");
                Ok(false)
            }
            result => result.map_err(Error::after_earlier_exchange),
        }
    }

    /// Whether this worker cannot open a session, while others can go on without it. The last one stays in any case, so that
    /// each job gets its outcome.
    fn should_retire(&self) -> bool {
        let has_others = self.threads.core.counters.live_workers() > 0;
        if self.sessions.borrow().is_some() || !has_others {
            return false;
        }
        let Err(fault) = self.open_sessions() else {
            return false;
        };
        self.threads.core.counters.worker_failed();
        log::warn!("a worker has no session and ends, the others go on: {fault}");
        true
    }

    fn open_sessions(&self) -> Result<Rc<WorkerSessions>, SessionError> {
        if let Some(sessions) = &*self.sessions.borrow() {
            return Ok(Rc::clone(sessions));
        }
        // The hooks may do anything, so nothing is borrowed while they run.
        let opened = Rc::new(WorkerSessions::open(&self.threads.sessions)?);
        self.threads.core.counters.worker_opened();
        *self.sessions.borrow_mut() = Some(Rc::clone(&opened));
        Ok(opened)
    }

    fn close_sessions(&self) {
        let sessions = self.sessions.borrow_mut().take();
        if let Some(sessions) = sessions {
            self.threads.core.counters.worker_closed();
            drop(sessions);
        }
    }
}

/// How far an attempt is once its session has been asked.
enum Begun {
    /// On a transport that blocks, it is over.
    Over(Response),
    /// It will wait for this transport, while the session serves others.
    #[cfg(feature = "hyper")]
    Waits(HyperTransport),
}
