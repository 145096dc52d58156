//! Why there is no pool, [`PoolError`], or a pool does not take a job, [`SubmitError`].

use std::fmt;
use std::io;

use crate::error::BoxError;
use crate::redact::{Clipped, SafeUrl};
use crate::request::RequestSpec;

/// Why a pool could not be made.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// `num_threads(0)` was asked for.
    #[error("a pool needs at least one thread; num_threads was 0")]
    NoThreads,
    /// `window(0)` was asked for.
    #[error("a window needs room for at least one job; window was 0")]
    NoWindow,
    /// The [`Limits`](crate::Limits) hold what cannot be kept to: a rate of 0, an origin that is none.
    #[error("the limits cannot be kept to: {}", Clipped(.0))]
    Limits(String),
    /// What [`allow_origin`](crate::PoolBuilder::allow_origin) was given is no origin.
    #[error("cannot allow an origin: {}", Clipped(.0))]
    AllowedOrigin(String),
    /// The operating system gave no thread for the first worker.
    #[error("could not start the first worker's thread: {0}")]
    Spawn(#[source] io::Error),
    /// The first worker could not build its session: the session's constructor, the initializer, the auth generator or
    /// the transport's builder failed or panicked, or they do not fit together.
    #[error("could not build a session: {}", Clipped(.0))]
    Session(#[source] BoxError),
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

/// A request that a pool did not accept: because its intake is closed, because it was cancelled or has gone, or because no
/// worker could be started for it.
#[derive(thiserror::Error)]
#[error(
    "{}; {} {} was not accepted",
    match .source { None => "the pool takes no more jobs", Some(_) => "no worker could be started" },
    Clipped(.request.method()),
    SafeUrl(.request.url())
)]
pub struct SubmitError {
    request: Box<RequestSpec>,
    source: Option<io::Error>,
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
            source: Some(error),
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

impl fmt::Debug for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { request, source } = self;
        f.debug_struct("SubmitError")
            .field("request", request)
            .field("source", source)
            .finish()
    }
}
