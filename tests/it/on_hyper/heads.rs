//! Heads that are odd but valid, heads that are too large, and bytes behind the end of a response.

use std::io::Write;

use threaded::crossbeam_channel::unbounded;
use threaded::{ErrorKind, Outcome, RequestSpec, Response, ThreadException};

use super::pool;
use crate::support::pools::{outcome_before_another, outcomes_of};
use crate::support::raw::{RawServer, read_request};

fn outcome(bytes: impl Into<Vec<u8>>, spec: impl Fn(String) -> RequestSpec) -> Outcome {
    let server = RawServer::responding(bytes.into());
    outcome_before_another(pool(), spec(server.url("/")))
}

fn response(bytes: impl Into<Vec<u8>>) -> Response {
    outcome(bytes, RequestSpec::get).unwrap().into_response()
}

fn exception(bytes: impl Into<Vec<u8>>) -> ThreadException {
    let exception = outcome(bytes, RequestSpec::get).unwrap_err();
    assert!(
        exception.was_sent() && !exception.is_retryable(),
        "{exception:?}"
    );
    exception
}

#[test]
fn a_response_of_version_1_0_ends_with_its_connection() {
    for fields in ["", "Content-Length: 5\r\n", "Connection: close\r\n"] {
        let response = response(format!("HTTP/1.0 200 OK\r\n{fields}\r\nhello"));
        assert_eq!(response.version(), http::Version::HTTP_10);
        assert_eq!(response.text(), "hello");
    }
}

#[test]
fn the_size_of_a_head_is_limited() {
    let with_filler = |length: usize| {
        let filler = "x".repeat(length);
        format!("HTTP/1.1 200 OK\r\nX-Filler: {filler}\r\nContent-Length: 2\r\n\r\nok")
    };
    let large = response(with_filler(60 << 10));
    assert_eq!(large.headers()["x-filler"].len(), 60 << 10);
    assert_eq!(large.text(), "ok");
    let exception = exception(with_filler(1 << 20));
    assert_eq!(exception.kind(), ErrorKind::Protocol, "{exception:?}");
}

/// What an attacker who can add to a response would put behind it.
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

#[test]
fn bytes_behind_a_response_are_not_the_response_to_the_next_request() {
    let responses = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "ok",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
    ];
    for (response, text) in responses {
        for behind in [SMUGGLED, "x", "\r\n\r\nevil", "\0"] {
            let server = RawServer::start(move |mut stream, number| {
                let mut is_first = number == 0;
                while !read_request(&mut stream).is_empty() {
                    let behind = if is_first { behind } else { "" };
                    is_first = false;
                    let _ = stream.write_all(format!("{response}{behind}").as_bytes());
                }
            });
            let requests = [1, 2, 3].map(|page| server.url(&format!("/{page}")));
            for outcome in outcomes_of(pool(), requests) {
                assert_eq!(outcome.unwrap().text(), text, "{response:?} and {behind:?}");
            }
            // The first connection is not used again, and the second one is.
            assert_eq!(server.connections(), 2, "{response:?} and {behind:?}");
        }
    }
}

#[test]
fn what_a_server_sends_while_its_connection_is_idle_is_not_a_response() {
    let (is_idle, idle) = unbounded();
    let (told_tx, told) = unbounded();
    let server = RawServer::start(move |mut stream, number| {
        while !read_request(&mut stream).is_empty() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if number == 0 {
                idle.recv().unwrap();
                // As a server does whose time for a connection is over.
                let _ =
                    stream.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
                told_tx.send(()).unwrap();
            }
        }
    });
    let pool = pool().concurrency(1).build().unwrap();
    let text = || {
        let outcome = pool.spawn(server.url("/")).unwrap().join();
        outcome.unwrap().text().into_owned()
    };
    assert_eq!(text(), "ok");
    is_idle.send(()).unwrap();
    told.recv().unwrap();
    assert_eq!([text(), text()], ["ok", "ok"]);
    assert_eq!(server.connections(), 2);
}
