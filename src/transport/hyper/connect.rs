//! Making connections: which proxy they go through, TCP, the proxy's part, and TLS.

use std::fmt;
use std::future::poll_fn;
use std::io;
#[cfg(feature = "socks")]
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderValue, Method, StatusCode, Uri};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::net::{TcpSocket, TcpStream};
use url::Url;

use super::body::Content;
use super::io::Stream;
#[cfg(feature = "socks")]
use super::socks;
use super::tls::Peer;
use super::{Settings, resolver};
use crate::error::{BoxError, Error, ErrorKind, is_out_of_resources};
use crate::headers;
use crate::proxy;
use crate::redact::Truncated;
use crate::transport::classify;
use crate::transport::descriptors::{DESCRIPTORS, Place};

/// How long one address has before the next one is tried as well (RFC 8305, section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Which proxy requests go through.
pub(super) enum ProxyChoice {
    Direct,
    Always(Arc<Proxy>),
    OfEnvironment(Box<Matcher>),
}

/// A proxy, and the credentials for it.
pub(super) struct Proxy {
    pub(super) kind: ProxyKind,
    pub(super) host: String,
    pub(super) port: u16,
    /// For HTTP proxies, as a header.
    pub(super) authorization: Option<HeaderValue>,
    /// For SOCKS proxies: user name and password.
    #[cfg(feature = "socks")]
    pub(super) credentials: Option<(String, String)>,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum ProxyKind {
    Http,
    Https,
    #[cfg(feature = "socks")]
    Socks4 {
        resolves: bool,
    },
    #[cfg(feature = "socks")]
    Socks5 {
        resolves: bool,
    },
}

/// The way to a server.
pub(super) enum Route {
    Direct,
    /// Through the proxy, which is sent the request itself.
    Forward(Arc<Proxy>),
    /// Through the proxy, which passes everything on.
    Through(Arc<Proxy>),
}

/// A connection to a server or to a proxy that forwards, on which nothing was sent.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) place: Place,
    pub(super) peer: Option<SocketAddr>,
    pub(super) speaks_http2: bool,
}

/// The server that a request goes to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) is_https: bool,
    /// An IPv6 address is in brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
}

impl<'a> Target<'a> {
    pub(super) fn of(url: &'a Url) -> Result<Self, Error> {
        let host = url.host_str().filter(|host| !host.is_empty());
        match (host, url.port_or_known_default()) {
            (Some(host), _) if !host.bytes().all(is_allowed_in_host) => {
                let message = format!("no host can be named `{}`", Truncated(host));
                Err(Error::invalid_request(message))
            }
            (Some(host), Some(port)) => Ok(Self {
                is_https: url.scheme() == "https",
                host,
                port,
            }),
            _ => Err(Error::invalid_request("the URL has no host")),
        }
    }
}

/// A parsed URL may hold more characters in its host than RFC 3986, section 3.2.2, allows, such as the braces of a template.
fn is_allowed_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

impl ProxyChoice {
    /// This proxy for all requests.
    pub(super) fn always(url: &Url) -> Result<Self, BoxError> {
        let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let has_user = !url.username().is_empty() || url.password().is_some();
        let credentials = has_user.then(|| {
            let password = url.password().unwrap_or_default();
            (text(url.username()), text(password))
        });
        let mut proxy = Proxy::new(url.scheme(), url.host_str(), url.port())?;
        if let (true, Some((user, password))) = (proxy.is_http(), &credentials) {
            proxy.authorization = Some(headers::basic(user, Some(password))?);
        }
        #[cfg(feature = "socks")]
        {
            proxy.credentials = credentials;
        }
        Ok(Self::Always(Arc::new(proxy)))
    }

    /// Those that the environment names, as curl reads it: by the scheme of the URL, except for the hosts of `NO_PROXY`.
    pub(super) fn of_environment() -> Self {
        if !cfg!(feature = "system-proxy") {
            return Self::Direct;
        }
        // As the check of the environment has read them: the matcher takes fewer characters, and ignores what it cannot read.
        let url = |text: String| proxy::parse(&text).map_or(text, |url| url.to_string());
        let [http, https, all] = ["http_proxy", "https_proxy", "all_proxy"].map(proxy::variable);
        let is_direct = http.is_none() && https.is_none() && all.is_none();
        // The matcher takes the wildcard for names alone, not for addresses.
        if is_direct || proxy::environment_excepts_all() {
            return Self::Direct;
        }
        let exceptions = proxy::variable("no_proxy").unwrap_or_default();
        let matcher = Matcher::builder()
            .http(http.map(url).unwrap_or_default())
            .https(https.map(url).unwrap_or_default())
            .all(all.map(url).unwrap_or_default())
            .no(exceptions)
            .build();
        Self::OfEnvironment(Box::new(matcher))
    }

    pub(super) fn route(&self, url: &Url) -> Result<Route, Error> {
        let proxy = match self {
            Self::Direct => return Ok(Route::Direct),
            Self::Always(proxy) => Arc::clone(proxy),
            Self::OfEnvironment(matcher) => {
                // Scheme and host alone decide.
                let origin: Result<Uri, _> = url[..url::Position::AfterPort].parse();
                match origin.ok().and_then(|origin| matcher.intercept(&origin)) {
                    None => return Ok(Route::Direct),
                    Some(intercepted) => Arc::new(Proxy::intercepting(&intercepted)?),
                }
            }
        };
        Ok(if proxy.is_http() && url.scheme() == "http" {
            Route::Forward(proxy)
        } else {
            Route::Through(proxy)
        })
    }
}

impl Proxy {
    fn new(scheme: &str, host: Option<&str>, port: Option<u16>) -> Result<Self, BoxError> {
        let (kind, default_port) = match scheme {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Https, 443),
            #[cfg(feature = "socks")]
            "socks4" => (ProxyKind::Socks4 { resolves: false }, 1080),
            #[cfg(feature = "socks")]
            "socks4a" => (ProxyKind::Socks4 { resolves: true }, 1080),
            #[cfg(feature = "socks")]
            "socks5" => (ProxyKind::Socks5 { resolves: false }, 1080),
            #[cfg(feature = "socks")]
            "socks5h" => (ProxyKind::Socks5 { resolves: true }, 1080),
            _ => return Err("its scheme is not supported".into()),
        };
        Ok(Self {
            kind,
            host: host.ok_or("it has no host")?.to_owned(),
            port: port.unwrap_or(default_port),
            authorization: None,
            #[cfg(feature = "socks")]
            credentials: None,
        })
    }

    fn intercepting(intercepted: &Intercept) -> Result<Self, Error> {
        let uri = intercepted.uri();
        let scheme = uri.scheme_str().unwrap_or("http");
        let mut proxy = Self::new(scheme, uri.host(), uri.port_u16())
            .map_err(|error| Error::session(format!("the proxy of the environment: {error}")))?;
        proxy.authorization = intercepted.basic_auth().cloned();
        #[cfg(feature = "socks")]
        if let Some((user, password)) = intercepted.raw_auth() {
            proxy.credentials = Some((user.to_owned(), password.to_owned()));
        }
        Ok(proxy)
    }

    /// For messages.
    fn name(&self) -> String {
        let scheme = match self.kind {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            #[cfg(feature = "socks")]
            ProxyKind::Socks4 { .. } => "socks4",
            #[cfg(feature = "socks")]
            ProxyKind::Socks5 { .. } => "socks5",
        };
        format!("{scheme}://{}:{}", Truncated(&self.host), self.port)
    }

    fn is_http(&self) -> bool {
        matches!(self.kind, ProxyKind::Http | ProxyKind::Https)
    }
}

impl fmt::Display for Proxy {
    /// What tells its connections from those to other proxies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.kind == ProxyKind::Https {
            "https"
        } else {
            "http"
        };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Settings {
    /// Makes a connection. Nothing of the request is sent before it has come about, so its errors are of a request that was
    /// not sent.
    pub(super) async fn connect(
        &self,
        target: Target<'_>,
        route: &Route,
    ) -> Result<Connected, Error> {
        let mut place = DESCRIPTORS.place().await;
        let connecting = async {
            let (stream, peer) = self.stream_to(target, route).await?;
            place.open();
            log::debug!("connected to {peer} for {}", Truncated(target.host));
            let is_encrypted = target.is_https && !matches!(route, Route::Forward(_));
            let (stream, agreed_on_http2) = if is_encrypted {
                self.tls
                    .handshake(Peer::Server, target.host, stream)
                    .await?
            } else {
                (stream, false)
            };
            Ok(Connected {
                stream,
                place,
                peer: Some(peer),
                speaks_http2: agreed_on_http2 || self.http2_prior_knowledge,
            })
        };
        match self.connect_timeout {
            None => connecting.await,
            Some(limit) => match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(elapsed) => {
                    let error = Error::timeout().with_time_limit(limit);
                    Err(error.sent(false).with_source(elapsed))
                }
            },
        }
    }

    /// A stream to the server, or to the proxy that forwards to it, and the address at its other end.
    async fn stream_to(
        &self,
        target: Target<'_>,
        route: &Route,
    ) -> Result<(Stream, SocketAddr), Error> {
        match route {
            Route::Direct => {
                let (stream, peer) = self.tcp(target.host, target.port).await?;
                Ok((Stream::Tcp(stream), peer))
            }
            Route::Forward(proxy) | Route::Through(proxy) => {
                let connected = self.stream_by(target, route, proxy).await;
                connected.map_err(|error| error.naming_proxy(|| proxy.name()))
            }
        }
    }

    async fn stream_by(
        &self,
        target: Target<'_>,
        route: &Route,
        proxy: &Proxy,
    ) -> Result<(Stream, SocketAddr), Error> {
        let (stream, peer) = self.tcp_to(proxy).await?;
        let stream = match (proxy.kind, route) {
            (ProxyKind::Http, Route::Forward(_)) => Stream::Tcp(stream),
            (ProxyKind::Http, _) => tunnel(Stream::Tcp(stream), target, proxy).await?,
            (ProxyKind::Https, route) => {
                let encrypted = self
                    .tls
                    .handshake(Peer::Proxy, &proxy.host, Stream::Tcp(stream))
                    .await;
                let (stream, _) = encrypted.map_err(Error::at_proxy)?;
                match route {
                    Route::Forward(_) => stream,
                    _ => tunnel(stream, target, proxy).await?,
                }
            }
            #[cfg(feature = "socks")]
            (ProxyKind::Socks4 { resolves } | ProxyKind::Socks5 { resolves }, _) => {
                return self
                    .through_socks((stream, peer), target, proxy, resolves)
                    .await;
            }
        };
        Ok((stream, peer))
    }

    /// Lets a SOCKS proxy connect to the server: by its name, or to one of its addresses after the other, until one accepts.
    #[cfg(feature = "socks")]
    async fn through_socks(
        &self,
        connected: (TcpStream, SocketAddr),
        target: Target<'_>,
        proxy: &Proxy,
        proxy_resolves: bool,
    ) -> Result<(Stream, SocketAddr), Error> {
        let is_v4 = matches!(proxy.kind, ProxyKind::Socks4 { .. });
        let mut addresses = match (resolver::literal(target.host), proxy_resolves) {
            (Some(address), _) => vec![Some(address)],
            (None, true) => vec![None],
            (None, false) => {
                let found = self.addresses(target.host, target.port).await?;
                let found = interleaved(found).into_iter();
                found.map(|address| Some(address.ip())).collect()
            }
        };
        if is_v4 {
            addresses.retain(|address| address.is_none_or(|address| address.is_ipv4()));
        }
        let mut connected = Some(connected);
        let mut first_refusal = None;
        for address in addresses {
            let (stream, peer) = match connected.take() {
                Some(connected) => connected,
                // It has closed the connection with its refusal.
                None => self.tcp_to(proxy).await?,
            };
            let asked = match address {
                Some(IpAddr::V4(address)) if is_v4 => {
                    socks::connect_v4(stream, target, Some(address), proxy).await
                }
                _ if is_v4 => socks::connect_v4(stream, target, None, proxy).await,
                address => socks::connect_v5(stream, target, address, proxy).await,
            };
            match asked? {
                Ok(stream) => return Ok((Stream::Tcp(stream), peer)),
                Err(refusal) => {
                    first_refusal.get_or_insert(refusal);
                }
            }
        }
        Err(first_refusal.unwrap_or_else(|| {
            Error::proxy("SOCKS4 connects to IPv4 addresses alone, and the host has none")
        }))
    }

    /// The addresses of a host that may be connected to.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let found = loop {
            match resolver::addresses(self, host, port).await {
                // Its sockets are not available; see `connect_to`.
                Err(error) if error.kind() == ErrorKind::LocalResource => {
                    if !DESCRIPTORS.relieved().await {
                        return Err(error);
                    }
                }
                found => break found?,
            }
        };
        match &self.filter {
            None => Ok(found),
            Some(filter) => filter.vetted(host, found).map_err(Error::dns),
        }
    }

    /// Connects to the first address of a host that accepts. The families take turns, beginning with the one of the first
    /// address, and none is waited for longer than [`NEXT_ADDRESS_AFTER`] before the next one is tried (RFC 8305).
    async fn tcp(&self, host: &str, port: u16) -> Result<(TcpStream, SocketAddr), Error> {
        let addresses = self.addresses(host, port).await?;
        let addresses = match self.local_address {
            None => addresses,
            Some(local) => {
                let same_family = |address: &SocketAddr| address.is_ipv4() == local.is_ipv4();
                addresses.into_iter().filter(same_family).collect()
            }
        };
        let result = match *addresses {
            [] => Err(io::Error::other(
                "the host has no address of the family of the local address",
            )),
            [address] => self.connect_to(address).await,
            _ => self.race(interleaved(addresses)).await,
        };
        result.map_err(|error| {
            if is_out_of_resources(&error) {
                Error::local_resource(error)
            } else if error.kind() == io::ErrorKind::TimedOut {
                Error::timeout().sent(false).with_source(error)
            } else {
                Error::connect(error)
            }
        })
    }

    async fn tcp_to(&self, proxy: &Proxy) -> Result<(TcpStream, SocketAddr), Error> {
        let connected = self.tcp(&proxy.host, proxy.port).await;
        connected.map_err(Error::at_proxy)
    }

    async fn race(&self, addresses: Vec<SocketAddr>) -> io::Result<(TcpStream, SocketAddr)> {
        let mut addresses = addresses.into_iter();
        let mut racing = FuturesUnordered::new();
        let mut first_error = None;
        loop {
            if let Some(address) = addresses.next() {
                racing.push(self.connect_to(address));
            }
            let mut ended = racing.next();
            let next = if addresses.len() == 0 {
                ended.await
            } else {
                match tokio::time::timeout(NEXT_ADDRESS_AFTER, &mut ended).await {
                    Ok(ended) => ended,
                    Err(_) => continue,
                }
            };
            match next {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => {
                    // A family that this machine does not have says nothing about the host.
                    let is_without_family =
                        |first: &io::Error| first.kind() == io::ErrorKind::AddrNotAvailable;
                    if first_error.as_ref().is_none_or(is_without_family) {
                        first_error = Some(error);
                    }
                }
                None if addresses.len() == 0 => break,
                None => {}
            }
        }
        Err(first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    async fn connect_to(&self, address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        let socket = loop {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            };
            match socket {
                // Files and the rest of the program may have taken the descriptors that the limit leaves.
                Err(error) if is_out_of_resources(&error) => {
                    if !DESCRIPTORS.relieved().await {
                        return Err(error);
                    }
                }
                other => break other?,
            }
        };
        if let Some(local) = self.local_address {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        if let Some(time) = self.tcp_keepalive {
            let keepalive = socket2::TcpKeepalive::new().with_time(time);
            socket2::SockRef::from(&socket).set_tcp_keepalive(&keepalive)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(self.tcp_nodelay)?;
        Ok((stream, address))
    }
}

/// IPv4 and IPv6 addresses in turns, beginning with the family of the first one.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(starts_with_v4) = addresses.first().map(SocketAddr::is_ipv4) else {
        return addresses;
    };
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv4() == starts_with_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut all = Vec::with_capacity(first.len() + second.len());
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

/// Asks an HTTP proxy to pass everything on to the server (RFC 9110, section 9.3.6). Any 2xx response opens the tunnel.
async fn tunnel(stream: Stream, target: Target<'_>, proxy: &Proxy) -> Result<Stream, Error> {
    let failed = |error: hyper::Error| Error::proxy(error);
    let authority = format!("{}:{}", target.host, target.port);
    let mut request = http::Request::new(Content::Empty);
    *request.method_mut() = Method::CONNECT;
    let uri = Uri::try_from(&authority);
    *request.uri_mut() = uri.map_err(|error| Error::invalid_request(error.to_string()))?;
    let host = HeaderValue::try_from(authority);
    let host = host.map_err(|error| Error::invalid_request(error.to_string()))?;
    request.headers_mut().insert(HOST, host);
    if let Some(credentials) = proxy.authorization.clone() {
        request
            .headers_mut()
            .insert(PROXY_AUTHORIZATION, credentials);
    }
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, mut connection) = handshake.map_err(failed)?;
    let mut response = pin!(sender.send_request(request));
    let response = poll_fn(|context| {
        let ended = connection.poll_without_shutdown(context);
        match response.as_mut().poll(context) {
            Poll::Ready(response) => Poll::Ready(response.map_err(failed)),
            Poll::Pending if ended.is_ready() => {
                Poll::Ready(Err(Error::proxy("it has closed the connection")))
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return Err(classify::refused_credentials());
    }
    if !response.status().is_success() {
        let message = format!("it does not open a tunnel: {}", response.status());
        return Err(Error::proxy(message));
    }
    drop(response);
    let parts = connection.into_parts();
    if !parts.read_buf.is_empty() {
        return Err(Error::proxy("it has sent more than its response"));
    }
    Ok(parts.io.into_inner())
}
