//! Deliveries: acknowledged, dropped, delivered too often.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use threaded::queue::{Acked, Job};
use threaded::{Auth, ErrorKind, Event, Exchange, Pool, RequestSpec, Session};

use super::{TestStore, job, jobs, recorded, run, stub};
use crate::support::pools::respond_ok;
use crate::support::process::eventually;
use crate::support::recording_server::{RecordingServer, values};

#[test]
fn a_delivery_that_is_dropped_is_sent_again_at_once() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(10)).unwrap();
    queue.close().unwrap();
    let mut dropped = false;
    let mut delivered = Vec::new();
    for delivery in stub().deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        if delivery.job_id() == "job-3" && !dropped {
            assert_eq!(delivery.interruptions(), 0);
            dropped = true;
            continue;
        }
        let times = u32::from(delivery.job_id() == "job-3");
        assert_eq!(delivery.interruptions(), times);
        assert_eq!(delivery.ack().unwrap(), Acked::Recorded);
        delivered.push(delivery.job_id().to_owned());
    }
    assert_eq!(delivered.len(), 10);
    assert_eq!(recorded(&queue).len(), 10);
}

#[test]
fn the_first_record_of_a_job_wins() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(1)).unwrap();
    queue.close().unwrap();
    for delivery in stub().deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        assert_eq!(delivery.ack().unwrap(), Acked::Recorded);
        assert_eq!(delivery.ack().unwrap(), Acked::Superseded);
        assert_eq!(delivery.ack_with_body().unwrap(), Acked::Superseded);
    }
    assert_eq!(recorded(&queue)["job-0"]["response"].get("body"), None);
}

#[test]
fn an_observer_is_told_of_each_outcome_that_is_superseded() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(2)).unwrap();
    queue.close().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let builder = stub().on_event(move |event| {
        if let Event::Superseded(superseded) = event {
            noted.lock().unwrap().push(superseded.job_id().to_owned());
            panic!("is logged");
        }
    });
    for delivery in builder.deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        assert_eq!(delivery.ack().unwrap(), Acked::Recorded);
        if delivery.job_id() == "job-1" {
            assert_eq!(delivery.ack().unwrap(), Acked::Superseded);
            assert_eq!(*told.lock().unwrap(), ["job-1"]);
            delivery.ack_soon();
        }
    }
    assert_eq!(*told.lock().unwrap(), ["job-1", "job-1"]);
}

#[test]
fn the_body_is_recorded_if_that_is_asked_for() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(1)).unwrap();
    queue.close().unwrap();
    for delivery in stub().deliveries(&queue).unwrap() {
        delivery.unwrap().ack_with_body().unwrap();
    }
    let body = &recorded(&queue)["job-0"]["response"]["body"];
    assert_eq!(*body, serde_json::json!({"utf8": "ok"}));
}

#[test]
fn what_is_acknowledged_soon_is_recorded_before_the_iteration_ends() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(500)).unwrap();
    queue.close().unwrap();
    let mut delivered = 0;
    for delivery in stub().deliveries(&queue).unwrap() {
        delivered += 1;
        match delivery.unwrap() {
            delivery if delivery.job_id() == "job-7" => delivery.ack_soon_with_body(),
            delivery => delivery.ack_soon(),
        }
    }
    assert_eq!(delivered, 500);
    let recorded = recorded(&queue);
    assert_eq!(recorded.len(), 500);
    let body = &recorded["job-7"]["response"]["body"];
    assert_eq!(*body, serde_json::json!({"utf8": "ok"}));
    assert_eq!(recorded["job-8"]["response"].get("body"), None);
    assert_eq!(queue.stats().unwrap().leased(), 0);
}

#[test]
fn what_is_acknowledged_soon_is_recorded_when_the_iteration_is_stopped_or_dropped() {
    for is_stopped in [true, false] {
        let store = TestStore::new();
        let queue = store.open();
        queue.submit_all(jobs(100)).unwrap();
        let mut deliveries = stub().deliveries(&queue).unwrap();
        for delivery in deliveries.by_ref().take(20) {
            delivery.unwrap().ack_soon();
        }
        let mut acknowledged = 20;
        if is_stopped {
            deliveries.handle().shutdown();
            for delivery in deliveries {
                delivery.unwrap().ack_soon();
                acknowledged += 1;
            }
            assert_eq!(queue.stats().unwrap().recorded(), acknowledged);
        } else {
            drop(deliveries);
        }
        eventually("all of them are recorded", || {
            queue.stats().unwrap().recorded() == acknowledged
        });
        // The others are sent the next time.
        assert_eq!(run(stub(), &queue).len(), 100 - acknowledged);
    }
}

#[test]
fn a_job_that_is_delivered_too_often_is_dead_and_the_others_go_on() {
    let store = TestStore::new();
    let queue = store.open_with_max_deliveries(3);
    queue.submit_all(jobs(5)).unwrap();
    queue.close().unwrap();
    let mut times = 0;
    for delivery in stub().deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        if delivery.job_id() == "job-2" {
            times += 1;
        } else {
            delivery.ack().unwrap();
        }
    }
    assert_eq!(times, 3);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.recorded(), stats.dead(), stats.leased()), (4, 1, 0));
    let check = |queue: &threaded::queue::Queue| {
        let dead = queue.dead().unwrap();
        assert_eq!(dead.len(), 1);
        assert_eq!(dead[0].job_id(), Some("job-2"));
        assert!(dead[0].reason().contains("started 3 times"), "{dead:?}");
        let outcomes = recorded(queue);
        assert_eq!(outcomes.len(), 5);
        assert_eq!(outcomes["job-2"]["error"]["kind"], "Interrupted");
    };
    check(&queue);
    drop(queue);

    let queue = store.open_with_max_deliveries(3);
    check(&queue);
    assert!(!queue.requeue("job-1").unwrap());
    assert!(queue.requeue("job-2").unwrap());
    assert!(!queue.requeue("job-2").unwrap());
    assert_eq!(recorded(&queue).len(), 4);
    drop(queue);

    let queue = store.open_with_max_deliveries(3);
    assert_eq!(run(stub(), &queue), ["job-2"]);
    assert_eq!(queue.dead().unwrap().len(), 0);
    assert_eq!(recorded(&queue)["job-2"]["response"]["status"], 200);
}

#[test]
fn a_dead_job_that_is_discarded_keeps_its_outcome() {
    let store = TestStore::new();
    let queue = store.open_with_max_deliveries(1);
    queue.submit_all(jobs(1)).unwrap();
    queue.close().unwrap();
    assert_eq!(stub().deliveries(&queue).unwrap().count(), 1);
    assert_eq!(queue.dead().unwrap().len(), 1);
    assert!(queue.discard("job-0").unwrap());
    assert!(!queue.discard("job-0").unwrap());
    drop(queue);

    let queue = store.open();
    let stats = queue.stats().unwrap();
    assert_eq!((stats.dead(), stats.recorded(), stats.waiting()), (0, 1, 0));
    assert_eq!(recorded(&queue)["job-0"]["error"]["kind"], "Interrupted");
    assert_eq!(queue.submit_all(jobs(1)).unwrap(), 0);
}

#[test]
fn a_request_that_is_not_idempotent_is_sent_once_at_most() {
    let server = RecordingServer::responding_ok();
    let store = TestStore::new();
    let queue = store.open();
    let request = |path| RequestSpec::post(server.url(path)).body("content");
    queue.submit(job(0, request("/plain"))).unwrap();
    queue
        .submit(job(1, request("/declared").idempotent(true)))
        .unwrap();
    queue.close().unwrap();
    let mut kinds = Vec::new();
    for delivery in crate::pool().deliveries(&queue).unwrap() {
        let delivery = delivery.unwrap();
        if delivery.interruptions() > 0 {
            let kind = delivery
                .outcome()
                .as_ref()
                .err()
                .map(|exception| exception.kind());
            kinds.push((delivery.job_id().to_owned(), kind));
            delivery.ack().unwrap();
        }
    }
    kinds.sort_by(|one, other| one.0.cmp(&other.0));
    let interrupted = ("job-0".to_owned(), Some(ErrorKind::Interrupted));
    assert_eq!(kinds, [interrupted, ("job-1".to_owned(), None)]);
    let paths: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.uri().path().to_owned())
        .collect();
    assert_eq!(paths.iter().filter(|path| *path == "/plain").count(), 1);
    assert_eq!(paths.iter().filter(|path| *path == "/declared").count(), 2);
    let outcome = &recorded(&queue)["job-0"];
    assert_eq!(outcome["error"]["was_sent"], true);
}

#[test]
fn an_interrupted_job_that_is_never_acknowledged_is_dead_in_the_end() {
    let store = TestStore::new();
    let queue = store.open_with_max_deliveries(3);
    queue
        .submit(job(0, RequestSpec::post("http://test/")))
        .unwrap();
    queue.close().unwrap();
    assert_eq!(stub().deliveries(&queue).unwrap().count(), 3);
    assert_eq!(queue.stats().unwrap().dead(), 1);
}

#[test]
fn what_is_submitted_after_the_last_record_is_delivered_too() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(1)).unwrap();
    queue.close().unwrap();
    let mut delivered = 0;
    for delivery in stub().deliveries(&queue).unwrap() {
        delivery.unwrap().ack().unwrap();
        delivered += 1;
        if delivered < 5 {
            // The queue is open again, and closed.
            queue.submit(job(delivered, "http://test/".into())).unwrap();
            queue.close().unwrap();
        }
    }
    assert_eq!(delivered, 5);
}

#[test]
fn deliveries_of_an_idle_queue_end_when_their_handle_closes_them() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(1)).unwrap();
    let mut deliveries = stub().deliveries(&queue).unwrap();
    deliveries.next().unwrap().unwrap().ack().unwrap();
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || deliveries.next().is_none());
    handle.close();
    assert!(thread.join().unwrap());
}

#[test]
fn a_panic_is_an_outcome_and_no_interruption() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(3)).unwrap();
    let panics = Pool::builder().concurrency(2).session(|| {
        Session::new(|exchange: Exchange<'_>| {
            assert!(!exchange.url().path().ends_with('1'), "on purpose");
            respond_ok(exchange)
        })
    });
    assert_eq!(run(panics, &queue).len(), 3);
    let outcomes = recorded(&queue);
    assert_eq!(outcomes["job-1"]["error"]["kind"], "Panicked");
    assert_eq!(outcomes["job-2"]["response"]["status"], 200);
    assert_eq!(queue.stats().unwrap().dead(), 0);
}

#[test]
fn handlers_and_credentials_are_those_of_the_consumer() {
    let server = RecordingServer::responding_ok();
    let store = TestStore::new();
    let queue = store.open();
    let request = RequestSpec::get(server.url("/"))
        .handler("count")
        .auth_named("billing");
    queue.submit(job(0, request)).unwrap();
    let lengths = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lengths);
    let builder = crate::pool()
        .initializer(|session| session.auth_named("billing", Auth::bearer("of-the-consumer")))
        .handler("count", move |_, body| {
            let length = std::io::copy(body, &mut std::io::sink())?;
            counted.fetch_add(usize::try_from(length)?, Ordering::SeqCst);
            Ok(())
        });
    assert_eq!(run(builder, &queue).len(), 1);
    assert_eq!(
        values(&server.only(), "authorization"),
        ["Bearer of-the-consumer"]
    );
    assert_eq!(lengths.load(Ordering::SeqCst), 2);
}

#[test]
fn a_slow_consumer_takes_only_what_there_is_room_for() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(50)).unwrap();
    queue.close().unwrap();
    let mut delivered = 0;
    for delivery in stub().window(4).deliveries(&queue).unwrap() {
        // Four in the window, and this one.
        assert!(queue.stats().unwrap().leased() <= 5, "{:?}", queue.stats());
        delivery.unwrap().ack().unwrap();
        delivered += 1;
    }
    assert_eq!(delivered, 50);
}

#[test]
fn deliveries_wait_for_more_until_the_queue_is_closed() {
    let store = TestStore::new();
    let queue = store.open();
    let producer = queue.clone();
    let (next_tx, next) = threaded::crossbeam_channel::unbounded::<()>();
    let thread = std::thread::spawn(move || {
        for number in 0..3 {
            producer.submit(job(number, "http://test/".into())).unwrap();
            // The one before was delivered, so that there is nothing to do now.
            next.recv().unwrap();
        }
        producer.close().unwrap();
    });
    let mut delivered = 0;
    for delivery in stub().deliveries(&queue).unwrap() {
        delivery.unwrap().ack().unwrap();
        delivered += 1;
        next_tx.send(()).unwrap();
    }
    thread.join().unwrap();
    assert_eq!(delivered, 3);
}

#[test]
fn a_delivery_may_be_acknowledged_on_another_thread() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(40)).unwrap();
    queue.close().unwrap();
    let (deliveries_tx, deliveries) = threaded::crossbeam_channel::unbounded();
    let thread = std::thread::spawn(move || {
        let mut dropped = false;
        for delivery in deliveries {
            let delivery: threaded::Delivery = delivery;
            // The last ones are dropped while the iterator waits.
            if delivery.job_id() == "job-39" && !std::mem::replace(&mut dropped, true) {
                continue;
            }
            delivery.ack().unwrap();
        }
    });
    for delivery in stub().deliveries(&queue).unwrap() {
        deliveries_tx.send(delivery.unwrap()).unwrap();
    }
    drop(deliveries_tx);
    thread.join().unwrap();
    assert_eq!(recorded(&queue).len(), 40);
}

#[test]
fn several_consumers_share_a_queue() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(200)).unwrap();
    let counts = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| scope.spawn(|| run(stub(), &queue)));
        threads.map(|thread| thread.join().unwrap())
    });
    let mut ids = counts.concat();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    assert_eq!(counts.iter().map(Vec::len).sum::<usize>(), 200);
}

#[test]
fn an_invalid_request_is_an_outcome() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit(Job::new("bad", "no URL")).unwrap();
    assert_eq!(run(stub(), &queue), ["bad"]);
    assert_eq!(recorded(&queue)["bad"]["error"]["kind"], "InvalidRequest");
}
