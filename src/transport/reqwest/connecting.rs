//! Whether a connection is being made: tells a timeout before the request was sent from one after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

/// Counts the connections that a client begins and the ones that come about, TLS and proxy included.
///
/// The client of one worker performs one exchange at a time and begins a connection only when it has none to reuse. So an
/// exchange during which one was begun and none came about has sent nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectWatch(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    established: AtomicUsize,
}

#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    begun: usize,
    established: usize,
}

impl ConnectWatch {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            begun: self.0.begun.load(Ordering::Acquire),
            established: self.0.established.load(Ordering::Acquire),
        }
    }

    pub(super) fn is_connecting_since(&self, before: Snapshot) -> bool {
        let now = self.snapshot();
        now.begun != before.begun && now.established == before.established
    }
}

impl<S> Layer<S> for ConnectWatch {
    type Service = WatchedConnector<S>;

    fn layer(&self, connector: S) -> WatchedConnector<S> {
        WatchedConnector {
            connector,
            watch: self.clone(),
        }
    }
}

#[derive(Clone)]
pub(super) struct WatchedConnector<S> {
    connector: S,
    watch: ConnectWatch,
}

impl<S, Destination> Service<Destination> for WatchedConnector<S>
where
    S: Service<Destination>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, destination: Destination) -> Self::Future {
        let counts = Arc::clone(&self.watch.0);
        counts.begun.fetch_add(1, Ordering::AcqRel);
        let connecting = self.connector.call(destination);
        Box::pin(async move {
            let connection = connecting.await?;
            counts.established.fetch_add(1, Ordering::AcqRel);
            Ok(connection)
        })
    }
}
