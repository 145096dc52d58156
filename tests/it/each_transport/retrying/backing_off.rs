//! Jobs that wait for their next attempt.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use threaded::{ErrorKind, Pool, RequestSpec, Retry};

use super::{overloaded, pool, retried, status};
use crate::support::pools::{at_once, outcomes_of};
use crate::support::process::eventually;
use crate::support::server::Server;

/// Responds to `/busy` with a `Retry-After` of a minute, and to all else with 200.
fn busy() -> Server {
    Server::start(|request| match request.uri().path() {
        "/busy" => overloaded("60"),
        _ => status(200),
    })
}

/// A pool of one worker whose only job so far is backing off for a minute.
fn backing_off(server: &Server) -> Pool {
    let pool = pool()
        .concurrency(1)
        .retry(at_once(3))
        .build_from_urls([server.url("/busy")])
        .unwrap();
    eventually("the job backs off", || pool.stats().delayed() == 1);
    pool
}

#[test]
fn a_job_that_backs_off_holds_no_worker_and_cancelling_ends_it() {
    let server = busy();
    let pool = backing_off(&server);
    for page in 0..10 {
        pool.submit(server.url(&format!("/{page}"))).unwrap();
    }
    eventually("the others have responses", || {
        pool.stats().responses() == 10
    });
    let stats = pool.stats();
    assert_eq!((stats.delayed(), stats.in_flight()), (1, 0));
    pool.handle().cancel();
    pool.join_all();
    let exception = pool.get_exception().unwrap();
    assert_eq!(exception.kind(), ErrorKind::Cancelled, "{exception:?}");
    assert_eq!((exception.index(), exception.attempts()), (0, 1));
    assert!(exception.was_sent());
    let stats = pool.stats();
    assert_eq!((stats.delayed(), stats.exceptions()), (0, 1));
    assert_eq!(server.requests(), 11);
}

#[test]
fn shutdown_ends_a_job_that_backs_off_as_its_last_response_and_does_not_wait() {
    let server = busy();
    let started = Instant::now();
    let pool = backing_off(&server);
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
fn a_wait_beyond_the_deadline_of_the_run_ends_the_job_at_once_with_its_response() {
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
        "the second response is good"
    );
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
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
        .concurrency(1)
        .job_queue(receiver)
        .retry(Retry::new(1))
        .build()
        .unwrap();
    eventually("the others have responses", || pool.responses().len() == 10);
    assert_eq!(pool.stats().delayed(), 8);
}
