//! A well-behaved server that records what it receives.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};

use super::server::Server;

/// Responds with what the handler returns and records every request, body included, in the order of arrival.
pub(crate) struct RecordingServer {
    server: Server,
    received: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl RecordingServer {
    pub(crate) fn start<F>(handler: F) -> Self
    where
        F: Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self::start_with(handler, Server::start)
    }

    pub(crate) fn start_tls<F>(config: Arc<rustls::ServerConfig>, handler: F) -> Self
    where
        F: Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        Self::start_with(handler, |handler| Server::start_tls(config, handler))
    }

    /// Responds to everything with `ok`.
    pub(crate) fn responding_ok() -> Self {
        Self::start(|_| Response::new(Bytes::from_static(b"ok")))
    }

    fn start_with<F>(handler: F, start: impl FnOnce(Handler) -> Server) -> Self
    where
        F: Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    {
        let received = Arc::new(Mutex::new(Vec::new()));
        let server = start({
            let received = Arc::clone(&received);
            Box::new(move |request| {
                received.lock().unwrap().push(request.clone());
                handler(&request)
            })
        });
        Self { server, received }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address().port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    pub(crate) fn received(&self) -> Vec<Request<Bytes>> {
        self.received.lock().unwrap().clone()
    }

    /// The only request.
    pub(crate) fn only(&self) -> Request<Bytes> {
        let mut received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.remove(0)
    }
}

type Handler = Box<dyn Fn(Request<Bytes>) -> Response<Bytes> + Send + Sync>;

/// All values of a header, as text.
pub(crate) fn values<T>(request: &Request<T>, name: &str) -> Vec<String> {
    let values = request.headers().get_all(name).iter();
    values
        .map(|value| value.to_str().unwrap().to_owned())
        .collect()
}

/// A redirect with a body, which a client that follows it discards.
pub(crate) fn redirect(status: u16, location: impl AsRef<[u8]>) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header("location", location.as_ref())
        .body(Bytes::from_static(b"look elsewhere"))
        .unwrap()
}
