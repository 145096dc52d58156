//! Running out of a local resource is reported, and a pool releases what it has used.

use std::fs::File;
use std::iter;

use threaded::{ErrorKind, RequestSpec};

use super::{THREADS_PER_CLIENT, pool};
use crate::support::framing::{Framing, raw_response};
use crate::support::pools::in_order;
use crate::support::process::{eventually, file_descriptors, resident_kib, sockets, threads};
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::subprocess::{in_subprocess, in_subprocess_with_file_limit};

#[test]
fn without_file_descriptors_nothing_is_sent_and_with_them_the_pool_goes_on() {
    let name = concat!(
        module_path!(),
        "::without_file_descriptors_nothing_is_sent_and_with_them_the_pool_goes_on"
    );
    in_subprocess_with_file_limit(name, 100, || {
        // Each connection is closed, or else the next job would need no new one.
        let server = RawServer::responding(raw_response(Framing::CloseDelimited, "", b"ok"));
        let pool = pool().concurrency(1).build().unwrap();
        eventually("the worker is up", || pool.stats().live_workers() == 1);
        let before = sockets();
        let submit_and_wait = |jobs: usize| {
            let stats = || pool.stats();
            let ended = stats().responses() + stats().exceptions() + jobs;
            for _ in 0..jobs {
                pool.submit(server.url("/")).unwrap();
            }
            eventually("the jobs are over", || {
                stats().responses() + stats().exceptions() == ended
            });
        };
        submit_and_wait(1);
        eventually("the connection is closed on both sides", || {
            sockets() == before
        });

        let hoard: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(hoard.len() < 100, "there is no limit");
        submit_and_wait(5);
        assert_eq!(server.connections(), 1);
        drop(hoard);
        submit_and_wait(2);

        pool.join_all();
        let outcomes = in_order(pool.responses().map(Ok).chain(pool.exceptions().map(Err)));
        assert_eq!(outcomes.len(), 8);
        for (index, outcome) in outcomes.iter().enumerate() {
            if !(1..6).contains(&index) {
                assert_eq!(outcome.as_ref().unwrap().text(), "ok", "job {index}");
                continue;
            }
            let exception = outcome.as_ref().unwrap_err();
            assert_eq!(
                exception.kind(),
                ErrorKind::LocalResource,
                "job {index}: {exception:?}"
            );
            assert!(!exception.was_sent() && exception.is_retryable());
        }
    });
}

#[test]
fn a_thousand_pools_leave_no_thread_no_descriptor_and_no_memory_behind() {
    const ALLOWANCE_KIB: usize = 30 << 10;

    let name = concat!(
        module_path!(),
        "::a_thousand_pools_leave_no_thread_no_descriptor_and_no_memory_behind"
    );
    in_subprocess(name, &[], || {
        let server = Server::responding("hello");
        let cycle = || {
            let jobs = ["/1", "/2"].map(|path| RequestSpec::get(server.url(path)));
            let pool = pool()
                .concurrency(2)
                .num_threads(2)
                .build_from_requests(jobs)
                .unwrap();
            assert_eq!(pool.num_threads(), 2);
            assert!(pool.into_iter().filter(Result::is_ok).count() == 2);
        };
        let alive = threads();
        // Allocators keep some memory for each thread that ran at the same time as others.
        for _ in 0..100 {
            cycle();
        }
        eventually("the first pools are gone", || threads() == alive);
        let before = (threads(), file_descriptors(), resident_kib());
        for _ in 0..1_000 {
            cycle();
        }
        eventually("all is as before", || {
            let now = (threads(), file_descriptors(), resident_kib());
            now.0 <= before.0 && now.1 <= before.1 && now.2 <= before.2 + ALLOWANCE_KIB
        });
        // The probe does see a pool.
        let pool = pool().concurrency(2).num_threads(2).build().unwrap();
        eventually("both workers are up", || pool.stats().live_workers() == 2);
        assert_eq!(threads(), before.0 + 2 + 2 * THREADS_PER_CLIENT);
    });
}
