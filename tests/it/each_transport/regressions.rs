//! Regression tests for the defects of the original.

use std::iter;
use std::time::Duration;

use threaded::crossbeam_channel::{Select, unbounded};
use threaded::{Error, Exchange, OutcomeExt, Pool, PoolError, RequestSpec, Session};

use super::pool;
use crate::support::pools::{in_order, respond_ok};
use crate::support::process::eventually;
use crate::support::raw::refused_address;
use crate::support::server::Server;

/// The original's worker ended at the first error of an unexpected type, and with it went every job that it would have
/// taken: 2 of them on 2 workers lost all 12 jobs of a run.
#[test]
fn a_job_that_fails_in_any_way_takes_no_other_job_with_it() {
    let fails_oddly = |exchange: Exchange<'_>| match exchange.url().path() {
        "/panic" => panic!("not a requests.RequestException"),
        "/error" => Err(Error::protocol("odd")),
        _ => respond_ok(exchange),
    };
    let odd = ["/panic", "/error"].into_iter().cycle().take(20);
    let paths: Vec<&str> = odd.chain(iter::repeat_n("/", 20)).collect();
    let pool = Pool::builder()
        .concurrency(2)
        .session(move || Session::new(fails_oddly))
        .build_from_urls(paths.iter().map(|path| format!("http://stub.test{path}")))
        .unwrap();
    let outcomes = in_order(pool);
    assert_eq!(outcomes.len(), 40);
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        20
    );
}

/// The original's workers took an empty queue for the end of the work while the first outcomes were still to come: 4 of
/// 3,000 GETs vanished.
#[test]
fn no_outcome_is_lost_at_start_up() {
    let refused = format!("http://{}/", refused_address());
    for run in 0..500 {
        let pool = pool().concurrency(1).build_from_urls([&refused]).unwrap();
        pool.join_all();
        assert!(pool.get_exception().is_some(), "run {run}");
        assert!(pool.get_response().is_none(), "run {run}");
    }
}

/// The original's workers ended when the queue was empty.
#[test]
fn a_job_that_comes_long_after_the_queue_ran_empty_is_served() {
    let server = Server::responding("hello");
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = pool().concurrency(2).job_queue(receiver).build().unwrap();
    for round in 1..=3 {
        jobs.send(server.url("/channel").into()).unwrap();
        pool.submit(server.url("/submitted")).unwrap();
        eventually("both are served", || {
            pool.response_channel().len() == 2 * round
        });
        // Nothing happens for 300 ms.
        let mut quiet = Select::new();
        quiet.recv(pool.exception_channel());
        assert!(quiet.ready_timeout(Duration::from_millis(300)).is_err());
    }
    pool.join_all();
    assert_eq!(pool.responses().count(), 6);
}

/// The original's `map` wanted a list.
#[test]
fn map_accepts_any_iterator() {
    let stub = || {
        Pool::builder()
            .concurrency(2)
            .session(|| Session::new(respond_ok))
    };
    let count = |result: Result<(threaded::Responses, _), PoolError>| result.unwrap().0.count();

    assert_eq!(count(stub().map(["http://stub.test/"; 3])), 3);
    assert_eq!(
        count(stub().map(vec![String::from("http://stub.test/")])),
        1
    );
    assert_eq!(count(stub().map(&["http://stub.test/".to_owned()])), 1);
    assert_eq!(
        count(stub().map((0..4).map(|page| format!("http://stub.test/{page}")))),
        4
    );
    assert_eq!(
        count(stub().map(iter::once(RequestSpec::head("http://stub.test/")))),
        1
    );
    assert_eq!(
        count(stub().map(Some(url::Url::parse("http://stub.test/").unwrap()))),
        1
    );
    let lines = "http://stub.test/a\nhttp://stub.test/b\n";
    assert_eq!(count(stub().map(lines.lines())), 2);
}

/// The original's threads died of it, one by one, and `join_all` returned as if all was well.
#[test]
fn an_initializer_that_fails_is_an_error_and_not_a_silent_loss() {
    for concurrency in [1, 8] {
        let builder = || pool().concurrency(concurrency);
        let failing = builder().try_initializer(|_| Err("no certificate".into()));
        assert!(matches!(
            failing.map(["http://stub.test/"; 5]),
            Err(PoolError::Session(_))
        ));
        let panicking = builder().initializer(|_| panic!("no certificate"));
        assert!(matches!(
            panicking.map(["http://stub.test/"; 5]),
            Err(PoolError::Session(_))
        ));
    }
}

/// The original's generators ended for good when nothing was there at the moment.
#[test]
fn reading_responses_before_the_end_loses_nothing() {
    let server = Server::responding("hello");
    let pool = pool().concurrency(3).build().unwrap();
    let mut responses = pool.responses();
    assert!(responses.next().is_none());
    let mut read = 0;
    for page in 0..50 {
        pool.submit(server.url(&format!("/{page}"))).unwrap();
        read += pool.responses().count();
        read += usize::from(responses.next().is_some());
        read += usize::from(pool.get_response().is_some());
    }
    pool.join_all();
    read += responses.count();
    assert_eq!(read, 50);
}

#[test]
fn iterating_after_reading_some_gives_the_rest_in_the_order_of_completion() {
    let pool = Pool::builder()
        .concurrency(1)
        .session(|| Session::new(respond_ok))
        .build_from_urls((0..30).map(|page| match page % 3 {
            0 => String::new(),
            _ => format!("http://stub.test/{page}"),
        }))
        .unwrap();
    let read = pool.responses().take(3).count() + pool.exceptions().take(2).count();
    let indices: Vec<usize> = pool.into_iter().map(|outcome| outcome.index()).collect();
    assert_eq!(read + indices.len(), 30);
    assert!(indices.is_sorted(), "{indices:?}");
}
