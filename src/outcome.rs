//! The outcome of a job: [`ThreadResponse`], a response with its request, or [`ThreadException`], an error with its
//! request.

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::redact::{SafeUrl, Truncated};
use crate::request::RequestSpec;
use crate::response::Response;

/// The outcome of a job.
pub(crate) type Outcome = Result<ThreadResponse, ThreadException>;

/// The outcome of a job that has received a response: a [`Response`], to which it dereferences, and its request.
///
/// ```
/// # use threaded::{Exchange, Pool, ResponseBody, Session};
/// # let stub = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("[1, 2]")));
/// # let builder = Pool::builder().num_threads(1).session(move || Session::new(stub));
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

    /// Returns the request, as it was submitted.
    pub fn request(&self) -> &RequestSpec {
        &self.0.0.request
    }

    /// Returns the response.
    pub fn response(&self) -> &Response {
        &self.0.1
    }

    /// Returns the job's index in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.0.index
    }

    /// Returns the number of attempts that were made.
    pub fn attempts(&self) -> u32 {
        self.0.0.attempts
    }

    /// Returns the time from the start of the first attempt to the outcome, without the time in the queue before it.
    pub fn elapsed(&self) -> Duration {
        self.0.0.elapsed
    }

    /// Returns the time that the last attempt took.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.0.last_attempt_elapsed
    }

    /// Converts into the response, without the request.
    pub fn into_response(self) -> Response {
        self.0.1
    }

    /// Converts into the request and the response.
    pub fn into_parts(self) -> (RequestSpec, Response) {
        let (info, response) = *self.0;
        (info.request, response)
    }

    /// Turns a 4xx or 5xx into an exception.
    ///
    /// # Errors
    ///
    /// Returns an exception of kind [`ErrorKind::Status`](crate::ErrorKind::Status), with this response, if the status
    /// is 4xx or 5xx.
    pub fn error_for_status(self) -> Result<Self, ThreadException> {
        match self.response().status_error() {
            None => Ok(self),
            Some(error) => {
                let (info, response) = *self.0;
                Err(ThreadException::new(info, error, Some(response)))
            }
        }
    }
}

/// The same as [`ThreadResponse::into_response`].
impl From<ThreadResponse> for Response {
    fn from(response: ThreadResponse) -> Self {
        response.into_response()
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
        info.add_fields(&mut f.debug_struct("ThreadResponse"))
            .field("response", response)
            .finish()
    }
}

/// The outcome of a job without a usable response: an [`Error`], to which it dereferences, and its request.
///
/// It converts into that request, so that it can be submitted again:
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

    /// Returns the request, as it was submitted.
    pub fn request(&self) -> &RequestSpec {
        &self.0.info.request
    }

    /// Returns the error.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// Returns the response, if the error is of kind [`ErrorKind::Status`](crate::ErrorKind::Status).
    pub fn response(&self) -> Option<&Response> {
        self.0.response.as_ref()
    }

    /// Returns the job's index in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.info.index
    }

    /// Returns the number of attempts that were made.
    pub fn attempts(&self) -> u32 {
        self.0.info.attempts
    }

    /// Returns the time from the start of the first attempt to the outcome, without the time in the queue before it.
    pub fn elapsed(&self) -> Duration {
        self.0.info.elapsed
    }

    /// Returns the time that the last attempt took.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.info.last_attempt_elapsed
    }

    /// Converts into the request, the error, and the response if there is one.
    pub fn into_parts(self) -> (RequestSpec, Error, Option<Response>) {
        let Parts {
            info,
            error,
            response,
        } = *self.0;
        (info.request, error, response)
    }

    /// Converts into the request, to fix it or to send it again.
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

/// One line: the method, the URL without its secrets, and the error.
impl fmt::Display for ThreadException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request();
        let (method, url) = (Truncated(request.method()), SafeUrl(request.url()));
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
        info.add_fields(&mut f.debug_struct("ThreadException"))
            .field("error", error)
            .field("response", response)
            .finish()
    }
}

impl std::error::Error for ThreadException {
    /// Returns the source of the [`Error`]. The error itself is part of the `Display` output.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}

/// The request, to send it again.
impl From<ThreadException> for RequestSpec {
    fn from(exception: ThreadException) -> Self {
        exception.into_request()
    }
}

/// Marks an outcome that keeps the pool's work open until its reader asks for the next one.
pub(crate) fn keep_open(outcome: &mut Outcome) {
    match outcome {
        Ok(response) => response.0.0.keeps_open = true,
        Err(exception) => exception.0.info.keeps_open = true,
    }
}

pub(crate) fn keeps_open(outcome: &Outcome) -> bool {
    match outcome {
        Ok(response) => response.0.0.keeps_open,
        Err(exception) => exception.0.info.keeps_open,
    }
}

/// The facts about a finished job.
#[derive(Clone)]
pub(crate) struct JobInfo {
    pub(crate) request: RequestSpec,
    pub(crate) index: usize,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) last_attempt_elapsed: Duration,
    /// Orders outcomes that arrive over two channels.
    pub(crate) finished_at: Instant,
    /// Whether the outcome keeps the pool's work open until its reader asks for the next one.
    pub(crate) keeps_open: bool,
}

impl JobInfo {
    pub(crate) fn add_fields<'a, 'b, 'c>(
        &self,
        debug: &'a mut fmt::DebugStruct<'b, 'c>,
    ) -> &'a mut fmt::DebugStruct<'b, 'c> {
        let Self {
            request,
            index,
            attempts,
            elapsed,
            last_attempt_elapsed,
            finished_at: _,
            keeps_open: _,
        } = self;
        debug
            .field("request", request)
            .field("index", index)
            .field("attempts", attempts)
            .field("elapsed", elapsed)
            .field("last_attempt_elapsed", last_attempt_elapsed)
    }
}
