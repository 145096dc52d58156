//! Retrying failures: exceptions carry their requests, and tell whether a retry can help and whether it is safe.

#[path = "../tests/support/raw.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod raw;

use std::io::Write;

use threaded::{Pool, ThreadException};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Hangs up on every other connection.
    let server = raw::RawServer::start(|mut stream, number| {
        raw::read_request(&mut stream);
        if number % 2 == 1 {
            let response = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
            let _ = stream.write_all(response.as_bytes());
        }
    });
    let urls = (0..20).map(|page| server.url(&format!("/{page}")));

    let mut pool = Pool::builder().num_threads(4).build_from_urls(urls)?;
    for round in 1..=10 {
        pool.join_all();
        let (hopeless, worth_it): (Vec<_>, Vec<_>) = pool
            .exceptions()
            .partition(|exception| !is_worth_repeating(exception));
        println!(
            "round {round}: {} succeeded, {} to retry, {} permanent failures",
            pool.responses().count(),
            worth_it.len(),
            hopeless.len()
        );
        if worth_it.is_empty() {
            break;
        }
        pool = Pool::builder()
            .num_threads(4)
            .build_from_exceptions(worth_it)?;
    }
    Ok(())
}

fn is_worth_repeating(exception: &ThreadException) -> bool {
    let is_harmless = !exception.was_sent() || exception.request().is_idempotent();
    exception.is_retryable() && is_harmless
}
