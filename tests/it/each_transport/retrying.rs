//! Transient errors are retried where that is safe.

mod backing_off;
mod policies;
mod runs;
mod sinks;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use threaded::{ErrorKind, Event, Observer, Outcome, OutcomeExt, RequestSpec, Retry};

use super::pool;
use crate::support::framing::{FRAMINGS, raw_response};
use crate::support::pools::{at_once, outcomes_of};
use crate::support::raw::{RawServer, read_request, refused_address, reset};
use crate::support::server::Server;

fn status(status: u16) -> Response<Bytes> {
    let response = Response::builder().status(status);
    response.body(Bytes::new()).unwrap()
}

fn overloaded(retry_after: &str) -> Response<Bytes> {
    let response = Response::builder().status(503);
    let response = response.header("Retry-After", retry_after);
    response.body(Bytes::new()).unwrap()
}

/// The outcome of one request under this policy.
fn retried(retry: Retry, request: impl Into<RequestSpec>) -> Outcome {
    let outcomes = outcomes_of(pool().retry(retry), [request.into()]);
    let [outcome] = outcomes.try_into().unwrap();
    outcome
}

/// Closes each connection with a reset, after it has read a request. Counts them by their paths.
fn resetting() -> (RawServer, Arc<Mutex<HashMap<String, usize>>>) {
    let seen = Arc::<Mutex<HashMap<String, usize>>>::default();
    let server = RawServer::start({
        let seen = Arc::clone(&seen);
        move |mut stream, _| {
            let head = read_request(&mut stream);
            if let Some(path) = head.split(' ').nth(1) {
                *seen.lock().unwrap().entry(path.to_owned()).or_default() += 1;
            }
            reset(stream);
        }
    });
    (server, seen)
}

/// Records the events that it receives, as text.
fn journal() -> (Arc<Mutex<Vec<String>>>, impl Observer + 'static) {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let observer = {
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            let line = match event {
                Event::AttemptStarted(attempt) => format!("attempt {}", attempt.number()),
                Event::Retry(retry) => {
                    let context = retry.context();
                    let attempts = context.attempts();
                    match (context.response(), context.error()) {
                        (Some(response), None) => {
                            format!("retry {attempts} after {}", response.status())
                        }
                        (None, Some(error)) => format!("retry {attempts} after {error:?}"),
                        both => panic!("{both:?}"),
                    }
                }
                Event::Response(response) => format!("response {}", response.status()),
                Event::Exception(exception) => format!("exception {}", exception.error()),
                other => panic!("{other:?}"),
            };
            told.lock().unwrap().push(line);
        }
    };
    (told, observer)
}

/// Responds to the first request for each page with 503, then with the page's path.
fn flaky() -> Server {
    let asked = Mutex::new(HashSet::new());
    Server::start(move |request| {
        let path = request.uri().path().to_owned();
        if asked.lock().unwrap().insert(path.clone()) {
            status(503)
        } else {
            Response::new(path.into())
        }
    })
}

/// All of a flaky server's pages were read, each at the second attempt.
fn assert_recovered(outcomes: &[Outcome], pages: usize) {
    assert_eq!(outcomes.len(), pages);
    for (number, outcome) in outcomes.iter().enumerate() {
        let response = outcome.as_ref().unwrap();
        assert_eq!((response.index(), response.attempts()), (number, 2));
        assert_eq!(response.text(), response.url().path());
    }
}

#[test]
fn a_server_that_recovers_gives_its_response_in_the_end_and_every_attempt_is_reported() {
    let requests = AtomicUsize::new(0);
    let server = Server::start(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => status(503),
        _ => status(200),
    });
    let (told, observer) = journal();
    let pool = pool()
        .concurrency(1)
        .retry(Retry::new(5).backoff(Duration::from_millis(5), Duration::from_millis(5)))
        .observer(observer)
        .build_from_urls([server.url("/")])
        .unwrap();
    pool.join_all();
    let response = pool.get_response().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
    assert!(response.elapsed() > response.last_attempt_elapsed());
    assert_eq!(server.requests(), 3);
    let stats = pool.stats();
    assert_eq!(
        (stats.retries(), stats.delayed(), stats.responses()),
        (2, 0, 1)
    );
    let told = told.lock().unwrap();
    assert_eq!(
        *told,
        [
            "attempt 1",
            "retry 1 after 503 Service Unavailable",
            "attempt 2",
            "retry 2 after 503 Service Unavailable",
            "attempt 3",
            "response 200 OK",
        ]
    );
}

#[test]
fn without_a_policy_there_is_one_attempt() {
    let server = Server::start(|_| status(503));
    let outcomes = outcomes_of(pool(), [server.url("/")]);
    assert_eq!((outcomes[0].attempts(), server.requests()), (1, 1));
}

#[test]
fn each_fault_that_may_pass_is_repeated() {
    type End = fn(TcpStream);

    /// Closes the first connection at this point, then works.
    fn cut_once(said: &'static str, end: End) -> RawServer {
        RawServer::start(move |mut stream, number| {
            read_request(&mut stream);
            if number == 0 {
                stream.write_all(said.as_bytes()).unwrap();
                end(stream);
            } else {
                let _ = stream.write_all(&raw_response(FRAMINGS[0], "", b"whole"));
            }
        })
    }
    fn wait_for_the_peer(mut stream: TcpStream) {
        let _ = stream.read_to_end(&mut Vec::new());
    }

    const HALF: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh";
    let table: [(&str, End, &str); 6] = [
        ("", drop, "Closed"),
        ("", reset, "Closed"),
        (HALF, drop, "BodyTruncated"),
        (HALF, reset, "Closed"),
        ("", wait_for_the_peer, "Timeout"),
        (HALF, wait_for_the_peer, "Timeout"),
    ];
    for (said, end, fault) in table {
        let server = cut_once(said, end);
        let (told, observer) = journal();
        let mut spec = RequestSpec::get(server.url("/"));
        if fault == "Timeout" {
            spec = spec.timeout(Duration::from_millis(500));
        }
        let builder = pool().retry(at_once(9)).observer(observer);
        let outcomes = outcomes_of(builder, [spec]);
        let response = outcomes[0].as_ref().unwrap();
        assert_eq!(response.text(), "whole");
        let told = told.lock().unwrap();
        let first_fault = format!("retry 1 after {fault}(");
        assert!(told[1].starts_with(&first_fault), "{told:?}");
        let attempts = response.attempts() as usize;
        assert_eq!(server.connections(), attempts);
        // On a busy machine, the server may come too late more than once.
        assert!(attempts == 2 || fault == "Timeout", "{told:?}");
    }
}

#[test]
fn a_refused_connection_is_tried_again_whatever_the_method() {
    for method in ["GET", "POST"] {
        let spec = RequestSpec::new(method, format!("http://{}/", refused_address()));
        let exception = retried(at_once(2), spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Connect, "{exception:?}");
        assert_eq!((exception.attempts(), exception.was_sent()), (3, false));
    }
}

#[test]
fn when_the_attempts_are_used_up_the_job_ends_as_what_the_last_one_was() {
    let server = Server::start(|_| status(503));
    let response = retried(at_once(2), server.url("/")).unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (503, 3));
    assert_eq!(server.requests(), 3);

    let (closing, _) = resetting();
    let exception = retried(at_once(2), closing.url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Closed, "{exception:?}");
    assert_eq!((exception.attempts(), closing.connections()), (3, 3));
}

#[test]
fn with_error_for_status_the_last_status_is_the_error_and_those_before_are_repeated() {
    let server = Server::start(|_| status(503));
    let (told, observer) = journal();
    let builder = pool()
        .error_for_status(true)
        .retry(at_once(1))
        .observer(observer);
    let exception = outcomes_of(builder, [server.url("/")])
        .remove(0)
        .unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Status, "{exception:?}");
    assert_eq!(exception.error().status().unwrap(), 503, "{exception:?}");
    assert_eq!(exception.response().unwrap().status(), 503);
    assert_eq!((exception.attempts(), server.requests()), (2, 2));
    let told = told.lock().unwrap();
    assert_eq!(told[1], "retry 1 after 503 Service Unavailable");
}

#[test]
fn only_what_can_do_no_harm_is_sent_again() {
    let overloaded = Server::start(|_| status(503));
    let (resetting, _) = resetting();
    for url in [overloaded.url("/"), resetting.url("/")] {
        let keyed = || RequestSpec::post(&url).header("Idempotency-Key", "7");
        let table = [
            (RequestSpec::post(&url), 1),
            (keyed(), 3),
            (keyed().idempotent(false), 1),
            (RequestSpec::post(&url).idempotent(true), 3),
            (RequestSpec::get(&url), 3),
            (RequestSpec::get(&url).idempotent(false), 1),
        ];
        for (row, (spec, expected)) in table.into_iter().enumerate() {
            let outcome = retried(at_once(2), spec);
            assert_eq!(outcome.attempts(), expected, "row {row}: {outcome:?}");
        }
    }
    assert_eq!((overloaded.requests(), resetting.connections()), (12, 12));
}

#[test]
fn a_key_that_all_requests_of_a_session_share_makes_none_idempotent() {
    let server = Server::start(|_| status(503));
    let builder = pool()
        .retry(at_once(2))
        .initializer(|session| session.header("Idempotency-Key", "7"));
    let outcomes = outcomes_of(builder, [RequestSpec::post(server.url("/"))]);
    assert_eq!((outcomes[0].attempts(), server.requests()), (1, 1));
}

#[test]
fn a_server_that_resets_sees_each_post_once_and_each_get_as_often_as_it_was_said() {
    let (server, seen) = resetting();
    let requests = (0..100).map(|page| match page % 2 {
        0 => RequestSpec::post(server.url(&format!("/post/{page}"))).body("precious"),
        _ => RequestSpec::get(server.url(&format!("/get/{page}"))),
    });
    let (responses, exceptions) = pool()
        .concurrency(4)
        .retry(at_once(2))
        .map(requests)
        .unwrap();
    assert_eq!((responses.len(), exceptions.len()), (0, 100));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 100);
    for (path, times) in &*seen {
        let expected = if path.starts_with("/post") { 1 } else { 3 };
        assert_eq!(*times, expected, "{path}");
    }
}

#[test]
fn the_statuses_that_are_repeated_can_be_chosen() {
    let server = Server::start(|request| status(request.uri().path()[1..].parse().unwrap()));
    let retry = at_once(1).statuses([StatusCode::NOT_FOUND]);
    for (status, expected) in [(404, 2), (503, 1), (200, 1)] {
        let outcome = retried(retry.clone(), server.url(&format!("/{status}")));
        assert_eq!(outcome.attempts(), expected, "{status}");
    }
    for (status, expected) in [
        (408, 2),
        (429, 2),
        (500, 2),
        (502, 2),
        (503, 2),
        (504, 2),
        (400, 1),
        (404, 1),
        (501, 1),
    ] {
        let outcome = retried(at_once(1), server.url(&format!("/{status}")));
        assert_eq!(outcome.attempts(), expected, "{status}");
    }
}
