//! Jobs on one event loop do not hold each other up, and the fault of one is that of no other.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use threaded::{ErrorKind, OutcomeExt, RequestSpec};

use super::{PoolBuilder, pool};
use crate::support::framing::drip;
use crate::support::pools::in_order;
use crate::support::raw::{RawServer, read_request, refused_address, reset};
use crate::support::recording_server::{RecordingServer, redirect};
use crate::support::server::Server;

const HEALTHY: usize = 200;

/// Ten times as long as all of them take on a busy machine.
const IN_TIME: Duration = Duration::from_secs(30);

/// A pool of one event loop.
fn one_loop() -> PoolBuilder {
    pool().num_threads(1).concurrency(64)
}

/// The kind of exception that the faulty jobs end in. The healthy ones before and after them respond, in time.
fn kinds_among_healthy(builder: PoolBuilder, faulty: Vec<RequestSpec>) -> Vec<ErrorKind> {
    let server = Server::responding("healthy");
    let healthy = |page: usize| RequestSpec::get(server.url(&format!("/{page}"))).timeout(IN_TIME);
    let count = faulty.len();
    let specs = (0..HEALTHY / 2)
        .map(healthy)
        .chain(faulty)
        .chain((HEALTHY / 2..HEALTHY).map(healthy));
    let started = Instant::now();
    let mut outcomes = in_order(builder.build_from_requests(specs).unwrap());
    assert_eq!(outcomes.len(), HEALTHY + count);
    let exceptions: Vec<_> = outcomes
        .splice(HEALTHY / 2..HEALTHY / 2 + count, [])
        .map(Result::unwrap_err)
        .collect();
    for outcome in outcomes {
        let index = outcome.index();
        let response = outcome.unwrap_or_else(|exception| panic!("{index}: {exception:?}"));
        assert_eq!(response.text(), "healthy");
    }
    assert!(started.elapsed() < IN_TIME, "{:?}", started.elapsed());
    exceptions
        .iter()
        .map(|exception| exception.kind())
        .collect()
}

fn after_request(script: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        script(stream);
    })
}

fn hold(mut stream: std::net::TcpStream) {
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
}

#[test]
fn one_faulty_job_is_the_only_one_that_fails() {
    let limit = Duration::from_millis(500);
    let get = |server: &RawServer| RequestSpec::get(server.url("/"));
    let responding = |bytes: &'static str| RawServer::responding(bytes);

    let resetting = after_request(reset);
    let cut_head = responding("HTTP/1.1 200 OK\r\nContent-Le");
    let garbage = responding("SSH-2.0-OpenSSH_9.6\r\n");
    let cut_body = responding("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345");
    let bad_chunk = responding("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    let dripping = after_request(|mut stream| {
        let pieces = std::iter::repeat_n(&b"HTTP/1.1 200 OK\r\nX-Filler: "[..], 1);
        let pieces = pieces.chain(std::iter::repeat(&b"x"[..]));
        drip(&mut stream, Duration::from_millis(20), pieces);
    });
    let silent = after_request(hold);
    let large = responding("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n12345");
    let endless = after_request(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 16 << 10]).is_ok() {}
    });
    let looping = RecordingServer::start(|_| redirect(302, "/again"));

    let mut rows = vec![
        (
            RequestSpec::get(format!("http://{}/", refused_address())),
            ErrorKind::Connect,
        ),
        (
            RequestSpec::get("http://no-such-host.invalid/"),
            ErrorKind::Dns,
        ),
        (
            RequestSpec::get("http:///no-host"),
            ErrorKind::InvalidRequest,
        ),
        (get(&resetting), ErrorKind::Closed),
        (get(&cut_head), ErrorKind::Closed),
        (get(&garbage), ErrorKind::Protocol),
        (get(&cut_body), ErrorKind::BodyTruncated),
        (get(&bad_chunk), ErrorKind::Protocol),
        (get(&dripping).timeout(limit), ErrorKind::Timeout),
        (get(&silent).timeout(limit), ErrorKind::Timeout),
        (get(&large).max_body(1_000_000), ErrorKind::BodyTooLarge),
        (get(&endless).max_body(1_000_000), ErrorKind::BodyTooLarge),
        (RequestSpec::get(looping.url("/")), ErrorKind::Redirect),
    ];
    let not_gzip = responding(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip",
    );
    if cfg!(feature = "gzip") {
        rows.push((get(&not_gzip), ErrorKind::Decode));
    }
    for (spec, expected) in &rows {
        let kinds = kinds_among_healthy(one_loop(), vec![spec.clone()]);
        assert_eq!(kinds, [*expected], "{spec:?}");
    }
    // And all of them at once.
    let (specs, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    assert_eq!(kinds_among_healthy(one_loop(), specs), expected);
}

#[test]
fn a_flood_of_interim_responses_is_the_fault_of_its_job_alone() {
    let flood = after_request(|mut stream| {
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
        while stream.write_all(&interim).is_ok() {}
    });
    let flooded = RequestSpec::get(flood.url("/")).timeout(Duration::from_secs(2));
    for floods in [1, 4] {
        let kinds = kinds_among_healthy(one_loop(), vec![flooded.clone(); floods]);
        assert_eq!(kinds, vec![ErrorKind::Timeout; floods]);
    }
}

#[test]
fn fast_bodies_without_end_leave_time_for_the_others() {
    let server = after_request(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // As many chunks as fit, so that there is much to parse.
        let chunks = b"1\r\nx\r\n".repeat(10_000);
        while stream.write_all(&chunks).is_ok() {}
    });
    let endless = RequestSpec::get(server.url("/"))
        .max_body(None)
        .read_with(|_, body| {
            std::io::copy(body, &mut std::io::sink())?;
            Ok(())
        });
    let endless = endless.timeout(Duration::from_secs(2));
    let kinds = kinds_among_healthy(one_loop(), vec![endless; 3]);
    assert_eq!(kinds, [ErrorKind::Timeout; 3]);
}

/// This many MiB of zeros.
#[cfg(feature = "gzip")]
fn bomb(mebibytes: usize) -> Vec<u8> {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..mebibytes {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    encoder.finish().unwrap()
}

#[cfg(feature = "gzip")]
#[test]
fn bodies_that_expand_hugely_leave_time_for_the_others() {
    const LIMIT: u64 = 32 << 20;

    let bomb = Bytes::from(bomb(64));
    let server = RecordingServer::start(move |_| {
        let response = http::Response::builder().header("content-encoding", "gzip");
        response.body(bomb.clone()).unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let get = || {
        RequestSpec::get(server.url("/"))
            .max_body(LIMIT)
            .timeout(IN_TIME)
    };
    let faulty = vec![
        get(),
        get().save_to(folder.path().join("target")),
        get().read_with(|_, body| {
            body.read_to_end(&mut Vec::new())?;
            Ok(())
        }),
    ];
    let kinds = kinds_among_healthy(one_loop(), faulty);
    assert_eq!(kinds, [ErrorKind::BodyTooLarge; 3]);
}
