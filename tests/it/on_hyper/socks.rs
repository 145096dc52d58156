//! SOCKS proxies: versions 4 and 4a, and version 5 (RFC 1928) with user name and password (RFC 1929).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use threaded::{ErrorKind, Pool, RequestSpec};

use super::{isolated, pool};
use crate::support::pools::{outcome_before_another, outcomes_of};
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;
use crate::support::socks::{Asked, Behavior, FINE, NO_AUTHENTICATION, PASSWORD, Socks};

/// What a proxy is asked for by a request that names it with this scheme and user info, to this host. The names `name.test`
/// and `v6.test` resolve to an IPv6 address first, and to an IPv4 one only the former.
fn asked(behavior: Behavior, scheme: &str, user_info: &str, host: &str) -> Asked {
    let proxy = Socks::start(behavior);
    let server = RecordingServer::responding_ok();
    let session = || {
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let v4 = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 0));
        isolated(&[]).client(|client| {
            let client = client.resolve_to_addrs("name.test", &[v6, v4]);
            client.resolve("v4.test", v4).resolve("v6.test", v6)
        })
    };
    let url = proxy.url(scheme).replace("//", &format!("//{user_info}"));
    let spec = RequestSpec::get(format!("http://{host}:{}/", server.port())).proxy(url);
    let builder = Pool::builder().session(session);
    for outcome in outcomes_of(builder, [spec.clone(), spec]) {
        assert_eq!(outcome.unwrap().text(), "ok", "{scheme} to {host}");
    }
    assert_eq!(server.received().len(), 2);
    let mut asked = proxy.only();
    assert_eq!(asked.port, server.port());
    asked.port = 0;
    asked
}

fn v5(offers: &[u8], credentials: &[&str], host: &str) -> Asked {
    Asked {
        version: 5,
        offers: offers.to_vec(),
        credentials: credentials.iter().map(|text| (*text).to_owned()).collect(),
        host: host.to_owned(),
        port: 0,
    }
}

fn v4(user: &str, host: &str) -> Asked {
    Asked {
        version: 4,
        offers: Vec::new(),
        credentials: vec![user.to_owned()],
        host: host.to_owned(),
        port: 0,
    }
}

#[test]
fn version_5_is_asked_for_an_address_or_for_a_name() {
    let rows = [
        ("socks5", "127.0.0.1", "127.0.0.1"),
        ("socks5", "[::1]", "::1"),
        ("socks5", "v4.test", "127.0.0.9"),
        ("socks5", "v6.test", "::1"),
        ("socks5h", "name.test", "the name name.test"),
        ("socks5h", "nobody.test", "the name nobody.test"),
        ("socks5h", "127.0.0.1", "127.0.0.1"),
        ("socks5h", "[::1]", "::1"),
    ];
    for (scheme, host, expected) in rows {
        let asked = asked(FINE, scheme, "", host);
        assert_eq!(asked, v5(&[0], &[], expected), "{scheme} to {host}");
    }
}

#[test]
fn version_5_is_asked_for_one_address_after_the_other() {
    let proxy = Socks::start(Behavior {
        reaches_v6: false,
        ..FINE
    });
    let server = RecordingServer::responding_ok();
    let session = || {
        let unreachable = [1_u128, 2].map(|last| SocketAddr::from((Ipv6Addr::from(last), 0)));
        let reachable = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let addresses = [unreachable[0], unreachable[1], reachable];
        isolated(&[]).client(|client| client.resolve_to_addrs("name.test", &addresses))
    };
    let url = format!("http://name.test:{}/", server.port());
    let spec = RequestSpec::get(url).proxy(proxy.url("socks5"));
    let outcome = outcome_before_another(Pool::builder().session(session), spec);
    assert_eq!(outcome.unwrap().text(), "ok");
    let hosts: Vec<_> = proxy.all().into_iter().map(|asked| asked.host).collect();
    // The families take turns.
    assert_eq!(hosts, ["::1", "127.0.0.1"]);
    assert_eq!(server.received().len(), 1);
}

#[test]
fn version_4_is_asked_for_an_ipv4_address_or_for_a_name() {
    let rows = [
        ("socks4", "127.0.0.1", "127.0.0.1"),
        ("socks4", "v4.test", "127.0.0.9"),
        // Not the first address, which is one of IPv6.
        ("socks4", "name.test", "127.0.0.9"),
        ("socks4a", "nobody.test", "nobody.test"),
        ("socks4a", "127.0.0.1", "127.0.0.1"),
    ];
    for (scheme, host, expected) in rows {
        let asked_for = asked(FINE, scheme, "", host);
        assert_eq!(asked_for, v4("", expected), "{scheme} to {host}");
    }
    let with_user = asked(FINE, "socks4a", "us%40er@", "nobody.test");
    assert_eq!(with_user, v4("us@er", "nobody.test"));
}

#[test]
fn a_user_is_named_to_a_proxy_that_asks_for_one() {
    let asking = Behavior {
        picks: PASSWORD,
        ..FINE
    };
    let rows = [
        ("user:pass@", ["user", "pass"]),
        ("us%40er:p%3A%C3%A4@", ["us@er", "p:ä"]),
        ("user@", ["user", ""]),
    ];
    for (user_info, credentials) in rows {
        for scheme in ["socks5", "socks5h"] {
            let asked = asked(asking, scheme, user_info, "127.0.0.1");
            let offers = [NO_AUTHENTICATION, PASSWORD];
            assert_eq!(asked, v5(&offers, &credentials, "127.0.0.1"), "{user_info}");
        }
    }
}

#[test]
fn a_proxy_that_needs_no_user_may_be_given_one() {
    let asked = asked(FINE, "socks5h", "user:pass@", "nobody.test");
    let offers = [NO_AUTHENTICATION, PASSWORD];
    assert_eq!(asked, v5(&offers, &[], "the name nobody.test"));
}

#[test]
fn the_address_that_a_proxy_is_bound_to_may_be_of_any_type() {
    for bound_type in [1, 3, 4] {
        let bound = Behavior { bound_type, ..FINE };
        asked(bound, "socks5h", "", "nobody.test");
    }
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn tls_goes_through_the_proxy() {
    use crate::support::server::Server;
    use crate::support::tls::certificate_for;

    let certificate = certificate_for(&["nobody.test", "::1"]);
    let server = Server::responding_over_tls(certificate.config, "encrypted");
    for (scheme, host) in [
        ("socks5h", "nobody.test"),
        ("socks4a", "nobody.test"),
        ("socks5", "[::1]"),
    ] {
        let proxy = Socks::start(FINE);
        let url = format!("https://{host}:{}/", server.address().port());
        let spec = RequestSpec::get(url).proxy(proxy.url(scheme));
        let outcome = outcome_before_another(super::trusting_pool(&certificate.pem), spec);
        assert_eq!(outcome.unwrap().text(), "encrypted", "{scheme}");
        assert_eq!(proxy.only().port, server.address().port());
    }
}

/// The message of a POST through this proxy, which does not reach the server.
fn message_of(proxy: String, host: &str) -> String {
    let server = RecordingServer::responding_ok();
    let url = format!("http://{host}:{}/", server.port());
    let spec = RequestSpec::post(url).body("content").proxy(&proxy);
    let exception = outcome_before_another(pool(), spec).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Proxy, "{proxy}: {exception:?}");
    assert!(
        !exception.was_sent() && exception.is_connect(),
        "{exception:?}"
    );
    assert!(server.received().is_empty());
    exception.to_string()
}

#[test]
fn a_proxy_that_refuses_says_why() {
    let reasons = [
        (1, "general"),
        (2, "not allowed"),
        (3, "network unreachable"),
        (4, "host unreachable"),
        (5, "refused"),
        (6, "time to live"),
        (7, "command"),
        (8, "type of address"),
        (200, "unknown"),
    ];
    for (code, reason) in reasons {
        let refusing = Behavior {
            refuses: Some(code),
            ..FINE
        };
        let proxy = Socks::start(refusing);
        let message = message_of(proxy.url("socks5h"), "nobody.test");
        assert!(message.contains(reason), "{code}: {message}");
    }
    for code in [91, 92, 93] {
        let refusing = Behavior {
            refuses: Some(code),
            ..FINE
        };
        for scheme in ["socks4", "socks4a"] {
            let proxy = Socks::start(refusing);
            let message = message_of(proxy.url(scheme), "127.0.0.1");
            assert!(message.contains(&code.to_string()), "{code}: {message}");
        }
    }
}

#[test]
fn a_proxy_that_does_not_accept_the_user() {
    let wrong = Behavior {
        picks: PASSWORD,
        password_status: 1,
        ..FINE
    };
    let with_user = |behavior| {
        let proxy = Socks::start(behavior);
        let url = proxy.url("socks5h").replace("//", "//user:s3cr3t@");
        let message = message_of(url, "nobody.test");
        assert!(!message.contains("s3cr3t"), "{message}");
    };
    with_user(wrong);
    // None of the ways that are offered, and one that was not offered.
    for picks in [255, 1] {
        with_user(Behavior { picks, ..FINE });
    }
    let asking = Socks::start(Behavior {
        picks: PASSWORD,
        ..FINE
    });
    message_of(asking.url("socks5h"), "nobody.test");
}

#[test]
fn version_4_has_no_ipv6_addresses() {
    for scheme in ["socks4", "socks4a"] {
        let proxy = Socks::start(FINE);
        let message = message_of(proxy.url(scheme), "[::1]");
        assert!(message.contains("IPv4"), "{message}");
    }
}

#[test]
fn what_does_not_speak_socks_is_no_proxy() {
    let replies: [&[u8]; 6] = [
        b"",
        b"\x05",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x05\x00\x05\x00\x00\x09",
        b"\x05\x00\x04\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
        b"\x00\x5b",
    ];
    for reply in replies {
        for scheme in ["socks4a", "socks5h"] {
            let proxy = RawServer::start(move |mut stream, _| {
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(reply);
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = io::copy(&mut stream, &mut io::sink());
            });
            let url = format!("{scheme}://{}/", proxy.address());
            message_of(url, "nobody.test");
        }
    }
}

#[test]
fn a_name_that_does_not_resolve_is_no_fault_of_the_proxy() {
    for scheme in ["socks4", "socks5"] {
        let proxy = Socks::start(FINE);
        let spec = RequestSpec::post("http://no-such-host.invalid/").proxy(proxy.url(scheme));
        let exception = outcome_before_another(pool(), spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Dns, "{exception:?}");
        assert!(!exception.was_sent());
    }
}

#[test]
fn what_does_not_fit_into_the_protocol_is_an_invalid_request() {
    let long = "u".repeat(256);
    let proxy = Socks::start(Behavior {
        picks: PASSWORD,
        ..FINE
    });
    let with_user = |scheme: &str, user: &str| {
        let url = proxy.url(scheme).replace("//", &format!("//{user}@"));
        RequestSpec::get("http://nobody.test/").proxy(url)
    };
    for spec in [with_user("socks5h", &long), with_user("socks4a", "a%00b")] {
        let exception = outcome_before_another(pool(), spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
        assert!(!exception.was_sent());
    }
}

#[test]
fn an_address_stays_an_address_in_every_spelling() {
    // The URL parser turns it into the address that it stands for.
    let asked = asked(FINE, "socks5h", "", "0x7f.1");
    assert_eq!(asked.host, IpAddr::from([127, 0, 0, 1]).to_string());
}
