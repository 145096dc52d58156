//! Faults of connections and responses: each is produced for real, ends in its own kind of error, and leaves the pool
//! working.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use threaded::{ErrorKind, RequestSpec, ThreadException};

use super::pool;
pub(super) use crate::support::pools::outcome_before_another;
use crate::support::raw::{RawServer, read_request, refused_address, reset};
use crate::support::server::Server;
use crate::support::tls::certificate_for;

/// The exception that the request ends in, if the same worker's next job succeeds.
pub(super) fn exception(request: impl Into<RequestSpec>) -> ThreadException {
    outcome_before_another(pool(), request).unwrap_err()
}

macro_rules! assert_kind {
    ($exception:expr, $kind:ident, sent: $sent:expr) => {
        let exception: threaded::ThreadException = $exception;
        assert_eq!(
            exception.kind(),
            threaded::ErrorKind::$kind,
            "{exception:?}"
        );
        assert_eq!(exception.was_sent(), $sent, "{exception:?}");
        assert!(
            std::error::Error::source(exception.error()).is_some(),
            "{exception:?}"
        );
    };
}

pub(super) use assert_kind;

/// Serves one request with a script for what comes after it.
pub(super) fn after_request(script: impl Fn(TcpStream) + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        script(stream);
    })
}

#[test]
fn a_refused_connection() {
    let exception = exception(format!("http://{}/", refused_address()));
    assert!(exception.is_connect() && exception.is_retryable());
    assert_kind!(exception, Connect, sent: false);
}

#[test]
fn an_unknown_host_name() {
    let exception = exception("http://no-such-host.invalid/");
    assert!(exception.is_connect() && exception.is_retryable());
    assert_kind!(exception, Dns, sent: false);
}

#[test]
fn a_connection_closed_or_reset_right_after_it_was_accepted() {
    for end in [drop as fn(TcpStream), reset] {
        let server = RawServer::start(move |stream, _| end(stream));
        let exception = exception(server.url("/"));
        // If the end is seen before the request was written, nothing was sent; and a reset may strike before the connection
        // counts as made.
        let is_expected = match exception.kind() {
            ErrorKind::Closed => true,
            ErrorKind::Connect => !exception.was_sent(),
            _ => false,
        };
        assert!(is_expected && exception.is_retryable(), "{exception:?}");
    }
}

#[test]
fn a_server_that_drips() {
    let server = after_request(|mut stream| {
        let mut alive = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while alive.is_ok() {
            thread::sleep(Duration::from_millis(30));
            alive = stream.write_all(b"x");
        }
    });
    let limit = Duration::from_millis(300);
    let started = Instant::now();
    let exception = exception(RequestSpec::get(server.url("/")).timeout(limit));
    assert!(
        started.elapsed() < 10 * limit,
        "the whole body would take 30 s"
    );
    assert!(exception.elapsed() >= limit);
    assert_eq!(exception.time_limit(), Some(limit));
    assert!(exception.was_sent() && exception.is_retryable());
}

#[test]
fn a_certificate_that_is_not_trusted() {
    let server = Server::start_tls(certificate_for(&["localhost"]).config, |_| {
        Default::default()
    });
    let exception = exception(server.url("/"));
    assert!(exception.is_connect() && !exception.is_retryable());
    assert_kind!(exception, Tls, sent: false);
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_server_that_does_not_speak_tls() {
    let server = Server::responding("plain");
    let url = format!("https://{}/", server.address());
    assert_kind!(exception(url), Tls, sent: false);
}

#[test]
fn a_connection_closed_inside_the_tls_handshake() {
    let closing = RawServer::start(|stream, _| drop(stream));
    let url = format!("https://{}/", closing.address());
    assert_kind!(exception(url), Connect, sent: false);
}

#[test]
fn a_place_that_cannot_be_connected_to_is_no_matter_of_tls() {
    // Link-local without an interface: the system knows no way there.
    let exception = exception("http://[fe80::1]/");
    assert_kind!(exception, Connect, sent: false);
}
