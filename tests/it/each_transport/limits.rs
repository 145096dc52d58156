//! Rate limits and in-flight limits hold, and a job that waits for one delays neither workers nor other origins.

mod bandwidth;
mod cool_downs;
mod stopping;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use threaded::crossbeam_channel::{bounded, unbounded};
use threaded::{
    ErrorKind, Limits, OriginLimits, Outcome, OutcomeExt, Pool, PoolError, RequestSpec, Retry,
};

use super::pool;
use crate::support::pools::in_order;
use crate::support::process::eventually;
use crate::support::server::Server;

const ONE_A_MINUTE: f64 = 1.0 / 60.0;

/// One request a minute for this server, no limit for all others.
fn one_a_minute(server: &Server) -> Limits {
    Limits::new().for_origin(server.url(""), OriginLimits::new().rate(ONE_A_MINUTE, 1))
}

/// Responds to the first request with 429 and this `Retry-After`, to all others with `ok`, and records when they arrived.
fn asking_for_patience(retry_after: &'static str) -> (Server, Arc<Mutex<Vec<Instant>>>) {
    noting(move |number| {
        let response = Response::builder();
        let response = match number {
            0 => response.status(429).header("Retry-After", retry_after),
            _ => response,
        };
        response.body(Bytes::from("ok")).unwrap()
    })
}

/// Responds according to the request's number, and records when it arrived.
fn noting(
    response: impl Fn(usize) -> Response<Bytes> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<Instant>>>) {
    let seen = Arc::<Mutex<Vec<Instant>>>::default();
    let server = Server::start({
        let seen = Arc::clone(&seen);
        move |_| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            response(seen.len() - 1)
        }
    });
    (server, seen)
}

fn pages(server: &Server, count: usize) -> Vec<String> {
    (0..count)
        .map(|page| server.url(&format!("/{page}")))
        .collect()
}

/// The first of one, the first of the other, the second of one …
fn in_turn(one: Vec<String>, other: Vec<String>) -> Vec<String> {
    one.into_iter()
        .zip(other)
        .flat_map(|(one, other)| [one, other])
        .collect()
}

fn assert_never_sent(outcome: &Outcome) {
    let exception = outcome.as_ref().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Cancelled, "{exception:?}");
    assert_eq!((exception.was_sent(), exception.attempts()), (false, 0));
}

#[test]
fn limits_that_cannot_be_kept_to_are_refused_however_a_pool_is_started() {
    let origin = |limits| Limits::new().for_origin("http://stub.test", limits);
    let table = [
        (Limits::new().rate(0.0, 1), "rate: 0.0 per second"),
        (Limits::new().rate(1.0, 0), "rate: a burst of 0"),
        (
            Limits::new().rate_per_origin(-1.0, 1),
            "rate_per_origin: -1.0 per second",
        ),
        (
            Limits::new().in_flight_per_origin(0),
            "in_flight_per_origin: 0 in flight",
        ),
        (
            origin(OriginLimits::new().in_flight(0)),
            "for_origin(http://stub.test/): 0 in flight",
        ),
        (
            origin(OriginLimits::new().rate(f64::NAN, 1)),
            "for_origin(http://stub.test/): NaN per second",
        ),
        (
            Limits::new().for_origin("stub.test", OriginLimits::new()),
            "`stub.test` is not an origin",
        ),
    ];
    for (limits, reason) in table {
        let builder = || pool().limits(limits.clone());
        let refusals = [
            builder().build().err(),
            builder().map(["http://stub.test/"]).err(),
            builder().imap(["http://stub.test/"]).err(),
            builder().imap_unordered(["http://stub.test/"]).err(),
        ];
        for refusal in refusals {
            let error = refusal.expect(reason);
            assert!(matches!(error, PoolError::Limits(_)), "{error:?}");
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}

#[test]
fn an_origin_has_no_more_requests_at_a_time_than_it_may_however_it_is_written() {
    let (open, opened) = unbounded::<()>();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let server = Server::start({
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        move |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _ = opened.recv();
            now.fetch_sub(1, Ordering::SeqCst);
            Response::default()
        }
    });
    let other = Server::responding("ok");
    let port = server.address().port();
    let urls = (0..100).map(|page| match page % 3 {
        0 => format!("http://localhost:{port}/{page}"),
        1 => format!("HTTP://LOCALHOST:{port}/{page}"),
        _ => format!("http://user@localhost:0{port}/{page}"),
    });
    let pool = pool()
        .concurrency(16)
        .limits(Limits::new().in_flight_per_origin(2))
        .build_from_urls(urls)
        .unwrap();
    eventually("two are there", || now.load(Ordering::SeqCst) == 2);
    // Each of these gives a free worker the choice between both origins. A worker that chose wrongly would be stuck, and
    // soon all of them.
    for done in 1..=40 {
        pool.submit(other.url("/")).unwrap();
        eventually("the other server responds", || {
            pool.stats().responses() == done
        });
    }
    assert_eq!(pool.stats().in_flight(), 2);
    drop(open);
    pool.join_all();
    assert_eq!(
        (pool.responses().count(), pool.exceptions().count()),
        (140, 0)
    );
    assert_eq!(server.requests(), 100);
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

/// No time from the start on has seen more requests than the rate allows. Times that begin later tell less: what was sent
/// one after the other may arrive together.
fn assert_rate(start: Instant, mut seen: Vec<Instant>, per_second: f64, burst: usize) {
    seen.sort_unstable();
    for (number, at) in seen.iter().enumerate() {
        let time = *at - start;
        let allowed = burst as f64 + per_second * time.as_secs_f64();
        assert!((number + 1) as f64 <= allowed, "{} in {time:?}", number + 1);
    }
}

#[test]
fn each_origin_is_sent_to_at_its_rate_repetitions_included() {
    let servers = [(); 2].map(|()| {
        noting(|_| {
            let response = Response::builder().status(503);
            response.body(Bytes::new()).unwrap()
        })
    });
    let [one, other] = &servers;
    let retry = Retry::new(2).backoff(Duration::ZERO, Duration::ZERO);
    let start = Instant::now();
    let (responses, _) = pool()
        .concurrency(16)
        .limits(Limits::new().rate_per_origin(50.0, 5))
        .retry(retry.budget(None))
        .map(in_turn(pages(&one.0, 10), pages(&other.0, 10)))
        .unwrap();
    assert_eq!(responses.count(), 20);
    for (_, seen) in servers {
        let seen = seen.lock().unwrap().clone();
        assert_eq!(seen.len(), 30);
        assert_rate(start, seen, 50.0, 5);
    }
}

#[test]
fn the_whole_pool_sends_at_its_rate_wherever_it_sends_to() {
    let [one, other] = [(); 2].map(|()| noting(|_| Response::default()));
    let start = Instant::now();
    let (responses, _) = pool()
        .concurrency(16)
        .limits(Limits::new().rate(50.0, 5))
        .map(in_turn(pages(&one.0, 15), pages(&other.0, 15)))
        .unwrap();
    assert_eq!(responses.count(), 30);
    let seen = [one.1, other.1].map(|seen| seen.lock().unwrap().clone());
    assert_rate(start, seen.concat(), 50.0, 5);
}

/// A pool of one worker and these limits: all jobs for one server are done, of those for the other only the first.
fn only_the_other_is_held_up(limits: Limits, held_up: &Server) {
    let free = Server::responding("ok");
    let pool = pool()
        .concurrency(1)
        .limits(limits)
        .build_from_urls(in_turn(pages(held_up, 10), pages(&free, 10)))
        .unwrap();
    eventually("the first, and all of the free server", || {
        pool.stats().responses() == 11
    });
    assert_eq!((free.requests(), held_up.requests()), (10, 1));
    let stats = pool.stats();
    assert_eq!((stats.queued(), stats.in_flight()), (9, 0));
    pool.handle().cancel();
    pool.join_all();
    let outcomes = in_order(pool.exceptions().map(Err));
    let cancelled: Vec<usize> = outcomes.iter().map(OutcomeExt::index).collect();
    assert_eq!(cancelled, (1..10).map(|page| 2 * page).collect::<Vec<_>>());
    outcomes.iter().for_each(assert_never_sent);
    assert_eq!(held_up.requests(), 1);
}

#[test]
fn a_slow_origin_delays_no_other() {
    let slow = Server::responding("ok");
    only_the_other_is_held_up(one_a_minute(&slow), &slow);
}

#[test]
fn a_lazy_run_keeps_to_its_limits_its_window_and_its_order() {
    for is_ordered in [true, false] {
        let [one, other] = [(); 2].map(|()| noting(|_| Response::default()));
        let drawn = AtomicUsize::new(0);
        let urls = in_turn(pages(&one.0, 15), pages(&other.0, 15));
        let urls = urls.into_iter().inspect(|_| {
            drawn.fetch_add(1, Ordering::SeqCst);
        });
        let builder = pool()
            .concurrency(4)
            .window(4)
            .limits(Limits::new().rate_per_origin(100.0, 2));
        let start = Instant::now();
        let run: Box<dyn Iterator<Item = Outcome>> = if is_ordered {
            Box::new(builder.imap(urls).unwrap())
        } else {
            Box::new(builder.imap_unordered(urls).unwrap())
        };
        let mut indices = Vec::new();
        for outcome in run {
            assert!(drawn.load(Ordering::SeqCst) - indices.len() <= 4);
            assert!(outcome.is_ok(), "{outcome:?}");
            indices.push(outcome.index());
        }
        if !is_ordered {
            indices.sort_unstable();
        }
        assert_eq!(indices, (0..30).collect::<Vec<_>>());
        for (_, seen) in [one, other] {
            assert_rate(start, seen.lock().unwrap().clone(), 100.0, 2);
        }
    }
}

#[test]
fn limits_hold_back_the_producer_of_the_job_channel() {
    let (slow, free) = (Server::responding("ok"), Server::responding("ok"));
    let (jobs, receiver) = bounded::<RequestSpec>(1);
    let pool = pool()
        .concurrency(1)
        .window(4)
        .limits(one_a_minute(&slow))
        .job_queue(receiver)
        .build()
        .unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let producer = thread::spawn({
        let (sent, url) = (Arc::clone(&sent), slow.url("/"));
        move || {
            while jobs.send(url.as_str().into()).is_ok() {
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    // One has a response, four wait.
    eventually("the pool is full", || pool.stats().submitted() == 5);
    // After each of these, the worker looks for what to do next.
    for done in 1..=20 {
        pool.submit(free.url("/")).unwrap();
        eventually("the free server responds", || {
            pool.stats().responses() == 1 + done
        });
    }
    assert_eq!(pool.stats().submitted(), 5 + 20);
    // One more is in the channel.
    assert!(sent.load(Ordering::SeqCst) <= 6);

    let unsent = pool.shutdown();
    producer.join().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.responses(), stats.given_back()), (21, 4));
    assert!(unsent.len() >= 4);
    assert_eq!((slow.requests(), free.requests()), (1, 20));
}

#[test]
fn a_request_without_an_origin_is_held_up_by_no_limit() {
    let server = Server::responding("ok");
    let limits = Limits::new()
        .rate_per_origin(ONE_A_MINUTE, 1)
        .in_flight_per_origin(1);
    let good = server.url("/");
    let urls = [
        good.as_str(),
        &good,
        "no URL",
        "ftp://stub.test/",
        "http://",
    ];
    let pool = pool()
        .concurrency(1)
        .limits(limits)
        .build_from_urls(urls)
        .unwrap();
    eventually("the bad ones have ended", || pool.exceptions().len() == 3);
    eventually("the first has a response", || pool.responses().len() == 1);
    assert_eq!((pool.stats().queued(), server.requests()), (1, 1));
    for exception in pool.exceptions() {
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    }
}

#[test]
fn what_is_shown_of_limits_holds_no_secrets() {
    let limits = Limits::new().for_origin(
        "https://me:s3cr3t@example.com/?token=s3cr3t",
        OriginLimits::new().in_flight(1),
    );
    let builder = Pool::builder().limits(limits.clone());
    let refused = format!("{}", builder.build().unwrap_err());
    for shown in [format!("{limits:?}"), refused] {
        assert!(!shown.contains("s3cr3t") && shown.len() < 2048, "{shown}");
    }
}
