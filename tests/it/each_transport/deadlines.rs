//! Promise 7: the timeout bounds a whole attempt, body included.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use threaded::{Error, ErrorKind, Exchange, Outcome, Pool, RequestSpec, ResponseBody, Session};

use super::{PoolBuilder, outcome, pool};
use crate::support::framing::{Framing, drip, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::{DeafListener, RawServer, read_request};
use crate::support::recording_server::{RecordingServer, redirect};

const LIMIT: Duration = Duration::from_millis(300);

/// Reads until the peer has gone.
fn hold(mut stream: TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

/// The outcome of the first request is this timeout, and the next job of the same worker is fine.
fn assert_times_out(builder: PoolBuilder, spec: RequestSpec, limit: Duration, sent: bool) {
    let good = RecordingServer::responding_ok();
    let next = RequestSpec::get(good.url("/")).timeout(Duration::from_secs(30));
    let mut outcomes = outcomes_of(builder, [spec, next]);
    assert_eq!(outcomes.remove(1).unwrap().text(), "ok");
    assert_timeout(outcomes.remove(0), limit, sent);
}

fn assert_timeout(outcome: Outcome, limit: Duration, sent: bool) {
    let exception = outcome.unwrap_err();
    assert_eq!(exception.time_limit(), Some(limit), "{exception:?}");
    assert!(exception.is_timeout());
    assert!(exception.is_retryable());
    assert_eq!(exception.was_sent(), sent, "{exception:?}");
    assert!(exception.elapsed() >= limit);
    assert!(exception.elapsed() < limit * 10 + Duration::from_secs(5));
}

#[test]
fn no_response_is_a_timeout() {
    let server = RawServer::start(|stream, _| hold(stream));
    let spec = RequestSpec::post(server.url("/")).body("content");
    assert_times_out(pool(), spec.timeout(LIMIT), LIMIT, true);
}

#[test]
fn a_head_that_drips_is_a_timeout() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
        let lines = std::iter::repeat_n(&b"X-More: 1\r\n"[..], 90);
        drip(&mut stream, LIMIT / 10, lines);
        let _ = stream.write_all(b"\r\n");
    });
    let spec = RequestSpec::get(server.url("/")).timeout(LIMIT);
    assert_times_out(pool(), spec, LIMIT, true);
}

#[test]
fn a_body_that_drips_is_a_timeout_in_every_framing() {
    let heads = [
        "Content-Length: 100",
        "Connection: close",
        "Transfer-Encoding: chunked",
    ];
    for head in heads {
        let server = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
            let piece: &[u8] = match head {
                "Transfer-Encoding: chunked" => b"1\r\nx\r\n",
                _ => b"x",
            };
            drip(&mut stream, LIMIT / 10, std::iter::repeat_n(piece, 100));
            let _ = stream.write_all(b"0\r\n\r\n");
        });
        let spec = RequestSpec::get(server.url("/")).timeout(LIMIT);
        assert_times_out(pool(), spec, LIMIT, true);
    }
}

#[cfg(feature = "gzip")]
#[test]
fn an_encoded_body_that_drips_is_a_timeout() {
    let content: Vec<u8> = (0..2000_u32).flat_map(|n| (n * n).to_le_bytes()).collect();
    let body = crate::support::encodings::gzip(&content);
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
        drip(&mut stream, LIMIT / 10, body.chunks(body.len() / 100));
    });
    let spec = RequestSpec::get(server.url("/")).timeout(LIMIT);
    assert_times_out(pool(), spec, LIMIT, true);
}

#[test]
fn head_and_body_share_one_limit() {
    let whole = raw_response(Framing::ContentLength, "", b"late");
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        thread::sleep(LIMIT * 8 / 10);
        let (head, body) = whole.split_at(whole.len() - 4);
        drip(&mut stream, LIMIT * 8 / 10, [head, body]);
    });
    let spec = RequestSpec::get(server.url("/")).timeout(LIMIT);
    assert_times_out(pool(), spec, LIMIT, true);
}

#[test]
fn all_hops_share_one_limit() {
    let server = RecordingServer::start(|request| {
        thread::sleep(LIMIT * 4 / 10);
        match request.uri().path().len() {
            6.. => Response::new(Bytes::new()),
            _ => redirect(302, format!("{}x", request.uri().path())),
        }
    });
    let spec = RequestSpec::get(server.url("/")).timeout(LIMIT);
    assert_times_out(pool(), spec, LIMIT, true);
    assert!(server.received().len() < 6);
}

#[test]
fn a_timeout_while_connecting_after_a_redirect_counts_as_sent() {
    let listener = DeafListener::start();
    let address = listener.address();
    let server = RecordingServer::start(move |_| redirect(307, format!("http://{address}/")));
    let spec = RequestSpec::post(server.url("/")).body("content");
    assert_times_out(pool(), spec.timeout(LIMIT), LIMIT, true);
}

#[test]
fn the_limit_of_the_spec_goes_before_that_of_the_pool() {
    let silent = RawServer::start(|stream, _| hold(stream));
    let spec = RequestSpec::get(silent.url("/"));
    assert_times_out(pool().timeout(LIMIT), spec.clone(), LIMIT, true);
    let pools = Duration::from_secs(30);
    assert_times_out(pool().timeout(pools), spec.timeout(LIMIT), LIMIT, true);
}

#[test]
fn a_limit_can_be_lifted_and_raised() {
    // Long enough that the connection stands when the shorter limit is over, also on a busy machine.
    let slow = RecordingServer::start(|_| {
        thread::sleep(3 * LIMIT);
        Response::new(Bytes::from_static(b"slow"))
    });
    let get = || RequestSpec::get(slow.url("/"));
    let specs = [
        get(),
        get().timeout(None),
        get().timeout(Duration::from_secs(30)),
        get().timeout(Duration::MAX),
    ];
    let mut outcomes = outcomes_of(pool().timeout(LIMIT), specs).into_iter();
    assert_timeout(outcomes.next().unwrap(), LIMIT, true);
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().text(), "slow");
    }
    let lifted = [pool().timeout(None), pool().timeout(Duration::MAX)];
    for builder in lifted {
        assert!(outcomes_of(builder, [get()]).remove(0).is_ok());
    }
}

#[test]
fn no_time_at_all_is_a_timeout() {
    let server = RecordingServer::responding_ok();
    let spec = RequestSpec::get(server.url("/")).timeout(Duration::ZERO);
    let exception = outcome(spec).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Timeout, "{exception:?}");
    assert_eq!(exception.time_limit(), Some(Duration::ZERO));
}

/// The time limits that a transport receives, one line for each exchange of these requests.
fn told(
    change: impl FnOnce(threaded::PoolBuilder) -> threaded::PoolBuilder,
    spec: RequestSpec,
) -> Vec<(Option<Duration>, Option<Instant>)> {
    let (tell, told) = mpsc::channel();
    let stub = move |exchange: Exchange<'_>| {
        tell.send((exchange.timeout(), exchange.deadline()))
            .unwrap();
        let response = Response::builder();
        let response = match exchange.url().path() {
            "/redirect" => response.status(302).header("location", "/"),
            _ => response,
        };
        Ok(response.body(ResponseBody::from("ok")).unwrap())
    };
    let builder = change(Pool::builder()).session(move || Session::new(stub.clone()));
    for outcome in outcomes_of(builder, [spec]) {
        outcome.unwrap();
    }
    told.try_iter().collect()
}

#[test]
fn the_default_limit_is_30_seconds() {
    let seconds = Duration::from_secs;
    let get = || RequestSpec::get("http://test/");
    let rows = [
        (told(|pool| pool, get()), Some(30)),
        (told(|pool| pool.timeout(seconds(50)), get()), Some(50)),
        (
            told(|pool| pool.timeout(seconds(50)), get().timeout(seconds(70))),
            Some(70),
        ),
        (
            told(|pool| pool.timeout(seconds(50)), get().timeout(None)),
            None,
        ),
        (told(|pool| pool.timeout(None), get()), None),
        (
            told(|pool| pool.timeout(None), get().timeout(seconds(70))),
            Some(70),
        ),
        (told(|pool| pool, get().timeout(Duration::MAX)), None),
    ];
    for (row, (told, limit)) in rows.into_iter().enumerate() {
        let left = told[0].0;
        match (left, limit.map(seconds)) {
            (None, None) => {}
            (Some(left), Some(limit)) => {
                assert!(
                    left <= limit && left + seconds(15) > limit,
                    "row {row}: {left:?}"
                );
            }
            other => panic!("row {row}: {other:?}"),
        }
    }
}

#[test]
fn every_hop_has_the_same_deadline() {
    let told = told(|pool| pool, RequestSpec::get("http://test/redirect"));
    assert_eq!(told.len(), 2);
    assert!(told[0].1.is_some());
    assert_eq!(told[0].1, told[1].1);
}

#[test]
fn a_timeout_while_connecting_has_sent_nothing() {
    let listener = DeafListener::start();
    let address = listener.address();
    let spec = RequestSpec::post(format!("http://{address}/")).body("content");
    assert_times_out(pool(), spec.timeout(LIMIT), LIMIT, false);
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn a_timeout_during_the_tls_handshake_has_sent_nothing() {
    let server = RawServer::start(|mut stream, _| {
        let _ = stream.read(&mut [0; 100]);
        hold(stream);
    });
    let spec = RequestSpec::post(server.url("/").replace("http:", "https:")).body("content");
    assert_times_out(pool(), spec.timeout(LIMIT), LIMIT, false);
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_timeout_on_a_connection_that_served_before_counts_as_sent() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(&raw_response(Framing::ContentLength, "", b"first"));
        hold(stream);
    });
    let get = RequestSpec::get(server.url("/"));
    let mut outcomes = outcomes_of(pool(), [get.clone(), get.timeout(LIMIT)]);
    assert_timeout(outcomes.remove(1), LIMIT, true);
    assert_eq!(outcomes.remove(0).unwrap().text(), "first");
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_timeout_of_something_else_tells_its_own_time() {
    let transport = |_: threaded::Exchange<'_>| {
        Err(Error::timeout()
            .with_time_limit(Duration::from_millis(7))
            .sent(false))
    };
    let builder = threaded::Pool::builder().session(move || threaded::Session::new(transport));
    let exception = outcomes_of(builder, ["http://stub.test/"])
        .remove(0)
        .unwrap_err();
    let message = exception.to_string();
    let end = "timed out after 7ms, before the request was sent";
    assert!(message.ends_with(end), "{message}");
}

#[test]
fn a_timeout_tells_what_it_waited_for() {
    let limit = Duration::from_millis(300);
    for (sent, end) in [
        ("", "timed out after 300ms, without a response"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody",
            "timed out after 300ms, within the body of the response",
        ),
    ] {
        let server = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            stream.write_all(sent.as_bytes()).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let spec = RequestSpec::get(server.url("/")).timeout(limit);
        let message = outcome(spec).unwrap_err().to_string();
        assert!(message.ends_with(end), "{message}");
    }
}
