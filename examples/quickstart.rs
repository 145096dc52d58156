//! The main job: a list of URLs in, responses and exceptions out.
//!
//! `cargo run --release --example quickstart` fetches 1,000 pages of a small server that it starts itself;
//! with URLs as arguments it fetches those.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::time::Instant;

use server::Server;
use threaded::Pool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut urls: Vec<String> = std::env::args().skip(1).collect();
    // Stops when it is dropped, at the end.
    let server = urls.is_empty().then(start_server);
    if let Some(server) = &server {
        urls = (1..=1000)
            .map(|page| server.url(&format!("/{page}")))
            .collect();
        urls.push("http://no-such-host.invalid/".to_owned());
    }

    let started = Instant::now();
    let (responses, exceptions) = Pool::builder().num_threads(16).map(&urls)?;
    let elapsed = started.elapsed();

    let (mut succeeded, mut bytes) = (0, 0);
    for response in responses {
        succeeded += 1;
        bytes += response.bytes().len();
        if urls.len() <= 20 || !response.status().is_success() {
            println!("{} {}", response.status(), response.request().url());
        }
    }
    let mut failed = 0;
    for exception in exceptions {
        failed += 1;
        println!("{exception}");
    }
    println!("{succeeded} succeeded ({bytes} bytes), {failed} failed, in {elapsed:.0?}");
    Ok(())
}

fn start_server() -> Server {
    Server::start(|request| match request.uri().path() {
        "/500" => {
            let response = http::Response::builder().status(404);
            response.body("no such page".into()).unwrap_or_default()
        }
        page => http::Response::new(format!("this is page {page}").into()),
    })
}
