//! The tests of `each_transport` on the event-driven transport, and the tests of that transport alone.

#[path = "each_transport/all.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another transport")]
mod each_transport;

mod connecting;
#[cfg(feature = "cookies")]
mod cookies;
mod descriptors;
mod dns;
mod fairness;
mod handlers;
mod heads;
#[cfg(feature = "http2")]
mod http2;
mod proxies;
#[cfg(feature = "system-proxy")]
#[path = "proxies_of_environment.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another transport")]
mod proxies_of_environment;
mod reuse;
mod segments;
mod settings;
#[cfg(feature = "socks")]
mod socks;
mod thousands;
mod tls;

use std::net::SocketAddr;

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

const CGI_HIDES_ALL_PROXIES: bool = false;

fn new_session() -> Session {
    Session::hyper()
}

/// Pools that use the proxies of the environment, and that reach the server at each of these names.
fn system_pool(names: &[&'static str], server: SocketAddr) -> PoolBuilder {
    let names = names.to_vec();
    Pool::builder().session(move || {
        Session::hyper().client(|client| {
            let client = client.tls_certs_only([""; 0]);
            names
                .iter()
                .fold(client, |client, name| client.resolve(name, server))
        })
    })
}

fn trusting_system_pool(pem: &str) -> PoolBuilder {
    let pem = pem.to_owned();
    Pool::builder().session(move || Session::hyper().client(|client| client.tls_certs_only([&pem])))
}

fn pool_with_proxy(url: &str) -> PoolBuilder {
    let url = url.to_owned();
    Pool::builder().session(move || Session::hyper().client(|client| client.proxy(&url)))
}

/// The outcome of one request, by a pool of its own.
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
