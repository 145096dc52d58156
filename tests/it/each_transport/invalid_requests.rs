//! Promise 12: an invalid spec is the outcome of its job alone.

use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde::ser::Error as _;
use threaded::{ErrorKind, RequestSpec, ThreadException};

use super::{outcome, pool};
use crate::support::pools::outcomes_of;
use crate::support::server::Server;

/// Something that refuses to be serialized.
struct Unwilling;

impl Serialize for Unwilling {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("unwilling"))
    }
}

/// Specs that cannot be sent, each with what the message must name.
fn invalid_specs() -> Vec<(RequestSpec, &'static str)> {
    let good = || RequestSpec::post("http://127.0.0.1/");
    vec![
        ("".into(), "is not a valid URL"),
        ("example.com/path".into(), "needs a scheme"),
        ("/path".into(), "needs a scheme"),
        ("http://".into(), "empty host"),
        ("http:///path".into(), "empty host"),
        ("http://exa mple.com/".into(), "is not a valid URL"),
        ("http://127.0.0.1:99999/".into(), "port"),
        ("ftp://127.0.0.1/".into(), "not an http or https URL"),
        ("file:///etc/passwd".into(), "not an http or https URL"),
        ("data:text/plain,hello".into(), "not an http or https URL"),
        (
            format!("http://127.0.0.1/{}", "a".repeat(1_000_000)).into(),
            "bytes long",
        ),
        ("http://%ff@127.0.0.1/".into(), "user info"),
        (
            RequestSpec::new("GET /x HTTP/1.1\r\nX: y", "http://127.0.0.1/"),
            "method",
        ),
        (RequestSpec::new("", "http://127.0.0.1/"), "method"),
        (RequestSpec::new("CONNECT", "http://127.0.0.1/"), "CONNECT"),
        (good().header("bad name", "x"), "bad name"),
        (good().header("", "x"), "header name"),
        (good().header("x-header", "a\r\nInjected: yes"), "x-header"),
        (good().header("x-header", "a\0b"), "x-header"),
        (
            good().header("transfer-encoding", "chunked"),
            "transfer-encoding",
        ),
        (good().header("content-length", "5"), "content-length"),
        (
            good().body("12345").header("content-length", "6"),
            "content-length",
        ),
        (
            good().body("12345").header("content-length", "5, 5"),
            "content-length",
        ),
        (good().header("host", "a").header("host", "b"), "host"),
        (good().query(&Unwilling), "query"),
        (good().form(&Unwilling), "form"),
        #[cfg(feature = "json")]
        (good().json(&Unwilling), "JSON"),
        (good().basic_auth("user:name", Some("x")), "colon"),
        (good().bearer_auth("a\r\nb"), "token"),
        (good().cookie("a;b", "c"), "cookie"),
        (good().cookie("a", "b\r\nX: y"), "cookie"),
        (good().cookie("", "b"), "cookie"),
        (good().body_from_file("/no/such/file"), "/no/such/file"),
        (good().body_from_file("/dev/null"), "regular file"),
        (good().proxy("ftp://127.0.0.1/"), "proxy"),
        (good().proxy("http://exa mple/"), "proxy"),
    ]
}

fn assert_is_invalid(exception: &ThreadException, named: &str) {
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert!(!exception.was_sent() && !exception.is_retryable() && !exception.is_timeout());
    let message = exception.to_string();
    assert!(message.contains(named), "`{named}` is not named: {message}");
    assert!(message.len() < 2048, "{} bytes", message.len());
    assert!(!message.contains(['\r', '\n', '\0']), "{message:?}");
}

#[test]
fn each_mistake_ends_its_own_job_and_is_named() {
    for (spec, named) in invalid_specs() {
        assert_is_invalid(&outcome(spec).unwrap_err(), named);
    }
}

#[test]
fn the_other_jobs_are_not_affected() {
    let server = Server::responding("hello");
    let specs = invalid_specs();
    let mixed = specs
        .iter()
        .flat_map(|(spec, _)| [spec.clone(), RequestSpec::get(server.url("/"))]);
    let outcomes = outcomes_of(pool(), mixed);
    assert_eq!(outcomes.len(), 2 * specs.len());
    for pair in outcomes.chunks(2) {
        assert!(pair[0].is_err());
        assert_eq!(pair[1].as_ref().unwrap().text(), "hello");
    }
    assert_eq!(server.requests(), specs.len());
}

#[test]
fn the_first_mistake_is_the_one_that_is_told() {
    let spec = RequestSpec::get("http://127.0.0.1/")
        .header("bad name", "x")
        .cookie("", "")
        .timeout(std::time::Duration::from_secs(1));
    assert_is_invalid(&outcome(spec).unwrap_err(), "bad name");
}

#[test]
fn a_value_that_bytes_may_hold_is_sent() {
    let server = Server::start(|request| {
        let value = request.headers()["x-latin"].as_bytes().to_vec();
        http::Response::new(value.into())
    });
    let mut headers = HeaderMap::new();
    headers.insert("x-latin", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    let response = outcome(RequestSpec::get(server.url("/")).headers(headers)).unwrap();
    assert_eq!(response.bytes().as_ref(), b"caf\xe9");
}

#[test]
fn an_invalid_request_can_be_fixed_and_sent() {
    let server = Server::responding("hello");
    let exception = outcome("example.com").unwrap_err();
    let fixed = exception.into_request().with_url(server.url("/"));
    assert_eq!(outcome(fixed).unwrap().text(), "hello");
}

/// Opening a named pipe waits for its other end, which no time limit could bound.
#[test]
#[cfg(unix)]
fn a_named_pipe_is_no_body_and_does_not_block() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let spec = RequestSpec::post("http://127.0.0.1/").body_from_file(&pipe);
    assert_is_invalid(&outcome(spec).unwrap_err(), "regular file");
}

#[test]
fn more_headers_than_there_can_be_are_a_mistake_and_no_panic() {
    let many =
        |spec: RequestSpec| (0..40_000).fold(spec, |spec, n| spec.header(format!("x-{n}"), "1"));
    let spec = many(RequestSpec::get("http://127.0.0.1/"));
    assert_is_invalid(
        &outcome(spec.cookie("a", "b")).unwrap_err(),
        "too many headers",
    );
}

#[test]
fn host_and_port_alone_are_told_what_they_lack() {
    assert_is_invalid(
        &outcome("localhost:8000/x").unwrap_err(),
        "put http:// before it",
    );
}
