//! Ctrl-c ends the run at once and in order: every job has its outcome, and those that were not sent can be kept for later.
//!
//! Without a terminal to press it in, the example sends the signal to itself after half a second.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use server::Server;
use threaded::{ErrorKind, Pool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(|_| {
        thread::sleep(Duration::from_millis(50));
        http::Response::new("hello".into())
    });
    let urls = (0..1_000).map(|page| server.url(&format!("/{page}")));
    let pool = Pool::builder().num_threads(8).build_from_urls(urls)?;

    let handle = pool.handle();
    ctrlc::set_handler(move || handle.cancel())?;
    println!("fetching 1,000 slow pages; press ctrl-c to stop");
    if !std::io::stdin().is_terminal() {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(500));
            let own_id = std::process::id().to_string();
            std::process::Command::new("kill")
                .args(["-INT", &own_id])
                .status()
        });
    }

    let (mut succeeded, mut failed, mut unsent) = (0, 0, Vec::new());
    for outcome in pool {
        match outcome {
            Ok(_) => succeeded += 1,
            Err(exception) if exception.kind() == ErrorKind::Cancelled && !exception.was_sent() => {
                unsent.push(exception.into_request());
            }
            Err(_) => failed += 1,
        }
    }
    println!(
        "{succeeded} succeeded, {failed} under way, {} not sent",
        unsent.len()
    );
    Ok(())
}
