//! Promise 2: outcomes are plain data, to be read and dropped anywhere, inside an async runtime too.

use std::thread;

use threaded::{Response, ThreadException, ThreadResponse};

use super::pool;
use crate::support::process::eventually;
use crate::support::raw::refused_address;
use crate::support::server::Server;

#[test]
fn map_works_inside_an_async_runtime() {
    let server = Server::responding("hello");
    let refused = format!("http://{}/", refused_address());
    let runtimes = [
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
    ];
    for runtime in runtimes {
        let runtime = runtime.unwrap();
        runtime.block_on(async {
            let urls = [server.url("/1"), refused.clone(), server.url("/2")];
            let (responses, exceptions) = pool().concurrency(2).map(&urls).unwrap();
            let texts: Vec<String> = responses
                .map(|response| response.text().into_owned())
                .collect();
            assert_eq!(texts, ["hello", "hello"]);
            assert_eq!(exceptions.count(), 1);
        });
    }
}

#[test]
fn a_pool_can_be_made_used_and_dropped_inside_an_async_runtime() {
    let server = Server::responding("hello");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let pool = pool()
            .concurrency(2)
            .build_from_urls([server.url("/1")])
            .unwrap();
        pool.submit(server.url("/2")).unwrap();
        pool.join_all();
        assert_eq!(pool.responses().count(), 2);
        drop(pool);

        let outcomes = super::pool().build_from_urls([server.url("/3")]).unwrap();
        assert!(outcomes.into_iter().all(|outcome| outcome.is_ok()));
    });
}

#[test]
fn an_outcome_outlives_its_pool_its_worker_and_its_server() {
    let server = Server::responding(vec![b'x'; 200_000]);
    let url = server.url("/");
    let pool = pool().concurrency(1).build_from_urls([&url]).unwrap();
    pool.join_all();
    let response: ThreadResponse = pool.get_response().unwrap();
    drop(pool);
    drop(server);

    let read_on_another_thread = thread::spawn(move || {
        let copy = response.clone();
        let (request, response): (_, Response) = response.into_parts();
        assert_eq!(request.url(), url);
        assert_eq!(copy.bytes(), response.bytes());
        response.bytes().len()
    });
    assert_eq!(read_on_another_thread.join().unwrap(), 200_000);
}

#[test]
fn unread_outcomes_are_dropped_with_the_pool() {
    let server = Server::responding("hello");
    let pool = pool()
        .concurrency(2)
        .build_from_urls([server.url("/"), String::new()])
        .unwrap();
    eventually("both are done", || {
        pool.stats().responses() + pool.stats().exceptions() == 2
    });
    let (responses, exceptions) = (pool.responses(), pool.exceptions());
    drop(pool);

    // Iterators that are still alive can read what was there.
    let responses: Vec<ThreadResponse> = responses.collect();
    let exceptions: Vec<ThreadException> = exceptions.collect();
    assert_eq!((responses.len(), exceptions.len()), (1, 1));
}
