//! One attempt: a session and a spec become exchanges, redirects are followed, the body is decoded and taken in.
//!
//! It is written once, as an `async fn` over what an [`Engine`] gives it. On a transport that blocks, it is complete when it
//! is polled once; an event loop may have thousands of attempts pending on one thread.

mod body;
mod deadline;
mod decode;
mod engine;
mod hop;
mod meter;
mod redirect;
mod segments;
mod sink;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Method, StatusCode};

use self::body::Incoming;
use self::deadline::Deadline;
use self::decode::Decoder;
use self::engine::Engine;
pub(crate) use self::engine::complete;
use self::hop::Hop;
pub(crate) use self::meter::Meter;
use crate::addresses::{AddressFilter, NotPublic};
use crate::digest::{ExpectedDigest, Verifier};
use crate::download::Download;
use crate::error::{Error, ErrorKind, Wait, chain};
use crate::history::RedirectHop;
use crate::request::{BodyDestination, BodySourceError, Handlers, RequestSpec};
use crate::response::{Response, ResponseHead};
use crate::retry;
use crate::session::{OpenSession, SessionDefaults};
use crate::sync::CancelFlag;
#[cfg(feature = "hyper")]
use crate::transport::hyper::HyperTransport;
use crate::transport::{Exchange, Transport};

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

/// One attempt at a request: what it takes from its session, and its limits.
pub(crate) struct Fetch<'a> {
    /// `None` once it has begun.
    first: Option<Hop<'a>>,
    /// `None` too if the attempt has nothing to do with files.
    download: Option<Box<Download>>,
    meter: Meter<'a>,
    context: Context,
}

impl<'a> Fetch<'a> {
    /// An attempt whose time runs from now. It stops early when `cancel_flag` is set. Fails if the spec cannot be sent.
    pub(crate) fn start(
        session: &mut OpenSession,
        spec: &'a RequestSpec,
        defaults: &AttemptLimits,
        handlers: &Handlers,
        cancel_flag: &Arc<CancelFlag>,
        meter: Meter<'a>,
    ) -> Result<Self, Error> {
        let destination = spec.body_destination();
        let destination = destination
            .map(|named| named.resolved(handlers))
            .transpose()?;
        let limits = AttemptLimits::of(spec, defaults);
        let proxy = session.state.proxy.as_ref();
        let context = Context {
            defaults: Arc::clone(&session.state.defaults),
            filter: session.filter.clone(),
            has_http_proxy: proxy.is_some_and(|proxy| !proxy.scheme().starts_with("socks")),
            deadline: Deadline::start(&limits, destination.is_some(), cancel_flag),
            limits,
            destination,
            verifies_digest_headers: spec.verifies_digest_headers(),
            // A response to HEAD has no body that could have a digest.
            digests: match *spec.method() {
                Method::HEAD => Box::default(),
                _ => spec.digests().into(),
            },
        };
        let first = Hop::new(spec, &mut session.url_parser)?;
        Ok(Self {
            download: Download::of(spec, &first.url, &session.state.defaults.headers),
            first: Some(first),
            meter,
            context,
        })
    }

    /// Performs the attempt on a transport that blocks.
    pub(crate) fn complete(&mut self, transport: &mut dyn Transport) -> Result<Response, Error> {
        let Self {
            first,
            download,
            meter,
            context,
        } = self;
        complete(pin!(context.run(transport, first, download, meter)))
    }

    /// Performs the attempt on the event-driven transport.
    #[cfg(feature = "hyper")]
    pub(crate) async fn run(&mut self, transport: &mut HyperTransport) -> Result<Response, Error> {
        let Self {
            first,
            download,
            meter,
            context,
        } = self;
        context.run(transport, first, download, meter).await
    }
}

/// What stays the same throughout an attempt.
struct Context {
    defaults: Arc<SessionDefaults>,
    filter: Option<AddressFilter>,
    /// Whether the request names a proxy that speaks HTTP.
    has_http_proxy: bool,
    limits: AttemptLimits,
    /// Where the body goes, if not into memory. It has no names any more.
    destination: Option<BodyDestination>,
    verifies_digest_headers: bool,
    digests: Box<[ExpectedDigest]>,
    deadline: Deadline,
}

impl Context {
    async fn run<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        // Taken out here, since a future holds room for an argument twice.
        first: &mut Option<Hop<'_>>,
        download: &mut Option<Box<Download>>,
        meter: &mut Meter<'_>,
    ) -> Result<Response, Error> {
        let mut hop = first.take().ok_or_else(Error::cancelled)?;
        let mut history = Vec::new();
        match self
            .follow(engine, &mut hop, &mut history, download, meter)
            .await
        {
            Ok(response) => {
                let (parts, body) = response.into_parts();
                let received = match take_head(parts, hop, history, E::remote_addr(&body)) {
                    Ok((head, decoders)) => {
                        self.receive(engine, body, head, decoders, download, meter)
                            .await
                    }
                    Err(error) => Err(error),
                };
                let time = || self.deadline.time_taken();
                received.map_err(|error| error.with_time(Wait::Body, time).after_earlier_exchange())
            }
            Err(error) => {
                let wait = if error.was_sent() {
                    Wait::Head
                } else {
                    Wait::Connection
                };
                let error = error.with_time(wait, || self.deadline.time_taken());
                Err(if history.is_empty() && !is_repeated(download) {
                    error
                } else {
                    error.after_earlier_exchange()
                })
            }
        }
    }

    /// Sends the request and follows redirects, up to the head of the last response.
    async fn follow<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        hop: &mut Hop<'_>,
        history: &mut Vec<RedirectHop>,
        download: &mut Option<Box<Download>>,
        meter: &mut Meter<'_>,
    ) -> Result<http::Response<E::Body>, Error> {
        if let Some(unprepared) = download.take() {
            let (deadline, can_split) = (self.deadline.clone(), engine.fork().is_some());
            let prepare = move |download: &mut Download| {
                download.prepare(can_split, &|| deadline.check(false))
            };
            let preparing = sink::with_files(engine, &self.deadline, false, unprepared, prepare);
            let (prepared, ()) = Box::pin(preparing).await?;
            *download = Some(prepared);
        }
        #[cfg(feature = "gzip")]
        hop.compress(engine).await?;
        loop {
            let is_first = history.is_empty() && !is_repeated(download);
            self.deadline.check(!is_first)?;
            let response = self.send(engine, hop, download.as_deref_mut()).await;
            let response =
                response.map_err(|error| attribute(error, history, self.has_http_proxy))?;
            let Some(next) = redirect::next(hop, &response, self.limits.max_redirects, history)?
            else {
                let is_accepted = download.as_deref_mut().is_none_or(|download| {
                    download.accepts(response.status(), response.headers(), &hop.url)
                });
                if is_accepted {
                    return Ok(response);
                }
                let is_absent = body::is_absent(&hop.method, response.status());
                Incoming::new(
                    engine,
                    response.into_body(),
                    is_absent,
                    &self.deadline,
                    meter,
                )
                .discard()
                .await;
                continue;
            };
            let sent = std::mem::replace(hop, next);
            let is_absent = body::is_absent(&sent.method, response.status())
                || body::content_length(response.headers()) == Some(0);
            history.push(RedirectHop::new(sent.url, response.status()));
            let wait = retry::retry_after(response.headers(), SystemTime::now());
            let body = response.into_body();
            Incoming::new(engine, body, is_absent, &self.deadline, meter)
                .discard()
                .await;
            if let Some(until) = wait.and_then(|wait| self.deadline.pause_until(wait)) {
                Box::pin(engine.pause(&self.deadline, until)).await;
            }
        }
    }

    async fn send<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        hop: &Hop<'_>,
        download: Option<&mut Download>,
    ) -> Result<http::Response<E::Body>, Error> {
        if let Some(filter) = &self.filter {
            filter.check(&hop.url).map_err(Error::dns)?;
        }
        let mut headers = hop.headers(&self.defaults)?;
        if let Some(download) = download {
            download.add_headers(&mut headers);
        }
        let mut exchange = Exchange {
            method: &hop.method,
            url: &hop.url,
            headers,
            body: hop.body.as_deref(),
            deadline: self.deadline.at(),
            stall_timeout: self.deadline.stall_timeout(),
        };
        engine.exchange(&mut exchange).await
    }

    /// The digests that the body of this response must have.
    fn digests_of(
        &self,
        head: &ResponseHead,
        has_plain_body: bool,
        is_rest: bool,
    ) -> Vec<ExpectedDigest> {
        if !head.status.is_success() {
            return Vec::new();
        }
        let mut digests = self.digests.to_vec();
        if self.verifies_digest_headers && has_plain_body {
            digests.extend(ExpectedDigest::of_headers(head, is_rest));
        }
        digests
    }

    /// Takes in the body of the response. Only that of a success goes to a file: an error page must not replace it.
    async fn receive<E: Engine + ?Sized>(
        &self,
        engine: &mut E,
        body: E::Body,
        head: Box<ResponseHead>,
        decoders: Option<Vec<Decoder>>,
        download: &mut Option<Box<Download>>,
        meter: &mut Meter<'_>,
    ) -> Result<Response, Error> {
        let is_absent = decoders.is_none();
        let decoders = decoders.unwrap_or_default();
        let max_body = self.limits.max_body.map(|max| max.unwrap_or(u64::MAX));
        let is_rest = (download.as_ref()).is_some_and(|download| download.continues());
        let has_plain_body = !is_absent && decoders.is_empty();
        let digests = self.digests_of(&head, has_plain_body, is_rest);
        let verifier = || (!digests.is_empty()).then(|| Verifier::new(&digests));
        let resumed_from = download
            .as_ref()
            .map_or(0, |download| download.resumed_from());
        let continued_length = (download.as_ref()).and_then(|download| download.continued_length());
        meter.begin(&head, resumed_from, continued_length);
        let incoming = Incoming::new(engine, body, is_absent, &self.deadline, meter);
        let mut response = Response {
            head,
            body: Bytes::new(),
            saved_to: None,
        };
        let status = response.status();
        match (&self.destination, download.take()) {
            (Some(BodyDestination::Handler(handler)), _) if !is_absent => {
                let head = response.head;
                let handled = incoming.into_handler(decoders, max_body, head, handler, verifier());
                response.head = Box::pin(handled).await?;
            }
            (_, download) if is_absent => {
                verifier().map_or(Ok(()), Verifier::finish)?;
                if let Some(mut download) = download {
                    let look = engine.unblock(move || download.unmodified_file(status));
                    response.saved_to = Box::pin(look).await??;
                }
            }
            (_, Some(download)) if download.saves(status) => {
                // A rest that nothing was asked for.
                if status == StatusCode::PARTIAL_CONTENT && !download.continues() {
                    return Err(Error::protocol(
                        "it is a part of a body (206) that was requested as a whole, and is not saved",
                    ));
                }
                let head = &response.head;
                let saved = incoming.into_file(&decoders, max_body, download, head, &digests);
                let saved = Box::pin(saved).await;
                // Further connections may have been made for it.
                let saved = saved.map_err(|error| attribute(error, &[], self.has_http_proxy));
                response.saved_to = Some(saved?);
            }
            _ => {
                let content_length = response.content_length();
                response.body = incoming
                    .into_memory(&decoders, max_body, content_length)
                    .await?;
                if let Some(verifier) = verifier() {
                    let body = response.body.clone();
                    Box::pin(engine.unblock(move || verifier.verify(&body))).await??;
                }
            }
        }
        Ok(response)
    }
}

/// Whether there was a response that could not be used.
fn is_repeated(download: &Option<Box<Download>>) -> bool {
    download
        .as_ref()
        .is_some_and(|download| download.is_repeated())
}

/// The head of the last response, as the caller gets it, and the decoders of its body; `None` if it has no body.
fn take_head(
    mut parts: http::response::Parts,
    hop: Hop<'_>,
    history: Vec<RedirectHop>,
    remote_addr: Option<SocketAddr>,
) -> Result<(Box<ResponseHead>, Option<Vec<Decoder>>), Error> {
    body::check_framing(&parts.headers)?;
    let content_length = body::content_length(&parts.headers);
    let decoders = if body::is_absent(&hop.method, parts.status) {
        None
    } else if hop.wants_decoding() && parts.status != StatusCode::PARTIAL_CONTENT {
        Some(decode::decoders(&parts.headers)?)
    } else {
        Some(Vec::new())
    };
    if decoders
        .as_ref()
        .is_some_and(|decoders| !decoders.is_empty())
    {
        // They describe the body on the wire, not the one that the caller gets.
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
    }
    let head = Box::new(ResponseHead {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        url: hop.url,
        history,
        remote_addr,
        content_length,
    });
    Ok((head, decoders))
}

/// Attributes a failed exchange to its cause: the address filter, a redirect to an address that it blocks or to what cannot be
/// requested, or the proxy.
fn attribute(error: Error, history: &[RedirectHop], has_http_proxy: bool) -> Error {
    let blocked = chain(&error).find_map(|error| error.downcast_ref::<NotPublic>());
    let is_about_body = || chain(&error).any(|error| error.is::<BodySourceError>());
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
        // The redirect leads to what cannot be requested, and will do so again.
        None if error.kind() == ErrorKind::InvalidRequest
            && !history.is_empty()
            && !is_about_body() =>
        {
            Error::redirect(error.to_string(), history.to_vec())
        }
        None if has_http_proxy => error.at_proxy(),
        None => error,
    }
}
