//! A well-behaved server on hyper: HTTP/1.1 and HTTP/2, plain or over TLS, that counts connections and requests.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test or benchmark that it cannot serve fails"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// How a server responds.
#[derive(Clone)]
enum Responder {
    /// With the same body to every request, at once.
    Fixed(Bytes),
    /// With what the handler returns. It runs on a thread of its own, so that it may block while others are served.
    Handler(Arc<dyn Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync>),
}

/// Responds to each request with what the handler returns. A handler that panicked fails the test that drops the server.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Counters {
    connections: AtomicUsize,
    requests: AtomicUsize,
    panics: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start<F>(handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self::start_with(Responder::Handler(Arc::new(handler)), None)
    }

    pub(crate) fn start_tls<F>(config: Arc<rustls::ServerConfig>, handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        let responder = Responder::Handler(Arc::new(handler));
        Self::start_with(responder, Some(TlsAcceptor::from(config)))
    }

    /// A server that responds to everything with 200 and this body.
    pub(crate) fn responding(body: impl Into<Bytes>) -> Self {
        Self::start_with(Responder::Fixed(body.into()), None)
    }

    /// The same over TLS.
    pub(crate) fn responding_over_tls(
        config: Arc<rustls::ServerConfig>,
        body: impl Into<Bytes>,
    ) -> Self {
        let responder = Responder::Fixed(body.into());
        Self::start_with(responder, Some(TlsAcceptor::from(config)))
    }

    fn start_with(responder: Responder, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let counters = Arc::new(Counters::default());
        let (stop, stopped) = oneshot::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let thread = thread::Builder::new()
            .name(format!(
                "server of {}",
                thread::current().name().unwrap_or("?")
            ))
            .spawn({
                let counters = Arc::clone(&counters);
                move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let listener = TcpListener::from_std(listener).unwrap();
                        tokio::select! {
                            () = accept(listener, tls, responder, counters) => {}
                            _ = stopped => {}
                        }
                    });
                    runtime.shutdown_background();
                }
            })
            .unwrap();
        Self {
            address,
            scheme,
            counters,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let host = if self.scheme == "https" {
            "localhost"
        } else {
            "127.0.0.1"
        };
        format!("{}://{host}:{}{path}", self.scheme, self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.counters.requests.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    responder: Responder,
    counters: Arc<Counters>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        counters.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, responder, counters) = (tls.clone(), responder.clone(), Arc::clone(&counters));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, responder, counters).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, responder, counters).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, responder: Responder, counters: Arc<Counters>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (responder, counters) = (responder.clone(), Arc::clone(&counters));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            counters.requests.fetch_add(1, Ordering::SeqCst);
            let response = match responder {
                Responder::Fixed(body) => Response::new(body),
                Responder::Handler(handler) => {
                    let request = Request::from_parts(parts, body);
                    let response = tokio::task::spawn_blocking(move || handler(request)).await;
                    response.unwrap_or_else(|panic| {
                        counters.panics.lock().unwrap().push(panic.to_string());
                        let response = Response::builder().status(500);
                        response.body(Bytes::new()).unwrap()
                    })
                }
            };
            Ok::<_, hyper::Error>(response.map(Full::new))
        }
    });
    // A client may close its connection at any time.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            let panics = self.counters.panics.lock().unwrap().clone();
            if !thread::panicking() {
                ended.expect("the server's thread panicked");
                assert!(
                    panics.is_empty(),
                    "the server's handler panicked: {panics:?}"
                );
            }
        }
    }
}
