//! Pools that consume a durable queue: in every order of taking, recording and giving back, each accepted job has one record in
//! the end, none is leased, and nothing waits in vain. The queue is a real journal, whose calls of the file system are single
//! steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::thread::{self, JoinHandle};
use tempfile::TempDir;
use threaded::http::StatusCode;
use threaded::queue::{Acked, Fsync, Job, Journal, Queue};
use threaded::{Delivery, Exchange, Pool, PoolBuilder, Retry, Session, TransportBuilder};

use super::{SCHEDULES, pool, respond_ok, run};

/// Retries are due at a time, and the end waits for what is being recorded: on a schedule that is unfair on purpose, nothing but
/// time might pass. There are more steps in one than without a queue, and so fewer of them.
fn on_every_fair_schedule(body: impl Fn() + Send + Sync + 'static) {
    run(RandomScheduler::new(SCHEDULES / 15), body);
}

/// An empty queue, which is compacted whenever it can be on half of the schedules.
fn open() -> (TempDir, Queue) {
    let folder = tempfile::tempdir().unwrap();
    let compact_above = if thread_rng().gen_bool(0.5) {
        1
    } else {
        1 << 20
    };
    let queue = Journal::builder(folder.path().join("run.journal"))
        .fsync(Fsync::Never)
        .max_deliveries(1_000)
        .compact_above(compact_above)
        .build()
        .unwrap();
    (folder, queue)
}

fn job(number: usize) -> Job {
    Job::new(
        number.to_string(),
        format!("http://stub.test/{number}").as_str(),
    )
}

/// A queue of this many jobs, which is closed.
fn queue_of(jobs: usize) -> (TempDir, Queue) {
    let (folder, queue) = open();
    assert_eq!(queue.submit_all((0..jobs).map(job)).unwrap(), jobs);
    queue.close().unwrap();
    (folder, queue)
}

/// Each of these jobs has one record, and that is all that is left.
fn assert_recorded_once(queue: &Queue, jobs: usize) {
    let outcomes = queue.outcomes().unwrap();
    let mut ids: Vec<usize> = outcomes
        .map(|outcome| outcome.unwrap().job_id().parse().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..jobs).collect::<Vec<_>>());
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.waiting(), stats.delayed(), stats.leased()),
        (0, 0, 0)
    );
    assert_eq!(stats.recorded(), jobs);
}

/// Records an outcome now or soon. The first record of a delivery that is not shared wins.
fn acknowledge(delivery: Delivery) {
    match thread_rng().gen_range(0..3) {
        0 => assert_eq!(delivery.ack().unwrap(), Acked::Recorded),
        1 => delivery.ack_soon(),
        _ => {
            assert_eq!(delivery.ack().unwrap(), Acked::Recorded);
            assert_eq!(delivery.ack_with_body().unwrap(), Acked::Superseded);
            delivery.ack_soon();
        }
    }
}

/// Runs what is in the queue to its end.
fn finish<B: TransportBuilder + 'static>(builder: PoolBuilder<B>, queue: &Queue) {
    for delivery in builder.deliveries(queue).unwrap() {
        acknowledge(delivery.unwrap());
    }
}

/// The same, and drops a few of the deliveries, here or on other threads.
fn finish_after_drops<B: TransportBuilder + 'static>(builder: PoolBuilder<B>, queue: &Queue) {
    let mut drops = 2;
    let mut elsewhere: Vec<JoinHandle<()>> = Vec::new();
    for delivery in builder.deliveries(queue).unwrap() {
        let delivery = delivery.unwrap();
        let is_dropped = drops > 0 && thread_rng().gen_bool(0.4);
        drops -= usize::from(is_dropped);
        let end = move || {
            if is_dropped {
                drop(delivery);
            } else {
                acknowledge(delivery);
            }
        };
        if thread_rng().gen_bool(0.5) {
            elsewhere.push(thread::spawn(end));
        } else {
            end();
        }
    }
    for thread in elsewhere {
        thread.join().unwrap();
    }
}

#[test]
fn each_job_is_recorded_once_whatever_becomes_of_its_deliveries() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(3);
        finish_after_drops(pool(2).window(2), &queue);
        assert_recorded_once(&queue, 3);
    });
}

#[test]
fn two_consumers_share_a_queue() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(3);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || finish_after_drops(pool(1).window(1), &queue))
        };
        finish_after_drops(pool(1).window(2), &queue);
        other.join().unwrap();
        assert_recorded_once(&queue, 3);
    });
}

#[test]
fn a_delivery_that_two_threads_acknowledge_is_recorded_once() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(2);
        for delivery in pool(2).deliveries(&queue).unwrap() {
            let delivery = Arc::new(delivery.unwrap());
            let other = {
                let delivery = Arc::clone(&delivery);
                thread::spawn(move || delivery.ack().unwrap())
            };
            let acked = [delivery.ack().unwrap(), other.join().unwrap()];
            assert!(acked.contains(&Acked::Recorded) && acked.contains(&Acked::Superseded));
        }
        assert_recorded_once(&queue, 2);
    });
}

#[test]
fn a_run_that_is_stopped_gives_back_what_is_not_recorded() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(3);
        let deliveries = pool(2).window(2).deliveries(&queue).unwrap();
        let handle = deliveries.handle();
        let stopping = thread::spawn(move || match thread_rng().gen_range(0..3) {
            0 => drop(handle.shutdown()),
            1 => handle.cancel(),
            _ => handle.close(),
        });
        for delivery in deliveries {
            acknowledge(delivery.unwrap());
        }
        stopping.join().unwrap();
        finish(pool(1), &queue);
        assert_recorded_once(&queue, 3);
    });
}

#[test]
fn a_run_that_is_dropped_gives_back_what_is_not_recorded() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(3);
        let mut deliveries = pool(2).window(2).deliveries(&queue).unwrap();
        let yielded: Vec<Delivery> = deliveries
            .by_ref()
            .take(thread_rng().gen_range(0..3))
            .map(Result::unwrap)
            .collect();
        drop(deliveries);
        // They outlive the pool.
        let late = thread::spawn(move || yielded.into_iter().for_each(acknowledge));
        finish(pool(1), &queue);
        late.join().unwrap();
        assert_recorded_once(&queue, 3);
    });
}

#[test]
fn an_idle_consumer_takes_what_is_submitted_and_ends_when_the_queue_is_closed() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = open();
        let producer = {
            let queue = queue.clone();
            thread::spawn(move || {
                for number in 0..3 {
                    queue.submit(job(number)).unwrap();
                }
                queue.close().unwrap();
            })
        };
        finish_after_drops(pool(2).window(2), &queue);
        producer.join().unwrap();
        assert_recorded_once(&queue, 3);
    });
}

#[test]
fn retries_wait_in_the_queue_and_are_recorded_once() {
    on_every_fair_schedule(|| {
        let (_folder, queue) = queue_of(3);
        let failures = Arc::new(AtomicUsize::new(2));
        let transport = move |exchange: Exchange<'_>| {
            let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            let mut response = respond_ok(exchange)?;
            if fails.is_ok() {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok(response)
        };
        let builder = Pool::builder()
            .num_threads(2)
            .window(2)
            .session(move || Session::new(transport.clone()))
            .retry(Retry::new(2).backoff(Duration::ZERO, Duration::ZERO));
        finish_after_drops(builder, &queue);
        assert_recorded_once(&queue, 3);
    });
}
