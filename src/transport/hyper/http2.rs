//! An HTTP/2 connection, which requests share: [`Http2`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::Settings;
use super::body::Content;
use super::connect::Connected;
use super::connections::SendResult;
use super::io::{Socket, Traffic};
use crate::error::Error;
use crate::sync::Mutex;
use crate::transport::classify;

/// How much of a body may be on its way before it is read. It bounds the memory of each stream, and its speed: this much in
/// each round trip.
const STREAM_WINDOW: u32 = 1 << 20;

/// The same for all streams of a connection. So large that streams whose bodies are read slowly do not use it up.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// The maximum length of a response head, decompressed.
const MAX_HEAD: u32 = 128 << 10;

/// A connection whose own task drives it. It is closed when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Http2 {
    sender: http2::SendRequest<Content>,
    peer: Option<SocketAddr>,
    shared: Arc<Shared>,
}

struct Shared {
    traffic: Arc<Traffic>,
    /// What had been received when an exchange did not end in time, plus one; 0 if none has.
    suspected_at: AtomicU64,
    /// Since when no exchange uses it, as far as has been noticed.
    idle_since: Mutex<Option<Instant>>,
}

impl Http2 {
    pub(super) async fn new(connected: Connected, settings: &Settings) -> Result<Self, Error> {
        let traffic = Arc::new(Traffic::default());
        let socket = Socket::new(
            connected.stream,
            connected.place,
            Some(Arc::clone(&traffic)),
        );
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(settings.http2_keep_alive_interval)
            .keep_alive_timeout(settings.http2_keep_alive_timeout);
        let handshake = builder.handshake(TokioIo::new(socket)).await;
        let (sender, driver) = handshake.map_err(classify::exchange_error)?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                log::debug!("an HTTP/2 connection has ended: {error}");
            }
        });
        Ok(Self {
            sender,
            peer: connected.peer,
            shared: Arc::new(Shared {
                traffic,
                suspected_at: AtomicU64::new(0),
                idle_since: Mutex::default(),
            }),
        })
    }

    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(&mut self, request: http::Request<Content>) -> SendResult {
        self.sender.try_send_request(request).await
    }

    /// Whether it is open, and nothing is known against it.
    pub(super) fn is_usable(&self) -> bool {
        let suspected_at = self.shared.suspected_at.load(Ordering::Relaxed);
        let has_shown_life = suspected_at != self.shared.traffic.received() + 1;
        !self.sender.is_closed() && has_shown_life
    }

    /// An exchange has not ended in time. The connection is not used again unless something is received over it.
    pub(super) fn suspect(&self) {
        let received = self.shared.traffic.received();
        self.shared
            .suspected_at
            .store(received + 1, Ordering::Relaxed);
    }

    /// Since when no exchange uses it. Asked of the clone that waits for exchanges.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let mut since = self.shared.idle_since.lock();
        if Arc::strong_count(&self.shared) > 1 {
            *since = None;
        } else {
            since.get_or_insert_with(Instant::now);
        }
        *since
    }

    pub(super) fn has_expired(&self, now: Instant, idle_timeout: Option<Duration>) -> bool {
        let since = self.idle_since();
        since
            .zip(idle_timeout)
            .is_some_and(|(since, timeout)| now.saturating_duration_since(since) >= timeout)
    }
}
