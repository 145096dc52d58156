//! What one worker sends with: [`Session`] before it is opened, [`OpenSession`] after.

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use url::Url;

use crate::addresses::AddressFilter;
use crate::error::BoxError;
use crate::headers::{self, Auth};
use crate::origin::Origin;
#[cfg(feature = "system-proxy")]
use crate::proxy;
use crate::redact::{HeaderNames, SafeUrl};
use crate::request::UrlParser;
use crate::transport::reqwest::{self, ClientBuilder};
#[cfg(feature = "ureq")]
use crate::transport::ureq::{self, UreqConfigBuilder};
use crate::transport::{Transport, TransportBuilder};

/// The settings that one worker sends with (headers, credentials) and the transport that it will own.
///
/// Each worker makes its own, on its own thread: from the pool's [`session`](crate::PoolBuilder::session) constructor, then
/// through the [`initializer`](crate::PoolBuilder::initializer), then through the
/// [`auth_generator`](crate::PoolBuilder::auth_generator). What a request brings along takes precedence over it.
///
/// Setters never fail. What is wrong (a header that is none) makes the session fail to open:
/// [`PoolError::Session`](crate::PoolError::Session).
///
/// ```
/// use threaded::{Pool, Session};
///
/// let builder = Pool::builder()
///     .initializer(|session| session.user_agent("my-scraper/0.1").header("Accept", "application/json"))
///     .session(|| Session::default().client(|client| client.tcp_nodelay(true)));
/// # let _ = builder;
/// ```
pub struct Session<B: TransportBuilder = ClientBuilder> {
    transport: B,
    additions: Additions,
    proxy: Option<Url>,
    /// The first thing that was wrong with what the setters were given.
    fault: Option<BoxError>,
}

/// A session on a fresh reqwest client, which calls itself `reqwest-threaded/<version>` as long as neither session nor
/// request sets another `User-Agent`.
///
/// With the feature `system-proxy`, a variable of the environment that should name a proxy (`HTTP_PROXY` …) and does not
/// makes it fail to open, rather than send past the proxy. To ignore the environment, begin with
/// `Session::new(ClientBuilder::new().no_proxy())`.
impl Default for Session {
    fn default() -> Self {
        Self::new(reqwest::default_builder()).checked_against_environment()
    }
}

#[cfg(feature = "ureq")]
impl Session<UreqConfigBuilder> {
    /// A session on a fresh ureq agent: HTTP/1.1 on the worker's own thread. It calls itself `reqwest-threaded/<version>` as
    /// long as neither session nor request sets another `User-Agent`.
    ///
    /// [`client`](Self::client) reaches ureq's own settings. Set here are the buffers (64 KiB for what comes in, 16 KiB for
    /// what goes out) and TLS, which trusts what the platform trusts. With the feature `system-proxy`, everything goes
    /// through the first proxy that `ALL_PROXY`, `HTTPS_PROXY` or `HTTP_PROXY` name, `NO_PROXY` excepted.
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
    /// A session that sends through what this builder builds: a `reqwest::blocking::ClientBuilder`, or a
    /// [`Transport`](crate::Transport) of your own. It has no headers and no credentials.
    pub fn new(transport: B) -> Self {
        Self {
            transport,
            additions: Additions::default(),
            proxy: None,
            fault: None,
        }
    }

    /// Sends a header with every request that does not set one of that name itself. Several of one name are all sent.
    ///
    /// Values of headers that carry credentials by their name are marked sensitive, as in
    /// [`RequestSpec::header`](crate::RequestSpec::header). Defaults to none.
    pub fn header<V>(mut self, name: impl AsRef<str>, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match headers::checked(name.as_ref(), value) {
            Ok((name, value)) => match self.additions.headers.try_append(name, value) {
                Ok(_) => self,
                Err(_) => self.faulty(headers::TOO_MANY),
            },
            Err((message, _)) => self.faulty(message),
        }
    }

    /// Sends all headers of the map, in the way of [`header`](Self::header). Those set before under the same names are
    /// replaced. Defaults to none.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        match headers::replace(&mut self.additions.headers, headers) {
            Ok(()) => self,
            Err(_) => self.faulty(headers::TOO_MANY),
        }
    }

    /// Sets the `User-Agent`; see [`user_agent`](crate::user_agent) for a good one.
    /// Defaults to what the transport sends.
    pub fn user_agent(mut self, user_agent: impl AsRef<str>) -> Self {
        match HeaderValue::from_str(user_agent.as_ref()) {
            Ok(value) => {
                self.additions.headers.insert(USER_AGENT, value);
                self
            }
            Err(_) => {
                self.faulty("the user agent may not hold line breaks or other control characters")
            }
        }
    }

    /// Sends these credentials with every request that brings none. Replaces those set before. Defaults to none.
    pub fn auth(mut self, auth: Auth) -> Self {
        match auth.into_header_value() {
            Ok(value) => {
                self.additions.headers.insert(AUTHORIZATION, value);
                self
            }
            Err(message) => self.faulty(message),
        }
    }

    /// Sends these credentials to one origin, written like `https://api.example.com`, and to no other: in place of those of
    /// [`auth`](Self::auth), with every request that brings none. They are not sent where a redirect from another origin
    /// leads there. Replaces those set for that origin before. What is no origin makes the session fail to open. Defaults to
    /// none.
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
                self.additions.authorize_for(origin, value);
                self
            }
            (Err(message), _) => self.faulty(format!("auth_for: {message}")),
            (_, Err(message)) => self.faulty(message),
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

    /// Changes the transport's own settings: certificates, DNS, connection pool …
    ///
    /// With reqwest, redirects, `Referer`, decoding and the client's overall timeout are the crate's; setting them has no
    /// effect.
    pub fn client(mut self, change: impl FnOnce(B) -> B) -> Self {
        self.transport = change(self.transport);
        self
    }

    /// Makes the session send everything through a proxy.
    pub(crate) fn through_proxy(mut self, proxy: &Url) -> Result<Self, BoxError> {
        self.transport = self.transport.through_proxy(proxy)?;
        self.proxy = Some(proxy.clone());
        Ok(self)
    }

    /// What each wait of an exchange without a deadline is bound by.
    pub(crate) fn stall_timeout(mut self, stall_timeout: Option<Duration>) -> Self {
        self.transport = self.transport.stall_timeout(stall_timeout);
        self
    }

    /// Makes the session add this to its requests, and nothing else.
    pub(crate) fn adding(mut self, additions: Additions) -> Self {
        self.additions = additions;
        self
    }

    pub(crate) fn additions(&self) -> &Additions {
        &self.additions
    }

    /// The session, or the first thing that was wrong with what its setters were given.
    pub(crate) fn checked(mut self) -> Result<Self, BoxError> {
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(self),
        }
    }

    /// What the session adds to its requests.
    pub(crate) fn into_additions(self) -> Result<Additions, BoxError> {
        self.take_apart().map(|(additions, _, _)| additions)
    }

    /// Builds the transport. `unauthorized` is what the session was before it was given its credentials.
    pub(crate) fn open(
        self,
        unauthorized: Option<Additions>,
        filter: Option<AddressFilter>,
    ) -> Result<OpenSession<B::Transport>, BoxError> {
        let (additions, proxy, transport) = self.take_apart()?;
        Ok(OpenSession {
            additions,
            unauthorized,
            proxy,
            url_parser: UrlParser::default(),
            transport: match filter.clone() {
                Some(filter) => transport.build_with_filter(filter)?,
                None => transport.build()?,
            },
            filter,
        })
    }

    fn take_apart(self) -> Result<(Additions, Option<Url>, B), BoxError> {
        let Self {
            transport,
            additions,
            proxy,
            fault: _,
        } = self.checked()?;
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING] {
            if additions.headers.contains_key(&name) {
                let message = format!(
                    "the header `{name}` cannot be set for a session; it follows from each body"
                );
                return Err(message.into());
            }
        }
        Ok((additions, proxy, transport))
    }

    /// Faulty if the environment names a proxy that cannot be used: transports would silently send past it.
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
            additions,
            proxy,
            fault,
        } = self;
        f.debug_struct("Session")
            .field("headers", &HeaderNames(&additions.headers))
            .field("authorized_origins", &additions.authorized_origins())
            .field(
                "proxy",
                &proxy.as_ref().map(|proxy| SafeUrl(proxy.as_str())),
            )
            .field("faulty", &fault.is_some())
            .finish_non_exhaustive()
    }
}

/// What a session adds to each of its requests: headers, and credentials for certain origins.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Additions {
    pub(crate) headers: HeaderMap,
    /// The one set last comes last.
    by_origin: Vec<(Origin, HeaderValue)>,
}

impl Additions {
    /// Credentials for this origin, in place of those that all get.
    fn authorize_for(&mut self, origin: Origin, credentials: HeaderValue) {
        self.by_origin.retain(|(other, _)| *other != origin);
        self.by_origin.push((origin, credentials));
    }

    /// The credentials that a request to this URL gets, if it brings none of its own.
    pub(crate) fn credentials_for(&self, url: &Url) -> Option<&HeaderValue> {
        self.by_origin
            .iter()
            .find_map(|(origin, credentials)| origin.matches(url).then_some(credentials))
            .or_else(|| self.headers.get(AUTHORIZATION))
    }

    /// Whether a request to this URL gets the same.
    pub(crate) fn is_same_for(&self, url: &Url, other: &Self) -> bool {
        self.headers == other.headers && self.credentials_for(url) == other.credentials_for(url)
    }

    fn authorized_origins(&self) -> usize {
        self.by_origin.len()
    }
}

/// A session whose transport is up.
pub(crate) struct OpenSession<T: ?Sized = dyn Transport> {
    pub(crate) additions: Additions,
    /// What it added before it was given its credentials, if these may have to be fresh one day.
    pub(crate) unauthorized: Option<Additions>,
    /// The proxy that all goes through, if a request has chosen one.
    pub(crate) proxy: Option<Url>,
    /// What may be connected to, if not everything.
    pub(crate) filter: Option<AddressFilter>,
    /// Knows the origin that its last request went to.
    pub(crate) url_parser: UrlParser,
    pub(crate) transport: T,
}

impl<T: Clone> Clone for OpenSession<T> {
    fn clone(&self) -> Self {
        Self {
            additions: self.additions.clone(),
            unauthorized: self.unauthorized.clone(),
            proxy: self.proxy.clone(),
            filter: self.filter.clone(),
            url_parser: UrlParser::default(),
            transport: self.transport.clone(),
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
