//! Requests as data: [`RequestSpec`].

mod body;
mod convert;
#[cfg(feature = "serde")]
mod data;
mod download;
#[cfg(feature = "multipart")]
pub mod multipart;
mod setters;
mod target;
mod url_parser;

use std::collections::HashMap;
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
#[cfg(feature = "serde")]
pub(crate) use data::Described;
#[cfg(any(feature = "journal", feature = "redis"))]
pub(crate) use data::{from_json, to_json};
pub(crate) use download::SaveOptions;
pub use target::IntoUrl;
use target::Target;
pub(crate) use url_parser::UrlParser;

use crate::digest::ExpectedDigest;
use crate::error::{BoxError, Error};
use crate::proxy;
use crate::redact::{DebugTruncated, HeaderNames, SafeUrl, Truncated};
use crate::response::ResponseHead;

/// A request as data: method, URL, headers and body, and the settings for this request.
///
/// It can be cloned, stored, sent again and moved between threads. It refers to no connection and no worker.
///
/// Setters take the spec by value and never fail. An invalid value (a URL, header, body …) makes the job fail with
/// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest) when a worker takes it, and affects no other job.
///
/// A URL alone converts into a spec: whatever is [`IntoUrl`], such as a string, a [`Url`](url::Url) or an `http::Uri`.
/// So do an `http::Request` with a body, and a [`ThreadException`](crate::ThreadException) or
/// [`SubmitError`](crate::SubmitError), which return theirs.
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
#[must_use = "a spec is only sent by a pool; the setters take it by value and return it"]
pub struct RequestSpec {
    method: Method,
    target: Target,
    /// Most jobs are plain GETs, and millions of them may be queued: each pays one pointer for the settings it does not
    /// use.
    options: Option<Box<Options>>,
}

#[derive(Clone, Default)]
struct Options {
    headers: HeaderMap,
    body: Option<RequestBody>,
    #[cfg(feature = "gzip")]
    gzip: Option<u32>,
    /// The outer option: was it set? The inner one: is there a limit?
    timeout: Option<Option<Duration>>,
    max_redirects: Option<u32>,
    proxy: Option<Box<str>>,
    /// As with `timeout`.
    max_body: Option<Option<u64>>,
    destination: Option<BodyDestination>,
    saving: SaveOptions,
    /// The file whose validators the request is made conditional with.
    if_modified: Option<Arc<Path>>,
    /// One for each algorithm.
    digests: Vec<ExpectedDigest>,
    decode: Option<bool>,
    idempotent: Option<bool>,
    /// The name of credentials that the session has.
    auth_name: Option<Box<str>>,
    #[cfg(feature = "serde")]
    tag: Option<Box<serde_json::Value>>,
    extensions: Extensions,
    /// The first invalid value that a setter was given.
    fault: Option<Fault>,
}

/// The reason why a spec is invalid, kept until the job is due.
#[derive(Clone)]
struct Fault {
    message: String,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl RequestSpec {
    /// Creates a request with any method, an [`http::Method`] or a string.
    ///
    /// With an invalid method, the job fails with [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// ```
    /// use threaded::RequestSpec;
    ///
    /// let spec = RequestSpec::new("PROPFIND", "https://dav.example.com/");
    /// assert_eq!(spec.method(), "PROPFIND");
    /// ```
    pub fn new<M>(method: M, url: impl IntoUrl) -> Self
    where
        M: TryInto<Method>,
        M::Error: Into<http::Error>,
    {
        let target = url.into_target();
        match method.try_into() {
            Ok(method) => Self::with_target(method, target),
            Err(error) => Self::with_target(Method::GET, target).faulty(
                "invalid HTTP method; it may contain letters, digits and hyphens",
                Some(error.into().into()),
            ),
        }
    }

    /// Creates a GET request.
    pub fn get(url: impl IntoUrl) -> Self {
        Self::new(Method::GET, url)
    }

    /// Creates a POST request.
    pub fn post(url: impl IntoUrl) -> Self {
        Self::new(Method::POST, url)
    }

    /// Creates a PUT request.
    pub fn put(url: impl IntoUrl) -> Self {
        Self::new(Method::PUT, url)
    }

    /// Creates a PATCH request.
    pub fn patch(url: impl IntoUrl) -> Self {
        Self::new(Method::PATCH, url)
    }

    /// Creates a DELETE request.
    pub fn delete(url: impl IntoUrl) -> Self {
        Self::new(Method::DELETE, url)
    }

    /// Creates a HEAD request, whose response has no body.
    pub fn head(url: impl IntoUrl) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// Creates an OPTIONS request.
    pub fn options(url: impl IntoUrl) -> Self {
        Self::new(Method::OPTIONS, url)
    }

    fn with_target(method: Method, target: Target) -> Self {
        Self {
            method,
            target,
            options: None,
        }
    }

    /// Returns the method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the URL as it was given, including the pairs that [`query`](Self::query) has appended.
    ///
    /// It includes the URL's secrets, if there are any; the `Debug` output of the spec hides them.
    pub fn url(&self) -> &str {
        self.target.as_str()
    }

    /// Returns the headers set on this spec, without those of the session and those that the crate adds.
    pub fn header_map(&self) -> &HeaderMap {
        static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);
        match &self.options {
            Some(options) => &options.headers,
            None => &NONE,
        }
    }

    /// Returns the body, if one was set.
    pub fn request_body(&self) -> Option<&RequestBody> {
        self.options.as_ref()?.body.as_ref()
    }

    /// Returns the level set by [`gzip`](Self::gzip), if it was called.
    #[cfg(feature = "gzip")]
    pub fn gzip_level(&self) -> Option<u32> {
        self.options.as_ref()?.gzip
    }

    /// Returns the limit set by [`timeout`](Self::timeout): `Some(None)` if it lifts the limit, `None` if it was not
    /// called, so that the pool's limit applies.
    pub fn time_limit(&self) -> Option<Option<Duration>> {
        self.options.as_ref()?.timeout
    }

    /// Returns the limit set by [`max_redirects`](Self::max_redirects), if it was called. Otherwise the pool's applies.
    pub fn redirect_limit(&self) -> Option<u32> {
        self.options.as_ref()?.max_redirects
    }

    /// Returns the proxy set by [`proxy`](Self::proxy), as it was given. It includes the user info, if there is any;
    /// the `Debug` output of the spec hides it.
    pub fn proxy_url(&self) -> Option<&str> {
        self.options.as_ref()?.proxy.as_deref()
    }

    /// Returns the limit set by [`max_body`](Self::max_body), in bytes: `Some(None)` if it lifts the limit, `None` if
    /// it was not called, so that the pool's limit applies.
    pub fn body_limit(&self) -> Option<Option<u64>> {
        self.options.as_ref()?.max_body
    }

    /// Returns the name set by [`handler`](Self::handler), unless [`save_to`](Self::save_to),
    /// [`save_into`](Self::save_into) or [`read_with`](Self::read_with) was called later.
    pub fn handler_name(&self) -> Option<&str> {
        match self.body_destination()? {
            BodyDestination::Named(name) => Some(name),
            BodyDestination::File(_) | BodyDestination::Folder(_) | BodyDestination::Handler(_) => {
                None
            }
        }
    }

    /// Returns the name set by [`auth_named`](Self::auth_named), if it was called.
    pub fn auth_name(&self) -> Option<&str> {
        self.options.as_ref()?.auth_name.as_deref()
    }

    /// Returns the value set by [`tag`](Self::tag), if it was called.
    #[cfg(feature = "serde")]
    pub fn tag_value(&self) -> Option<&serde_json::Value> {
        self.options.as_ref()?.tag.as_deref()
    }

    /// Returns whether [`read_with`](Self::read_with) has set a handler, unless [`save_to`](Self::save_to),
    /// [`save_into`](Self::save_into) or [`handler`](Self::handler) was called later.
    pub fn has_handler(&self) -> bool {
        matches!(self.body_destination(), Some(BodyDestination::Handler(_)))
    }

    /// Returns whether the body of the response is decoded, as [`decode`](Self::decode) has set it.
    pub fn wants_decoding(&self) -> bool {
        self.options
            .as_ref()
            .and_then(|options| options.decode)
            .unwrap_or(true)
    }

    /// Returns the values attached by [`extension`](Self::extension).
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

    /// Returns whether sending this request twice has the same effect as sending it once: as set by
    /// [`idempotent`](Self::idempotent); otherwise if its method says so (RFC 9110, section 9.2.2), or if it has an
    /// `Idempotency-Key` header, by which the server recognizes the second one.
    ///
    /// An `Idempotency-Key` among the headers of a session does not count: all its requests share that key.
    pub fn is_idempotent(&self) -> bool {
        let declared = self.options.as_ref().and_then(|options| options.idempotent);
        declared.unwrap_or_else(|| {
            self.method.is_idempotent() || self.header_map().contains_key("idempotency-key")
        })
    }

    /// Removes the extension of this type.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(crate) fn take_extension<T: Clone + Send + Sync + 'static>(&mut self) -> Option<T> {
        self.options.as_mut()?.extensions.remove()
    }

    pub(crate) fn body_destination(&self) -> Option<&BodyDestination> {
        self.options.as_ref()?.destination.as_ref()
    }

    /// Parses and checks the URL.
    pub(crate) fn parsed_url(&self) -> Result<Url, Error> {
        self.target.parsed(Url::parse)
    }

    /// The same, faster for requests to the origin of the one before.
    pub(crate) fn parsed_url_with(&self, parser: &mut UrlParser) -> Result<Url, Error> {
        self.target.parsed(|text| parser.parse(text))
    }

    /// Whether it has credentials of its own, which take the place of the session's.
    pub(crate) fn has_credentials(&self) -> bool {
        let has_user_info = |url: Url| !url.username().is_empty() || url.password().is_some();
        self.header_map().contains_key(AUTHORIZATION) || self.parsed_url().is_ok_and(has_user_info)
    }

    /// Parses and checks the proxy of this request, if it has one.
    pub(crate) fn parsed_proxy(&self) -> Result<Option<Url>, Error> {
        self.proxy_url().map(proxy::parse).transpose()
    }

    /// Returns an error if a setter was given an invalid value.
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

    /// Keeps the first fault; the later ones often follow from it.
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
        let mut debug = f.debug_struct("RequestSpec");
        debug
            .field("method", &DebugTruncated(method))
            .field("url", target);
        if let Some(options) = options {
            options.add_fields(&mut debug);
        }
        debug.finish()
    }
}

impl Options {
    fn add_fields(&self, debug: &mut fmt::DebugStruct<'_, '_>) {
        let Self {
            headers,
            body,
            #[cfg(feature = "gzip")]
            gzip,
            timeout,
            max_redirects,
            proxy,
            max_body,
            destination,
            saving,
            if_modified,
            digests,
            decode,
            idempotent,
            auth_name,
            #[cfg(feature = "serde")]
            tag,
            extensions,
            fault,
        } = self;
        if !headers.is_empty() {
            debug.field("headers", &HeaderNames(headers));
        }
        if let Some(body) = body {
            debug.field("body", body);
        }
        #[cfg(feature = "gzip")]
        if let Some(level) = gzip {
            debug.field("gzip", level);
        }
        if let Some(timeout) = timeout {
            debug.field("timeout", timeout);
        }
        if let Some(max_redirects) = max_redirects {
            debug.field("max_redirects", max_redirects);
        }
        if let Some(proxy) = proxy {
            debug.field("proxy", &DebugTruncated(SafeUrl(proxy)));
        }
        if let Some(max_body) = max_body {
            debug.field("max_body", max_body);
        }
        if let Some(destination) = destination {
            debug.field("destination", destination);
        }
        if *saving != SaveOptions::default() {
            debug.field("saving", saving);
        }
        if let Some(path) = if_modified {
            debug.field("if_modified", &DebugTruncated(path.display()));
        }
        if !digests.is_empty() {
            debug.field("digests", digests);
        }
        if let Some(decode) = decode {
            debug.field("decode", decode);
        }
        if let Some(idempotent) = idempotent {
            debug.field("idempotent", idempotent);
        }
        if let Some(name) = auth_name {
            debug.field("auth_name", &DebugTruncated(name));
        }
        #[cfg(feature = "serde")]
        if let Some(tag) = tag {
            debug.field("tag", &DebugTruncated(tag));
        }
        if !extensions.is_empty() {
            debug.field("extensions", &extensions.len());
        }
        if let Some(Fault { message, source: _ }) = fault {
            debug.field("fault", &DebugTruncated(message));
        }
    }
}

/// The destination of the response body, if that is not memory.
#[derive(Clone)]
pub(crate) enum BodyDestination {
    File(Arc<Path>),
    /// A file in this folder, with the name that the response gives it.
    Folder(Arc<Path>),
    Handler(Handler),
    /// A handler that the pool knows by this name.
    Named(Arc<str>),
}

/// The handlers of a pool, by their names.
pub(crate) type Handlers = HashMap<Box<str>, Handler>;

impl BodyDestination {
    /// The same, with the handler in place of its name.
    pub(crate) fn resolved(&self, handlers: &Handlers) -> Result<Self, Error> {
        let Self::Named(name) = self else {
            return Ok(self.clone());
        };
        let handler = handlers.get(&**name).ok_or_else(|| {
            Error::invalid_request(format!(
                "the pool has no handler named `{}`; register it with `PoolBuilder::handler`",
                Truncated(name),
            ))
        })?;
        Ok(Self::Handler(Arc::clone(handler)))
    }
}

pub(crate) type Handler =
    Arc<dyn Fn(&ResponseHead, &mut dyn Read) -> Result<(), BoxError> + Send + Sync>;

impl fmt::Debug for BodyDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {:?}", DebugTruncated(path.display())),
            Self::Folder(path) => write!(f, "folder {:?}", DebugTruncated(path.display())),
            Self::Handler(_) => f.write_str("handler"),
            Self::Named(name) => write!(f, "handler {:?}", DebugTruncated(name)),
        }
    }
}
