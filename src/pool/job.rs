//! A request that a pool has accepted, on its way to its outcome.

use std::time::{Duration, Instant};

use super::results::Outcome;
use crate::error::{Error, ErrorKind};
use crate::outcome::JobInfo;
use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::schedule::OriginId;

pub(super) struct Job {
    pub(super) index: usize,
    pub(super) request: RequestSpec,
    /// Where it is sent, as far as limits are concerned; `None` where nobody asks.
    pub(super) origin: Option<OriginId>,
    /// What has become of it so far. Most jobs have none, and millions may wait: they pay one pointer for it.
    pub(super) past: Option<Box<Past>>,
}

/// The attempts that were made at a job that is to be tried again.
pub(super) struct Past {
    pub(super) track: Track,
    pub(super) last_attempt_elapsed: Duration,
    finished_at: Instant,
    last: Result<Response, Error>,
}

/// What goes on from one attempt at a job to the next.
#[derive(Clone, Copy)]
pub(super) struct Track {
    pub(super) origin: Option<OriginId>,
    pub(super) attempts: u32,
    /// Those that a [`Retry`](crate::Retry) has decided on.
    pub(super) retries: u32,
    /// Whether the last one would end the same way again.
    pub(super) is_hopeless: bool,
    /// Whether a server may have seen any of them.
    pub(super) was_sent: bool,
    pub(super) first_begun_at: Instant,
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

    /// The track of a job of which another attempt begins now.
    pub(super) fn track(&self, now: Instant) -> Track {
        match &self.past {
            Some(past) => past.track,
            None => Track {
                origin: self.origin,
                attempts: 0,
                retries: 0,
                is_hopeless: false,
                was_sent: false,
                first_begun_at: now,
            },
        }
    }

    /// What an attempt that began at this moment and is over now makes of the job, if it is the last one.
    pub(super) fn ended(
        self,
        track: &mut Track,
        begun_at: Instant,
        result: Result<Response, Error>,
    ) -> Outcome {
        let finished_at = Instant::now();
        let record = JobInfo {
            request: self.request,
            index: self.index,
            attempts: track.attempts,
            elapsed: finished_at - track.first_begun_at,
            last_attempt_elapsed: finished_at - begun_at,
            finished_at,
        };
        match result {
            Ok(response) => {
                track.was_sent = true;
                Ok(ThreadResponse::new(record, response))
            }
            // What the error says about the attempt, the outcome says about the job.
            Err(error) => {
                track.is_hopeless = error.kind() == ErrorKind::InvalidRequest;
                let error = match track.was_sent {
                    true => error.after_earlier_exchange(),
                    false => error,
                };
                track.was_sent = error.was_sent();
                Err(ThreadException::new(record, error, None))
            }
        }
    }

    /// The job again, of which this was not the last attempt.
    pub(super) fn again(outcome: Outcome, mut track: Track) -> Self {
        track.retries += 1;
        let (record, last) = match outcome {
            Ok(response) => {
                let (record, response) = response.into_info();
                (record, Ok(response))
            }
            Err(exception) => {
                let (record, error) = exception.into_info();
                (record, Err(error))
            }
        };
        let past = Past {
            track,
            last_attempt_elapsed: record.last_attempt_elapsed,
            finished_at: record.finished_at,
            last,
        };
        Self {
            index: record.index,
            request: record.request,
            origin: track.origin,
            past: Some(Box::new(past)),
        }
    }

    /// The outcome of a job whose last attempt stands after all.
    pub(super) fn concluded(self, past: Past) -> Outcome {
        let record = JobInfo {
            request: self.request,
            index: self.index,
            attempts: past.track.attempts,
            elapsed: past.finished_at - past.track.first_begun_at,
            last_attempt_elapsed: past.last_attempt_elapsed,
            finished_at: past.finished_at,
        };
        match past.last {
            Ok(response) => Ok(ThreadResponse::new(record, response)),
            Err(error) => Err(ThreadException::new(record, error, None)),
        }
    }
}
