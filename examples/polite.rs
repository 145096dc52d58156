//! Retries and limits against a server that allows 50 requests a second and responds to more with 429. Waiting blocks no
//! worker.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the two servers are numbered, and their responses valid"
)]

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use server::Server;
use threaded::{Event, Limits, Pool, Retry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let strict = strict_server(50);
    let relaxed = Server::responding("hello");
    let urls = (0..100).flat_map(|page| {
        let path = format!("/{page}");
        [strict.url(&path), relaxed.url(&path)]
    });

    let started = Instant::now();
    let pool = Pool::builder()
        .num_threads(4)
        // A 429 is tried again; its Retry-After keeps all jobs from that server until then.
        .retry(Retry::new(5).backoff(Duration::from_millis(100), Duration::from_secs(2)))
        // A little faster than the server allows, so that some requests get a 429.
        .limits(
            Limits::new()
                .rate_per_origin(60.0, 10)
                .in_flight_per_origin(2),
        )
        .observer(move |event: &Event<'_>| {
            if let Event::Retry(retry) = event {
                let (context, delay) = (retry.context(), retry.delay());
                let status = context.response().map(|response| response.status());
                println!("job {}: {status:?}, again in {delay:.1?}", context.index());
            }
        })
        .build_from_urls(urls)?;
    let handle = pool.handle();

    let mut responses = [0, 0];
    for outcome in pool {
        let response = outcome?.error_for_status()?;
        let server = response.index() % 2;
        responses[server] += 1;
        if responses[server] == 100 {
            let name = ["strict", "relaxed"][server];
            println!("all of the {name} server after {:.1?}", started.elapsed());
        }
    }
    println!("{} retries", handle.stats().retries());
    assert_eq!(responses, [100, 100]);
    Ok(())
}

/// Responds to a limited number of requests in each second, and with 429 to the others.
fn strict_server(per_second: u32) -> Server {
    let window = Mutex::new((Instant::now(), 0));
    Server::start(move |_| {
        let mut window = window.lock().expect("no handler panics");
        let (began, count) = &mut *window;
        if began.elapsed() >= Duration::from_secs(1) {
            (*began, *count) = (Instant::now(), 0);
        }
        *count += 1;
        if *count <= per_second {
            return http::Response::new("hello".into());
        }
        http::Response::builder()
            .status(429)
            .header("Retry-After", "1")
            .body("not so fast".into())
            .expect("it is a response")
    })
}
