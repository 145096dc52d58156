//! What a job ends in: [`ThreadResponse`], a response with its job, or [`ThreadException`], an error with its job.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::redact::{Clipped, SafeUrl};
use crate::request::RequestSpec;
use crate::response::Response;

/// The outcome of a job.
pub(crate) type Outcome = Result<ThreadResponse, ThreadException>;

/// The outcome of a job that was answered: a [`Response`], which it can be used as, and the request that led to it.
///
/// ```
/// # use threaded::{Exchange, Pool, ResponseBody, Session};
/// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("[1, 2]")));
/// # let builder = Pool::builder().num_threads(1).session(move || Session::new(answer));
/// # let (mut responses, _) = builder.map(["http://test/"])?;
/// # let thread_response = responses.next().unwrap();
/// assert_eq!(thread_response.request().url(), "http://test/");
/// assert_eq!(thread_response.status(), 200);
/// assert_eq!(thread_response.text(), "[1, 2]");
/// # Ok::<(), threaded::PoolError>(())
/// ```
#[derive(Clone)]
pub struct ThreadResponse(Box<(JobInfo, Response)>);

impl ThreadResponse {
    pub(crate) fn new(info: JobInfo, response: Response) -> Self {
        Self(Box::new((info, response)))
    }

    pub(crate) fn finished_at(&self) -> Instant {
        self.0.0.finished_at
    }

    /// The request, as it was handed over.
    pub fn request(&self) -> &RequestSpec {
        &self.0.0.request
    }

    /// The response.
    pub fn response(&self) -> &Response {
        &self.0.1
    }

    /// The job's number in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.0.index
    }

    /// How many attempts were made, this one included.
    pub fn attempts(&self) -> u32 {
        self.0.0.attempts
    }

    /// The time from when a worker first took the job to its outcome. Waiting in the queue before does not count.
    pub fn elapsed(&self) -> Duration {
        self.0.0.elapsed
    }

    /// The time from when a worker took the job for the last attempt to its outcome.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.0.last_attempt_elapsed
    }

    /// Request and response.
    pub fn into_parts(self) -> (RequestSpec, Response) {
        let (info, response) = *self.0;
        (info.request, response)
    }

    /// Takes a 4xx or 5xx for a failure.
    ///
    /// # Errors
    ///
    /// An exception with [`ErrorKind::Status`](crate::ErrorKind::Status) that has this response.
    pub fn error_for_status(self) -> Result<Self, ThreadException> {
        match self.response().failed_status() {
            None => Ok(self),
            Some(error) => {
                let (info, response) = *self.0;
                Err(ThreadException::new(info, error, Some(response)))
            }
        }
    }
}

impl Deref for ThreadResponse {
    type Target = Response;

    fn deref(&self) -> &Response {
        self.response()
    }
}

impl fmt::Debug for ThreadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(parts) = self;
        let (info, response) = &**parts;
        info.show(&mut f.debug_struct("ThreadResponse"))
            .field("response", response)
            .finish()
    }
}

/// The outcome of a job without a usable answer: an [`Error`], which it can be used as, and the request that led to it.
///
/// It converts into that request, so it can be handed to a pool again:
/// [`Pool::from_exceptions`](crate::Pool::from_exceptions).
///
/// ```
/// use threaded::ErrorKind;
///
/// let (_, mut exceptions) = threaded::map(["http:///no-host"])?;
/// let exception = exceptions.next().unwrap();
/// assert_eq!(exception.kind(), ErrorKind::InvalidRequest);
/// assert!(!exception.was_sent());
/// assert_eq!(exception.into_request().url(), "http:///no-host");
/// # Ok::<(), threaded::PoolError>(())
/// ```
#[derive(Clone)]
pub struct ThreadException(Box<Parts>);

#[derive(Clone)]
struct Parts {
    info: JobInfo,
    error: Error,
    response: Option<Response>,
}

impl ThreadException {
    pub(crate) fn new(info: JobInfo, error: Error, response: Option<Response>) -> Self {
        Self(Box::new(Parts {
            info,
            error,
            response,
        }))
    }

    pub(crate) fn finished_at(&self) -> Instant {
        self.0.info.finished_at
    }

    /// The request, as it was handed over.
    pub fn request(&self) -> &RequestSpec {
        &self.0.info.request
    }

    /// What went wrong.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// The response, if there was one: that of an [`ErrorKind::Status`](crate::ErrorKind::Status).
    pub fn response(&self) -> Option<&Response> {
        self.0.response.as_ref()
    }

    /// The job's number in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.info.index
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        self.0.info.attempts
    }

    /// The time from when a worker first took the job to its outcome. Waiting in the queue before does not count.
    pub fn elapsed(&self) -> Duration {
        self.0.info.elapsed
    }

    /// The time from when a worker took the job for the last attempt to its outcome.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.info.last_attempt_elapsed
    }

    /// Request, error, and the response if there was one.
    pub fn into_parts(self) -> (RequestSpec, Error, Option<Response>) {
        let Parts {
            info,
            error,
            response,
        } = *self.0;
        (info.request, error, response)
    }

    /// The request, to be sent again or mended.
    pub fn into_request(self) -> RequestSpec {
        self.0.info.request
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
            info,
            error,
            response,
        } = &**parts;
        info.show(&mut f.debug_struct("ThreadException"))
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

/// The request that led to the exception, to be sent again.
impl From<ThreadException> for RequestSpec {
    fn from(exception: ThreadException) -> Self {
        exception.into_request()
    }
}

/// A job that is over.
#[derive(Clone)]
pub(crate) struct JobInfo {
    pub(crate) request: RequestSpec,
    pub(crate) index: usize,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) last_attempt_elapsed: Duration,
    /// Puts outcomes that come over two lanes into one order.
    pub(crate) finished_at: Instant,
}

impl JobInfo {
    pub(crate) fn show<'a, 'b, 'c>(
        &self,
        shown: &'a mut fmt::DebugStruct<'b, 'c>,
    ) -> &'a mut fmt::DebugStruct<'b, 'c> {
        let Self {
            request,
            index,
            attempts,
            elapsed,
            last_attempt_elapsed,
            finished_at: _,
        } = self;
        shown
            .field("request", request)
            .field("index", index)
            .field("attempts", attempts)
            .field("elapsed", elapsed)
            .field("last_attempt_elapsed", last_attempt_elapsed)
    }
}
