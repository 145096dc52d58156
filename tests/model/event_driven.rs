//! Workers that are event loops. Their exchanges are modelled, too: each ends in an error when another thread wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use shuttle::scheduler::RandomScheduler;
use shuttle::thread;
use threaded::{ErrorKind, HyperBuilder, Outcome, Pool, PoolBuilder, Retry, Session};

use super::{
    SCHEDULES, assert_complete, assert_complete_when_joined, nothing_is_lost_in_a_race, run, urls,
};

/// On a schedule that is unfair on purpose, nothing but time might pass. There are more steps in one than on workers that block,
/// and so fewer of them.
fn on_every_fair_schedule(body: impl Fn() + Send + Sync + 'static) {
    run(RandomScheduler::new(SCHEDULES / 4), body);
}

/// Event loops that have this many requests in flight, all together.
fn pool(event_loops: usize, concurrency: usize) -> PoolBuilder<HyperBuilder> {
    Pool::builder()
        .num_threads(event_loops)
        .concurrency(concurrency)
        .session(|| Session::hyper().client(|client| client.no_proxy()))
}

#[test]
fn join_all_returns_when_each_job_has_its_outcome() {
    on_every_fair_schedule(|| assert_complete_when_joined(pool(1, 2)));
}

#[test]
fn an_iteration_ends_with_the_last_outcome() {
    on_every_fair_schedule(|| {
        let pool = pool(2, 4).build_from_urls(urls(5)).unwrap();
        assert_complete(pool, 5);
    });
}

#[test]
fn a_reader_is_told_of_each_outcome() {
    on_every_fair_schedule(|| {
        let outcomes = pool(1, 2).window(2).imap_unordered(urls(4)).unwrap();
        assert_complete(outcomes, 4);
    });
}

#[test]
fn a_reader_makes_room_for_more() {
    on_every_fair_schedule(|| {
        let builder = pool(1, 2).max_unread(1);
        assert_complete(builder.build_from_urls(urls(3)).unwrap(), 3);
    });
}

#[test]
fn jobs_that_wait_and_are_tried_again_have_their_outcomes() {
    on_every_fair_schedule(|| {
        let retry = Retry::new(1)
            .budget(None)
            .backoff(Duration::from_millis(1), Duration::from_millis(1));
        let pool = pool(1, 2).retry(retry).build_from_urls(urls(2)).unwrap();
        let outcomes: Vec<Outcome> = pool.into_iter().collect();
        for outcome in &outcomes {
            assert_eq!(outcome.as_ref().unwrap_err().attempts(), 2);
        }
        assert_complete(outcomes, 2);
    });
}

#[test]
fn a_loop_that_is_idle_takes_what_is_submitted_from_elsewhere() {
    on_every_fair_schedule(|| {
        let pool = Arc::new(pool(1, 2).build_from_urls(urls(1)).unwrap());
        let submitting = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.spawn("http://stub.test/more").unwrap().join()
        });
        assert!(pool.recv().is_some());
        let outcome = submitting.join().unwrap();
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Connect);
    });
}

#[test]
fn each_handle_has_its_outcome_when_its_job_is_cancelled_or_its_pool_dropped() {
    on_every_fair_schedule(|| {
        let pool = pool(1, 2).build().unwrap();
        let kinds = Arc::new(AtomicUsize::new(0));
        let waiting: Vec<_> = urls(3)
            .map(|url| {
                let (job, kinds) = (pool.spawn(url).unwrap(), Arc::clone(&kinds));
                thread::spawn(move || {
                    if job.index() == 1 {
                        job.cancel();
                    }
                    let exception = job.join().unwrap_err();
                    let is_known =
                        matches!(exception.kind(), ErrorKind::Connect | ErrorKind::Cancelled);
                    kinds.fetch_add(usize::from(is_known), Ordering::SeqCst);
                })
            })
            .collect();
        drop(pool);
        for thread in waiting {
            thread.join().unwrap();
        }
        assert_eq!(kinds.load(Ordering::SeqCst), 3);
    });
}

#[test]
fn nothing_is_lost_when_submit_cancel_and_shutdown_race() {
    on_every_fair_schedule(|| nothing_is_lost_in_a_race(pool(1, 2)));
}
