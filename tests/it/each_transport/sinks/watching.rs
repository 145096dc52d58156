//! The bytes of bodies are counted and told as they arrive, wherever they go.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use threaded::crossbeam_channel::{Receiver, unbounded};
use threaded::{Event, RequestSpec};

use super::super::pool;
use super::content;
use crate::support::framing::{FRAMINGS, Framing, drip, raw_response};
use crate::support::pools::outcome_of;
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request};

const LENGTH: usize = 200_000;

/// Everywhere that a body can go.
fn everywhere(url: &str, folder: &std::path::Path) -> [RequestSpec; 3] {
    let get = || RequestSpec::get(url);
    let read = |_: &threaded::ResponseHead, body: &mut dyn io::Read| {
        io::copy(body, &mut io::sink())?;
        Ok(())
    };
    [
        get(),
        get().save_to(folder.join("target")),
        get().read_with(read),
    ]
}

/// A server that sends half of a body, and the rest when it is told to.
fn halves(framing: Framing, go_on: Receiver<()>) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let response = raw_response(framing, "Connection: close\r\n", &content(LENGTH));
        let (first, second) = response.split_at(response.len() / 2);
        stream.write_all(first).unwrap();
        let _ = go_on.recv();
        let _ = stream.write_all(second);
    })
}

#[test]
fn bytes_are_counted_before_the_body_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    for framing in FRAMINGS {
        let (go_on_tx, go_on) = unbounded();
        let server = halves(framing, go_on);
        for spec in everywhere(&server.url("/"), folder.path()) {
            let pool = pool().build().unwrap();
            let job = pool.spawn(spec).unwrap();
            let received = || pool.stats().bytes_received() as usize;
            eventually("half of it has come", || received() > LENGTH / 2 - 1000);
            assert!(received() <= LENGTH / 2, "{framing:?}");
            go_on_tx.send(()).unwrap();
            job.join().unwrap();
            assert_eq!(received(), LENGTH, "{framing:?}");
        }
    }
}

#[test]
fn an_observer_is_told_now_and_then() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let response = raw_response(FRAMINGS[0], "Connection: close\r\n", &content(LENGTH));
        drip(
            &mut stream,
            Duration::from_millis(30),
            response.chunks(LENGTH / 20),
        );
    });
    let folder = tempfile::tempdir().unwrap();
    for spec in everywhere(&server.url("/"), folder.path()) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let observer = {
            let told = Arc::clone(&told);
            move |event: &Event<'_>| {
                if let Event::Progress(progress) = event {
                    assert_eq!(
                        (progress.attempt().index(), progress.attempt().number()),
                        (0, 1)
                    );
                    assert_eq!(progress.length(), Some(LENGTH as u64));
                    assert_eq!(progress.resumed_from(), 0);
                    told.lock().unwrap().push(progress.received());
                }
            }
        };
        let began = Instant::now();
        outcome_of(pool().observer(observer), spec).unwrap();
        let told = told.lock().unwrap();
        let most = began.elapsed().as_millis() / 100;
        assert!(
            told.len() > 2 && told.len() as u128 <= most,
            "{most}: {told:?}"
        );
        for pair in told.windows(2) {
            assert!(pair[0] < pair[1] && pair[1] <= LENGTH as u64, "{told:?}");
        }
    }
}

#[test]
fn a_body_that_comes_at_once_is_not_told_of_and_one_that_is_continued_is_told_of_as_a_whole() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        let body = content(LENGTH);
        let etag = "ETag: \"v1\"\r\nConnection: close";
        let _ = match number {
            0 => {
                let head = format!("HTTP/1.1 200 OK\r\n{etag}\r\nContent-Length: {LENGTH}\r\n\r\n");
                stream.write_all(&[head.as_bytes(), &body[..LENGTH / 2]].concat())
            }
            _ => {
                let rest = LENGTH / 2;
                let head = format!(
                    "HTTP/1.1 206 Partial Content\r\n{etag}\r\nContent-Length: {rest}\r\n\
                     Content-Range: bytes {rest}-{}/{LENGTH}\r\n\r\n",
                    LENGTH - 1
                );
                stream.write_all(head.as_bytes()).unwrap();
                drip(
                    &mut stream,
                    Duration::from_millis(30),
                    body[rest..].chunks(rest / 10),
                );
                Ok(())
            }
        };
    });
    let folder = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let told = Arc::clone(&told);
        move |event: &Event<'_>| {
            if let Event::Progress(progress) = event {
                assert_eq!(progress.length(), Some(LENGTH as u64));
                told.lock()
                    .unwrap()
                    .push((progress.resumed_from(), progress.received()));
            }
        }
    };
    let get = || {
        let spec = RequestSpec::get(server.url("/")).save_to(folder.path().join("target"));
        outcome_of(pool().observer(observer.clone()), spec.resume(true))
    };
    get().unwrap_err();
    let told_at_once = told.lock().unwrap().len();
    get().unwrap();
    let told = told.lock().unwrap();
    let (resumed_from, received) = *told.last().unwrap();
    assert_eq!(resumed_from, LENGTH as u64 / 2);
    assert!(received > resumed_from && received <= LENGTH as u64);
    // A slow machine may take longer for what comes at once.
    assert!(told_at_once < 5 && told.len() > told_at_once);
}

/// The bodies of redirects count as received, but not as a part of the one that they lead to.
#[test]
fn the_body_of_a_redirect_is_none_of_the_body_that_follows() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        if number == 0 {
            let body = content(10_000);
            let head = "HTTP/1.1 302 Found\r\nLocation: /there\r\nConnection: close\r\nContent-Length: 10000\r\n\r\n";
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
            return;
        }
        let response = raw_response(FRAMINGS[0], "Connection: close\r\n", &content(LENGTH));
        // An observer is told of it when it is nearly complete.
        let (most, rest) = response.split_at(LENGTH - 5_000);
        stream.write_all(most).unwrap();
        drip(&mut stream, Duration::from_millis(60), rest.chunks(1_000));
    });
    let most = Arc::new(Mutex::new(0));
    let observer = {
        let most = Arc::clone(&most);
        move |event: &Event<'_>| {
            if let Event::Progress(progress) = event {
                *most.lock().unwrap() = progress.received();
            }
        }
    };
    outcome_of(pool().observer(observer), server.url("/")).unwrap();
    let most = *most.lock().unwrap();
    assert!(
        (LENGTH as u64 - 6_000..=LENGTH as u64).contains(&most),
        "{most}"
    );
}
