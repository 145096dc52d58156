//! The redirects that led to an answer.

use std::fmt;

use http::StatusCode;
use url::Url;

use crate::redact::SafeUrl;

/// One redirect: a request that was answered with a 3xx and a place to go on to.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectHop {
    url: Url,
    status: StatusCode,
}

impl RedirectHop {
    pub(crate) fn new(url: Url, status: StatusCode) -> Self {
        Self { url, status }
    }

    /// The URL that was requested, without user info.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The status that it was answered with.
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
