//! What performs exchanges: [`Transport`] and what it is handed and hands back.

pub(crate) mod reqwest;
#[cfg(feature = "ureq")]
pub(crate) mod ureq;

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use url::Url;

use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error};
use crate::redact::{Field, HeaderNames, SafeUrl};
use crate::request::{OpenBody, RequestBody};

/// Performs exchanges: sends one request, hands back the head of its response and a reader of its body.
///
/// Redirects, decoding, size limits and outcomes are not its business; the crate does them, the same on every transport.
/// What is: to send the request as it stands, to be done within [`Exchange::timeout`] (body included), and to report
/// faults as the [`Error`] variant that fits. A worker uses its transport for one exchange at a time.
///
/// A closure is a transport, so code can be tested without a network:
///
/// ```
/// use threaded::{Error, Exchange, Pool, ResponseBody, Session};
///
/// let answers = |exchange: Exchange<'_>| match exchange.url().path() {
///     "/ok" => Ok(http::Response::new(ResponseBody::from("hello"))),
///     _ => Err(Error::Connect { sent: false, source: "no such host here".into() }),
/// };
/// let (responses, exceptions) = Pool::builder()
///     .num_threads(2)
///     .session(move || Session::new(answers))
///     .map(["http://test/ok", "http://test/lost"])?;
///
/// assert_eq!(responses.map(|r| r.text().into_owned()).collect::<Vec<_>>(), ["hello"]);
/// assert_eq!(exceptions.count(), 1);
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub trait Transport: Send {
    /// Performs one exchange.
    ///
    /// # Errors
    ///
    /// The variant of [`Error`] that fits the fault. In the variants that have it, `sent` must be `true` unless the
    /// server cannot have seen any of the request.
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;
}

impl<F> Transport for F
where
    F: FnMut(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> + Send,
{
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
        self(exchange)
    }
}

/// Makes the transport of one session, on the thread of the worker that will use it.
///
/// Every [`Transport`] is a builder of itself; a `reqwest::blocking::ClientBuilder` builds a
/// [`ReqwestTransport`](crate::ReqwestTransport).
pub trait TransportBuilder: Sized {
    /// What is built.
    type Transport: Transport;

    /// Builds the transport.
    ///
    /// # Errors
    ///
    /// What the worker, and for the first worker [`PoolError::Session`](crate::PoolError::Session), should report.
    fn build(self) -> Result<Self::Transport, BoxError>;

    /// Builds a transport that connects to no other addresses than this filter allows, and sends through no proxy: that would
    /// look up host names where nobody can ask it. Used instead of [`build`](Self::build) with
    /// [`PoolBuilder::public_addresses_only`](crate::PoolBuilder::public_addresses_only).
    ///
    /// # Errors
    ///
    /// As in [`build`](Self::build), or if it cannot tell which addresses it connects to. That is the default.
    fn build_with_filter(self, filter: AddressFilter) -> Result<Self::Transport, BoxError> {
        let _ = filter;
        Err("this transport cannot be kept to public addresses".into())
    }

    /// Prepares for exchanges that have no deadline but a [`stall_timeout`](Exchange::stall_timeout), which will always be
    /// this one. Defaults to doing nothing.
    fn stall_timeout(self, stall_timeout: Option<Duration>) -> Self {
        let _ = stall_timeout;
        self
    }

    /// Makes all that will be sent go through a proxy, and nothing past it. The scheme of the URL says which kind of proxy
    /// it is; its user info is for the proxy.
    ///
    /// # Errors
    ///
    /// If it cannot. That is the default: a request must not silently go past the proxy that it names.
    fn through_proxy(self, proxy: &Url) -> Result<Self, BoxError> {
        let _ = proxy;
        Err("this transport cannot send through a proxy of the request's choice".into())
    }
}

impl<T: Transport> TransportBuilder for T {
    type Transport = T;

    fn build(self) -> Result<T, BoxError> {
        Ok(self)
    }
}

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
            .field("method", &Field(method))
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

/// The body of a response on its way in, as it comes off the wire: not decoded, not limited.
///
/// Text and bytes convert into one; [`from_reader`](Self::from_reader) takes anything that reads.
pub struct ResponseBody {
    content: Content,
    remote_addr: Option<SocketAddr>,
}

enum Content {
    Bytes(Bytes),
    Reader(Box<dyn Read + Send>),
    Whole(Box<dyn ReadWhole>),
}

/// A reader that can also hand over all it has at once, without a copy.
pub(crate) trait ReadWhole: Read + Send {
    fn read_whole(self: Box<Self>) -> io::Result<Bytes>;
}

impl ResponseBody {
    /// A body without content.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A body that is read from somewhere.
    ///
    /// To report a fault as one variant of [`Error`], wrap it: `io::Error::other(Error::…)`. Otherwise the
    /// `io::ErrorKind` decides: `UnexpectedEof` becomes [`Error::BodyTruncated`], `TimedOut` [`Error::Timeout`],
    /// `InvalidData` [`Error::Protocol`], any other [`Error::Closed`].
    pub fn from_reader(reader: impl Read + Send + 'static) -> Self {
        Content::Reader(Box::new(reader)).into()
    }

    /// Says whom it comes from: [`Response::remote_addr`](crate::Response::remote_addr). Defaults to unknown.
    pub fn with_remote_addr(mut self, remote_addr: impl Into<Option<SocketAddr>>) -> Self {
        self.remote_addr = remote_addr.into();
        self
    }

    pub(crate) fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    pub(crate) fn from_whole(body: impl ReadWhole + 'static) -> Self {
        Content::Whole(Box::new(body)).into()
    }

    /// Hands over all of it at once, without a copy, if that is possible within the length that is known of it.
    /// Otherwise the body comes back.
    pub(crate) fn into_whole(self, is_length_known: bool) -> Result<io::Result<Bytes>, Self> {
        match self.content {
            Content::Bytes(bytes) => Ok(Ok(bytes)),
            Content::Whole(body) if is_length_known => Ok(body.read_whole()),
            other => Err(other.into()),
        }
    }
}

impl Read for ResponseBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::Bytes(bytes) => {
                let read = bytes.as_ref().read(buffer)?;
                drop(bytes.split_to(read));
                Ok(read)
            }
            Content::Reader(reader) => reader.read(buffer),
            Content::Whole(body) => body.read(buffer),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Bytes(bytes) => write!(f, "ResponseBody({} bytes)", bytes.len()),
            Content::Reader(_) | Content::Whole(_) => f.write_str("ResponseBody(reader)"),
        }
    }
}

impl From<Content> for ResponseBody {
    fn from(content: Content) -> Self {
        Self {
            content,
            remote_addr: None,
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Content::Bytes(bytes).into()
    }
}

impl From<Vec<u8>> for ResponseBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for ResponseBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for ResponseBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for ResponseBody {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
