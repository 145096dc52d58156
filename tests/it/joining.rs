//! Promise 3: `join_all` returns when every job has its outcome, and waits for nothing else.

use threaded::crossbeam_channel::{Receiver, bounded, unbounded};
use threaded::{Error, Exchange, Pool, RequestSpec, ResponseBody, Session, Transport};

use crate::support::pools::respond_ok;
use crate::support::process::eventually;

#[test]
fn joining_twice_is_joining_once() {
    let pool = Pool::builder()
        .session(|| Session::new(respond_ok))
        .build_from_urls(["http://stub.test/"])
        .unwrap();
    pool.join_all();
    pool.join_all();
    assert_eq!(pool.responses().count(), 1);
}

#[test]
fn joining_a_pool_without_jobs_returns() {
    let idle = Pool::builder()
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    idle.join_all();
    let never_started = Pool::from_urls([""; 0]).unwrap();
    never_started.join_all();
    assert_eq!(
        idle.responses().count() + never_started.responses().count(),
        0
    );
}

/// Blocks in `drop` until its gate is opened, as a client does that waits for an unresponsive name server.
struct HangsAtEnd(Receiver<()>);

impl Transport for HangsAtEnd {
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
        respond_ok(exchange)
    }
}

impl Drop for HangsAtEnd {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

#[test]
fn join_all_does_not_wait_for_transports_to_be_torn_down() {
    let (gate, closed) = unbounded();
    let pool = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(HangsAtEnd(closed.clone())))
        .build_from_urls(["http://stub.test/"; 4])
        .unwrap();
    pool.join_all();
    assert_eq!(pool.responses().count(), 4);
    drop(pool);
    drop(gate);
}

#[test]
fn iterating_does_not_wait_for_transports_to_be_torn_down() {
    let (gate, closed) = unbounded();
    let pool = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(HangsAtEnd(closed.clone())))
        .build_from_urls(["http://stub.test/"; 4])
        .unwrap();
    assert_eq!(pool.into_iter().count(), 4);
    drop(gate);
}

#[test]
fn a_sender_that_is_still_alive_does_not_keep_join_all_waiting() {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = Pool::builder()
        .num_threads(3)
        .session(|| Session::new(respond_ok))
        .job_queue(receiver)
        .build()
        .unwrap();
    for page in 0..200 {
        jobs.send(format!("http://stub.test/{page}").into())
            .unwrap();
    }
    pool.join_all();
    assert_eq!(pool.responses().count(), 200, "all that was queued is done");

    // No worker takes a later job, and the sender gets an error.
    eventually("sending fails", || {
        jobs.send("http://stub.test/late".into()).is_err()
    });
    pool.join_all();
    assert_eq!(pool.responses().count(), 0);
}

#[test]
fn join_all_waits_for_the_job_in_flight_that_came_from_the_channel() {
    let (jobs, receiver) = bounded::<RequestSpec>(1);
    let (arrived_tx, arrived) = unbounded();
    let (gate, closed) = unbounded::<()>();
    let transport = move |exchange: Exchange<'_>| {
        arrived_tx.send(()).unwrap();
        let _ = closed.recv();
        respond_ok(exchange)
    };
    let pool = Pool::builder()
        .num_threads(1)
        .session(move || Session::new(transport.clone()))
        .job_queue(receiver)
        .build()
        .unwrap();
    jobs.send("http://stub.test/".into()).unwrap();
    arrived.recv().unwrap();
    let joined = std::thread::scope(|scope| {
        let joining = scope.spawn(|| {
            pool.join_all();
            pool.responses().count()
        });
        assert!(!joining.is_finished());
        drop(gate);
        joining.join().unwrap()
    });
    assert_eq!(joined, 1);
    drop(jobs);
}
