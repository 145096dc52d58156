//! The integration tests: one binary, one file per promise, and one per thing that users do.

#[path = "../support/mod.rs"]
mod support;

mod affinity;
mod api;
mod bodies;
mod connections;
mod deadlines;
mod decoding;
mod dropping;
mod environment;
mod faults;
mod feeding;
mod fresh_credentials;
mod handles;
mod imap;
mod invalid_requests;
mod joining;
mod limits;
mod multipart;
mod native_tls;
mod observing;
mod original;
mod outcomes;
mod plain_data;
mod proxies;
mod redirect_secrets;
mod redirects;
mod regressions;
mod requests;
mod retrying;
mod secrets;
mod sessions;
mod sharing;
mod sinks;
mod specs;
mod statuses;
mod stopping;
mod workers;

use support::pools::{self, Outcome};
use threaded::{Pool, PoolBuilder, RequestSpec, Session};

/// A pool's settings on the real transport, without what the system brings along: proxies of the environment, and
/// certificates, which take longer to load than most of the tests take.
fn pool() -> PoolBuilder {
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
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    let mut outcomes = pools::outcomes_of(pool(), [request.into()]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}
