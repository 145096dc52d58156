//! A soak test: 32 workers on a blocking transport, and 2,000 requests in flight on the event-driven engine, against a
//! server that responds correctly, slowly, wrongly or not at all, at random, and every job still ends in the one outcome
//! that its URL asks for.
//!
//! ```text
//! soak [SECONDS] [SEED]
//! ```
//!
//! Takes 2 seconds by default. The server's behavior follows from the seed and the number of the request, so that a run can
//! be repeated. Prints the outcomes of each behavior; the exit code is 1 if any is not the expected one.

#![allow(
    clippy::indexing_slicing,
    reason = "the list has just grown to hold the index"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use threaded::{Pool, PoolBuilder, RequestSpec, Session, TransportBuilder};

type Result<T> = std::result::Result<T, Box<dyn StdError>>;

/// How the server treats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Behavior {
    Respond,
    RespondSlowly,
    RespondUnavailable,
    SendGarbage,
    CutBody,
    CutChunks,
    SendBadGzip,
    RedirectForever,
    Close,
    Reset,
    ResetInBody,
    StaySilent,
    Stall,
}

/// Each behavior with its share of the requests in percent, and their outcome.
const BEHAVIORS: [(Behavior, u64, &str); 13] = [
    (Behavior::Respond, 57, "200"),
    (Behavior::RespondSlowly, 5, "200"),
    (Behavior::RespondUnavailable, 5, "503"),
    (Behavior::SendGarbage, 5, "Protocol"),
    (Behavior::CutBody, 4, "BodyTruncated"),
    (Behavior::CutChunks, 4, "BodyTruncated"),
    (Behavior::SendBadGzip, 4, BAD_GZIP),
    (Behavior::RedirectForever, 4, "Redirect"),
    (Behavior::Close, 4, "Closed"),
    (Behavior::Reset, 3, "Closed"),
    (Behavior::ResetInBody, 3, "Closed"),
    (Behavior::StaySilent, 1, "Timeout"),
    (Behavior::Stall, 1, "Timeout"),
];

/// Without the feature, encoded bodies are passed through.
const BAD_GZIP: &str = if cfg!(feature = "gzip") {
    "Decode"
} else {
    "200"
};

/// The behavior for a request and the outcome that it must have.
fn behavior_of(seed: u64, number: usize) -> (Behavior, &'static str) {
    // SplitMix64: consecutive numbers give unrelated values.
    let mut hash = seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut chance = (hash ^ (hash >> 31)) % 100;
    for (behavior, share, outcome) in BEHAVIORS {
        match chance.checked_sub(share) {
            Some(rest) => chance = rest,
            None => return (behavior, outcome),
        }
    }
    unreachable!("the shares add up to a hundred")
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let seconds: f64 = arguments.first().map_or(Ok(2.0), |text| text.parse())?;
    let seed = match arguments.get(1) {
        Some(text) => text.parse()?,
        None => fastrand::u64(..),
    };
    println!("seed {seed}");
    let transports = 1 + u32::from(cfg!(feature = "hyper")) + u32::from(cfg!(feature = "ureq"));
    let time = Duration::try_from_secs_f64(seconds)? / transports;
    let server = serve(seed)?;

    // The server is local: no proxy is needed.
    let on_reqwest = Pool::builder().session(|| Session::default().client(|c| c.no_proxy()));
    let is_good = soak("reqwest", on_reqwest.concurrency(32), server, seed, time)?;
    #[cfg(feature = "hyper")]
    let is_good = {
        let on_hyper = Pool::builder().session(|| Session::hyper().client(|c| c.no_proxy()));
        soak("hyper", on_hyper.concurrency(2_000), server, seed, time)? && is_good
    };
    #[cfg(feature = "ureq")]
    let is_good = {
        let on_ureq = Pool::builder().session(|| Session::ureq().client(|c| c.proxy(None)));
        soak("ureq", on_ureq.concurrency(32), server, seed, time)? && is_good
    };
    Ok(is_good)
}

/// Returns whether every job had one outcome, and the right one.
fn soak<B: TransportBuilder + 'static>(
    transport: &str,
    builder: PoolBuilder<B>,
    server: SocketAddr,
    seed: u64,
    time: Duration,
) -> Result<bool> {
    let drawn = Cell::new(0);
    let begin = Instant::now();
    let requests = (0..)
        // At least one, however late the first is drawn.
        .take_while(|number| *number == 0 || begin.elapsed() < time)
        .map(|number| {
            drawn.set(number + 1);
            let spec = RequestSpec::get(format!("http://{server}/{number}")).max_redirects(3);
            match behavior_of(seed, number).0 {
                Behavior::StaySilent | Behavior::Stall => spec.timeout(Duration::from_millis(300)),
                // Long enough for a busy machine.
                _ => spec.timeout(Duration::from_secs(30)),
            }
        });

    let mut counts = BTreeMap::new();
    let mut failures = Vec::new();
    // Only one flag is kept for each job.
    let mut seen: Vec<bool> = Vec::new();
    for outcome in builder.imap_unordered(requests)? {
        let (index, url, what) = match &outcome {
            Ok(response) => (
                response.index(),
                response.request().url(),
                status(response.status()).to_owned(),
            ),
            Err(exception) => (
                exception.index(),
                exception.request().url(),
                format!("{:?}", exception.kind()),
            ),
        };
        let (behavior, expected) = behavior_of(seed, index);
        *counts.entry((behavior, what.clone())).or_insert(0_usize) += 1;
        seen.resize(seen.len().max(index + 1), false);
        if std::mem::replace(&mut seen[index], true) {
            failures.push(format!("job {index} has two outcomes"));
        }
        if !url.ends_with(&format!("/{index}")) {
            failures.push(format!("job {index} has the outcome of {url}"));
        }
        if what != expected {
            failures.push(format!(
                "job {index}, {behavior:?}: {what} instead of {expected}: {outcome:?}"
            ));
        }
        let complete = [Behavior::Respond, Behavior::RespondSlowly];
        if let (Ok(response), true) = (&outcome, complete.contains(&behavior)) {
            if response.bytes() != &page(index) {
                failures.push(format!("job {index} has another page, or not all of it"));
            }
        }
    }

    println!(
        "\n{transport}: {} jobs in {:.1?}",
        drawn.get(),
        begin.elapsed()
    );
    for ((behavior, what), count) in &counts {
        println!("{:<18} {what:<14} {count:>8}", format!("{behavior:?}"));
    }
    let (outcomes, without) = (
        counts.values().sum::<usize>(),
        seen.iter().filter(|is| !**is).count(),
    );
    if outcomes != drawn.get() || seen.len() != drawn.get() || without > 0 {
        failures.push(format!(
            "{} jobs, {outcomes} outcomes, {without} without one",
            drawn.get()
        ));
    }
    for failure in failures.iter().take(10) {
        eprintln!("{transport}: {failure}");
    }
    println!("{transport}: {} failures", failures.len());
    Ok(failures.is_empty())
}

fn status(status: http::StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        503 => "503",
        _ => "another status",
    }
}

/// Up to 20 kB.
fn page(number: usize) -> Vec<u8> {
    format!("page {number}\n")
        .repeat(number % 1000 + 1)
        .into_bytes()
}

/// Starts a server on a thread of its own, with one more for each connection.
fn serve(seed: u64) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Errors only mean that the client has closed the connection.
            thread::spawn(move || while let Ok(true) = serve_request(&stream, seed) {});
        }
    });
    Ok(address)
}

/// Serves one request. Returns whether the connection can take another one.
fn serve_request(mut stream: &TcpStream, seed: u64) -> io::Result<bool> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(false);
    };
    while lines
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let number = first
        .split([' ', '/'])
        .nth(2)
        .and_then(|path| path.parse().ok());
    let number: usize = number.ok_or(io::ErrorKind::InvalidData)?;
    let behavior = behavior_of(seed, number).0;
    let page = page(number);
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
    match behavior {
        Behavior::Respond => stream.write_all(&[announced.as_bytes(), &page].concat())?,
        Behavior::RespondSlowly => {
            let pause = Duration::from_millis(number as u64 % 30);
            thread::sleep(pause);
            stream.write_all(announced.as_bytes())?;
            for piece in page.chunks(page.len() / 3 + 1) {
                thread::sleep(pause);
                stream.write_all(piece)?;
            }
        }
        Behavior::RespondUnavailable => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")?
        }
        Behavior::SendGarbage => stream.write_all(match number % 3 {
            0 => b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
            1 => b"HTTP/1.1 two hundred\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        })?,
        Behavior::CutBody | Behavior::ResetInBody | Behavior::Stall => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
        }
        Behavior::CutChunks => stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?,
        Behavior::SendBadGzip => stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nno gzip!",
        )?,
        Behavior::RedirectForever => {
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: /{number}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes())?;
        }
        Behavior::Close | Behavior::Reset | Behavior::StaySilent => {}
    }
    match behavior {
        Behavior::Reset | Behavior::ResetInBody => {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?
        }
        // Until the client closes the connection.
        Behavior::StaySilent | Behavior::Stall => drop(io::copy(&mut stream, &mut io::sink())?),
        _ => {}
    }
    // A body that cannot be decoded is complete on the wire.
    Ok(matches!(
        behavior,
        Behavior::Respond
            | Behavior::RespondSlowly
            | Behavior::RespondUnavailable
            | Behavior::SendBadGzip
            | Behavior::RedirectForever
    ))
}
