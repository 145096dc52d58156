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

/// RFC 9112, section 5.2: a line that begins with white space continues the one before it.
#[test]
fn folded_lines_are_one_value() {
    let rows = [
        "X-Folded: one\r\n two\r\n",
        "X-Folded: one\r\n\ttwo\r\n",
        "X-Folded: one\r\n   two\r\n",
        "X-Folded:\r\n one\r\n two\r\n",
        "X-Folded: one \r\n two\r\n",
    ];
    for fields in rows {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        let response = response(bytes);
        assert_eq!(response.headers()["x-folded"], "one two", "{fields:?}");
        assert_eq!(response.text(), "ok");
    }
}

/// RFC 9112, section 7.1.1: a client ignores extensions that it does not know, and white space around them is tolerated.
#[test]
fn chunk_sizes_may_have_extensions_and_padding() {
    let lines = [
        "5;name=0123456789012345678901234567890",
        "5; name=\"quoted; text\"",
        "5 ; a=b ; c",
        "5                       ",
        "5\t",
        "0000000000005",
    ];
    for line in lines {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let bytes = format!("{head}{line}\r\nhello\r\n0;last\r\nX-Trailer: t\r\n\r\n");
        let response = response(bytes);
        assert_eq!(response.text(), "hello", "{line:?}");
        assert!(!response.headers().contains_key("x-trailer"));
    }
}

/// RFC 9110, section 15.2: a client passes over interim responses, whatever fields they have.
#[test]
fn interim_responses_may_have_fields() {
    let fields = [
        "Content-Length: 0",
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x",
        "Connection: keep-alive",
        "Connection: close",
        "Transfer-Encoding: chunked",
        "Content-Length: 0\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: x",
    ];
    for fields in fields {
        for interim in ["100 Continue", "103 Early Hints", "199 Else"] {
            let bytes = format!(
                "HTTP/1.1 {interim}\r\n{fields}\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
            );
            let specs: [fn(String) -> RequestSpec; 3] = [
                |url| RequestSpec::get(url),
                |url| RequestSpec::post(url).body("content"),
                |url| {
                    RequestSpec::put(url)
                        .header("Expect", "100-continue")
                        .body("content")
                },
            ];
            for spec in specs {
                let outcome = outcome(bytes.clone(), spec);
                let response = outcome.unwrap_or_else(|exception| {
                    panic!("{interim} {fields:?}: {exception:?}");
                });
                assert_eq!(
                    (response.status().as_u16(), &*response.text()),
                    (200, "late")
                );
            }
        }
    }
}

/// RFC 9112, section 6.3: a list of the same length is that length.
#[test]
fn a_length_that_is_a_list_of_one_length() {
    for length in ["5, 5", "5,5", "5 , 5, 5", "5\r\nContent-Length: 5, 5"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        let response = response(bytes);
        assert_eq!(response.text(), "hello", "{length:?}");
        assert_eq!(response.content_length(), Some(5), "{length:?}");
    }
    for length in ["5, 6", "5\r\nContent-Length: 6", "5, 5, 4"] {
        let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello");
        assert_eq!(exception(bytes).kind(), ErrorKind::Protocol, "{length:?}");
    }
}

/// RFC 9112, section 6.1: the framing of a message of version 1.0 that is chunked is faulty.
#[test]
fn a_chunked_body_of_version_1_0_is_refused() {
    let body = "5\r\nhello\r\n0\r\n\r\n";
    let bytes = format!("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    assert_eq!(exception(bytes).kind(), ErrorKind::Protocol);
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

#[test]
fn the_number_of_fields_is_limited() {
    let with_fields = |count: usize| {
        let fields: String = (1..count)
            .map(|number| format!("X-{number}: v\r\n"))
            .collect();
        format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok")
    };
    let many = response(with_fields(100));
    assert_eq!((many.headers().len(), &*many.text()), (100, "ok"));
    let exception = exception(with_fields(101));
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
