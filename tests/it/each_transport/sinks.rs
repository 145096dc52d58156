//! Promise 8: bodies go where the spec says, and nothing stands under a file's name unless it is complete.

mod conditional;
mod digests;
mod files;
mod handlers;
mod killed;
mod naming;
#[cfg(unix)]
mod nginx;
mod resuming;
mod watching;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use threaded::{BoxError, ErrorKind, RequestSpec, ThreadException};

use super::{outcome, pool};
use crate::support::framing::{FRAMINGS, drip, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Records what it reads.
fn noting(
    into: &Arc<Mutex<Vec<u8>>>,
) -> impl Fn(&threaded::ResponseHead, &mut dyn Read) -> Result<(), BoxError> + use<> {
    let into = Arc::clone(into);
    move |_, body| {
        body.read_to_end(&mut into.lock().unwrap())?;
        Ok(())
    }
}

#[test]
fn a_body_is_saved_whole_in_every_framing() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 1, 300_000] {
        for framing in FRAMINGS {
            let server = RawServer::responding(raw_response(framing, "", &content(length)));
            let target = folder.path().join("target");
            fs::write(&target, "what was there before").unwrap();
            let response = outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
            assert_eq!(response.saved_to(), Some(&*target));
            assert!(response.bytes().is_empty());
            assert!(
                fs::read(&target).unwrap() == content(length),
                "{length}, {framing:?}"
            );
            assert_eq!(names(folder.path()), ["target"]);
        }
    }
}

#[test]
fn a_body_larger_than_memory_may_hold_goes_to_a_file_or_a_handler() {
    let server = Server::responding(vec![0; 65 << 20]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("large");
    let get = || RequestSpec::get(server.url("/"));
    let in_memory = outcome(get()).unwrap_err();
    assert_eq!(in_memory.kind(), ErrorKind::BodyTooLarge);
    outcome(get().save_to(&target)).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), 65 << 20);
    outcome(get().read_with(|_, body| {
        io::copy(body, &mut io::sink())?;
        Ok(())
    }))
    .unwrap();
}

/// The outcome of saving a body that fails; the folder must be as before.
fn failed(spec: RequestSpec) -> ThreadException {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let exception = outcome(spec.save_to(&target)).unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["target"]);
    exception
}

/// Sends `bytes` bytes, one every 20 ms.
fn dripping(bytes: usize) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        drip(
            &mut stream,
            Duration::from_millis(20),
            content(bytes).chunks(1),
        );
    })
}

#[test]
fn a_deadline_holds_for_files_and_handlers_if_it_is_set() {
    let server = dripping(10_000);
    let limit = Duration::from_millis(200);
    let get = || RequestSpec::get(server.url("/"));
    let exception = failed(get().timeout(limit));
    assert_eq!(exception.time_limit(), Some(limit));
    let handled = get().timeout(limit).read_with(noting(&Arc::default()));
    let exception = outcome(handled).unwrap_err();
    assert_eq!(exception.time_limit(), Some(limit));
    let builder = pool().timeout(limit);
    let specs = [get().read_with(noting(&Arc::default()))];
    assert!(
        outcomes_of(builder, specs)[0]
            .as_ref()
            .unwrap_err()
            .is_timeout()
    );
}

#[test]
fn without_a_deadline_a_slow_download_lives_and_a_dead_one_ends() {
    let stall = Duration::from_millis(400);
    let builder = || pool().stall_timeout(stall);
    let noted = Arc::default();
    // Takes longer in all than it may stall.
    let slow = dripping(40);
    let spec = RequestSpec::get(slow.url("/")).read_with(noting(&noted));
    let outcomes = outcomes_of(builder(), [spec]);
    assert!(outcomes[0].as_ref().unwrap().elapsed() > stall);
    assert!(*noted.lock().unwrap() == content(40));

    for said in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345"] {
        let dead = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            stream.write_all(said.as_bytes()).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let spec = RequestSpec::get(dead.url("/")).read_with(noting(&Arc::default()));
        let exception = outcomes_of(builder(), [spec]).remove(0).unwrap_err();
        assert!(exception.is_timeout(), "{exception:?}");
        assert!(exception.elapsed() >= stall && exception.elapsed() < 10 * stall);
    }
}

#[cfg(feature = "gzip")]
#[test]
fn files_and_handlers_get_what_is_decoded() {
    use crate::support::encodings::{TEXT, gzip_text};

    let gzipped = raw_response(
        FRAMINGS[0],
        "Content-Encoding: gzip\r\nConnection: close\r\n",
        &gzip_text(),
    );
    let server = RawServer::responding(gzipped);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), TEXT);
    let noted = Arc::default();
    outcome(RequestSpec::get(server.url("/")).read_with(noting(&noted))).unwrap();
    assert_eq!(*noted.lock().unwrap(), TEXT.as_bytes());
}

#[test]
fn a_response_without_a_body_gives_a_handler_an_empty_one_and_saves_no_file() {
    let server = Server::responding("hello");
    let noted = Arc::default();
    outcome(RequestSpec::head(server.url("/")).read_with(noting(&noted))).unwrap();
    assert!(noted.lock().unwrap().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let response = outcome(RequestSpec::head(server.url("/")).save_to(&target)).unwrap();
    assert_eq!((response.saved_to(), names(folder.path()).len()), (None, 0));
}

/// Sends the beginning, and then a piece that is no content every 20 ms.
fn feeding(beginning: impl Into<Vec<u8>>, piece: &'static [u8]) -> RawServer {
    let beginning = beginning.into();
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        stream.write_all(&beginning).unwrap();
        let pieces = (0..10_000).map(|_| piece);
        drip(&mut stream, Duration::from_millis(20), pieces);
    })
}

#[test]
fn what_is_no_content_does_not_keep_a_download_alive() {
    let stall = Duration::from_millis(400);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let mut servers = vec![feeding(format!("{chunked}\r\n5\r\nhello\r\n5;a="), b"x")];
    if cfg!(feature = "gzip") {
        // A name in the header of a gzip file, which may be of any length (RFC 1952, section 2.3).
        let coded = format!("{chunked}Content-Encoding: gzip\r\n\r\na\r\n").into_bytes();
        let header = b"\x1f\x8b\x08\x08\0\0\0\0\0\xff\r\n";
        servers.push(feeding([&coded[..], header].concat(), b"1\r\nx\r\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    for server in servers {
        let get = || RequestSpec::get(server.url("/"));
        let specs = [
            get().save_to(folder.path().join("target")),
            get().read_with(noting(&Arc::default())),
        ];
        for outcome in outcomes_of(pool().stall_timeout(stall), specs) {
            let exception = outcome.unwrap_err();
            assert_eq!(exception.time_limit(), Some(stall), "{exception:?}");
            let taken = exception.elapsed();
            assert!(stall <= taken && taken < 20 * stall, "{taken:?}");
        }
    }
    assert_eq!(names(folder.path()), [""; 0]);
}
