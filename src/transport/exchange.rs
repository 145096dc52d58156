//! One HTTP request as a transport gets it: [`Exchange`].

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::error::Error;
use crate::redact::{DebugTruncated, HeaderNames, SafeUrl};
use crate::request::{OpenBody, RequestBody};

/// One HTTP request for a [`Transport`](crate::Transport) to send.
///
/// The headers lack only those that the transport adds: `Host`, `Content-Length`, `Transfer-Encoding`, and
/// its own defaults.
///
/// The pool makes an exchange for each request and for each redirect hop. [`new`](Self::new) makes one by hand, to test a
/// transport without a pool:
///
/// ```
/// use threaded::{Exchange, RequestBody, ResponseBody, Transport};
/// use threaded::http::Method;
/// use threaded::url::Url;
///
/// let mut echo = |exchange: Exchange<'_>| {
///     let body = exchange.body().and_then(RequestBody::as_bytes).cloned();
///     Ok(http::Response::new(ResponseBody::from(body.unwrap_or_default())))
/// };
///
/// let (url, body) = (Url::parse("http://test/echo")?, RequestBody::from("hello"));
/// let response = echo.exchange(Exchange::new(&Method::POST, &url).with_body(&body))?;
/// assert_eq!(std::io::read_to_string(response.into_body())?, "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Exchange<'a> {
    pub(crate) method: &'a Method,
    pub(crate) url: &'a Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<&'a RequestBody>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) stall_timeout: Option<Duration>,
}

impl<'a> Exchange<'a> {
    /// A request without headers and without a body, and without limits on its time.
    pub fn new(method: &'a Method, url: &'a Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: None,
            deadline: None,
            stall_timeout: None,
        }
    }

    /// Sets the body. Defaults to none.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Option<&'a RequestBody>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the [`deadline`](Self::deadline). Defaults to none.
    #[must_use]
    pub fn with_deadline(mut self, deadline: impl Into<Option<Instant>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Sets the [`stall_timeout`](Self::stall_timeout). Defaults to none.
    #[must_use]
    pub fn with_stall_timeout(mut self, stall_timeout: impl Into<Option<Duration>>) -> Self {
        self.stall_timeout = stall_timeout.into();
        self
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URL: http or https, without user info. Its fragment is not sent.
    pub fn url(&self) -> &'a Url {
        self.url
    }

    /// The headers, including those of the session and those that the crate adds.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The headers, for a transport that changes them before it passes the exchange on to another transport.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// Takes the headers out, for a transport that needs to own them. None are left.
    pub fn take_headers(&mut self) -> HeaderMap {
        std::mem::take(&mut self.headers)
    }

    /// The body, if there is one.
    pub fn body(&self) -> Option<&'a RequestBody> {
        self.body
    }

    /// The content to send after the head, if any: the body, or an empty one.
    pub(crate) fn content(&self) -> Result<Option<OpenBody>, Error> {
        match self.body {
            Some(body) => body.open_to_send().map(Some),
            None if self.needs_content_length() => Ok(Some(OpenBody::Bytes(Bytes::new()))),
            None => Ok(None),
        }
    }

    /// Whether a request without content says so: servers respond to these methods with 411 otherwise (RFC 9110, section
    /// 8.6).
    pub(crate) fn needs_content_length(&self) -> bool {
        matches!(*self.method, Method::POST | Method::PUT | Method::PATCH)
    }

    /// When the exchange must have ended, including the whole response body. `None` means no limit.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The maximum wait for the response head, and then for each further piece of the body, of an exchange without a
    /// [`deadline`](Self::deadline). `None` means no limit.
    pub fn stall_timeout(&self) -> Option<Duration> {
        self.stall_timeout
    }

    /// The time left until the [`deadline`](Self::deadline), zero if it has passed. `None` without a deadline.
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

/// Without TLS, the libraries would report an unknown scheme, which is not what the user has to fix.
pub(crate) fn check_tls_is_built_in(url: &Url) -> Result<(), Error> {
    if cfg!(any(feature = "default-tls", feature = "native-tls")) || url.scheme() != "https" {
        return Ok(());
    }
    Err(Error::invalid_request(
        "https URLs need the feature `default-tls` or `native-tls` of reqwest-threaded",
    ))
}
