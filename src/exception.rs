//! What went wrong: [`ThreadException`], an error with the job that it ended.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::outcome::Record;
use crate::redact::{Clipped, SafeUrl};
use crate::request::RequestSpec;
use crate::response::Response;

/// The outcome of a job without a usable answer: an [`Error`], which it can be used as, and the request that led to it.
///
/// It converts into that request, so it can be handed to a pool again:
/// [`Pool::from_exceptions`](crate::Pool::from_exceptions).
///
/// ```
/// use threaded::Error;
///
/// let (_, mut exceptions) = threaded::map(["http:///no-host"])?;
/// let exception = exceptions.next().unwrap();
/// assert!(matches!(exception.error(), Error::InvalidRequest { .. }));
/// assert!(!exception.was_sent());
/// assert_eq!(exception.into_request().url(), "http:///no-host");
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub struct ThreadException(Box<Parts>);

struct Parts {
    record: Record,
    error: Error,
    response: Option<Response>,
}

impl ThreadException {
    pub(crate) fn new(record: Record, error: Error, response: Option<Response>) -> Self {
        Self(Box::new(Parts {
            record,
            error,
            response,
        }))
    }

    pub(crate) fn finished_at(&self) -> Instant {
        self.0.record.finished_at
    }

    pub(crate) fn into_record(self) -> (Record, Error) {
        (self.0.record, self.0.error)
    }

    /// The request, as it was handed over.
    pub fn request(&self) -> &RequestSpec {
        &self.0.record.request
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// The response, if there was one: that of an [`Error::Status`].
    pub fn response(&self) -> Option<&Response> {
        self.0.response.as_ref()
    }

    /// The job's number in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.record.index
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.0.record.attempts
    }

    /// The time from when a worker first took the job to its outcome. Waiting in the queue before does not count.
    pub fn elapsed(&self) -> Duration {
        self.0.record.elapsed
    }

    /// The time from when a worker took the job for the last attempt to its outcome.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.record.last_attempt_elapsed
    }

    /// Request, error, and the response if there was one.
    pub fn into_parts(self) -> (RequestSpec, Error, Option<Response>) {
        let Parts {
            record,
            error,
            response,
        } = *self.0;
        (record.request, error, response)
    }

    /// The request, to be sent again or mended.
    pub fn into_request(self) -> RequestSpec {
        self.0.record.request
    }
}

impl Deref for ThreadException {
    type Target = Error;

    fn deref(&self) -> &Error {
        self.error()
    }
}

/// One line: method, URL without its secrets, and what went wrong.
impl fmt::Display for ThreadException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request();
        let (method, url) = (Clipped(request.method()), SafeUrl(request.url()));
        write!(f, "{method} {url}: {}", self.error())
    }
}

impl fmt::Debug for ThreadException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(parts) = self;
        let Parts {
            record,
            error,
            response,
        } = &**parts;
        record
            .show(&mut f.debug_struct("ThreadException"))
            .field("error", error)
            .field("response", response)
            .finish()
    }
}

impl std::error::Error for ThreadException {
    /// The source of the [`Error`], which itself is what this displays.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}
