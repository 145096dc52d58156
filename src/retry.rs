//! When to try again, and after how long: [`Retry`]. It decides and never waits; clock and chance are handed to it.

mod after;
mod backoff;
mod budget;
mod tried;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;

pub(crate) use self::after::cool_down;
use self::after::wait as retry_after;
use self::backoff::Backoff;
pub(crate) use self::budget::Budget;
use self::budget::Terms;
pub use self::tried::Tried;
use crate::error::{Error, ErrorKind};
use crate::response::Response;

/// Which attempts are repeated, and after how long. Given to [`PoolBuilder::retry`](crate::PoolBuilder::retry).
///
/// A job that is to be tried again waits in the queue, not on a worker: the workers go on with others. It keeps its place in
/// the [`window`](crate::PoolBuilder::window) of a lazy run, though. When no further
/// attempt is made, the job ends as what the last one was: a response stays a response, an error an exception.
///
/// # What is repeated
///
/// An attempt is repeated if that may help:
///
/// - after an error that [`is_retryable`](crate::Error::is_retryable): no connection, closed or reset, timed out, body cut
///   off. Files start afresh, and handlers are called again, also for the bodies of responses that are repeated;
/// - after a response with one of the [`statuses`](Self::statuses), by default 408, 429, 500, 502, 503 and 504;
///
/// and if it can do no harm:
///
/// - the request [is idempotent](crate::RequestSpec::is_idempotent), by its method or because it was said to be; or
/// - no server can have seen it ([`was_sent`](crate::Error::was_sent) is `false`); or
/// - it has a header `Idempotency-Key`, by which the server knows the repetition for what it is.
///
/// Never repeated is what would end the same way again: an invalid request, a certificate that is not trusted, a redirect
/// that cannot be followed, a body that is too large; nor a panic.
///
/// # How long it waits
///
/// A random time between 0 and a ceiling that doubles with each attempt ([`backoff`](Self::backoff)), so that clients that
/// failed together do not come back together. A `Retry-After` of the response (RFC 9110, section 10.2.3) is a lower bound
/// for it. One beyond [`retry_after_max`](Self::retry_after_max) or the run's
/// [`deadline`](crate::PoolBuilder::deadline) ends the job at once with that response.
///
/// # How many there are in all
///
/// Beside the number for each job there is a [`budget`](Self::budget) for the pool, so that a server that breaks down is not
/// hit with several times the load.
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
pub struct Retry {
    most: u32,
    backoff: Backoff,
    statuses: Vec<StatusCode>,
    retry_after_max: Duration,
    budget: Option<Terms>,
    after_sink_errors: bool,
    decide: Option<Arc<Decide>>,
}

type Decide = dyn Fn(&Tried<'_>) -> Option<Duration> + Send + Sync;

const STATUSES: [StatusCode; 6] = [
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

impl Retry {
    /// At most so many further attempts for each job, beyond the first one.
    pub fn new(retries: u32) -> Self {
        Self {
            most: retries,
            backoff: Backoff::default(),
            statuses: STATUSES.to_vec(),
            retry_after_max: Duration::from_secs(60),
            budget: Some(Terms::default()),
            after_sink_errors: false,
            decide: None,
        }
    }

    /// The wait before the first repetition is at most `base`, before each further one at most twice as much as before,
    /// and never more than `cap`. Defaults to 200 ms and 10 s.
    pub fn backoff(mut self, base: Duration, cap: Duration) -> Self {
        self.backoff = Backoff::new(base, cap);
        self
    }

    /// The statuses after which an attempt is repeated, in place of those before. Defaults to 408, 429, 500, 502, 503, 504.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// The longest `Retry-After` to wait for. A longer one ends the job at once with the response that it came with.
    /// Defaults to 60 s.
    pub fn retry_after_max(mut self, longest: Duration) -> Self {
        self.retry_after_max = longest;
        self
    }

    /// How many repetitions the whole pool may make: a reserve that begins with `reserve` of them, is spent by each
    /// repetition, and is refilled by each job by `percent` hundredths, up to where it began. So there are at most
    /// `percent` % more attempts than jobs, beyond the reserve. When it is spent, jobs end with what their attempt was.
    /// Defaults to 20 and 100.
    pub fn budget(mut self, percent: u32, reserve: u32) -> Self {
        self.budget = Some(Terms { percent, reserve });
        self
    }

    /// Lifts the [`budget`](Self::budget): only the number for each job counts.
    pub fn no_budget(mut self) -> Self {
        self.budget = None;
        self
    }

    /// Whether an attempt is repeated whose body could not be saved or whose handler failed
    /// ([`ErrorKind::Sink`](crate::ErrorKind::Sink)). Defaults to `false`.
    pub fn sink_errors(mut self, repeat: bool) -> Self {
        self.after_sink_errors = repeat;
        self
    }

    /// Lets a closure decide instead: it is told of each attempt, good or bad, and returns how long to wait before the next
    /// one, or `None` to let this one stand. [`Tried::proposal`] is what would be decided without it.
    ///
    /// The number for each job, the budget, the run's deadline, and what is never repeated stay as they are; harm is the
    /// closure's to think of. It is called on the workers' threads. If it panics, the job ends as
    /// [`ErrorKind::Panicked`](crate::ErrorKind::Panicked). Defaults to the rules above.
    ///
    /// ```
    /// use threaded::{Retry, Tried};
    ///
    /// // A job queue that says 202 until the result is there.
    /// let retry = Retry::new(50).no_budget().decide(|tried: &Tried<'_>| match tried.response() {
    ///     Some(response) if response.status() == 202 => Some(tried.backoff()),
    ///     _ => tried.proposal(),
    /// });
    /// # let _ = retry;
    /// ```
    pub fn decide<F>(mut self, decide: F) -> Self
    where
        F: Fn(&Tried<'_>) -> Option<Duration> + Send + Sync + 'static,
    {
        self.decide = Some(Arc::new(decide));
        self
    }

    /// The account of a pool that works by this policy; `None` if it is not bound by one.
    pub(crate) fn open_budget(&self) -> Option<Budget> {
        self.budget.map(Budget::new)
    }

    /// How long to wait before the next attempt, if there is to be one. `chance` is at least 0 and below 1.
    pub(crate) fn delay(
        &self,
        tried: &mut Tried<'_>,
        now: SystemTime,
        chance: f64,
    ) -> Option<Duration> {
        if tried.retries >= self.most || is_final(tried.outcome) {
            return None;
        }
        tried.backoff = self.backoff.delay(tried.retries.saturating_add(1), chance);
        tried.proposal = self.proposal(tried, now);
        match &self.decide {
            Some(decide) => decide(tried),
            None => tried.proposal,
        }
    }

    fn proposal(&self, tried: &Tried<'_>, now: SystemTime) -> Option<Duration> {
        if !self.may_help(tried.outcome) || !may_be_repeated(tried) {
            return None;
        }
        let asked_for = tried
            .response()
            .and_then(|response| retry_after(response.headers(), now))
            .unwrap_or_default();
        (asked_for <= self.retry_after_max).then(|| asked_for.max(tried.backoff))
    }

    fn may_help(&self, outcome: Result<&Response, &Error>) -> bool {
        match outcome {
            Ok(response) => self.statuses.contains(&response.status()),
            Err(error) if error.kind() == ErrorKind::Sink => self.after_sink_errors,
            Err(error) => error.is_retryable(),
        }
    }
}

/// Whether it would end the same way again, or it is unknown what has happened.
fn is_final(outcome: Result<&Response, &Error>) -> bool {
    use ErrorKind::*;

    outcome.is_err_and(|error| {
        matches!(
            error.kind(),
            InvalidRequest | Tls | Redirect | BodyTooLarge | Panicked | Cancelled
        )
    })
}

fn may_be_repeated(tried: &Tried<'_>) -> bool {
    let was_sent = match tried.outcome {
        Ok(_) => true,
        Err(error) => error.was_sent(),
    };
    !was_sent
        || tried.request.is_idempotent()
        || tried.request.header_map().contains_key("idempotency-key")
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            most,
            backoff,
            statuses,
            retry_after_max,
            budget,
            after_sink_errors,
            decide,
        } = self;
        f.debug_struct("Retry")
            .field("retries", most)
            .field("backoff", backoff)
            .field("statuses", &statuses.len())
            .field("retry_after_max", retry_after_max)
            .field("budget", budget)
            .field("sink_errors", after_sink_errors)
            .field("decide", &decide.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests;
