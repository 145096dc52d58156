//! What `Session::hyper` does and reqwest does not, and no setting of its client makes it. A test fails here when an update of
//! reqwest mends it: then the difference goes from the docs of `Session::default`, and its test to `each_transport`.

use std::net::SocketAddr;
use std::time::Duration;

use threaded::{ErrorKind, Pool, RequestSpec, ThreadException};

use super::{isolated, pool};
use crate::support::pools::outcome_before_another;
use crate::support::raw::{DeafListener, RawServer, read_request};

fn exception_of(spec: RequestSpec) -> ThreadException {
    let exception = outcome_before_another(pool(), spec).unwrap_err();
    assert!(!exception.was_sent(), "{exception:?}");
    exception
}

#[cfg(feature = "socks")]
mod socks {
    use std::net::{Ipv6Addr, SocketAddr};

    use super::*;
    use crate::support::recording_server::RecordingServer;
    use crate::support::socks::{FINE, PASSWORD, Socks};

    /// It offers the password alone, although RFC 1928, section 3, lets a client offer both ways.
    #[test]
    fn a_proxy_that_wants_no_password_is_not_offered_to_do_without_it() {
        let proxy = Socks::start(FINE);
        let url = proxy.url("socks5h").replace("//", "//user:s3cr3t@");
        let exception = exception_of(RequestSpec::get("http://nobody.test/").proxy(url));
        assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        assert_eq!(proxy.all()[0].offers, [PASSWORD]);
    }

    #[test]
    fn version_4_is_not_asked_for_the_second_address_of_a_name() {
        let proxy = Socks::start(FINE);
        let session = || {
            isolated([]).client(|client| {
                let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
                let v4 = SocketAddr::from(([127, 0, 0, 1], 0));
                client.resolve_to_addrs("both.test", &[v6, v4])
            })
        };
        let spec = RequestSpec::get("http://both.test/").proxy(proxy.url("socks4"));
        let outcome = outcome_before_another(Pool::builder().session(session), spec);
        let exception = outcome.unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        assert!(!exception.was_sent());
    }

    #[test]
    fn an_ipv6_address_is_not_one_to_socks() {
        let proxy = Socks::start(FINE);
        let exception = exception_of(RequestSpec::get("http://[::1]/").proxy(proxy.url("socks5")));
        assert_eq!(exception.kind(), ErrorKind::Dns, "{exception:?}");
        // The name of an address it is, if the proxy resolves it.
        let server = RecordingServer::responding_ok();
        let url = format!("http://[::1]:{}/", server.port());
        let spec = RequestSpec::get(url).proxy(proxy.url("socks5h"));
        assert_eq!(outcome_before_another(pool(), spec).unwrap().text(), "ok");
    }
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
mod tunnels {
    use std::io::Write;

    use super::*;

    #[test]
    fn no_certificate_is_for_an_ipv6_address_behind_a_tunnel() {
        let proxy = RawServer::start(|mut stream, _| {
            read_request(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let spec = RequestSpec::get("https://[::1]/").proxy(proxy.url("/"));
        let exception = exception_of(spec.timeout(Duration::from_secs(20)));
        assert_eq!(exception.kind(), ErrorKind::Tls, "{exception:?}");
    }

    /// RFC 9110, section 9.3.6: any 2xx opens a tunnel.
    #[test]
    fn only_a_200_opens_a_tunnel() {
        for status in ["201 Created", "204 No Content"] {
            let proxy = RawServer::responding(format!("HTTP/1.1 {status}\r\n\r\n"));
            let spec = RequestSpec::get("https://nobody.test/").proxy(proxy.url("/"));
            let exception = exception_of(spec);
            assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        }
    }
}

/// The addresses of a host share the time limit of connecting, 10 s by default.
#[cfg(target_os = "linux")]
#[test]
fn a_silent_address_takes_its_share_of_the_time_for_connecting() {
    let deaf = DeafListener::start();
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let server = RawServer::responding_beside(deaf.address(), ok);
    let addresses = [deaf.address(), server.address()];
    let addresses = addresses.map(|address| SocketAddr::new(address.ip(), 0));
    let session =
        move || isolated([]).client(|client| client.resolve_to_addrs("name.test", &addresses));
    let url = format!("http://name.test:{}/", deaf.address().port());
    let outcome = outcome_before_another(Pool::builder().session(session), url);
    let response = outcome.unwrap();
    assert_eq!(response.text(), "ok");
    let share = Duration::from_secs(5);
    assert!(response.elapsed() >= share, "{response:?}");
}

/// It is found out by the pings that the client sends while a request is in flight, and not when a request times out.
#[cfg(all(feature = "http2", feature = "default-tls"))]
#[test]
fn a_connection_that_has_fallen_silent_is_used_until_a_ping_has_no_response() {
    use crate::support::http2_frames::falling_silent_over_tls;
    use crate::support::pools::outcomes_of;
    use crate::support::tls::certificate_for;

    let certificate = certificate_for(&["localhost"]);
    let server = falling_silent_over_tls(&certificate);
    let url = format!("https://localhost:{}/", server.address().port());
    let get = || RequestSpec::get(&url);
    let limit = Duration::from_secs(1);
    let specs = [
        get(),
        get().timeout(limit),
        get().timeout(limit),
        get().timeout(Duration::from_secs(200)),
        get(),
    ];
    let mut outcomes = outcomes_of(super::trusting_pool(&certificate.pem), specs).into_iter();
    let mut next = || outcomes.next().unwrap();
    assert!(next().is_ok());
    assert_eq!(next().unwrap_err().time_limit(), Some(limit));
    assert_eq!(next().unwrap_err().time_limit(), Some(limit));
    let exception = next().unwrap_err();
    assert_ne!(exception.kind(), ErrorKind::Tls, "{exception:?}");
    assert!(exception.is_retryable(), "{exception:?}");
    assert!(exception.elapsed() < Duration::from_secs(100));
    assert_eq!(next().unwrap().text(), "ok");
    assert_eq!(server.connections(), 2);
}

#[test]
fn default_headers_of_the_client_may_hold_no_credentials() {
    let session = || {
        let headers = [("x-api-key", "s3cr3t")].map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        isolated([]).client(|client| client.default_headers(headers.into_iter().collect()))
    };
    let error = Pool::builder().session(session).build().unwrap_err();
    let message = error.to_string();
    assert!(message.contains("x-api-key"), "{message}");
    assert!(message.contains("Session::header"), "{message}");
    assert!(!message.contains("s3cr3t"), "{message}");
}
