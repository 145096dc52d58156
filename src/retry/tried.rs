//! What is known when it is decided whether to try again.

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::request::RequestSpec;
use crate::response::Response;

/// An attempt that is over, while its job may not be: what [`Retry::decide`](crate::Retry::decide) and
/// [`Observer::retry`](crate::Observer::retry) are told.
pub struct Tried<'a> {
    pub(super) request: &'a RequestSpec,
    pub(super) index: usize,
    pub(super) attempts: u32,
    /// How many of the attempts were retries.
    pub(super) retries: u32,
    pub(super) outcome: Result<&'a Response, &'a Error>,
    pub(super) backoff: Duration,
    pub(super) proposal: Option<Duration>,
}

impl<'a> Tried<'a> {
    pub(crate) fn new(
        request: &'a RequestSpec,
        index: usize,
        attempts: u32,
        retries: u32,
        result: &'a Result<Response, Error>,
    ) -> Self {
        Self {
            request,
            index,
            attempts,
            retries,
            outcome: result.as_ref(),
            backoff: Duration::ZERO,
            proposal: None,
        }
    }

    /// The request.
    pub fn request(&self) -> &'a RequestSpec {
        self.request
    }

    /// The job's number in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many attempts were made at the job, this one included.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The response, if there was one. With `error_for_status` too, a 4xx or 5xx is one here.
    pub fn response(&self) -> Option<&'a Response> {
        self.outcome.ok()
    }

    /// The error, if there was no response.
    pub fn error(&self) -> Option<&'a Error> {
        self.outcome.err()
    }

    /// The random wait that is this attempt's by [`Retry::backoff`](crate::Retry::backoff).
    pub fn backoff(&self) -> Duration {
        self.backoff
    }

    /// How long the policy's own rules would wait before the next attempt; `None` if they would make none.
    pub fn proposal(&self) -> Option<Duration> {
        self.proposal
    }
}

impl fmt::Debug for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            index,
            attempts,
            retries: _,
            outcome,
            backoff,
            proposal,
        } = self;
        let mut shown = f.debug_struct("Tried");
        shown
            .field("request", request)
            .field("index", index)
            .field("attempts", attempts);
        match outcome {
            Ok(response) => shown.field("status", &response.status()),
            Err(error) => shown.field("error", error),
        };
        shown
            .field("backoff", backoff)
            .field("proposal", proposal)
            .finish()
    }
}
