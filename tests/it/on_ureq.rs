//! The tests of `each_transport` on the ureq transport, and the tests of that transport alone.

#[path = "each_transport/all.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another transport")]
mod each_transport;

mod connections;
#[cfg(feature = "system-proxy")]
mod environment;
mod heads;
mod settings;

use threaded::ureq::tls::{Certificate, RootCerts, TlsConfig};
use threaded::{Outcome, Pool, RequestSpec, UreqConfigBuilder};

use crate::support::pools;

type PoolBuilder = threaded::PoolBuilder<UreqConfigBuilder>;
type Session = threaded::Session<UreqConfigBuilder>;

/// Its name in the cases of the corpus.
const TRANSPORT: &str = "ureq";
const THREADS_PER_CLIENT: usize = 0;
/// Whether a response that arrives before the server stops reading the request body is always the outcome, and not at times
/// the failed write.
const REPORTS_EARLY_RESPONSES: bool = true;

/// A builder on the real transport that ignores the system's settings: proxies of the environment, and certificates.
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

/// The same for servers with this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || isolated(std::slice::from_ref(&trusted)))
}

/// The outcome of one request, by a pool of its own.
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
