//! Jobs on one event loop do not hold each other up, and the fault of one is that of no other.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use threaded::crossbeam_channel::{Receiver, unbounded};
use threaded::{ErrorKind, JobHandle, OutcomeExt, RequestSpec};

use super::{PoolBuilder, pool};
use crate::support::framing::drip;
use crate::support::pools::in_order;
use crate::support::raw::{RawServer, read_request, refused_address, reset};
use crate::support::recording_server::{RecordingServer, redirect};
use crate::support::server::Server;

const HEALTHY: usize = 200;

/// Ten times as long as all of them take on a busy machine.
const IN_TIME: Duration = Duration::from_secs(30);

/// How long a loop may take to come round. Debug builds take up to half a second beside the floods of these tests, optimized
/// ones a few milliseconds; without turns, it is longer than this even beside one.
const MAX_PAUSE: Duration = Duration::from_secs(5);

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

/// How long the loop takes to come round to another job while these are in flight on it, which do not end by themselves: the
/// median, so that it does not matter when the machine is busy for a moment. Healthy jobs respond meanwhile.
fn pause_beside(endless: RequestSpec, count: usize, begun: &Receiver<()>) -> Duration {
    let server = Server::responding("healthy");
    let pool = one_loop()
        .timeout(Duration::from_secs(300))
        .build()
        .unwrap();
    let jobs: Vec<JobHandle> = (0..count)
        .map(|_| pool.spawn(endless.clone()).unwrap())
        .collect();
    for _ in &jobs {
        begun.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let (responses, exceptions) = pool.map(vec![server.url("/"); HEALTHY]).unwrap();
    assert_eq!((responses.count(), exceptions.count()), (HEALTHY, 0));
    let mut pauses: Vec<Duration> = (0..11)
        .map(|_| {
            // It ends in the loop, without a connection.
            let started = Instant::now();
            let outcome = pool.spawn("http:///no-host").unwrap().join();
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidRequest);
            started.elapsed()
        })
        .collect();
    pauses.sort();
    for mut job in jobs {
        assert!(job.try_join().is_none(), "it has ended");
        job.cancel();
        assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
    }
    pauses[5]
}

/// Sends these bytes after the request, again and again, and tells when it begins to.
fn flooding(start: &'static [u8], bytes: Vec<u8>) -> (RawServer, Receiver<()>) {
    let (begun_tx, begun) = unbounded();
    let server = after_request(move |mut stream| {
        let _ = stream.write_all(start);
        let _ = begun_tx.send(());
        while stream.write_all(&bytes).is_ok() {}
    });
    (server, begun)
}

#[test]
fn a_flood_of_interim_responses_is_the_fault_of_its_job_alone() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let (flood, begun) = flooding(b"", interim);
    let spec = || RequestSpec::get(flood.url("/"));
    for count in [1, 4] {
        let pause = pause_beside(spec(), count, &begun);
        assert!(pause < MAX_PAUSE, "{pause:?} beside {count}");
    }
    let limit = Duration::from_secs(1);
    let kinds = kinds_among_healthy(one_loop(), vec![spec().timeout(limit); 2]);
    assert_eq!(kinds, [ErrorKind::Timeout; 2]);
}

#[test]
fn fast_bodies_without_end_leave_time_for_the_others() {
    // As many chunks as fit, so that there is much to parse.
    let chunks = b"1\r\nx\r\n".repeat(10_000);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (server, begun) = flooding(head, chunks);
    let get = || RequestSpec::get(server.url("/")).max_body(None);
    let folder = tempfile::tempdir().unwrap();
    let endless = [
        get().read_with(|_, body| {
            std::io::copy(body, &mut std::io::sink())?;
            Ok(())
        }),
        get().save_to(folder.path().join("target")),
    ];
    for spec in endless {
        let pause = pause_beside(spec.clone(), 3, &begun);
        assert!(pause < MAX_PAUSE, "{pause:?} beside {spec:?}");
    }
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
