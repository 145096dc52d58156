//! The [`Outcome`] of a job: [`ThreadResponse`], a response with its request, or [`ThreadException`], an error with its
//! request.

#[cfg(feature = "serde")]
mod data;

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant};

#[cfg(feature = "serde")]
pub(crate) use self::data::OutcomeData;
use crate::error::Error;
use crate::redact::{SafeUrl, Truncated};
use crate::request::RequestSpec;
use crate::response::Response;

/// The outcome of a job: a response or an exception. Yielded by iterating over a [`Pool`](crate::Pool), by
/// [`imap`](crate::imap()) and by [`imap_unordered`](crate::imap_unordered()).
///
/// What both kinds have is available without a `match`, through [`OutcomeExt`].
pub type Outcome = Result<ThreadResponse, ThreadException>;

/// What a response and an exception have in common, as methods of an [`Outcome`].
///
/// ```
/// use threaded::OutcomeExt;
///
/// let mut seconds = [0.0; 2];
/// for outcome in threaded::imap_unordered(["http:///no-host", "no URL"])? {
///     seconds[outcome.index()] = outcome.elapsed().as_secs_f64();
///     println!("{} after {} attempts", outcome.request().url(), outcome.attempts());
/// }
/// # Ok::<(), threaded::PoolError>(())
/// ```
///
/// It is implemented for [`Outcome`] alone.
pub trait OutcomeExt: sealed::Sealed {
    /// Returns the request, as it was submitted.
    fn request(&self) -> &RequestSpec;

    /// Returns the job's index in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    fn index(&self) -> usize;

    /// Returns the number of attempts that were made.
    fn attempts(&self) -> u32;

    /// Returns the time from the start of the first attempt to the outcome, without the time in the queue before it.
    fn elapsed(&self) -> Duration;

    /// Returns the time that the last attempt took.
    fn last_attempt_elapsed(&self) -> Duration;

    /// Converts into the request, without the response or the error.
    fn into_request(self) -> RequestSpec;
}

impl OutcomeExt for Outcome {
    fn request(&self) -> &RequestSpec {
        &info(self).request
    }

    fn index(&self) -> usize {
        info(self).index
    }

    fn attempts(&self) -> u32 {
        info(self).attempts
    }

    fn elapsed(&self) -> Duration {
        info(self).elapsed
    }

    fn last_attempt_elapsed(&self) -> Duration {
        info(self).last_attempt_elapsed
    }

    fn into_request(self) -> RequestSpec {
        match self {
            Ok(response) => response.into_parts().0,
            Err(exception) => exception.into_request(),
        }
    }
}

fn info(outcome: &Outcome) -> &JobInfo {
    match outcome {
        Ok(response) => &response.0.0,
        Err(exception) => &exception.0.info,
    }
}

mod sealed {
    /// Keeps [`OutcomeExt`](super::OutcomeExt) from being implemented elsewhere, so that methods can be added to it.
    pub trait Sealed {}

    impl Sealed for super::Outcome {}
}

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
/// assert!(thread_response.to_string().starts_with("GET http://test/: 200 OK, 6 bytes in "));
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

    /// Deserializes the body from JSON, like [`Response::json`], with an error that names the request.
    ///
    /// # Errors
    ///
    /// Returns an exception of kind [`ErrorKind::Decode`](crate::ErrorKind::Decode), with a copy of this response, if
    /// the body is not valid JSON, or does not match the type.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, ThreadException> {
        let (info, response) = &*self.0;
        response
            .json()
            .map_err(|error| ThreadException::new(info.clone(), error, Some(response.clone())))
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

/// One line: the method, the URL without its secrets, the status, the size of the body in bytes or the file that it was
/// saved to, and the [`elapsed`](ThreadResponse::elapsed) time.
impl fmt::Display for ThreadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", RequestName(self.request()), self.status())?;
        match (self.saved_to(), self.bytes().len()) {
            (Some(path), _) => write!(f, ", saved to {}", Truncated(path.display()))?,
            // The handler alone knows.
            (None, 0) if self.request().has_handler() => {}
            (None, 1) => f.write_str(", 1 byte")?,
            (None, length) => write!(f, ", {length} bytes")?,
        }
        write!(f, " in {:.1?}", self.elapsed())
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

    /// Returns the response, if there is one: where the error is of kind [`ErrorKind::Status`](crate::ErrorKind::Status),
    /// or comes from [`ThreadResponse::json`](ThreadResponse#method.json).
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
        write!(f, "{}: {}", RequestName(self.request()), self.error())?;
        match self.response().map(|response| response.status()) {
            // An error page is seldom JSON.
            Some(status) if !status.is_success() && self.status().is_none() => {
                write!(f, " (the status is {status})")
            }
            _ => Ok(()),
        }
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
    info(outcome).keeps_open
}

#[cfg(any(feature = "journal", feature = "redis"))]
pub(crate) fn request_mut(outcome: &mut Outcome) -> &mut RequestSpec {
    match outcome {
        Ok(response) => &mut response.0.0.request,
        Err(exception) => &mut exception.0.info.request,
    }
}

/// Displays the method and the URL of a request, without its secrets.
struct RequestName<'a>(&'a RequestSpec);

impl fmt::Display for RequestName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(request) = self;
        let (method, url) = (Truncated(request.method()), SafeUrl(request.url()));
        write!(f, "{method} {url}")
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
    /// Those of a job that no pool has accepted.
    pub(crate) fn without_attempt(request: RequestSpec) -> Self {
        Self {
            request,
            index: usize::MAX,
            attempts: 0,
            elapsed: Duration::ZERO,
            last_attempt_elapsed: Duration::ZERO,
            finished_at: Instant::now(),
            keeps_open: false,
        }
    }

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
