//! Reading from a pool that stays: either kind in completion order, from several threads, with backpressure.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use threaded::crossbeam_channel::{RecvTimeoutError, unbounded};
use threaded::{Event, Exchange, OutcomeExt, Pool, PoolError, RequestSpec, ResponseBody, Session};

use crate::support::pools::{gated, respond_ok};
use crate::support::process::{eventually, resident_kib};
use crate::support::subprocess::in_subprocess;

#[test]
fn outcomes_of_both_kinds_come_in_completion_order() {
    let pool = Pool::builder()
        .num_threads(1)
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    for page in 0..20 {
        let url = ["http://stub.test/", "not a URL"][page % 2];
        pool.submit(url).unwrap();
    }
    pool.wait_idle();
    // One of the other kind was taken out first, and is not lost.
    assert_eq!(pool.recv().unwrap().index(), 0);
    assert_eq!(pool.get_exception().unwrap().index(), 1);
    assert_eq!(pool.recv().unwrap().index(), 2);
    assert_eq!(pool.exceptions().len(), 9);
    assert!(!pool.exceptions().is_empty() && !pool.responses().is_empty());
    assert_eq!(pool.responses().next().unwrap().index(), 4);
    pool.close();
    let rest: Vec<usize> = (&pool).into_iter().map(|outcome| outcome.index()).collect();
    assert_eq!(rest, [&[3], &(5..20).collect::<Vec<_>>()[..]].concat());
}

#[test]
fn a_loop_over_a_pool_does_not_end_because_the_pool_is_idle() {
    let (builder, begun, open) = gated();
    let pool = Arc::new(builder.num_threads(2).build().unwrap());
    let reading = {
        let pool = Arc::clone(&pool);
        thread::spawn(move || (&*pool).into_iter().count())
    };
    for _ in 0..5 {
        pool.submit("http://stub.test/").unwrap();
        begun.recv().unwrap();
        open.send(()).unwrap();
        pool.wait_idle();
        assert!(!reading.is_finished());
    }
    pool.close();
    assert_eq!(reading.join().unwrap(), 5);
    assert!(pool.recv().is_none());
    assert_eq!(
        pool.recv_timeout(Duration::ZERO).unwrap_err(),
        RecvTimeoutError::Disconnected
    );
}

#[test]
fn receiving_can_be_limited_in_time() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    pool.submit("http://stub.test/").unwrap();
    begun.recv().unwrap();
    assert_eq!(
        pool.recv_timeout(Duration::from_millis(5)).unwrap_err(),
        RecvTimeoutError::Timeout
    );
    drop(open);
    assert!(pool.recv_timeout(Duration::MAX).unwrap().is_ok());
}

#[test]
fn each_outcome_goes_to_one_of_several_readers() {
    let pool = Arc::new(
        Pool::builder()
            .num_threads(4)
            .session(|| Session::new(respond_ok))
            .build()
            .unwrap(),
    );
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let pool = Arc::clone(&pool);
            thread::spawn(move || {
                let outcomes = std::iter::from_fn(|| pool.recv());
                outcomes.map(|outcome| outcome.index()).collect::<Vec<_>>()
            })
        })
        .collect();
    for page in 0..10_000 {
        pool.submit(format!("http://stub.test/{page}")).unwrap();
    }
    pool.close();
    let read: Vec<usize> = readers
        .into_iter()
        .flat_map(|reader| reader.join().unwrap())
        .collect();
    assert_eq!(read.len(), 10_000);
    assert_eq!(read.into_iter().collect::<BTreeSet<_>>().len(), 10_000);
}

#[test]
fn waiting_until_idle_waits_for_queued_jobs_and_retries_too() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    pool.wait_idle();
    for _ in 0..3 {
        pool.submit("http://stub.test/").unwrap();
    }
    thread::scope(|scope| {
        let idle = scope.spawn(|| pool.handle().wait_idle());
        for _ in 0..3 {
            begun.recv().unwrap();
            assert!(!idle.is_finished());
            open.send(()).unwrap();
        }
        idle.join().unwrap();
    });
    assert_eq!(pool.stats().responses(), 3);
    // Outcomes in the hands of a loop do not count as work.
    let handle = pool.handle();
    drop(open);
    for outcome in pool {
        assert!(outcome.is_ok());
        handle.wait_idle();
    }
}

#[test]
fn workers_wait_while_too_many_outcomes_are_unread() {
    let pool = Pool::builder()
        .num_threads(4)
        .max_unread(10)
        .session(|| Session::new(respond_ok))
        .build_from_urls((0..1_000).map(|page| format!("http://stub.test/{page}")))
        .unwrap();
    let unread = |pool: &Pool| pool.stats().responses();
    eventually("the limit is reached", || unread(&pool) >= 10);
    for read in 1..500 {
        assert!(pool.recv().unwrap().is_ok());
        let done = unread(&pool);
        assert!(done - read < 10 + 4, "{done} done, {read} read");
    }
    // Reading is not needed to join.
    pool.join_all();
    assert_eq!(pool.responses().count(), 501);
}

#[test]
fn an_outcome_that_was_taken_out_of_its_channel_is_ready() {
    let pool = Pool::builder()
        .num_threads(1)
        .session(|| Session::new(respond_ok))
        .build_from_urls(["http://stub.test/", "not a URL"])
        .unwrap();
    pool.wait_idle();
    let mut outcomes = pool.into_iter();
    // It has looked at both.
    assert_eq!(outcomes.next().unwrap().index(), 0);
    let ready = format!("{outcomes:?}");
    assert!(ready.contains("ready: 1,"), "{ready}");
}

#[test]
fn exceptions_are_unread_outcomes_too() {
    for urls in [
        ["http://stub.test/", "not a URL"],
        ["not a URL", "none either"],
    ] {
        let pool = Pool::builder()
            .num_threads(4)
            .max_unread(10)
            .session(|| Session::new(respond_ok))
            .build_from_urls((0..400).map(|page| urls[page % 2]))
            .unwrap();
        let done = |pool: &Pool| pool.stats().responses() + pool.stats().exceptions();
        eventually("the limit is reached", || done(&pool) >= 10);
        for read in 1..300 {
            let _ = pool.recv().unwrap();
            let done = done(&pool);
            assert!(done - read < 10 + 4, "{done} done, {read} read");
        }
    }
}

#[test]
fn the_limit_of_unread_outcomes_holds_again_after_a_wait() {
    let pool = Pool::builder()
        .num_threads(2)
        .max_unread(1)
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    let submit = || (0..100).for_each(|_| assert!(pool.submit("http://stub.test/").is_ok()));
    submit();
    pool.wait_idle();
    assert_eq!(pool.responses().count(), 100);
    submit();
    eventually("one is there", || pool.stats().responses() > 100);
    thread::sleep(Duration::from_millis(100));
    let done = pool.stats().responses();
    assert!(done <= 100 + 1 + 2, "{done}");
}

#[test]
fn a_pool_with_unread_outcomes_can_be_waited_for_and_stopped() {
    let full = || {
        let pool = Pool::builder()
            .num_threads(2)
            .max_unread(1)
            .session(|| Session::new(respond_ok))
            .build_from_urls(["http://stub.test/"; 100])
            .unwrap();
        eventually("the limit is reached", || pool.stats().responses() > 0);
        pool
    };
    full().wait_idle();
    let pool = full();
    pool.wait_idle();
    assert_eq!(pool.stats().responses(), 100);
    let pool = full();
    let unsent = pool.shutdown().len();
    assert_eq!(unsent + pool.stats().responses(), 100);
    let pool = full();
    pool.handle().cancel();
    pool.join_all();
    let pool = full();
    assert_eq!(pool.into_iter().count(), 100);
    // Read from the channels themselves.
    let pool = full();
    pool.close();
    assert_eq!(pool.response_channel().iter().count(), 100);
    let error = Pool::builder().max_unread(0).build().unwrap_err();
    assert!(matches!(error, PoolError::NoUnread), "{error}");
    assert!(error.to_string().contains("max_unread was 0"));
}

#[test]
fn the_memory_of_a_pool_that_is_read_slowly_is_flat() {
    in_subprocess(
        concat!(
            module_path!(),
            "::the_memory_of_a_pool_that_is_read_slowly_is_flat"
        ),
        &[],
        || {
            const BODY: usize = 100 << 10;

            let (jobs, receiver) = threaded::crossbeam_channel::bounded::<RequestSpec>(10);
            let pool = Pool::builder()
                .num_threads(8)
                .max_unread(16)
                .job_queue(receiver)
                .session(|| {
                    Session::new(|_: Exchange<'_>| {
                        Ok(http::Response::new(ResponseBody::from(vec![b'x'; BODY])))
                    })
                })
                .build()
                .unwrap();
            thread::spawn(
                move || {
                    while jobs.send("http://stub.test/".into()).is_ok() {}
                },
            );
            let before = resident_kib();
            for _ in 0..3_000 {
                assert_eq!(pool.recv().unwrap().unwrap().bytes().len(), BODY);
                thread::yield_now();
            }
            let grown = (resident_kib() - before.min(resident_kib())) << 10;
            // Room for 24 bodies and what the allocator keeps; unbounded, it was 481 MB.
            assert!(grown < 40 * BODY + (8 << 20), "{grown} bytes");
        },
    );
}

#[test]
fn outcomes_that_are_discarded_are_told_to_the_observer() {
    let (seen_tx, seen) = unbounded();
    let pool = Pool::builder()
        .num_threads(2)
        .discard_outcomes(true)
        .observer(move |event: &Event<'_>| {
            if let Event::Response(response) = event {
                let _ = seen_tx.send(response.index());
            }
        })
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    for _ in 0..100 {
        pool.submit("http://stub.test/").unwrap();
    }
    let job = pool.spawn("http://stub.test/").unwrap();
    assert!(job.join().is_ok(), "a handle has its own reader");
    pool.join_all();
    assert!(pool.get_response().is_none());
    assert!(pool.recv().is_none());
    assert_eq!(pool.stats().responses(), 101);
    assert_eq!(seen.try_iter().count(), 101);
}

#[test]
fn dropping_a_pool_frees_its_queued_jobs_at_once() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    pool.submit("http://stub.test/").unwrap();
    begun.recv().unwrap();
    let held = Arc::new(());
    for _ in 0..10 {
        let spec = RequestSpec::get("http://stub.test/");
        pool.submit(spec.extension(Arc::clone(&held))).unwrap();
    }
    drop(pool);
    assert_eq!(
        Arc::strong_count(&held),
        1,
        "while the worker is still at the first"
    );
    drop(open);
}

#[test]
fn waiting_through_a_handle_ends_when_the_pool_is_dropped() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(1).build().unwrap();
    pool.submit("http://stub.test/").unwrap();
    begun.recv().unwrap();
    let handle = pool.handle();
    let (idle, stopping) = (handle.clone(), handle.clone());
    let idle = thread::spawn(move || idle.wait_idle());
    let stopping = thread::spawn(move || stopping.shutdown());
    drop(pool);
    // The job is still in flight.
    idle.join().unwrap();
    stopping.join().unwrap();
    handle.wait_idle();
    assert!(handle.shutdown().is_empty());
    drop(open);
}
