//! SSRF protection: with `public_addresses_only`, untrusted URLs lead to public addresses only.

use threaded::{ErrorKind, Outcome, Pool, PoolError, RequestSpec, Session};

use super::{PoolBuilder, pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::recording_server::{RecordingServer, redirect};

fn guarded() -> PoolBuilder {
    pool().public_addresses_only(true)
}

fn assert_refused(outcome: &Outcome) {
    let exception = outcome.as_ref().expect_err("it is refused");
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    let message = exception.error().to_string();
    assert!(message.contains("no public address"), "{message}");
    assert!(!exception.was_sent() && !exception.is_retryable());
}

#[test]
fn loopback_is_refused_in_every_spelling() {
    let server = RecordingServer::responding_ok();
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        // By name: the addresses it resolves to are checked before the connection is made.
        "localhost",
        "LOCALHOST",
    ];
    let urls = hosts.map(|host| format!("http://{host}:{}/", server.port()));
    for outcome in outcomes_of(guarded(), urls) {
        assert_refused(&outcome);
    }
    assert_eq!((server.received().len(), server.connections()), (0, 0));
}

#[test]
fn the_networks_that_this_machine_may_be_in_are_refused() {
    let hosts = [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fc00::1]",
        "[ff02::1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
    ];
    let urls = hosts.map(|host| format!("http://{host}/"));
    for outcome in outcomes_of(guarded(), urls) {
        assert_refused(&outcome);
    }
}

#[test]
fn an_origin_may_be_excepted_and_its_redirects_lead_nowhere_else() {
    let secret = RecordingServer::responding_ok();
    let secret_port = secret.port();
    let server = RecordingServer::start(move |request| match request.uri().path() {
        "/by-address" => redirect(302, format!("http://127.0.0.1:{secret_port}/")),
        "/in-disguise" => redirect(307, format!("http://0x7f000001:{secret_port}/")),
        "/by-name" => redirect(302, format!("http://localhost:{secret_port}/")),
        "/twice" => redirect(302, "/by-name"),
        _ => http::Response::new(bytes::Bytes::from_static(b"ok")),
    });
    let builder = guarded().allow_origin(server.url("/"));
    let paths = [
        "/",
        "/by-address",
        "/in-disguise",
        "/by-name",
        "/twice",
        "/",
    ];
    let mut outcomes = outcomes_of(builder, paths.map(|path| server.url(path)));
    assert_eq!(outcomes.remove(5).unwrap().text(), "ok");
    assert_eq!(outcomes.remove(0).unwrap().text(), "ok");
    for (outcome, hops) in outcomes.iter().zip([1, 1, 1, 2]) {
        let exception = outcome.as_ref().expect_err("it is refused");
        assert_eq!(exception.kind(), ErrorKind::Redirect, "{exception:?}");
        let message = exception.error().to_string();
        assert!(message.contains("no public address"), "{message}");
        assert_eq!(exception.hops().len(), hops, "{exception:?}");
    }
    assert_eq!(secret.connections(), 0);
}

#[test]
fn an_origin_that_is_excepted_by_name_opens_no_other_port_of_that_host() {
    let (allowed, other) = (
        RecordingServer::responding_ok(),
        RecordingServer::responding_ok(),
    );
    let by_name = |server: &RecordingServer| format!("http://localhost:{}/", server.port());
    let builder = guarded().allow_origin(by_name(&allowed));
    let outcomes = outcomes_of(builder, [by_name(&allowed), by_name(&other)]);
    assert_eq!(outcomes[0].as_ref().unwrap().text(), "ok");
    assert_refused(&outcomes[1]);
    assert_eq!(other.connections(), 0);
}

#[test]
fn nothing_goes_through_a_proxy() {
    let proxy = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let server = RecordingServer::responding_ok();
    let builder = guarded().allow_origin(server.url("/"));
    let spec = RequestSpec::get(server.url("/")).proxy(proxy.url("/"));
    let outcomes = outcomes_of(builder, [spec]);
    let exception = outcomes[0].as_ref().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    let message = exception.error().to_string();
    assert!(message.contains("proxy"), "{exception:?}");
    assert_eq!((proxy.connections(), server.connections()), (0, 0));
}

#[test]
fn without_it_nothing_is_refused() {
    let server = RecordingServer::responding_ok();
    let builder = pool().allow_origin("http://unused.test");
    assert!(outcomes_of(builder, [server.url("/")])[0].is_ok());
}

#[test]
fn what_is_no_origin_cannot_be_excepted() {
    let error = guarded().allow_origin("127.0.0.1").build().unwrap_err();
    assert!(matches!(error, PoolError::AllowedOrigin(_)), "{error:?}");
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}

#[test]
fn a_transport_that_cannot_keep_to_it_is_not_built() {
    let transport =
        |_: threaded::Exchange<'_>| Ok(http::Response::new(threaded::ResponseBody::empty()));
    let builder = Pool::builder().session(move || Session::new(transport));
    let error = builder.public_addresses_only(true).build().unwrap_err();
    assert!(matches!(error, PoolError::Session(_)), "{error:?}");
}
