//! A consumer that stops, in whatever way, leaves the queue as if it had not taken what it has not recorded.

use std::time::Duration;

use threaded::crossbeam_channel::{Receiver, Sender};
use threaded::queue::Queue;
use threaded::{Deliveries, Pool};

use super::{TestStore, jobs, recorded, run, stub};
use crate::support::pools::gated;
use crate::support::process::eventually;

/// One of ten jobs is in flight.
fn begun(queue: &Queue) -> (Deliveries, Receiver<()>, Sender<()>) {
    queue.submit_all(jobs(10)).unwrap();
    queue.close().unwrap();
    let (builder, begun, open) = gated();
    let deliveries = builder.num_threads(1).deliveries(queue).unwrap();
    (deliveries, begun, open)
}

#[test]
fn after_a_shutdown_the_jobs_in_flight_are_delivered_and_the_others_stay() {
    let store = TestStore::new();
    let queue = store.open();
    let (mut deliveries, begun, open) = begun(&queue);
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || {
        let delivery = deliveries.next().unwrap().unwrap();
        delivery.ack().unwrap();
        assert!(deliveries.next().is_none());
    });
    begun.recv().unwrap();
    let shutdown = std::thread::spawn(move || handle.shutdown());
    eventually("nothing is queued in the pool", || {
        queue.stats().unwrap().leased() == 1
    });
    open.send(()).unwrap();
    assert_eq!(shutdown.join().unwrap().len(), 0);
    thread.join().unwrap();
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.recorded(), stats.waiting(), stats.leased()),
        (1, 9, 0)
    );
    drop(queue);

    // It does not count as a delivery.
    let queue = store.open_with_max_deliveries(1);
    assert_eq!(run(stub(), &queue).len(), 9);
    assert_eq!(recorded(&queue).len(), 10);
}

#[test]
fn a_cancelled_job_is_not_recorded() {
    let store = TestStore::new();
    let queue = store.open();
    let (mut deliveries, begun, open) = begun(&queue);
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || deliveries.next().is_none());
    begun.recv().unwrap();
    handle.cancel();
    assert!(thread.join().unwrap());
    drop(open);
    eventually("all are given back", || {
        queue.stats().unwrap().leased() == 0
    });
    let stats = queue.stats().unwrap();
    assert_eq!((stats.recorded(), stats.waiting()), (0, 10));
    assert_eq!(run(stub(), &queue).len(), 10);
}

#[test]
fn dropping_the_deliveries_gives_all_jobs_back() {
    let store = TestStore::new();
    // The first delivery of each round is the same job.
    let queue = store.open_with_max_deliveries(9);
    queue.submit_all(jobs(100)).unwrap();
    for taken in [1, 7, 30] {
        let deliveries = stub().deliveries(&queue).unwrap();
        let some: Vec<_> = deliveries.take(taken).map(Result::unwrap).collect();
        for delivery in some.iter().skip(1) {
            delivery.ack().unwrap();
        }
    }
    eventually("all are given back", || {
        queue.stats().unwrap().leased() == 0
    });
    assert_eq!(queue.stats().unwrap().recorded(), 6 + 29);
    assert_eq!(run(stub(), &queue).len(), 100 - 35);
}

#[test]
fn a_deadline_ends_the_deliveries_and_not_the_queue() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(3)).unwrap();
    // Nothing is closed, and nothing is let through.
    let (builder, _begun, open) = gated();
    let deliveries = builder
        .deadline(Duration::from_millis(50))
        .deliveries(&queue);
    assert_eq!(deliveries.unwrap().count(), 0);
    drop(open);
    eventually("all are given back", || {
        queue.stats().unwrap().waiting() == 3
    });
    let idle = Pool::builder().deadline(Duration::from_millis(50));
    let empty = TestStore::new();
    let empty_queue = empty.open();
    assert_eq!(idle.deliveries(&empty_queue).unwrap().count(), 0);
}
