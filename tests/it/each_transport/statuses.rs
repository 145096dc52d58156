//! Promise 11: a status is data, unless `error_for_status` is set.

use bytes::Bytes;
use http::{Request, Response};
use threaded::ErrorKind;

use super::pool;
use crate::support::pools::outcomes_of;
use crate::support::server::Server;

/// Responds with the status that the path names.
fn server() -> Server {
    Server::start(|request: Request<Bytes>| {
        let status: u16 = request
            .uri()
            .path()
            .trim_start_matches('/')
            .parse()
            .unwrap();
        let response = Response::builder()
            .status(status)
            .header("x-why", "asked for");
        response
            .body(Bytes::from(format!("this is a {status}")))
            .unwrap()
    })
}

const STATUSES: [u16; 9] = [200, 201, 300, 400, 401, 404, 429, 500, 503];

#[test]
fn a_4xx_or_5xx_is_a_response() {
    let server = server();
    let outcomes = outcomes_of(
        pool(),
        STATUSES.map(|status| server.url(&format!("/{status}"))),
    );
    for (status, outcome) in STATUSES.into_iter().zip(outcomes) {
        let response = outcome.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.text(), format!("this is a {status}"));
    }
}

#[test]
fn with_error_for_status_it_is_an_exception_that_has_the_response() {
    let server = server();
    let builder = pool().error_for_status(true);
    let outcomes = outcomes_of(
        builder,
        STATUSES.map(|status| server.url(&format!("/{status}"))),
    );
    for (status, outcome) in STATUSES.into_iter().zip(outcomes) {
        if status < 400 {
            assert_eq!(outcome.unwrap().status(), status);
            continue;
        }
        let exception = outcome.unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Status, "{exception:?}");
        assert_eq!(exception.status().unwrap(), status);
        let is_passing = [429, 500, 503].contains(&status);
        assert_eq!(exception.is_retryable(), is_passing, "{status}");
        assert!(exception.was_sent());
        let response = exception.response().unwrap();
        assert_eq!(response.headers()["x-why"], "asked for");
        assert_eq!(response.text(), format!("this is a {status}"));
    }
}

#[test]
fn a_response_can_be_taken_for_an_error_afterwards() {
    let server = server();
    let mut outcomes = outcomes_of(pool(), [server.url("/200"), server.url("/404")]).into_iter();
    let mut next = || outcomes.next().unwrap().unwrap().error_for_status();
    assert_eq!(next().unwrap().status(), 200);
    let exception = next().unwrap_err();
    assert_eq!(exception.index(), 1);
    assert_eq!(exception.request().url(), server.url("/404"));
    assert!(
        exception
            .to_string()
            .ends_with("/404: the server responded with 404 Not Found")
    );
}
