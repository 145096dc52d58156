//! Tunnels through HTTP proxies: which responses to CONNECT open one, and how the target is named.
#![cfg(any(feature = "default-tls", feature = "native-tls"))]

use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use threaded::{ErrorKind, RequestSpec, ThreadException};

use super::{pool, trusting_pool};
use crate::support::pools::{at_once, outcome_before_another, outcomes_of};
use crate::support::raw::{RawServer, read_request, relay, reset};
use crate::support::server::Server;
use crate::support::tls::certificate_for;

/// Responds to CONNECT with these bytes, then opens the tunnel to that port of this machine. Records the heads.
fn tunnelling(response: impl Into<Vec<u8>>) -> (RawServer, Arc<Mutex<Vec<String>>>) {
    let (response, heads) = (response.into(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&heads);
    let proxy = RawServer::start(move |mut near, _| {
        let head = read_request(&mut near);
        seen.lock().unwrap().push(head.clone());
        let target = head.split(' ').nth(1).unwrap();
        let (_, port) = target.rsplit_once(':').unwrap();
        let far = TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
        near.write_all(&response).unwrap();
        relay(near, far);
    });
    (proxy, heads)
}

/// Requests over a tunnel that a proxy opens with this response. Returns the head of the request for it.
fn head_of_tunnel(host: &str, response: &str) -> String {
    let certificate = certificate_for(&[host.trim_matches(['[', ']'])]);
    let server = Server::responding_over_tls(certificate.config, "through the tunnel");
    let (proxy, heads) = tunnelling(response);
    let url = format!("https://{host}:{}/", server.address().port());
    let specs = [0, 1].map(|_| RequestSpec::get(&url).proxy(proxy.url("/")));
    for outcome in outcomes_of(trusting_pool(&certificate.pem), specs) {
        let text = outcome.unwrap_or_else(|exception| panic!("{response}: {exception:?}"));
        assert_eq!(text.text(), "through the tunnel", "{response}");
    }
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 1, "one tunnel serves both");
    heads[0].clone()
}

/// RFC 9110, section 9.3.6: any 2xx response switches to tunnel mode, and has no content, whatever its fields say.
#[test]
fn any_successful_response_opens_a_tunnel() {
    let many_fields: String = (0..30)
        .map(|number| format!("X-Field-{number}: {}\r\n", "value".repeat(8)))
        .collect();
    let responses = [
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 201 Created\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 299 \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        &format!("HTTP/1.1 200 OK\r\n{many_fields}\r\n"),
    ];
    for response in responses {
        let head = head_of_tunnel("localhost", response);
        assert!(head.starts_with("CONNECT localhost:"), "{head}");
    }
}

#[test]
fn an_ipv6_address_is_named_in_brackets_to_the_proxy_and_without_them_to_tls() {
    let head = head_of_tunnel("[::1]", "HTTP/1.1 200 OK\r\n\r\n");
    let (target, _) = head
        .strip_prefix("CONNECT ")
        .unwrap()
        .split_once(' ')
        .unwrap();
    assert!(target.starts_with("[::1]:"), "{head}");
    assert!(head.contains(&format!("\r\nhost: {target}\r\n")), "{head}");
}

/// The exception of a POST whose proxy runs this script, without retries by the policy of one that would repeat it.
fn exception_of(proxy: &RawServer, url: &str) -> ThreadException {
    let spec = RequestSpec::post(url).body("content").proxy(proxy.url("/"));
    let exception = outcome_before_another(pool().retry(at_once(1)), spec).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
    assert!(
        !exception.was_sent() && exception.is_connect(),
        "{exception:?}"
    );
    exception
}

#[test]
fn a_proxy_that_opens_no_tunnel_has_sent_nothing_on() {
    let responses = [
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nbad",
        "HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\ncut",
        "HTTP/1.1 302 Found\r\nLocation: http://other.test/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "\x15\x03\x01\x00\x02\x02\x28",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200",
        "",
        // A tunnel in which the other side speaks first is not one to a TLS server.
        "HTTP/1.1 200 OK\r\n\r\n220 mail.example.test ESMTP\r\n",
    ];
    for response in responses {
        let proxy = RawServer::responding(response);
        let exception = exception_of(&proxy, "https://nobody.test/");
        assert!(exception.is_retryable(), "{response}: {exception:?}");
        assert_eq!(proxy.connections(), 2, "{response}");
    }
    let resetting = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        reset(stream);
    });
    exception_of(&resetting, "https://nobody.test/");
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named_without_its_user() {
    let address = crate::support::raw::refused_address();
    let proxy = format!("http://user:s3cr3t@{address}/");
    for url in ["http://nobody.test/", "https://nobody.test/"] {
        let spec = RequestSpec::get(url).proxy(&proxy);
        let exception = outcome_before_another(pool(), spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Proxy, "{exception:?}");
        let message = exception.to_string();
        let named = format!("through the proxy http://{address}: ");
        assert!(message.contains(&named), "{message}");
    }
}

#[test]
fn an_endless_response_to_connect_is_given_up() {
    let proxy = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Filler: ");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    exception_of(&proxy, "https://nobody.test/");
}

#[test]
fn a_proxy_may_itself_be_spoken_to_over_tls() {
    let certificate = certificate_for(&["localhost", "127.0.0.1"]);
    let server = Server::responding_over_tls(Arc::clone(&certificate.config), "both");
    let pem = certificate.pem.clone();
    let proxy = RawServer::start(move |stream, _| {
        // Forwards nothing: what it is sent directly, it responds to itself.
        let mut stream = certificate.serve(stream);
        let head = read_request(&mut stream);
        if head.starts_with("GET http://nobody.test/ ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy");
        } else {
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let over_tls = format!("https://localhost:{}/", proxy.address().port());
    let get = RequestSpec::get("http://nobody.test/").proxy(&over_tls);
    let refused = RequestSpec::get(server.url("/")).proxy(&over_tls);
    let mut outcomes = outcomes_of(trusting_pool(&pem), [get.clone(), refused]);
    assert_eq!(
        outcomes.pop().unwrap().unwrap_err().kind(),
        ErrorKind::Proxy
    );
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "proxy");
    // A certificate that is not trusted stays so, whoever presents it.
    let untrusted = outcome_before_another(pool(), get).unwrap_err();
    assert_eq!(untrusted.kind(), ErrorKind::Tls, "{untrusted:?}");
    assert!(!untrusted.was_sent() && !untrusted.is_retryable());
}

/// Requests to proxies are HTTP/1.1, so a proxy that could speak HTTP/2 must not come to expect it.
#[cfg(feature = "http2")]
#[test]
fn a_proxy_over_tls_is_not_asked_for_http2() {
    let certificate = certificate_for(&["localhost"]);
    let config = Arc::clone(&certificate.config);
    assert!(config.alpn_protocols.contains(&b"h2".to_vec()));
    let proxy = RawServer::start(move |stream, _| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let head = read_request(&mut stream);
        let agreed = stream.conn.alpn_protocol().unwrap_or_default();
        let text = format!("{}, {head:.3}", String::from_utf8_lossy(agreed));
        let length = text.len();
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
        let _ = stream.write_all(response.as_bytes());
        let _ = stream.flush();
    });
    let over_tls = format!("https://localhost:{}/", proxy.address().port());
    let spec = RequestSpec::get("http://nobody.test/").proxy(over_tls);
    let response = outcome_before_another(trusting_pool(&certificate.pem), spec).unwrap();
    assert!(
        ["http/1.1, GET", ", GET"].contains(&&*response.text()),
        "{}",
        response.text()
    );
}
