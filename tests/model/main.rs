//! The pool under the model checker, which runs each of these bodies on six thousand schedules of its threads:
//!
//! ```sh
//! RUSTFLAGS="--cfg shuttle" cargo test --no-default-features --features hyper,journal --test model --target-dir target/model
//! ```
//!
//! A thread that waits in vain is a deadlock to the checker, so each body also shows that none does. What is checked is
//! every interleaving of steps on locks, atomics and channels, but not what weaker orderings of memory would allow.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a model fails by panicking"
)]
#![cfg(shuttle)]

#[cfg(feature = "hyper")]
mod event_driven;
#[cfg(feature = "journal")]
mod queues;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::{Config, Runner, thread};
use threaded::crossbeam_channel::unbounded;
use threaded::{
    Error, Exchange, Limits, Outcome, OutcomeExt, Pool, PoolBuilder, RequestSpec, ResponseBody,
    Retry, Session, TransportBuilder,
};

const SCHEDULES: usize = 6_000;

/// Half of the schedules are random, half change between threads at few but unlikely places.
fn on_every_schedule(body: impl Fn() + Send + Sync + 'static) {
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    run(RandomScheduler::new(SCHEDULES / 2), move || body());
    run(PctScheduler::new(3, SCHEDULES / 2), move || again());
}

fn run(scheduler: impl Scheduler + 'static, body: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    // The futures of debug builds are large.
    config.stack_size = 256 << 10;
    Runner::new(scheduler, config).run(body);
}

/// For bodies in which time passes: on a schedule that is unfair on purpose, nothing but time might.
fn on_every_fair_schedule(body: impl Fn() + Send + Sync + 'static) {
    run(RandomScheduler::new(SCHEDULES), body);
}

fn respond_ok(_: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
    thread::yield_now();
    Ok(http::Response::new(ResponseBody::from("ok")))
}

fn pool(num_threads: usize) -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder()
        .num_threads(num_threads)
        .session(|| Session::new(respond_ok))
}

fn urls(jobs: usize) -> impl Iterator<Item = String> {
    (0..jobs).map(|page| format!("http://stub.test/{page}"))
}

/// Each index once, 0 and on.
fn assert_complete(outcomes: impl IntoIterator<Item = Outcome>, jobs: usize) {
    let mut indices: Vec<usize> = outcomes
        .into_iter()
        .map(|outcome| outcome.index())
        .collect();
    indices.sort_unstable();
    assert_eq!(indices, (0..jobs).collect::<Vec<_>>());
}

/// The jobs come from another thread, which then drops its sender.
fn assert_drains_a_channel<B: TransportBuilder + 'static>(builder: PoolBuilder<B>) {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = builder.job_queue(receiver).build().unwrap();
    let producer = thread::spawn(move || {
        for url in urls(3) {
            jobs.send(url.into()).unwrap();
        }
    });
    assert_complete(pool, 3);
    producer.join().unwrap();
}

fn all_of(pool: &Pool) -> Vec<Outcome> {
    let responses = pool.responses().map(Ok);
    responses.chain(pool.exceptions().map(Err)).collect()
}

fn assert_complete_when_joined<B: TransportBuilder + 'static>(builder: PoolBuilder<B>) {
    let pool = builder.build().unwrap();
    for url in urls(3) {
        pool.submit(url).unwrap();
    }
    pool.join_all();
    assert_complete(all_of(&pool), 3);
}

#[test]
fn join_all_returns_when_each_job_has_its_outcome() {
    on_every_schedule(|| assert_complete_when_joined(pool(2)));
}

#[test]
fn an_iteration_ends_with_the_last_outcome() {
    on_every_schedule(|| {
        let pool = pool(2).build_from_urls(urls(3)).unwrap();
        assert_complete(pool, 3);
    });
}

#[test]
fn what_the_loop_over_a_pool_submits_is_part_of_it() {
    on_every_schedule(|| {
        let pool = pool(2).build_from_urls(urls(1)).unwrap();
        let handle = pool.handle();
        let mut seen = Vec::new();
        for outcome in pool {
            if seen.len() < 2 {
                handle.submit("http://stub.test/more").unwrap();
            }
            seen.push(outcome);
        }
        assert_complete(seen, 3);
    });
}

#[test]
fn what_a_worker_submits_while_it_is_at_a_job_is_part_of_the_work() {
    on_every_schedule(|| {
        let handle = Arc::new(std::sync::OnceLock::<threaded::Handle>::new());
        let submitter = Arc::clone(&handle);
        let pool = Pool::builder()
            .num_threads(2)
            .session(move || {
                let submitter = Arc::clone(&submitter);
                Session::new(move |exchange: Exchange<'_>| {
                    if exchange.url().path() == "/leads-on" {
                        let handle = submitter.get().unwrap();
                        handle.submit("http://stub.test/leaf").unwrap();
                    }
                    respond_ok(exchange)
                })
            })
            .build()
            .unwrap();
        handle.set(pool.handle()).unwrap();
        pool.submit("http://stub.test/leads-on").unwrap();
        pool.join_all();
        assert_complete(all_of(&pool), 2);
    });
}

#[test]
fn a_window_holds_and_wakes() {
    on_every_schedule(|| {
        let ordered = pool(2).window(2).imap(urls(4)).unwrap();
        let indices: Vec<usize> = ordered.map(|outcome| outcome.unwrap().index()).collect();
        assert_eq!(indices, [0, 1, 2, 3]);
    });
}

#[test]
fn a_channel_is_drained_when_its_senders_are_gone() {
    on_every_schedule(|| assert_drains_a_channel(pool(2)));
}

#[test]
fn join_all_does_not_wait_for_a_sender_that_is_still_alive() {
    on_every_schedule(|| {
        let (jobs, receiver) = unbounded::<RequestSpec>();
        let pool = pool(2).job_queue(receiver).build().unwrap();
        for url in urls(2) {
            jobs.send(url.into()).unwrap();
        }
        let late = thread::spawn({
            let jobs = jobs.clone();
            move || jobs.send("http://stub.test/late".into()).is_ok()
        });
        pool.join_all();
        let outcomes = all_of(&pool);
        assert!((2..=3).contains(&outcomes.len()));
        assert_complete(outcomes, pool.stats().submitted());
        late.join().unwrap();
        drop(jobs);
    });
}

/// Whatever runs at the same time, each request has one outcome or is returned.
fn nothing_is_lost_in_a_race<B: TransportBuilder + 'static>(builder: PoolBuilder<B>) {
    let pool = builder.build_from_urls(urls(1)).unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let submitting = {
        let (handle, refused) = (pool.handle(), Arc::clone(&refused));
        thread::spawn(move || {
            for url in urls(2) {
                if handle.submit(url).is_err() {
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            }
        })
    };
    let cancelling = thread_rng().gen_bool(0.5).then(|| {
        let handle = pool.handle();
        thread::spawn(move || handle.cancel())
    });
    let given_back = match thread_rng().gen_bool(0.5) {
        true => pool.shutdown().len(),
        false => 0,
    };
    pool.join_all();
    submitting.join().unwrap();
    pool.join_all();
    if let Some(cancelling) = cancelling {
        cancelling.join().unwrap();
    }
    let outcomes = all_of(&pool);
    let indices: HashSet<usize> = outcomes.iter().map(|outcome| outcome.index()).collect();
    assert_eq!(indices.len(), outcomes.len(), "none twice");
    assert_eq!(
        outcomes.len() + given_back + refused.load(Ordering::SeqCst),
        3
    );
    let stats = pool.stats();
    assert_eq!(
        (stats.queued(), stats.in_flight(), stats.delayed()),
        (0, 0, 0)
    );
}

#[test]
fn nothing_is_lost_when_submit_cancel_and_shutdown_race() {
    on_every_schedule(|| nothing_is_lost_in_a_race(pool(2)));
}

/// A pool whose jobs wait for one another, since only one at a time may be at their origin, and are tried twice.
fn waiting_pool(num_threads: usize) -> PoolBuilder<impl TransportBuilder + 'static> {
    let failures = Arc::new(std::sync::Mutex::new(HashSet::new()));
    let transport = move |exchange: Exchange<'_>| {
        let is_first = failures
            .lock()
            .unwrap()
            .insert(exchange.url().path().to_owned());
        let mut response = respond_ok(exchange)?;
        if is_first {
            *response.status_mut() = threaded::http::StatusCode::SERVICE_UNAVAILABLE;
        }
        Ok(response)
    };
    Pool::builder()
        .num_threads(num_threads)
        .session(move || Session::new(transport.clone()))
        .retry(Retry::new(1).backoff(Duration::ZERO, Duration::ZERO))
        .limits(Limits::new().in_flight_per_origin(1))
        .affinity(true)
}

#[test]
fn jobs_that_wait_and_are_tried_again_have_their_outcomes() {
    on_every_schedule(|| {
        let pool = waiting_pool(2).build_from_urls(urls(2)).unwrap();
        pool.submit("http://other.test/").unwrap();
        pool.join_all();
        assert_eq!(pool.stats().retries(), 3);
        let outcomes = all_of(&pool);
        for outcome in &outcomes {
            let response = outcome.as_ref().unwrap();
            assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
        }
        assert_complete(outcomes, 3);
    });
}

#[test]
fn jobs_that_are_submitted_while_retries_are_due_have_their_outcomes() {
    on_every_schedule(|| {
        let failures = Arc::new(AtomicUsize::new(2));
        let transport = move |exchange: Exchange<'_>| {
            let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            let mut response = respond_ok(exchange)?;
            if fails.is_ok() {
                *response.status_mut() = threaded::http::StatusCode::SERVICE_UNAVAILABLE;
            }
            Ok(response)
        };
        let pool = Pool::builder()
            .num_threads(3)
            .session(move || Session::new(transport.clone()))
            .retry(Retry::new(2).backoff(Duration::ZERO, Duration::ZERO))
            .build()
            .unwrap();
        for url in urls(3) {
            pool.submit(url).unwrap();
        }
        pool.join_all();
        assert_eq!(pool.stats().retries(), 2);
        assert_complete(all_of(&pool), 3);
    });
}

/// A worker that leaves with one of them wakes another worker for the other one.
#[test]
fn retries_that_are_due_at_the_same_time_are_in_flight_at_the_same_time() {
    on_every_fair_schedule(|| {
        let failures = Arc::new(AtomicUsize::new(2));
        let both = Arc::new(shuttle::sync::Barrier::new(2));
        let transport = move |exchange: Exchange<'_>| {
            let fails = failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
            let mut response = respond_ok(exchange)?;
            match fails {
                Ok(_) => *response.status_mut() = threaded::http::StatusCode::SERVICE_UNAVAILABLE,
                Err(_) => drop(both.wait()),
            }
            Ok(response)
        };
        let pool = Pool::builder()
            .num_threads(2)
            .session(move || Session::new(transport.clone()))
            .retry(Retry::new(2).backoff(Duration::from_millis(1), Duration::from_millis(1)))
            .build_from_urls(urls(2))
            .unwrap();
        pool.join_all();
        assert_complete(all_of(&pool), 2);
    });
}

#[test]
fn with_three_workers_one_of_them_always_keeps_the_time() {
    on_every_schedule(|| {
        let pool = waiting_pool(3).build_from_urls(urls(3)).unwrap();
        assert_complete(pool, 3);
    });
}

#[test]
fn jobs_of_a_channel_that_wait_have_their_outcomes() {
    on_every_schedule(|| assert_drains_a_channel(waiting_pool(2).window(1)));
}

#[test]
fn nothing_that_waits_is_lost_when_submit_cancel_and_shutdown_race() {
    on_every_schedule(|| nothing_is_lost_in_a_race(waiting_pool(2)));
}

#[test]
fn a_job_that_is_just_taken_from_a_channel_is_called_off_too() {
    on_every_fair_schedule(|| {
        let (jobs, receiver) = unbounded::<RequestSpec>();
        let pool = pool(2)
            .limits(Limits::new().rate(1e-9, 1))
            .job_queue(receiver.clone())
            .build()
            .unwrap();
        for url in urls(3) {
            jobs.send(url.into()).unwrap();
        }
        let given_back = match thread_rng().gen_bool(0.5) {
            true => {
                pool.handle().cancel();
                pool.join_all();
                receiver.len()
            }
            false => pool.shutdown().len(),
        };
        assert_eq!(all_of(&pool).len() + given_back, 3);
    });
}

#[test]
fn a_dropped_pool_lets_workers_go_that_wait() {
    on_every_schedule(|| {
        let pool = waiting_pool(3).build_from_urls(urls(2)).unwrap();
        match thread_rng().gen_bool(0.5) {
            true => drop(pool),
            false => drop(pool.into_iter().next()),
        }
    });
}

#[test]
fn a_dropped_pool_lets_its_workers_go() {
    on_every_schedule(|| {
        let pool = pool(2).build_from_urls(urls(3)).unwrap();
        let handle = pool.handle();
        match thread_rng().gen_bool(0.5) {
            true => drop(pool),
            false => drop(pool.into_iter().next()),
        }
        assert!(handle.submit("http://stub.test/").is_err());
        // The checker reports workers that are never woken as a deadlock.
    });
}

/// Its jobs end wherever they are, once, and the pool goes on with the others.
#[test]
fn a_dropped_iterator_leaves_its_pool_working() {
    on_every_schedule(|| {
        let pool = pool(2).window(2).build().unwrap();
        let own = pool.spawn("http://stub.test/own").unwrap();
        let mut outcomes = pool.imap_unordered(urls(3));
        if thread_rng().gen_bool(0.5) {
            assert!(outcomes.next().is_some());
        }
        drop(outcomes);
        assert!(own.join().is_ok());
        assert!(pool.spawn("http://stub.test/next").unwrap().join().is_ok());
        let handle = pool.handle();
        pool.join_all();
        let stats = handle.stats();
        assert_eq!((stats.queued(), stats.in_flight()), (0, 0));
    });
}

/// Whatever ends the pool at the same time, each handle gets the outcome of its own job, and nothing else does.
#[test]
fn each_handle_has_its_outcome_whatever_ends_the_pool() {
    on_every_schedule(|| {
        let pool = Arc::new(pool(2).build().unwrap());
        pool.submit("http://stub.test/own").unwrap();
        let spawning = {
            let handle = pool.handle();
            thread::spawn(move || {
                for url in urls(2) {
                    let Ok(mut job) = handle.spawn(url.as_str()) else {
                        continue;
                    };
                    let cancels = thread_rng().gen_bool(0.5);
                    if cancels {
                        job.cancel();
                    }
                    if thread_rng().gen_bool(0.2) {
                        continue; // Detached.
                    }
                    let early = job.try_join();
                    let index = job.index();
                    let outcome = job.join();
                    assert_eq!(outcome.request().url(), url);
                    assert_eq!(outcome.index(), index);
                    if let Some(early) = early {
                        assert_eq!(early.is_ok(), outcome.is_ok());
                    }
                }
            })
        };
        let mut unsent = 0;
        match thread_rng().gen_range(0..5) {
            0 => pool.close(),
            1 => unsent = pool.shutdown().len(),
            2 => pool.handle().cancel(),
            3 => pool.wait_idle(),
            _ => {}
        }
        if thread_rng().gen_bool(0.5) {
            pool.join_all();
            let own = all_of(&pool);
            assert_eq!(own.len() + unsent, 1);
        }
        drop(pool);
        spawning.join().unwrap();
    });
}

#[test]
fn a_job_that_is_cancelled_while_it_is_tried_again_has_one_outcome() {
    on_every_schedule(|| {
        let pool = waiting_pool(2).build().unwrap();
        let job = pool.spawn("http://stub.test/1").unwrap();
        let other = pool.spawn("http://stub.test/2").unwrap();
        job.cancel();
        let _ = job.join();
        assert!(other.join().is_ok(), "its origin is not held for ever");
        pool.join_all();
        let stats = pool.stats();
        assert_eq!(stats.responses() + stats.exceptions(), 2);
        assert_eq!(
            (stats.queued(), stats.in_flight(), stats.delayed()),
            (0, 0, 0)
        );
    });
}

#[test]
fn rounds_of_several_threads_have_their_own_outcomes() {
    on_every_schedule(|| {
        let pool = Arc::new(pool(2).build().unwrap());
        let rounds: Vec<_> = (0..2)
            .map(|round| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || {
                    let urls = (0..2).map(|page| format!("http://stub.test/{round}/{page}"));
                    let outcomes: Vec<_> = if round == 0 {
                        let (responses, exceptions) = pool.map(urls).unwrap();
                        responses.map(Ok).chain(exceptions.map(Err)).collect()
                    } else {
                        pool.imap_unordered(urls).collect()
                    };
                    for outcome in &outcomes {
                        let path = outcome.as_ref().unwrap().url().path().to_owned();
                        assert!(path.starts_with(&format!("/{round}/")), "{path}");
                    }
                    assert_eq!(outcomes.len(), 2);
                })
            })
            .collect();
        for round in rounds {
            round.join().unwrap();
        }
        assert_eq!(all_of(&pool).len(), 0);
    });
}

#[test]
fn a_lazy_round_that_is_shut_down_ends_and_loses_nothing() {
    on_every_schedule(|| {
        let drawn = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&drawn);
        let input = urls(4).inspect(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let outcomes = pool(2).window(2).imap(input).unwrap();
        let handle = outcomes.handle();
        let stopping = thread::spawn(move || match thread_rng().gen_range(0..3) {
            0 => handle.shutdown().len(),
            1 => {
                handle.cancel();
                0
            }
            _ => {
                handle.close();
                0
            }
        });
        let yielded = outcomes.count();
        let unsent = stopping.join().unwrap();
        assert_eq!(yielded + unsent, drawn.load(Ordering::SeqCst));
    });
}

#[test]
fn several_readers_receive_each_outcome_once() {
    on_every_schedule(|| {
        let pool = Arc::new(pool(2).build_from_urls(urls(3)).unwrap());
        let reading = {
            let pool = Arc::clone(&pool);
            thread::spawn(move || (&*pool).into_iter().collect::<Vec<_>>())
        };
        pool.close();
        let mut outcomes: Vec<_> = (&*pool).into_iter().collect();
        outcomes.extend(reading.join().unwrap());
        assert_complete(outcomes, 3);
    });
}

#[test]
fn workers_that_wait_for_the_reader_go_on_when_it_reads() {
    on_every_schedule(|| {
        let pool = pool(2).max_unread(1).build_from_urls(urls(4)).unwrap();
        match thread_rng().gen_range(0..4) {
            0 => pool.join_all(),
            1 => pool.wait_idle(),
            2 => drop(pool.response_channel().recv()),
            _ => {}
        }
        pool.close();
        let read = (&pool).into_iter().count();
        assert!((3..=4).contains(&read), "{read}");
    });
}

#[test]
fn a_job_that_was_just_taken_from_a_channel_when_the_limit_is_reached_is_not_lost() {
    on_every_schedule(|| {
        let (jobs, receiver) = unbounded::<RequestSpec>();
        let pool = pool(2).max_unread(1).job_queue(receiver).build().unwrap();
        for url in urls(3) {
            jobs.send(url.into()).unwrap();
        }
        drop(jobs);
        pool.close();
        assert_complete(&pool, 3);
    });
}

#[test]
fn retries_are_due_although_workers_wait_for_the_reader() {
    on_every_fair_schedule(|| {
        let pool = waiting_pool(2)
            .retry(Retry::new(1).backoff(Duration::from_micros(50), Duration::from_micros(50)))
            .max_unread(1)
            .build_from_urls(urls(2))
            .unwrap();
        pool.submit("http://other.test/").unwrap();
        pool.close();
        assert_complete(&pool, 3);
    });
}

/// One outcome that was read makes room for all of them.
#[test]
fn all_workers_that_wait_for_the_reader_go_on_once_there_is_room() {
    on_every_schedule(|| {
        let both = Arc::new(shuttle::sync::Barrier::new(2));
        let transport = move |exchange: Exchange<'_>| {
            if exchange.url().path() == "/with-another" {
                both.wait();
            }
            respond_ok(exchange)
        };
        let pool = Pool::builder()
            .num_threads(2)
            .max_unread(1)
            .session(move || Session::new(transport.clone()))
            .build()
            .unwrap();
        pool.submit("http://stub.test/").unwrap();
        while pool.stats().responses() == 0 {
            thread::yield_now();
        }
        for _ in 0..2 {
            pool.submit("http://stub.test/with-another").unwrap();
        }
        for _ in 0..3 {
            assert!(pool.recv().is_some());
        }
    });
}

#[test]
fn a_dropped_pool_lets_workers_go_that_wait_for_the_reader() {
    on_every_schedule(|| {
        let pool = pool(2).max_unread(1).build_from_urls(urls(4)).unwrap();
        let _ = pool.recv();
    });
}
