//! The connections of the event-driven client: those in use, idle HTTP/1.1 connections, and HTTP/2 connections that requests
//! share.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::body::Content;
use super::connect::Connected;
use super::http2::Http2;
use super::io::Socket;
use crate::error::Error;
use crate::sync::{Mutex, MutexGuard};
use crate::transport::classify;
use crate::transport::descriptors::{DESCRIPTORS, IdleConnections};
use crate::transport::idle_budget::IDLE;

/// The maximum length of a response head, and of what is read at once.
const MAX_BUFFER: usize = 128 << 10;

/// How long a request waits for another one to find out whether the server speaks HTTP/2.
const MAX_NEGOTIATION: Duration = Duration::from_secs(1);

/// How often origins without connections are forgotten, if idle connections are kept for ever.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);

pub(super) type SendResult = Result<http::Response<Incoming>, TrySendError<http::Request<Content>>>;

/// An HTTP/1.1 connection. The exchange that uses it drives it, so that it needs no task of its own.
pub(super) struct Http1 {
    sender: http1::SendRequest<Content>,
    /// `None` once it is over. A request that it has not begun to send comes back when it is dropped.
    driver: Option<http1::Connection<TokioIo<Socket>, Content>>,
    peer: Option<SocketAddr>,
}

impl Http1 {
    pub(super) async fn new(connected: Connected) -> Result<Box<Self>, Error> {
        let socket = Socket::new(connected.stream, connected.place, None);
        let mut builder = http1::Builder::new();
        builder
            .allow_obsolete_multiline_headers_in_responses(true)
            .max_buf_size(MAX_BUFFER);
        let (sender, driver) = builder
            .handshake(TokioIo::new(socket))
            .await
            .map_err(classify::exchange_error)?;
        Ok(Box::new(Self {
            sender,
            driver: Some(driver),
            peer: connected.peer,
        }))
    }

    /// Lets the connection read and write what it can.
    fn poll(&mut self, context: &mut Context<'_>) {
        drive(&mut self.driver, context);
    }

    /// Whether it could take a request when it was polled last.
    fn is_idle(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Whether it can take a request, as far as is known: the server may have closed it.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.poll(context);
            Poll::Ready(self.is_idle())
        })
        .await
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(&mut self, request: http::Request<Content>) -> SendResult {
        let mut response = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        poll_fn(|context| {
            drive(driver, context);
            response.as_mut().poll(context)
        })
        .await
    }
}

/// Lets a connection read and write what it can, and drops it when it is over.
fn drive(
    driver: &mut Option<http1::Connection<TokioIo<Socket>, Content>>,
    context: &mut Context<'_>,
) {
    let polled = driver.as_mut().map(|driver| Pin::new(driver).poll(context));
    if polled.is_some_and(|polled| polled.is_ready()) {
        *driver = None;
    }
}

/// The connection of an exchange.
pub(super) enum InUse {
    Http1 {
        /// `None` when it was given back or closed.
        connection: Option<Box<Http1>>,
        peer: Option<SocketAddr>,
        key: Arc<str>,
        home: Arc<Connections>,
    },
    Http2(Http2),
}

impl InUse {
    pub(super) fn http1(connection: Box<Http1>, key: Arc<str>, home: &Arc<Connections>) -> Self {
        Self::Http1 {
            peer: connection.peer,
            connection: Some(connection),
            key,
            home: Arc::clone(home),
        }
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::Http1 { peer, .. } => *peer,
            Self::Http2(shared) => shared.peer(),
        }
    }

    /// Drives the connection, unless a task of its own does.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) {
        if let Self::Http1 {
            connection: Some(connection),
            ..
        } = self
        {
            connection.poll(context);
        }
    }

    /// The exchange is over: the connection is kept for the next one, if it can be.
    pub(super) async fn release(&mut self) {
        poll_fn(|context| {
            self.poll_release(context);
            Poll::Ready(())
        })
        .await;
    }

    /// Like [`release`](Self::release).
    pub(super) fn poll_release(&mut self, context: &mut Context<'_>) {
        let Self::Http1 {
            connection,
            key,
            home,
            ..
        } = self
        else {
            return;
        };
        if let Some(mut ended) = connection.take() {
            ended.poll(context);
            if ended.is_idle() {
                home.keep(key, ended);
            }
        }
    }

    /// Nothing more is expected of the connection.
    pub(super) fn close(&mut self) {
        if let Self::Http1 { connection, .. } = self {
            *connection = None;
        }
    }

    /// The exchange has not ended in time. Others do not use the connection before it has shown life.
    pub(super) fn has_timed_out(&mut self) {
        match self {
            Self::Http1 { connection, .. } => *connection = None,
            Self::Http2(shared) => shared.suspect(),
        }
    }
}

/// The connections of one client that wait for a request, and those that several requests share.
pub(super) struct Connections {
    idle_timeout: Option<Duration>,
    max_idle_per_origin: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    origins: HashMap<Arc<str>, Origin>,
    /// In the order in which they became idle.
    idle: BTreeMap<u64, Idle>,
    next_id: u64,
    /// Whether a task closes those that have been idle for too long.
    has_reaper: bool,
}

#[derive(Default)]
struct Origin {
    /// The idle ones of this origin; the last one was used last.
    idle: VecDeque<u64>,
    http2: Option<Http2>,
    protocol: Protocol,
}

/// What is known of the protocol of an origin that is asked for HTTP/2.
#[derive(Default)]
enum Protocol {
    #[default]
    Unknown,
    /// A request is making the first connection; the others wait until the sender is dropped.
    Negotiated(watch::Receiver<()>),
    Http1,
}

struct Idle {
    key: Arc<str>,
    since: Instant,
    connection: Box<Http1>,
}

/// What there is for a request.
pub(super) enum Found {
    Http1(Box<Http1>),
    Http2(Http2),
    /// A connection is to be made; others may wait for its protocol.
    Nothing(Option<Negotiation>),
}

/// Held by the request that finds out which protocol an origin speaks.
pub(super) struct Negotiation {
    home: Weak<Connections>,
    key: Arc<str>,
    _over: watch::Sender<()>,
}

impl Negotiation {
    /// The origin speaks HTTP/1.1: each request needs a connection of its own.
    pub(super) fn found_http1(self) {
        self.end(Protocol::Http1);
    }

    /// The negotiation is over, unless it was before.
    fn end(&self, found: Protocol) {
        if let Some(home) = self.home.upgrade() {
            if let Some(origin) = home.state().origins.get_mut(&self.key) {
                if let Protocol::Negotiated(_) = origin.protocol {
                    origin.protocol = found;
                }
            }
        }
    }
}

impl Drop for Negotiation {
    fn drop(&mut self) {
        self.end(Protocol::Unknown);
    }
}

impl Connections {
    pub(super) fn new(idle_timeout: Option<Duration>, max_idle_per_origin: usize) -> Arc<Self> {
        let connections = Arc::new(Self {
            idle_timeout,
            max_idle_per_origin,
            state: Mutex::default(),
        });
        // A static outlives the schedule of a model.
        if !cfg!(shuttle) {
            let holder: Weak<dyn IdleConnections> = Arc::downgrade(&connections) as _;
            DESCRIPTORS.register(holder);
        }
        connections
    }

    /// The name of an origin, or of a proxy, as its connections are found by.
    pub(super) fn key(&self, name: &str) -> Arc<str> {
        let state = self.state();
        let known = state.origins.get_key_value(name);
        known.map_or_else(|| Arc::from(name), |(key, _)| Arc::clone(key))
    }

    /// A connection for a request: an idle one, or one that is shared. If the origin may speak HTTP/2, the first of several
    /// requests makes a connection, and the others wait until it is known whether they can share it.
    pub(super) async fn find(self: &Arc<Self>, key: &Arc<str>, may_be_http2: bool) -> Found {
        let until = Instant::now() + MAX_NEGOTIATION;
        loop {
            let waits = Instant::now() < until;
            let mut negotiation = match self.look(key, may_be_http2, waits) {
                Ok(found) => return found,
                Err(negotiation) => negotiation,
            };
            let over = tokio::time::timeout_at(until.into(), negotiation.changed());
            let _ = Box::pin(over).await;
        }
    }

    fn look(
        self: &Arc<Self>,
        key: &Arc<str>,
        may_be_http2: bool,
        waits: bool,
    ) -> Result<Found, watch::Receiver<()>> {
        let mut guard = self.state();
        let state = &mut *guard;
        if let Some(origin) = state.origins.get_mut(key) {
            if let Some(shared) = &origin.http2 {
                if shared.is_usable() {
                    return Ok(Found::Http2(shared.clone()));
                }
                origin.http2 = None;
            }
            let latest = origin.idle.pop_back();
            if let Some(idle) = latest.and_then(|id| state.idle.remove(&id)) {
                IDLE.remove(1);
                return Ok(Found::Http1(idle.connection));
            }
        }
        if !may_be_http2 {
            return Ok(Found::Nothing(None));
        }
        let origin = state.origins.entry(Arc::clone(key)).or_default();
        match &origin.protocol {
            Protocol::Negotiated(negotiation) if waits => Err(negotiation.clone()),
            Protocol::Unknown if waits => {
                let (over, negotiation) = watch::channel(());
                origin.protocol = Protocol::Negotiated(negotiation);
                self.start_reaper(&mut guard);
                Ok(Found::Nothing(Some(Negotiation {
                    home: Arc::downgrade(self),
                    key: Arc::clone(key),
                    _over: over,
                })))
            }
            _ => Ok(Found::Nothing(None)),
        }
    }

    /// Shares a connection from now on.
    pub(super) fn share(self: &Arc<Self>, key: &Arc<str>, shared: &Http2) {
        let mut state = self.state();
        let origin = state.origins.entry(Arc::clone(key)).or_default();
        let replaced = origin.http2.replace(shared.clone());
        self.start_reaper(&mut state);
        drop(state);
        drop(replaced);
    }

    fn keep(self: &Arc<Self>, key: &Arc<str>, connection: Box<Http1>) {
        if !DESCRIPTORS.may_idle() || self.max_idle_per_origin == 0 {
            return;
        }
        let mut state = self.state();
        let inner = &mut *state;
        let id = inner.next_id;
        inner.next_id += 1;
        let origin = inner.origins.entry(Arc::clone(key)).or_default();
        if origin.idle.len() >= self.max_idle_per_origin {
            return;
        }
        origin.idle.push_back(id);
        let idle = Idle {
            key: Arc::clone(key),
            since: Instant::now(),
            connection,
        };
        IDLE.add();
        inner.idle.insert(id, idle);
        self.start_reaper(&mut state);
        drop(state);
        DESCRIPTORS.became_idle();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Starts the task that closes what has been idle for too long. It ends with the connections.
    fn start_reaper(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.has_reaper, true) {
            return;
        }
        let connections = Arc::downgrade(self);
        let interval = self.idle_timeout.unwrap_or(TIDY_INTERVAL);
        tokio::spawn(async move {
            // Each is closed within twice its time at most; half of the interval makes that one and a half.
            let interval = (interval / 2).max(Duration::from_millis(10));
            loop {
                tokio::time::sleep(interval).await;
                let Some(connections) = connections.upgrade() else {
                    return;
                };
                if connections.reap() {
                    return;
                }
            }
        });
    }

    /// Closes what has been idle for too long, and forgets origins without connections. Returns whether there is nothing left.
    fn reap(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let inner = &mut *state;
        let mut expired = Vec::new();
        if let Some(timeout) = self.idle_timeout {
            let has_expired = |since| now.saturating_duration_since(since) >= timeout;
            while inner.oldest_since().is_some_and(has_expired) {
                expired.extend(inner.pop_oldest());
            }
        }
        let mut closed = Vec::new();
        inner.origins.retain(|_, origin| {
            if let Some(shared) = &mut origin.http2 {
                if !shared.is_usable() || shared.has_expired(now, self.idle_timeout) {
                    closed.extend(origin.http2.take());
                }
            }
            let is_negotiated = matches!(origin.protocol, Protocol::Negotiated(_));
            is_negotiated || !origin.idle.is_empty() || origin.http2.is_some()
        });
        let is_empty = inner.origins.is_empty();
        inner.has_reaper = !is_empty;
        drop(state);
        for connection in expired {
            IDLE.remove(1);
            drop(connection);
        }
        is_empty
    }
}

impl State {
    fn oldest_since(&self) -> Option<Instant> {
        self.idle.first_key_value().map(|(_, idle)| idle.since)
    }

    fn pop_oldest(&mut self) -> Option<Box<Http1>> {
        let (_, idle) = self.idle.pop_first()?;
        if let Some(origin) = self.origins.get_mut(&idle.key) {
            origin.idle.pop_front();
        }
        Some(idle.connection)
    }
}

impl IdleConnections for Connections {
    fn oldest_since(&self) -> Option<Instant> {
        let state = self.state();
        state.oldest_since().or_else(|| {
            let mut shared = state
                .origins
                .values()
                .filter_map(|origin| origin.http2.as_ref());
            shared.find_map(Http2::idle_since)
        })
    }

    fn close_oldest(&self) -> bool {
        let mut state = self.state();
        let inner = &mut *state;
        if let Some(oldest) = inner.pop_oldest() {
            drop(state);
            IDLE.remove(1);
            drop(oldest);
            return true;
        }
        for origin in inner.origins.values_mut() {
            let is_idle = |shared: &mut Http2| shared.idle_since().is_some();
            if let Some(shared) = origin.http2.take_if(is_idle) {
                drop(state);
                drop(shared);
                return true;
            }
        }
        false
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.state().idle);
        IDLE.remove(idle.len());
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
