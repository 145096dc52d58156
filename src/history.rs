//! The redirect hops that have led to a response.

use std::fmt;

use http::StatusCode;
use url::Url;

use crate::redact::SafeUrl;

/// One redirect hop: the URL that was requested, and the 3xx status that redirected it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedirectHop {
    url: Url,
    status: StatusCode,
}

impl RedirectHop {
    pub(crate) fn new(url: Url, status: StatusCode) -> Self {
        Self { url, status }
    }

    /// Returns the URL that was requested, without user info.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Debug for RedirectHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, status } = self;
        f.debug_struct("RedirectHop")
            .field("url", &SafeUrl(url.as_str()))
            .field("status", status)
            .finish()
    }
}
