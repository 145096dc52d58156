//! Why [`fetch`](crate::fetch()) has no response: [`FetchError`].

use crate::outcome::ThreadException;
use crate::pool::PoolError;

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
