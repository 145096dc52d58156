//! A graceful stop: after Ctrl-C nothing new is sent, what is in flight ends, and what was not sent comes back. A second
//! Ctrl-C does not wait for what is in flight.
//!
//! Without a terminal to press it in, the example sends the signal to itself after half a second.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use server::Server;
use threaded::Pool;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::start(|_| {
        thread::sleep(Duration::from_millis(50));
        http::Response::new("hello".into())
    });
    let mut urls = (0..1_000).map(|page| server.url(&format!("/{page}")));
    let outcomes = Pool::builder().concurrency(8).imap_unordered(&mut urls)?;

    let handle = outcomes.handle();
    let stopping = Arc::new(Mutex::new(None));
    let started = Arc::clone(&stopping);
    ctrlc::set_handler(move || {
        let mut stopping = started.lock().unwrap_or_else(PoisonError::into_inner);
        if stopping.is_some() {
            return handle.cancel();
        }
        // On a thread of its own, since it waits.
        let handle = handle.clone();
        *stopping = Some(thread::spawn(move || handle.shutdown()));
    })?;
    println!("fetching 1,000 slow pages; press Ctrl-C to stop");
    if !std::io::stdin().is_terminal() {
        interrupt_after(Duration::from_millis(500));
    }

    // Ends with the last page in flight, even if the loop is waiting for one when the signal comes.
    let (succeeded, failed): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
    println!("{} succeeded, {} failed", succeeded.len(), failed.len());
    // A second run could start with these. The input has kept what was not pulled from it.
    let stopping = stopping
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let unsent = stopping.map(|stopping| stopping.join().unwrap_or_default());
    let unsent = unsent.unwrap_or_default();
    println!(
        "{} requests were queued and not sent, {} URLs are left",
        unsent.len(),
        urls.count()
    );
    Ok(())
}

fn interrupt_after(delay: Duration) {
    thread::spawn(move || {
        thread::sleep(delay);
        let own_id = std::process::id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-INT", &own_id])
            .status();
        drop(kill);
    });
}
