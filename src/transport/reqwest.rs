//! The transport on reqwest's blocking client: the default of a pool.

mod classify;
mod connecting;
mod default_headers;
mod kept_connections;
mod response;

use std::sync::Arc;
use std::time::Duration;

use ::reqwest::ResponseBuilderExt;
pub(crate) use ::reqwest::blocking::ClientBuilder;
use ::reqwest::blocking::{Body, Client, Request, Response as BlockingResponse};
use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use ::reqwest::{Proxy, redirect};
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tower_service::Service;
use url::Position;

use self::connecting::{ConnectWatch, Connecting};
use self::kept_connections::KeptConnections;
use super::classify::refused_credentials;
use super::options::unusable_proxy;
use super::{
    Exchange, ResponseBody, Transport, TransportBuilder, TransportOptions, check_tls_is_built_in,
};
use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error};
use crate::proxy;
use crate::request::OpenBody;
use crate::response::Response;

/// A [`Transport`] on a `reqwest::blocking::Client`, built by [`TransportBuilder`] from a
/// [`ClientBuilder`](::reqwest::blocking::ClientBuilder).
///
/// The crate overrides the builder's settings for what it does itself: redirects, `Referer`, content decoding, and the
/// client's timeout for a whole request (each exchange brings its own).
#[derive(Debug)]
pub struct ReqwestTransport {
    client: Client,
    /// Tells whether a timeout struck while connecting. `None` in a client that several workers share: there, a
    /// connection cannot be attributed to an exchange.
    connecting: Option<ConnectWatch>,
    /// The origin of the previous exchange. Its connection may become free while another one to the same origin is being
    /// established, and be used instead.
    previous_origin: String,
    kept: KeptConnections,
    /// Whether a proxy may pass on requests to `http` URLs, and refuse to.
    may_forward: bool,
}

impl TransportBuilder for ClientBuilder {
    type Transport = ReqwestTransport;

    fn build(self, options: &TransportOptions) -> Result<ReqwestTransport, BoxError> {
        let connecting = ConnectWatch::default();
        let may_forward = match options.proxy() {
            Some(proxy) => proxy.scheme().starts_with("http"),
            None => proxy::environment_may_forward(),
        };
        default_headers::check(&self)?;
        let mut client = self
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .http1_allow_obsolete_multiline_headers_in_responses(true)
            .connector_layer(connecting.clone());
        if let Some(filter) = options.address_filter() {
            let resolver = FilteringResolver::new(filter.clone());
            client = client.no_proxy().dns_resolver(Arc::new(resolver));
        }
        if let Some(proxy) = options.proxy() {
            let proxy = Proxy::all(proxy.clone()).map_err(unusable_proxy)?;
            client = client.no_proxy().proxy(proxy);
        }
        if let Some(stall_timeout) = options.stall_timeout() {
            // The client restarts its timeout for the body, and for each piece of it.
            client = client.timeout(stall_timeout);
        }
        Ok(ReqwestTransport {
            client: client.build()?,
            connecting: Some(connecting),
            previous_origin: String::new(),
            kept: KeptConnections::default(),
            may_forward,
        })
    }
}

/// A handle to the same client and its connections, for another worker.
impl Clone for ReqwestTransport {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            connecting: None,
            previous_origin: String::new(),
            kept: KeptConnections::default(),
            may_forward: self.may_forward,
        }
    }
}

impl Transport for ReqwestTransport {
    fn exchange(
        &mut self,
        mut exchange: Exchange<'_>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        check_tls_is_built_in(exchange.url())?;
        let mut request = Request::new(exchange.method().clone(), exchange.url().clone());
        *request.headers_mut() = exchange.take_headers();
        *request.timeout_mut() = match (exchange.timeout(), exchange.stall_timeout()) {
            // The timeout of the client applies.
            (None, Some(_)) => None,
            (limit, _) => Some(limit.unwrap_or(Duration::MAX)),
        };
        let content = exchange.content()?;
        let is_streamed = matches!(content, Some(OpenBody::Reader { .. }));
        *request.body_mut() = content.map(|content| match content {
            OpenBody::Bytes(bytes) => Body::from(bytes),
            OpenBody::Reader { reader, length } => match length {
                Some(length) => Body::sized(reader, length),
                None => Body::new(reader),
            },
        });

        let origin = &exchange.url()[..Position::AfterPort];
        if !self.kept.may_keep(origin) && !request.headers().contains_key(CONNECTION) {
            let close = HeaderValue::from_static("close");
            request.headers_mut().insert(CONNECTION, close);
        }
        let is_new_origin = self.previous_origin != origin;
        if is_new_origin {
            self.previous_origin.clear();
            self.previous_origin.push_str(origin);
        }
        let before = (self.connecting.as_ref()).map(|watch| watch.begin(is_streamed));
        let response = self.client.execute(request).map_err(|error| {
            self.kept.forget(origin);
            let connecting = match (&self.connecting, before) {
                (Some(watch), Some(before)) if is_new_origin => watch.since(before),
                _ => Connecting::Unknown,
            };
            classify::head_error(error, connecting)
        })?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && exchange.url().scheme() == "http"
            && self.may_forward
        {
            return Err(refused_credentials());
        }
        Ok(response::take_in(response))
    }
}

/// For code that continues with reqwest's type. The body is in memory; the redirect history and `remote_addr` are lost.
impl From<Response> for BlockingResponse {
    fn from(response: Response) -> Self {
        let url = response.url().clone();
        let (mut parts, body) = response.into_http().into_parts();
        if let Ok(with_url) = http::response::Builder::new().url(url).body(()) {
            parts.extensions.extend(with_url.into_parts().0.extensions);
        }
        http::Response::from_parts(parts, body).into()
    }
}

/// Resolves host names to the addresses that the filter allows, so that the client connects to no others.
struct FilteringResolver {
    filter: AddressFilter,
}

impl FilteringResolver {
    fn new(filter: AddressFilter) -> Self {
        Self { filter }
    }
}

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let filter = self.filter.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = GaiResolver::new().call(host.parse()?).await?;
            let vetted = filter.vetted(host, found)?;
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

/// How long an idle connection is kept. The client checks for expired ones at this interval, with a timer that fires
/// before those of requests that have the default timeout. Without it each of these would wake the client's thread for
/// nothing, measured: one system call of a good four, and 20 % of the speed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long making a connection may take in all. The client shares the time out among the addresses of a host, so one that
/// swallows what it is sent leaves time for the others. A lost packet is sent again after one, three and seven seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an HTTP/2 connection with requests in flight may be silent before it is asked for a sign of life, and how long
/// that may take. A dead one is closed then.
#[cfg(feature = "http2")]
const PING_AFTER: Duration = Duration::from_secs(10);

/// How much of all its bodies an HTTP/2 connection takes in that are not read yet: so much that the windows of the streams,
/// 2 MiB each, limit them alone, and some that are read slowly do not keep the others waiting.
#[cfg(feature = "http2")]
const CONNECTION_WINDOW: u32 = 1 << 30;

/// The settings of [`Session::default`](crate::Session::default).
pub(crate) fn default_builder() -> ClientBuilder {
    let name = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    let client = ClientBuilder::new()
        .user_agent(name)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT);
    #[cfg(feature = "http2")]
    let client = client
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_AFTER);
    // The client takes the wildcard for names alone, not for addresses.
    if proxy::environment_excepts_all() {
        client.no_proxy()
    } else {
        client
    }
}
