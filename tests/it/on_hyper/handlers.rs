//! Handlers and files: they run on other threads than the event loop, and the loop is not held up by them.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use threaded::crossbeam_channel::{Sender, bounded, unbounded};
use threaded::{ErrorKind, JobHandle, Pool, RequestSpec};

use super::pool;
use crate::support::pools::in_order;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

/// Within this time a handler begins, on however busy a machine.
const BEGUN_WITHIN: Duration = Duration::from_secs(60);

/// A pool of one event loop.
fn one_loop(in_flight: usize) -> Pool {
    let builder = pool().num_threads(1).concurrency(in_flight);
    builder.timeout(Duration::from_secs(60)).build().unwrap()
}

/// Sends a body without end for as long as it is read. Sends a message when the client has closed the connection.
fn endless(closed: Sender<()>) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 16 << 10]).is_ok() {}
        let _ = closed.send(());
    })
}

fn assert_ok(pool: &Pool, server: &Server) {
    let outcome = pool.spawn(server.url("/")).unwrap().join();
    assert_eq!(outcome.unwrap().text(), "ok");
}

#[test]
fn handlers_that_block_hold_up_no_other_job() {
    const BLOCKED: usize = 20;

    let server = Server::responding("ok");
    let (begun_tx, begun) = unbounded();
    let (release, released) = bounded::<()>(0);
    let pool = one_loop(BLOCKED + 4);
    let blocking = RequestSpec::get(server.url("/")).read_with(move |_, body| {
        begun_tx.send(())?;
        let _ = released.recv();
        let mut text = String::new();
        body.read_to_string(&mut text)?;
        assert_eq!(text, "ok");
        Ok(())
    });
    let blocked: Vec<JobHandle> = (0..BLOCKED)
        .map(|_| pool.spawn(blocking.clone()).unwrap())
        .collect();
    for _ in &blocked {
        begun.recv_timeout(BEGUN_WITHIN).unwrap();
    }
    for _ in 0..100 {
        assert_ok(&pool, &server);
    }
    let (responses, exceptions) = pool.map(vec![server.url("/"); 200]).unwrap();
    assert_eq!((responses.count(), exceptions.count()), (200, 0));
    let mut unended = blocked;
    assert!(unended.iter_mut().all(|job| job.try_join().is_none()));
    drop(release);
    for job in unended {
        job.join().unwrap();
    }
}

#[test]
fn a_handler_may_stop_before_the_end() {
    let fine = Server::responding("ok");
    let (closed_tx, closed) = unbounded();
    let server = endless(closed_tx);
    let pool = one_loop(1);
    for wanted in [0, 10, 100_000] {
        let spec = RequestSpec::get(server.url("/")).read_with(move |head, body| {
            assert_eq!(head.status(), 200);
            body.read_exact(&mut vec![0; wanted])?;
            Ok(())
        });
        pool.spawn(spec).unwrap().join().unwrap();
        assert!(closed.recv_timeout(Duration::from_secs(30)).is_ok());
        assert_ok(&pool, &fine);
    }
}

#[test]
fn the_handler_of_a_job_that_is_cancelled_gets_an_error_from_its_next_read() {
    let fine = Server::responding("ok");
    let (closed_tx, closed) = unbounded();
    let server = endless(closed_tx);
    let pool = one_loop(2);
    let (begun_tx, begun) = unbounded();
    let (release, released) = bounded::<()>(0);
    let (read_tx, read) = unbounded();
    let spec = RequestSpec::get(server.url("/")).read_with(move |_, body| {
        body.read_exact(&mut [0])?;
        begun_tx.send(())?;
        let _ = released.recv();
        // What has been received by now may come before the error.
        let copied = io::copy(&mut body.take(1 << 30), &mut io::sink());
        read_tx.send(copied)?;
        Ok(())
    });
    let job = pool.spawn(spec).unwrap();
    begun.recv_timeout(BEGUN_WITHIN).unwrap();
    job.cancel();
    // It does not wait for the handler.
    assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(closed.recv_timeout(Duration::from_secs(30)).is_ok());
    assert_ok(&pool, &fine);
    drop(release);
    let copied = read.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(copied.is_err(), "{copied:?}");
}

#[test]
fn a_handler_that_waits_for_a_piece_is_woken_when_its_job_is_cancelled() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nx");
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let pool = one_loop(1);
    let (begun_tx, begun) = unbounded();
    let (read_tx, read) = unbounded();
    let spec = RequestSpec::get(server.url("/")).read_with(move |_, body| {
        body.read_exact(&mut [0])?;
        begun_tx.send(())?;
        read_tx.send(body.read(&mut [0]))?;
        Ok(())
    });
    let job = pool.spawn(spec).unwrap();
    begun.recv_timeout(BEGUN_WITHIN).unwrap();
    job.cancel();
    let read = read.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(read.is_err(), "{read:?}");
}

#[test]
fn a_handler_that_panics_or_fails_ends_its_own_job_alone() {
    let server = Server::responding("ok");
    let pool = one_loop(8);
    let get = || RequestSpec::get(server.url("/"));
    let panicking = pool
        .spawn(get().read_with(|_, _| panic!("on purpose")))
        .unwrap();
    let failing = pool
        .spawn(get().read_with(|_, _| Err("on purpose".into())))
        .unwrap();
    for _ in 0..50 {
        assert_ok(&pool, &server);
    }
    assert_eq!(panicking.join().unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(failing.join().unwrap_err().kind(), ErrorKind::Sink);
}

/// The slowest reader decides how much a server can send: nothing piles up between the connection and the handler.
#[cfg(target_os = "linux")]
#[test]
fn handlers_that_are_slow_keep_the_memory_flat() {
    use crate::support::process::{eventually, peak_kib, resident_kib};
    use crate::support::subprocess::in_subprocess;

    const HANDLERS: usize = 16;
    const ALLOWANCE_KIB: usize = HANDLERS << 10;

    let name = concat!(
        module_path!(),
        "::handlers_that_are_slow_keep_the_memory_flat"
    );
    in_subprocess(name, &[], || {
        let stalled = Arc::new(AtomicUsize::new(0));
        let sent = Arc::new(AtomicUsize::new(0));
        let server = RawServer::start({
            let (stalled, sent) = (Arc::clone(&stalled), Arc::clone(&sent));
            move |mut stream, _| {
                read_request(&mut stream);
                // The system's buffers hold some of it. When nothing was taken for a while, they are full.
                let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while let Ok(written) = stream.write(&[b'x'; 16 << 10]) {
                    sent.fetch_add(written, Ordering::SeqCst);
                }
                stalled.fetch_add(1, Ordering::SeqCst);
                let _ = io::copy(&mut stream, &mut io::sink());
            }
        });
        let pool = one_loop(HANDLERS);
        let (release, released) = bounded::<()>(0);
        let slow = RequestSpec::get(server.url("/")).read_with(move |_, body| {
            body.read_exact(&mut [0; 100])?;
            let _ = released.recv();
            Ok(())
        });
        let before = resident_kib();
        let jobs: Vec<JobHandle> = (0..HANDLERS)
            .map(|_| pool.spawn(slow.clone()).unwrap())
            .collect();
        eventually("no server can send more", || {
            stalled.load(Ordering::SeqCst) == HANDLERS
        });
        let grown = peak_kib().saturating_sub(before);
        let sent = sent.load(Ordering::SeqCst);
        assert!(grown < ALLOWANCE_KIB, "{grown} KiB, of {sent} bytes sent");
        drop(release);
        for job in jobs {
            job.join().unwrap();
        }
    });
}

#[test]
fn many_files_are_saved_at_once() {
    const FILES: usize = 200;

    fn content(path: &str) -> Vec<u8> {
        path.as_bytes()
            .iter()
            .copied()
            .cycle()
            .take(200_000)
            .collect()
    }

    let server =
        Server::start(|request| http::Response::new(Bytes::from(content(request.uri().path()))));
    let folder = tempfile::tempdir().unwrap();
    let specs = (0..FILES).map(|number| {
        let target = folder.path().join(number.to_string());
        RequestSpec::get(server.url(&format!("/{number}"))).save_to(target)
    });
    let builder = pool().num_threads(1).concurrency(64);
    let outcomes = in_order(builder.build_from_requests(specs).unwrap());
    assert_eq!(outcomes.len(), FILES);
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let target = folder.path().join(number.to_string());
        assert_eq!(outcome.unwrap().saved_to(), Some(&*target));
    }
    let saved: HashMap<String, Vec<u8>> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect();
    assert_eq!(saved.len(), FILES, "{:?}", saved.keys());
    for (name, saved) in saved {
        assert!(saved == content(&format!("/{name}")), "{name}");
    }
}

#[test]
fn a_file_to_send_that_is_slow_to_read_holds_up_no_other_job() {
    let server = Server::start(|request| http::Response::new(request.into_body()));
    let fine = Server::responding("ok");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("body");
    std::fs::write(&path, vec![b'b'; 3 << 20]).unwrap();
    let pool = one_loop(8);
    let sending: Vec<JobHandle> = (0..4)
        .map(|_| {
            let spec = RequestSpec::post(server.url("/")).body_from_file(&path);
            pool.spawn(spec).unwrap()
        })
        .collect();
    for _ in 0..50 {
        assert_ok(&pool, &fine);
    }
    for job in sending {
        assert_eq!(job.join().unwrap().bytes().len(), 3 << 20);
    }
}
