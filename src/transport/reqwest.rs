//! The transport on reqwest's blocking client, which a pool uses unless it is told otherwise.

mod body;
mod classify;
mod connecting;
mod detach;
mod vetting;

use std::sync::Arc;
use std::time::Duration;

use ::reqwest::ResponseBuilderExt;
use ::reqwest::blocking::{Body, Client, ClientBuilder, Request, Response as BlockingResponse};
use ::reqwest::{Proxy, redirect};
use url::{Position, Url};

use self::body::IncomingBody;
use self::connecting::ConnectWatch;
use self::vetting::VettingResolver;
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
        let resolver = VettingResolver::new(filter);
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
        Ok(take_in(answer))
    }
}

fn take_in(mut answer: BlockingResponse) -> http::Response<ResponseBody> {
    let (status, version) = (answer.status(), answer.version());
    let mut headers = std::mem::take(answer.headers_mut());
    detach::headers(&mut headers);
    let remote_addr = answer.remote_addr();
    let body = ResponseBody::from_whole(IncomingBody::new(answer));
    let mut response = http::Response::new(body.with_remote_addr(remote_addr));
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    response
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
