//! Jobs can be added while a pool runs: by `submit`, over a channel, or both.

use threaded::crossbeam_channel::{bounded, unbounded};
use threaded::{Exchange, OutcomeExt, Pool, RequestSpec, Session};

use super::pool;
use crate::support::pools::{in_order, respond_ok};
use crate::support::process::eventually;

#[test]
fn jobs_are_numbered_in_the_order_of_their_submission() {
    let pool = Pool::builder()
        .num_threads(2)
        .session(|| Session::new(respond_ok))
        .build_from_urls(["http://stub.test/0", "http://stub.test/1"])
        .unwrap();
    assert_eq!(pool.submit("http://stub.test/2").unwrap(), 2);
    assert_eq!(
        pool.submit(RequestSpec::post("http://stub.test/3"))
            .unwrap(),
        3
    );
    let outcomes = in_order(pool);
    let numbers: Vec<usize> = outcomes.iter().map(OutcomeExt::index).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    for outcome in outcomes {
        let response = outcome.unwrap();
        let number = response.index().to_string();
        assert!(response.request().url().ends_with(&number));
    }
}

#[test]
fn a_submission_that_comes_too_late_is_given_back() {
    let pool = Pool::builder()
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    pool.join_all();
    let spec = RequestSpec::post("http://user:secret@stub.test/?key=secret").body("precious");
    let error = pool.submit(spec).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("joined or iterated over"), "{message}");
    assert!(
        message.contains("POST http://***@stub.test/?key=***"),
        "{message}"
    );
    assert_eq!(error.request().method(), "POST");
    let spec = error.into_request();
    assert_eq!(spec.request_body().unwrap().as_bytes().unwrap(), "precious");
    assert_eq!(pool.stats().submitted(), 0);
}

#[test]
fn iterating_over_a_pool_on_a_channel_ends_when_the_senders_are_gone() {
    let (jobs, receiver) = bounded::<RequestSpec>(2);
    let pool = Pool::builder()
        .num_threads(3)
        .session(|| Session::new(respond_ok))
        .job_queue(receiver)
        .build()
        .unwrap();
    let producer = std::thread::spawn(move || {
        for page in 0..500 {
            jobs.send(format!("http://stub.test/{page}").into())
                .unwrap();
        }
    });
    let mut indices: Vec<usize> = pool.into_iter().map(|outcome| outcome.index()).collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..500).collect::<Vec<_>>());
    producer.join().unwrap();
}

#[test]
fn a_pool_on_a_channel_also_takes_submissions() {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = Pool::builder()
        .num_threads(2)
        .session(|| Session::new(respond_ok))
        .job_queue(receiver)
        .build()
        .unwrap();
    jobs.send("http://stub.test/channel".into()).unwrap();
    pool.submit("http://stub.test/submitted").unwrap();
    pool.join_all();
    let mut urls: Vec<String> = pool
        .responses()
        .map(|r| r.request().url().to_owned())
        .collect();
    urls.sort();
    assert_eq!(
        urls,
        ["http://stub.test/channel", "http://stub.test/submitted"]
    );
}

#[test]
fn two_pools_can_share_one_channel() {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let start = |receiver| {
        let builder = Pool::builder()
            .num_threads(2)
            .session(|| Session::new(respond_ok));
        builder.job_queue(receiver).build().unwrap()
    };
    let (one, other) = (start(receiver.clone()), start(receiver));
    for page in 0..300 {
        jobs.send(format!("http://stub.test/{page}").into())
            .unwrap();
    }
    drop(jobs);
    assert_eq!(one.into_iter().count() + other.into_iter().count(), 300);
}

#[test]
fn the_statistics_tell_where_the_jobs_are() {
    let (begun_tx, begun) = unbounded();
    let (open, opened) = unbounded::<()>();
    let transport = move |exchange: Exchange<'_>| {
        begun_tx.send(()).unwrap();
        let _ = opened.recv();
        respond_ok(exchange)
    };
    let pool = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(transport.clone()))
        .build_from_urls(["http://stub.test/"; 5].iter().chain(&["no url"; 2]))
        .unwrap();
    begun.recv().unwrap();
    begun.recv().unwrap();
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted(), stats.queued(), stats.in_flight()),
        (7, 5, 2)
    );
    assert_eq!((stats.live_workers(), stats.failed_workers()), (2, 0));
    drop(open);
    eventually("all jobs are done", || {
        pool.stats().in_flight() + pool.stats().queued() == 0
    });
    let stats = pool.stats();
    assert_eq!((stats.responses(), stats.exceptions()), (5, 2));
}

#[test]
fn a_select_loop_ends_once_the_pool_is_closed_and_done() {
    let pool = pool().num_threads(2).build_from_urls(["", "", ""]).unwrap();
    pool.close();
    assert!(pool.submit("").is_err());
    assert_eq!(pool.exception_channel().iter().count(), 3);
    assert_eq!(pool.response_channel().iter().count(), 0);
}

#[test]
fn a_producer_is_not_kept_waiting_by_a_pool_that_takes_no_more() {
    let (jobs, receiver) = bounded::<RequestSpec>(1);
    let pool = Pool::builder()
        .num_threads(1)
        .session(|| Session::new(respond_ok))
        .job_queue(receiver)
        .build()
        .unwrap();
    let producer = std::thread::spawn(move || {
        let mut sent = 0;
        while jobs.send("http://stub.test/".into()).is_ok() {
            sent += 1;
        }
        sent
    });
    eventually("some are done", || pool.stats().responses() > 10);
    pool.join_all();
    assert!(producer.join().unwrap() >= pool.responses().count());
}
