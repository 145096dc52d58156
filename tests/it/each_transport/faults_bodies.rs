//! Bodies in both directions that are not transferred as a whole.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use threaded::{ErrorKind, Outcome, RequestSpec};

use super::faults::{assert_kind, exception, outcome_before_another};
use super::{REPORTS_EARLY_RESPONSES, pool};
use crate::support::framing::{Framing, raw_response};
use crate::support::raw::{RawServer, reset};

/// More than the socket buffers hold.
const LARGE: usize = 32 << 20;

/// Reads the head of a request and nothing beyond it.
fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend(byte);
    }
}

const TOO_LARGE: &[u8] =
    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much";

/// Responds to each request before it has read the body, and then does this with the connection.
fn hasty(then: impl Fn(TcpStream) + Send + Sync + 'static) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(TOO_LARGE);
        then(stream);
    })
}

/// The outcomes of a body that is in memory and of one that is in a file.
fn outcomes(server: &RawServer) -> [Outcome; 2] {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(LARGE as u64).unwrap();
    let post = || RequestSpec::post(server.url("/"));
    [
        post().body(vec![0; LARGE]),
        post().body_from_file(file.path()),
    ]
    .map(|spec| outcome_before_another(pool(), spec))
}

/// The outcome is the response; on transports that do not look for one after a failed write, it may be `Closed`.
fn assert_is_the_response_if_it_can_be(outcome: &Outcome) {
    match outcome {
        Err(exception) if !REPORTS_EARLY_RESPONSES => {
            let is_closed = exception.kind() == ErrorKind::Closed;
            assert!(is_closed && exception.was_sent(), "{exception:?}");
        }
        outcome => assert_is_the_response(outcome),
    }
}

fn assert_is_the_response(outcome: &Outcome) {
    let response = outcome.as_ref().unwrap().response();
    assert_eq!(
        (response.status().as_u16(), &*response.text()),
        (413, "too much")
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_is_a_local_fault() {
    let file = Arc::new(tempfile::NamedTempFile::new().unwrap());
    file.as_file().set_len(LARGE as u64).unwrap();
    let shrinking = Arc::clone(&file);
    let server = RawServer::start(move |mut stream, _| {
        read_head(&mut stream);
        shrinking.as_file().set_len(0).unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let spec = RequestSpec::post(server.url("/")).body_from_file(file.path());
    let exception = outcome_before_another(pool(), spec).unwrap_err();
    let message = exception.to_string();
    assert!(message.contains("truncated while it was sent"), "{message}");
    assert_kind!(exception, LocalResource, sent: true);
}

#[test]
fn a_response_that_comes_before_the_body_was_sent_is_the_response() {
    // As servers do it that are careful: they say that nothing more will come, and read on for a while.
    let patient = hasty(|mut stream| {
        let _ = stream.shutdown(Shutdown::Write);
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let [in_memory, of_a_file] = outcomes(&patient);
    assert_is_the_response(&in_memory);
    assert_is_the_response_if_it_can_be(&of_a_file);
}

#[test]
fn a_response_outlives_the_connection_that_is_closed_while_the_body_is_sent() {
    let brisk = hasty(drop);
    for _ in 0..10 {
        outcomes(&brisk)
            .iter()
            .for_each(assert_is_the_response_if_it_can_be);
    }
}

#[test]
fn a_connection_that_is_closed_without_a_response_while_the_body_is_sent() {
    for end in [drop as fn(TcpStream), reset] {
        let server = RawServer::start(move |mut stream, _| {
            read_head(&mut stream);
            end(stream);
        });
        let exception = exception(RequestSpec::post(server.url("/")).body(vec![0; LARGE]));
        assert!(exception.is_retryable());
        assert_kind!(exception, Closed, sent: true);
    }
}

#[test]
fn a_request_body_that_the_server_does_not_read_is_a_timeout() {
    let (over, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = RawServer::start(move |mut stream, _| {
        read_head(&mut stream);
        // Open until the test is over.
        let _ = wait.lock().unwrap().recv();
    });
    let limit = Duration::from_millis(300);
    let spec = RequestSpec::post(server.url("/")).body(vec![0; LARGE]);
    let exception = exception(spec.timeout(limit));
    assert!(
        exception.is_timeout() && exception.was_sent(),
        "{exception:?}"
    );
    assert!(exception.elapsed() >= limit && exception.elapsed() < 10 * limit);
    drop(over);
}

#[cfg(all(feature = "gzip", target_os = "linux"))]
#[test]
fn a_bomb_takes_no_more_memory_than_the_limit_lets_it() {
    use crate::support::encodings::gzip;
    use crate::support::process::peak_kib;
    use crate::support::subprocess::in_subprocess;

    let name = concat!(
        module_path!(),
        "::a_bomb_takes_no_more_memory_than_the_limit_lets_it"
    );
    in_subprocess(name, &[], || {
        const MIB: usize = 1 << 20;
        // 256 MiB, in members of which each is a kilobyte on the wire.
        let bomb = gzip(&vec![0; MIB]).repeat(256);
        assert!(bomb.len() < MIB);
        let coded = "Content-Encoding: gzip\r\n";
        let server = RawServer::responding(raw_response(Framing::ContentLength, coded, &bomb));
        let spec = RequestSpec::get(server.url("/"));
        let before = peak_kib() * 1024;
        let exception = exception(spec.max_body(4 * MIB as u64));
        let is_too_large = exception.kind() == ErrorKind::BodyTooLarge;
        assert!(is_too_large && !exception.is_retryable(), "{exception:?}");
        assert!(peak_kib() * 1024 < before + 64 * MIB);
    });
}
