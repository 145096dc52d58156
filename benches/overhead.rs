//! What the pool costs on top of the bare minimum: `cargo bench --bench overhead`.
//!
//! Comparisons, each between two ways to do the same work with the same number of threads:
//!
//! - a transport that answers at once, in the pool and in a bare loop over crossbeam channels: the price of a job in µs;
//! - the same in a pool with limits, retries or affinity that never have anything to do, and in one without;
//! - real requests to a local server, by the pool and by hand-written threads that each own a client: the ratio of speeds.
//!
//! The machine's speed drifts while this runs, so both sides take turns and the figure is the median over the turns.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use server::Server;
use threaded::crossbeam_channel::unbounded;
use threaded::{Exchange, Limits, Pool, PoolBuilder, RequestSpec, ResponseBody, Retry, Session};

const STUB_THREADS: usize = 2;
const REQWEST_THREADS: usize = 8;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (jobs, requests, turns) = if is_test {
        (100, 20, 1)
    } else {
        (100_000, 30_000, 21)
    };
    let server = Server::responding(vec![b'x'; 1024]);
    let urls: Vec<String> = (0..requests)
        .map(|page| server.url(&format!("/{page}")))
        .collect();
    let specs: Vec<RequestSpec> = (0..jobs)
        .map(|page| RequestSpec::get(format!("http://stub.test/{page}")))
        .collect();

    let mut criterion = Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(10))
        .configure_from_args();
    let mut stub = criterion.benchmark_group("answers at once");
    stub.throughput(Throughput::Elements(jobs as u64));
    stub.bench_function("pool", |bencher| {
        bencher.iter_custom(|n| repeat(n, || pool_on_stub(&specs)))
    });
    stub.bench_function("bare loop", |bencher| {
        bencher.iter_custom(|n| repeat(n, || bare_loop(&specs)))
    });
    stub.finish();
    let mut real = criterion.benchmark_group("1 KiB from a local server");
    real.throughput(Throughput::Elements(requests as u64));
    real.bench_function("pool", |bencher| {
        bencher.iter_custom(|n| repeat(n, || pool_on_reqwest(&urls)))
    });
    real.bench_function("hand-written", |bencher| {
        bencher.iter_custom(|n| repeat(n, || hand_written(&urls)))
    });
    real.finish();
    criterion.final_summary();

    let overheads = take_turns(
        turns,
        || pool_on_stub(&specs),
        || bare_loop(&specs),
        |pool, bare| (pool.as_secs_f64() - bare.as_secs_f64()) * 1e6 / jobs as f64,
    );
    println!("pool - bare loop, {STUB_THREADS} threads: {overheads} µs per job");
    for (name, settings) in IDLE_SETTINGS {
        let prices = take_turns(
            turns,
            || pool_on_stub_with(&specs, settings),
            || pool_on_stub(&specs),
            |with, without| (with.as_secs_f64() - without.as_secs_f64()) * 1e6 / jobs as f64,
        );
        println!("{name} - pool without, {STUB_THREADS} threads: {prices} µs per job");
    }
    let ratios = take_turns(
        turns,
        || pool_on_reqwest(&urls),
        || hand_written(&urls),
        |pool, hand| hand.as_secs_f64() / pool.as_secs_f64(),
    );
    println!("pool / hand-written, {REQWEST_THREADS} threads: {ratios} of the speed");
}

fn repeat(times: u64, mut run: impl FnMut() -> Duration) -> Duration {
    (0..times).map(|_| run()).sum()
}

/// Runs both sides alternately and compares them turn by turn: minimum, median, maximum.
fn take_turns(
    turns: usize,
    mut ours: impl FnMut() -> Duration,
    mut theirs: impl FnMut() -> Duration,
    compare: impl Fn(Duration, Duration) -> f64,
) -> String {
    let mut figures: Vec<f64> = (0..turns)
        .map(|turn| {
            // Who comes first changes, in case it matters.
            if turn % 2 == 0 {
                let ours = ours();
                compare(ours, theirs())
            } else {
                let theirs = theirs();
                compare(ours(), theirs)
            }
        })
        .collect();
    figures.sort_by(f64::total_cmp);
    let (least, median, most) = (figures[0], figures[turns / 2], figures[turns - 1]);
    format!("{median:.3} (from {least:.3} to {most:.3} in {turns} turns)")
}

/// Settings that never have anything to do here.
type Settings = fn(PoolBuilder) -> PoolBuilder;

const IDLE_SETTINGS: [(&str, Settings); 3] = [
    ("limits", |builder| {
        let limits = Limits::new().rate(1e9, 1000).rate_per_origin(1e9, 1000);
        builder.limits(limits.in_flight_per_origin(STUB_THREADS))
    }),
    ("retries", |builder| builder.retry(Retry::new(3))),
    ("affinity", |builder| builder.affinity(true)),
];

fn pool_on_stub(specs: &[RequestSpec]) -> Duration {
    pool_on_stub_with(specs, |builder| builder)
}

fn pool_on_stub_with(specs: &[RequestSpec], settings: Settings) -> Duration {
    let specs = specs.to_vec();
    let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("ok")));
    let started = Instant::now();
    let pool = settings(Pool::builder())
        .num_threads(STUB_THREADS)
        .session(move || Session::new(answer))
        .build_from_requests(specs)
        .expect("a stub needs nothing that could be missing");
    let mut done = 0;
    for outcome in pool {
        black_box(outcome.expect("the stub answers everything"));
        done += 1;
    }
    assert!(done > 0);
    started.elapsed()
}

fn bare_loop(specs: &[RequestSpec]) -> Duration {
    let specs = specs.to_vec();
    let started = Instant::now();
    let (job_tx, jobs) = unbounded();
    let (done_tx, done) = unbounded();
    for _ in 0..STUB_THREADS {
        let (jobs, done_tx) = (jobs.clone(), done_tx.clone());
        thread::spawn(move || {
            for spec in jobs {
                let answer = http::Response::new(ResponseBody::from("ok"));
                if done_tx.send(black_box((spec, answer))).is_err() {
                    break;
                }
            }
        });
    }
    drop(done_tx);
    for spec in specs {
        let _: Result<(), _> = job_tx.send(spec);
    }
    drop(job_tx);
    assert!(done.iter().map(black_box).count() > 0);
    started.elapsed()
}

fn pool_on_reqwest(urls: &[String]) -> Duration {
    let started = Instant::now();
    let pool = Pool::builder()
        .num_threads(REQWEST_THREADS)
        .build_from_urls(urls)
        .expect("a client can be built");
    let bytes: usize = pool
        .into_iter()
        .map(|outcome| outcome.expect("the server answers").bytes().len())
        .sum();
    assert_eq!(bytes, 1024 * urls.len());
    started.elapsed()
}

fn hand_written(urls: &[String]) -> Duration {
    let started = Instant::now();
    let (job_tx, jobs) = unbounded::<String>();
    let (done_tx, done) = unbounded();
    for url in urls {
        let _: Result<(), _> = job_tx.send(url.clone());
    }
    drop(job_tx);
    for _ in 0..REQWEST_THREADS {
        let (jobs, done_tx) = (jobs.clone(), done_tx.clone());
        thread::spawn(move || {
            let client = reqwest::blocking::Client::new();
            for url in jobs {
                let body = client
                    .get(&url)
                    .send()
                    .and_then(|response| response.bytes());
                if done_tx.send((url, body)).is_err() {
                    break;
                }
            }
        });
    }
    drop(done_tx);
    let bytes: usize = done
        .iter()
        .map(|(_, body)| body.expect("the server answers").len())
        .sum();
    assert_eq!(bytes, 1024 * urls.len());
    started.elapsed()
}
