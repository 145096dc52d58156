//! The input of a retry decision: [`RetryContext`].

use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::request::RequestSpec;
use crate::response::Response;

/// An attempt that is over, of a job that may be retried: the input of [`Retry::decide`](crate::Retry::decide), and
/// part of the event that [`Observer::retry`](crate::Observer::retry) receives.
pub struct RetryContext<'a> {
    pub(super) request: &'a RequestSpec,
    pub(super) index: usize,
    pub(super) attempts: u32,
    /// The number of these attempts that were retries.
    pub(super) retries: u32,
    pub(super) result: Result<&'a Response, &'a Error>,
    pub(super) backoff: Duration,
    pub(super) default_delay: Option<Duration>,
}

impl<'a> RetryContext<'a> {
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
            result: result.as_ref(),
            backoff: Duration::ZERO,
            default_delay: None,
        }
    }

    /// Returns the request.
    pub fn request(&self) -> &'a RequestSpec {
        self.request
    }

    /// Returns the job's index in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of attempts at the job so far, including this one.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the response, if the attempt has led to one. A 4xx or 5xx is a response here even with
    /// [`error_for_status`](crate::PoolBuilder::error_for_status).
    pub fn response(&self) -> Option<&'a Response> {
        self.result.ok()
    }

    /// Returns the error, if the attempt has failed.
    pub fn error(&self) -> Option<&'a Error> {
        self.result.err()
    }

    /// Returns the random delay drawn for this attempt by [`Retry::backoff`](crate::Retry::backoff).
    pub fn backoff(&self) -> Duration {
        self.backoff
    }

    /// Returns the delay before the next attempt by the policy's own rules, or `None` if they do not retry this one.
    pub fn default_delay(&self) -> Option<Duration> {
        self.default_delay
    }
}

impl fmt::Debug for RetryContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            index,
            attempts,
            retries: _,
            result,
            backoff,
            default_delay,
        } = self;
        let mut debug = f.debug_struct("RetryContext");
        debug
            .field("request", request)
            .field("index", index)
            .field("attempts", attempts);
        match result {
            Ok(response) => debug.field("status", &response.status()),
            Err(error) => debug.field("error", error),
        };
        debug
            .field("backoff", backoff)
            .field("default_delay", default_delay)
            .finish()
    }
}
