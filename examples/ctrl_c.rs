//! Ctrl-c ends the run at once and in order: every job has its outcome, and those that were not sent can be kept for later.
//!
//! Where nobody can press it (no terminal), the example presses it itself after half a second.

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

    let (mut answered, mut failed, mut unsent) = (0, 0, Vec::new());
    for outcome in pool {
        match outcome {
            Ok(_) => answered += 1,
            Err(exception) if exception.kind() == ErrorKind::Cancelled && !exception.was_sent() => {
                unsent.push(exception.into_request());
            }
            Err(_) => failed += 1,
        }
    }
    println!(
        "{answered} answered, {failed} under way, {} not sent",
        unsent.len()
    );
    Ok(())
}
