//! Promise 6: jobs can be submitted from anywhere, and a pool ends when no work is left.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use threaded::crossbeam_channel::unbounded;
use threaded::{Exchange, Handle, Pool, ResponseBody, Session};

use crate::support::pools::respond_ok;

/// Page n links to pages 2n and 2n + 1, as long as those are not above the last one.
fn links(page: usize, last: usize) -> Vec<usize> {
    [2 * page, 2 * page + 1]
        .into_iter()
        .filter(|link| *link <= last)
        .collect()
}

fn number(path: &str) -> usize {
    path.trim_start_matches('/').parse().unwrap()
}

#[test]
fn a_crawl_of_ten_thousand_pages_ends_with_each_page_fetched_once() {
    const LAST: usize = 10_000;

    for num_threads in [1, 8] {
        let site = |exchange: Exchange<'_>| {
            let lines = links(number(exchange.url().path()), LAST);
            let lines: Vec<String> = lines
                .iter()
                .map(|page| format!("http://stub.test/{page}"))
                .collect();
            Ok(http::Response::new(ResponseBody::from(lines.join("\n"))))
        };
        let pool = Pool::builder()
            .num_threads(num_threads)
            .session(move || Session::new(site))
            .build_from_urls(["http://stub.test/1"])
            .unwrap();
        let handle = pool.handle();
        let mut fetched = HashSet::new();
        for outcome in pool {
            let response = outcome.unwrap();
            assert!(
                fetched.insert(number(response.url().path())),
                "fetched twice"
            );
            for link in response.text().lines() {
                handle.submit(link).unwrap();
            }
        }
        assert_eq!(fetched.len(), LAST);
    }
}

/// The seed is often done before the iteration begins.
#[test]
fn outcomes_from_before_the_iteration_can_lead_to_jobs_too() {
    for _ in 0..200 {
        let pool = Pool::builder()
            .num_threads(2)
            .session(|| Session::new(respond_ok))
            .build_from_urls(["http://stub.test/0"])
            .unwrap();
        let handle = pool.handle();
        let mut jobs = 1;
        for outcome in pool {
            outcome.unwrap();
            if jobs < 5 {
                handle.submit(format!("http://stub.test/{jobs}")).unwrap();
                jobs += 1;
            }
        }
        assert_eq!(jobs, 5);
    }
}

#[test]
fn jobs_submitted_on_a_worker_are_part_of_the_work_that_is_joined() {
    const LAST: usize = 1_000;

    let slot = Arc::new(OnceLock::<Handle>::new());
    let site = {
        let slot = Arc::clone(&slot);
        move |exchange: Exchange<'_>| {
            let handle = slot.get().expect("set before the first job");
            for page in links(number(exchange.url().path()), LAST) {
                handle.submit(format!("http://stub.test/{page}")).unwrap();
            }
            respond_ok(exchange)
        }
    };
    let pool = Pool::builder()
        .num_threads(4)
        .session(move || Session::new(site.clone()))
        .build()
        .unwrap();
    slot.set(pool.handle()).unwrap();
    pool.submit("http://stub.test/1").unwrap();
    pool.join_all();
    assert_eq!(pool.responses().count(), LAST);
    assert!(
        slot.get().unwrap().submit("http://stub.test/1").is_err(),
        "the work is over"
    );
}

#[test]
fn handles_of_many_threads_feed_one_pool() {
    let pool = Pool::builder()
        .num_threads(3)
        .session(|| Session::new(respond_ok))
        .build()
        .unwrap();
    let indices = Mutex::new(HashSet::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            let (handle, indices) = (pool.handle(), &indices);
            scope.spawn(move || {
                for _ in 0..250 {
                    let index = handle.clone().submit("http://stub.test/").unwrap();
                    indices.lock().unwrap().insert(index);
                }
            });
        }
    });
    assert_eq!(pool.num_threads(), 3);
    assert_eq!(*indices.lock().unwrap(), (0..1_000).collect());
    assert_eq!(pool.into_iter().count(), 1_000);
}

#[test]
fn a_handle_outlives_its_pool_and_keeps_nothing_alive() {
    let (ended_tx, ended) = unbounded::<()>();
    let transport = move |exchange: Exchange<'_>| {
        let _ended = &ended_tx;
        respond_ok(exchange)
    };
    let pool = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(transport.clone()))
        .build_from_urls(["http://stub.test/"; 3])
        .unwrap();
    pool.join_all();
    let handle = pool.handle();
    drop(pool);
    // Disconnected when workers, sessions and builder are gone.
    assert!(ended.recv().is_err());
    let error = handle.submit("http://stub.test/late").unwrap_err();
    assert_eq!(error.into_request().url(), "http://stub.test/late");
    assert_eq!(handle.stats().responses(), 3);
}
