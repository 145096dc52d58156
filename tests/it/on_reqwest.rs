//! The tests of `each_transport` on the reqwest transport, and the tests of that transport alone.

#[path = "each_transport/all.rs"]
mod each_transport;

#[cfg(feature = "cookies")]
mod cookies;
mod descriptors;
#[cfg(feature = "http2")]
mod http2;
mod known_differences;
#[cfg(feature = "system-proxy")]
#[path = "proxies_of_environment.rs"]
mod proxies_of_environment;

use std::net::SocketAddr;

use threaded::{Outcome, Pool, RequestSpec, reqwest};

use crate::support::pools;

type PoolBuilder = threaded::PoolBuilder;
type Session = threaded::Session;

/// Its name in the cases of the corpus.
const TRANSPORT: &str = "reqwest";
const THREADS_PER_CLIENT: usize = 1;
/// Whether a response that arrives before the server stops reading the request body is always the outcome, and not at times
/// the failed write.
const REPORTS_EARLY_RESPONSES: bool = false;

/// A builder on the real transport that ignores the system's settings: proxies of the environment, and certificates, which
/// take longer to load than most of the tests take.
pub(crate) fn pool() -> PoolBuilder {
    Pool::builder().session(|| isolated([]))
}

fn isolated(trusted: impl IntoIterator<Item = reqwest::Certificate>) -> Session {
    Session::default().client(|client| {
        let client = client.no_proxy().tls_certs_only(trusted);
        #[cfg(feature = "default-tls")]
        let client = client.tls_backend_rustls();
        client
    })
}

/// The same for servers with this certificate (PEM).
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || isolated([trusted.clone()]))
}

const CGI_HIDES_ALL_PROXIES: bool = true;

fn new_session() -> Session {
    Session::default()
}

/// Pools that use the proxies of the environment, and that reach the server at each of these names.
fn system_pool(names: &[&'static str], server: SocketAddr) -> PoolBuilder {
    let names = names.to_vec();
    Pool::builder().session(move || {
        Session::default().client(|client| {
            let client = client.tls_certs_only([]);
            names
                .iter()
                .fold(client, |client, name| client.resolve(name, server))
        })
    })
}

fn trusting_system_pool(pem: &str) -> PoolBuilder {
    let trusted = reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || {
        Session::default().client(|client| client.tls_certs_only([trusted.clone()]))
    })
}

fn pool_with_proxy(url: &str) -> PoolBuilder {
    let proxy = reqwest::Proxy::all(url).unwrap();
    Pool::builder().session(move || Session::default().client(|client| client.proxy(proxy.clone())))
}

/// The outcome of one request, by a pool of its own.
pub(crate) fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    pools::outcome_of(pool(), request)
}
