//! Proxies: used when a request names one, never confused, and sent no secret that is not for them.

use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use threaded::{ErrorKind, Exchange, Pool, RequestSpec, Session};

use super::{outcome, pool};
use crate::support::pools::{at_once, outcome_of, outcomes_of, respond_ok};
use crate::support::raw::{RawServer, read_request, refused_address, relay};
use crate::support::recording_server::{RecordingServer, values};

/// A proxy that responds to every request with its own name, opens tunnels, and records the heads that it receives.
struct Proxy {
    server: RawServer,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(name: &'static str) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let server = RawServer::start(move |mut stream, _| {
            loop {
                let head = read_request(&mut stream);
                if head.is_empty() {
                    return;
                }
                seen.lock().unwrap().push(head.clone());
                match head
                    .strip_prefix("CONNECT ")
                    .and_then(|rest| rest.split_once(' '))
                {
                    Some((target, _)) => return tunnel(stream, target),
                    None => {
                        let length = name.len();
                        let response =
                            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}");
                        stream.write_all(response.as_bytes()).unwrap();
                    }
                }
            }
        });
        Self { server, heads }
    }

    fn url(&self) -> String {
        self.server.url("/")
    }

    fn url_with(&self, user_info: &str) -> String {
        self.url().replace("//", &format!("//{user_info}@"))
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut near: TcpStream, target: &str) {
    let port = target.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let far = TcpStream::connect(("127.0.0.1", port)).unwrap();
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .unwrap();
    relay(near, far);
}

/// The values of a header in the text of a head.
fn fields<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.trim()).collect()
}

fn assert_proxy_error(spec: RequestSpec, what: &str) {
    let good = RecordingServer::responding_ok();
    let mut outcomes = outcomes_of(pool(), [spec, good.url("/").into()]);
    assert_eq!(outcomes.remove(1).unwrap().text(), "ok", "{what}");
    let exception = outcomes.remove(0).expect_err(what);
    let is_expected = exception.kind() == ErrorKind::Proxy;
    assert!(is_expected, "{what}: {exception:?}");
    assert!(!exception.was_sent(), "{what}");
    assert!(exception.is_connect(), "{what}");
}

fn assert_invalid(spec: RequestSpec, what: &str) {
    let exception = outcome(spec).expect_err(what);
    let is_expected = exception.kind() == ErrorKind::InvalidRequest;
    assert!(is_expected, "{what}: {exception:?}");
    assert!(!exception.was_sent(), "{what}");
}

#[test]
fn a_request_goes_through_the_proxy_that_it_names() {
    let proxy = Proxy::start("proxy");
    let address = proxy.server.address().to_string();
    for named in [proxy.url(), address] {
        let spec = RequestSpec::get("http://nobody.test/p?q=1").proxy(named);
        let response = outcome(spec).unwrap();
        assert_eq!(response.text(), "proxy");
        assert_eq!(response.url().as_str(), "http://nobody.test/p?q=1");
        assert_eq!(response.remote_addr(), Some(proxy.server.address()));
    }
    for head in proxy.heads() {
        assert!(
            head.starts_with("GET http://nobody.test/p?q=1 HTTP/1.1\r\n"),
            "{head}"
        );
        assert_eq!(fields(&head, "host"), ["nobody.test"]);
        assert_eq!(fields(&head, "proxy-authorization"), [""; 0]);
    }
}

#[test]
fn connections_are_not_shared_between_proxies_nor_with_none() {
    let (one, two) = (Proxy::start("one"), Proxy::start("two"));
    let server = RecordingServer::responding_ok();
    let get = || RequestSpec::get(server.url("/"));
    let round = [
        (get().proxy(one.url()), "one"),
        (get().proxy(two.url()), "two"),
        (get(), "ok"),
        // Another user of the first proxy.
        (get().proxy(one.url_with("user:pass")), "one"),
    ];
    let rounds = (0..5).flat_map(|_| round.clone());
    let outcomes = outcomes_of(pool(), rounds.clone().map(|(spec, _)| spec));
    for (outcome, (_, expected)) in outcomes.into_iter().zip(rounds) {
        assert_eq!(outcome.unwrap().text(), expected);
    }
    assert_eq!(one.server.connections(), 2);
    assert_eq!(two.server.connections(), 1);
    assert_eq!(server.connections(), 1);
    assert_eq!((one.heads().len(), two.heads().len()), (10, 5));
    assert_eq!(server.received().len(), 5);
    let with_user = one
        .heads()
        .iter()
        .filter(|head| !fields(head, "proxy-authorization").is_empty())
        .count();
    assert_eq!(with_user, 5);
    for head in one.heads().iter().chain(&two.heads()) {
        assert!(
            head.starts_with(&format!("GET {} ", server.url("/"))),
            "{head}"
        );
    }
    for request in server.received() {
        assert_eq!(request.uri(), "/");
    }
}

#[test]
fn redirects_go_through_the_proxy_too() {
    let server = RecordingServer::responding_ok();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let location = server.url("/to");
    let proxy = RawServer::start({
        let heads = Arc::clone(&heads);
        move |mut stream, _| {
            let head = read_request(&mut stream);
            let status = if head.contains("/to ") {
                "200 OK"
            } else {
                "302 Found"
            };
            heads.lock().unwrap().push(head);
            let response = format!(
                "HTTP/1.1 {status}\r\nLocation: {location}\r\nConnection: close\r\n\r\nproxy"
            );
            stream.write_all(response.as_bytes()).unwrap();
        }
    });
    let spec = RequestSpec::get("http://nobody.test/").proxy(proxy.url("/"));
    let response = outcome(spec).unwrap();
    assert_eq!(response.text(), "proxy");
    assert_eq!(response.url().as_str(), server.url("/to"));
    assert_eq!(heads.lock().unwrap().len(), 2);
    assert!(server.received().is_empty());
}

#[test]
fn the_user_info_of_a_proxy_is_for_the_proxy() {
    let rows = [
        ("user:pass", "Basic dXNlcjpwYXNz"),
        // `us@er` and `p:ä`, decoded.
        ("us%40er:p%3A%C3%A4", "Basic dXNAZXI6cDrDpA=="),
    ];
    for (user_info, expected) in rows {
        let proxy = Proxy::start("proxy");
        let server = RecordingServer::responding_ok();
        let get = RequestSpec::get(server.url("/"));
        let specs = [get.clone().proxy(proxy.url_with(user_info)), get];
        for outcome in outcomes_of(pool(), specs) {
            outcome.unwrap();
        }
        assert_eq!(fields(&proxy.heads()[0], "proxy-authorization"), [expected]);
        assert_eq!(fields(&proxy.heads()[0], "authorization"), [""; 0]);
        assert_eq!(values(&server.only(), "proxy-authorization"), [""; 0]);
    }
}

#[test]
fn credentials_that_a_request_brings_for_its_proxy_are_the_only_ones() {
    let proxy = Proxy::start("proxy");
    let server = RecordingServer::responding_ok();
    let spec = RequestSpec::get(server.url("/"))
        .proxy(proxy.url_with("user:pass"))
        .header("Proxy-Authorization", "own");
    outcome(spec).unwrap();
    assert_eq!(fields(&proxy.heads()[0], "proxy-authorization"), ["own"]);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_tunnel_keeps_the_secrets_of_both_ends_apart() {
    use crate::support::tls::certificate_for;

    let certificate = certificate_for(&["localhost"]);
    let proxy = Proxy::start("proxy");
    let server = RecordingServer::start_tls(certificate.config.clone(), |_| {
        http::Response::new("tls".into())
    });
    let spec = RequestSpec::get(server.url("/"))
        .bearer_auth("s3cr3t")
        .cookie("id", "s3cr3t")
        .proxy(proxy.url_with("user:pass"));
    let builder = super::trusting_pool(&certificate.pem);
    for outcome in outcomes_of(builder, [spec.clone(), spec]) {
        assert_eq!(outcome.unwrap().text(), "tls");
    }
    let heads = proxy.heads();
    assert_eq!(heads.len(), 1, "one tunnel serves both");
    assert!(
        heads[0].starts_with(&format!("CONNECT localhost:{} ", server.port())),
        "{}",
        heads[0]
    );
    assert_eq!(
        fields(&heads[0], "proxy-authorization"),
        ["Basic dXNlcjpwYXNz"]
    );
    assert!(!heads[0].contains("s3cr3t"), "{}", heads[0]);
    for request in server.received() {
        assert_eq!(values(&request, "proxy-authorization"), [""; 0]);
        assert_eq!(values(&request, "authorization"), ["Bearer s3cr3t"]);
    }
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_tunnel_that_does_not_open_is_the_proxys_fault() {
    let responses = [
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad",
        "HTTP/1.1 403 Forbidden\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 2",
        "",
    ];
    for response in responses {
        let proxy = RawServer::responding(response);
        let spec = RequestSpec::post("https://nobody.test/").body("content");
        assert_proxy_error(spec.proxy(proxy.url("/")), response);
    }
}

/// The next attempt would be refused as well.
#[test]
fn a_proxy_that_refuses_its_user_is_not_asked_again() {
    let mut urls = vec!["http://nobody.test/"];
    if cfg!(any(feature = "default-tls", feature = "native-tls")) {
        urls.push("https://nobody.test/");
    }
    for url in urls {
        let proxy = RawServer::responding(
            "HTTP/1.1 407 Proxy Authentication Required\r\n\
             Proxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
        );
        let spec = RequestSpec::post(url).proxy(proxy.url("/"));
        let outcome = outcome_of(pool().retry(at_once(3)), spec);
        let exception = outcome.unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        assert!(!exception.was_sent() && !exception.is_retryable());
        assert_eq!((exception.attempts(), proxy.connections()), (1, 1));
    }
}

#[test]
fn a_server_that_asks_for_proxy_credentials_without_a_proxy_has_responded() {
    let server = RawServer::responding(
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(outcome(server.url("/")).unwrap().status(), 407);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_tunnel_that_never_opens_is_a_timeout_and_nothing_was_sent() {
    let proxy = RawServer::start(|mut stream, _| {
        if read_request(&mut stream).starts_with("CONNECT ") {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    });
    // The first one opens the session with the proxy, so that all of the limit is for the tunnel.
    let first = RequestSpec::get("http://nobody.test/");
    let stuck = RequestSpec::post("https://nobody.test/").timeout(Duration::from_secs(1));
    let specs = [first, stuck].map(|spec| spec.proxy(proxy.url("/")));
    let mut outcomes = outcomes_of(pool(), specs);
    let exception = outcomes.remove(1).unwrap_err();
    assert!(exception.is_timeout(), "{exception:?}");
    assert!(!exception.was_sent());
    assert!(outcomes.remove(0).is_ok());
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn the_time_that_it_takes_to_open_a_session_does_not_make_a_request_sent() {
    let proxy = Proxy::start("proxy");
    let limit = Duration::from_millis(100);
    let builder = pool().initializer(move |session| {
        thread::sleep(limit * 3);
        session
    });
    // Another user each time, and so another session.
    let specs = ["a", "b", "c", "d"].map(|user| {
        let spec = RequestSpec::post(format!("http://{user}.test/")).timeout(limit);
        spec.proxy(proxy.url_with(user))
    });
    // Whether that time counts is one thing; that nothing was sent meanwhile is sure.
    for outcome in outcomes_of(builder, specs) {
        if let Err(exception) = outcome {
            assert!(exception.is_timeout(), "{exception:?}");
            let url = exception.request().url();
            let has_come = proxy.heads().iter().any(|head| head.contains(url));
            assert_eq!(exception.was_sent(), has_come, "{exception:?}");
        }
    }
}

#[test]
fn a_proxy_that_refuses_is_a_proxy_error() {
    let refused = format!("http://{}/", refused_address());
    let mut urls = vec!["http://nobody.test/"];
    if cfg!(any(feature = "default-tls", feature = "native-tls")) {
        urls.push("https://nobody.test/");
    }
    for url in urls {
        assert_proxy_error(RequestSpec::post(url).proxy(&refused), url);
    }
    #[cfg(feature = "socks")]
    for scheme in ["socks4", "socks5", "socks5h"] {
        let proxy = refused.replace("http", scheme);
        let server = RecordingServer::responding_ok();
        assert_proxy_error(RequestSpec::get(server.url("/")).proxy(proxy), scheme);
    }
}

#[test]
fn what_is_no_proxy_is_an_invalid_request() {
    let server = RecordingServer::responding_ok();
    let mut proxies = vec![
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "",
    ];
    if cfg!(not(feature = "socks")) {
        proxies.push("socks5://127.0.0.1/");
    }
    for proxy in proxies {
        assert_invalid(RequestSpec::get(server.url("/")).proxy(proxy), proxy);
    }
    assert!(server.received().is_empty());
}

#[test]
fn a_transport_that_knows_no_proxies_refuses_them() {
    let calls = Arc::new(AtomicUsize::new(0));
    let stub = {
        let calls = Arc::clone(&calls);
        move |exchange: Exchange<'_>| {
            calls.fetch_add(1, Ordering::SeqCst);
            respond_ok(exchange)
        }
    };
    let builder = Pool::builder().session(move || Session::new(stub.clone()));
    let get = RequestSpec::get("http://test/");
    let specs = [get.clone().proxy("http://127.0.0.1:9/"), get];
    let mut outcomes = outcomes_of(builder, specs);
    assert_eq!(outcomes.remove(1).unwrap().text(), "ok");
    let exception = outcomes.remove(0).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}
