//! What to send: [`RequestSpec`].

mod body;
mod convert;
mod known_origin;
#[cfg(feature = "multipart")]
pub mod multipart;
mod setters;
mod target;

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Method};
use url::Url;

pub use body::RequestBody;
pub(crate) use body::{BodySourceError, OpenBody};
pub(crate) use known_origin::KnownOrigin;
use target::Target;

use crate::error::{BoxError, Error};
use crate::proxy;
use crate::redact::{Field, HeaderNames, SafeUrl};
use crate::response::ResponseHead;

/// A request as data: what to send, and how this one is to be treated.
///
/// It can be cloned, kept, sent again and moved between threads. Nothing in it refers to a connection or a worker.
///
/// Setters take the spec by value and never fail. What is wrong in it (a bad URL, header, body …) is kept and ends as
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) of the job that it becomes; the other jobs are not affected.
///
/// A URL alone is a spec too: `&str`, `String`, [`Url`](url::Url) and `http::Request<Bytes>` convert into one.
///
/// ```
/// use std::time::Duration;
/// use threaded::RequestSpec;
///
/// let spec = RequestSpec::post("https://api.example.com/items")
///     .query(&[("dry_run", "true")])
///     .header("Accept", "application/json")
///     .form(&[("name", "fork"), ("count", "3")])
///     .bearer_auth("s3cr3t")
///     .timeout(Duration::from_secs(5));
///
/// assert_eq!(spec.method(), "POST");
/// assert_eq!(spec.url(), "https://api.example.com/items?dry_run=true");
/// ```
#[derive(Clone)]
pub struct RequestSpec {
    method: Method,
    target: Target,
    /// Most jobs are plain GETs, and millions of them may be queued: they pay one pointer for what they don't use.
    options: Option<Box<Options>>,
}

#[derive(Clone, Default)]
struct Options {
    headers: HeaderMap,
    body: Option<RequestBody>,
    /// The outer option: was it set? The inner one: is there a limit?
    timeout: Option<Option<Duration>>,
    redirects: Option<usize>,
    proxy: Option<Box<str>>,
    max_body: Option<u64>,
    sink: Option<Sink>,
    decode: Option<bool>,
    idempotent: Option<bool>,
    extensions: Extensions,
    /// The first thing that was wrong with what the setters were given.
    fault: Option<Fault>,
}

/// A mistake found while the spec was put together, kept until the job is due.
#[derive(Clone)]
struct Fault {
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl RequestSpec {
    /// A request of any method, given as [`http::Method`] or as text.
    ///
    /// A text that is no method ends as [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) of the job.
    ///
    /// ```
    /// use threaded::RequestSpec;
    ///
    /// let spec = RequestSpec::new("PROPFIND", "https://dav.example.com/");
    /// assert_eq!(spec.method(), "PROPFIND");
    /// ```
    pub fn new<M>(method: M, url: impl Into<String>) -> Self
    where
        M: TryInto<Method>,
        M::Error: Into<http::Error>,
    {
        let target = Target::from_text(url.into());
        match method.try_into() {
            Ok(method) => Self::with_target(method, target),
            Err(error) => Self::with_target(Method::GET, target).faulty(
                "the method is not a valid HTTP method; it may hold letters, digits and hyphens",
                Some(error.into().into()),
            ),
        }
    }

    /// A GET of this URL.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A POST to this URL.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// A PUT to this URL.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new(Method::PUT, url)
    }

    /// A PATCH of this URL.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new(Method::PATCH, url)
    }

    /// A DELETE of this URL.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new(Method::DELETE, url)
    }

    /// A HEAD of this URL: its answer has a head and no body.
    pub fn head(url: impl Into<String>) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// An OPTIONS request for this URL.
    pub fn options(url: impl Into<String>) -> Self {
        Self::new(Method::OPTIONS, url)
    }

    fn with_target(method: Method, target: Target) -> Self {
        Self {
            method,
            target,
            options: None,
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The URL as it was given, with what [`query`](Self::query) appended to it.
    ///
    /// It holds the URL's secrets, if it has some; print the spec itself (`{:?}`) to have them hidden.
    pub fn url(&self) -> &str {
        self.target.as_str()
    }

    /// The headers set on this spec. Those of the session and those that the crate adds are not among them.
    pub fn header_map(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        match &self.options {
            Some(options) => &options.headers,
            None => &NONE,
        }
    }

    /// The body, if one was set.
    pub fn request_body(&self) -> Option<&RequestBody> {
        self.options.as_ref()?.body.as_ref()
    }

    /// What [`extension`](Self::extension) attached.
    ///
    /// ```
    /// use threaded::RequestSpec;
    ///
    /// #[derive(Clone, Debug, PartialEq)]
    /// struct Row(u64);
    ///
    /// let spec = RequestSpec::get("https://example.com/").extension(Row(7));
    /// assert_eq!(spec.extensions().get::<Row>(), Some(&Row(7)));
    /// ```
    pub fn extensions(&self) -> &Extensions {
        static NONE: LazyLock<Extensions> = LazyLock::new(Extensions::new);
        match &self.options {
            Some(options) => &options.extensions,
            None => &NONE,
        }
    }

    /// Whether sending this request twice does what sending it once does: as [`idempotent`](Self::idempotent) was told,
    /// otherwise by its method (RFC 9110, section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.options
            .as_ref()
            .and_then(|options| options.idempotent)
            .unwrap_or_else(|| self.method.is_idempotent())
    }

    pub(crate) fn time_limit(&self) -> Option<Option<Duration>> {
        self.options.as_ref()?.timeout
    }

    pub(crate) fn redirect_limit(&self) -> Option<usize> {
        self.options.as_ref()?.redirects
    }

    pub(crate) fn body_limit(&self) -> Option<u64> {
        self.options.as_ref()?.max_body
    }

    pub(crate) fn sink(&self) -> Option<&Sink> {
        self.options.as_ref()?.sink.as_ref()
    }

    pub(crate) fn wants_decoding(&self) -> bool {
        self.options
            .as_ref()
            .and_then(|options| options.decode)
            .unwrap_or(true)
    }

    /// The URL to send to, parsed and checked.
    pub(crate) fn parsed_url(&self) -> Result<Url, Error> {
        self.target.parsed(Url::parse)
    }

    /// The same for one of many requests, which mostly go where the one before went.
    pub(crate) fn next_parsed_url(&self, known: &mut KnownOrigin) -> Result<Url, Error> {
        self.target.parsed(|text| known.parse(text))
    }

    /// Whether it brings credentials of its own, so that it gets none of the session's.
    pub(crate) fn has_credentials(&self) -> bool {
        let has_user_info = |url: Url| !url.username().is_empty() || url.password().is_some();
        self.header_map().contains_key(AUTHORIZATION) || self.parsed_url().is_ok_and(has_user_info)
    }

    /// The proxy that this request asks for, parsed and checked.
    pub(crate) fn parsed_proxy(&self) -> Result<Option<Url>, Error> {
        match self
            .options
            .as_ref()
            .and_then(|options| options.proxy.as_deref())
        {
            Some(proxy) => proxy::parse(proxy).map(Some),
            None => Ok(None),
        }
    }

    /// What the setters found wrong.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self
            .options
            .as_ref()
            .and_then(|options| options.fault.as_ref())
        {
            None => Ok(()),
            Some(Fault { message, source }) => {
                let error = Error::invalid_request(message);
                Err(match source {
                    Some(source) => error.with_source(Arc::clone(source)),
                    None => error,
                })
            }
        }
    }

    fn options_mut(&mut self) -> &mut Options {
        self.options.get_or_insert_default()
    }

    /// Keeps the first mistake; the later ones often follow from it.
    fn faulty(mut self, message: impl Into<String>, source: Option<BoxError>) -> Self {
        self.options_mut().fault.get_or_insert_with(|| Fault {
            message: message.into(),
            source: source.map(Arc::from),
        });
        self
    }
}

impl fmt::Debug for RequestSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            method,
            target,
            options,
        } = self;
        let mut shown = f.debug_struct("RequestSpec");
        shown
            .field("method", &Field(method))
            .field("url", &SafeUrl(target.as_str()));
        if let Some(options) = options {
            options.show(&mut shown);
        }
        shown.finish()
    }
}

impl Options {
    fn show(&self, shown: &mut fmt::DebugStruct<'_, '_>) {
        let Self {
            headers,
            body,
            timeout,
            redirects,
            proxy,
            max_body,
            sink,
            decode,
            idempotent,
            extensions,
            fault,
        } = self;
        if !headers.is_empty() {
            shown.field("headers", &HeaderNames(headers));
        }
        if let Some(body) = body {
            shown.field("body", body);
        }
        if let Some(timeout) = timeout {
            shown.field("timeout", timeout);
        }
        if let Some(redirects) = redirects {
            shown.field("redirects", redirects);
        }
        if let Some(proxy) = proxy {
            shown.field("proxy", &Field(SafeUrl(proxy)));
        }
        if let Some(max_body) = max_body {
            shown.field("max_body", max_body);
        }
        if let Some(sink) = sink {
            shown.field("sink", sink);
        }
        if let Some(decode) = decode {
            shown.field("decode", decode);
        }
        if let Some(idempotent) = idempotent {
            shown.field("idempotent", idempotent);
        }
        if !extensions.is_empty() {
            shown.field("extensions", &extensions.len());
        }
        if let Some(Fault { message, source: _ }) = fault {
            shown.field("fault", &Field(message));
        }
    }
}

/// Where the body of the response goes, if not into memory.
#[derive(Clone)]
pub(crate) enum Sink {
    File(Arc<Path>),
    Handler(Handler),
}

pub(crate) type Handler =
    Arc<dyn Fn(&ResponseHead, &mut dyn Read) -> Result<(), BoxError> + Send + Sync>;

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {:?}", Field(path.display())),
            Self::Handler(_) => f.write_str("handler"),
        }
    }
}
