//! What thousands of jobs in flight take, and leave behind.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use super::pool;
use crate::support::holding_server::HoldingServer;
use crate::support::process::{eventually, file_descriptors, peak_kib, resident_kib, threads};
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess;

const IN_FLIGHT: usize = 2_000;

/// A fifth more than the 20,500 bytes that were measured.
const BYTES_PER_JOB: usize = 24 << 10;

#[test]
fn a_job_in_flight_takes_little_memory() {
    // The server runs here, and the pool in a subprocess that measures itself.
    let server = HoldingServer::releasing_at(IN_FLIGHT);
    let path = concat!(module_path!(), "::a_job_in_flight_takes_little_memory");
    in_subprocess(path, &[("THREADED_TEST_SERVER", &server.url("/"))], || {
        let url = std::env::var("THREADED_TEST_SERVER").unwrap();
        let pool = pool()
            .num_threads(1)
            .concurrency(IN_FLIGHT)
            .timeout(Duration::from_secs(60))
            .discard_outcomes(true)
            .build()
            .unwrap();
        // What the first job allocates is there for all.
        let first = Server::responding("first");
        assert!(pool.spawn(first.url("/")).unwrap().join().is_ok());
        let before = resident_kib();
        for _ in 0..IN_FLIGHT {
            pool.submit(&url).unwrap();
        }
        pool.join_all();
        // All of them were in flight at the same time, or there would be no response.
        assert_eq!(pool.stats().responses(), IN_FLIGHT + 1);
        let bytes = (peak_kib() - before) * 1024 / IN_FLIGHT;
        println!("{bytes} bytes for each job in flight");
        assert!(
            bytes <= BYTES_PER_JOB,
            "{bytes} bytes for each job in flight"
        );
    });
}

#[test]
fn a_pool_with_thousands_in_flight_is_dropped_at_once_and_leaves_nothing() {
    let name = concat!(
        module_path!(),
        "::a_pool_with_thousands_in_flight_is_dropped_at_once_and_leaves_nothing"
    );
    in_subprocess(name, &[], || {
        let server = HoldingServer::start();
        let alive = threads();
        let cycle = |in_flight: usize| {
            let come = server.requests();
            let pool = pool()
                .num_threads(2)
                .concurrency(in_flight)
                .timeout(None)
                .build_from_urls(vec![server.url("/"); 2 * in_flight])
                .unwrap();
            eventually("all requests have come", || {
                server.requests() == come + in_flight
            });
            let started = Instant::now();
            drop(pool);
            let taken = started.elapsed();
            assert!(taken < Duration::from_secs(1), "{taken:?}");
            eventually("all connections are closed", || server.open() == 0);
        };
        // What a process opens once, it keeps.
        cycle(10);
        eventually("the threads have ended", || threads() == alive);
        let before = file_descriptors();
        cycle(IN_FLIGHT);
        eventually("threads and descriptors are as before", || {
            threads() <= alive && file_descriptors() <= before
        });
    });
}
