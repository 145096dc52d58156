//! Shutdown, cancellation, deadlines and dropping, while jobs wait for a limit.

use std::time::{Duration, Instant};

use threaded::{Limits, Pool, RequestSpec};

use super::super::PoolBuilder;
use super::{asking_for_patience, assert_never_sent, one_a_minute, pages, pool};
use crate::support::pools::in_order;
use crate::support::process::eventually;
use crate::support::server::Server;

/// A pool of three workers with ten jobs for a server, of which one has a response and nine have to wait for a minute.
fn stuck(by_its_rate: bool) -> (Pool, Server) {
    stuck_with(pool(), by_its_rate)
}

fn stuck_with(builder: PoolBuilder, by_its_rate: bool) -> (Pool, Server) {
    let (server, limits) = if by_its_rate {
        let server = Server::responding("ok");
        let limits = one_a_minute(&server);
        (server, limits)
    } else {
        let (server, _) = asking_for_patience("60");
        (server, Limits::new().in_flight_per_origin(1))
    };
    let pool = builder
        .concurrency(3)
        .limits(limits)
        .build_from_urls(pages(&server, 10))
        .unwrap();
    (pool, server)
}

#[test]
fn shutdown_gives_back_what_waits_for_a_limit() {
    for by_its_rate in [true, false] {
        let (pool, server) = stuck(by_its_rate);
        eventually("the first has a response", || pool.stats().responses() == 1);
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
        let (pool, server) = stuck(by_its_rate);
        eventually("the first has a response", || pool.stats().responses() == 1);
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
        eventually("the first has a response", || pool.stats().responses() == 1);
        let handle = pool.handle();
        let started = Instant::now();
        drop(pool);
        eventually("the workers end", || handle.stats().live_workers() == 0);
        assert!(started.elapsed() < Duration::from_secs(40));
        assert_eq!(server.requests(), 1);
    }
}

#[test]
fn dropping_a_lazy_run_that_waits_for_a_limit_does_not_wait() {
    let slow = Server::responding("ok");
    let started = Instant::now();
    let mut run = pool()
        .concurrency(2)
        .window(4)
        .limits(one_a_minute(&slow))
        .imap_unordered(std::iter::repeat(slow.url("/")))
        .unwrap();
    assert!(run.next().unwrap().is_ok());
    drop(run);
    assert!(started.elapsed() < Duration::from_secs(40));
    assert_eq!(slow.requests(), 1);
}
