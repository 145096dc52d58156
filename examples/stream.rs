//! Any number of jobs in constant memory: a million generated URLs, drawn as there is room for them, counted as they come.
//!
//! `cargo run --release --example stream [JOBS]`. The transport responds at once and without a network, so this shows the
//! speed of the pool; drop the line with `session` to fetch for real.

use indicatif::{ProgressBar, ProgressStyle};
use threaded::{Error, Exchange, Pool, ResponseBody, Session};

/// Stands for a server: every thousandth page cannot be reached.
fn respond(exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
    if exchange.url().path().ends_with("000") {
        return Err(Error::connect("no server listens there"));
    }
    Ok(http::Response::new(ResponseBody::from("hello")))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs: u64 = match std::env::args().nth(1) {
        Some(jobs) => jobs.parse()?,
        None => 1_000_000,
    };
    let style = "{bar:40} {human_pos} of {human_len}, {per_sec}, {msg} failed, {eta} left";
    let bar = ProgressBar::new(jobs).with_style(ProgressStyle::with_template(style)?);

    let urls = (1..=jobs).map(|page| format!("http://pages.test/{page}"));
    let (mut bytes, mut failed) = (0, 0_u64);
    for outcome in Pool::builder()
        .num_threads(2)
        .session(|| Session::new(respond))
        .imap_unordered(urls)?
    {
        match outcome {
            Ok(response) => bytes += response.bytes().len(),
            Err(_) => failed += 1,
        }
        bar.set_message(failed.to_string());
        bar.inc(1);
    }
    bar.finish();
    println!(
        "{} succeeded with {bytes} bytes, {failed} failed",
        jobs - failed
    );
    Ok(())
}
