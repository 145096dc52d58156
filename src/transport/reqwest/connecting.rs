//! Whether a connection is being made: tells a timeout before the request was sent from one after it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::sync::Mutex;

/// Counts the connections that a client begins and the ones that come about, TLS and proxy included.
///
/// The client of one worker performs one exchange at a time and begins a connection only when none is free for reuse. So
/// an exchange during which one was begun and none came about has sent nothing, unless one of an exchange before came free
/// meanwhile.
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
            connector: Arc::new(Mutex::new(connector)),
            watch: self.clone(),
        }
    }
}

/// A connector that reports to a [`ConnectWatch`].
///
/// The client clones its connector several times for each request, whether it connects or not, and cloning reqwest's own one
/// copies all that it holds. So the clones share it, and only connecting makes a copy.
pub(super) struct WatchedConnector<S> {
    connector: Arc<Mutex<S>>,
    watch: ConnectWatch,
}

impl<S> Clone for WatchedConnector<S> {
    fn clone(&self) -> Self {
        Self {
            connector: Arc::clone(&self.connector),
            watch: self.watch.clone(),
        }
    }
}

impl<S, Destination> Service<Destination> for WatchedConnector<S>
where
    S: Service<Destination> + Clone + Send + 'static,
    S::Future: Send + 'static,
    Destination: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    /// Always ready: the copy that connects is asked when there is one.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Destination) -> Self::Future {
        let mut connector = self.connector.lock().clone();
        let counts = Arc::clone(&self.watch.0);
        counts.begun.fetch_add(1, Ordering::AcqRel);
        Box::pin(async move {
            poll_fn(|context| connector.poll_ready(context)).await?;
            let connection = connector.call(destination).await?;
            counts.established.fetch_add(1, Ordering::AcqRel);
            Ok(connection)
        })
    }
}
