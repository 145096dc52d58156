//! A well-behaved server on hyper: HTTP/1.1 and HTTP/2, plain or TLS, that counts what it sees.

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

/// What a server says.
#[derive(Clone)]
enum Answers {
    /// The same body to everybody, at once.
    Fixed(Bytes),
    /// What the handler makes of the request, on a thread of its own: it may block while others are served.
    Handler(Arc<dyn Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync>),
}

/// Answers each request with what the handler makes of it. A handler that panicked fails the test that drops the server.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: AtomicUsize,
    panics: Mutex<Vec<String>>,
}

impl Server {
    pub(crate) fn start<F>(handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self::start_with(Answers::Handler(Arc::new(handler)), None)
    }

    pub(crate) fn start_tls<F>(config: Arc<rustls::ServerConfig>, handler: F) -> Self
    where
        F: Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        let answers = Answers::Handler(Arc::new(handler));
        Self::start_with(answers, Some(TlsAcceptor::from(config)))
    }

    /// A server that answers everything with 200 and this body.
    pub(crate) fn saying(body: impl Into<Bytes>) -> Self {
        Self::start_with(Answers::Fixed(body.into()), None)
    }

    /// The same over TLS.
    pub(crate) fn saying_over_tls(
        config: Arc<rustls::ServerConfig>,
        body: impl Into<Bytes>,
    ) -> Self {
        let answers = Answers::Fixed(body.into());
        Self::start_with(answers, Some(TlsAcceptor::from(config)))
    }

    fn start_with(answers: Answers, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (stop, stopped) = oneshot::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let thread = thread::Builder::new()
            .name(format!(
                "server of {}",
                thread::current().name().unwrap_or("?")
            ))
            .spawn({
                let seen = Arc::clone(&seen);
                move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let listener = TcpListener::from_std(listener).unwrap();
                        tokio::select! {
                            () = accept(listener, tls, answers, seen) => {}
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
            seen,
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
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.requests.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    answers: Answers,
    seen: Arc<Seen>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, answers, seen) = (tls.clone(), answers.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            match tls {
                None => serve(stream, answers, seen).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, answers, seen).await;
                    }
                }
            }
        });
    }
}

async fn serve<S>(stream: S, answers: Answers, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (answers, seen) = (answers.clone(), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            seen.requests.fetch_add(1, Ordering::SeqCst);
            let response = match answers {
                Answers::Fixed(body) => Response::new(body),
                Answers::Handler(handler) => {
                    let request = Request::from_parts(parts, body);
                    let answered = tokio::task::spawn_blocking(move || handler(request)).await;
                    answered.unwrap_or_else(|panic| {
                        seen.panics.lock().unwrap().push(panic.to_string());
                        let response = Response::builder().status(500);
                        response.body(Bytes::new()).unwrap()
                    })
                }
            };
            Ok::<_, hyper::Error>(response.map(Full::new))
        }
    });
    // A client that goes away is none of the server's business.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            let panics = self.seen.panics.lock().unwrap().clone();
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
