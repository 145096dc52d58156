//! Why a pool cannot be built, [`PoolError`], or does not accept a job, [`SubmitError`].

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error::BoxError;
use crate::redact::{SafeUrl, Truncated};
use crate::request::RequestSpec;

/// Why a pool could not be built.
#[derive(Clone)]
#[non_exhaustive]
pub enum PoolError {
    /// `num_threads(0)` was asked for.
    NoThreads,
    /// `window(0)` was asked for.
    NoWindow,
    /// The [`Limits`](crate::Limits) are invalid: a rate of 0, or an invalid origin.
    Limits(String),
    /// [`allow_origin`](crate::PoolBuilder::allow_origin) was given an invalid origin.
    AllowedOrigin(String),
    /// The operating system could not start the thread of the first worker.
    Spawn(Arc<io::Error>),
    /// The first worker could not build its session: the session's constructor, the initializer, the auth generator or
    /// the transport's builder failed or panicked, or they do not fit together.
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
            Self::NoWindow => f.write_str("a window needs room for at least one job; window was 0"),
            Self::Limits(message) => write!(f, "invalid rate limits: {}", Truncated(message)),
            Self::AllowedOrigin(message) => {
                write!(f, "cannot allow an origin: {}", Truncated(message))
            }
            Self::Spawn(error) => write!(f, "could not start the first worker's thread: {error}"),
            Self::Session(source) => write!(f, "could not build a session: {}", Truncated(source)),
        }
    }
}

impl fmt::Debug for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::NoThreads => "NoThreads",
            Self::NoWindow => "NoWindow",
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
            Self::NoThreads | Self::NoWindow | Self::Limits(_) | Self::AllowedOrigin(_) => None,
        }
    }
}

/// A request that a pool did not accept: because its intake is closed, because it was cancelled or dropped, or because
/// no worker could be started for it.
#[derive(Clone)]
pub struct SubmitError {
    request: Box<RequestSpec>,
    source: Option<Arc<io::Error>>,
}

impl SubmitError {
    pub(crate) fn new(request: RequestSpec) -> Self {
        Self {
            request: Box::new(request),
            source: None,
        }
    }

    pub(crate) fn without_worker(request: RequestSpec, error: io::Error) -> Self {
        Self {
            request: Box::new(request),
            source: Some(Arc::new(error)),
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

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.source {
            None => "the pool takes no more jobs",
            Some(_) => "no worker could be started",
        };
        let method = Truncated(self.request.method());
        let url = SafeUrl(self.request.url());
        write!(f, "{reason}; {method} {url} was not accepted")
    }
}

impl fmt::Debug for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, source } = self;
        f.debug_struct("SubmitError")
            .field("request", request)
            .field("source", source)
            .finish()
    }
}

impl StdError for SubmitError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}
