//! Jobs out of a channel of your own, outcomes into a `select!` of your own.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::thread;

use server::Server;
use threaded::crossbeam_channel::{bounded, select};
use threaded::{Pool, RequestSpec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const JOBS: usize = 200;

    let server = Server::responding("hello");
    let base = server.url("");

    // A bounded channel holds its producer back: at most 10 jobs wait.
    let (jobs, receiver) = bounded::<RequestSpec>(10);
    let producer = thread::spawn(move || {
        for page in 0..JOBS {
            let url = match page % 50 {
                0 => "not a URL".to_owned(),
                _ => format!("{base}/{page}"),
            };
            if jobs.send(url.into()).is_err() {
                break;
            }
        }
    });

    let pool = Pool::new(receiver)?;
    let (mut succeeded, mut failed) = (0, 0);
    while succeeded + failed < JOBS {
        select! {
            recv(pool.response_channel()) -> response => {
                succeeded += usize::from(response?.status().is_success());
            }
            recv(pool.exception_channel()) -> exception => {
                println!("{}", exception?);
                failed += 1;
            }
        }
    }
    println!("{succeeded} succeeded, {failed} failed");
    producer.join().map_err(|_| "the producer panicked")?;
    Ok(())
}
