//! Heads that never end, heads that contradict themselves, and heads that are odd but valid.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use threaded::{RequestSpec, Response};

use super::faults::{after_request, assert_kind, exception, outcome_before_another};
use super::pool;
use crate::support::framing::drip;
use crate::support::raw::RawServer;

/// Sends `start` once, and then `more` for as long as the client reads. Counts the bytes that were written.
fn endless(start: &'static str, more: &'static str) -> (RawServer, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let server = after_request({
        let taken = Arc::clone(&taken);
        move |mut stream| {
            let mut pieces = more.repeat((64 << 10) / more.len());
            pieces.insert_str(0, start);
            while let Ok(written) = stream.write(pieces.as_bytes()) {
                taken.fetch_add(written, Ordering::SeqCst);
                // What was not taken comes first the next time, so that the lines stay whole.
                let rest = pieces.split_off(written);
                pieces = if rest.is_empty() {
                    more.repeat((64 << 10) / more.len())
                } else {
                    rest
                };
            }
        }
    });
    (server, taken)
}

#[test]
fn a_head_without_an_end_is_given_up_before_it_fills_the_memory() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let heads = [
        (ok, "X-Filler: 0123456789\r\n"),
        ("HTTP/1.1 200 OK\r\nX-Filler: ", "0123456789"),
        ("HTTP/1.1 200 OK\r\nX-", "Filler"),
        ("HTTP/1.1 200 ", "Very "),
    ];
    for (start, more) in heads {
        let (server, taken) = endless(start, more);
        let spec = RequestSpec::get(server.url("/")).timeout(Duration::from_secs(60));
        let exception = exception(spec);
        assert!(!exception.is_retryable());
        assert_kind!(exception, Protocol, sent: true);
        // The system holds some of it. A head of 1 GiB would come through otherwise.
        let taken = taken.load(Ordering::SeqCst);
        assert!(taken < 64 << 20, "{start:?}: {taken} bytes were taken");
    }
}

const INTERIM: [&str; 3] = [
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 102 Processing\r\n\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
];

fn assert_times_out(spec: RequestSpec) {
    let limit = Duration::from_millis(500);
    // A client may be busy with the rest for a while: the next job has time.
    let builder = pool().timeout(Duration::from_secs(120));
    let exception = outcome_before_another(builder, spec.timeout(limit)).unwrap_err();
    assert_eq!(exception.time_limit(), Some(limit), "{exception:?}");
    assert!(exception.was_sent() && exception.is_retryable());
    assert!(exception.elapsed() >= limit && exception.elapsed() < 10 * limit);
}

#[test]
fn interim_responses_that_never_end_are_a_timeout() {
    for interim in INTERIM {
        let server = after_request(move |mut stream| {
            let responses = std::iter::repeat(interim.as_bytes());
            drip(&mut stream, Duration::from_millis(5), responses);
        });
        assert_times_out(RequestSpec::get(server.url("/")));
        assert_times_out(RequestSpec::post(server.url("/")).body("content"));
    }
}

#[test]
fn a_flood_of_interim_responses_is_a_timeout() {
    let (server, taken) = endless("", INTERIM[0]);
    assert_times_out(RequestSpec::get(server.url("/")));
    assert!(taken.load(Ordering::SeqCst) > 0);
}

/// The response that these bytes are read as.
fn response(bytes: impl Into<Vec<u8>>) -> Response {
    let server = RawServer::responding(bytes.into());
    let outcome = outcome_before_another(pool(), server.url("/"));
    outcome.unwrap().into_parts().1
}

#[test]
fn headers_in_latin_1_are_handed_on_as_they_are() {
    let fields = [
        "X-Name",
        "Content-Type",
        "Content-Encoding",
        "Set-Cookie",
        "Retry-After",
        "WWW-Authenticate",
        "Last-Modified",
        "Location",
        "Connection",
        "Trailer",
    ];
    for field in fields {
        for status in ["200 OK", "503 Busy"] {
            let mut bytes = format!("HTTP/1.1 {status}\r\n{field}: caf").into_bytes();
            bytes.extend(b"\xe9\r\nContent-Length: 5\r\n\r\nh\xe9llo");
            let response = response(bytes.clone());
            assert_eq!(response.headers()[field].as_bytes(), b"caf\xe9", "{field}");
            assert_eq!(&response.bytes()[..], b"h\xe9llo", "{field}");
            assert_eq!(response.text(), "h\u{fffd}llo", "{field}");
            let printed = format!("{response:?}");
            assert!(!printed.is_empty());
            let server = RawServer::responding(bytes);
            let outcome = outcome_before_another(pool().error_for_status(true), server.url("/"));
            assert_eq!(outcome.is_ok(), status == "200 OK");
            assert!(!format!("{outcome:?}").is_empty());
        }
    }
}

#[test]
fn a_server_that_sends_before_the_request_came_does_not_speak_http() {
    // As servers of other protocols do: they send a greeting.
    let server = RawServer::start(|mut stream, _| {
        let _ = stream.write_all(b"220 mail.example.test ESMTP\r\n");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"502 5.5.2 Error: command not recognized\r\n");
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    });
    let exception = exception(server.url("/"));
    assert_kind!(exception, Protocol, sent: true);
}
