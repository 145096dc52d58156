//! The tests of `each_transport` on the reqwest transport, and the tests of that transport alone.

#[path = "each_transport/all.rs"]
mod each_transport;

#[cfg(feature = "cookies")]
mod cookies;
mod descriptors;
#[cfg(feature = "http2")]
mod http2;

use threaded::{Outcome, Pool, RequestSpec};

use crate::support::pools;

type PoolBuilder = threaded::PoolBuilder;
type Session = threaded::Session;

/// Its name in the cases of the corpus.
const TRANSPORT: &str = "reqwest";
const THREADS_PER_CLIENT: usize = 1;
/// Whether a response that arrives before the server stops reading the request body is always the outcome, and not at times
/// the failed write.
const REPORTS_EARLY_RESPONSES: bool = false;
/// Whether a sign or a space before the size of a chunk is accepted.
const ACCEPTS_LENIENT_CHUNK_SIZES: bool = false;

/// A builder on the real transport that ignores the system's settings: proxies of the environment, and certificates, which
/// take longer to load than most of the tests take.
pub(crate) fn pool() -> PoolBuilder {
    Pool::builder().session(|| isolated([]))
}

fn isolated(trusted: impl IntoIterator<Item = threaded::reqwest::Certificate>) -> Session {
    Session::default().client(|client| {
        let client = client.no_proxy().tls_certs_only(trusted);
        #[cfg(feature = "default-tls")]
        let client = client.tls_backend_rustls();
        client
    })
}

/// The same for servers with this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = threaded::reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || isolated([trusted.clone()]))
}

/// The outcome of one request, by a pool of its own.
pub(crate) fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
