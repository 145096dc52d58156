//! Idle connections that the server has closed are not used again.

use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use threaded::RequestSpec;
use threaded::crossbeam_channel::bounded;

use super::pool;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, values};

/// More than one turn of the event loop can look at.
const CONNECTIONS: usize = 300;

#[test]
fn connections_that_were_closed_while_they_were_idle_cost_no_job() {
    let all_in_flight = Barrier::new(CONNECTIONS);
    let (close, closing) = bounded::<()>(0);
    let (closed_tx, closed) = bounded(CONNECTIONS);
    let server = RawServer::start(move |mut stream, number| {
        read_request(&mut stream);
        if number < CONNECTIONS {
            all_in_flight.wait();
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if number < CONNECTIONS {
            let _ = closing.recv();
            drop(stream);
            let _ = closed_tx.send(());
        }
    });
    let pool = pool()
        .num_threads(1)
        .concurrency(CONNECTIONS)
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap();
    let run = || {
        let urls = vec![server.url("/"); CONNECTIONS];
        let (responses, mut exceptions) = pool.map(urls).unwrap();
        assert_eq!(responses.count(), CONNECTIONS, "{:?}", exceptions.next());
    };
    run();
    drop(close);
    for _ in 0..CONNECTIONS {
        closed.recv().unwrap();
    }
    run();
}

#[test]
fn an_empty_file_is_sent_with_its_length() {
    let server = Arc::new(RecordingServer::responding_ok());
    let file = tempfile::NamedTempFile::new().unwrap();
    let spec = RequestSpec::post(server.url("/")).body_from_file(file.path());
    assert_eq!(super::outcome(spec).unwrap().text(), "ok");
    assert_eq!(values(&server.only(), "content-length"), ["0"]);
}
