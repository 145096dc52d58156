//! The settings and the transport that one worker sends with: [`Session`], and [`OpenSession`] once it is opened.

pub(crate) mod credentials;
pub(crate) mod error;
pub(crate) mod factory;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use self::credentials::Credential;
use crate::addresses::AddressFilter;
use crate::error::BoxError;
use crate::headers::{self, Auth};
use crate::origin::Origin;
#[cfg(feature = "system-proxy")]
use crate::proxy;
use crate::redact::HeaderNames;
use crate::request::UrlParser;
#[cfg(feature = "hyper")]
use crate::transport::hyper::HyperBuilder;
use crate::transport::reqwest::{self, ClientBuilder};
#[cfg(feature = "ureq")]
use crate::transport::ureq::{self, UreqConfigBuilder};
use crate::transport::{AnyTransport, TransportBuilder, TransportOptions};

/// The settings that one worker sends with: default headers, credentials, and those of the transport that it will own.
///
/// Each worker sets up its own session, on its own thread: the pool's [`session`](crate::PoolBuilder::session) constructor
/// makes it, then the [`initializer`](crate::PoolBuilder::initializer) and the
/// [`auth_generator`](crate::PoolBuilder::auth_generator) change it. The settings of a request take precedence.
///
/// Setters never fail. An invalid value (a header with a line break) makes the session fail to open:
/// [`PoolError::Session`](crate::PoolError::Session).
///
/// ```
/// use threaded::{Pool, Session};
///
/// let builder = Pool::builder()
///     .session(|| Session::default().client(|client| client.tcp_nodelay(true)))
///     .initializer(|session| session.user_agent("my-scraper/0.1").header("Accept", "application/json"));
/// # let _ = builder;
/// ```
#[must_use]
pub struct Session<B: TransportBuilder = ClientBuilder> {
    transport: B,
    defaults: SessionDefaults,
    /// The first invalid value that a setter was given.
    fault: Option<BoxError>,
}

/// A session on a new reqwest client. Its `User-Agent` is `reqwest-threaded/<version>` unless the session or the request
/// sets another one.
///
/// With the feature `system-proxy`, the client uses the proxies of the environment (`HTTP_PROXY` …). An invalid one makes
/// the session fail to open, rather than bypass the proxy. To ignore the environment, start from
/// `Session::new(ClientBuilder::new().no_proxy())`.
///
/// These settings differ from those of a new `ClientBuilder`: connecting takes at most 10 s; idle connections are kept for
/// 15 s; HTTP/2 connections with requests in flight are pinged after 10 s of silence, and closed after 10 s more; and they
/// take in 1 GiB of bodies that are not read yet, 2 MiB of each. [`client`](Self::client) changes them.
///
/// The following cannot be had from the client. [`Session::hyper`](Session#method.hyper) does all of it:
///
/// - A host with several addresses of one family is tried address by address, each for its share of the connect timeout.
/// - An HTTP/2 connection that has fallen silent is used until a ping is not answered, 20 s by default, also after a request
///   has timed out on it.
/// - Through a proxy, the server cannot be an IPv6 address, except over `http` by an HTTP proxy or `socks5h`.
/// - A SOCKS5 proxy with a user in its URL must ask for the password; a SOCKS4 proxy must be able to reach the first address of
///   the name.
/// - Only a 200 opens a tunnel, and no other 2xx.
/// - What a server sends before a file or a multipart form has been sent may be lost, and so may the reason if nothing could be
///   sent on a connection that was used before: the error is [`Closed`](crate::ErrorKind::Closed).
/// - A job that is cancelled is interrupted by the next bytes of its body, or by the response, and not before.
///
/// A client whose `default_headers` hold credentials is refused, since it would send them to every origin that a redirect
/// leads to: use [`header`](Self::header) or [`auth`](Self::auth).
impl Default for Session {
    fn default() -> Self {
        Self::new(reqwest::default_builder()).checked_against_environment()
    }
}

#[cfg(feature = "hyper")]
impl Session<HyperBuilder> {
    /// A session on the event-driven engine: each worker has many requests in flight on one thread. Its `User-Agent` is
    /// `reqwest-threaded/<version>` unless the session or the request sets another one.
    ///
    /// [`PoolBuilder::concurrency`](crate::PoolBuilder::concurrency) sets how many requests are in flight.
    /// [`client`](Self::client) gives access to the settings of the client. With the feature `system-proxy`, it uses the
    /// proxies of the environment (`HTTP_PROXY` …), as [`Session::default`] does.
    ///
    /// ```
    /// use threaded::{Pool, Session};
    ///
    /// let builder = Pool::builder().concurrency(10_000).session(Session::hyper);
    /// # let _ = builder;
    /// ```
    pub fn hyper() -> Self {
        Self::new(HyperBuilder::new()).checked_against_environment()
    }
}

#[cfg(feature = "ureq")]
impl Session<UreqConfigBuilder> {
    /// A session on a new ureq agent: HTTP/1.1 on the worker's own thread. Its `User-Agent` is `reqwest-threaded/<version>`
    /// unless the session or the request sets another one.
    ///
    /// [`client`](Self::client) gives access to ureq's own settings. This session sets the buffer sizes (64 KiB for
    /// input, 16 KiB for output) and uses the platform's certificate verifier for TLS. With the feature `system-proxy`,
    /// all requests go through the first proxy set in `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY`, except for the hosts
    /// in `NO_PROXY`.
    ///
    /// ```
    /// use threaded::{Pool, Session};
    ///
    /// let builder = Pool::builder().num_threads(32).session(Session::ureq);
    /// # let _ = builder;
    /// ```
    pub fn ureq() -> Self {
        Self::new(ureq::default_builder()).checked_against_environment()
    }
}

impl<B: TransportBuilder> Session<B> {
    /// A session without headers and credentials, on the transport that this builder builds: a
    /// `reqwest::blocking::ClientBuilder`, your own [`Transport`](crate::Transport) or its builder.
    pub fn new(transport: B) -> Self {
        Self {
            transport,
            defaults: SessionDefaults::default(),
            fault: None,
        }
    }

    /// Adds a default header: sent with every request that sets none of that name itself. Several values of one name are
    /// all sent.
    ///
    /// The values of headers whose names stand for credentials are marked sensitive, as in
    /// [`RequestSpec::header`](crate::RequestSpec::header). Defaults to none.
    pub fn header<V>(mut self, name: impl AsRef<str>, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match headers::checked(name.as_ref(), value) {
            Ok((name, value)) => match self.defaults.headers.try_append(name, value) {
                Ok(_) => self,
                Err(_) => self.faulty(headers::TOO_MANY),
            },
            Err((message, _)) => self.faulty(message),
        }
    }

    /// Adds all headers of the map, like [`header`](Self::header), and replaces those set before under the same names.
    /// Defaults to none.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        match headers::replace(&mut self.defaults.headers, headers) {
            Ok(()) => self,
            Err(_) => self.faulty(headers::TOO_MANY),
        }
    }

    /// Sets the default `User-Agent`; see [`user_agent`](crate::user_agent) for a good one. Defaults to the transport's.
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(user_agent.as_ref()) {
            Ok(value) => {
                self.defaults.headers.insert(USER_AGENT, value);
                self
            }
            Err(_) => {
                self.faulty("the user agent may not hold line breaks or other control characters")
            }
        }
    }

    /// Sets the default credentials: sent with every request that has none of its own. Replaces those set before.
    /// Defaults to none.
    pub fn auth(mut self, auth: Auth) -> Self {
        match auth.into_header_value() {
            Ok(value) => {
                self.defaults.authorize(value);
                self
            }
            Err(message) => self.faulty(message),
        }
    }

    /// Sets the default credentials for one origin, written like `https://api.example.com`, instead of those of
    /// [`auth`](Self::auth). They are sent to no other origin, and not to this one after a redirect from another. Replaces
    /// those set for the origin before. An invalid origin makes the session fail to open. Defaults to none.
    ///
    /// ```
    /// use threaded::{Auth, Session};
    ///
    /// let session = Session::default()
    ///     .auth_for("https://api.example.com", Auth::bearer("s3cr3t"))
    ///     .auth_for("https://files.example.com:8443", Auth::basic("me", Some("pa55word")));
    /// # let _ = session;
    /// ```
    pub fn auth_for(mut self, origin: impl AsRef<str>, auth: Auth) -> Self {
        match (Origin::parse(origin.as_ref()), auth.into_header_value()) {
            (Ok(origin), Ok(value)) => {
                self.defaults.authorize_for(origin, value);
                self
            }
            (Err(message), _) => self.faulty(format!("auth_for: {message}")),
            (_, Err(message)) => self.faulty(message),
        }
    }

    /// Sets credentials that requests ask for by this name, with [`RequestSpec::auth_named`](crate::RequestSpec::auth_named),
    /// and that no other request sends. Replaces those set under the name before. Defaults to none.
    pub fn auth_named(mut self, name: impl AsRef<str>, auth: Auth) -> Self {
        match auth.into_header_value() {
            Ok(value) => {
                self.defaults.named.insert(name.as_ref().into(), value);
                self
            }
            Err(message) => self.faulty(message),
        }
    }

    /// Short for [`auth`](Self::auth) with [`Auth::basic`].
    pub fn basic_auth<P: fmt::Display>(self, user: impl fmt::Display, password: Option<P>) -> Self {
        self.auth(Auth::basic(user, password))
    }

    /// Short for [`auth`](Self::auth) with [`Auth::bearer`].
    pub fn bearer_auth(self, token: impl fmt::Display) -> Self {
        self.auth(Auth::bearer(token))
    }

    /// Changes the settings of the transport itself: certificates, DNS, connection pool …
    ///
    /// Settings of reqwest for redirects, `Referer`, content decoding and the timeout of a whole request have no effect: the
    /// crate handles these itself.
    pub fn client(mut self, change: impl FnOnce(B) -> B) -> Self {
        self.transport = change(self.transport);
        self
    }

    pub(crate) fn with_preset(self, preset: &Preset) -> Self {
        match preset {
            Preset::UserAgent(user_agent) => self.user_agent(user_agent),
            Preset::Header(Ok((name, value))) => self.header(name, value.clone()),
            Preset::Header(Err(message)) => self.faulty(message.clone()),
            Preset::Auth(auth) => self.auth(auth.clone()),
        }
    }

    /// The session, or the first invalid value that a setter was given.
    fn checked(mut self) -> Result<Self, BoxError> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(self),
        }
    }

    fn into_defaults(self) -> Result<SessionDefaults, BoxError> {
        self.into_parts().map(|(defaults, _)| defaults)
    }

    /// Builds the transport. `unauthorized` are the defaults before the auth generator.
    pub(crate) fn open(
        self,
        unauthorized: Option<Arc<SessionDefaults>>,
        options: &TransportOptions,
    ) -> Result<OpenSession<B::Transport>, BoxError> {
        let (defaults, transport) = self.into_parts()?;
        let transport = options.build(transport)?;
        Ok(OpenSession {
            state: SessionState {
                defaults: Arc::new(defaults),
                unauthorized,
                generation: 0,
                proxy: options.proxy().cloned(),
            },
            filter: options.address_filter().cloned(),
            url_parser: UrlParser::default(),
            transport,
        })
    }

    fn into_parts(self) -> Result<(SessionDefaults, B), BoxError> {
        let Self {
            transport,
            defaults,
            fault: _,
        } = self.checked()?;
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            if defaults.headers.contains_key(&name) {
                let message = format!(
                    "the header `{name}` cannot be set for a session; it follows from each body"
                );
                return Err(message.into());
            }
        }
        Ok((defaults, transport))
    }

    /// Fails to open if the environment names an invalid proxy: transports would silently bypass it.
    fn checked_against_environment(self) -> Self {
        #[cfg(feature = "system-proxy")]
        if let Err(fault) = proxy::check_environment() {
            return self.faulty(fault);
        }
        self
    }

    fn faulty(mut self, fault: impl Into<BoxError>) -> Self {
        self.fault.get_or_insert_with(|| fault.into());
        self
    }
}

impl<B: TransportBuilder> fmt::Debug for Session<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport: _,
            defaults,
            fault,
        } = self;
        f.debug_struct("Session")
            .field("headers", &HeaderNames(&defaults.headers))
            .field("authorized_origins", &defaults.by_origin.len())
            .field("faulty", &fault.is_some())
            .finish_non_exhaustive()
    }
}

/// A default that the pool's builder sets for all sessions.
#[derive(Clone)]
pub(crate) enum Preset {
    UserAgent(String),
    /// The error says what is wrong with it.
    Header(Result<(HeaderName, HeaderValue), String>),
    Auth(Auth),
}

/// The default headers and credentials of a session.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct SessionDefaults {
    pub(crate) headers: HeaderMap,
    /// The `Authorization` for certain origins, instead of the one in `headers`.
    by_origin: Vec<(Origin, HeaderValue)>,
    /// The `Authorization` for requests that ask for it by its name.
    named: HashMap<Box<str>, HeaderValue>,
}

impl SessionDefaults {
    fn authorize_for(&mut self, origin: Origin, credentials: HeaderValue) {
        self.by_origin.retain(|(other, _)| *other != origin);
        self.by_origin.push((origin, credentials));
    }

    /// Sets the `Authorization` for all origins that have none of their own.
    fn authorize(&mut self, credentials: HeaderValue) {
        self.headers.insert(AUTHORIZATION, credentials);
    }

    /// The credentials for a request to this URL that has none of its own, but may ask for some by their name.
    pub(crate) fn credentials_for(&self, url: &Url, name: Option<&str>) -> Option<&HeaderValue> {
        if let Some(name) = name {
            return self.named.get(name);
        }
        self.by_origin
            .iter()
            .find_map(|(origin, credentials)| origin.matches(url).then_some(credentials))
            .or_else(|| self.headers.get(AUTHORIZATION))
    }

    /// Whether a request to this URL gets the same defaults.
    pub(crate) fn is_same_for(&self, url: &Url, name: Option<&str>, other: &Self) -> bool {
        self.headers == other.headers
            && self.credentials_for(url, name) == other.credentials_for(url, name)
    }
}

/// What a session sends with each request.
#[derive(Clone)]
pub(crate) struct SessionState {
    pub(crate) defaults: Arc<SessionDefaults>,
    /// The defaults before the auth generator, if credentials are to be renewed.
    unauthorized: Option<Arc<SessionDefaults>>,
    /// Which of the pool's credentials the defaults have; 0 is none.
    pub(crate) generation: u64,
    /// The proxy that all requests go through, if a request has named one.
    pub(crate) proxy: Option<Url>,
}

impl SessionState {
    /// Sends this credential from now on.
    fn apply(&mut self, credential: Credential) {
        if self.generation != credential.generation {
            self.generation = credential.generation;
            Arc::make_mut(&mut self.defaults).authorize(credential.header);
        }
    }
}

/// A session whose transport is built.
pub(crate) struct OpenSession<T: ?Sized = dyn AnyTransport> {
    pub(crate) state: SessionState,
    /// The addresses that may be connected to, if not all.
    pub(crate) filter: Option<AddressFilter>,
    /// The URL parsed last: most requests go to the same origin.
    pub(crate) url_parser: UrlParser,
    pub(crate) transport: T,
}

impl<T> OpenSession<T> {
    fn clone_with(&self, clone_transport: fn(&T) -> T) -> Self {
        Self {
            state: self.state.clone(),
            filter: self.filter.clone(),
            url_parser: UrlParser::default(),
            transport: clone_transport(&self.transport),
        }
    }
}

/// A `User-Agent` that names your program, this crate and the system, as in
/// `my-scraper/0.1 reqwest-threaded/0.1.0 (linux; x86_64)` (RFC 9110, section 10.1.5).
///
/// ```
/// let name = threaded::user_agent("my-scraper", "0.1");
/// assert!(name.starts_with("my-scraper/0.1 reqwest-threaded/"));
///
/// let builder = threaded::Pool::builder().initializer(move |session| session.user_agent(&name));
/// # let _ = builder;
/// ```
pub fn user_agent(name: &str, version: &str) -> String {
    let own_version = env!("CARGO_PKG_VERSION");
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{name}/{version} reqwest-threaded/{own_version} ({os}; {architecture})")
}
