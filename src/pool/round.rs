//! Rounds: jobs of a pool that stays, whose outcomes go to the caller that has submitted them.

use std::sync::Arc;
#[cfg(any(feature = "journal", feature = "redis"))]
use std::time::Instant;

use super::results::{self, Exceptions, Responses, ResultReceiver, ResultSender};
use super::shutdown::Outstanding;
use super::{Pool, SubmitError};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::request::RequestSpec;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What the jobs of a round share.
pub(super) struct Round {
    results: ResultSender,
    /// The jobs of the round without an outcome; its one source is never released, so that jobs can always be added.
    outstanding: Outstanding,
    accepted: AtomicUsize,
    given_back: AtomicUsize,
    /// Whether a shutdown returns the jobs that were not sent; otherwise they are cancelled.
    gives_back: bool,
    /// Whether no more jobs are to be added.
    is_closed: AtomicBool,
    is_abandoned: AtomicBool,
}

impl Round {
    /// Counts one more job of this round. `false` if it is closed.
    pub(super) fn accept(&self) -> bool {
        self.add();
        // Either the reader, which closes the round before it ends, counts this job, or that it is closed is seen here.
        if self.is_closed() {
            self.give_back();
            return false;
        }
        true
    }

    /// Counts one more job, even if the round is closed.
    pub(super) fn add(&self) {
        self.accepted.fetch_add(1, Ordering::SeqCst);
        self.outstanding.add();
    }

    /// A job has its outcome, of which the reader is to be [told](Self::notify).
    pub(super) fn complete(&self, outcome: Outcome) {
        self.results.send(outcome, || ());
        self.outstanding.release();
    }

    /// Wakes readers for this many outcomes.
    pub(super) fn notify(&self, outcomes: usize) {
        self.results.notify(outcomes);
    }

    /// A job of this round was given back without an outcome, or was not accepted.
    pub(super) fn give_back(&self) {
        self.given_back.fetch_add(1, Ordering::SeqCst);
        self.outstanding.release();
        self.wake_readers();
    }

    pub(super) fn gives_back(&self) -> bool {
        self.gives_back
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.wake_readers();
    }

    /// A reader has to look whether there is something to do.
    pub(super) fn wake_readers(&self) {
        self.results.wake_readers();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// Whether the receiving end was dropped.
    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::SeqCst)
    }
}

/// The receiving end of a round. Once it is dropped, jobs of the round that no worker has started are not sent any more.
pub(super) struct RoundReceiver {
    round: Arc<Round>,
    results: ResultReceiver,
    /// How many outcomes were received.
    received: usize,
}

impl RoundReceiver {
    pub(super) fn new(gives_back: bool) -> Self {
        let (sender, results) = results::channel(None);
        let round = Arc::new(Round {
            results: sender,
            outstanding: Outstanding::new(1),
            accepted: AtomicUsize::new(0),
            given_back: AtomicUsize::new(0),
            gives_back,
            is_closed: AtomicBool::new(false),
            is_abandoned: AtomicBool::new(false),
        });
        Self {
            round,
            results,
            received: 0,
        }
    }

    pub(super) fn round(&self) -> &Arc<Round> {
        &self.round
    }

    /// No outcome is read any more.
    pub(super) fn abandon(&self) {
        self.round.is_abandoned.store(true, Ordering::SeqCst);
    }

    /// The number of jobs that are queued, in flight, or done and not received.
    pub(super) fn held(&self) -> usize {
        let given_back = self.round.given_back.load(Ordering::SeqCst);
        let accepted = self.round.accepted.load(Ordering::SeqCst);
        accepted - given_back - self.received
    }

    /// Blocks until there is an outcome, until this time, or until `is_over`, which is asked again when readers are
    /// [woken](Round::wake_readers).
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(super) fn recv_until(
        &mut self,
        until: Option<Instant>,
        is_over: impl Fn(usize) -> bool,
    ) -> Option<Outcome> {
        let outcome = self.results.wait(until, || is_over(self.held()));
        let outcome = outcome.flatten()?;
        self.received += 1;
        Some(outcome)
    }

    /// Blocks until there is an outcome. `None` if no job is held that it could come from.
    pub(super) fn recv(&mut self) -> Option<Outcome> {
        let outcome = self.results.wait(None, || self.held() == 0).flatten()?;
        self.received += 1;
        Some(outcome)
    }
}

impl Drop for RoundReceiver {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Pool {
    /// Sends all these requests on the workers of this pool, and waits until each has its outcome.
    ///
    /// This is a round on a pool that stays: it uses the pool's connections, its outcomes come to the caller alone, the intake
    /// stays open, and several threads can have a round at the same time. Like [`threaded::map`](crate::map), which starts a
    /// pool for its requests, it blocks the calling thread.
    ///
    /// If the pool is closed, cancelled or shut down meanwhile, or its deadline passes, requests that were not sent fail
    /// with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled): each has its outcome here.
    ///
    /// ```
    /// use threaded::Pool;
    ///
    /// let site = "https://example.com";
    /// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// let pool = Pool::builder().num_threads(8).build()?;
    /// for round in 0..3 {
    ///     let (responses, exceptions) = pool.map((0..10).map(|page| format!("{site}/{page}")))?;
    ///     println!("round {round}: {} up, {} down", responses.len(), exceptions.len());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, with the first request, if the pool takes no more jobs.
    pub fn map<I>(&self, requests: I) -> Result<(Responses, Exceptions), SubmitError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        let receiver = RoundReceiver::new(false);
        let threads = &self.guard.threads;
        let mut is_first = true;
        for request in requests {
            match threads.submit(request.into(), Some(Arc::clone(receiver.round()))) {
                Ok(_) => {}
                Err(refused) if is_first => return Err(refused),
                Err(refused) => {
                    let request = refused.into_request();
                    let error = Error::cancelled();
                    threads.core.refuse(request, receiver.round(), error);
                }
            }
            is_first = false;
        }
        let outstanding = &receiver.round.outstanding;
        outstanding.wait(|| outstanding.is_idle());
        let results = &receiver.results;
        Ok((results.responses(), results.exceptions()))
    }
}
