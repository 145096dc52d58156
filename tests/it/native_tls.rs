//! The platform's TLS library reports faults in its own way; they map to the same errors.

#![cfg(feature = "native-tls")]

use std::sync::Arc;

use threaded::{ErrorKind, Pool, PoolBuilder, Session};

use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::tls::certificate_for;

fn pool() -> PoolBuilder {
    Pool::builder()
        .session(|| Session::default().client(|client| client.no_proxy().tls_backend_native()))
}

#[test]
fn failures_to_agree_on_a_secure_connection_are_told_apart() {
    let certificate = certificate_for(&["localhost"]);
    let untrusted = Server::start_tls(certificate.config, |_| http::Response::default());
    let plain = Server::responding("plain");
    let closing = RawServer::start(|stream, _| drop(stream));
    let https = |address| format!("https://{address}/");
    let urls = [
        untrusted.url("/"),
        https(plain.address()),
        https(closing.address()),
        plain.url("/"),
    ];

    let mut outcomes = outcomes_of(pool(), urls);
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "plain");
    let errors: Vec<_> = outcomes.into_iter().map(Result::unwrap_err).collect();
    assert_eq!(errors[0].kind(), ErrorKind::Tls, "{:?}", errors[0]);
    assert_eq!(errors[1].kind(), ErrorKind::Tls, "{:?}", errors[1]);
    assert_eq!(errors[2].kind(), ErrorKind::Connect, "{:?}", errors[2]);
    assert!(errors.iter().all(|exception| !exception.was_sent()));
}

#[test]
fn a_trusted_server_is_talked_to() {
    let certificate = certificate_for(&["localhost"]);
    let server = Server::responding_over_tls(certificate.config, "secure");
    let trusted = reqwest::Certificate::from_pem(certificate.pem.as_bytes()).unwrap();
    let builder = pool().initializer(move |session| {
        session.client(|client| client.tls_certs_merge([trusted.clone()]))
    });
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().text(), "secure");
}

#[test]
fn a_refusal_that_comes_after_the_handshake_is_one_too() {
    let certificate = certificate_for(&["localhost"]);
    let config = certificate.requiring_client_certificate(&rustls::version::TLS13);
    let server = RawServer::start(move |mut stream, _| {
        let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        connection.complete_io(&mut stream).unwrap_err();
        while connection.wants_write() {
            connection.write_tls(&mut stream).unwrap();
        }
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let url = format!("https://localhost:{}/", server.address().port());
    let trusted = reqwest::Certificate::from_pem(certificate.pem.as_bytes()).unwrap();
    let builder = pool().initializer(move |session| {
        session.client(|client| client.tls_certs_merge([trusted.clone()]))
    });
    let exception = outcomes_of(builder, [url]).remove(0).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Tls, "{exception:?}");
    assert!(exception.was_sent(), "{exception:?}");
}
