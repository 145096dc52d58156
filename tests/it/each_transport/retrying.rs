//! What may pass is tried again where that does no harm, and a job that backs off holds no worker.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, StatusCode};
use proptest::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::{
    Error, Event, Exchange, Observer, Pool, RequestSpec, ResponseBody, Retry, Session, Tried,
};

use super::pool;
use crate::support::framing::{FRAMINGS, answer};
use crate::support::keeper::Keeper;
use crate::support::pools::{Outcome, in_order, index, outcomes_of, says_ok};
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request, refused_address, reset};
use crate::support::server::Server;

/// At most so many further attempts, with nothing else that bounds or delays them.
fn at_once(retries: u32) -> Retry {
    Retry::new(retries)
        .backoff(Duration::ZERO, Duration::ZERO)
        .no_budget()
}

fn status(status: u16) -> Response<Bytes> {
    let response = Response::builder().status(status);
    response.body(Bytes::new()).unwrap()
}

fn overloaded(retry_after: &str) -> Response<Bytes> {
    let response = Response::builder().status(503);
    let response = response.header("Retry-After", retry_after);
    response.body(Bytes::new()).unwrap()
}

fn attempts(outcome: &Outcome) -> u32 {
    match outcome {
        Ok(response) => response.attempts(),
        Err(exception) => exception.attempts(),
    }
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

/// Writes down what it is told, as text.
fn journal() -> (Arc<Mutex<Vec<String>>>, impl Observer + 'static) {
    let told = Arc::<Mutex<Vec<String>>>::default();
    let observer = {
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            let line = match event {
                Event::AttemptStarted(attempt) => format!("attempt {}", attempt.number()),
                Event::Retry { tried, .. } => match (tried.response(), tried.error()) {
                    (Some(response), None) => {
                        format!("retry {} after {}", tried.attempts(), response.status())
                    }
                    (None, Some(error)) => format!("retry {} after {error:?}", tried.attempts()),
                    both => panic!("{both:?}"),
                },
                Event::Response(response) => format!("response {}", response.status()),
                Event::Exception(exception) => format!("exception {}", exception.error()),
                other => panic!("{other:?}"),
            };
            told.lock().unwrap().push(line);
        }
    };
    (told, observer)
}

#[test]
fn a_server_that_recovers_gives_its_answer_in_the_end_and_everybody_is_told_how() {
    let requests = AtomicUsize::new(0);
    let server = Server::start(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => status(503),
        _ => status(200),
    });
    let (told, observer) = journal();
    let mut pool = pool()
        .num_threads(1)
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
    assert_eq!((attempts(&outcomes[0]), server.requests()), (1, 1));
}

#[test]
fn each_fault_that_may_pass_is_repeated() {
    type End = fn(TcpStream);

    /// Cuts the connection at this point, then is well.
    fn cut_once(said: &'static str, end: End) -> RawServer {
        RawServer::start(move |mut stream, number| {
            read_request(&mut stream);
            if number == 0 {
                stream.write_all(said.as_bytes()).unwrap();
                end(stream);
            } else {
                let _ = stream.write_all(&answer(FRAMINGS[0], "", b"whole"));
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
        assert!(
            matches!(exception.error(), Error::Connect { .. }),
            "{exception:?}"
        );
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
    assert!(
        matches!(exception.error(), Error::Closed { .. }),
        "{exception:?}"
    );
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
    assert!(
        matches!(exception.error(), Error::Status { status } if status.as_u16() == 503),
        "{exception:?}"
    );
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
        let table = [
            (RequestSpec::post(&url), 1),
            (RequestSpec::post(&url).header("Idempotency-Key", "7"), 3),
            (RequestSpec::post(&url).idempotent(true), 3),
            (RequestSpec::get(&url), 3),
            (RequestSpec::get(&url).idempotent(false), 1),
        ];
        for (row, (spec, expected)) in table.into_iter().enumerate() {
            let outcome = retried(at_once(2), spec);
            assert_eq!(attempts(&outcome), expected, "row {row}: {outcome:?}");
        }
    }
    assert_eq!((overloaded.requests(), resetting.connections()), (11, 11));
}

#[test]
fn a_server_that_resets_sees_each_post_once_and_each_get_as_often_as_it_was_said() {
    let (server, seen) = resetting();
    let requests = (0..100).map(|page| match page % 2 {
        0 => RequestSpec::post(server.url(&format!("/post/{page}"))).body("precious"),
        _ => RequestSpec::get(server.url(&format!("/get/{page}"))),
    });
    let (responses, exceptions) = pool()
        .num_threads(4)
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
        assert_eq!(attempts(&outcome), expected, "{status}");
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
        assert_eq!(attempts(&outcome), expected, "{status}");
    }
}

#[test]
fn a_file_is_begun_afresh_and_is_there_only_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let (half_tx, half) = unbounded();
    let (open, opened) = unbounded::<()>();
    let server = RawServer::start(move |mut stream, number| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        if number == 0 {
            let _ = stream.write_all(format!("{head}XXXXXXX").as_bytes());
            return;
        }
        stream.write_all(format!("{head}01234").as_bytes()).unwrap();
        half_tx.send(()).unwrap();
        let _ = opened.recv();
        stream.write_all(b"56789").unwrap();
    });
    let mut pool = pool()
        .num_threads(1)
        .retry(at_once(1))
        .build_from_requests([RequestSpec::get(server.url("/")).save_to(&target)])
        .unwrap();
    half.recv().unwrap();
    assert!(!target.exists(), "half of it is on its way");
    drop(open);
    pool.join_all();
    let response = pool.get_response().unwrap();
    assert_eq!(
        (response.saved_to(), response.attempts()),
        (Some(&*target), 2)
    );
    assert_eq!(std::fs::read(&target).unwrap(), b"0123456789");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_handler_is_called_again_with_the_whole_body() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        let whole = answer(FRAMINGS[0], "", b"0123456789");
        let sent = if number == 0 {
            whole.len() - 3
        } else {
            whole.len()
        };
        let _ = stream.write_all(&whole[..sent]);
    });
    let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let noted = Arc::clone(&bodies);
    let spec = RequestSpec::get(server.url("/")).read_with(move |_, body| {
        let mut all = Vec::new();
        let read = body.read_to_end(&mut all);
        noted.lock().unwrap().push(all);
        read.map(drop)
    });
    assert_eq!(retried(at_once(3), spec).unwrap().attempts(), 2);
    assert_eq!(
        *bodies.lock().unwrap(),
        [b"0123456".to_vec(), b"0123456789".to_vec()]
    );
}

#[test]
fn a_handler_that_fails_is_called_again_only_if_that_is_asked_for() {
    let server = Server::saying("hello");
    for (sink_errors, expected) in [(false, 1), (true, 2)] {
        let calls = AtomicUsize::new(0);
        let spec = RequestSpec::get(server.url("/")).read_with(move |_, _| {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err(std::io::Error::other("not now")),
                _ => Ok(()),
            }
        });
        let outcome = retried(at_once(3).sink_errors(sink_errors), spec);
        assert_eq!(
            (attempts(&outcome), outcome.is_ok()),
            (expected, sink_errors)
        );
    }
}

/// Asks for a minute's patience at `/busy`; all else is fine.
fn busy() -> Server {
    Server::start(|request| match request.uri().path() {
        "/busy" => overloaded("60"),
        _ => status(200),
    })
}

/// A pool of one worker whose only job so far is backing off for a minute.
fn backing_off(server: &Server) -> Pool {
    let pool = pool()
        .num_threads(1)
        .retry(at_once(3))
        .build_from_urls([server.url("/busy")])
        .unwrap();
    eventually("the job backs off", || pool.stats().delayed() == 1);
    pool
}

#[test]
fn a_job_that_backs_off_holds_no_worker_and_cancelling_ends_it() {
    let server = busy();
    let mut pool = backing_off(&server);
    for page in 0..10 {
        pool.submit(server.url(&format!("/{page}"))).unwrap();
    }
    eventually("the others are answered", || pool.stats().responses() == 10);
    let stats = pool.stats();
    assert_eq!((stats.delayed(), stats.in_flight()), (1, 0));
    pool.handle().cancel();
    pool.join_all();
    let exception = pool.get_exception().unwrap();
    assert!(
        matches!(exception.error(), Error::Cancelled { .. }),
        "{exception:?}"
    );
    assert_eq!((exception.index(), exception.attempts()), (0, 1));
    assert!(exception.was_sent());
    let stats = pool.stats();
    assert_eq!((stats.delayed(), stats.exceptions()), (0, 1));
    assert_eq!(server.requests(), 11);
}

#[test]
fn shutdown_ends_a_job_that_backs_off_as_its_last_answer_and_does_not_wait() {
    let server = busy();
    let started = Instant::now();
    let mut pool = backing_off(&server);
    assert!(pool.shutdown().is_empty(), "it was sent");
    assert!(started.elapsed() < Duration::from_secs(40));
    let response = pool.get_response().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (503, 1));
    assert!(pool.get_exception().is_none());
    assert_eq!((pool.stats().delayed(), server.requests()), (0, 1));
}

#[test]
fn dropping_a_pool_forgets_a_job_that_backs_off() {
    let server = busy();
    let started = Instant::now();
    let pool = backing_off(&server);
    let handle = pool.handle();
    drop(pool);
    eventually("the worker ends", || handle.stats().live_workers() == 0);
    assert!(started.elapsed() < Duration::from_secs(40));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_retry_after_beyond_the_longest_ends_the_job_at_once() {
    let server = Server::start(|_| overloaded("2"));
    let retry = at_once(3).retry_after_max(Duration::from_secs(1));
    let response = retried(retry, server.url("/")).unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (503, 1));
    assert_eq!(server.requests(), 1);
}

#[test]
fn a_wait_beyond_the_deadline_of_the_run_ends_the_job_at_once_with_its_answer() {
    let server = busy();
    let builder = pool().deadline(Duration::from_secs(20)).retry(at_once(3));
    let outcomes = outcomes_of(builder, [server.url("/busy")]);
    let response = outcomes[0].as_ref().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (503, 1));
}

#[test]
fn a_retry_after_is_waited_for_at_least() {
    let seen = Arc::<Mutex<Vec<Instant>>>::default();
    let server = Server::start({
        let seen = Arc::clone(&seen);
        move |_| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            match seen.len() {
                1 => overloaded("1"),
                _ => status(200),
            }
        }
    });
    assert_eq!(
        retried(at_once(3), server.url("/")).unwrap().attempts(),
        2,
        "the second answer is good"
    );
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
}

/// How many requests a server that always says 503 gets from 1,000 jobs.
fn requests_of_a_thousand_jobs(retry: Retry) -> usize {
    let server = Server::start(|_| status(503));
    let urls = (0..1000).map(|page| server.url(&format!("/{page}")));
    let (responses, exceptions) = pool().num_threads(4).retry(retry).map(urls).unwrap();
    assert_eq!((responses.len(), exceptions.len()), (1000, 0));
    let attempts: u32 = responses.map(|response| response.attempts()).sum();
    assert_eq!(attempts as usize, server.requests());
    server.requests()
}

#[test]
fn the_budget_bounds_the_load_on_a_server_that_breaks_down() {
    let retry = Retry::new(3).backoff(Duration::ZERO, Duration::ZERO);
    let requests = requests_of_a_thousand_jobs(retry.budget(20, 10));
    // The reserve, and 20 % of the jobs, but for what the first ones could not add to a full reserve.
    assert!((1200..=1210).contains(&requests), "{requests}");
}

#[test]
fn without_a_budget_each_job_has_all_its_attempts() {
    assert_eq!(requests_of_a_thousand_jobs(at_once(3)), 4000);
}

#[test]
fn a_closure_can_wait_for_a_result_that_is_not_there_yet() {
    let server = Keeper::start({
        let asked = Mutex::new(HashMap::<String, usize>::new());
        move |request| {
            let mut asked = asked.lock().unwrap();
            let times = asked.entry(request.uri().path().to_owned()).or_default();
            *times += 1;
            match (request.uri().path(), *times) {
                ("/ready", _) | (_, 4..) => status(200),
                ("/flaky", _) => status(503),
                _ => status(202),
            }
        }
    });
    let retry = at_once(10).decide(|tried: &Tried<'_>| match tried.response() {
        Some(response) if response.status() == 202 => Some(Duration::ZERO),
        _ => tried.proposal(),
    });
    let paths = ["/ready", "/slow", "/flaky"];
    let outcomes = outcomes_of(
        pool().num_threads(1).retry(retry),
        paths.map(|path| server.url(path)),
    );
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            (
                outcome.as_ref().unwrap().status().as_u16(),
                attempts(outcome),
            )
        })
        .collect();
    assert_eq!(told, [(200, 1), (200, 4), (200, 4)]);
}

#[test]
fn a_closure_that_panics_costs_its_own_job_only() {
    let server = Server::saying("fine");
    let retry = at_once(3).decide(|tried: &Tried<'_>| {
        assert!(!tried.request().url().ends_with("/bad"), "cannot decide");
        tried.proposal()
    });
    let paths = ["/good", "/bad", "/better"];
    let outcomes = outcomes_of(pool().retry(retry), paths.map(|path| server.url(path)));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let exception = outcomes[1].as_ref().unwrap_err();
    assert!(
        matches!(exception.error(), Error::Panicked { message } if message == "cannot decide"),
        "{exception:?}"
    );
    assert_eq!((exception.attempts(), server.requests()), (1, 3));
}

#[test]
fn an_observer_that_panics_when_it_is_told_of_a_retry_changes_nothing() {
    let server = flaky();
    let builder = pool().retry(at_once(1)).observer(|event: &Event<'_>| {
        assert!(
            !matches!(event, Event::Retry { .. }),
            "the observer panicked"
        );
    });
    let outcomes = outcomes_of(builder, [server.url("/1"), server.url("/2")]);
    assert_recovered(&outcomes, 2);
}

#[test]
fn what_one_attempt_has_sent_counts_for_the_job() {
    let exchanges = Arc::new(AtomicUsize::new(0));
    let transport = {
        let exchanges = Arc::clone(&exchanges);
        move |_: Exchange<'_>| -> Result<Response<ResponseBody>, Error> {
            match exchanges.fetch_add(1, Ordering::SeqCst) {
                0 => Err(Answer::Closed.error().unwrap()),
                _ => Err(Answer::Refused.error().unwrap()),
            }
        }
    };
    let builder = Pool::builder()
        .retry(at_once(1))
        .session(move || Session::new(transport.clone()));
    let exception = outcomes_of(builder, ["http://stub.test/"])
        .remove(0)
        .unwrap_err();
    assert!(
        matches!(exception.error(), Error::Connect { .. }),
        "{exception:?}"
    );
    assert_eq!(exception.attempts(), 2);
    assert!(exception.was_sent());
}

/// Says 503 to the first request for each page, then the page's path.
fn flaky() -> Server {
    let asked = Mutex::new(HashSet::new());
    Server::start(move |request| {
        let path = request.uri().path().to_owned();
        match asked.lock().unwrap().insert(path.clone()) {
            true => status(503),
            false => Response::new(path.into()),
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
fn a_lazy_run_retries_and_keeps_its_order_and_its_window() {
    for is_ordered in [true, false] {
        let server = flaky();
        let drawn = Cell::new(0);
        let urls = (0..60).map(|page| {
            drawn.set(page + 1);
            server.url(&format!("/{page}"))
        });
        let builder = pool().num_threads(4).window(6).retry(at_once(1));
        let run: Box<dyn Iterator<Item = Outcome>> = match is_ordered {
            true => Box::new(builder.imap(urls).unwrap()),
            false => Box::new(builder.imap_unordered(urls).unwrap()),
        };
        let mut outcomes = Vec::new();
        for outcome in run {
            assert!(drawn.get() - outcomes.len() <= 6);
            outcomes.push(outcome);
        }
        if !is_ordered {
            outcomes = in_order(outcomes);
        }
        assert_recovered(&outcomes, 60);
    }
}

#[test]
fn iterating_over_a_pool_on_a_channel_waits_for_what_is_tried_again() {
    let server = flaky();
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let builder = pool().num_threads(3).retry(at_once(1));
    let pool = builder.job_queue(receiver).build().unwrap();
    for page in 0..60 {
        jobs.send(server.url(&format!("/{page}")).into()).unwrap();
    }
    drop(jobs);
    assert_recovered(&in_order(pool), 60);
}

#[test]
fn what_a_retried_job_leads_to_is_done_and_the_iteration_ends() {
    let server = flaky();
    let pool = pool()
        .num_threads(2)
        .retry(at_once(1))
        .build_from_urls([server.url("/0")])
        .unwrap();
    let handle = pool.handle();
    let mut outcomes = Vec::new();
    for outcome in pool {
        outcomes.push(outcome);
        if outcomes.len() < 20 {
            let page = server.url(&format!("/{}", outcomes.len()));
            handle.submit(page).unwrap();
        }
    }
    assert_recovered(&outcomes, 20);
    assert!(handle.submit(server.url("/late")).is_err());
}

/// What a stub makes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Status(u16),
    Closed,
    Refused,
    /// Nothing that passes.
    Nonsense,
}

impl Answer {
    fn error(self) -> Option<Error> {
        let source = || "by the script".into();
        match self {
            Self::Status(_) => None,
            Self::Closed => Some(Error::Closed {
                sent: true,
                source: source(),
            }),
            Self::Refused => Some(Error::Connect {
                sent: false,
                source: source(),
            }),
            Self::Nonsense => Some(Error::Protocol { source: source() }),
        }
    }

    fn is_repeated(self, is_idempotent: bool) -> bool {
        match self {
            Self::Status(status) => is_idempotent && status == 503,
            Self::Closed => is_idempotent,
            Self::Refused => true,
            Self::Nonsense => false,
        }
    }

    fn is_of(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (Self::Status(status), Ok(response)) => response.status() == status,
            (_, Err(exception)) => matches!(
                (self, exception.error()),
                (Self::Closed, Error::Closed { .. })
                    | (Self::Refused, Error::Connect { .. })
                    | (Self::Nonsense, Error::Protocol { .. })
            ),
            _ => false,
        }
    }
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        1 => Just(Answer::Status(200)),
        3 => Just(Answer::Status(503)),
        1 => Just(Answer::Status(404)),
        2 => Just(Answer::Closed),
        2 => Just(Answer::Refused),
        1 => Just(Answer::Nonsense),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn each_job_ends_once_as_what_the_last_attempt_was(
        num_threads in 1..5usize,
        most in 0..4u32,
        // Whether the request may be repeated, and what is made of its attempts; after that, it is answered.
        scripts in prop::collection::vec((any::<bool>(), prop::collection::vec(any_answer(), 0..6)), 0..30),
    ) {
        let made = Arc::new(Mutex::new(vec![0; scripts.len()]));
        let transport = {
            let (made, scripts) = (Arc::clone(&made), scripts.clone());
            move |exchange: Exchange<'_>| {
                let job: usize = exchange.url().path()[1..].parse().unwrap();
                let attempt = {
                    let mut made = made.lock().unwrap();
                    made[job] += 1;
                    made[job] - 1
                };
                let answer = scripts[job].1.get(attempt).copied().unwrap_or(Answer::Status(200));
                match (answer, answer.error()) {
                    (_, Some(error)) => Err(error),
                    (Answer::Status(status), None) => {
                        let mut response = says_ok(exchange)?;
                        *response.status_mut() = StatusCode::from_u16(status).unwrap();
                        Ok(response)
                    }
                    (other, None) => panic!("{other:?}"),
                }
            }
        };
        let requests = scripts.iter().enumerate().map(|(job, (is_idempotent, _))| {
            let url = format!("http://stub{}.test/{job}", job % 3);
            RequestSpec::post(url).idempotent(*is_idempotent)
        });
        let mut pool = Pool::builder()
            .num_threads(num_threads)
            .retry(at_once(most))
            .session(move || Session::new(transport.clone()))
            .build_from_requests(requests)
            .unwrap();
        pool.join_all();
        let stats = pool.stats();
        let outcomes = in_order(pool.responses().map(Ok).chain(pool.exceptions().map(Err)));
        let indices: Vec<usize> = outcomes.iter().map(index).collect();
        prop_assert_eq!(indices, (0..scripts.len()).collect::<Vec<_>>());
        let mut retries = 0;
        for (job, outcome) in outcomes.iter().enumerate() {
            let (is_idempotent, script) = &scripts[job];
            let all = script.iter().copied().chain([Answer::Status(200)]);
            let mut tried: Vec<Answer> = Vec::new();
            for answer in all.take(most as usize + 1) {
                tried.push(answer);
                if !answer.is_repeated(*is_idempotent) {
                    break;
                }
            }
            let last = *tried.last().unwrap();
            prop_assert!(last.is_of(outcome), "{:?} by {:?}", outcome, tried);
            prop_assert_eq!(attempts(outcome) as usize, tried.len());
            prop_assert_eq!(made.lock().unwrap()[job], tried.len());
            if let Err(exception) = outcome {
                let was_sent = tried.iter().any(|answer| *answer != Answer::Refused);
                prop_assert_eq!(exception.was_sent(), was_sent);
            }
            retries += tried.len() - 1;
        }
        prop_assert_eq!((stats.queued(), stats.in_flight(), stats.delayed()), (0, 0, 0));
        prop_assert_eq!(stats.submitted(), stats.responses() + stats.exceptions() + stats.given_back());
        prop_assert_eq!((stats.submitted(), stats.retries()), (scripts.len(), retries));
    }
}

#[test]
fn jobs_of_a_channel_that_back_off_leave_room_for_the_others() {
    let server = Server::start(|request| {
        let response = Response::builder();
        let response = match request.uri().path() {
            "/busy" => response.status(503).header("retry-after", "60"),
            _ => response,
        };
        response.body(Bytes::new()).unwrap()
    });
    let (jobs, receiver) = threaded::crossbeam_channel::unbounded::<RequestSpec>();
    for _ in 0..8 {
        jobs.send(server.url("/busy").into()).unwrap();
    }
    for _ in 0..10 {
        jobs.send(server.url("/").into()).unwrap();
    }
    let pool = pool()
        .num_threads(1)
        .job_queue(receiver)
        .retry(Retry::new(1))
        .build()
        .unwrap();
    eventually("the others are answered", || pool.responses().len() == 10);
    assert_eq!(pool.stats().delayed(), 8);
}
