//! The benefit of affinity, workers that return to the origins they are connected to: `cargo bench --bench affinity`.
//!
//! Jobs for many HTTPS origins come interleaved, as those of a crawl do. Without affinity, sooner or later each worker opens
//! a connection to each origin. Runs with and without alternate; the figure is the median.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a benchmark that cannot run panics"
)]

#[path = "../tests/support/raw.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod raw;
#[path = "../tests/support/tls.rs"]
#[allow(dead_code, reason = "made for the tests, which use all of it")]
mod tls;

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use raw::RawServer;
use threaded::{Pool, Session};

const WORKERS: usize = 8;

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (origins, jobs_each, turns) = if is_test { (4, 10, 1) } else { (64, 100, 11) };
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..turns {
        for (runs, affinity) in runs.iter_mut().zip([true, false]) {
            runs.push(run(origins, jobs_each, affinity));
        }
    }
    let [with, without] = &runs;
    println!("{origins} HTTPS origins, {jobs_each} jobs each, {WORKERS} workers, {turns} turns");
    for (name, runs) in [("with", with), ("without", without)] {
        let connections = median(
            runs.iter()
                .map(|run| run.connections as f64 / origins as f64),
        );
        let elapsed = median(runs.iter().map(|run| run.elapsed.as_secs_f64()));
        println!("{name} affinity: {connections:.2} connections for each origin, {elapsed:.2} s");
    }
    let ratios = with.iter().zip(without);
    let ratio = median(
        ratios.map(|(with, without)| without.elapsed.as_secs_f64() / with.elapsed.as_secs_f64()),
    );
    println!("{ratio:.2} times as fast with affinity");
}

struct Run {
    connections: usize,
    elapsed: Duration,
}

fn run(origins: usize, jobs_each: usize, affinity: bool) -> Run {
    let certificate = tls::certificate_for(&["localhost"]);
    let servers: Vec<RawServer> = (0..origins).map(|_| server(&certificate)).collect();
    let urls = (0..jobs_each).flat_map(|page| {
        let servers = servers.iter();
        servers.map(move |server| format!("https://localhost:{}/{page}", server.address().port()))
    });
    let urls: Vec<String> = urls.collect();
    let trusted = threaded::reqwest::Certificate::from_pem(certificate.pem.as_bytes())
        .expect("the certificate was just made");
    let started = Instant::now();
    let pool = Pool::builder()
        .num_threads(WORKERS)
        .affinity(affinity)
        .session(move || {
            Session::default().client(|client| {
                let client = client.no_proxy().tls_certs_only([trusted.clone()]);
                client.tls_backend_rustls()
            })
        })
        .build_from_urls(&urls)
        .expect("a client can be built");
    for outcome in pool {
        assert_eq!(outcome.expect("the servers respond").bytes().len(), 1024);
    }
    Run {
        elapsed: started.elapsed(),
        connections: servers.iter().map(RawServer::connections).sum(),
    }
}

/// Sends every client the same response at as little cost as possible, since the clients are measured.
fn server(certificate: &tls::TestCertificate) -> RawServer {
    let mut config = rustls::ServerConfig::clone(&certificate.config);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n".to_vec();
    response.resize(response.len() + 1024, b'x');
    RawServer::start(move |stream, _| {
        let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) else {
            return;
        };
        let stream = rustls::StreamOwned::new(connection, stream);
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line == "\r\n" && stream.get_mut().write_all(&response).is_err() {
                return;
            }
            line.clear();
        }
    })
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
