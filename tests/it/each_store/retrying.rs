//! Retries wait in the queue, where they outlive the process.

use std::time::Duration;

use threaded::{Exchange, Pool, PoolBuilder, ResponseBody, Retry, Session, TransportBuilder};

use super::{TestStore, jobs, recorded, run, stub};
use crate::support::pools::at_once;
use crate::support::process::eventually;

/// Responds with this status to `/0`, and with 200 to everything else.
fn failing_at_first(
    status: u16,
    header: &'static str,
) -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder().concurrency(2).session(move || {
        Session::new(move |exchange: Exchange<'_>| {
            let response = http::Response::builder();
            let response = match exchange.url().path() {
                "/0" => response.status(status).header("Retry-After", header),
                _ => response,
            };
            Ok(response.body(ResponseBody::from("ok")).unwrap())
        })
    })
}

#[test]
fn a_retry_counts_all_attempts_and_is_recorded_once() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(20)).unwrap();
    let builder = failing_at_first(503, "0").retry(at_once(2));
    assert_eq!(run(builder, &queue).len(), 20);
    let outcomes = recorded(&queue);
    assert_eq!(outcomes["job-0"]["attempts"], 3);
    assert_eq!(outcomes["job-0"]["response"]["status"], 503);
    assert_eq!(outcomes["job-1"]["attempts"], 1);
    assert_eq!(queue.stats().unwrap().dead(), 0);
}

#[test]
fn retries_that_wait_hold_nothing_up_and_survive_the_process() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(30)).unwrap();
    let retry = || Retry::new(3).retry_after_max(Duration::from_secs(7200));
    let mut deliveries = failing_at_first(503, "3600")
        .window(1)
        .retry(retry())
        .deliveries(&queue)
        .unwrap();
    for _ in 1..30 {
        deliveries.next().unwrap().unwrap().ack().unwrap();
    }
    eventually("the other one waits", || {
        queue.stats().unwrap().delayed() == 1
    });
    let stats = queue.stats().unwrap();
    assert_eq!((stats.recorded(), stats.leased()), (29, 0));
    drop(deliveries);
    drop(queue);

    let queue = store.open();
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.recorded(), stats.delayed(), stats.waiting()),
        (29, 1, 0)
    );
    queue.close().unwrap();
    let mut deliveries = stub().deliveries(&queue).unwrap();
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || deliveries.next().is_none());
    // It waits for the time that is in the queue.
    handle.shutdown();
    assert!(thread.join().unwrap());
    assert_eq!(queue.stats().unwrap().delayed(), 1);
}

#[test]
fn attempts_go_on_counting_in_the_next_process() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(2)).unwrap();
    let retry = || Retry::new(3).retry_after_max(Duration::from_secs(60));
    let mut deliveries = failing_at_first(503, "1")
        .retry(retry())
        .deliveries(&queue)
        .unwrap();
    let delivery = deliveries.next().unwrap().unwrap();
    assert_eq!(delivery.job_id(), "job-1");
    delivery.ack().unwrap();
    eventually("the other one waits", || {
        queue.stats().unwrap().delayed() == 1
    });
    drop((delivery, deliveries, queue));

    let queue = store.open();
    assert_eq!(run(stub(), &queue), ["job-0"]);
    let outcome = &recorded(&queue)["job-0"];
    assert!(outcome["attempts"].as_u64() >= Some(2), "{outcome}");
    assert_eq!(outcome["response"]["status"], 200);
}
