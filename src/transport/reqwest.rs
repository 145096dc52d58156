//! The transport on reqwest's blocking client, which a pool uses unless it is told otherwise.

mod classify;
mod connecting;
mod response;

use std::sync::Arc;
use std::time::Duration;

use ::reqwest::ResponseBuilderExt;
pub(crate) use ::reqwest::blocking::ClientBuilder;
use ::reqwest::blocking::{Body, Client, Request, Response as BlockingResponse};
use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use ::reqwest::{Proxy, redirect};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tower_service::Service;
use url::{Position, Url};

use self::connecting::ConnectWatch;
use super::{Exchange, ResponseBody, Transport, TransportBuilder, check_tls_is_built_in};
use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error};
use crate::request::OpenBody;
use crate::response::Response;

/// A `reqwest::blocking::Client` as a transport. Made by [`TransportBuilder`] from a
/// [`ClientBuilder`](::reqwest::blocking::ClientBuilder).
///
/// Of the builder's settings, those that the crate looks after itself are overridden: redirects, `Referer`, decoding, and
/// the client's timeout for a whole request (each exchange brings its own).
#[derive(Debug)]
pub struct ReqwestTransport {
    client: Client,
    /// Tells whether a timeout struck while connecting. `None` in a client that several workers use at once: there,
    /// nobody can tell whose connection it was.
    connecting: Option<ConnectWatch>,
    /// Where the exchange before went. Its connection may come free while another one to the same place is being
    /// made, and be the one that is used.
    previous_origin: String,
}

impl TransportBuilder for ClientBuilder {
    type Transport = ReqwestTransport;

    fn build(self) -> Result<ReqwestTransport, BoxError> {
        let connecting = ConnectWatch::default();
        let client = self
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connector_layer(connecting.clone())
            .build()?;
        Ok(ReqwestTransport {
            client,
            connecting: Some(connecting),
            previous_origin: String::new(),
        })
    }

    fn build_with_filter(self, filter: AddressFilter) -> Result<ReqwestTransport, BoxError> {
        let resolver = FilteringResolver::new(filter);
        TransportBuilder::build(self.no_proxy().dns_resolver(Arc::new(resolver)))
    }

    /// The client's own timeout starts anew for the body, and for each piece of it.
    fn stall_timeout(self, stall_timeout: Option<Duration>) -> Self {
        self.timeout(stall_timeout)
    }

    fn through_proxy(self, proxy: &Url) -> Result<Self, BoxError> {
        Ok(self.no_proxy().proxy(Proxy::all(proxy.clone())?))
    }
}

/// A handle to the same client and its connections, for another worker.
impl Clone for ReqwestTransport {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            connecting: None,
            previous_origin: String::new(),
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
            // The client's holds.
            (None, Some(_)) => None,
            (limit, _) => Some(limit.unwrap_or(Duration::MAX)),
        };
        *request.body_mut() = exchange.content()?.map(|content| match content {
            OpenBody::Bytes(bytes) => Body::from(bytes),
            OpenBody::Reader { reader, length } => Body::sized(reader, length),
        });

        let origin = &exchange.url()[..Position::AfterPort];
        let is_elsewhere = self.previous_origin != origin;
        if is_elsewhere {
            self.previous_origin.clear();
            self.previous_origin.push_str(origin);
        }
        let before = self.connecting.as_ref().map(ConnectWatch::snapshot);
        let answer = self.client.execute(request).map_err(|error| {
            let still_connecting = match (&self.connecting, before) {
                (Some(watch), Some(before)) => is_elsewhere && watch.is_connecting_since(before),
                _ => false,
            };
            classify::head_error(error, still_connecting)
        })?;
        Ok(response::take_in(answer))
    }
}

/// For code that goes on with reqwest's type; its body is in memory, history and `remote_addr` are lost.
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

/// Hands out the vetted addresses alone, so that no other ones are connected to.
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

/// How long a connection is kept that nobody uses. The client looks for such ones as often, and has a timer for that, which goes
/// off before those of requests that have the default timeout. They would wake the client's thread otherwise, each for
/// nothing, measured: one system call of a good four, and 20 % of the speed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of [`Session::default`](crate::Session::default).
pub(crate) fn default_builder() -> ClientBuilder {
    let name = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    ClientBuilder::new()
        .user_agent(name)
        .pool_idle_timeout(IDLE_TIMEOUT)
}
