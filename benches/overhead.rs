//! The cost of the pool on top of the bare minimum: `cargo bench --bench overhead`.
//!
//! Comparisons, each between two ways to do the same work with the same number of threads:
//!
//! - a transport that responds at once, in the pool and in a bare loop over crossbeam channels: the price of a job in µs;
//! - the same in a pool with limits, retries or affinity that never have anything to do, and in one without;
//! - real requests to a local server, by the pool and by hand-written threads that each own a client: the ratio of speeds.
//!
//! The machine's speed drifts while this runs, so all ways alternate, and the figure is the median of the differences or
//! ratios within a turn.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run panics"
)]

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

const STUB_WORKERS: [usize; 3] = [2, 32, 128];
const REQWEST_WORKERS: usize = 8;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (jobs, requests, turns) = if is_test {
        (100, 20, 1)
    } else {
        (100_000, 20_000, 9)
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
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let workers = STUB_WORKERS[0];
    let mut stub = criterion.benchmark_group("stub transport");
    stub.throughput(Throughput::Elements(jobs as u64));
    stub.bench_function("pool", |bencher| {
        bencher.iter_custom(|n| repeat(n, || pool_on_stub(&specs, workers, |builder, _| builder)))
    });
    stub.bench_function("bare loop", |bencher| {
        bencher.iter_custom(|n| repeat(n, || bare_loop(&specs, workers)))
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

    let columns = STUB_WORKERS.map(|workers| stub_overheads(&specs, workers, turns));
    println!("µs per job, median (minimum to maximum) of {turns} turns");
    print!("{:<20}", "");
    for workers in STUB_WORKERS {
        print!("  {:>26}", format!("{workers} workers"));
    }
    println!();
    for (row, name) in ROWS.iter().enumerate() {
        print!("{name:<20}");
        for column in &columns {
            print!("  {:>26}", summary(&column[row]));
        }
        println!();
    }

    let ratios = take_turns(
        turns,
        [&mut || pool_on_reqwest(&urls), &mut || hand_written(&urls)],
        |[pool, hand_written]| [hand_written.as_secs_f64() / pool.as_secs_f64()],
    );
    println!(
        "pool / hand-written, {REQWEST_WORKERS} workers: {} of the speed",
        summary(&ratios[0])
    );
}

fn repeat(times: u64, mut run: impl FnMut() -> Duration) -> Duration {
    (0..times).map(|_| run()).sum()
}

/// What [`stub_overheads`] returns, in its order.
const ROWS: [&str; 4] = [
    "pool - bare loop",
    "idle limits - pool",
    "idle retries - pool",
    "affinity - pool",
];

/// The price of a job in µs, for each turn.
fn stub_overheads(specs: &[RequestSpec], workers: usize, turns: usize) -> [Vec<f64>; 4] {
    take_turns(
        turns,
        [
            &mut || bare_loop(specs, workers),
            &mut || pool_on_stub(specs, workers, |builder, _| builder),
            &mut || pool_on_stub(specs, workers, idle_limits),
            &mut || pool_on_stub(specs, workers, |builder, _| builder.retry(Retry::new(3))),
            &mut || pool_on_stub(specs, workers, |builder, _| builder.affinity(true)),
        ],
        |[bare, pool, limits, retries, affinity]| {
            [
                (pool, bare),
                (limits, pool),
                (retries, pool),
                (affinity, pool),
            ]
            .map(|(with, without)| {
                (with.as_secs_f64() - without.as_secs_f64()) * 1e6 / specs.len() as f64
            })
        },
    )
}

/// Runs all ways once in each turn and compares them within the turn. Each turn begins with another one, in case the order
/// matters.
fn take_turns<const WAYS: usize, const FIGURES: usize>(
    turns: usize,
    ways: [&mut dyn FnMut() -> Duration; WAYS],
    compare: impl Fn([Duration; WAYS]) -> [f64; FIGURES],
) -> [Vec<f64>; FIGURES] {
    let mut figures = [const { Vec::new() }; FIGURES];
    for turn in 0..turns {
        let mut elapsed = [Duration::ZERO; WAYS];
        for position in 0..WAYS {
            let way = (turn + position) % WAYS;
            elapsed[way] = ways[way]();
        }
        for (figures, figure) in figures.iter_mut().zip(compare(elapsed)) {
            figures.push(figure);
        }
    }
    figures
}

fn summary(figures: &[f64]) -> String {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (minimum, median) = (sorted[0], sorted[sorted.len() / 2]);
    let maximum = sorted[sorted.len() - 1];
    format!("{median:.3} ({minimum:.3} to {maximum:.3})")
}

/// Limits that never delay a job.
fn idle_limits(builder: PoolBuilder, workers: usize) -> PoolBuilder {
    let limits = Limits::new().rate(1e9, 1000).rate_per_origin(1e9, 1000);
    builder.limits(limits.in_flight_per_origin(workers))
}

fn pool_on_stub(
    specs: &[RequestSpec],
    workers: usize,
    settings: fn(PoolBuilder, usize) -> PoolBuilder,
) -> Duration {
    let specs = specs.to_vec();
    let respond = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("ok")));
    let started = Instant::now();
    let pool = settings(Pool::builder(), workers)
        .num_threads(workers)
        .session(move || Session::new(respond))
        .build_from_requests(specs)
        .expect("a stub session can be built");
    let mut done = 0;
    for outcome in pool {
        black_box(outcome.expect("the stub responds to everything"));
        done += 1;
    }
    assert!(done > 0);
    started.elapsed()
}

fn bare_loop(specs: &[RequestSpec], workers: usize) -> Duration {
    let specs = specs.to_vec();
    let started = Instant::now();
    let (job_tx, jobs) = unbounded();
    let (done_tx, done) = unbounded();
    for _ in 0..workers {
        let (jobs, done_tx) = (jobs.clone(), done_tx.clone());
        thread::spawn(move || {
            for spec in jobs {
                let response = http::Response::new(ResponseBody::from("ok"));
                if done_tx.send(black_box((spec, response))).is_err() {
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
        .num_threads(REQWEST_WORKERS)
        .build_from_urls(urls)
        .expect("a client can be built");
    let bytes: usize = pool
        .into_iter()
        .map(|outcome| outcome.expect("the server responds").bytes().len())
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
    for _ in 0..REQWEST_WORKERS {
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
        .map(|(_, body)| body.expect("the server responds").len())
        .sum();
    assert_eq!(bytes, 1024 * urls.len());
    started.elapsed()
}
