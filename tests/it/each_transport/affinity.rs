//! Affinity: workers reuse connections instead of opening one each to every origin, and no origin starves.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use threaded::{Limits, Retry};

use super::pool;
use crate::support::pools::in_order;
use crate::support::server::Server;

#[test]
fn workers_stay_with_the_origins_that_they_are_connected_to() {
    const WORKERS: usize = 4;
    const ORIGINS: usize = 8;
    // Responds to four at a time, so that no worker gets ahead of the others and takes over what is theirs.
    let barrier = Arc::new(Barrier::new(WORKERS));
    let servers: Vec<Server> = (0..ORIGINS)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            Server::start(move |_| {
                barrier.wait();
                Response::new(Bytes::from("ok"))
            })
        })
        .collect();
    let urls = (0..400).map(|page| servers[page % ORIGINS].url(&format!("/{page}")));
    let (responses, _) = pool()
        .num_threads(WORKERS)
        .concurrency(WORKERS)
        .affinity(true)
        .map(urls)
        .unwrap();
    assert_eq!(responses.count(), 400);
    // Each origin by one worker, with some room for connections that the client has opened in vain. Without affinity,
    // about all of the 4 * 8 that are possible are opened.
    let connections: usize = servers.iter().map(Server::connections).sum();
    assert!(
        (ORIGINS..=ORIGINS + 4).contains(&connections),
        "{connections}"
    );
}

#[test]
fn an_origin_beside_two_that_never_rest_is_not_forgotten() {
    // One worker makes two runs of 64 for the others first. Of two, one may be held up for a while with what is rare.
    for (workers, bound) in [(1, 140), (2, 10_000)] {
        let servers = [(); 3].map(|()| Server::responding("ok"));
        let [.., rare] = &servers;
        let mut first = (0..40).map(|page| match page {
            20 => rare.url("/"),
            _ => servers[page % 2].url("/"),
        });
        // Then, each page leads to another one of the same server.
        let next = RefCell::new(Vec::new());
        let input = std::iter::from_fn(|| first.next().or_else(|| next.borrow_mut().pop()));
        let run = pool()
            .concurrency(workers)
            .window(40)
            .affinity(true)
            .imap_unordered(input)
            .unwrap();
        let mut before = 0;
        for outcome in run {
            let response = outcome.unwrap();
            if response.request().url() == rare.url("/") {
                break;
            }
            before += 1;
            assert!(before <= bound, "it is still not its turn");
            next.borrow_mut().push(response.request().url().to_owned());
        }
        assert_eq!(rare.requests(), 1);
    }
}

#[test]
fn affinity_goes_together_with_limits_and_retries() {
    let most = Arc::new(AtomicUsize::new(0));
    let servers: Vec<Server> = (0..4)
        .map(|_| {
            let (now, most) = (AtomicUsize::new(0), Arc::clone(&most));
            let asked = Mutex::new(HashSet::new());
            Server::start(move |request| {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let path = request.uri().path().to_owned();
                let is_first = asked.lock().unwrap().insert(path.clone());
                let status = if is_first { 503 } else { 200 };
                now.fetch_sub(1, Ordering::SeqCst);
                let response = Response::builder().status(status);
                response.body(Bytes::from(path)).unwrap()
            })
        })
        .collect();
    let urls = (0..120).map(|page| servers[page % 4].url(&format!("/{page}")));
    let run = pool()
        .concurrency(6)
        .affinity(true)
        .limits(Limits::new().rate(2_000.0, 10).in_flight_per_origin(1))
        .retry(
            Retry::new(2)
                .backoff(Duration::from_millis(2), Duration::from_millis(5))
                .budget(None),
        )
        .build_from_urls(urls)
        .unwrap();
    for (page, outcome) in in_order(run).into_iter().enumerate() {
        let response = outcome.unwrap();
        assert_eq!((response.index(), response.attempts()), (page, 2));
        assert_eq!(response.text(), format!("/{page}"));
    }
    let requests: usize = servers.iter().map(Server::requests).sum();
    assert_eq!((requests, most.load(Ordering::SeqCst)), (240, 1));
}
