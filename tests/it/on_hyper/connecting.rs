//! Connecting to a name with several addresses (RFC 8305), and the time that connecting may take.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use threaded::{ErrorKind, Pool, RequestSpec, ThreadException};

use super::{PoolBuilder, isolated};
use crate::support::framing::{Framing, drip, raw_response};
use crate::support::pools::outcome_before_another;
use crate::support::raw::{DeafListener, RawServer, read_request, refused_address};

const NAME: &str = "name.test";

/// Much longer than any of these tests takes, so that a response never comes by its end.
const DEADLINE: Duration = Duration::from_secs(100);

fn resolving_to(addresses: &[SocketAddr]) -> PoolBuilder {
    let addresses = addresses.to_vec();
    let session = move || isolated(&[]).client(|client| client.resolve_to_addrs(NAME, &addresses));
    Pool::builder().session(session).timeout(DEADLINE)
}

/// The text of the response and the time that it took, after making sure that the address at which it came is reported.
fn response_of(addresses: &[SocketAddr], up: SocketAddr) -> (String, Duration) {
    let spec = RequestSpec::get(format!("http://{NAME}/"));
    let response = outcome_before_another(resolving_to(addresses), spec).unwrap();
    assert_eq!(response.remote_addr(), Some(up));
    (response.text().into_owned(), response.elapsed())
}

fn exception_of(addresses: &[SocketAddr], limit: Duration) -> ThreadException {
    let spec = RequestSpec::post(format!("http://{NAME}/")).body("content");
    let outcome = outcome_before_another(resolving_to(addresses), spec.timeout(limit));
    let exception = outcome.unwrap_err();
    assert!(!exception.was_sent(), "{exception:?}");
    assert!(exception.is_retryable(), "{exception:?}");
    exception
}

fn hello() -> Vec<u8> {
    raw_response(Framing::ContentLength, "", b"hello")
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_that_swallows_what_it_is_sent_is_not_waited_for() {
    let deaf = DeafListener::start();
    let server = RawServer::responding_beside(deaf.address(), hello());
    // The port is that of the URL.
    let addresses =
        [deaf.address(), server.address()].map(|address| SocketAddr::new(address.ip(), 0));
    let url = format!("http://{NAME}:{}/", deaf.address().port());
    let outcome = outcome_before_another(resolving_to(&addresses), url);
    let response = outcome.unwrap();
    assert_eq!(response.text(), "hello");
    assert_eq!(response.remote_addr(), Some(server.address()));
    assert!(response.elapsed() < Duration::from_secs(10), "{response:?}");
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_last_of_many_addresses_is_found_while_the_others_are_silent() {
    let deaf = [
        DeafListener::start(),
        DeafListener::start(),
        DeafListener::start(),
    ];
    let server = RawServer::responding(hello());
    let mut addresses: Vec<SocketAddr> = deaf.iter().map(DeafListener::address).collect();
    addresses.push(server.address());
    let (text, elapsed) = response_of(&addresses, server.address());
    assert_eq!(text, "hello");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    let server = RawServer::responding(hello());
    // Whether it refuses or, without IPv6, cannot be reached.
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, server.address().port()));
    for dead in [ipv6, refused_address()] {
        for addresses in [[dead, server.address()], [server.address(), dead]] {
            let (text, elapsed) = response_of(&addresses, server.address());
            assert_eq!(text, "hello");
            assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
        }
    }
}

#[test]
fn a_name_whose_addresses_all_refuse_cannot_be_connected_to() {
    let dead = refused_address();
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, dead.port()));
    for addresses in [&[dead][..], &[ipv6, dead], &[dead, ipv6, refused_address()]] {
        let exception = exception_of(addresses, DEADLINE);
        assert_eq!(exception.kind(), ErrorKind::Connect, "{exception:?}");
        assert!(exception.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn a_name_of_which_one_address_is_silent_and_none_accepts_is_a_timeout() {
    let deaf = DeafListener::start();
    let limit = Duration::from_secs(1);
    let refused = refused_address();
    for addresses in [[deaf.address(), refused], [refused, deaf.address()]] {
        let exception = exception_of(&addresses, limit);
        assert_eq!(exception.time_limit(), Some(limit), "{exception:?}");
        assert!(exception.elapsed() >= limit);
    }
}

#[test]
fn connecting_has_a_time_limit_of_its_own() {
    let deaf = DeafListener::start();
    let limit = Duration::from_millis(300);
    let silent = RawServer::start(|mut stream, _| {
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let mut specs = vec![
        RequestSpec::post(format!("http://{}/", deaf.address())),
        RequestSpec::post("http://name.test/").proxy(format!("http://{}/", deaf.address())),
    ];
    if cfg!(any(feature = "default-tls", feature = "native-tls")) {
        // The TLS handshake, and the proxy's part, are a part of connecting.
        specs.push(RequestSpec::post(
            silent.url("/").replace("http:", "https:"),
        ));
        specs.push(RequestSpec::post("https://name.test/").proxy(silent.url("/")));
    }
    if cfg!(feature = "socks") {
        let proxy = silent.url("/").replace("http:", "socks5h:");
        specs.push(RequestSpec::post("http://name.test/").proxy(proxy));
    }
    for spec in specs {
        let what = format!("{spec:?}");
        let session = move || isolated(&[]).client(|client| client.connect_timeout(limit));
        let builder = Pool::builder().session(session).timeout(DEADLINE);
        let started = Instant::now();
        let exception = outcome_before_another(builder, spec).unwrap_err();
        assert_eq!(
            exception.kind(),
            ErrorKind::Timeout,
            "{what}: {exception:?}"
        );
        assert!(!exception.was_sent(), "{what}: {exception:?}");
        assert_eq!(exception.time_limit(), Some(limit), "{what}");
        assert!(exception.elapsed() >= limit, "{what}: {exception:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
    }
}

#[test]
fn the_time_limit_of_connecting_does_not_end_what_comes_after_it() {
    let limit = Duration::from_millis(300);
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        drip(&mut stream, limit, hello().chunks(15));
    });
    let session = move || isolated(&[]).client(|client| client.connect_timeout(limit));
    let builder = Pool::builder().session(session).timeout(DEADLINE);
    let response = outcome_before_another(builder, server.url("/")).unwrap();
    assert_eq!(response.text(), "hello");
    assert!(response.elapsed() > limit, "the server is not slow");
}
