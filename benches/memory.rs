//! The memory that jobs take: `cargo bench --bench memory`. Linux only: reads `/proc`.
//!
//! Each case runs in a process of its own and reports its peak resident memory (`VmHWM`) and the time it took:
//!
//! - jobs through `imap_unordered` on a transport that responds at once: the memory must not grow with their number;
//! - GETs queued in a pool: the memory of each beyond its URL;
//! - a large body that is saved to a file: the memory on top of an idle pool.

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

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use threaded::crossbeam_channel::unbounded;
use threaded::{Error, Exchange, Pool, RequestSpec, ResponseBody, Session};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["case", "lazy", jobs] => report(|| lazy(jobs.parse()?)),
        ["case", "queued", jobs] => report(|| queued(jobs.parse()?)),
        ["case", "save", url, path] => report(|| save(Some((url, path)))),
        ["case", "idle"] => report(|| save(None)),
        _ => compare(arguments.contains(&"--test")),
    }
}

fn compare(is_test: bool) -> Result<()> {
    if !cfg!(target_os = "linux") {
        println!("peak memory is read from /proc, which this system does not have");
        return Ok(());
    }
    let (few, many, body) = if is_test {
        (1_000, 10_000, 16 << 20)
    } else {
        (100_000, 1_000_000, 1 << 30)
    };
    let small = run(&["lazy", &few.to_string()])?;
    let large = run(&["lazy", &many.to_string()])?;
    println!(
        "imap_unordered: {:.1} MB for {few} jobs, {:.1} MB for {many}; {:.2} µs per job",
        small.megabytes(),
        large.megabytes(),
        large.elapsed.as_secs_f64() * 1e6 / many as f64
    );
    let none = run(&["queued", "0"])?;
    let waiting = run(&["queued", &many.to_string()])?;
    let each = (waiting.peak - none.peak) as f64 / many as f64;
    println!(
        "{many} queued GETs: {:.0} bytes each beyond the URL",
        each - URL_LENGTH as f64
    );

    let server = endless_server(body)?;
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("body").display().to_string();
    let idle = run(&["idle"])?;
    let saving = run(&["save", &server, &target])?;
    assert_eq!(std::fs::metadata(&target)?.len(), body);
    println!(
        "save_to of {} MiB: {:.1} MB on top of an idle pool ({:.1} MB)",
        body >> 20,
        saving.megabytes() - idle.megabytes(),
        idle.megabytes()
    );
    Ok(())
}

struct Usage {
    /// In bytes.
    peak: u64,
    elapsed: Duration,
}

impl Usage {
    fn megabytes(&self) -> f64 {
        self.peak as f64 / 1e6
    }
}

/// Runs a case in a process of its own.
fn run(case: &[&str]) -> Result<Usage> {
    let output = Command::new(std::env::current_exe()?)
        .arg("case")
        .args(case)
        .output()?;
    let printed = String::from_utf8(output.stdout)?;
    let mut numbers = printed.split_whitespace().map(str::parse::<u64>);
    match (output.status.success(), numbers.next(), numbers.next()) {
        (true, Some(peak), Some(micros)) => Ok(Usage {
            peak: peak?,
            elapsed: Duration::from_micros(micros?),
        }),
        _ => Err(format!("{case:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

fn report(case: impl FnOnce() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    case()?;
    let elapsed = started.elapsed();
    println!("{} {}", process::peak_kib() * 1024, elapsed.as_micros());
    // Skips dropping what is still alive, which would take time.
    std::process::exit(0);
}

fn respond_ok(_: Exchange<'_>) -> std::result::Result<http::Response<ResponseBody>, Error> {
    Ok(http::Response::new(ResponseBody::from("ok")))
}

fn lazy(jobs: u64) -> Result<()> {
    let urls = (0..jobs).map(|page| format!("http://stub.test/{page}"));
    let builder = Pool::builder()
        .num_threads(2)
        .session(|| Session::new(respond_ok));
    let done = builder
        .imap_unordered(urls)?
        .filter(std::result::Result::is_ok)
        .count();
    assert_eq!(done as u64, jobs);
    Ok(())
}

const URL_LENGTH: usize = 40;

fn queued(jobs: u64) -> Result<()> {
    let (_gate, closed) = unbounded::<()>();
    let waits = move |exchange: Exchange<'_>| {
        let _ = closed.recv();
        respond_ok(exchange)
    };
    let builder = Pool::builder()
        .num_threads(2)
        .session(move || Session::new(waits.clone()));
    let pool = builder.build()?;
    for page in 0..jobs {
        pool.submit(format!("http://stub.test/{page:0>23}"))?;
    }
    assert_eq!(pool.stats().submitted() as u64, jobs);
    std::mem::forget((pool, _gate));
    Ok(())
}

fn save(from_to: Option<(&str, &str)>) -> Result<()> {
    let pool = Pool::builder().num_threads(1).build()?;
    if let Some((url, path)) = from_to {
        pool.submit(RequestSpec::get(url).save_to(path))?;
        pool.join_all();
        if let Some(exception) = pool.get_exception() {
            return Err(exception.into());
        }
    }
    Ok(())
}

/// Responds to each request with a body of this many bytes.
fn endless_server(bytes: u64) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}/", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = respond(stream, bytes);
        }
    });
    Ok(url)
}

fn respond(mut stream: TcpStream, bytes: u64) -> std::io::Result<()> {
    let _ = stream.read(&mut [0; 4096])?;
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    std::io::copy(&mut std::io::repeat(b'x').take(bytes), &mut stream).map(drop)
}
