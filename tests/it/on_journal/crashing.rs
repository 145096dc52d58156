//! Processes that are killed at any moment: the next one goes on, and in the end every job is recorded once.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use threaded::RequestSpec;
use threaded::queue::{Job, Journal};

use super::TestStore;
use super::each_store::history::{assert_consistent, hits, mixed_jobs};
use super::each_store::run;
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::start_child;

const JOURNAL: &str = "THREADED_TEST_JOURNAL";
const SITE: &str = "THREADED_TEST_SITE";
const JOBS: usize = 60;

/// What the processes do that are killed: submit all jobs, and run them.
fn submit_and_run(path: &Path, site: &str) {
    let queue = Journal::open(path).unwrap();
    queue.submit_all(mixed_jobs(site, 0..JOBS)).unwrap();
    run(crate::pool().concurrency(4), &queue);
}

fn start(name: &str, store: &TestStore, site: &str) -> Child {
    let path = store.path();
    let environment = [(JOURNAL, path.as_os_str()), (SITE, OsStr::new(site))];
    start_child(name, &environment)
}

/// Kills runs at seeded moments, then lets one finish, and compares what was submitted, what the server saw, and what was
/// recorded.
fn kill_and_finish(name: &str, seed: u64) {
    let mut random = fastrand(seed);
    let server = RecordingServer::responding_ok();
    let site = server.url("");
    let store = TestStore::new();
    for _ in 0..4 {
        let mut child = start(name, &store, &site);
        std::thread::sleep(Duration::from_micros(random() % 60_000));
        let _ = child.kill();
        child.wait().unwrap();
    }
    let status = start(name, &store, &site).wait().unwrap();
    assert!(status.success(), "seed {seed}");

    let queue = Journal::builder(store.path())
        .max_deliveries(9)
        .build()
        .unwrap();
    assert_eq!(queue.stats().unwrap().damaged(), 0, "seed {seed}");
    assert_consistent(&queue, &hits(&server, JOBS), &format!("seed {seed}"));
}

/// A stream of numbers that depends on the seed alone (SplitMix64).
fn fastrand(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// `THREADED_KILLS` sets how many runs are killed; each is killed four times.
#[test]
fn whenever_a_run_is_killed_the_next_one_finishes_it() {
    let name = concat!(
        module_path!(),
        "::whenever_a_run_is_killed_the_next_one_finishes_it"
    );
    if let (Some(path), Ok(site)) = (std::env::var_os(JOURNAL), std::env::var(SITE)) {
        return submit_and_run(Path::new(&path), &site);
    }
    let kills = std::env::var("THREADED_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let seeds = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = seeds.fetch_add(1, Ordering::SeqCst);
                    if seed * 4 >= kills {
                        return;
                    }
                    kill_and_finish(name, seed as u64);
                }
            });
        }
    });
}

/// A handler of the user that ends the process, each time that this job is sent.
#[test]
fn a_job_that_ends_its_process_is_dead_after_three_times() {
    let name = concat!(
        module_path!(),
        "::a_job_that_ends_its_process_is_dead_after_three_times"
    );
    let submit_and_run = |path: &Path, site: &str| {
        let queue = Journal::open(path).unwrap();
        let jobs = (0..10).map(|number| {
            let request = RequestSpec::get(format!("{site}/{number}"));
            Job::new(number.to_string(), request.handler("abort"))
        });
        queue.submit_all(jobs).unwrap();
        let builder = crate::pool().concurrency(1).handler("abort", |head, body| {
            if head.url().path() == "/4" {
                std::process::abort();
            }
            body.read_to_end(&mut Vec::new())?;
            Ok(())
        });
        run(builder, &queue);
    };
    if let (Some(path), Ok(site)) = (std::env::var_os(JOURNAL), std::env::var(SITE)) {
        return submit_and_run(Path::new(&path), &site);
    }
    let server = RecordingServer::responding_ok();
    let store = TestStore::new();
    let mut died = 0;
    while !start(name, &store, &server.url(""))
        .wait()
        .unwrap()
        .success()
    {
        died += 1;
        assert!(died <= 3, "it is dead after three times");
    }
    assert_eq!(died, 3);
    let queue = store.open();
    let stats = queue.stats().unwrap();
    assert_eq!((stats.recorded(), stats.dead()), (9, 1));
    assert_eq!(queue.dead().unwrap()[0].job_id(), Some("4"));
    assert_eq!(hits(&server, 10)[4], 3);
}

/// The process that submits is killed in the middle, and what it has left is completed by the next one.
#[test]
fn submitting_again_completes_what_a_killed_process_has_submitted() {
    const MANY: usize = 200_000;
    let name = concat!(
        module_path!(),
        "::submitting_again_completes_what_a_killed_process_has_submitted"
    );
    let submit = |path: &Path| {
        let queue = Journal::open(path).unwrap();
        let request = RequestSpec::get("http://test/");
        let jobs = (0..MANY).map(|number| Job::new(number.to_string(), request.clone()));
        queue.submit_all(jobs).unwrap()
    };
    if let Some(path) = std::env::var_os(JOURNAL) {
        submit(Path::new(&path));
        return;
    }
    let store = TestStore::new();
    let mut child = start(name, &store, "");
    crate::support::process::eventually("a part is submitted", || {
        std::fs::metadata(store.path()).is_ok_and(|file| file.len() > 1_000_000)
    });
    let _ = child.kill();
    child.wait().unwrap();
    let queue = store.open();
    let part = queue.stats().unwrap().waiting();
    assert!(part > 0 && part < MANY, "{part}");
    drop(queue);
    assert_eq!(submit(&store.path()), MANY - part);
    let stats = store.open().stats().unwrap();
    assert_eq!((stats.waiting(), stats.damaged()), (MANY, 0));
}
