//! The tests of `each_transport` on the event-driven transport, and the tests of that transport alone.

#[path = "each_transport/all.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another transport")]
mod each_transport;

mod cancelling;
mod connecting;
#[cfg(feature = "cookies")]
mod cookies;
mod descriptors;
mod dns;
#[cfg(feature = "system-proxy")]
mod environment;
mod fairness;
mod handlers;
mod heads;
#[cfg(feature = "http2")]
mod http2;
mod memory;
mod proxies;
mod reuse;
mod settings;
#[cfg(feature = "socks")]
mod socks;
mod tls;

use threaded::{HyperBuilder, Outcome, Pool, RequestSpec};

use crate::support::pools;

type PoolBuilder = threaded::PoolBuilder<HyperBuilder>;
type Session = threaded::Session<HyperBuilder>;

/// Its name in the cases of the corpus.
const TRANSPORT: &str = "hyper";
const THREADS_PER_CLIENT: usize = 0;
/// Whether a response that arrives before the server stops reading the request body is always the outcome, and not at times
/// the failed write.
const REPORTS_EARLY_RESPONSES: bool = false;
/// Whether a sign or a space before the size of a chunk is accepted.
const ACCEPTS_LENIENT_CHUNK_SIZES: bool = false;

/// A builder on the real transport that ignores the system's settings: proxies of the environment, and certificates.
fn pool() -> PoolBuilder {
    Pool::builder().session(|| isolated(&[]))
}

fn isolated(trusted: &[&str]) -> Session {
    Session::hyper().client(|client| client.no_proxy().tls_certs_only(trusted))
}

/// The same for servers with this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = pem.to_owned();
    Pool::builder().session(move || isolated(&[&trusted]))
}

/// The outcome of one request, by a pool of its own.
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
