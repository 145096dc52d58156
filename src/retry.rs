//! The retry policy: which attempts are retried, and when. Pure logic: time and randomness are injected.

mod after;
mod backoff;
mod budget;
mod context;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

pub(crate) use self::after::{cool_down, retry_after};
use self::backoff::Backoff;
pub use self::budget::RetryBudget;
pub(crate) use self::budget::TokenBucket;
pub use self::context::RetryContext;
use crate::error::{Error, ErrorKind};
use crate::response::Response;

/// A retry policy: which attempts are retried, and after which delay. Passed to
/// [`PoolBuilder::retry`](crate::PoolBuilder::retry).
///
/// A job that is waiting for its retry stays in the queue and does not occupy a worker. It still counts towards the
/// [`window`](crate::PoolBuilder::window) of [`imap`](crate::imap) and [`imap_unordered`](crate::imap_unordered). When
/// there is no further attempt, the job ends with the result of its last one: a response or an exception.
///
/// # Which attempts are retried
///
/// An attempt is retried if a further one may succeed:
///
/// - after an error that [`is_retryable`](crate::Error::is_retryable): no connection, a connection closed or reset, a
///   timeout, a truncated body. Files are written from scratch, unless [`resume`](crate::RequestSpec::resume) continues them, and handlers are called again, also for the bodies of
///   responses that are retried;
/// - after a response with one of the [`statuses`](Self::statuses), by default 408, 429, 500, 502, 503 and 504;
///
/// and if it is safe to send the request again:
///
/// - the request [is idempotent](crate::RequestSpec::is_idempotent), by its method, by an `Idempotency-Key` header, or
///   because it was declared to be; or
/// - no server can have seen it ([`was_sent`](crate::Error::was_sent) is `false`).
///
/// Errors that would recur are never retried: an invalid request, an untrusted certificate, a redirect that cannot be
/// followed, a body that is too large. Nor are panics.
///
/// # Delay
///
/// The delay is random, between 0 and a ceiling that doubles with each retry (exponential backoff with full jitter,
/// see [`backoff`](Self::backoff)), so that clients that failed together do not return together. A `Retry-After` of the
/// response (RFC 9110, section 10.2.3) is a lower bound for it. If it exceeds
/// [`retry_after_max`](Self::retry_after_max) or the run's [`deadline`](crate::PoolBuilder::deadline), the job ends at
/// once with that response.
///
/// # Retry budget
///
/// In addition to the maximum per job, a [`budget`](Self::budget) bounds the retries of the pool, so that a failing
/// server does not receive several times the normal load.
///
/// ```
/// use std::time::Duration;
/// use threaded::{Pool, Retry};
///
/// let retry = Retry::new(3).backoff(Duration::from_millis(500), Duration::from_secs(30));
/// let builder = Pool::builder().retry(retry);
/// # let _ = builder;
/// ```
#[derive(Clone)]
#[must_use = "the setters take it by value and return it"]
pub struct Retry {
    max_retries: u32,
    backoff: Backoff,
    statuses: Vec<StatusCode>,
    retry_after_max: Duration,
    budget: Option<RetryBudget>,
    sink_errors: bool,
    decide: Option<Arc<Decide>>,
}

type Decide = dyn Fn(&RetryContext<'_>) -> Option<Duration> + Send + Sync;

const STATUSES: [StatusCode; 6] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// At most 3 retries per job.
impl Default for Retry {
    fn default() -> Self {
        Self::new(3)
    }
}

impl Retry {
    /// Creates a policy with a maximum number of retries per job, in addition to its first attempt.
    pub fn new(max_retries: u32) -> Self {
        Self {
            max_retries,
            backoff: Backoff::default(),
            statuses: STATUSES.to_vec(),
            retry_after_max: Duration::from_secs(60),
            budget: Some(RetryBudget::default()),
            sink_errors: false,
            decide: None,
        }
    }

    /// Sets the exponential backoff: the maximum delay is `base` before the first retry, doubles with each further one,
    /// and never exceeds `cap`. Defaults to 200 ms and 10 s.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = Backoff::new(base, cap);
        self
    }

    /// Sets the statuses that are retried. Replaces those set before. Defaults to 408, 429, 500, 502, 503 and 504.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Sets the maximum `Retry-After` to wait for. A longer one ends the job at once with the response that has it.
    /// Defaults to 60 s.
    pub fn retry_after_max(mut self, max: Duration) -> Self {
        self.retry_after_max = max;
        self
    }

    /// Sets the bound on the retries of the whole pool. `None` lifts it: then only the maximum per job applies.
    /// Defaults to [`RetryBudget::new`].
    pub fn budget(mut self, budget: impl Into<Option<RetryBudget>>) -> Self {
        self.budget = budget.into();
        self
    }

    /// Sets whether to retry an attempt whose body could not be saved or whose handler failed
    /// ([`ErrorKind::Sink`](crate::ErrorKind::Sink)). Defaults to `false`.
    pub fn sink_errors(mut self, retry: bool) -> Self {
        self.sink_errors = retry;
        self
    }

    /// Lets a closure decide: it is called after each attempt that another one may follow, successful or not, and
    /// returns the delay before that, or `None` to end the job with this one. [`RetryContext::default_delay`] is the
    /// decision of the policy's own rules.
    ///
    /// The maximum per job, the budget and the run's deadline still apply, and errors that are never retried end the
    /// job without a call. Whether it is safe to send the request again is up to the closure. It is called on the
    /// workers' threads. If it panics, the job fails with [`ErrorKind::Panicked`](crate::ErrorKind::Panicked). Defaults
    /// to the policy's own rules.
    ///
    /// ```
    /// use threaded::{Retry, RetryContext};
    ///
    /// // Polls a job queue that responds with 202 until the result is available.
    /// let retry = Retry::new(50).budget(None).decide(|context: &RetryContext<'_>| match context.response() {
    ///     Some(response) if response.status() == 202 => Some(context.backoff()),
    ///     _ => context.default_delay(),
    /// });
    /// # let _ = retry;
    /// ```
    pub fn decide<F>(mut self, decide: F) -> Self
    where
        F: Fn(&RetryContext<'_>) -> Option<Duration> + Send + Sync + 'static,
    {
        self.decide = Some(Arc::new(decide));
        self
    }

    /// Creates the token bucket of a pool with this policy; `None` if its retries are unbounded.
    pub(crate) fn token_bucket(&self) -> Option<TokenBucket> {
        self.budget.map(TokenBucket::new)
    }

    /// Returns the delay before the next attempt, if there is to be one. `random` is at least 0 and below 1.
    pub(crate) fn delay(
        &self,
        context: &mut RetryContext<'_>,
        now: SystemTime,
        random: f64,
    ) -> Option<Duration> {
        if context.retries >= self.max_retries || is_permanent(context.result) {
            return None;
        }
        let retry = context.retries.saturating_add(1);
        context.backoff = self.backoff.delay(retry, random);
        context.default_delay = self.default_delay(context, now);
        match &self.decide {
            Some(decide) => decide(context),
            None => context.default_delay,
        }
    }

    fn default_delay(&self, context: &RetryContext<'_>, now: SystemTime) -> Option<Duration> {
        if !self.may_succeed(context.result) || !is_safe(context) {
            return None;
        }
        let lower_bound = context
            .response()
            .and_then(|response| retry_after(response.headers(), now))
            .unwrap_or_default();
        (lower_bound <= self.retry_after_max).then(|| lower_bound.max(context.backoff))
    }

    /// Whether a further attempt may succeed.
    fn may_succeed(&self, result: Result<&Response, &Error>) -> bool {
        match result {
            Ok(response) => self.statuses.contains(&response.status()),
            Err(error) if error.kind() == ErrorKind::Sink => self.sink_errors,
            Err(error) => error.is_retryable(),
        }
    }
}

/// Whether a further attempt would fail in the same way, or the state of the job is unknown.
fn is_permanent(result: Result<&Response, &Error>) -> bool {
    use ErrorKind::*;

    result.is_err_and(|error| {
        matches!(
            error.kind(),
            InvalidRequest | Tls | Redirect | BodyTooLarge | Panicked | Cancelled | Interrupted
        )
    })
}

/// Whether the request can be sent again without doing twice what should be done once.
fn is_safe(context: &RetryContext<'_>) -> bool {
    let was_sent = match context.result {
        Ok(_) => true,
        Err(error) => error.was_sent(),
    };
    !was_sent || context.request.is_idempotent()
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_retries,
            backoff,
            statuses,
            retry_after_max,
            budget,
            sink_errors,
            decide,
        } = self;
        f.debug_struct("Retry")
            .field("max_retries", max_retries)
            .field("backoff", backoff)
            .field("statuses", &statuses.len())
            .field("retry_after_max", retry_after_max)
            .field("budget", budget)
            .field("sink_errors", sink_errors)
            .field("decide", &decide.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
