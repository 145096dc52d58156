//! The `Host` of requests.

use http::HeaderValue;
use url::{Position, Url};

/// The host that was asked last. ureq would write the same value anew for each request.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownHost(Option<HeaderValue>);

impl KnownHost {
    /// The value of `Host` for this URL (RFC 9110, section 7.2). `None` if it cannot be one.
    pub(super) fn of(&mut self, url: &Url) -> Option<HeaderValue> {
        let host = &url[Position::BeforeHost..Position::AfterPort];
        if self.0.as_ref().is_none_or(|known| known != host) {
            self.0 = HeaderValue::from_str(host).ok();
        }
        self.0.clone()
    }
}
