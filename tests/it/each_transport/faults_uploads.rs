//! Request bodies that are read while they are sent: what goes wrong before that has the same outcome as with a body in
//! memory.

use std::net::SocketAddr;

use threaded::{ErrorKind, RequestSpec, ThreadException};

use super::pool;
use crate::support::pools::outcome_before_another;
use crate::support::raw::{RawServer, refused_address};

/// The exceptions of this request with each kind of body.
fn exceptions_of(spec: &RequestSpec) -> Vec<ThreadException> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 10_000]).unwrap();
    large.as_file().set_len(8 << 20).unwrap();
    let specs = [
        spec.clone().body("content"),
        spec.clone().body_from_file(file.path()),
        spec.clone().body_from_file(large.path()),
        #[cfg(feature = "multipart")]
        spec.clone().multipart(
            threaded::multipart::Form::new()
                .text("a", "b")
                .file("photo", file.path()),
        ),
    ];
    let exceptions = specs.into_iter().map(|spec| {
        let outcome = outcome_before_another(pool(), spec);
        outcome.unwrap_err()
    });
    exceptions.collect()
}

/// Asserts that nothing was sent, and that a retry policy knows.
fn assert_not_sent(spec: &RequestSpec, kind: ErrorKind) {
    for exception in exceptions_of(spec) {
        assert_eq!(exception.kind(), kind, "{exception:?}");
        assert!(!exception.was_sent(), "{exception:?}");
        assert_eq!(
            exception.is_retryable(),
            kind != ErrorKind::Tls,
            "{exception:?}"
        );
    }
}

fn post(scheme: &str, address: SocketAddr) -> RequestSpec {
    RequestSpec::post(format!("{scheme}://{address}/"))
}

#[test]
fn a_connection_that_is_refused() {
    assert_not_sent(&post("http", refused_address()), ErrorKind::Connect);
}

#[test]
fn a_host_name_that_is_unknown() {
    let spec = RequestSpec::post("http://no-such-host.invalid/");
    assert_not_sent(&spec, ErrorKind::Dns);
}

#[test]
fn a_proxy_that_refuses_connections() {
    let proxy = format!("http://{}/", refused_address());
    let spec = RequestSpec::post("http://nobody.test/").proxy(proxy);
    assert_not_sent(&spec, ErrorKind::Proxy);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_tunnel_that_does_not_open() {
    let proxy = RawServer::responding("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad");
    let spec = RequestSpec::post("https://nobody.test/").proxy(proxy.url("/"));
    assert_not_sent(&spec, ErrorKind::Proxy);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_certificate_that_is_not_trusted() {
    use crate::support::server::Server;
    use crate::support::tls::certificate_for;

    let certificate = certificate_for(&["127.0.0.1"]);
    let server = Server::responding_over_tls(certificate.config, "never seen");
    assert_not_sent(&post("https", server.address()), ErrorKind::Tls);
    assert_eq!(server.requests(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_that_is_never_accepted() {
    use std::time::Duration;

    use crate::support::raw::DeafListener;

    let deaf = DeafListener::start();
    let spec = post("http", deaf.address()).timeout(Duration::from_secs(1));
    assert_not_sent(&spec, ErrorKind::Timeout);
}
