//! A wall clock that is set by an hour while a consumer runs: nothing that it waits for depends on it.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use threaded::{RequestSpec, Retry};

use super::{TestStore, job, recorded, run};
use crate::support::process::eventually;
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::start_child;

const STORE: &str = "THREADED_TEST_CLOCK_STORE";
const JOBS: usize = 60;
/// Requests of these jobs and later ones are held back until the clock is set.
const HELD_BACK: usize = 30;
/// Each third job is tried again after this time.
const DELAY: Duration = Duration::from_secs(2);

/// The library that sets the clock of a process with many threads; `None` if it is not installed.
fn library() -> Option<OsString> {
    let mut command = Command::new("faketime");
    let output = command.args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"]);
    let printed = output.output().ok()?.stdout;
    let path = String::from_utf8(printed).ok()?;
    let path = path.trim();
    (!path.is_empty()).then(|| path.into())
}

/// Sets the clock of the processes that read this file, which must never be half written.
fn set_clock(file: &Path, offset: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, offset).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// It is killed if the test fails.
struct Consumer(Child);

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the subprocess does.
fn consume(store: &OsStr) {
    let (clock, stopwatch) = (SystemTime::now(), Instant::now());
    let retry = Retry::new(1).retry_after_max(Duration::from_secs(60));
    run(
        crate::pool().concurrency(4).window(8).retry(retry),
        &TestStore::open_at(store),
    );
    let passed = match clock.elapsed() {
        Ok(forwards) => forwards.saturating_sub(stopwatch.elapsed()),
        Err(backwards) => backwards.duration() + stopwatch.elapsed(),
    };
    let hour = Duration::from_secs(3600);
    assert!(
        passed.abs_diff(hour) < Duration::from_secs(60),
        "{passed:?}"
    );
}

fn survives_a_step_of(offset: &str, name: &str) {
    if let Some(store) = std::env::var_os(STORE) {
        return consume(&store);
    }
    let Some(library) = library() else {
        eprintln!("skipped {name}: there is no `faketime` here");
        return;
    };
    let times: Arc<Mutex<Vec<Vec<Instant>>>> = Arc::new(Mutex::new(vec![Vec::new(); JOBS]));
    let noted = Arc::clone(&times);
    let (open, opened) = threaded::crossbeam_channel::unbounded::<()>();
    let server = RecordingServer::start(move |request| {
        let number: usize = request.uri().path()[1..].parse().unwrap();
        let mut times = noted.lock().unwrap();
        times[number].push(Instant::now());
        let is_first = times[number].len() == 1;
        drop(times);
        if number >= HELD_BACK {
            let _ = opened.recv();
        }
        let mut response = http::Response::new("ok".into());
        if is_first && number % 3 == 1 {
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            let delay = http::HeaderValue::from(DELAY.as_secs());
            response.headers_mut().insert("Retry-After", delay);
        }
        response
    });
    let store = TestStore::new();
    let queue = store.open();
    let jobs =
        (0..JOBS).map(|number| job(number, RequestSpec::get(server.url(&format!("/{number}")))));
    queue.submit_all(jobs).unwrap();
    drop(queue);
    let folder = tempfile::tempdir().unwrap();
    let clock = folder.path().join("clock");
    set_clock(&clock, "+0");
    let environment = [
        (STORE, &*store.address()),
        ("LD_PRELOAD", &*library),
        ("FAKETIME_TIMESTAMP_FILE", clock.as_os_str()),
        ("FAKETIME_NO_CACHE", OsStr::new("1")),
        ("DONT_FAKE_MONOTONIC", OsStr::new("1")),
    ];
    let mut consumer = Consumer(start_child(name, &environment));
    eventually("some requests are held back", || {
        (times.lock().unwrap()[HELD_BACK..].iter()).any(|times| !times.is_empty())
    });
    set_clock(&clock, offset);
    drop(open);
    let mut status = None;
    eventually("the consumer has ended", || {
        status = consumer.0.try_wait().unwrap();
        status.is_some()
    });
    assert!(status.unwrap().success());

    let queue = store.open();
    let outcomes = recorded(&queue);
    let times = times.lock().unwrap();
    for (number, times) in times.iter().enumerate() {
        let outcome = &outcomes[&format!("job-{number}")];
        assert_eq!(outcome["response"]["status"], 200, "{number}: {outcome}");
        if number % 3 == 1 {
            let [first, second] = times[..] else {
                panic!("{number}: {times:?}");
            };
            let waited = second - first;
            assert!(
                waited >= DELAY && waited < 10 * DELAY,
                "{number}: {waited:?}"
            );
        } else {
            assert_eq!(times.len(), 1, "{number}");
        }
    }
    assert_eq!(outcomes.len(), JOBS);
    let stats = queue.stats().unwrap();
    assert_eq!((stats.delayed(), stats.leased(), stats.dead()), (0, 0, 0));
}

#[test]
fn a_clock_that_is_set_forward() {
    survives_a_step_of(
        "+3600",
        concat!(module_path!(), "::a_clock_that_is_set_forward"),
    );
}

#[test]
fn a_clock_that_is_set_back() {
    survives_a_step_of(
        "-3600",
        concat!(module_path!(), "::a_clock_that_is_set_back"),
    );
}
