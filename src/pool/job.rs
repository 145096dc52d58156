//! A request that a pool has accepted, on its way to its outcome.

use std::time::{Duration, Instant};

use super::queue::OriginId;
use super::results::Outcome;
use crate::error::Error;
use crate::exception::ThreadException;
use crate::outcome::Record;
use crate::request::RequestSpec;
use crate::response::{Response, ThreadResponse};

pub(super) struct Job {
    pub(super) index: usize,
    pub(super) request: RequestSpec,
    /// Where it is sent, as far as limits are concerned; `None` where nobody asks.
    pub(super) origin: Option<OriginId>,
    /// What has become of it so far. Most jobs have none, and millions may wait: they pay one pointer for it.
    pub(super) past: Option<Box<Past>>,
}

/// The attempts that were made at a job.
pub(super) struct Past {
    pub(super) attempts: u32,
    /// Whether a server may have seen any of them.
    pub(super) was_sent: bool,
    pub(super) first_begun_at: Instant,
    pub(super) last: LastAttempt,
}

pub(super) struct LastAttempt {
    pub(super) result: Result<Response, Error>,
    pub(super) elapsed: Duration,
    pub(super) finished_at: Instant,
}

impl Job {
    pub(super) fn new(index: usize, request: RequestSpec) -> Self {
        Self {
            index,
            request,
            origin: None,
            past: None,
        }
    }

    /// How many attempts were made.
    pub(super) fn attempts(&self) -> u32 {
        self.past.as_ref().map_or(0, |past| past.attempts)
    }

    /// The job after an attempt that began at this moment and is over now, and what has become of it so far.
    pub(super) fn tried(
        mut self,
        attempts: u32,
        begun_at: Instant,
        result: Result<Response, Error>,
    ) -> (Self, Past) {
        let finished_at = Instant::now();
        let before = self.past.take();
        let was_sent_before = before.as_ref().is_some_and(|past| past.was_sent);
        // What the error says about the attempt, the outcome says about the job.
        let result = result.map_err(|error| match was_sent_before {
            true => error.after_earlier_exchange(),
            false => error,
        });
        let past = Past {
            attempts,
            was_sent: result.as_ref().map_or_else(Error::was_sent, |_| true),
            first_begun_at: before.map_or(begun_at, |past| past.first_begun_at),
            last: LastAttempt {
                result,
                elapsed: finished_at - begun_at,
                finished_at,
            },
        };
        (self, past)
    }

    /// The outcome of a job whose last attempt stands.
    pub(super) fn concluded(self, past: Past, error_for_status: bool) -> Outcome {
        let Past {
            attempts,
            was_sent: _,
            first_begun_at,
            last,
        } = past;
        let record = Record {
            request: self.request,
            index: self.index,
            attempts,
            elapsed: last.finished_at - first_begun_at,
            last_attempt_elapsed: last.elapsed,
            finished_at: last.finished_at,
        };
        match last.result {
            Ok(response) if error_for_status => {
                ThreadResponse::new(record, response).error_for_status()
            }
            Ok(response) => Ok(ThreadResponse::new(record, response)),
            Err(error) => Err(ThreadException::new(record, error, None)),
        }
    }
}
