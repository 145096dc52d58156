//! A pool keeps to its limits, and what has to wait for one holds up neither workers nor other origins.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use threaded::crossbeam_channel::{bounded, unbounded};
use threaded::{ErrorKind, Limits, OriginLimits, Pool, PoolError, RequestSpec, Retry};

use super::{PoolBuilder, pool};
use crate::support::pools::{Outcome, in_order, index};
use crate::support::process::eventually;
use crate::support::server::Server;

const ONE_A_MINUTE: f64 = 1.0 / 60.0;

/// One request a minute for this server, no limit for all others.
fn one_a_minute(server: &Server) -> Limits {
    Limits::new().for_origin(server.url(""), OriginLimits::new().rate(ONE_A_MINUTE, 1))
}

/// Says 429 and this `Retry-After` to the first request, `ok` to all others, and notes when they came.
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

/// Answers by the request's number, and notes when it came.
fn noting(
    answer: impl Fn(usize) -> Response<Bytes> + Send + Sync + 'static,
) -> (Server, Arc<Mutex<Vec<Instant>>>) {
    let seen = Arc::<Mutex<Vec<Instant>>>::default();
    let server = Server::start({
        let seen = Arc::clone(&seen);
        move |_| {
            let mut seen = seen.lock().unwrap();
            seen.push(Instant::now());
            answer(seen.len() - 1)
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
    let other = Server::saying("ok");
    let port = server.address().port();
    let urls = (0..100).map(|page| match page % 3 {
        0 => format!("http://localhost:{port}/{page}"),
        1 => format!("HTTP://LOCALHOST:{port}/{page}"),
        _ => format!("http://user@localhost:0{port}/{page}"),
    });
    let mut pool = pool()
        .num_threads(16)
        .limits(Limits::new().in_flight_per_origin(2))
        .build_from_urls(urls)
        .unwrap();
    eventually("two are there", || now.load(Ordering::SeqCst) == 2);
    // Each of these gives a free worker the choice between both origins. A worker that chose wrongly would be stuck, and
    // soon all of them.
    for done in 1..=40 {
        pool.submit(other.url("/")).unwrap();
        eventually("the other server answers", || {
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
        .num_threads(16)
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
        .num_threads(16)
        .limits(Limits::new().rate(50.0, 5))
        .map(in_turn(pages(&one.0, 15), pages(&other.0, 15)))
        .unwrap();
    assert_eq!(responses.count(), 30);
    let seen = [one.1, other.1].map(|seen| seen.lock().unwrap().clone());
    assert_rate(start, seen.concat(), 50.0, 5);
}

/// A pool of one worker and these limits: all jobs for one server are done, of those for the other only the first.
fn only_the_other_is_held_up(limits: Limits, held_up: &Server) {
    let free = Server::saying("ok");
    let mut pool = pool()
        .num_threads(1)
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
    let cancelled: Vec<usize> = outcomes.iter().map(index).collect();
    assert_eq!(cancelled, (1..10).map(|page| 2 * page).collect::<Vec<_>>());
    outcomes.iter().for_each(assert_never_sent);
    assert_eq!(held_up.requests(), 1);
}

#[test]
fn a_slow_origin_delays_nobody_else() {
    let slow = Server::saying("ok");
    only_the_other_is_held_up(one_a_minute(&slow), &slow);
}

#[test]
fn an_origin_that_asks_for_patience_is_left_alone_and_nobody_else() {
    let (server, _) = asking_for_patience("60");
    only_the_other_is_held_up(Limits::new(), &server);
}

#[test]
fn without_a_cool_down_the_others_jobs_are_sent() {
    let (server, _) = asking_for_patience("3600");
    let (responses, _) = pool()
        .num_threads(1)
        .limits(Limits::new().cool_down(None))
        .map(pages(&server, 10))
        .unwrap();
    let statuses: Vec<u16> = responses
        .map(|response| response.status().as_u16())
        .collect();
    assert_eq!(statuses, [&[429][..], &[200; 9]].concat());
}

#[test]
fn after_a_cool_down_the_origin_is_sent_to_again() {
    let (server, seen) = asking_for_patience("1");
    let (responses, _) = pool()
        .num_threads(1)
        .limits(Limits::new())
        .map(pages(&server, 5))
        .unwrap();
    assert_eq!(responses.count(), 5);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
}

#[test]
fn a_cool_down_is_never_longer_than_it_may_be() {
    let (server, seen) = asking_for_patience("3600");
    let longest = Duration::from_millis(200);
    let (responses, _) = pool()
        .num_threads(3)
        .limits(Limits::new().in_flight_per_origin(1).cool_down(longest))
        .map(pages(&server, 5))
        .unwrap();
    assert_eq!(responses.count(), 5);
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= longest);
}

#[test]
fn an_overloaded_server_is_left_alone_by_the_job_that_is_repeated_too() {
    let (server, seen) = asking_for_patience("1");
    let (responses, _) = pool()
        .num_threads(1)
        .limits(Limits::new())
        .retry(Retry::new(1).backoff(Duration::ZERO, Duration::ZERO))
        .map(pages(&server, 3))
        .unwrap();
    let mut attempts: Vec<(usize, u32, u16)> = responses
        .map(|response| {
            let status = response.status().as_u16();
            (response.index(), response.attempts(), status)
        })
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [(0, 2, 200), (1, 1, 200), (2, 1, 200)]);
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
}

/// A pool of three workers with ten jobs for a server, of which one is answered and nine have to wait for a minute.
fn stuck(by_its_rate: bool) -> (Pool, Server) {
    stuck_with(pool(), by_its_rate)
}

fn stuck_with(builder: PoolBuilder, by_its_rate: bool) -> (Pool, Server) {
    let (server, limits) = match by_its_rate {
        true => {
            let server = Server::saying("ok");
            let limits = one_a_minute(&server);
            (server, limits)
        }
        false => {
            let (server, _) = asking_for_patience("60");
            (server, Limits::new().in_flight_per_origin(1))
        }
    };
    let pool = builder
        .num_threads(3)
        .limits(limits)
        .build_from_urls(pages(&server, 10))
        .unwrap();
    (pool, server)
}

#[test]
fn shutdown_gives_back_what_waits_for_a_limit() {
    for by_its_rate in [true, false] {
        let (mut pool, server) = stuck(by_its_rate);
        eventually("the first is answered", || pool.stats().responses() == 1);
        let unsent = pool.shutdown();
        let given_back: Vec<&str> = unsent.iter().map(RequestSpec::url).collect();
        assert_eq!(given_back, pages(&server, 10)[1..]);
        let stats = pool.stats();
        assert_eq!(
            (stats.submitted(), stats.given_back(), stats.queued()),
            (10, 9, 0)
        );
        assert_eq!(
            (pool.responses().count(), pool.exceptions().count()),
            (1, 0)
        );
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn cancelling_ends_what_waits_for_a_limit() {
    for by_its_rate in [true, false] {
        let (mut pool, server) = stuck(by_its_rate);
        eventually("the first is answered", || pool.stats().responses() == 1);
        pool.handle().cancel();
        pool.join_all();
        let outcomes = in_order(pool.exceptions().map(Err));
        assert_eq!((outcomes.len(), server.requests()), (9, 1));
        outcomes.iter().for_each(assert_never_sent);
    }
}

#[test]
fn a_deadline_ends_what_waits_for_a_limit() {
    for by_its_rate in [true, false] {
        let started = Instant::now();
        let builder = pool().deadline(Duration::from_secs(1));
        let (pool, _server) = stuck_with(builder, by_its_rate);
        let outcomes = in_order(pool);
        assert_eq!(outcomes.len(), 10);
        outcomes[1..].iter().for_each(assert_never_sent);
        assert!(started.elapsed() < Duration::from_secs(40));
    }
}

#[test]
fn dropping_a_pool_forgets_what_waits_for_a_limit() {
    for by_its_rate in [true, false] {
        let (pool, server) = stuck(by_its_rate);
        eventually("the first is answered", || pool.stats().responses() == 1);
        let handle = pool.handle();
        let started = Instant::now();
        drop(pool);
        eventually("the workers end", || handle.stats().live_workers() == 0);
        assert!(started.elapsed() < Duration::from_secs(40));
        assert_eq!(server.requests(), 1);
    }
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
            .num_threads(4)
            .window(4)
            .limits(Limits::new().rate_per_origin(100.0, 2));
        let start = Instant::now();
        let run: Box<dyn Iterator<Item = Outcome>> = match is_ordered {
            true => Box::new(builder.imap(urls).unwrap()),
            false => Box::new(builder.imap_unordered(urls).unwrap()),
        };
        let mut indices = Vec::new();
        for outcome in run {
            assert!(drawn.load(Ordering::SeqCst) - indices.len() <= 4);
            assert!(outcome.is_ok(), "{outcome:?}");
            indices.push(index(&outcome));
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
fn dropping_a_lazy_run_that_waits_for_a_limit_does_not_wait() {
    let slow = Server::saying("ok");
    let started = Instant::now();
    let mut run = pool()
        .num_threads(2)
        .window(4)
        .limits(one_a_minute(&slow))
        .imap_unordered(std::iter::repeat(slow.url("/")))
        .unwrap();
    assert!(run.next().unwrap().is_ok());
    drop(run);
    assert!(started.elapsed() < Duration::from_secs(40));
    assert_eq!(slow.requests(), 1);
}

#[test]
fn limits_hold_back_who_feeds_the_job_channel() {
    let (slow, free) = (Server::saying("ok"), Server::saying("ok"));
    let (jobs, receiver) = bounded::<RequestSpec>(1);
    let mut pool = pool()
        .num_threads(1)
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
    // One is answered, four wait.
    eventually("the pool is full", || pool.stats().submitted() == 5);
    // After each of these, the worker looks for what to do next.
    for done in 1..=20 {
        pool.submit(free.url("/")).unwrap();
        eventually("the free server answers", || {
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
fn what_has_no_origin_is_held_up_by_the_limits_of_none() {
    let server = Server::saying("ok");
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
        .num_threads(1)
        .limits(limits)
        .build_from_urls(urls)
        .unwrap();
    eventually("the bad ones have ended", || pool.exceptions().len() == 3);
    eventually("the first is answered", || pool.responses().len() == 1);
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
