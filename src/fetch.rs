//! One attempt: a session and a spec become exchanges, redirects are followed, the body is decoded and taken in.
//!
//! It is written once, as an `async fn` over what an [`Engine`] gives it. On a transport that blocks, it is complete when it
//! is polled once; an event loop may have thousands of attempts pending on one thread.

mod body;
mod deadline;
mod decode;
mod engine;
mod hop;
mod redirect;
mod sink;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use url::Url;

use self::body::Incoming;
use self::deadline::Deadline;
use self::engine::Engine;
use self::hop::Hop;
use crate::addresses::{AddressFilter, NotPublic};
use crate::error::{Error, ErrorKind, chain};
use crate::history::RedirectHop;
use crate::request::{BodyDestination, RequestSpec};
use crate::response::{Response, ResponseHead};
use crate::session::{OpenSession, SessionDefaults};
use crate::transport::Exchange;

/// The limits of an attempt, where the spec sets none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptLimits {
    /// The outer option: was it set? The inner one: is there a limit?
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) max_redirects: u32,
    /// The outer option: was it set? If not, there is a limit for bodies in memory only. The inner one: is there a limit?
    pub(crate) max_body: Option<Option<u64>>,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            timeout: None,
            stall_timeout: Some(Duration::from_secs(30)),
            max_redirects: 10,
            max_body: None,
        }
    }
}

impl AttemptLimits {
    fn of(spec: &RequestSpec, defaults: &Self) -> Self {
        Self {
            timeout: spec.time_limit().or(defaults.timeout),
            stall_timeout: defaults.stall_timeout,
            max_redirects: spec.redirect_limit().unwrap_or(defaults.max_redirects),
            max_body: spec.body_limit().or(defaults.max_body),
        }
    }
}

/// Performs one attempt at a request on a transport that blocks. Its time runs from now.
pub(crate) fn fetch(
    session: &mut OpenSession,
    spec: &RequestSpec,
    defaults: &AttemptLimits,
) -> Result<Response, Error> {
    let limits = AttemptLimits::of(spec, defaults);
    let attempt = Fetch {
        defaults: &session.defaults,
        filter: session.filter.as_ref(),
        proxy: session.proxy.as_ref(),
        deadline: Deadline::start(&limits, spec.body_destination().is_some()),
        limits,
    };
    let first = Hop::new(spec, &mut session.url_parser)?;
    engine::complete(attempt.run(&mut session.transport, first))
}

/// One attempt: what it takes from its session, and its limits.
struct Fetch<'a> {
    defaults: &'a SessionDefaults,
    filter: Option<&'a AddressFilter>,
    proxy: Option<&'a Url>,
    limits: AttemptLimits,
    deadline: Deadline,
}

impl Fetch<'_> {
    async fn run<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        first: Hop<'_>,
    ) -> Result<Response, Error> {
        let mut history = Vec::new();
        let result = self.follow(engine, first, &mut history).await;
        result.map_err(|error| {
            let error = error.with_time(|| self.deadline.time_taken());
            if history.is_empty() {
                error
            } else {
                error.after_earlier_exchange()
            }
        })
    }

    /// Sends the request and follows redirects.
    async fn follow<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        first: Hop<'_>,
        history: &mut Vec<RedirectHop>,
    ) -> Result<Response, Error> {
        let mut hop = first;
        loop {
            self.deadline.check(!history.is_empty())?;
            let response = self.send(engine, &hop).await;
            let response = response.map_err(|error| attribute(error, history, self.proxy))?;
            match redirect::next(&hop, &response, self.limits.max_redirects, history)? {
                Some(next) => {
                    history.push(RedirectHop::new(hop.url, response.status()));
                    hop = next;
                    let body = response.into_body();
                    Incoming::new(engine, body, false, self.deadline)
                        .drain()
                        .await;
                }
                None => return self.receive(engine, response, hop, history.clone()).await,
            }
        }
    }

    async fn send<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        hop: &Hop<'_>,
    ) -> Result<http::Response<E::Body>, Error> {
        if let Some(filter) = self.filter {
            filter.check(&hop.url).map_err(Error::dns)?;
        }
        let exchange = Exchange {
            method: &hop.method,
            url: &hop.url,
            headers: hop.headers(self.defaults)?,
            body: hop.body,
            deadline: self.deadline.at(),
            stall_timeout: self.deadline.stall_timeout(),
        };
        engine.exchange(exchange).await
    }

    /// Takes in the head of the response, then its body. Only that of a success goes to a file: an error page must not
    /// replace it.
    async fn receive<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        response: http::Response<E::Body>,
        hop: Hop<'_>,
        history: Vec<RedirectHop>,
    ) -> Result<Response, Error> {
        let (mut parts, body) = response.into_parts();
        body::check_framing(&parts.headers)?;
        let content_length = body::content_length(&parts.headers);
        let is_absent = body::is_absent(&hop.method, parts.status);
        let decoders = if hop.wants_decoding() && !is_absent {
            decode::decoders(&parts.headers)?
        } else {
            Vec::new()
        };
        if !decoders.is_empty() {
            // They describe the body on the wire, not the one that the caller gets.
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
        }
        let sink = hop.sink();
        let head = ResponseHead {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            url: hop.url,
            history,
            remote_addr: E::remote_addr(&body),
            content_length,
        };
        let max_body = self.limits.max_body.map(|max| max.unwrap_or(u64::MAX));
        let incoming = Incoming::new(engine, body, is_absent, self.deadline);
        let mut response = Response {
            head,
            body: Bytes::new(),
            saved_to: None,
        };
        match sink {
            Some(BodyDestination::Handler(handler)) => {
                let head = response.head;
                response.head = incoming
                    .into_handler(decoders, max_body, head, handler)
                    .await?;
            }
            _ if is_absent => {}
            Some(BodyDestination::File(path)) if response.status().is_success() => {
                incoming.into_file(&decoders, max_body, path).await?;
                response.saved_to = Some(Arc::clone(path));
            }
            _ => {
                response.body = incoming
                    .into_memory(&decoders, max_body, content_length)
                    .await?;
            }
        }
        Ok(response)
    }
}

/// Attributes a failed exchange to its cause: the address filter, a redirect to an address that it blocks, or the proxy.
fn attribute(error: Error, history: &[RedirectHop], proxy: Option<&Url>) -> Error {
    let blocked = chain(&error).find_map(|error| error.downcast_ref::<NotPublic>());
    match blocked.filter(|_| error.kind() == ErrorKind::Dns) {
        Some(blocked) => {
            let message = format!("{blocked}, and public_addresses_only allows no others");
            if history.is_empty() {
                Error::invalid_request(message).with_source(blocked.clone())
            } else {
                Error::redirect(message, history.to_vec())
            }
        }
        // With SOCKS, host name and connection may be the server's; a transport reports it itself if the proxy failed.
        None if proxy.is_some_and(|proxy| !proxy.scheme().starts_with("socks")) => error.at_proxy(),
        None => error,
    }
}
