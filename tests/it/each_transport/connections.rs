//! Connection reuse, counted by the server.

use bytes::Bytes;
use threaded::RequestSpec;

use super::pool;
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

/// Runs the requests one after the other on one worker; all must have a response.
fn run(requests: impl IntoIterator<Item = RequestSpec>) {
    for outcome in outcomes_of(pool(), requests) {
        outcome.unwrap();
    }
}

#[test]
fn one_worker_needs_one_connection() {
    let server = Server::responding(vec![b'x'; 100_000]);
    run((0..50).map(|page| server.url(&format!("/{page}")).into()));
    assert_eq!((server.requests(), server.connections()), (50, 1));
}

#[test]
fn redirects_and_refused_statuses_leave_the_connection_usable() {
    let server = Server::start(|request| {
        let response = http::Response::builder();
        let response = match request.uri().path() {
            "/moved" => response.status(302).header("location", "/here"),
            "/gone" => response.status(410),
            _ => response,
        };
        response.body(Bytes::from(vec![b'x'; 10_000])).unwrap()
    });
    let paths = ["/moved", "/gone", "/", "/moved", "/"];
    run(paths.map(|path| server.url(path).into()));
    assert_eq!((server.requests(), server.connections()), (7, 1));
}

#[test]
fn responses_without_a_body_leave_the_connection_usable() {
    let server = Server::start(|request| {
        let status: u16 = request
            .uri()
            .path()
            .trim_start_matches('/')
            .parse()
            .unwrap();
        http::Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap()
    });
    let specs = [200, 204, 304].map(|status| RequestSpec::get(server.url(&format!("/{status}"))));
    let head = RequestSpec::head(server.url("/200"));
    run(specs.into_iter().chain([head]));
    assert_eq!((server.requests(), server.connections()), (4, 1));
}

#[test]
fn a_body_too_large_costs_the_connection_and_nothing_else() {
    let server = Server::responding(vec![b'x'; 1 << 20]);
    let spec = RequestSpec::get(server.url("/"));
    let outcomes = outcomes_of(pool(), [spec.clone().max_body(1), spec]);
    assert!(outcomes[0].is_err());
    assert_eq!(outcomes[1].as_ref().unwrap().bytes().len(), 1 << 20);
}

#[test]
fn a_server_that_closes_after_each_response_without_saying_so_costs_at_most_the_request_that_crosses()
 {
    let server = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let outcomes = outcomes_of(pool(), (0..20).map(|page| server.url(&format!("/{page}"))));
    assert_eq!(outcomes.len(), 20);
    assert!(outcomes[0].is_ok());
    for exception in outcomes.into_iter().filter_map(Result::err) {
        // It was written to a connection whose end was under way.
        assert_eq!(
            exception.kind(),
            threaded::ErrorKind::Closed,
            "{exception:?}"
        );
        assert!(exception.is_retryable());
    }
    assert!(server.connections() >= 10);
}

#[test]
fn a_connection_that_the_server_closes_on_the_second_request_ends_that_job_as_closed() {
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        read_request(&mut stream);
    });
    let outcomes = outcomes_of(
        pool(),
        [server.url("/1"), server.url("/2"), server.url("/3")],
    );
    let ended_well: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(ended_well, [true, false, true]);
    let exception = outcomes[1].as_ref().unwrap_err();
    assert_eq!(
        exception.kind(),
        threaded::ErrorKind::Closed,
        "{exception:?}"
    );
    assert!(exception.was_sent());
}

#[test]
fn the_address_of_the_server_is_told() {
    let server = Server::responding("hello");
    let outcomes = outcomes_of(pool(), [server.url("/")]);
    assert_eq!(
        outcomes[0].as_ref().unwrap().remote_addr(),
        Some(server.address())
    );
}
