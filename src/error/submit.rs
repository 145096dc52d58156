//! Why a job was not accepted: [`SubmitError`].

use std::fmt;
use std::io;

use crate::redact::{Clipped, SafeUrl};
use crate::request::RequestSpec;

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
