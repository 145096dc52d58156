//! One request on its way to a transport: [`Exchange`].

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::error::Error;
use crate::redact::{DebugTruncated, HeaderNames, SafeUrl};
use crate::request::{OpenBody, RequestBody};

/// One request as it is to be sent.
///
/// The headers are complete but for what the wire itself asks for: `Host`, `Content-Length`, `Transfer-Encoding`.
pub struct Exchange<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<&'a RequestBody>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) stall_timeout: Option<Duration>,
}

impl<'a> Exchange<'a> {
    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Where to send it: http or https, without user info. Its fragment is not for the wire.
    pub fn url(&self) -> &'a Url {
        self.url
    }

    /// The headers, those of the session and the crate included.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Takes the headers out, for a transport that wants to own them.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// The body, if there is one.
    pub fn body(&self) -> Option<&'a RequestBody> {
        self.body
    }

    /// What is to follow the head, if anything: the body, or that there is none.
    pub(crate) fn content(&self) -> Result<Option<OpenBody>, Error> {
        match self.body {
            Some(body) => body.open_to_send().map(Some),
            // These say so; servers answer 411 otherwise (RFC 9110, section 8.6).
            None if matches!(*self.method, Method::POST | Method::PUT | Method::PATCH) => {
                Ok(Some(OpenBody::Bytes(Bytes::new())))
            }
            None => Ok(None),
        }
    }

    /// When the exchange must be over, to the last byte of the response body; `None` is no limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The longest wait for the head, and for each further piece of the body, of an exchange without a
    /// [`deadline`](Self::deadline); `None` is no limit.
    pub fn stall_timeout(&self) -> Option<Duration> {
        self.stall_timeout
    }

    /// The time that is left until the [`deadline`](Self::deadline), zero if it has passed.
    pub fn timeout(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }
}

impl fmt::Debug for Exchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            url,
            headers,
            body,
            deadline: _,
            stall_timeout: _,
        } = self;
        f.debug_struct("Exchange")
            .field("method", &DebugTruncated(method))
            .field("url", &SafeUrl(url.as_str()))
            .field("headers", &HeaderNames(headers))
            .field("body", body)
            .field("timeout", &self.timeout())
            .finish()
    }
}

/// Without TLS, the libraries would complain of the scheme, which is not what must be mended.
pub(crate) fn check_tls_is_built_in(url: &Url) -> Result<(), Error> {
    if cfg!(any(feature = "default-tls", feature = "native-tls")) || url.scheme() != "https" {
        return Ok(());
    }
    Err(Error::invalid_request(
        "https URLs need the feature `default-tls` or `native-tls` of reqwest-threaded",
    ))
}
