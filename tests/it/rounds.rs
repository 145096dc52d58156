//! Rounds on a pool that stays: their own outcomes, warm connections, an intake that stays open.

use std::cell::Cell;
use std::sync::Arc;
use std::thread;

use threaded::{ErrorKind, Handle, Outcome, OutcomeExt, Pool, PoolBuilder, TransportBuilder};

use crate::support::pools::gated;
use crate::support::process::eventually;
use crate::support::server::Server;

#[test]
fn a_checker_of_a_hundred_rounds_opens_no_more_connections_than_it_has_workers() {
    let server = Server::responding("up");
    let pool = Pool::builder().num_threads(4).build().unwrap();
    let urls: Vec<String> = (0..50)
        .map(|page| server.url(&format!("/{page}")))
        .collect();
    for round in 0..100 {
        let mut statuses = 0;
        match round % 3 {
            0 => {
                let (responses, exceptions) = pool.map(&urls).unwrap();
                assert_eq!(exceptions.len(), 0);
                statuses += responses.count();
            }
            1 => {
                for (turn, outcome) in pool.imap(&urls).enumerate() {
                    assert!(outcome.unwrap().url().path().ends_with(&format!("/{turn}")));
                    statuses += 1;
                }
            }
            _ => statuses += pool.imap_unordered(&urls).filter(Result::is_ok).count(),
        }
        assert_eq!(statuses, 50);
    }
    assert_eq!(server.requests(), 5_000);
    assert!(server.connections() <= 4, "{}", server.connections());
    pool.submit(server.url("/")).unwrap();
    assert!(pool.recv().unwrap().is_ok(), "the intake is open");
}

#[test]
fn rounds_of_many_threads_run_at_the_same_time() {
    let server = Server::responding("ok");
    let pool = Arc::new(Pool::builder().num_threads(4).build().unwrap());
    let rounds: Vec<_> = (0..8)
        .map(|round| {
            let (pool, url) = (Arc::clone(&pool), server.url(&format!("/{round}")));
            thread::spawn(move || {
                for _ in 0..20 {
                    let (responses, _) = pool.map([&url; 10]).unwrap();
                    assert_eq!(
                        responses
                            .filter(|response| response.url().as_str() == url)
                            .count(),
                        10
                    );
                }
            })
        })
        .collect();
    for round in rounds {
        round.join().unwrap();
    }
    assert_eq!(pool.stats().responses(), 1_600);
    assert!(pool.get_response().is_none());
}

#[test]
fn an_empty_round_returns_at_once() {
    let pool = Pool::builder().num_threads(1).build().unwrap();
    let (responses, exceptions) = pool.map(Vec::<String>::new()).unwrap();
    assert!(responses.is_empty() && exceptions.is_empty());
    assert_eq!(pool.imap(Vec::<String>::new()).count(), 0);
}

#[test]
fn a_round_that_is_dropped_early_sends_no_more_of_its_jobs() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).window(8).build().unwrap();
    let mut round = pool.imap_unordered((0..100).map(|page| format!("http://stub.test/{page}")));
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let first = round.next().unwrap();
            drop(round);
            first.unwrap()
        });
        begun.recv().unwrap();
        open.send(()).unwrap();
        reading.join().unwrap();
    });
    drop(open);
    pool.wait_idle();
    let sent = 1 + begun.try_iter().count();
    assert!(sent <= 2, "{sent}: one more may have been in flight");
    let stats = pool.stats();
    assert_eq!((stats.queued(), stats.in_flight()), (0, 0));
    assert!(pool.spawn("http://stub.test/").unwrap().join().is_ok());
}

#[test]
fn what_a_pool_refuses_in_a_round_has_an_outcome_all_the_same() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    let handle = pool.handle();
    let requests = (0..4).map(|page| {
        if page == 2 {
            handle.close();
        }
        format!("http://stub.test/{page}")
    });
    drop((begun, open));
    let (responses, exceptions) = pool.map(requests).unwrap();
    assert_eq!(responses.count(), 2);
    let kinds: Vec<ErrorKind> = exceptions.map(|exception| exception.kind()).collect();
    assert_eq!(kinds, [ErrorKind::Cancelled; 2]);
    let refused = pool.map(["http://stub.test/late"]).map(drop).unwrap_err();
    assert_eq!(refused.request().url(), "http://stub.test/late");
    let stats = pool.stats();
    assert_eq!(stats.submitted(), stats.responses() + stats.exceptions());
}

#[test]
fn a_lazy_round_stops_pulling_when_the_pool_takes_no_more_jobs() {
    let (builder, _, open) = gated();
    drop(open);
    let pool = builder.num_threads(2).window(4).build().unwrap();
    let drawn = Cell::new(0);
    let input = std::iter::from_fn(|| {
        drawn.set(drawn.get() + 1);
        Some("http://stub.test/")
    });
    let mut round = pool.imap(input);
    assert!(round.next().is_some());
    pool.close();
    let rest = round.count();
    assert_eq!(rest + 1, drawn.get());
}

/// A run of either kind, and its handle.
fn lazy<B: TransportBuilder + 'static>(
    builder: PoolBuilder<B>,
    ordered: bool,
    urls: impl Iterator<Item = String> + Send + 'static,
) -> (Box<dyn Iterator<Item = Outcome> + Send>, Handle) {
    if ordered {
        let lazy = builder.imap(urls).unwrap();
        let handle = lazy.handle();
        (Box::new(lazy), handle)
    } else {
        let lazy = builder.imap_unordered(urls).unwrap();
        let handle = lazy.handle();
        (Box::new(lazy), handle)
    }
}

#[test]
fn a_handle_stops_a_lazy_run_that_waits() {
    for ordered in [false, true] {
        let (builder, begun, open) = gated();
        let builder = builder.num_threads(2).window(10);
        let urls = (0..1_000).map(|page| format!("http://stub.test/{page}"));
        let (outcomes, handle) = lazy(builder, ordered, urls);
        let reading =
            thread::spawn(move || outcomes.map(|outcome| outcome.index()).collect::<Vec<_>>());
        begun.recv().unwrap();
        begun.recv().unwrap();
        let stopping = thread::spawn({
            let handle = handle.clone();
            move || handle.shutdown()
        });
        eventually("the queued jobs are given back", || {
            handle.stats().given_back() == 8
        });
        drop(open);
        let unsent = stopping.join().unwrap();
        assert_eq!(unsent.len(), 8);
        let mut done = reading.join().unwrap();
        done.sort_unstable();
        assert_eq!(done, [0, 1], "what was in flight has its outcomes");
    }
}

#[test]
fn a_cancelled_lazy_run_ends_at_once_although_it_waits() {
    let (builder, begun, open) = gated();
    let lazy = builder
        .num_threads(1)
        .imap(["http://stub.test/"; 5])
        .unwrap();
    let handle = lazy.handle();
    assert_eq!(lazy.stats().submitted(), 0);
    let reading = thread::spawn(move || {
        lazy.map(|outcome| outcome.unwrap_err().kind())
            .collect::<Vec<_>>()
    });
    begun.recv().unwrap();
    handle.cancel();
    let kinds = reading.join().unwrap();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == ErrorKind::Cancelled));
    drop(open);
}

#[test]
fn what_the_handle_of_a_lazy_run_submits_is_part_of_it() {
    for ordered in [false, true] {
        let (builder, _, open) = gated();
        drop(open);
        let builder = builder.num_threads(2);
        let urls = (0..3).map(|page| format!("http://stub.test/{page}"));
        let (lazy, handle) = lazy(builder, ordered, urls);
        let mut more = 0;
        let count = lazy
            .inspect(|_| {
                if more < 10 {
                    more += 1;
                    handle.submit("http://stub.test/more").unwrap();
                }
            })
            .count();
        assert_eq!((count, more), (13, 10));
    }
}

#[test]
fn a_run_that_is_stopped_by_its_own_loop_returns_what_was_not_sent() {
    let (builder, _, open) = gated();
    drop(open);
    let lazy = builder
        .num_threads(2)
        .window(50)
        .imap_unordered(["http://stub.test/"; 1_000])
        .unwrap();
    let handle = lazy.handle();
    let (mut yielded, mut unsent) = (0, 0);
    for outcome in lazy {
        assert!(outcome.is_ok());
        yielded += 1;
        if yielded == 10 {
            unsent = handle.shutdown().len();
        }
    }
    let stats = handle.stats();
    assert_eq!(yielded + unsent, stats.submitted());
    assert!(stats.submitted() <= 60);
}

#[test]
fn closing_a_round_leaves_the_pool_and_its_other_rounds_alone() {
    let (builder, _, open) = gated();
    drop(open);
    let pool = builder.num_threads(2).window(4).build().unwrap();
    let urls = || (0..100).map(|page| format!("http://stub.test/{page}"));
    let mut one = pool.imap_unordered(urls());
    let mut other = pool.imap(urls());
    assert!(one.next().is_some() && other.next().is_some());
    let handle = one.handle();
    handle.close();
    assert!(handle.submit("http://stub.test/late").is_err());
    assert!(one.count() < 8, "what it held");
    assert_eq!(other.count(), 99);
    assert!(pool.spawn("http://stub.test/").unwrap().join().is_ok());
}

#[test]
fn each_request_of_a_map_round_has_an_outcome_when_the_pool_is_shut_down() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(2).build().unwrap();
    thread::scope(|scope| {
        let round = scope.spawn(|| pool.map(["http://stub.test/"; 20]).unwrap());
        begun.recv().unwrap();
        begun.recv().unwrap();
        eventually("all are submitted", || pool.stats().submitted() == 20);
        let stopping = scope.spawn(|| pool.shutdown());
        eventually("the others are cancelled", || {
            pool.stats().exceptions() == 18
        });
        drop(open);
        assert!(stopping.join().unwrap().is_empty());
        let (responses, exceptions) = round.join().unwrap();
        assert_eq!((responses.count(), exceptions.len()), (2, 18));
        for exception in exceptions {
            assert_eq!(exception.kind(), ErrorKind::Cancelled);
            assert!(!exception.was_sent());
        }
    });
}

#[test]
fn a_lazy_round_on_a_closed_pool_does_not_look_as_if_it_were_done() {
    let (builder, _, open) = gated();
    drop(open);
    let pool = builder.num_threads(1).build().unwrap();
    pool.close();
    let mut input = ["http://stub.test/1", "http://stub.test/2"].into_iter();
    let kinds: Vec<ErrorKind> = pool
        .imap(&mut input)
        .map(|outcome| outcome.unwrap_err().kind())
        .collect();
    assert_eq!(kinds, [ErrorKind::Cancelled]);
    assert_eq!(input.count(), 1, "the rest stays in the input");
}

#[test]
fn a_run_that_has_ended_takes_no_more_jobs_and_stays_ended() {
    let (builder, _, open) = gated();
    drop(open);
    let pool = builder.num_threads(2).build().unwrap();
    let mut run = pool.imap_unordered(["http://stub.test/"]);
    let handle = run.handle();
    assert!(run.next().is_some());
    assert!(run.next().is_none());
    let refused = handle.submit("http://stub.test/late").unwrap_err();
    assert_eq!(refused.request().url(), "http://stub.test/late");
    assert!(run.next().is_none());
    assert!(pool.submit("http://stub.test/").is_ok(), "the pool goes on");
}
