//! Whether a connection is being made, and why none was: tells faults before the request was sent from those after it.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::error::BoxError;
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
    /// Why the last connection did not come about, if that is asked for.
    failure: Mutex<Option<SharedError>>,
    keeps_failure: AtomicBool,
}

/// Why a connection did not come about.
#[derive(Clone, Debug)]
pub(super) struct SharedError(Arc<dyn StdError + Send + Sync>);

impl fmt::Display for SharedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for SharedError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

#[derive(Clone, Copy)]
pub(super) struct Snapshot {
    begun: usize,
    established: usize,
}

/// What became of the connection that an exchange has begun.
pub(super) enum Connecting {
    /// It has begun none, or that is not known, or the connection came about.
    Unknown,
    /// It did not come about by the end of the exchange, or for this reason, if it is known.
    Incomplete(Option<SharedError>),
}

impl ConnectWatch {
    /// An exchange begins. With `keeps_failure`, the reason why its connection does not come about is kept.
    pub(super) fn begin(&self, keeps_failure: bool) -> Snapshot {
        if self.0.keeps_failure.swap(keeps_failure, Ordering::AcqRel) || keeps_failure {
            *self.0.failure.lock() = None;
        }
        self.snapshot()
    }

    /// What became of the connection of an exchange that has failed.
    pub(super) fn since(&self, before: Snapshot) -> Connecting {
        let now = self.snapshot();
        if now.begun != before.begun && now.established == before.established {
            Connecting::Incomplete(self.0.failure.lock().take())
        } else {
            Connecting::Unknown
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            begun: self.0.begun.load(Ordering::Acquire),
            established: self.0.established.load(Ordering::Acquire),
        }
    }
}

impl Counts {
    /// A connection did not come about. The reason is shared only if it is asked for, since that hides its type.
    fn failed(&self, error: BoxError) -> BoxError {
        if !self.keeps_failure.load(Ordering::Acquire) {
            return error;
        }
        let failure = SharedError(error.into());
        *self.failure.lock() = Some(failure.clone());
        failure.into()
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
    S: Service<Destination, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    Destination: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    /// Always ready: the copy that connects is asked when there is one.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Destination) -> Self::Future {
        let mut connector = self.connector.lock().clone();
        let counts = Arc::clone(&self.watch.0);
        counts.begun.fetch_add(1, Ordering::AcqRel);
        Box::pin(async move {
            let connecting = async {
                poll_fn(|context| connector.poll_ready(context)).await?;
                connector.call(destination).await
            };
            let connection = connecting.await.map_err(|error| counts.failed(error))?;
            counts.established.fetch_add(1, Ordering::AcqRel);
            Ok(connection)
        })
    }
}
