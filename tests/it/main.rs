//! The integration tests: one binary, one file per promise, and one per thing that users do.

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod deadlines;
mod decoding;
mod environment;
mod multipart;
mod proxies;
mod redirect_secrets;
mod redirects;
mod requests;
mod specs;

use support::pools::{self, Outcome};
use threaded::{Pool, PoolBuilder, RequestSpec, Session};

/// A pool's settings on the real transport, without the proxies that the environment may name.
fn pool() -> PoolBuilder {
    Pool::builder().session(|| Session::default().client(|client| client.no_proxy()))
}

/// The same for servers that show this certificate (PEM).
#[cfg(any(feature = "default-tls", feature = "native-tls"))]
fn trusting_pool(pem: &str) -> PoolBuilder {
    let trusted = threaded::reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
    Pool::builder().session(move || {
        let trusted = trusted.clone();
        Session::default().client(|client| client.no_proxy().tls_certs_merge([trusted]))
    })
}

/// The outcome of one request, by a pool of its own.
fn outcome(request: impl Into<RequestSpec>) -> Outcome {
    let mut outcomes = pools::outcomes_of(pool(), [request.into()]);
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}
