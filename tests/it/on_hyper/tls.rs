//! The settings of TLS: certificates of servers and of clients.
#![cfg(feature = "default-tls")]

use std::sync::Arc;

use threaded::{ErrorKind, HyperBuilder, Pool, PoolError, RequestSpec};

use super::{PoolBuilder, isolated};
use crate::support::pools::{outcome_before_another, outcome_of};
use crate::support::recording_server::RecordingServer;
use crate::support::server::Server;
use crate::support::tls::{TestCertificate, certificate_for, certificate_with};

fn with(
    change: impl Fn(HyperBuilder) -> HyperBuilder + Clone + Send + Sync + 'static,
) -> PoolBuilder {
    Pool::builder().session(move || isolated(&[]).client(change.clone()))
}

type Backend = (&'static str, fn(HyperBuilder) -> HyperBuilder);

/// The TLS library of the system reads and checks the same things, if it is built in.
fn backends() -> Vec<Backend> {
    vec![
        ("rustls", HyperBuilder::tls_backend_rustls),
        #[cfg(feature = "native-tls")]
        ("native", HyperBuilder::tls_backend_native),
    ]
}

#[test]
fn a_certificate_must_be_trusted() {
    let certificate = certificate_for(&["localhost"]);
    // OpenSSL finds roots by their subject.
    let other = certificate_with(&["localhost"], |params| {
        let name = &mut params.distinguished_name;
        name.push(rcgen::DnType::CommonName, "other");
    });
    let server = Server::responding_over_tls(Arc::clone(&certificate.config), "secure");
    for (name, backend) in backends() {
        let trusting =
            |pems: Vec<String>| with(move |client| backend(client).tls_certs_only(&pems));
        let (pem, other) = (certificate.pem.clone(), other.pem.clone());
        let both = format!("{other}{pem}");
        for pems in [
            vec![pem.clone()],
            vec![other.clone(), pem.clone()],
            vec![both],
        ] {
            let outcome = outcome_before_another(trusting(pems), server.url("/"));
            let response = outcome.unwrap_or_else(|exception| panic!("{name}: {exception:?}"));
            assert_eq!(response.text(), "secure");
        }
        let merged = with(move |client| backend(client).tls_certs_merge([&pem]));
        assert_eq!(
            outcome_of(merged, server.url("/")).unwrap().text(),
            "secure"
        );
        for pems in [vec![], vec![other]] {
            let outcome = outcome_before_another(trusting(pems), server.url("/"));
            let exception = outcome.unwrap_err();
            assert_eq!(exception.kind(), ErrorKind::Tls, "{name}: {exception:?}");
            assert!(!exception.was_sent() && !exception.is_retryable());
        }
    }
}

#[test]
fn invalid_certificates_can_be_accepted() {
    let certificates = [
        certificate_for(&["localhost"]),
        certificate_for(&["other.test"]),
        certificate_with(&["localhost"], |params| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }),
    ];
    for certificate in certificates {
        let server = Server::responding_over_tls(certificate.config, "whoever");
        for (name, backend) in backends() {
            for (accept, kind) in [(true, None), (false, Some(ErrorKind::Tls))] {
                let builder =
                    with(move |client| backend(client).tls_danger_accept_invalid_certs(accept));
                let outcome = outcome_of(builder, server.url("/"));
                assert_eq!(
                    outcome.err().map(|exception| exception.kind()),
                    kind,
                    "{name}"
                );
            }
        }
    }
}

/// The key and the certificate, in one text.
fn identity(certificate: &TestCertificate) -> String {
    format!("{}{}", certificate.key_pem, certificate.pem)
}

#[test]
fn a_client_may_present_a_certificate() {
    let certificate = certificate_for(&["localhost"]);
    let stranger = certificate_for(&["localhost"]);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = certificate.requiring_client_certificate(version);
        let server = Server::responding_over_tls(config, "known");
        for (name, backend) in backends() {
            let presenting = |identity: Option<String>| {
                let pem = certificate.pem.clone();
                with(move |client| {
                    let client = backend(client).tls_certs_only([&pem]);
                    match &identity {
                        Some(identity) => client.identity(identity),
                        None => client,
                    }
                })
            };
            let known = presenting(Some(identity(&certificate)));
            let outcome = outcome_before_another(known, server.url("/"));
            assert_eq!(outcome.unwrap().text(), "known");
            for other in [None, Some(identity(&stranger))] {
                let outcome = outcome_before_another(presenting(other), server.url("/"));
                let exception = outcome.unwrap_err();
                assert_eq!(exception.kind(), ErrorKind::Tls, "{name}: {exception:?}");
                assert!(!exception.is_retryable());
            }
        }
    }
}

#[test]
fn what_is_no_certificate_and_no_identity_is_an_error() {
    let certificate = certificate_for(&["localhost"]);
    let cut = &certificate.pem[..certificate.pem.len() / 2];
    let broken = certificate.pem.replace("MII", "!!!");
    let (key, pem) = (certificate.key_pem.clone(), certificate.pem.clone());
    let certificates = ["", "no certificate", cut, &broken, &key].map(str::to_owned);
    let identities = ["", "no identity", &key, &pem, &format!("{key}{broken}")].map(str::to_owned);
    let mut accepted = Vec::new();
    for (name, backend) in backends() {
        let mut builders = Vec::new();
        for text in certificates.clone() {
            let what = format!("{name}: the certificate {text:?}");
            let only = text.clone();
            builders.push((
                with(move |client| backend(client).tls_certs_only([&only])),
                format!("{what}, only"),
            ));
            let merge = with(move |client| backend(client).tls_certs_merge([&text]));
            builders.push((merge, format!("{what}, merged")));
        }
        for text in identities.clone() {
            let what = format!("{name}: the identity {text:?}");
            builders.push((with(move |client| backend(client).identity(&text)), what));
        }
        for (builder, what) in builders {
            match builder.build() {
                Err(PoolError::Session(_)) => {}
                other => accepted.push((what, other)),
            }
        }
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[test]
fn the_name_of_a_file_is_no_certificate() {
    let builder = with(|client| client.tls_certs_merge(["/etc/ssl/ca.pem"]));
    let message = builder.build().unwrap_err().to_string();
    assert!(message.contains("not its name"), "{message}");
    assert!(!message.contains("peer"), "{message}");
}

#[test]
fn a_request_may_name_another_host_than_its_url() {
    let certificate = certificate_for(&["localhost"]);
    let server =
        RecordingServer::start_tls(certificate.config, |_| http::Response::new("ok".into()));
    let spec = RequestSpec::get(server.url("/")).header("Host", "virtual.test");
    let response = outcome_of(super::trusting_pool(&certificate.pem), spec).unwrap();
    let request = server.only();
    // With HTTP/2, the authority takes the place of the header.
    assert_eq!(response.version(), request.version());
    let authority = request.uri().authority().map(ToString::to_string);
    let host = crate::support::recording_server::values(&request, "host");
    let named: Vec<String> = authority.into_iter().chain(host).collect();
    assert!(
        !named.is_empty() && named.iter().all(|name| name == "virtual.test"),
        "{named:?}"
    );
}
