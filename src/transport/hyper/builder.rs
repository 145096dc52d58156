//! The settings of the event-driven client: [`HyperBuilder`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use url::Url;

use super::connect::ProxyChoice;
use super::tls::TlsSettings;
use super::{HyperTransport, Settings};
use crate::error::{BoxError, Error};
use crate::proxy;
use crate::transport::options::unusable_proxy;
use crate::transport::{TransportBuilder, TransportOptions};

/// How long an idle connection is kept, by default.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection without traffic is left alone before it is asked for a sign of life.
const TCP_KEEPALIVE: Duration = Duration::from_secs(15);

/// The interval of HTTP/2 pings, and how long the response to one may take.
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Configures the event-driven client of [`Session::hyper`](crate::Session::hyper), with the names that reqwest has for its
/// settings.
///
/// Setters never fail. An invalid value makes the session fail to open:
/// [`PoolError::Session`](crate::PoolError::Session).
///
/// ```
/// use std::time::Duration;
/// use threaded::{Pool, Session};
///
/// let builder = Pool::builder()
///     .concurrency(1_000)
///     .session(|| Session::hyper().client(|client| client.connect_timeout(Duration::from_secs(5))));
/// # let _ = builder;
/// ```
#[derive(Clone)]
#[must_use]
pub struct HyperBuilder {
    user_agent: Option<String>,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_idle_per_host: usize,
    tcp_nodelay: bool,
    tcp_keepalive: Option<Duration>,
    local_address: Option<IpAddr>,
    https_only: bool,
    versions: Versions,
    http2_keep_alive_interval: Option<Duration>,
    http2_keep_alive_timeout: Duration,
    overrides: HashMap<String, Vec<SocketAddr>>,
    proxy: ProxySetting,
    #[cfg(feature = "cookies")]
    cookies: bool,
    tls: TlsSettings,
}

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, PartialEq)]
enum Versions {
    /// HTTP/2 if the server agrees to it during the TLS handshake, HTTP/1.1 otherwise.
    Agreed,
    Http1,
    Http2,
}

#[derive(Clone)]
enum ProxySetting {
    /// Those of the environment.
    System,
    None,
    /// For all requests.
    One(String),
}

impl HyperBuilder {
    /// The settings of [`Session::hyper`](crate::Session::hyper).
    pub(crate) fn new() -> Self {
        Self {
            user_agent: None,
            connect_timeout: None,
            idle_timeout: Some(IDLE_TIMEOUT),
            max_idle_per_host: usize::MAX,
            tcp_nodelay: true,
            tcp_keepalive: Some(TCP_KEEPALIVE),
            local_address: None,
            https_only: false,
            versions: Versions::Agreed,
            http2_keep_alive_interval: Some(HTTP2_KEEP_ALIVE),
            http2_keep_alive_timeout: HTTP2_KEEP_ALIVE,
            overrides: HashMap::new(),
            proxy: ProxySetting::System,
            #[cfg(feature = "cookies")]
            cookies: false,
            tls: TlsSettings::default(),
        }
    }

    /// Sets the `User-Agent` of requests for which neither the session nor the request sets one. Defaults to
    /// `reqwest-threaded/<version>`.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// Whether the client stores cookies and sends them back (RFC 6265). They belong to the session: to one worker, or to all
    /// that [share](crate::PoolBuilder::share_session) it. Defaults to `false`.
    #[cfg(feature = "cookies")]
    pub fn cookie_store(mut self, enable: bool) -> Self {
        self.cookies = enable;
        self
    }

    /// Sets the time limit of making a connection: resolving the host name, connecting, the proxy's part, and the TLS
    /// handshake. `None` leaves only the limits of the attempt. Defaults to `None`.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// Sets how long an idle connection is kept. `None` keeps it until the server closes it, or a place is needed for another
    /// one. Defaults to 15 s.
    pub fn pool_idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// Sets the maximum number of idle connections to one origin, of one worker. With 0, each connection serves one request.
    /// Defaults to no limit.
    pub fn pool_max_idle_per_host(mut self, max: usize) -> Self {
        self.max_idle_per_host = max;
        self
    }

    /// Whether small writes are sent at once (`TCP_NODELAY`). Defaults to `true`.
    pub fn tcp_nodelay(mut self, enabled: bool) -> Self {
        self.tcp_nodelay = enabled;
        self
    }

    /// Sets the time without traffic after which the system probes whether the peer is alive (`SO_KEEPALIVE`). `None`
    /// disables it. Defaults to 15 s.
    pub fn tcp_keepalive(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.tcp_keepalive = time.into();
        self
    }

    /// Binds connections to this address of this machine. Only addresses of its family are connected to then. Defaults to
    /// none.
    pub fn local_address(mut self, address: impl Into<Option<IpAddr>>) -> Self {
        self.local_address = address.into();
        self
    }

    /// Connects to this address for a host name, instead of resolving it. Port 0 stands for the one of the URL. Defaults to
    /// none.
    pub fn resolve(self, host: impl AsRef<str>, address: SocketAddr) -> Self {
        self.resolve_to_addrs(host, &[address])
    }

    /// Like [`resolve`](Self::resolve), with several addresses, which are tried in their order.
    pub fn resolve_to_addrs(mut self, host: impl AsRef<str>, addresses: &[SocketAddr]) -> Self {
        let host = host.as_ref().to_ascii_lowercase();
        self.overrides.insert(host, addresses.to_vec());
        self
    }

    /// Ignores the proxies of the environment and of [`proxy`](Self::proxy). Defaults to those of the environment, with the
    /// feature `system-proxy`: `HTTP_PROXY` (not in a CGI program, where a client could set it), `HTTPS_PROXY`, `ALL_PROXY`,
    /// also in lower case, except for the hosts of `NO_PROXY`: names, which stand for their subdomains as well, IP addresses
    /// and ranges (`10.0.0.0/8`), or `*`, separated by commas, all without ports.
    pub fn no_proxy(mut self) -> Self {
        self.proxy = ProxySetting::None;
        self
    }

    /// Sends all requests through this proxy, unless the request [names another](crate::RequestSpec::proxy). Takes the same
    /// URLs.
    pub fn proxy(mut self, url: impl Into<String>) -> Self {
        self.proxy = ProxySetting::One(url.into());
        self
    }

    /// Whether `http` URLs are refused, also those of redirects. Defaults to `false`.
    pub fn https_only(mut self, enabled: bool) -> Self {
        self.https_only = enabled;
        self
    }

    /// Offers HTTP/1.1 alone, and takes back [`http2_prior_knowledge`](Self::http2_prior_knowledge). Defaults to HTTP/2 as
    /// well, over TLS.
    pub fn http1_only(mut self) -> Self {
        self.versions = Versions::Http1;
        self
    }

    /// Speaks HTTP/2 without asking the server, also over plain TCP, and takes back [`http1_only`](Self::http1_only).
    pub fn http2_prior_knowledge(mut self) -> Self {
        self.versions = Versions::Http2;
        self
    }

    /// Sets the interval at which an HTTP/2 connection is pinged while requests are in flight on it. `None` disables pings.
    /// Defaults to 20 s.
    pub fn http2_keep_alive_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.http2_keep_alive_interval = interval.into();
        self
    }

    /// Sets how long the response to a ping may take before the connection is closed. Defaults to 20 s.
    pub fn http2_keep_alive_timeout(mut self, timeout: Duration) -> Self {
        self.http2_keep_alive_timeout = timeout;
        self
    }

    /// Trusts these certificates in addition to those of the system. Each is a PEM text of one or more certificates, or one in
    /// DER form; to trust those of a file, pass its content. A certificate that is its own issuer and that servers present
    /// themselves, as `openssl req -x509` makes it by default, is refused by rustls: let it issue one for the server. Defaults
    /// to none.
    ///
    /// ```no_run
    /// use threaded::{Pool, Session};
    ///
    /// let pem = std::fs::read("ca.pem")?;
    /// let builder = Pool::builder().session(move || Session::hyper().client(|client| client.tls_certs_merge([&pem])));
    /// # let _ = builder;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[doc(alias = "add_root_certificate")]
    pub fn tls_certs_merge<I>(mut self, certificates: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.tls.add_roots(certificates);
        self
    }

    /// Like [`tls_certs_merge`](Self::tls_certs_merge), and trusts no certificates of the system.
    pub fn tls_certs_only<I>(mut self, certificates: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.tls.only_given_roots = true;
        self.tls.add_roots(certificates);
        self
    }

    /// Presents a certificate to servers that ask for one: a PEM text with the private key (PKCS #8) and the chain of
    /// certificates, its own first. Defaults to none.
    pub fn identity(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.tls.identity = Some(Arc::from(pem.as_ref()));
        self
    }

    /// **Dangerous:** accepts any certificate of a server. Anyone on the way can read and change what is sent. Defaults to
    /// `false`.
    pub fn tls_danger_accept_invalid_certs(mut self, accept: bool) -> Self {
        self.tls.accept_invalid_certs = accept;
        self
    }

    /// Uses rustls. Defaults to rustls with the feature `default-tls`.
    #[cfg(feature = "default-tls")]
    pub fn tls_backend_rustls(mut self) -> Self {
        self.tls.backend = super::tls::Backend::Rustls;
        self
    }

    /// Uses the TLS library of the system. Defaults to it if the feature `default-tls` is off.
    #[cfg(feature = "native-tls")]
    pub fn tls_backend_native(mut self) -> Self {
        self.tls.backend = super::tls::Backend::Native;
        self
    }
}

impl TransportBuilder for HyperBuilder {
    type Transport = HyperTransport;

    fn build(self, options: &TransportOptions) -> Result<HyperTransport, BoxError> {
        let Self {
            user_agent,
            connect_timeout,
            idle_timeout,
            max_idle_per_host,
            tcp_nodelay,
            tcp_keepalive,
            local_address,
            https_only,
            versions,
            http2_keep_alive_interval,
            http2_keep_alive_timeout,
            overrides,
            proxy,
            #[cfg(feature = "cookies")]
            cookies,
            tls,
        } = self;
        let filter = options.address_filter().cloned();
        let proxy = match (options.proxy(), proxy) {
            (Some(proxy), _) => ProxyChoice::always(proxy).map_err(unusable_proxy)?,
            _ if filter.is_some() => ProxyChoice::Direct,
            (None, ProxySetting::None) => ProxyChoice::Direct,
            (None, ProxySetting::One(url)) => {
                // The whole message, and not only its cause: it names the proxy.
                let url: Url = proxy::parse(&url).map_err(|error| error.to_string())?;
                ProxyChoice::always(&url).map_err(unusable_proxy)?
            }
            (None, ProxySetting::System) => ProxyChoice::of_environment(),
        };
        let own_name = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
        let user_agent = match user_agent {
            None => HeaderValue::from_static(own_name),
            Some(name) => HeaderValue::try_from(name).map_err(|_| {
                Error::session(
                    "the user_agent of the client may not hold line breaks or other control characters",
                )
            })?,
        };
        let offers_http2 = versions != Versions::Http1;
        Ok(HyperTransport::new(Settings {
            user_agent,
            connect_timeout,
            idle_timeout,
            max_idle_per_host,
            tcp_nodelay,
            tcp_keepalive,
            local_address,
            https_only,
            http2_prior_knowledge: versions == Versions::Http2,
            http2_keep_alive_interval,
            http2_keep_alive_timeout,
            overrides,
            proxy,
            filter,
            #[cfg(feature = "cookies")]
            cookies: cookies.then(Arc::default),
            offers_http2,
            tls: tls.connector(offers_http2)?,
            #[cfg(feature = "hickory-dns")]
            resolver: Default::default(),
        }))
    }
}

impl fmt::Debug for HyperBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperBuilder").finish_non_exhaustive()
    }
}
