//! The transport on reqwest, and the tests that are for it alone.

#[path = "each_transport/all.rs"]
mod each_transport;

#[cfg(feature = "cookies")]
mod cookies;
#[cfg(feature = "http2")]
mod http2;

use threaded::{Pool, RequestSpec};

use crate::support::pools::{self, Outcome};

type PoolBuilder = threaded::PoolBuilder;
type Session = threaded::Session;

const THREADS_OF_A_CLIENT: usize = 1;
/// Whether an answer is told that came before the connection took no more of the body, or at times only that this was so.
const ANSWERS_OUTLIVE_HALF_SENT_BODIES: bool = false;
/// Whether the size of a chunk may have a sign or a space before it.
const ODD_CHUNK_SIZES_ARE_READ: bool = false;

/// A pool's settings on the real transport, without what the system brings along: proxies of the environment, and
/// certificates, which take longer to load than most of the tests take.
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

/// The same for servers that show this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = threaded::reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || isolated([trusted.clone()]))
}

/// The outcome of one request, by a pool of its own.
pub(crate) fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
