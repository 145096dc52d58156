//! A soak: 32 workers on each transport, against a server that answers well, slowly, wrongly or not at all, as chance has
//! it, and every job still ends in the one outcome that its URL asks for.
//!
//! ```text
//! soak [SECONDS] [SEED]
//! ```
//!
//! Takes 2 seconds in all unless it is told otherwise. What is done with a request follows from the seed and its number, so
//! that a run can be repeated. Prints what came of what; the exit code is 1 if anything was not as it should be.

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

/// What the server does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Answer,
    AnswerSlowly,
    AnswerUnavailable,
    SayGarbage,
    CutBody,
    CutChunks,
    SendBadGzip,
    RedirectForEver,
    Close,
    Reset,
    ResetInBody,
    KeepSilent,
    Stall,
}

/// Each deed with how many of a hundred requests it happens to, and what becomes of those.
const DEEDS: [(Deed, u64, &str); 13] = [
    (Deed::Answer, 57, "200"),
    (Deed::AnswerSlowly, 5, "200"),
    (Deed::AnswerUnavailable, 5, "503"),
    (Deed::SayGarbage, 5, "Protocol"),
    (Deed::CutBody, 4, "BodyTruncated"),
    (Deed::CutChunks, 4, "BodyTruncated"),
    (Deed::SendBadGzip, 4, BAD_GZIP),
    (Deed::RedirectForEver, 4, "Redirect"),
    (Deed::Close, 4, "Closed"),
    (Deed::Reset, 3, "Closed"),
    (Deed::ResetInBody, 3, "Closed"),
    (Deed::KeepSilent, 1, "Timeout"),
    (Deed::Stall, 1, "Timeout"),
];

/// Without the feature, what is encoded is handed on as it is.
const BAD_GZIP: &str = if cfg!(feature = "gzip") {
    "Decode"
} else {
    "200"
};

/// The deed for a request and what it must lead to.
fn fate(seed: u64, number: usize) -> (Deed, &'static str) {
    // SplitMix64: neighbours have nothing in common.
    let mut hash = seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let mut chance = (hash ^ (hash >> 31)) % 100;
    for (deed, share, outcome) in DEEDS {
        match chance.checked_sub(share) {
            Some(rest) => chance = rest,
            None => return (deed, outcome),
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
    let transports = if cfg!(feature = "ureq") { 2 } else { 1 };
    let time = Duration::try_from_secs_f64(seconds)? / transports;
    let server = serve(seed)?;

    // The server is near: no proxy leads to it.
    let on_reqwest = Pool::builder().session(|| Session::default().client(|c| c.no_proxy()));
    let is_good = soak("reqwest", on_reqwest, server, seed, time)?;
    #[cfg(feature = "ureq")]
    let is_good = {
        let on_ureq = Pool::builder().session(|| Session::ureq().client(|c| c.proxy(None)));
        soak("ureq", on_ureq, server, seed, time)? && is_good
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
        // One at least, however long the first took to ask for.
        .take_while(|number| *number == 0 || begin.elapsed() < time)
        .map(|number| {
            drawn.set(number + 1);
            let spec = RequestSpec::get(format!("http://{server}/{number}")).max_redirects(3);
            match fate(seed, number).0 {
                Deed::KeepSilent | Deed::Stall => spec.timeout(Duration::from_millis(300)),
                // A machine that is busy with other things is no fault.
                _ => spec.timeout(Duration::from_secs(30)),
            }
        });

    let mut counts = BTreeMap::new();
    let mut complaints = Vec::new();
    // One flag for each job is all that is kept of it.
    let mut seen: Vec<bool> = Vec::new();
    for outcome in builder.num_threads(32).imap_unordered(requests)? {
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
        let (deed, expected) = fate(seed, index);
        *counts.entry((deed, what.clone())).or_insert(0_usize) += 1;
        seen.resize(seen.len().max(index + 1), false);
        if std::mem::replace(&mut seen[index], true) {
            complaints.push(format!("job {index} has two outcomes"));
        }
        if !url.ends_with(&format!("/{index}")) {
            complaints.push(format!("job {index} has the outcome of {url}"));
        }
        if what != expected {
            complaints.push(format!(
                "job {index}, {deed:?}: {what} instead of {expected}: {outcome:?}"
            ));
        }
        let answers = [Deed::Answer, Deed::AnswerSlowly];
        if let (Ok(response), true) = (&outcome, answers.contains(&deed)) {
            if response.bytes() != &page(index) {
                complaints.push(format!("job {index} has another page, or not all of it"));
            }
        }
    }

    println!(
        "\n{transport}: {} jobs in {:.1?}",
        drawn.get(),
        begin.elapsed()
    );
    for ((deed, what), count) in &counts {
        println!("{:<18} {what:<14} {count:>8}", format!("{deed:?}"));
    }
    let (outcomes, without) = (
        counts.values().sum::<usize>(),
        seen.iter().filter(|is| !**is).count(),
    );
    if outcomes != drawn.get() || seen.len() != drawn.get() || without > 0 {
        complaints.push(format!(
            "{} jobs, {outcomes} outcomes, {without} without one",
            drawn.get()
        ));
    }
    for complaint in complaints.iter().take(10) {
        eprintln!("{transport}: {complaint}");
    }
    println!("{transport}: {} complaints", complaints.len());
    Ok(complaints.is_empty())
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

/// A server on a thread of its own, and one more for each connection.
fn serve(seed: u64) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that has gone is none of the server's business.
            thread::spawn(move || while let Ok(true) = answer(&stream, seed) {});
        }
    });
    Ok(address)
}

/// Returns whether the connection is good for another request.
fn answer(mut stream: &TcpStream, seed: u64) -> io::Result<bool> {
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
    let deed = fate(seed, number).0;
    let page = page(number);
    let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
    match deed {
        Deed::Answer => stream.write_all(&[announced.as_bytes(), &page].concat())?,
        Deed::AnswerSlowly => {
            let pause = Duration::from_millis(number as u64 % 30);
            thread::sleep(pause);
            stream.write_all(announced.as_bytes())?;
            for piece in page.chunks(page.len() / 3 + 1) {
                thread::sleep(pause);
                stream.write_all(piece)?;
            }
        }
        Deed::AnswerUnavailable => {
            stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")?
        }
        Deed::SayGarbage => stream.write_all(match number % 3 {
            0 => b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n",
            1 => b"HTTP/1.1 two hundred\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        })?,
        Deed::CutBody | Deed::ResetInBody | Deed::Stall => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")?;
        }
        Deed::CutChunks => stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?,
        Deed::SendBadGzip => stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nno gzip!",
        )?,
        Deed::RedirectForEver => {
            let head =
                format!("HTTP/1.1 302 Found\r\nLocation: /{number}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes())?;
        }
        Deed::Close | Deed::Reset | Deed::KeepSilent => {}
    }
    match deed {
        Deed::Reset | Deed::ResetInBody => {
            socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?
        }
        // Until the client has had enough.
        Deed::KeepSilent | Deed::Stall => drop(io::copy(&mut stream, &mut io::sink())?),
        _ => {}
    }
    // A body that cannot be decoded has come whole all the same.
    Ok(matches!(
        deed,
        Deed::Answer
            | Deed::AnswerSlowly
            | Deed::AnswerUnavailable
            | Deed::SendBadGzip
            | Deed::RedirectForEver
    ))
}
