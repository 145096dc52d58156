//! The transport on ureq, and the tests that are for it alone.

#[path = "each_transport/all.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another transport")]
mod each_transport;

mod connections;
#[cfg(feature = "system-proxy")]
mod environment;
mod heads;
mod settings;

use threaded::ureq::tls::{Certificate, RootCerts, TlsConfig};
use threaded::{Pool, RequestSpec, UreqConfigBuilder};

use crate::support::pools::{self, Outcome};

type PoolBuilder = threaded::PoolBuilder<UreqConfigBuilder>;
type Session = threaded::Session<UreqConfigBuilder>;

const THREADS_OF_A_CLIENT: usize = 0;
/// Whether an answer is told that came before the connection took no more of the body, or at times only that this was so.
const ANSWERS_OUTLIVE_HALF_SENT_BODIES: bool = true;
/// Whether the size of a chunk may have a sign or a space before it.
const ODD_CHUNK_SIZES_ARE_READ: bool = true;

/// A pool's settings on the real transport, without what the system brings along: proxies of the environment, and
/// certificates.
fn pool() -> PoolBuilder {
    Pool::builder().session(|| isolated(&[]))
}

fn isolated(trusted: &[Certificate<'static>]) -> Session {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(trusted))
        .build();
    Session::ureq().client(|config| config.proxy(None).tls_config(tls))
}

/// The same for servers that show this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || isolated(std::slice::from_ref(&trusted)))
}

/// The outcome of one request, by a pool of its own.
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
