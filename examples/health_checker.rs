//! A periodic checker: rounds on one pool, whose connections stay open from one round to the next.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use server::Server;
use threaded::{Pool, RequestSpec, Retry};

const ROUNDS: u32 = 5;
const INTERVAL: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A site of which one page fails now and then.
    let asked = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let fails = request.uri().path() == "/7" && asked.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        let response = http::Response::builder().status(if fails { 503 } else { 200 });
        response.body(Default::default()).unwrap_or_default()
    });
    let checks: Vec<RequestSpec> = (0..50)
        .map(|page| RequestSpec::head(server.url(&format!("/{page}"))))
        .collect();

    let pool = Pool::builder()
        .concurrency(8)
        .timeout(Duration::from_secs(2))
        .error_for_status(true)
        // A server may close an idle connection just when it is used again: that is no failure of the site.
        .retry(Retry::new(1).statuses([]))
        .build()?;
    let start = Instant::now();
    for round in 0..ROUNDS {
        let (up, down) = pool.map(checks.iter().cloned())?;
        println!("round {round}: {} up, {} down", up.len(), down.len());
        for exception in down {
            println!("  {exception}");
        }
        thread::sleep((start + INTERVAL * (round + 1)).saturating_duration_since(Instant::now()));
    }
    println!("{} connections in all", server.connections());
    Ok(())
}
