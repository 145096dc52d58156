//! Promise 5: lazily fed runs hold no more jobs than their window has room for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use proptest::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::{
    Exchange, Outcome, OutcomeExt, Pool, PoolBuilder, PoolError, RequestSpec, Session,
    TransportBuilder,
};

use crate::support::pools::respond_ok;
use crate::support::process::{eventually, threads};
use crate::support::subprocess::in_subprocess;

fn stub() -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder().session(|| Session::new(respond_ok))
}

/// Page numbers, counted as they are drawn.
fn counted(drawn: &Cell<usize>) -> impl Iterator<Item = String> + '_ {
    (0..).map(|page| {
        drawn.set(drawn.get() + 1);
        format!("http://stub.test/{page}")
    })
}

/// Responds after a delay that differs from request to request.
fn dawdles(
    exchange: Exchange<'_>,
) -> Result<http::Response<threaded::ResponseBody>, threaded::Error> {
    let path = exchange.url().path();
    let turns = path.bytes().fold(7_u32, |mix, byte| {
        mix.wrapping_mul(31).wrapping_add(byte.into())
    }) % 50;
    (0..turns).for_each(|_| thread::yield_now());
    respond_ok(exchange)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_window_is_never_exceeded(
        num_threads in 1..=64usize,
        window in 1..100usize,
        ordered in any::<bool>(),
        slow_consumer in any::<bool>(),
    ) {
        let drawn = Cell::new(0);
        let builder = Pool::builder()
            .num_threads(num_threads)
            .window(window)
            .session(|| Session::new(dawdles));
        let mut outcomes: Box<dyn Iterator<Item = _>> = if ordered {
            Box::new(builder.imap(counted(&drawn)).unwrap())
        } else {
            Box::new(builder.imap_unordered(counted(&drawn)).unwrap())
        };
        prop_assert_eq!(drawn.get(), 0, "nothing is drawn before it is asked for");
        for read in 0..300 {
            prop_assert!(outcomes.next().unwrap().is_ok());
            // What `next` has returned is read; all that was drawn besides is held.
            prop_assert!(drawn.get() - read <= window, "{} drawn, {} read", drawn.get(), read);
            if slow_consumer && read % 50 == 0 {
                (0..1_000).for_each(|_| thread::yield_now());
            }
        }
        prop_assert!(drawn.get() >= 300);
    }

    #[test]
    fn imap_keeps_the_order_of_the_requests(
        num_threads in 1..16usize,
        window in 1..40usize,
        jobs in 0..200usize,
    ) {
        let urls = (0..jobs).map(|page| match page % 7 {
            0 => format!("not a URL {page}"),
            _ => format!("http://stub.test/{page}"),
        });
        let outcomes = Pool::builder()
            .num_threads(num_threads)
            .window(window)
            .session(|| Session::new(dawdles))
            .imap(urls)
            .unwrap();
        let mut turn = 0;
        for outcome in outcomes {
            prop_assert_eq!(outcome.index(), turn);
            prop_assert_eq!(outcome.is_ok(), turn % 7 != 0);
            turn += 1;
        }
        prop_assert_eq!(turn, jobs);
    }
}

#[test]
fn imap_unordered_hands_out_what_is_done_first() {
    let (open, opened) = unbounded::<()>();
    let transport = move |exchange: Exchange<'_>| {
        if exchange.url().path() == "/0" {
            let _ = opened.recv();
        }
        respond_ok(exchange)
    };
    let builder = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(transport.clone()));
    let urls = (0..50).map(|page| format!("http://stub.test/{page}"));
    let mut outcomes = builder.imap_unordered(urls).unwrap();
    let early: BTreeSet<usize> = outcomes
        .by_ref()
        .take(49)
        .map(|outcome| outcome.index())
        .collect();
    assert_eq!(early, (1..50).collect());
    open.send(()).unwrap();
    assert_eq!(outcomes.next().unwrap().index(), 0);
    assert!(outcomes.next().is_none());
}

#[test]
fn the_roots_functions_are_the_builders_with_its_defaults() {
    let urls = ["", "", ""];
    assert_eq!(
        threaded::imap(urls).unwrap().filter(Result::is_err).count(),
        3
    );
    assert_eq!(
        threaded::imap_unordered(urls)
            .unwrap()
            .filter(Result::is_err)
            .count(),
        3
    );
}

#[test]
fn without_a_number_the_window_is_four_for_each_worker() {
    let drawn = Cell::new(0);
    let mut outcomes = stub()
        .num_threads(3)
        .imap_unordered(counted(&drawn))
        .unwrap();
    outcomes.next();
    assert_eq!(drawn.get(), 12);
}

#[test]
fn a_window_without_room_is_refused() {
    let error = stub().window(0).imap(["http://stub.test/"]).unwrap_err();
    assert!(matches!(error, PoolError::NoWindow));
    assert!(error.to_string().contains("window was 0"), "{error}");
}

#[test]
fn an_error_of_the_first_session_is_returned_before_anything_is_drawn() {
    let drawn = Cell::new(0);
    let builder = stub().try_initializer(|_| Err("no session today".into()));
    assert!(matches!(
        builder.imap_unordered(counted(&drawn)),
        Err(PoolError::Session(_))
    ));
    assert_eq!(drawn.get(), 0);
}

#[test]
fn the_length_is_told_from_the_input() {
    let mut outcomes = stub()
        .num_threads(2)
        .window(5)
        .imap(["http://stub.test/"; 20])
        .unwrap();
    assert_eq!(outcomes.size_hint(), (20, Some(20)));
    for left in (0..20).rev() {
        outcomes.next().unwrap().unwrap();
        assert_eq!(outcomes.size_hint(), (left, Some(left)));
    }
    assert!(outcomes.next().is_none());
    assert!(outcomes.next().is_none(), "fused");
    let endless = std::iter::repeat("http://stub.test/");
    assert_eq!(
        stub().imap_unordered(endless).unwrap().size_hint(),
        (usize::MAX, None)
    );
}

#[test]
fn an_input_is_asked_again_only_while_jobs_are_held() {
    for ordered in [false, true] {
        let asked = Cell::new(0);
        let input = std::iter::from_fn(|| {
            asked.set(asked.get() + 1);
            (asked.get() == 1).then_some("http://stub.test/")
        });
        let builder = stub().num_threads(2);
        let mut outcomes: Box<dyn Iterator<Item = Outcome>> = if ordered {
            Box::new(builder.imap(input).unwrap())
        } else {
            Box::new(builder.imap_unordered(input).unwrap())
        };
        assert!(outcomes.next().is_some());
        assert_eq!(asked.get(), 2);
        assert!(outcomes.next().is_none());
        assert_eq!(asked.get(), 3, "the outcome might have led to a request");
        assert!(outcomes.next().is_none());
        assert_eq!(asked.get(), 3, "it has ended");
    }
}

#[test]
fn a_work_list_that_grows_from_the_outcomes_is_a_crawl_in_bounded_memory() {
    const PAGES: usize = 2_000;

    for ordered in [false, true] {
        let queue = RefCell::new(VecDeque::from([1_usize]));
        let input = std::iter::from_fn(|| {
            let page = queue.borrow_mut().pop_front()?;
            Some(format!("http://stub.test/{page}"))
        });
        let builder = stub().num_threads(4).window(8);
        let outcomes: Box<dyn Iterator<Item = Outcome>> = if ordered {
            Box::new(builder.imap(input).unwrap())
        } else {
            Box::new(builder.imap_unordered(input).unwrap())
        };
        let mut seen = HashSet::new();
        for outcome in outcomes {
            let page: usize = outcome.unwrap().url().path()[1..].parse().unwrap();
            assert!(seen.insert(page), "{page} twice");
            // Each page links to two more, as in a heap.
            let links = [2 * page, 2 * page + 1].into_iter();
            queue
                .borrow_mut()
                .extend(links.filter(|link| *link <= PAGES));
        }
        assert_eq!(seen.len(), PAGES);
    }
}

#[test]
fn with_a_window_of_one_each_request_may_depend_on_the_outcome_before() {
    let next_page = Cell::new(Some(1_u32));
    let input = std::iter::from_fn(|| {
        next_page
            .take()
            .map(|page| format!("http://stub.test/{page}"))
    });
    let mut pages = 0;
    for outcome in stub().num_threads(2).window(1).imap(input).unwrap() {
        pages += 1;
        let page: u32 = outcome.unwrap().url().path()[1..].parse().unwrap();
        assert_eq!(page, pages);
        next_page.set((page < 10).then_some(page + 1));
    }
    assert_eq!(pages, 10);
}

#[test]
fn workers_are_started_as_jobs_are_admitted() {
    in_subprocess(
        concat!(module_path!(), "::workers_are_started_as_jobs_are_admitted"),
        &[],
        || {
            let before = threads();
            let three = stub()
                .num_threads(100)
                .imap_unordered(["http://stub.test/"; 3])
                .unwrap();
            assert_eq!(threads(), before + 1);
            assert_eq!(three.count(), 3);
            eventually("the workers are gone", || threads() == before);

            let none = stub().num_threads(100).imap_unordered([""; 0]).unwrap();
            assert_eq!((threads(), none.count()), (before, 0));
        },
    );
}

#[test]
fn dropping_it_early_cancels_what_is_queued_and_does_not_wait() {
    let (begun_tx, begun) = unbounded();
    let (open, opened) = unbounded::<()>();
    let exchanges = Arc::new(AtomicUsize::new(0));
    let transport = {
        let exchanges = Arc::clone(&exchanges);
        move |exchange: Exchange<'_>| {
            if exchanges.fetch_add(1, Ordering::SeqCst) > 0 {
                let _ = begun_tx.send(());
                let _ = opened.recv();
            }
            respond_ok(exchange)
        }
    };
    let builder = Pool::builder()
        .num_threads(1)
        .window(50)
        .session(move || Session::new(transport.clone()));
    let mut outcomes = builder
        .imap_unordered(std::iter::repeat("http://stub.test/"))
        .unwrap();
    outcomes.next().unwrap().unwrap();
    begun.recv().unwrap();
    drop(outcomes);
    drop(open);
    // Disconnected when the worker and its transport are gone.
    assert_eq!(begun.iter().count(), 0);
    assert_eq!(exchanges.load(Ordering::SeqCst), 2);
}

#[test]
fn an_input_that_panics_unwinds_to_the_caller_and_leaves_nothing_running() {
    in_subprocess(
        concat!(
            module_path!(),
            "::an_input_that_panics_unwinds_to_the_caller_and_leaves_nothing_running"
        ),
        &[],
        || {
            let before = threads();
            let input = (0..).map(|page| {
                assert!(page < 10, "the input panicked");
                RequestSpec::get(format!("http://stub.test/{page}"))
            });
            let mut outcomes = stub()
                .num_threads(4)
                .window(4)
                .imap_unordered(input)
                .unwrap();
            let read = Cell::new(0);
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                for outcome in outcomes.by_ref() {
                    outcome.unwrap();
                    read.set(read.get() + 1);
                }
            }));
            assert!(unwound.is_err());
            assert!((6..10).contains(&read.get()), "{} read", read.get());
            drop(outcomes);
            eventually("the workers are gone", || threads() == before);
        },
    );
}

#[test]
fn a_job_channel_is_not_mixed_in() {
    let (jobs, receiver) = unbounded::<RequestSpec>();
    jobs.send("http://stub.test/channel".into()).unwrap();
    let outcomes = stub()
        .num_threads(2)
        .job_queue(receiver)
        .imap(["http://stub.test/"; 3])
        .unwrap();
    assert_eq!(outcomes.count(), 3);
    assert!(
        jobs.send("http://stub.test/".into()).is_err(),
        "its senders see it closed"
    );
}
