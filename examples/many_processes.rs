//! A run of several processes, as it could be of several machines: this program submits jobs to a Redis server, starts three
//! consumers, kills one of them, and looks whether every job was recorded once.
//!
//! Without an argument it starts a `redis-server` of its own, in a temporary folder. With a URL such as `redis://127.0.0.1/` it
//! uses that server, which needs `appendonly yes`.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::collections::HashMap;
use std::error::Error;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use server::Server;
use threaded::queue::{Job, Queue, RedisQueue};
use threaded::{Pool, RequestSpec, Session};

const PAGES: usize = 3_000;
const LEASE: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [url, name] = &arguments[..] {
        return consume(&open(url, name)?);
    }
    let folder = tempfile::tempdir()?;
    let (url, own_server) = match arguments.first() {
        Some(url) => (url.clone(), None),
        None => {
            let socket = folder.path().join("redis.sock");
            let started = Command::new("redis-server")
                .args(["--appendonly", "yes", "--port", "0", "--unixsocket"])
                .arg(&socket)
                .arg("--dir")
                .arg(folder.path())
                .stdout(Stdio::null())
                .spawn();
            let Ok(process) = started else {
                println!(
                    "this example needs `redis-server` (or give it the URL of one): apt-get install redis-server"
                );
                return Ok(());
            };
            (
                format!("unix://{}", socket.display()),
                Some(Killed(process)),
            )
        }
    };
    let name = format!("many-processes-{}", std::process::id());
    let queue = open_when_ready(&url, &name)?;

    let site = Server::responding("hello");
    let jobs = (0..PAGES).map(|page| {
        let request = RequestSpec::get(site.url(&format!("/{page}")));
        Job::new(format!("page-{page}"), request)
    });
    println!("{} jobs were accepted", queue.submit_all(jobs)?);
    queue.close()?;

    let start = || -> Result<Killed, std::io::Error> {
        let mut consumer = Command::new(std::env::current_exe()?);
        Ok(Killed(consumer.args([&url, &name]).spawn()?))
    };
    let mut consumers = [start()?, start()?, start()?];
    while queue.stats()?.recorded() < PAGES / 4 {
        std::thread::sleep(Duration::from_millis(5));
    }
    consumers[0].0.kill()?;
    println!("killed one of three consumers, with {:?}", queue.stats()?);
    for consumer in &mut consumers {
        consumer.0.wait()?;
    }

    let mut records: HashMap<String, usize> = HashMap::new();
    for recorded in queue.outcomes()? {
        *records.entry(recorded?.job_id().to_owned()).or_default() += 1;
    }
    println!(
        "{} jobs are recorded, after {} requests",
        records.len(),
        site.requests()
    );
    assert_eq!(records.len(), PAGES);
    assert!(records.values().all(|times| *times == 1));
    drop(own_server);
    Ok(())
}

fn open(url: &str, name: &str) -> Result<Queue, threaded::queue::QueueError> {
    RedisQueue::builder(url, name).lease(LEASE).build()
}

/// A server that was just started is not there at once.
fn open_when_ready(url: &str, name: &str) -> Result<Queue, threaded::queue::QueueError> {
    let started = Instant::now();
    loop {
        match open(url, name) {
            Err(_) if started.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

fn consume(queue: &Queue) -> Result<(), Box<dyn Error>> {
    let builder = Pool::builder().session(Session::hyper).concurrency(32);
    for delivery in builder.deliveries(queue)? {
        let delivery = delivery?;
        // This is the place to store what the response says.
        delivery.ack()?;
    }
    Ok(())
}

/// A process that ends with this one.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
