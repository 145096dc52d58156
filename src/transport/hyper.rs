//! The transport of the event-driven engine: an HTTP client whose exchanges share a thread, on hyper.

mod body;
mod builder;
mod connect;
mod connections;
mod http2;
mod io;
mod resolver;
#[cfg(feature = "socks")]
mod socks;
mod tls;

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::hyper::body::{Body, Incoming};
#[cfg(feature = "cookies")]
use ::reqwest::cookie::{CookieStore, Jar};
use http::header::{ACCEPT, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, USER_AGENT};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};
use url::{Position, Url};

pub(crate) use self::body::HyperBody;
use self::body::{Content, Failure};
pub use self::builder::HyperBuilder;
use self::connect::{ProxyChoice, Route, Target};
use self::connections::{Connections, Found, Http1, InUse};
use self::http2::Http2;
use self::tls::TlsConnector;
use super::classify;
use super::descriptors::DESCRIPTORS;
use super::detach::detach_headers;
use super::{Exchange, check_tls_is_built_in};
use crate::addresses::AddressFilter;
use crate::blocking_threads::FILES;
use crate::error::{Error, ErrorKind};
use crate::redact::SafeUrl;
use crate::request::RequestBody;

/// The transport of [`Session::hyper`](crate::Session::hyper), built by [`TransportBuilder`](crate::TransportBuilder) from a
/// [`HyperBuilder`]. The event-driven engine drives it: it performs any number of exchanges at the same time on the thread of
/// one worker.
///
/// A clone shares its connections and cookies.
#[derive(Clone)]
pub struct HyperTransport(Arc<Client>);

struct Client {
    settings: Settings,
    connections: Arc<Connections>,
}

struct Settings {
    user_agent: HeaderValue,
    connect_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    max_idle_per_host: usize,
    tcp_nodelay: bool,
    tcp_keepalive: Option<Duration>,
    local_address: Option<IpAddr>,
    https_only: bool,
    http2_prior_knowledge: bool,
    http2_keep_alive_interval: Option<Duration>,
    http2_keep_alive_timeout: Duration,
    overrides: HashMap<String, Vec<SocketAddr>>,
    proxy: ProxyChoice,
    filter: Option<AddressFilter>,
    #[cfg(feature = "cookies")]
    cookies: Option<Arc<Jar>>,
    offers_http2: bool,
    tls: TlsConnector,
    #[cfg(feature = "hickory-dns")]
    resolver: std::sync::OnceLock<hickory_resolver::TokioResolver>,
}

impl HyperTransport {
    fn new(settings: Settings) -> Self {
        Self(Arc::new(Client {
            connections: Connections::new(settings.idle_timeout, settings.max_idle_per_host),
            settings,
        }))
    }

    /// Performs one exchange, up to the head of its response, within its time.
    pub(crate) async fn exchange(
        &self,
        exchange: &mut Exchange<'_>,
    ) -> Result<http::Response<HyperBody>, Error> {
        let (deadline, stall_timeout) = (exchange.deadline(), exchange.stall_timeout());
        let progress = Progress::default();
        let sent = {
            // Pinned here, since it is large, and would be moved.
            let sending = pin!(self.0.exchange(exchange, &progress));
            within(deadline, stall_timeout, sending).await
        };
        let Some(response) = sent else {
            return Err(progress.timed_out());
        };
        let (response, mut connection, failure) = response?;
        if response.body().is_end_stream() {
            // Nothing more is read, so nothing else would notice that the exchange is over.
            connection.release().await;
        }
        Ok(response.map(|body| HyperBody::new(body, connection, failure, deadline, stall_timeout)))
    }
}

/// How far an exchange is, for the case that its time is over.
#[derive(Default)]
struct Progress {
    is_sent: Cell<bool>,
    /// The connection that it shares with others.
    shared: RefCell<Option<Http2>>,
}

impl Progress {
    fn timed_out(self) -> Error {
        if let Some(shared) = self.shared.into_inner() {
            shared.suspect();
        }
        Error::timeout().sent(self.is_sent.get())
    }
}

/// Waits for a result until the deadline at most; without one, for this long.
async fn within<T>(
    deadline: Option<Instant>,
    stall_timeout: Option<Duration>,
    future: impl Future<Output = T>,
) -> Option<T> {
    let stalls_at = || Instant::now().checked_add(stall_timeout?);
    match deadline.or_else(stalls_at) {
        None => Some(future.await),
        Some(until) => tokio::time::timeout_at(until.into(), future).await.ok(),
    }
}

impl Client {
    async fn exchange(
        &self,
        exchange: &mut Exchange<'_>,
        progress: &Progress,
    ) -> Result<(http::Response<Incoming>, InUse, Option<Failure>), Error> {
        let url = exchange.url();
        check_tls_is_built_in(url)?;
        let settings = &self.settings;
        if settings.https_only && url.scheme() != "https" {
            return Err(unsendable(
                url,
                "its scheme is not https, and https_only allows no other",
            ));
        }
        let target = Target::of(url)?;
        let route = settings.proxy.route(url)?;
        let mut headers = exchange.take_headers();
        let host = match headers.remove(HOST) {
            Some(host) => host,
            None => {
                HeaderValue::from_str(authority_of(url)).map_err(|error| unsendable(url, error))?
            }
        };
        self.complete_headers(&mut headers, url, &route);
        let content = match exchange.body() {
            None => Content::Empty,
            Some(body) => content(body).await?,
        };
        let failure = content.failure();
        let is_empty = content.is_end_stream();
        if is_empty && exchange.needs_content_length() {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        let mut request = http::Request::new(content);
        *request.method_mut() = exchange.method().clone();
        *request.headers_mut() = headers;

        let name = match &route {
            Route::Forward(proxy) => &*format!("proxy {proxy}"),
            _ => &url[..Position::AfterPort],
        };
        let key = self.connections.key(name);
        let may_be_http2 =
            (target.is_https && settings.offers_http2 && !matches!(route, Route::Forward(_)))
                || settings.http2_prior_knowledge;
        loop {
            let (mut connection, is_new) = match self.connections.find(&key, may_be_http2).await {
                Found::Http1(mut idle) => {
                    if !idle.is_ready().await {
                        continue;
                    }
                    (
                        InUse::http1(idle, Arc::clone(&key), &self.connections),
                        false,
                    )
                }
                Found::Http2(shared) => (InUse::Http2(shared), false),
                Found::Nothing(negotiation) => {
                    // Boxed, as all that is rarely needed: each request in flight would have to hold room for it.
                    let connected = Box::pin(settings.connect(target, &route)).await?;
                    if connected.speaks_http2 {
                        let shared = Box::pin(Http2::new(connected, settings)).await?;
                        self.connections.share(&key, &shared);
                        drop(negotiation);
                        (InUse::Http2(shared), true)
                    } else {
                        Box::pin(self.use_http1(connected, negotiation, &key)).await?
                    }
                }
            };
            let is_http1 = matches!(connection, InUse::Http1 { .. });
            name_target(&mut request, url, &host, &route, is_http1)?;
            progress.is_sent.set(true);
            let sent = match &mut connection {
                InUse::Http1 { connection, .. } => match connection {
                    Some(connection) => connection.send(request).await,
                    None => return Err(Error::closed("the connection is gone").sent(false)),
                },
                InUse::Http2(shared) => {
                    progress.shared.replace(Some(shared.clone()));
                    shared.send(request).await
                }
            };
            let mut failed = match sent {
                Ok(response) => {
                    if let (Route::Forward(_), StatusCode::PROXY_AUTHENTICATION_REQUIRED) =
                        (&route, response.status())
                    {
                        return Err(classify::refused_credentials());
                    }
                    return Ok((self.take_in(response, url), connection, failure));
                }
                Err(failed) => failed,
            };
            // Nothing of it was sent, as when the server has closed an idle connection at this moment.
            match failed.take_message() {
                Some(unsent) => {
                    progress.is_sent.set(false);
                    if is_new {
                        let error = classify::exchange_error(failed.into_error());
                        // A peer that speaks another protocol may have sent a greeting before the request left.
                        let is_closed = error.kind() == ErrorKind::Closed;
                        return Err(if is_closed { error.sent(false) } else { error });
                    }
                    request = unsent;
                }
                None => {
                    let unreadable = body::unreadable(failure);
                    return Err(
                        unreadable.unwrap_or_else(|| classify::exchange_error(failed.into_error()))
                    );
                }
            }
        }
    }

    async fn use_http1(
        &self,
        connected: connect::Connected,
        negotiation: Option<connections::Negotiation>,
        key: &Arc<str>,
    ) -> Result<(InUse, bool), Error> {
        if let Some(negotiation) = negotiation {
            negotiation.found_http1();
        }
        let connection = Http1::new(connected).await?;
        Ok((
            InUse::http1(connection, Arc::clone(key), &self.connections),
            true,
        ))
    }

    fn take_in(
        &self,
        mut response: http::Response<Incoming>,
        #[cfg_attr(
            not(feature = "cookies"),
            expect(unused_variables, reason = "for cookies")
        )]
        url: &Url,
    ) -> http::Response<Incoming> {
        detach_headers(response.headers_mut());
        #[cfg(feature = "cookies")]
        if let Some(cookies) = &self.settings.cookies {
            let mut set = response.headers().get_all(http::header::SET_COOKIE).iter();
            cookies.set_cookies(&mut set, url);
        }
        response
    }

    /// Adds the headers that follow from the settings and the route.
    fn complete_headers(
        &self,
        headers: &mut HeaderMap,
        #[cfg_attr(
            not(feature = "cookies"),
            expect(unused_variables, reason = "for cookies")
        )]
        url: &Url,
        route: &Route,
    ) {
        let settings = &self.settings;
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        }
        if !headers.contains_key(USER_AGENT) {
            headers.insert(USER_AGENT, settings.user_agent.clone());
        }
        #[cfg(feature = "cookies")]
        if let Some(cookies) = &settings.cookies {
            if !headers.contains_key(http::header::COOKIE) {
                if let Some(stored) = cookies.cookies(url) {
                    headers.insert(http::header::COOKIE, stored);
                }
            }
        }
        if let Route::Forward(proxy) = route {
            if let (Some(credentials), false) = (
                &proxy.authorization,
                headers.contains_key(PROXY_AUTHORIZATION),
            ) {
                headers.insert(PROXY_AUTHORIZATION, credentials.clone());
            }
        }
    }
}

/// Names the target in the form that the connection needs: the path beside the header `Host`, or the whole URL for proxies and
/// HTTP/2, where the authority takes the place of the header (RFC 9113, section 8.3.1).
fn name_target(
    request: &mut http::Request<Content>,
    url: &Url,
    host: &HeaderValue,
    route: &Route,
    is_http1: bool,
) -> Result<(), Error> {
    let path = PathAndQuery::try_from(&url[Position::BeforePath..Position::AfterQuery]);
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path.map_err(|error| unsendable(url, error))?);
    if !is_http1 || matches!(route, Route::Forward(_)) {
        let is_https = url.scheme() == "https";
        uri.scheme = Some(if is_https {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        let authority = if is_http1 {
            authority_of(url).as_bytes()
        } else {
            host.as_bytes()
        };
        let authority = Authority::try_from(authority);
        uri.authority = Some(authority.map_err(|error| unsendable(url, error))?);
    }
    *request.uri_mut() = Uri::from_parts(uri).map_err(|error| unsendable(url, error))?;
    if is_http1 {
        request.headers_mut().insert(HOST, host.clone());
        *request.version_mut() = Version::HTTP_11;
    } else {
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_2;
    }
    Ok(())
}

fn authority_of(url: &Url) -> &str {
    &url[Position::BeforeHost..Position::AfterPort]
}

/// Opens the content of a request. A file is opened on another thread.
async fn content(body: &RequestBody) -> Result<Content, Error> {
    if let Some(bytes) = body.as_bytes() {
        return Ok(if bytes.is_empty() {
            Content::Empty
        } else {
            Content::Bytes(bytes.clone())
        });
    }
    loop {
        let body = body.clone();
        match Box::pin(FILES.run(move || body.open_to_send())).await? {
            Err(error) if error.kind() == ErrorKind::LocalResource => {
                if !DESCRIPTORS.relieved().await {
                    return Err(error);
                }
            }
            opened => return Ok(opened?.into()),
        }
    }
}

fn unsendable(url: &Url, reason: impl fmt::Display) -> Error {
    let message = format!("`{}` cannot be requested: {reason}", SafeUrl(url.as_str()));
    Error::invalid_request(message)
}

impl fmt::Debug for HyperTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperTransport").finish_non_exhaustive()
    }
}
