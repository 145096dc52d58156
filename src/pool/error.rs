//! Why a pool cannot be built, [`PoolError`], or does not accept a job, [`SubmitError`]; and why [`fetch`](crate::fetch())
//! has no response, [`FetchError`].

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::shutdown::ShutdownMode;
use crate::error::{BoxError, Error};
use crate::outcome::{JobInfo, ThreadException};
use crate::redact::{SafeUrl, Truncated};
use crate::request::RequestSpec;

/// Why a pool could not be built.
#[derive(Clone)]
#[non_exhaustive]
pub enum PoolError {
    /// `num_threads(0)` was asked for.
    NoThreads,
    /// `concurrency(0)` was asked for.
    NoConcurrency,
    /// `window(0)` was asked for.
    NoWindow,
    /// `max_unread(0)` was asked for.
    NoUnread,
    /// The [`Limits`](crate::Limits) are invalid: a rate or burst of 0, no request in flight, or an invalid origin.
    Limits(String),
    /// [`allow_origin`](crate::PoolBuilder::allow_origin) was given an invalid origin.
    AllowedOrigin(String),
    /// The operating system could not start a thread: of the first worker, of the deadline, or of the intake.
    Spawn(Arc<io::Error>),
    /// The first worker could not build its session: the session's constructor, the initializer, the auth generator or
    /// the transport's builder failed or panicked, or one of them was set before
    /// [`session`](crate::PoolBuilder::session).
    Session(Arc<dyn StdError + Send + Sync>),
}

impl PoolError {
    pub(crate) fn spawn(error: io::Error) -> Self {
        Self::Spawn(Arc::new(error))
    }

    pub(crate) fn session(source: impl Into<BoxError>) -> Self {
        Self::Session(source.into().into())
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThreads => f.write_str("a pool needs at least one thread; num_threads was 0"),
            Self::NoConcurrency => {
                f.write_str("a pool needs at least one request in flight; concurrency was 0")
            }
            Self::NoUnread => {
                f.write_str("a pool needs room for at least one outcome; max_unread was 0")
            }
            Self::NoWindow => f.write_str("a window needs room for at least one job; window was 0"),
            Self::Limits(message) => write!(f, "invalid rate limits: {}", Truncated(message)),
            Self::AllowedOrigin(message) => {
                write!(f, "cannot allow an origin: {}", Truncated(message))
            }
            Self::Spawn(error) => write!(f, "could not start a thread of the pool: {error}"),
            Self::Session(source) => write!(f, "could not build a session: {}", Truncated(source)),
        }
    }
}

impl fmt::Debug for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::NoThreads => "NoThreads",
            Self::NoConcurrency => "NoConcurrency",
            Self::NoWindow => "NoWindow",
            Self::NoUnread => "NoUnread",
            Self::Limits(_) => "Limits",
            Self::AllowedOrigin(_) => "AllowedOrigin",
            Self::Spawn(_) => "Spawn",
            Self::Session(_) => "Session",
        };
        write!(f, "{name}(\"{self}\")")
    }
}

// By hand: a derived `source` would be the `Arc`, which cannot be downcast to what is in it.
impl StdError for PoolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Spawn(error) => Some(&**error),
            Self::Session(source) => Some(&**source),
            Self::NoThreads
            | Self::NoConcurrency
            | Self::NoWindow
            | Self::NoUnread
            | Self::Limits(_)
            | Self::AllowedOrigin(_) => None,
        }
    }
}

/// A request that a pool did not accept: because its intake or its work had ended, or because no worker could be started
/// for it. Its message says which call has ended the pool's intake.
#[derive(Clone)]
pub struct SubmitError {
    request: Box<RequestSpec>,
    reason: Refusal,
}

#[derive(Clone)]
enum Refusal {
    Mode(ShutdownMode),
    NoWorker(Arc<io::Error>),
}

impl SubmitError {
    pub(super) fn closed(request: RequestSpec, mode: ShutdownMode) -> Self {
        Self {
            request: Box::new(request),
            reason: Refusal::Mode(mode),
        }
    }

    pub(super) fn without_worker(request: RequestSpec, error: io::Error) -> Self {
        Self {
            request: Box::new(request),
            reason: Refusal::NoWorker(Arc::new(error)),
        }
    }

    /// The request that was not accepted.
    pub fn request(&self) -> &RequestSpec {
        &self.request
    }

    /// Gives the request back.
    pub fn into_request(self) -> RequestSpec {
        *self.request
    }
}

/// The request that was not accepted.
impl From<SubmitError> for RequestSpec {
    fn from(error: SubmitError) -> Self {
        error.into_request()
    }
}

/// An exception with this request, as if the job had been accepted and cancelled at once: so that a function can use `?` on
/// [`spawn`](crate::Pool::spawn) and on the outcome. Its index is `usize::MAX`, since it has none.
///
/// ```
/// use threaded::{Pool, ThreadException, ThreadResponse};
///
/// fn item(pool: &Pool, number: u32) -> Result<ThreadResponse, ThreadException> {
///     pool.spawn(format!("https://api.example.com/items/{number}"))?.join()
/// }
/// # let stub = |_: threaded::Exchange<'_>| Ok(http::Response::new(threaded::ResponseBody::empty()));
/// # let pool = Pool::builder().session(move || threaded::Session::new(stub)).build()?;
/// # assert!(item(&pool, 1).is_ok());
/// # pool.close();
/// # assert!(item(&pool, 2).unwrap_err().to_string().contains("`close`"));
/// # Ok::<(), threaded::PoolError>(())
/// ```
impl From<SubmitError> for ThreadException {
    fn from(refused: SubmitError) -> Self {
        let error = match &refused.reason {
            Refusal::Mode(_) => Error::cancelled().with_source(refused.reason()),
            Refusal::NoWorker(error) => Error::local_resource(Arc::clone(error)),
        };
        let info = JobInfo::without_attempt(refused.into_request());
        Self::new(info, error, None)
    }
}

impl SubmitError {
    fn reason(&self) -> &'static str {
        match &self.reason {
            Refusal::Mode(ShutdownMode::Open | ShutdownMode::Draining) => {
                "the pool was joined or iterated over, and its work is over"
            }
            Refusal::Mode(ShutdownMode::Closed) => "the pool was closed, by `close`",
            Refusal::Mode(ShutdownMode::Returning) => "the pool was shut down, by `shutdown`",
            Refusal::Mode(ShutdownMode::Cancelled) => {
                "the pool was cancelled, by `cancel` or its deadline"
            }
            Refusal::Mode(ShutdownMode::Dropped) => "the pool was dropped",
            Refusal::NoWorker(_) => "no worker could be started",
        }
    }
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        let method = Truncated(self.request.method());
        let url = SafeUrl(self.request.url());
        write!(f, "{reason}; {method} {url} was not accepted")
    }
}

impl fmt::Debug for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SubmitError(\"{self}\")")
    }
}

impl StdError for SubmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.reason {
            Refusal::NoWorker(error) => Some(&**error),
            Refusal::Mode(_) => None,
        }
    }
}

/// Why [`fetch`](crate::fetch()) has no response.
///
/// `Display` and [`source`](std::error::Error::source) are those of the error inside.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub enum FetchError {
    /// The worker could not be started, so the request was not sent.
    Pool(#[from] PoolError),
    /// The request failed.
    Exception(#[from] ThreadException),
}

impl FetchError {
    /// Returns the exception, if it was the request that failed.
    ///
    /// ```
    /// let error = threaded::fetch("http:///no-host").unwrap_err();
    /// assert!(error.exception().is_some_and(|exception| !exception.was_sent()));
    /// ```
    pub fn exception(&self) -> Option<&ThreadException> {
        match self {
            Self::Exception(exception) => Some(exception),
            Self::Pool(_) => None,
        }
    }
}
