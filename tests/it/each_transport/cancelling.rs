//! Cancelling and dropping end what is in flight: the connections are closed, and nothing is left of them. What blocks is
//! interrupted by the next bytes that arrive.

use std::io::{ErrorKind as IoErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use threaded::crossbeam_channel::{Receiver, Sender, unbounded};
use threaded::{ErrorKind, Pool, RequestSpec};

use super::{TRANSPORT, pool};
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

/// Ten times as long as it takes a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// What a server is at when its client cancels.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// It has not responded.
    Head,
    /// It sends one byte of a head after the other.
    DrippingHead,
    /// It has sent the beginning of a body, and nothing since.
    Body,
    /// It sends one byte of a body after the other.
    DrippingBody,
}

/// The stages at which this transport can be interrupted.
fn stages() -> &'static [Stage] {
    if TRANSPORT == "hyper" {
        &[
            Stage::Head,
            Stage::DrippingHead,
            Stage::Body,
            Stage::DrippingBody,
        ]
    } else {
        &[Stage::DrippingBody]
    }
}

/// Stays at this stage until the client has closed the connection. Tells when it is at it, and when it is over.
fn server_at(stage: Stage) -> (RawServer, Receiver<()>, Receiver<()>) {
    let ((reached_tx, reached), (closed_tx, closed)) = (unbounded(), unbounded());
    let server = RawServer::start(move |stream, _| {
        stay_at(stage, stream, &reached_tx);
        let _ = closed_tx.send(());
    });
    (server, reached, closed)
}

fn stay_at(stage: Stage, mut stream: TcpStream, reached: &Sender<()>) {
    read_request(&mut stream);
    let start: &[u8] = match stage {
        Stage::Head => b"",
        Stage::DrippingHead => b"HTTP/1.1 200 OK\r\nX-Filler: ",
        Stage::Body | Stage::DrippingBody => {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbody"
        }
    };
    let _ = stream.write_all(start);
    let _ = reached.send(());
    let drips = matches!(stage, Stage::DrippingHead | Stage::DrippingBody);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
    loop {
        match stream.read(&mut [0]) {
            Err(error)
                if matches!(
                    error.kind(),
                    IoErrorKind::WouldBlock | IoErrorKind::TimedOut
                ) => {}
            // End of file, or a reset.
            _ => return,
        }
        if drips && stream.write_all(b"x").is_err() {
            return;
        }
    }
}

/// How the body of a response is received.
#[derive(Clone, Copy, Debug)]
enum Sink {
    Memory,
    File,
    Handler,
}

const SINKS: [Sink; 3] = [Sink::Memory, Sink::File, Sink::Handler];

/// Lets the server get to the stage, then ends the job, and waits until the server has noticed.
fn assert_closed(end: impl Fn(&mut Option<Pool>)) {
    let folder = tempfile::tempdir().unwrap();
    for &stage in stages() {
        for sink in SINKS {
            let (server, reached, closed) = server_at(stage);
            let target = folder.path().join("target");
            std::fs::write(&target, "precious").unwrap();
            let spec = RequestSpec::get(server.url("/")).timeout(None);
            let spec = match sink {
                Sink::Memory => spec,
                Sink::File => spec.save_to(&target),
                Sink::Handler => spec.read_with(|_, body| {
                    std::io::copy(body, &mut std::io::sink())?;
                    Ok(())
                }),
            };
            let mut pool = Some(pool().concurrency(4).build().unwrap());
            pool.as_ref().unwrap().submit(spec).unwrap();
            reached.recv().unwrap();
            end(&mut pool);
            let is_closed = closed.recv_timeout(SOON).is_ok();
            assert!(is_closed, "{stage:?}, {sink:?}");
            drop(pool);
            eventually("no part of the file is left", || {
                std::fs::read_dir(folder.path()).unwrap().count() == 1
            });
            assert_eq!(std::fs::read(&target).unwrap(), b"precious");
        }
    }
}

#[test]
fn dropping_a_pool_closes_its_connections() {
    assert_closed(|pool| drop(pool.take()));
}

#[test]
fn cancelling_a_pool_closes_its_connections() {
    assert_closed(|pool| {
        let pool = pool.as_ref().unwrap();
        pool.handle().cancel();
        let exception = pool.recv().unwrap().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Cancelled, "{exception:?}");
    });
}

#[test]
fn cancelling_a_job_closes_its_connection_and_leaves_the_pool_working() {
    let fine = Server::responding("fine");
    for &stage in stages() {
        let (server, reached, closed) = server_at(stage);
        let pool = pool().num_threads(1).concurrency(2).build().unwrap();
        let job = pool
            .spawn(RequestSpec::get(server.url("/")).timeout(None))
            .unwrap();
        reached.recv().unwrap();
        job.cancel();
        assert!(closed.recv_timeout(SOON).is_ok(), "{stage:?}");
        assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
        let next = pool.spawn(fine.url("/")).unwrap().join();
        assert_eq!(next.unwrap().text(), "fine");
    }
}

#[test]
fn dropping_an_iterator_closes_its_connections_and_leaves_the_pool_working() {
    let fine = Server::responding("fine");
    for &stage in stages() {
        let (server, reached, closed) = server_at(stage);
        let pool = pool().concurrency(2).build().unwrap();
        let others = pool.spawn(fine.url("/")).unwrap();
        let specs = [fine.url("/"), server.url("/")].map(|url| RequestSpec::get(url).timeout(None));
        let mut outcomes = pool.imap_unordered(specs);
        assert!(outcomes.next().unwrap().is_ok());
        reached.recv().unwrap();
        drop(outcomes);
        assert!(closed.recv_timeout(SOON).is_ok(), "{stage:?}");
        assert_eq!(others.join().unwrap().text(), "fine");
        assert_eq!(pool.stats().in_flight(), 0);
        let next = pool.spawn(fine.url("/")).unwrap().join();
        assert_eq!(next.unwrap().text(), "fine");
    }
}

#[test]
fn the_deadline_of_a_run_closes_its_connections() {
    for &stage in stages() {
        let (server, _reached, closed) = server_at(stage);
        let builder = pool().concurrency(2).deadline(Duration::from_millis(500));
        let (responses, exceptions) = builder
            .map([RequestSpec::get(server.url("/")).timeout(None)])
            .unwrap();
        assert_eq!((responses.count(), exceptions.count()), (0, 1));
        assert!(closed.recv_timeout(SOON).is_ok(), "{stage:?}");
    }
}

#[test]
fn a_time_limit_closes_the_connection() {
    for &stage in stages() {
        let (server, _reached, closed) = server_at(stage);
        let pool = pool().concurrency(2).build().unwrap();
        let spec = RequestSpec::get(server.url("/")).timeout(Duration::from_millis(300));
        let exception = pool.spawn(spec).unwrap().join().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Timeout, "{exception:?}");
        assert!(closed.recv_timeout(SOON).is_ok(), "{stage:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_and_no_descriptor_is_left_of_what_was_cancelled() {
    use crate::support::process::{file_descriptors, threads};
    use crate::support::subprocess::in_subprocess;

    let name = concat!(
        module_path!(),
        "::no_thread_and_no_descriptor_is_left_of_what_was_cancelled"
    );
    in_subprocess(name, &[], || {
        let alive = threads();
        let cycle = || {
            assert_closed(|pool| drop(pool.take()));
            assert_closed(|pool| pool.as_ref().unwrap().handle().cancel());
            eventually("the threads have ended", || threads() == alive);
        };
        // What a process opens once, it keeps.
        cycle();
        let before = file_descriptors();
        cycle();
        eventually("all descriptors are closed", || {
            file_descriptors() <= before
        });
    });
}

#[test]
fn a_handle_has_its_outcome_when_the_pool_is_dropped_with_its_job_in_flight() {
    let (server, reached, closed) = server_at(Stage::DrippingBody);
    let pool = pool().concurrency(4).build().unwrap();
    let job = pool.spawn(server.url("/")).unwrap();
    reached.recv_timeout(SOON).unwrap();
    drop(pool);
    let exception = job.join().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Cancelled, "{exception:?}");
    assert!(exception.was_sent());
    closed.recv_timeout(SOON).unwrap();
}

/// The rest of a body may arrive when its job has long ended.
#[test]
fn a_body_that_is_completed_after_its_job_was_cancelled_does_not_become_the_file() {
    const LENGTH: usize = 256 << 10;

    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let part_length = || {
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let others = entries.map(|entry| entry.unwrap().path());
        let part = others.into_iter().find(|path| *path != target);
        part.and_then(|path| std::fs::metadata(path).ok())
            .map_or(0, |part| part.len())
    };
    for by_drop in [false, true] {
        std::fs::write(&target, "precious").unwrap();
        let ((end, ended), (closed_tx, closed)) = (unbounded::<()>(), unbounded());
        let server = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = format!("{LENGTH:x}\r\n{}\r\n", "x".repeat(LENGTH));
            let _ = stream.write_all([head, &chunk].concat().as_bytes());
            let _ = ended.recv();
            let _ = stream.write_all(b"0\r\n\r\n");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            let _ = closed_tx.send(());
        });
        let pool = pool().concurrency(1).build().unwrap();
        let spec = RequestSpec::get(server.url("/")).save_to(&target);
        let job = pool.spawn(spec).unwrap();
        eventually("most of it was written", || {
            part_length() >= LENGTH as u64 / 2
        });
        if by_drop {
            drop(pool);
            assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
            drop(end);
            closed.recv_timeout(SOON).unwrap();
        } else {
            job.cancel();
            assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
            drop(end);
            drop(pool);
            closed.recv_timeout(SOON).unwrap();
        }
        eventually("the part is deleted", || part_length() == 0);
        assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    }
}
