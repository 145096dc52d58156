//! A command-line fetcher: URLs from the arguments, or from a file with one on each line.
//!
//! ```text
//! fetch [--threads N] (URL | FILE)...
//! ```
//!
//! Prints status, bytes, milliseconds and URL of each response; failures go to stderr. The exit code is 1 if any failed.
//! Without arguments it fetches from a small server that it starts itself.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use server::Server;
use threaded::{Pool, PoolBuilder};

fn main() -> ExitCode {
    let done = parse(std::env::args().skip(1)).and_then(|(builder, urls)| {
        if urls.is_empty() {
            let server = Server::responding("hello");
            let urls = (1..=5).map(|page| server.url(&format!("/{page}")));
            fetch(builder, urls.collect())
        } else {
            fetch(builder, urls)
        }
    });
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fetch: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(PoolBuilder, Vec<String>)> {
    let mut builder = Pool::builder().num_threads(16);
    let mut urls = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--threads" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                builder = builder.num_threads(number.ok_or("--threads needs a number")?);
            }
            option if option.starts_with("--") => {
                return Err(format!("there is no option {option}").into());
            }
            url if url.contains("://") => urls.push(argument),
            file => read_urls(Path::new(file), &mut urls)
                .map_err(|error| format!("cannot read {file}: {error}"))?,
        }
    }
    Ok((builder, urls))
}

fn read_urls(file: &Path, urls: &mut Vec<String>) -> io::Result<()> {
    for line in BufReader::new(std::fs::File::open(file)?).lines() {
        let line = line?;
        if !line.trim().is_empty() {
            urls.push(line.trim().to_owned());
        }
    }
    Ok(())
}

/// Returns how many failed.
fn fetch(builder: PoolBuilder, urls: Vec<String>) -> Result<usize> {
    let mut failed = 0;
    let mut out = io::stdout().lock();
    for outcome in builder.build_from_urls(&urls)? {
        match outcome {
            Ok(response) => {
                let (bytes, url) = (response.bytes().len(), response.request().url());
                let milliseconds = response.elapsed().as_millis();
                writeln!(
                    out,
                    "{} {bytes} {milliseconds} {url}",
                    response.status().as_u16()
                )?;
            }
            Err(exception) => {
                failed += 1;
                eprintln!("{exception}");
            }
        }
    }
    Ok(failed)
}
