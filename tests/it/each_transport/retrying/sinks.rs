//! Bodies of retried jobs that go to files and handlers.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use threaded::crossbeam_channel::unbounded;
use threaded::{OutcomeExt, RequestSpec};

use super::{pool, retried};
use crate::support::framing::{FRAMINGS, raw_response};
use crate::support::pools::at_once;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

#[test]
fn a_file_is_begun_from_scratch_and_is_there_only_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let (half_tx, half) = unbounded();
    let (open, opened) = unbounded::<()>();
    let server = RawServer::start(move |mut stream, number| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
        if number == 0 {
            let _ = stream.write_all(format!("{head}XXXXXXX").as_bytes());
            return;
        }
        stream.write_all(format!("{head}01234").as_bytes()).unwrap();
        half_tx.send(()).unwrap();
        let _ = opened.recv();
        stream.write_all(b"56789").unwrap();
    });
    let pool = pool()
        .concurrency(1)
        .retry(at_once(1))
        .build_from_requests([RequestSpec::get(server.url("/")).save_to(&target)])
        .unwrap();
    half.recv().unwrap();
    assert!(!target.exists(), "half of it is on its way");
    drop(open);
    pool.join_all();
    let response = pool.get_response().unwrap();
    assert_eq!(
        (response.saved_to(), response.attempts()),
        (Some(&*target), 2)
    );
    assert_eq!(std::fs::read(&target).unwrap(), b"0123456789");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn a_handler_is_called_again_with_the_whole_body() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        let whole = raw_response(FRAMINGS[0], "", b"0123456789");
        let sent = if number == 0 {
            whole.len() - 3
        } else {
            whole.len()
        };
        let _ = stream.write_all(&whole[..sent]);
    });
    let bodies = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let noted = Arc::clone(&bodies);
    let spec = RequestSpec::get(server.url("/")).read_with(move |_, body| {
        let mut all = Vec::new();
        let read = body.read_to_end(&mut all);
        noted.lock().unwrap().push(all);
        read?;
        Ok(())
    });
    assert_eq!(retried(at_once(3), spec).unwrap().attempts(), 2);
    assert_eq!(
        *bodies.lock().unwrap(),
        [b"0123456".to_vec(), b"0123456789".to_vec()]
    );
}

#[test]
fn a_handler_that_fails_is_called_again_only_if_that_is_asked_for() {
    let server = Server::responding("hello");
    for (sink_errors, expected) in [(false, 1), (true, 2)] {
        let calls = AtomicUsize::new(0);
        let spec = RequestSpec::get(server.url("/")).read_with(move |_, _| {
            match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Err("not now".into()),
                _ => Ok(()),
            }
        });
        let outcome = retried(at_once(3).sink_errors(sink_errors), spec);
        assert_eq!(
            (outcome.attempts(), outcome.is_ok()),
            (expected, sink_errors)
        );
    }
}
