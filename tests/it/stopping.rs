//! Shutdown returns pending jobs, cancellation and the deadline end them, and no thread is left waiting.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::{ErrorKind, Event, Exchange, Outcome, OutcomeExt, Pool, RequestSpec, Session};

use crate::support::pools::{gated, in_order, respond_ok};
use crate::support::process::eventually;

fn urls(jobs: usize) -> impl Iterator<Item = String> {
    (0..jobs).map(|page| format!("http://stub.test/{page}"))
}

fn is_cancelled(outcome: &Outcome, was_sent: bool) -> bool {
    outcome.as_ref().is_err_and(|exception| {
        exception.kind() == ErrorKind::Cancelled
            && exception.was_sent() == was_sent
            && exception.attempts() == u32::from(was_sent)
            && !exception.is_retryable()
    })
}

#[test]
fn shutdown_gives_back_what_was_not_sent_and_waits_for_what_was() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(2).build_from_urls(urls(100)).unwrap();
    begun.recv().unwrap();
    begun.recv().unwrap();
    let unsent = thread::scope(|scope| {
        let handle = pool.handle();
        let stopping = scope.spawn(|| pool.shutdown());
        eventually("the others are given back", || {
            handle.stats().given_back() == 98
        });
        assert!(!stopping.is_finished(), "two are in flight");
        assert!(handle.submit("http://stub.test/late").is_err());
        drop(open);
        stopping.join().unwrap()
    });
    let given_back: Vec<&str> = unsent.iter().map(RequestSpec::url).collect();
    assert_eq!(given_back, urls(100).skip(2).collect::<Vec<_>>());
    assert_eq!(pool.responses().count(), 2);
    assert_eq!(pool.exceptions().count(), 0);
    assert_eq!(begun.try_iter().count(), 0, "nothing new was sent");
    let stats = pool.stats();
    assert_eq!(
        (stats.submitted(), stats.queued(), stats.in_flight()),
        (100, 0, 0)
    );
    assert!(pool.shutdown().is_empty(), "once is enough");
}

#[test]
fn shutdown_gives_back_what_is_in_the_job_channel_too() {
    let (builder, begun, open) = gated();
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = builder.num_threads(1).job_queue(receiver).build().unwrap();
    for url in urls(10) {
        jobs.send(url.into()).unwrap();
    }
    begun.recv().unwrap();
    drop(open);
    let unsent = pool.shutdown();
    assert_eq!(unsent.len() + pool.responses().count(), 10);
}

#[test]
fn cancel_ends_every_job_at_once_and_join_all_returns() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(3).build_from_urls(urls(1_000)).unwrap();
    for _ in 0..3 {
        begun.recv().unwrap();
    }
    pool.handle().cancel();
    // All three workers are still in their exchanges.
    pool.join_all();
    let outcomes = in_order(pool.exceptions().map(Err));
    assert_eq!(outcomes.len(), 1_000);
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.index(), number);
        assert!(is_cancelled(outcome, number < 3), "{outcome:?}");
    }
    assert!(pool.submit("http://stub.test/").is_err());
    let stats = pool.stats();
    assert_eq!(
        (stats.queued(), stats.in_flight(), stats.exceptions()),
        (0, 0, 1_000)
    );
    drop(open);
    assert!(
        pool.get_response().is_none(),
        "what was called off is not heard of again"
    );
}

#[test]
fn cancel_ends_the_iteration_over_a_pool() {
    let (builder, begun, open) = gated();
    let pool = builder.num_threads(2).build_from_urls(urls(50)).unwrap();
    let handle = pool.handle();
    let cancelling = thread::spawn(move || {
        begun.recv().unwrap();
        begun.recv().unwrap();
        open.send(()).unwrap();
        begun.recv().unwrap();
        handle.cancel();
        open
    });
    let outcomes = in_order(pool);
    assert_eq!(outcomes.len(), 50);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| is_cancelled(outcome, true))
            .count(),
        2
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| is_cancelled(outcome, false))
            .count(),
        47
    );
    cancelling.join().unwrap();
}

#[test]
fn cancel_leaves_what_is_in_the_job_channel_where_it_is() {
    let (builder, begun, _open) = gated();
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let pool = builder
        .num_threads(1)
        .job_queue(receiver.clone())
        .build()
        .unwrap();
    for url in urls(10) {
        jobs.send(url.into()).unwrap();
    }
    begun.recv().unwrap();
    pool.handle().cancel();
    pool.join_all();
    assert_eq!(pool.exceptions().count(), 1);
    assert_eq!(receiver.len(), 9);
}

#[test]
fn cancelling_what_is_over_changes_nothing() {
    let pool = Pool::builder()
        .num_threads(2)
        .session(|| Session::new(respond_ok))
        .build_from_urls(urls(5))
        .unwrap();
    pool.join_all();
    pool.handle().cancel();
    assert!(pool.shutdown().is_empty());
    assert_eq!(
        (pool.responses().count(), pool.exceptions().count()),
        (5, 0)
    );
}

#[test]
fn a_deadline_ends_a_lazy_run() {
    let drawn = AtomicUsize::new(0);
    let (builder, _begun, _open) = gated();
    let outcomes = builder
        .num_threads(2)
        .window(8)
        .deadline(Duration::from_millis(100))
        .imap(std::iter::repeat_with(|| {
            drawn.fetch_add(1, Ordering::SeqCst);
            "http://stub.test/"
        }))
        .unwrap();
    let outcomes: Vec<Outcome> = outcomes.collect();
    assert_eq!(
        outcomes.len(),
        drawn.load(Ordering::SeqCst),
        "an outcome for each that was drawn"
    );
    assert_eq!(outcomes.len(), 8);
}

#[test]
fn a_deadline_that_is_over_at_once_still_gives_each_request_its_outcome() {
    for _ in 0..20 {
        let (responses, exceptions) = Pool::builder()
            .num_threads(2)
            .session(|| Session::new(respond_ok))
            .deadline(Duration::ZERO)
            .map(urls(5_000))
            .unwrap();
        assert_eq!(responses.count() + exceptions.count(), 5_000);
    }
}

#[test]
fn a_deadline_that_is_not_reached_is_not_noticed() {
    let builder = || {
        Pool::builder()
            .num_threads(2)
            .session(|| Session::new(respond_ok))
    };
    for limit in [Some(Duration::from_secs(3600)), Some(Duration::MAX), None] {
        let (responses, exceptions) = builder().deadline(limit).map(urls(10)).unwrap();
        assert_eq!((responses.count(), exceptions.count()), (10, 0));
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Submit(usize),
    Cancel,
    Shutdown,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever is done to a pool, each request has one outcome, or comes back.
    #[test]
    fn every_request_has_one_outcome_or_comes_back(
        num_threads in 1..5usize,
        acts in prop::collection::vec(
            prop_oneof![8 => (0..20usize).prop_map(Act::Submit), 1 => Just(Act::Cancel), 1 => Just(Act::Shutdown)],
            0..12,
        ),
    ) {
        let pool = Pool::builder()
            .num_threads(num_threads)
            .session(|| Session::new(respond_ok))
            .build()
            .unwrap();
        let handle = pool.handle();
        let produced = Arc::new(AtomicUsize::new(0));
        let next_url = {
            let produced = Arc::clone(&produced);
            move || format!("http://stub.test/{}", produced.fetch_add(1, Ordering::SeqCst))
        };
        // Another thread submits and cancels meanwhile.
        let other = thread::spawn({
            let (handle, acts, next_url) = (handle.clone(), acts.clone(), next_url.clone());
            move || {
                let mut refused = Vec::new();
                for act in acts.into_iter().rev() {
                    match act {
                        Act::Submit(jobs) => refused.extend((0..jobs).filter_map(|_| handle.submit(next_url()).err())),
                        Act::Cancel => handle.cancel(),
                        Act::Shutdown => thread::yield_now(),
                    }
                }
                refused
            }
        });
        let mut back: Vec<RequestSpec> = Vec::new();
        for act in acts {
            match act {
                Act::Submit(jobs) => {
                    let refused = (0..jobs).filter_map(|_| pool.submit(next_url()).err());
                    back.extend(refused.map(|error| error.into_request()));
                }
                Act::Cancel => handle.cancel(),
                Act::Shutdown => back.extend(pool.shutdown()),
            }
        }
        pool.join_all();
        back.extend(other.join().unwrap().into_iter().map(|error| error.into_request()));
        pool.join_all();
        let mut seen: Vec<String> = back.into_iter().map(|spec| spec.url().to_owned()).collect();
        let stats = pool.stats();
        let outcomes = in_order(pool.responses().map(Ok).chain(pool.exceptions().map(Err)));
        prop_assert_eq!(stats.submitted(), outcomes.len() + stats.given_back());
        let indices: HashSet<usize> = outcomes.iter().map(OutcomeExt::index).collect();
        prop_assert_eq!(indices.len(), outcomes.len());
        seen.extend(outcomes.iter().map(|outcome| match outcome {
            Ok(response) => response.request().url().to_owned(),
            Err(exception) => exception.request().url().to_owned(),
        }));
        let once: HashSet<&String> = seen.iter().collect();
        prop_assert_eq!((once.len(), seen.len()), (seen.len(), produced.load(Ordering::SeqCst)));
    }

    /// Whatever is done to a pool before it is dropped, no request is sent twice or has two outcomes, what is not over by
    /// then is never begun, and no worker stays.
    #[test]
    fn a_dropped_pool_has_at_most_one_outcome_for_each_request(
        num_threads in 1..5usize,
        acts in prop::collection::vec(
            prop_oneof![8 => (0..20usize).prop_map(Act::Submit), 1 => Just(Act::Cancel), 1 => Just(Act::Shutdown)],
            0..8,
        ),
        // After how many outcomes the iterator over it is dropped, if there is one.
        read in prop::option::of(0..30usize),
    ) {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::new(Mutex::new(Vec::new()));
        let transport = {
            let sent = Arc::clone(&sent);
            move |exchange: Exchange<'_>| {
                sent.lock().unwrap().push(exchange.url().path().to_owned());
                respond_ok(exchange)
            }
        };
        let note = Arc::clone(&told);
        let pool = Pool::builder()
            .num_threads(num_threads)
            .session(move || Session::new(transport.clone()))
            .observer(move |event: &Event<'_>| match event {
                Event::Response(response) => note.lock().unwrap().push(response.index()),
                Event::Exception(exception) => note.lock().unwrap().push(exception.index()),
                _ => {}
            })
            .build()
            .unwrap();
        let handle = pool.handle();
        let mut produced = 0;
        for act in acts {
            match act {
                Act::Submit(jobs) => for _ in 0..jobs {
                    produced += usize::from(pool.submit(format!("http://stub.test/{produced}")).is_ok());
                },
                Act::Cancel => handle.cancel(),
                Act::Shutdown => drop(pool.shutdown()),
            }
        }
        match read {
            None => drop(pool),
            Some(read) => drop(pool.into_iter().take(read).count()),
        }
        prop_assert!(handle.submit("http://stub.test/").is_err());
        eventually("the workers end", || {
            let stats = handle.stats();
            stats.in_flight() == 0 && stats.live_workers() == 0
        });
        let stats = handle.stats();
        prop_assert_eq!(stats.submitted(), produced);
        let (sent, told) = (sent.lock().unwrap(), told.lock().unwrap());
        prop_assert_eq!(sent.iter().collect::<HashSet<_>>().len(), sent.len());
        prop_assert_eq!(told.iter().collect::<HashSet<_>>().len(), told.len());
        prop_assert_eq!(stats.responses() + stats.exceptions(), told.len());
        prop_assert!(sent.len() <= told.len());
    }
}
