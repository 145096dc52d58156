//! What a server says before the body: [`ResponseHead`].

use std::fmt;
use std::net::SocketAddr;

use http::{HeaderMap, StatusCode, Version};
use url::Url;

use crate::history::RedirectHop;
use crate::redact::{HeaderNames, SafeUrl};

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
