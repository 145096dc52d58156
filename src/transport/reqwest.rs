//! The transport on reqwest's blocking client, which a pool uses unless it is told otherwise.

mod classify;
mod connecting;

use std::io::{self, Read};

use ::reqwest::ResponseBuilderExt;
use ::reqwest::blocking::{Body, Client, ClientBuilder, Request, Response as BlockingResponse};
use ::reqwest::{Proxy, redirect};
use bytes::Bytes;
use url::Url;

use self::connecting::ConnectWatch;
use super::{Exchange, ReadWhole, RemoteAddr, ResponseBody, Transport, TransportBuilder};
use crate::error::{BoxError, Error};
use crate::request::OpenBody;
use crate::response::Response;

/// A `reqwest::blocking::Client` as a transport. Made by [`TransportBuilder`] from a
/// [`ClientBuilder`](::reqwest::blocking::ClientBuilder).
///
/// Of the builder's settings, those that the crate looks after itself are overridden: redirects, `Referer`, decoding, and
/// the client's timeouts for a whole request (each exchange brings its own).
#[derive(Debug)]
pub struct ReqwestTransport {
    client: Client,
    /// Tells whether a timeout struck while connecting. `None` in a client that several workers use at once: there,
    /// nobody can tell whose connection it was.
    connecting: Option<ConnectWatch>,
}

impl TransportBuilder for ClientBuilder {
    type Transport = ReqwestTransport;

    fn build(self) -> Result<ReqwestTransport, BoxError> {
        let connecting = ConnectWatch::default();
        let client = self
            .timeout(None)
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
        })
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
        *request.timeout_mut() = exchange.timeout();
        if let Some(body) = exchange.body() {
            *request.body_mut() = Some(match body.open_to_send()? {
                OpenBody::Bytes(bytes) => Body::from(bytes),
                OpenBody::Reader { reader, length } => Body::sized(reader, length),
            });
        }

        let before = self.connecting.as_ref().map(ConnectWatch::snapshot);
        let mut answer = self.client.execute(request).map_err(|error| {
            let still_connecting = match (&self.connecting, before) {
                (Some(watch), Some(before)) => watch.is_connecting_since(before),
                _ => false,
            };
            classify::head_error(error, still_connecting)
        })?;

        let mut response = http::Response::new(());
        *response.status_mut() = answer.status();
        *response.version_mut() = answer.version();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        if let Some(address) = answer.remote_addr() {
            response.extensions_mut().insert(RemoteAddr(address));
        }
        Ok(response.map(|()| ResponseBody::from_whole(IncomingBody(answer))))
    }
}

/// Without TLS, reqwest would complain of the scheme, which is not what must be mended.
fn check_tls_is_built_in(url: &Url) -> Result<(), Error> {
    if cfg!(any(feature = "default-tls", feature = "native-tls")) || url.scheme() != "https" {
        return Ok(());
    }
    Err(Error::invalid_request(
        "https URLs need the feature `default-tls` or `native-tls` of reqwest-threaded",
    ))
}

struct IncomingBody(BlockingResponse);

impl Read for IncomingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| io::Error::other(classify::body_error(error.into())))
    }
}

impl ReadWhole for IncomingBody {
    fn read_whole(self: Box<Self>) -> io::Result<Bytes> {
        self.0
            .bytes()
            .map_err(|error| io::Error::other(classify::body_error(error.without_url().into())))
    }
}

/// For code that goes on with reqwest's type; its body is in memory, `remote_addr` is lost.
impl From<Response> for BlockingResponse {
    fn from(response: Response) -> Self {
        let url = response.url().clone();
        let (mut parts, body) = response.into_http().into_parts();
        let with_url = http::response::Builder::new().url(url).body(());
        if let Ok(with_url) = with_url {
            parts.extensions.extend(with_url.into_parts().0.extensions);
        }
        http::Response::from_parts(parts, body).into()
    }
}
