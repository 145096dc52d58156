//! What durable queues cost: `cargo bench --features journal,redis --bench queues`. Linux only: reads `/proc`.
//!
//! Each case runs in a process of its own, on jobs with a stub transport. In a journal: submitting jobs, opening the file when
//! all are open or all are done, running them, and the CPU time of `ack` alone. On a `redis-server` of its own: submitting
//! jobs, and running them with one consumer and with two; without that program, these are left out. With `-- redis 1000000 soon`,
//! only that, for so many jobs, which are acknowledged soon or `each` at once.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run panics"
)]

#[path = "../tests/support/process.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod process;
#[path = "../tests/support/redis_server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod redis_server;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis_server::RedisServer;
use threaded::queue::{Fsync, Job, Journal, Queue, RedisQueue};
use threaded::{Error, Exchange, Pool, RequestSpec, ResponseBody, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["consume", url, when] => {
            run(&RedisQueue::open(url, "bench")?, when == "soon")?;
            println!("{}", process::peak_kib());
            std::process::exit(0);
        }
        ["case", case, path, jobs, fsync] => {
            let fsync = match fsync {
                "never" => Fsync::Never,
                "interval" => Fsync::Interval(Duration::from_millis(100)),
                _ => Fsync::Each,
            };
            let before = process::resident_kib();
            let started = Instant::now();
            let queue = Journal::builder(path).fsync(fsync).build()?;
            let opening = started.elapsed();
            let memory = process::resident_kib() - before;
            let started = Instant::now();
            let acks = match case {
                "submit" => submit(&queue, jobs.parse()?)?,
                "run" => run(&queue, false)?,
                "run-soon" => run(&queue, true)?,
                _ => Duration::ZERO,
            };
            println!(
                "{} {} {} {}",
                opening.as_micros(),
                memory * 1024,
                started.elapsed().as_micros(),
                acks.as_micros()
            );
            // Skips dropping what is still alive, which would take time.
            std::process::exit(0);
        }
        ["redis", jobs, when, ..] => on_redis(jobs.parse()?, &[(1, when), (2, when)]),
        _ => compare(arguments.contains(&"--test")),
    }
}

fn compare(is_test: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!("memory is read from /proc, which this system does not have");
        return Ok(());
    }
    let jobs = if is_test { 2_000 } else { 1_000_000 };
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("run.journal");
    let each = |figure: f64| figure / jobs as f64;
    let [_, _, submitting, _] = case("submit", &path, jobs, "never")?;
    let size = std::fs::metadata(&path)?.len() as f64;
    println!(
        "{jobs} jobs submitted: {:.2} µs and {:.0} bytes of the file each",
        each(submitting),
        each(size)
    );
    let [opening, memory, ..] = case("open", &path, jobs, "never")?;
    println!(
        "opened with all of them open: {:.2} s, {:.0} bytes of memory each",
        opening / 1e6,
        each(memory)
    );
    let [_, _, running, acks] = case("run", &path, jobs, "never")?;
    println!(
        "run on a transport that responds at once: {:.2} µs each; `ack` takes {:.2} µs of CPU time",
        each(running),
        each(acks)
    );
    let soon = folder.path().join("soon.journal");
    case("submit", &soon, jobs, "never")?;
    let [_, _, running, acks] = case("run-soon", &soon, jobs, "never")?;
    println!(
        "the same, acknowledged soon: {:.2} µs each; recording takes {:.2} µs of CPU time",
        each(running),
        each(acks)
    );
    let [opening, memory, ..] = case("open", &path, jobs, "never")?;
    println!(
        "opened with all of them done: {:.2} s, {:.0} bytes of memory each, {:.0} bytes of the file",
        opening / 1e6,
        each(memory),
        each(std::fs::metadata(&path)?.len() as f64)
    );
    for (fsync, jobs) in [("interval", jobs / 5), ("each", jobs / 100)] {
        let path = folder.path().join(fsync);
        case("submit", &path, jobs, fsync)?;
        let [_, _, running, acks] = case("run", &path, jobs, fsync)?;
        let each = |figure: f64| figure / jobs as f64;
        println!(
            "run with fsync {fsync}: {:.2} µs each; `ack` takes {:.2} µs of CPU time",
            each(running),
            each(acks)
        );
    }
    let cases = [(1, "each"), (2, "each"), (1, "soon"), (2, "soon")];
    on_redis(jobs / 5, &cases)
}

/// With so many consumers, which acknowledge jobs like that.
fn on_redis(jobs: u64, cases: &[(usize, &str)]) -> Result<()> {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("there is no redis-server here");
        return Ok(());
    }
    let server = RedisServer::start();
    let url = server.url();
    let mut rounds = 0;
    for &(consumers, when) in cases {
        // Ids that are new.
        rounds += 1;
        let queue = RedisQueue::open(&*url, "bench")?;
        let all = (0..jobs).map(|row| {
            let request = RequestSpec::get(format!("http://stub.test/items/{row}?full=1"));
            Job::new(format!("{rounds}-{row}"), request)
        });
        let started = Instant::now();
        queue.submit_all(all)?;
        let submitting = started.elapsed();
        let started = Instant::now();
        let processes: Vec<Child> = (0..consumers)
            .map(|_| {
                let mut consumer = Command::new(std::env::current_exe()?);
                consumer
                    .args(["consume", &url, when])
                    .stdout(Stdio::piped())
                    .spawn()
            })
            .collect::<std::io::Result<_>>()?;
        let mut peak = 0;
        for process in processes {
            let printed = String::from_utf8(process.wait_with_output()?.stdout)?;
            peak = peak.max(printed.trim().parse::<u64>()?);
        }
        assert_eq!(queue.stats()?.recorded() as u64, jobs * rounds);
        let rate = |time: Duration| jobs as f64 / time.as_secs_f64();
        println!(
            "on Redis, {jobs} jobs: {:.0} submitted a second; {:.0} recorded a second by {consumers} consumers, {when}, of {:.1} MB",
            rate(submitting),
            rate(started.elapsed()),
            peak as f64 / 1e3
        );
    }
    Ok(())
}

/// Runs a case in a process of its own. Returns the microseconds that opening took, the bytes of memory it has taken, and
/// the microseconds of the work and of the acknowledgements in it.
fn case(name: &str, path: &Path, jobs: u64, fsync: &str) -> Result<[f64; 4]> {
    let output = Command::new(std::env::current_exe()?)
        .args(["case", name])
        .arg(path)
        .args([&jobs.to_string(), fsync])
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = (printed.split_whitespace())
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    match figures.try_into() {
        Ok(figures) if output.status.success() => Ok(figures),
        _ => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn submit(queue: &Queue, jobs: u64) -> Result<Duration> {
    let all = (0..jobs).map(|row| {
        let request = RequestSpec::get(format!("http://stub.test/items/{row}?full=1"));
        Job::new(format!("row-{row}"), request)
    });
    assert_eq!(queue.submit_all(all)? as u64, jobs);
    Ok(Duration::ZERO)
}

/// The CPU time of the thread that records outcomes in the background.
fn cpu_time_of_recorder() -> Result<Duration> {
    let mut time = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        // One that has just ended is none of those that are meant.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else {
            continue;
        };
        let (name, fields) = stat.rsplit_once(')').ok_or("it has a name")?;
        if name.contains("(threaded-recor") {
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            time += Duration::from_millis(10 * ticks);
        }
    }
    Ok(time)
}

/// The CPU time of this thread: the workers take turns with it on few cores.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the CPU time of the acknowledgements.
fn run(queue: &Queue, soon: bool) -> Result<Duration> {
    let respond_ok = |_: Exchange<'_>| -> std::result::Result<_, Error> {
        Ok(http::Response::new(ResponseBody::from("ok")))
    };
    queue.close()?;
    // The window of a pool with 128 requests in flight.
    let builder = Pool::builder()
        .num_threads(2)
        .window(512)
        .session(move || Session::new(respond_ok));
    let mut acks = Duration::ZERO;
    let mut deliveries = builder.deliveries(queue)?;
    for delivery in deliveries.by_ref() {
        let delivery = delivery?;
        let started = cpu_time();
        if soon {
            delivery.ack_soon();
        } else {
            delivery.ack()?;
        }
        acks += cpu_time() - started;
    }
    Ok(acks + cpu_time_of_recorder()?)
}
