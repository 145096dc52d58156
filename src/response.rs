//! HTTP responses as data: [`Response`] and its head, [`ResponseHead`].

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use url::Url;

#[cfg(feature = "charset")]
use crate::charset;
use crate::error::Error;
use crate::headers;
use crate::history::RedirectHop;
use crate::origin;
use crate::redact::{DebugTruncated, HeaderNames, SafeUrl};

/// An HTTP response of any status, with its whole body, in memory unless the request says otherwise: plain data,
/// without a connection.
///
/// Reading does not consume it. Cloning does not copy the body.
///
/// Tests can create one from an `http::Response`:
///
/// ```
/// use threaded::{Response, http};
/// use url::Url;
///
/// let url = Url::parse("https://example.com/item")?;
/// let http_response = http::Response::builder().status(201).extension(url).body("created")?;
/// let response = Response::from(http_response);
/// assert_eq!((response.url().path(), response.text().as_ref()), ("/item", "created"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Response {
    /// Boxed, so that a response is small: it changes hands several times on its way to the caller.
    pub(crate) head: Box<ResponseHead>,
    pub(crate) body: Bytes,
    pub(crate) saved_to: Option<Arc<Path>>,
}

impl Response {
    /// Returns the head: everything except the body.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Returns the HTTP version of the response.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// Returns the headers, without `Content-Encoding` and `Content-Length` if the body was decoded.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the URL of this response, after all redirects, without user info.
    pub fn url(&self) -> &Url {
        &self.head.url
    }

    /// Returns the redirects that were followed, in order.
    pub fn history(&self) -> &[RedirectHop] {
        &self.head.history
    }

    /// Returns the address of the server or the proxy, if the transport knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.head.remote_addr
    }

    /// Returns the `Content-Length` that the server sent, if any: the size of the body in bytes before decoding. In the
    /// response to a HEAD request, it is the size that the body of a GET would have.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// Returns the file that the body was written to by [`RequestSpec::save_to`](crate::RequestSpec::save_to), if it
    /// was.
    pub fn saved_to(&self) -> Option<&Path> {
        self.saved_to.as_deref()
    }

    /// Returns the decoded body. It is empty in the response to a HEAD request, in a 204 or 304, and if the body went
    /// to a file or a handler.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// Returns the body as text. Invalid sequences are replaced by `\u{FFFD}`.
    ///
    /// The encoding is given by a byte order mark, otherwise by the `charset` of the `Content-Type`. It defaults to
    /// UTF-8. Without the feature `charset`, it is always UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        #[cfg(feature = "charset")]
        {
            let (text, _, _) = charset::encoding(&self.head.headers).decode(&self.body);
            text
        }
        #[cfg(not(feature = "charset"))]
        {
            String::from_utf8_lossy(&self.body)
        }
    }

    /// Deserializes the body from JSON. A byte order mark is passed over (RFC 8259, section 8.1), and with the feature
    /// `charset`, one of UTF-16 is obeyed.
    ///
    /// # Errors
    ///
    /// Returns an error of kind [`ErrorKind::Decode`](crate::ErrorKind::Decode) if the body is not valid JSON, or does
    /// not match the type.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        #[cfg(feature = "charset")]
        if charset::has_mark_of_utf_16(&self.body) {
            return serde_json::from_str(&self.text()).map_err(Error::decode);
        }
        let body = self.body.strip_prefix(b"\xef\xbb\xbf");
        serde_json::from_slice(body.unwrap_or(&self.body)).map_err(Error::decode)
    }

    /// Converts into the response type of the `http` crate, without the URL, the history and the address.
    pub fn into_http(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.head.status;
        *response.version_mut() = self.head.version;
        *response.headers_mut() = self.head.headers;
        response
    }

    /// Whether all redirects stayed within the origin of the request.
    pub(crate) fn never_left_origin(&self) -> bool {
        let mut hops = self.history().iter();
        hops.all(|hop| origin::same_origin(hop.url(), self.url()))
    }

    pub(crate) fn status_error(&self) -> Option<Error> {
        let status = self.status();
        (status.is_client_error() || status.is_server_error()).then(|| Error::from_status(status))
    }
}

/// The same as [`Response::into_http`].
impl From<Response> for http::Response<Bytes> {
    fn from(response: Response) -> Self {
        response.into_http()
    }
}

/// A response that was not received from a server, for tests. Its URL is the [`Url`] among the extensions of the
/// `http::Response`, otherwise `http://unknown.invalid/`. It has no history and no address. The content length is that
/// of the `Content-Length` header, if there is one.
impl<B: Into<Bytes>> From<http::Response<B>> for Response {
    #[expect(clippy::expect_used, reason = "the constant is a valid URL")]
    fn from(response: http::Response<B>) -> Self {
        static UNKNOWN: LazyLock<Url> = LazyLock::new(|| {
            Url::parse("http://unknown.invalid/").expect("the constant is a valid URL")
        });

        let (mut parts, body) = response.into_parts();
        Self {
            head: Box::new(ResponseHead {
                status: parts.status,
                version: parts.version,
                content_length: headers::content_length(&parts.headers),
                headers: parts.headers,
                url: parts.extensions.remove().unwrap_or_else(|| UNKNOWN.clone()),
                history: Vec::new(),
                remote_addr: None,
            }),
            body: body.into(),
            saved_to: None,
        }
    }
}

/// The body.
impl AsRef<[u8]> for Response {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            head,
            body,
            saved_to,
        } = self;
        let mut debug = f.debug_struct("Response");
        debug
            .field("head", head)
            .field("body", &format_args!("{} bytes", body.len()));
        if let Some(path) = saved_to {
            debug.field("saved_to", &DebugTruncated(path.display()));
        }
        debug.finish()
    }
}

/// The head of a response: everything except the body. Passed to the handlers of
/// [`RequestSpec::read_with`](crate::RequestSpec::read_with).
#[derive(Clone)]
pub struct ResponseHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) history: Vec<RedirectHop>,
    pub(crate) remote_addr: Option<SocketAddr>,
    pub(crate) content_length: Option<u64>,
}

impl ResponseHead {
    /// Returns the status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the HTTP version of the response.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the headers, without `Content-Encoding` and `Content-Length` if the body is decoded.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the URL of this response, after all redirects, without user info.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Returns the redirects that were followed, in order.
    pub fn history(&self) -> &[RedirectHop] {
        &self.history
    }

    /// Returns the address of the server or the proxy, if the transport knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// Returns the `Content-Length` that the server sent, if any: the size of the body in bytes before decoding. In the
    /// response to a HEAD request, it is the size that the body of a GET would have.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            status,
            version,
            headers,
            url,
            history,
            remote_addr,
            content_length: _,
        } = self;
        f.debug_struct("ResponseHead")
            .field("status", status)
            .field("version", version)
            .field("url", &SafeUrl(url.as_str()))
            .field("headers", &HeaderNames(headers))
            .field("redirects", &history.len())
            .field("remote_addr", remote_addr)
            .finish()
    }
}
