//! The settings of the client.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use threaded::crossbeam_channel::unbounded;
use threaded::{ErrorKind, HyperBuilder, Pool, PoolError, RequestSpec};

use super::{PoolBuilder, Session, isolated};
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::{outcome_before_another, outcome_of, outcomes_of};
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, redirect, values};

fn builder(session: impl Fn() -> Session + Send + Sync + 'static) -> PoolBuilder {
    Pool::builder().session(session)
}

fn with(
    change: impl Fn(HyperBuilder) -> HyperBuilder + Clone + Send + Sync + 'static,
) -> PoolBuilder {
    builder(move || isolated(&[]).client(change.clone()))
}

/// The message of the session that cannot be opened.
fn session_error(builder: PoolBuilder) -> String {
    let error = builder.build().unwrap_err();
    assert!(matches!(error, PoolError::Session(_)), "{error:?}");
    error.to_string()
}

#[test]
fn the_user_agent_is_the_crates_unless_the_session_or_the_client_has_its_own() {
    let server = RecordingServer::responding_ok();
    let sent = |session: fn() -> Session, spec: RequestSpec| {
        let count = server.received().len();
        assert!(outcome_of(builder(session), spec).is_ok());
        values(&server.received()[count], "user-agent")
    };
    let get = || RequestSpec::get(server.url("/"));
    let own = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    let clients_own = || isolated(&[]).client(|client| client.user_agent("theirs/2"));
    let both = || {
        let session = isolated(&[]).user_agent("mine/1");
        session.client(|client| client.user_agent("theirs/2"))
    };
    assert_eq!(sent(|| isolated(&[]), get()), [own]);
    assert_eq!(
        sent(|| isolated(&[]).user_agent("mine/1"), get()),
        ["mine/1"]
    );
    assert_eq!(sent(clients_own, get()), ["theirs/2"]);
    assert_eq!(sent(both, get()), ["mine/1"]);
    let with_its_own = get().header("User-Agent", "its/3");
    assert_eq!(sent(both, with_its_own), ["its/3"]);
}

#[test]
fn a_user_agent_that_is_no_header_value_is_an_error_and_no_panic() {
    for invalid in ["a\nb", "a\0b", "a\r\nX-Injected: y"] {
        let message = session_error(with(move |client| client.user_agent(invalid)));
        assert!(message.contains("user_agent"), "{message}");
        let message = session_error(builder(move || isolated(&[]).user_agent(invalid)));
        assert!(message.contains("user agent"), "{message}");
    }
}

#[test]
fn plain_http_can_be_ruled_out() {
    let server = RecordingServer::responding_ok();
    let secure_only = || with(|client| client.https_only(true));
    let exception = outcome_of(secure_only(), server.url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert!(!exception.was_sent() && !exception.is_retryable());
    assert!(exception.to_string().contains("https_only"), "{exception}");
    assert_eq!(server.connections(), 0);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_redirect_does_not_lead_to_plain_http_where_that_is_ruled_out() {
    use crate::support::tls::certificate_for;

    let plain = RecordingServer::responding_ok();
    let certificate = certificate_for(&["localhost"]);
    let location = plain.url("/");
    let secure = RecordingServer::start_tls(certificate.config, move |request| {
        match request.uri().path() {
            "/away" => redirect(302, &location),
            _ => http::Response::new("secure".into()),
        }
    });
    let pem = certificate.pem;
    let builder = builder(move || isolated(&[&pem]).client(|client| client.https_only(true)));
    let urls = ["/", "/away"].map(|path| secure.url(path));
    let mut outcomes = outcomes_of(builder, urls);
    let exception = outcomes.pop().unwrap().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Redirect, "{exception:?}");
    assert_eq!(exception.hops().len(), 1);
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "secure");
    assert_eq!(plain.connections(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn connections_come_from_the_local_address() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let peer = stream.peer_addr().unwrap().ip().to_string();
        let response = raw_response(Framing::ContentLength, "", peer.as_bytes());
        let _ = stream.write_all(&response);
    });
    let local = IpAddr::from([127, 0, 0, 5]);
    let address = server.address();
    let bound = move |client: HyperBuilder| {
        // An address of the other family is not tried.
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, address.port()));
        let client = client.resolve_to_addrs("both.test", &[v6, address]);
        client.resolve("v6.test", v6).local_address(local)
    };
    for url in [server.url("/"), "http://both.test/".to_owned()] {
        let response = outcome_before_another(with(bound), url).unwrap();
        assert_eq!(response.text(), local.to_string());
    }
    let exception = outcome_before_another(with(bound), "http://v6.test/").unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Connect, "{exception:?}");
    assert!(!exception.was_sent());

    // One that this machine does not have.
    let foreign = |client: HyperBuilder| client.local_address(IpAddr::from([192, 0, 2, 1]));
    let exception = outcome_of(with(foreign), server.url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::LocalResource, "{exception:?}");
    assert!(!exception.was_sent());
}

#[test]
fn without_idle_connections_each_request_has_its_own() {
    let server = RecordingServer::responding_ok();
    let urls = || (0..5).map(|page| server.url(&format!("/{page}")));
    let none_idle = with(|client| client.pool_max_idle_per_host(0));
    for outcome in outcomes_of(none_idle, urls()) {
        assert!(outcome.is_ok());
    }
    assert_eq!(server.connections(), 5);
    for outcome in outcomes_of(with(|client| client), urls()) {
        assert!(outcome.is_ok());
    }
    assert_eq!(server.connections(), 6);
}

#[test]
fn of_the_idle_connections_to_a_host_some_are_kept() {
    const JOBS: usize = 8;

    let all = std::sync::Barrier::new(JOBS);
    let server = RecordingServer::start(move |request| {
        if request.uri().path() == "/all" {
            all.wait();
        }
        http::Response::new("ok".into())
    });
    let builder = with(|client| client.pool_max_idle_per_host(2));
    let pool = builder.num_threads(1).concurrency(JOBS).build().unwrap();
    for (round, connections) in [(0, JOBS), (1, 2 * JOBS - 2)] {
        let (responses, _) = pool.map(vec![server.url("/all"); JOBS]).unwrap();
        assert_eq!(responses.count(), JOBS);
        assert_eq!(server.connections(), connections, "round {round}");
    }
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (closed_tx, closed) = unbounded();
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(&raw_response(Framing::ContentLength, "", b"ok"));
        // Returns when the client has closed the connection, which it does by itself.
        let read = stream.read(&mut [0]);
        let _ = closed_tx.send(read.is_ok_and(|read| read == 0));
    });
    let builder = with(|client| client.pool_idle_timeout(Duration::from_millis(100)));
    let pool = builder.concurrency(1).build().unwrap();
    for connections in [1, 2] {
        let outcome = pool.spawn(server.url("/")).unwrap().join();
        assert_eq!(outcome.unwrap().text(), "ok");
        assert_eq!(closed.recv_timeout(Duration::from_secs(30)), Ok(true));
        assert_eq!(server.connections(), connections);
    }
}

#[test]
fn a_connection_that_the_server_closes_while_it_is_idle_is_replaced() {
    let (close, closing) = unbounded::<()>();
    let (closed_tx, closed) = unbounded();
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(&raw_response(Framing::ContentLength, "", b"ok"));
        let _ = closing.recv();
        drop(stream);
        let _ = closed_tx.send(());
    });
    let pool = with(|client| client).concurrency(1).build().unwrap();
    for _ in 0..5 {
        let spec = RequestSpec::post(server.url("/")).body("content");
        let outcome = pool.spawn(spec).unwrap().join();
        assert_eq!(outcome.unwrap().text(), "ok");
        close.send(()).unwrap();
        closed.recv().unwrap();
    }
    assert_eq!(server.connections(), 5);
}

#[test]
fn a_request_may_name_another_host_than_its_url() {
    let server = RecordingServer::responding_ok();
    let spec = RequestSpec::get(server.url("/")).header("Host", "virtual.test");
    assert!(outcome_of(with(|client| client), spec).is_ok());
    assert_eq!(values(&server.only(), "host"), ["virtual.test"]);
}

#[test]
fn names_can_be_given_addresses() {
    let server = RecordingServer::responding_ok();
    let port = server.port();
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let builder = with(move |client| {
        let client = client.resolve("by-url.test", address(0));
        client.resolve("By-Setting.test", address(port))
    });
    let urls = [
        format!("http://by-url.test:{port}/"),
        "http://by-setting.test/".to_owned(),
        "http://BY-SETTING.test/".to_owned(),
    ];
    for outcome in outcomes_of(builder, urls) {
        assert_eq!(outcome.unwrap().text(), "ok");
    }
    let hosts: Vec<_> = server
        .received()
        .iter()
        .flat_map(|request| values(request, "host"))
        .collect();
    let by_url = format!("by-url.test:{port}");
    assert_eq!(hosts, [&*by_url, "by-setting.test", "by-setting.test"]);
}

#[test]
fn a_proxy_for_all_requests() {
    let proxy = RawServer::responding(raw_response(Framing::CloseDelimited, "", b"proxy"));
    let url = proxy.url("/");
    let proxied = with(move |client| client.proxy(&url));
    let direct = builder({
        let url = proxy.url("/");
        move || isolated(&[]).client(|client| client.proxy(&url).no_proxy())
    });
    let server = RecordingServer::responding_ok();
    assert_eq!(
        outcome_of(proxied, server.url("/")).unwrap().text(),
        "proxy"
    );
    assert_eq!(outcome_of(direct, server.url("/")).unwrap().text(), "ok");
    for invalid in ["http://[::1", "ftp://127.0.0.1/", ""] {
        let message = session_error(with(move |client| client.proxy(invalid)));
        assert!(message.contains("proxy"), "{message}");
    }
}
