//! A run that survives its process: this program starts itself, kills that process in the middle of the run, and starts it
//! again, until all is done.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::error::Error;
use std::process::Command;
use std::time::Duration;

use server::Server;
use threaded::queue::{Job, Journal};
use threaded::{Pool, RequestSpec, Session};

const PAGES: usize = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [journal, site] = &arguments[..] {
        return run(journal, site);
    }
    let server = Server::responding("hello");
    let folder = tempfile::tempdir()?;
    let journal = folder.path().join("run.journal");
    let start = || {
        Command::new(std::env::current_exe()?)
            .arg(&journal)
            .arg(server.url(""))
            .spawn()
    };
    for requests in [100, 300, 600] {
        let mut process = start()?;
        while server.requests() < requests {
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill()?;
        process.wait()?;
        let stats = Journal::open(&journal)?.stats()?;
        println!(
            "killed after {requests} requests: {} of {PAGES} pages are recorded",
            stats.recorded()
        );
    }
    let finished = start()?.wait()?;
    assert!(finished.success());

    let queue = Journal::open(&journal)?;
    let recorded = queue.outcomes()?.count();
    println!(
        "finished: {recorded} pages are recorded, after {} requests",
        server.requests()
    );
    assert_eq!(recorded, PAGES);
    Ok(())
}

/// Submits all pages, which changes nothing if they were submitted before, and fetches those that are not recorded.
fn run(journal: &str, site: &str) -> Result<(), Box<dyn Error>> {
    let queue = Journal::open(journal)?;
    queue.submit_all((0..PAGES).map(|page| {
        let request = RequestSpec::get(format!("{site}/{page}"));
        Job::new(format!("page-{page}"), request)
    }))?;
    queue.close()?;
    let builder = Pool::builder().session(Session::hyper).concurrency(32);
    for delivery in builder.deliveries(&queue)? {
        let delivery = delivery?;
        // This is the place to store what the response says.
        delivery.ack()?;
    }
    Ok(())
}
