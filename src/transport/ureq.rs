//! The transport on ureq: HTTP/1.1 on the worker's own thread, without a client thread beside it.

mod body;
mod buffers;
mod classify;
mod connect;
mod connection;
mod current;
mod failure;
mod forward;
mod host;
mod idle;
mod in_use;
mod look_up;
mod reuse;
mod socket;

use std::sync::Arc;

use ::ureq::config::{AutoHeaderValue, ConfigBuilder};
use ::ureq::typestate::AgentScope;
use ::ureq::{Agent, Proxy, SendBody};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use url::{Position, Url};

use self::body::IncomingBody;
use self::current::Limit;
use self::host::KnownHost;
use self::idle::Idle;
use self::look_up::LookUpLater;
use super::classify::refused_credentials;
use super::options::unusable_proxy;
use super::{
    Exchange, ResponseBody, Transport, TransportBuilder, TransportOptions, check_tls_is_built_in,
};
use crate::error::{BoxError, Error};
use crate::redact::SafeUrl;

/// A transport on a `ureq::Agent`, built from a [`ConfigBuilder`](::ureq::config::ConfigBuilder);
/// [`Session::ureq`](crate::Session::ureq) is a shortcut.
///
/// The crate overrides the builder's settings for what it does itself: redirects, content decoding, errors for statuses,
/// timeouts and limits on idle connections.
#[derive(Clone, Debug)]
pub struct UreqTransport {
    agent: Agent,
    #[expect(dead_code, reason = "its holders are counted")]
    idle: Arc<Idle>,
    longest_line: usize,
    host: KnownHost,
}

/// What a [`UreqTransport`] is built from: ureq's own settings, as [`Session::client`](crate::Session::client) hands them out.
pub type UreqConfigBuilder = ConfigBuilder<AgentScope>;

impl TransportBuilder for UreqConfigBuilder {
    type Transport = UreqTransport;

    fn build(self, options: &TransportOptions) -> Result<UreqTransport, BoxError> {
        let mut config = self;
        let filter = options.address_filter().cloned();
        if filter.is_some() {
            config = config.proxy(None);
        }
        if let Some(proxy) = options.proxy() {
            config = config.proxy(Some(Proxy::new(proxy.as_str()).map_err(unusable_proxy)?));
        }
        let config = config
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .save_redirect_history(false)
            .accept_encoding(AutoHeaderValue::None)
            .allow_non_standard_methods(true)
            .timeout_global(None)
            .timeout_per_call(None)
            .timeout_per_read(None)
            .timeout_per_write(None)
            .timeout_resolve(None)
            .timeout_connect(None)
            .timeout_send_request(None)
            .timeout_send_body(None)
            .timeout_recv_response(None)
            .timeout_recv_body(None);
        let config = UreqConfigBuilder::build(config);
        for (name, value) in [
            ("user_agent", config.user_agent()),
            ("accept", config.accept()),
        ] {
            check_header(name, value)?;
        }
        let longest_line = config.output_buffer_size();
        let idle = Idle::new(config.max_idle_age());
        let connector = connect::connector(Arc::clone(&idle), filter);
        let agent = Agent::with_parts(config, connector, LookUpLater);
        Ok(UreqTransport {
            agent,
            idle,
            longest_line,
            host: KnownHost::default(),
        })
    }
}

/// ureq would panic over such a value, with each request.
fn check_header(name: &str, value: &AutoHeaderValue) -> Result<(), BoxError> {
    match value {
        AutoHeaderValue::Provided(value) if HeaderValue::from_str(value).is_err() => {
            let reason = "may not hold line breaks or other control characters";
            Err(format!("{name} {reason}").into())
        }
        _ => Ok(()),
    }
}

impl Transport for UreqTransport {
    fn exchange(
        &mut self,
        mut exchange: Exchange<'_>,
    ) -> Result<http::Response<ResponseBody>, Error> {
        check_tls_is_built_in(exchange.url())?;
        let mut headers = exchange.take_headers();
        if !headers.contains_key(HOST) {
            if let Some(host) = self.host.of(exchange.url()) {
                // Where there is no room for it, ureq still writes one of its own.
                let _ = headers.try_insert(HOST, host);
            }
        }
        let body = exchange.content()?.map(body::outgoing);
        let body = body.map_or_else(SendBody::none, |(body, length)| {
            if let Some(length) = length {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            body
        });
        let mut request = http::Request::new(body);
        *request.method_mut() = exchange.method().clone();
        *request.uri_mut() = uri(exchange.url())?;
        *request.headers_mut() = headers;
        self.check_lines(&request)?;

        let stall_timeout = exchange.stall_timeout();
        let limit = match (exchange.deadline(), stall_timeout) {
            (Some(deadline), _) => Limit::Until(deadline),
            (None, Some(stall)) => Limit::until_after(stall),
            (None, None) => Limit::None,
        };
        current::begin(limit);
        let answer = self.agent.run(request).map_err(|error| {
            classify::head_error(error, exchange.url().as_str(), current::has_sent())
        })?;
        check_size(answer.headers())?;
        let (parts, body) = answer.into_parts();
        let is_refusal = parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED;
        if is_refusal && self.is_forwarded(exchange.url())? {
            return Err(refused_credentials());
        }
        let stall_timeout = stall_timeout.filter(|_| exchange.deadline().is_none());
        let body = IncomingBody::new(body, limit, stall_timeout);
        let body = ResponseBody::announced(body).with_remote_addr(current::peer());
        Ok(http::Response::from_parts(parts, body))
    }
}

impl UreqTransport {
    /// Whether a proxy passes on requests to this URL.
    fn is_forwarded(&self, url: &Url) -> Result<bool, Error> {
        let proxy = self.agent.config().proxy();
        let uri = uri(url)?;
        Ok(proxy.is_some_and(|proxy| forward::forwards(proxy, &uri)))
    }

    /// Refuses what ureq would find too long, maybe only when it has sent the lines before.
    fn check_lines<B>(&self, request: &http::Request<B>) -> Result<(), Error> {
        // Spaces, the version, line breaks: `GET / HTTP/1.1`, `name: value`.
        const LINE: usize = 16;
        let target = request
            .uri()
            .path_and_query()
            .map_or(1, |path| path.as_str().len());
        let first = request.method().as_str().len() + target;
        let headers = request.headers().iter();
        let others = headers.map(|(name, value)| name.as_str().len() + value.len());
        let longest = others.fold(first, usize::max) + LINE;
        if longest <= self.longest_line {
            return Ok(());
        }
        Err(Error::invalid_request(format!(
            "a line of its head has {longest} bytes, more than fit into the output buffer of {} bytes; enlarge that: \
             `session.client(|config| config.output_buffer_size({}))`",
            self.longest_line,
            longest.next_power_of_two(),
        )))
    }
}

/// Most fields in the head of a response. It is the limit of hyper, and so of the transport on reqwest.
const MOST_FIELDS: usize = 100;

fn check_size(headers: &HeaderMap) -> Result<(), Error> {
    if headers.len() > MOST_FIELDS {
        return Err(Error::protocol(format!(
            "its head has more than {MOST_FIELDS} fields"
        )));
    }
    Ok(())
}

fn uri(url: &Url) -> Result<Uri, Error> {
    let text = &url[..Position::AfterQuery];
    text.parse().map_err(|error: http::uri::InvalidUri| {
        let message = format!("`{}` cannot be requested", SafeUrl(text));
        Error::invalid_request(message).with_source(error)
    })
}

/// Holds the largest head of a response that is accepted. Connections without TLS begin with less.
const INPUT_BUFFER: usize = 64 << 10;

/// Holds the longest line of a request's head.
const OUTPUT_BUFFER: usize = 16 << 10;

/// The settings of [`Session::ureq`](crate::Session::ureq).
pub(crate) fn default_builder() -> UreqConfigBuilder {
    let name = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    let config = Agent::config_builder()
        .user_agent(name)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER);
    #[cfg(any(feature = "default-tls", feature = "native-tls"))]
    let config = config.tls_config(tls_config());
    #[cfg(not(feature = "system-proxy"))]
    let config = config.proxy(None);
    config
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
fn tls_config() -> ::ureq::tls::TlsConfig {
    use ::ureq::tls::{RootCerts, TlsConfig};

    let config = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier);
    #[cfg(feature = "default-tls")]
    let config = {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        config.unversioned_rustls_crypto_provider(std::sync::Arc::new(provider))
    };
    #[cfg(not(feature = "default-tls"))]
    let config = config.provider(::ureq::tls::TlsProvider::NativeTls);
    config.build()
}
