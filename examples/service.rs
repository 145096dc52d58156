//! A service in which many threads each want their own answer back: one pool for the whole program, and a handle for each
//! request.
//!
//! Each connection has its own thread, which asks two other services and combines their answers.

#[path = "../tests/support/server.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use server::Server;
use threaded::{BoxError, Pool};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prices = Server::start(|request| http::Response::new(price(request.uri().path()).into()));
    let stock = Server::responding("12 left");
    let pool = Pool::builder()
        .concurrency(32)
        // A worker that waits for a response cannot be interrupted: this is how long a slow backend keeps one busy.
        .timeout(Duration::from_secs(2))
        .build()?;
    let backends = Arc::new(Backends {
        pool,
        prices: prices.url(""),
        stock: stock.url(""),
    });

    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let backends = Arc::clone(&backends);
            thread::spawn(move || serve(stream, &backends));
        }
    });

    // Some clients.
    let clients = ["fork", "knife", "spoon"].map(|item| {
        thread::spawn(move || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            writeln!(stream, "{item}")?;
            std::io::read_to_string(stream)
        })
    });
    for client in clients {
        if let Ok(answer) = client.join() {
            print!("{}", answer?);
        }
    }
    Ok(())
}

struct Backends {
    pool: Pool,
    prices: String,
    stock: String,
}

fn serve(mut stream: TcpStream, backends: &Backends) -> Result<(), BoxError> {
    let mut item = String::new();
    BufReader::new(&stream).read_line(&mut item)?;
    let item = item.trim();
    // Both are under way before the first one is waited for.
    let price = backends.pool.spawn(format!("{}/{item}", backends.prices))?;
    let stock = backends.pool.spawn(format!("{}/{item}", backends.stock))?;
    write!(stream, "{item}: {}", price.join()?.text())?;
    // The stock is good to have, but not worth waiting for.
    match stock.cancel_on_drop().join_timeout(Duration::from_secs(1)) {
        Some(Ok(stock)) => writeln!(stream, ", {}", stock.text())?,
        Some(Err(_)) | None => writeln!(stream)?,
    }
    Ok(())
}

fn price(path: &str) -> String {
    format!("{}.00", path.len())
}
