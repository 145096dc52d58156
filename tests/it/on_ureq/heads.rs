//! The maximum size of heads.

use threaded::{ErrorKind, Outcome, Pool, RequestSpec};

use super::{isolated, pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;
use crate::support::server::Server;

fn server_with_head(length: usize) -> RawServer {
    let filler = "x".repeat(length);
    RawServer::responding(format!(
        "HTTP/1.1 200 OK\r\nX-Filler: {filler}\r\nContent-Length: 2\r\n\r\nok"
    ))
}

/// The outcome of a request, after making sure that the same worker's next job succeeds.
fn outcome(spec: impl Into<RequestSpec>) -> Outcome {
    let fine = Server::responding("fine");
    let mut outcomes = outcomes_of(pool(), [spec.into(), fine.url("/").into()]);
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "fine");
    outcomes.remove(0)
}

#[test]
fn a_head_may_fill_the_buffer_and_no_more() {
    let large = server_with_head(60_000);
    assert_eq!(outcome(large.url("/")).unwrap().text(), "ok");
    let too_large = server_with_head(70_000);
    let exception = outcome(too_large.url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Protocol, "{exception:?}");
}

#[test]
fn a_line_of_a_request_may_fill_the_buffer_and_no_more() {
    let server = RecordingServer::responding_ok();
    let path = |length| server.url(&format!("/{}", "p".repeat(length)));
    assert_eq!(outcome(path(16_000)).unwrap().text(), "ok");
    for spec in [
        RequestSpec::get(path(17_000)),
        RequestSpec::get(server.url("/")).header("X-Long", "v".repeat(17_000)),
    ] {
        let exception = outcome(spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
        let message = exception.to_string();
        assert!(message.contains("output_buffer_size"), "{message}");
    }
    let larger = || isolated(&[]).client(|config| config.output_buffer_size(32 << 10));
    let builder = Pool::builder().session(larger);
    assert!(outcomes_of(builder, [path(17_000)])[0].is_ok());
}

#[test]
fn many_lines_may_be_more_than_the_buffer() {
    let server = RecordingServer::responding_ok();
    let spec = (0..10).fold(RequestSpec::get(server.url("/")), |spec, number| {
        spec.header(format!("X-{number}"), "v".repeat(10_000))
    });
    assert_eq!(outcome(spec).unwrap().text(), "ok");
    let lengths = server
        .only()
        .headers()
        .values()
        .map(|value| value.len())
        .sum::<usize>();
    assert!(lengths > 100_000);
}
