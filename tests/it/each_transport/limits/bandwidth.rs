//! How fast bodies are received: by a pool, from an origin, and by several jobs together.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use threaded::{ErrorKind, Event, Limits, OriginLimits, RequestSpec};

use super::super::pool;
use crate::support::pools::outcome_of;
use crate::support::process::eventually;
use crate::support::server::Server;

const LENGTH: usize = 400_000;

fn large() -> Server {
    Server::responding(vec![b'x'; LENGTH])
}

/// What comes last need not be waited for, and a job reads whole pieces.
const LEAST: Duration = Duration::from_secs(1);

#[test]
fn a_body_takes_its_time_wherever_it_goes() {
    let server = large();
    let folder = tempfile::tempdir().unwrap();
    let get = || RequestSpec::get(server.url("/"));
    let read = |_: &threaded::ResponseHead, body: &mut dyn io::Read| {
        io::copy(body, &mut io::sink())?;
        Ok(())
    };
    for spec in [
        get(),
        get().save_to(folder.path().join("target")),
        get().read_with(read),
    ] {
        // The wait for bandwidth is no stall.
        let pool = pool().stall_timeout(Duration::from_millis(200));
        let began = Instant::now();
        let outcome = outcome_of(pool.limits(Limits::new().bandwidth(200_000)), spec);
        outcome.unwrap();
        let taken = began.elapsed();
        assert!(taken > LEAST && taken < 20 * LEAST, "{taken:?}");
    }
}

#[test]
fn jobs_share_it_evenly() {
    // As little as a turn takes, and so much that several turns are shorter than a timer.
    for (bytes_per_second, length) in [(400_000, 400_000), (10_000_000, 5_000_000)] {
        share(bytes_per_second, length);
    }
}

fn share(bytes_per_second: u64, length: usize) {
    const JOBS: usize = 4;

    let server = Server::responding(vec![b'x'; length]);
    let received = Arc::new(Mutex::new([0; JOBS]));
    let (at_end_tx, at_end) = threaded::crossbeam_channel::unbounded();
    let observer = {
        let received = Arc::clone(&received);
        move |event: &Event<'_>| match event {
            Event::Progress(progress) => {
                received.lock().unwrap()[progress.attempt().index()] = progress.received();
            }
            Event::Response(_) => at_end_tx.send(*received.lock().unwrap()).unwrap(),
            _ => {}
        }
    };
    let outcomes = pool()
        .concurrency(JOBS)
        .limits(Limits::new().bandwidth(bytes_per_second))
        .observer(observer)
        .build_from_urls((0..JOBS).map(|job| server.url(&format!("/{job}"))))
        .unwrap();
    assert_eq!(outcomes.into_iter().filter(Result::is_ok).count(), JOBS);
    let at_first_end = at_end.recv().unwrap();
    let least = at_first_end.into_iter().min().unwrap();
    assert!(
        least > length as u64 / 2,
        "{bytes_per_second}: {at_first_end:?}"
    );
}

#[test]
fn an_origin_may_have_less_than_others() {
    let (slow, fast) = (large(), large());
    let limits = Limits::new()
        .bandwidth_per_origin(100_000_000)
        .for_origin(slow.url(""), OriginLimits::new().bandwidth(100_000));
    let pool = pool().concurrency(2).limits(limits);
    let mut outcomes = pool
        .build_from_urls([slow.url("/"), fast.url("/")])
        .unwrap()
        .into_iter();
    let indexes: Vec<_> = outcomes
        .by_ref()
        .map(|outcome| outcome.unwrap().index())
        .collect();
    assert_eq!(indexes, [1, 0]);
}

#[test]
fn a_wait_for_it_ends_with_the_deadline_and_when_the_job_is_cancelled() {
    let server = large();
    let folder = tempfile::tempdir().unwrap();
    let get = || RequestSpec::get(server.url("/"));
    let target = folder.path().join("target");
    let read = |_: &threaded::ResponseHead, body: &mut dyn io::Read| {
        io::copy(body, &mut io::sink())?;
        Ok(())
    };
    for spec in [get(), get().save_to(&target), get().read_with(read)] {
        let limited = pool().limits(Limits::new().bandwidth(1));
        let spec_with_timeout = spec.clone().timeout(Duration::from_secs(1));
        let exception = outcome_of(limited, spec_with_timeout).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Timeout, "{exception:?}");

        let limited = pool().limits(Limits::new().bandwidth(1)).build().unwrap();
        let job = limited.spawn(spec.timeout(None)).unwrap();
        eventually("some of it has come", || {
            limited.stats().bytes_received() > 0
        });
        job.cancel();
        let exception = job.join().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Cancelled, "{exception:?}");
        drop(limited);
    }
}
