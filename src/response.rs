//! What came back: [`Response`] and its head, [`ResponseHead`].

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use url::Url;

use crate::error::Error;
use crate::history::RedirectHop;
use crate::origin;
use crate::redact::{Field, HeaderNames, SafeUrl};

/// An HTTP response with its whole body in memory: plain data, with no connection behind it.
///
/// A response is what the server said, whatever its status. Reading does not consume it; cloning copies no body.
#[derive(Clone)]
pub struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Bytes,
    pub(crate) saved_to: Option<Arc<Path>>,
}

impl Response {
    /// All but the body.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The version of HTTP that the server answered with.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The headers. Of a body that was decoded, `Content-Encoding` and `Content-Length` are not among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The URL that gave this response, after all redirects, without user info.
    pub fn url(&self) -> &Url {
        &self.head.url
    }

    /// The redirects that were followed, first one first.
    pub fn history(&self) -> &[RedirectHop] {
        &self.head.history
    }

    /// The address of the server, or of the proxy, if the transport knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.head.remote_addr
    }

    /// The length in bytes that the server announced, before decoding, if it did: for a HEAD, that of the body that a GET
    /// would bring.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// The file that [`RequestSpec::save_to`](crate::RequestSpec::save_to) has written the body to, if it has.
    pub fn saved_to(&self) -> Option<&Path> {
        self.saved_to.as_deref()
    }

    /// The body, decoded. The answer to a HEAD, a 204 or a 304 has an empty one, and so has one whose body went to a file
    /// or a handler.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text. What is no text in its encoding is replaced by `\u{FFFD}`.
    ///
    /// The encoding is told by a byte order mark, otherwise by the `charset` of the `Content-Type`, otherwise it is UTF-8.
    /// Without the feature `charset` it is UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        #[cfg(feature = "charset")]
        {
            let (text, _, _) = self.encoding().decode(&self.body);
            text
        }
        #[cfg(not(feature = "charset"))]
        {
            String::from_utf8_lossy(&self.body)
        }
    }

    #[cfg(feature = "charset")]
    fn encoding(&self) -> &'static encoding_rs::Encoding {
        self.head
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok()?.parse::<mime::Mime>().ok())
            .and_then(|mime| {
                encoding_rs::Encoding::for_label(mime.get_param(mime::CHARSET)?.as_str().as_bytes())
            })
            .unwrap_or(encoding_rs::UTF_8)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// Returns an error of kind [`ErrorKind::Decode`](crate::ErrorKind::Decode) if it is not valid JSON, or not that of a `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(Error::decode)
    }

    /// The response as a type of the `http` crate; URL, history and address are lost.
    pub fn into_http(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.head.status;
        *response.version_mut() = self.head.version;
        *response.headers_mut() = self.head.headers;
        response
    }

    /// Whether no redirect has led to another origin.
    pub(crate) fn is_of_one_origin(&self) -> bool {
        let mut hops = self.history().iter();
        hops.all(|hop| origin::is_same(hop.url(), self.url()))
    }

    pub(crate) fn failed_status(&self) -> Option<Error> {
        let status = self.status();
        (status.is_client_error() || status.is_server_error()).then(|| Error::from_status(status))
    }
}

impl From<Response> for http::Response<Bytes> {
    fn from(response: Response) -> Self {
        response.into_http()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            head,
            body,
            saved_to,
        } = self;
        let mut shown = f.debug_struct("Response");
        shown
            .field("head", head)
            .field("body", &format_args!("{} bytes", body.len()));
        if let Some(path) = saved_to {
            shown.field("saved_to", &Field(path.display()));
        }
        shown.finish()
    }
}

/// The head of a response: all but its body. Handed to the handlers of
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
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The version of HTTP that the server answered with.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The headers. Of a body that is decoded, `Content-Encoding` and `Content-Length` are not among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The URL that gave this response, after all redirects, without user info.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The redirects that were followed, first one first.
    pub fn history(&self) -> &[RedirectHop] {
        &self.history
    }

    /// The address of the server, or of the proxy, if the transport knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    /// The length in bytes that the server announced, before decoding, if it did: for a HEAD, that of the body that a GET
    /// would bring.
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
