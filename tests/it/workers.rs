//! Promise 15: the number of workers and the settings of their threads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;

use threaded::crossbeam_channel::unbounded;
use threaded::{Exchange, Pool, PoolError, RequestSpec, Session};

use super::pool;
use crate::support::pools::{outcomes_of, respond_ok};
use crate::support::process::{eventually, threads};
use crate::support::subprocess::in_subprocess;

fn stub() -> threaded::PoolBuilder<impl threaded::TransportBuilder + 'static> {
    Pool::builder().session(|| Session::new(respond_ok))
}

#[test]
fn no_more_workers_are_started_than_there_are_jobs() {
    let pool = stub()
        .num_threads(1_000)
        .build_from_urls(["http://stub.test/"; 10])
        .unwrap();
    assert_eq!(pool.num_threads(), 10);
    assert_eq!(pool.into_iter().count(), 10);

    let (responses, exceptions) = stub()
        .num_threads(1_000)
        .map(["http://stub.test/"; 3])
        .unwrap();
    assert_eq!((responses.count(), exceptions.count()), (3, 0));
}

#[test]
fn an_empty_list_needs_no_worker_and_gives_two_empty_iterators() {
    let never = || pool().try_initializer(|_| Err("no session is needed".into()));
    assert_eq!(never().build_from_urls([""; 0]).unwrap().num_threads(), 0);
    let (responses, exceptions) = never().map(Vec::<RequestSpec>::new()).unwrap();
    assert_eq!((responses.count(), exceptions.count()), (0, 0));
    let (responses, exceptions) = threaded::map([""; 0]).unwrap();
    assert_eq!((responses.count(), exceptions.count()), (0, 0));
}

#[test]
fn a_pool_made_from_few_jobs_grows_with_those_that_are_submitted() {
    let pool = stub().num_threads(3).build_from_urls([""; 0]).unwrap();
    for expected in [1, 2, 3, 3, 3] {
        pool.submit("http://stub.test/").unwrap();
        assert_eq!(pool.num_threads(), expected);
    }
    assert_eq!(pool.into_iter().count(), 5);
}

#[test]
fn no_worker_at_all_is_refused() {
    let error = stub().num_threads(0).build().unwrap_err();
    assert!(matches!(error, PoolError::NoThreads));
    assert!(error.to_string().contains("num_threads was 0"));
    assert!(matches!(
        stub().num_threads(0).map([""; 0]),
        Err(PoolError::NoThreads)
    ));
}

#[test]
fn without_a_number_there_are_as_many_workers_as_processors() {
    let (_jobs, receiver) = unbounded();
    let pool = stub().job_queue(receiver).build().unwrap();
    assert_eq!(pool.num_threads(), num_cpus::get());
}

#[test]
fn worker_threads_can_be_named() {
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let noted = Arc::clone(&names);
    let initializer = move |session| {
        let name = thread::current().name().unwrap().to_owned();
        noted.lock().unwrap().insert(name);
        session
    };
    let default = stub()
        .num_threads(2)
        .initializer(initializer.clone())
        .build()
        .unwrap();
    eventually("both workers are up", || {
        default.stats().live_workers() == 2
    });
    let named = stub()
        .num_threads(2)
        .thread_name(|number| format!("fetcher\0 {number}"))
        .initializer(initializer)
        .build()
        .unwrap();
    eventually("both workers are up", || named.stats().live_workers() == 2);
    let names: Vec<String> = names.lock().unwrap().iter().cloned().collect();
    assert_eq!(
        names,
        ["fetcher 0", "fetcher 1", "threaded-0", "threaded-1"]
    );
}

#[test]
fn worker_threads_have_the_stack_that_is_asked_for() {
    // Far more than the usual 2 MiB; a smaller stack would end this process.
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels; 512]);
        match levels {
            0 => frame[0],
            _ => deep(levels - 1) + std::hint::black_box(frame)[1] - levels,
        }
    }
    let transport = |exchange: Exchange<'_>| {
        assert_eq!(deep(4_000), 0);
        respond_ok(exchange)
    };
    let builder = Pool::builder()
        .session(move || Session::new(transport))
        .thread_stack_size(64 << 20);
    assert!(outcomes_of(builder, ["http://stub.test/"])[0].is_ok());
}

#[test]
fn a_stack_that_cannot_be_allocated_is_an_error_of_build() {
    let error = stub()
        .thread_stack_size(usize::MAX / 2)
        .build()
        .unwrap_err();
    assert!(matches!(error, PoolError::Spawn(_)), "{error:?}");
}

#[test]
fn a_job_that_no_worker_can_be_started_for_is_given_back() {
    let pool = stub()
        .thread_stack_size(usize::MAX / 2)
        .build_from_urls([""; 0])
        .unwrap();
    let error = pool.submit("http://stub.test/").unwrap_err();
    assert!(
        error.to_string().starts_with("no worker could be started"),
        "{error}"
    );
    assert_eq!(error.into_request().url(), "http://stub.test/");
    pool.join_all();
}

#[test]
fn a_name_that_panics_is_the_usual_one() {
    let pool = stub()
        .num_threads(2)
        .thread_name(|_| panic!("no name"))
        .build_from_urls([""; 0])
        .unwrap();
    pool.submit("http://stub.test/").unwrap();
    assert_eq!(pool.into_iter().count(), 1);
}

#[test]
fn each_worker_takes_one_thread() {
    let name = concat!(module_path!(), "::each_worker_takes_one_thread");
    in_subprocess(name, &[], || {
        let before = threads();
        let pool = stub().num_threads(7).build().unwrap();
        eventually("all are up", || pool.stats().live_workers() == 7);
        assert_eq!(threads(), before + 7);
        drop(pool);
        eventually("all are gone", || threads() == before);
    });
}
