//! Bodies that must have a digest: in memory, in files and for handlers.

use std::fs;
use std::sync::Arc;

use threaded::{ErrorKind, RequestSpec};

use super::super::outcome;
use super::{content, names, noting};
use crate::support::framing::{FRAMINGS, raw_response};
use crate::support::raw::RawServer;
use crate::support::server::Server;

// Of `content(300_000)`, computed by other programs.
const SHA256: &str = "4b842fb90e12c8e34f6484748f2e67e138ec9c7c53f72a919f9919c180c6f8d4";
const SHA512: &str = "8fa46133331e816259b014b45bf4bd4c2ed50a25565d61414b173a23754a1be85b318311d08167fea7d37a0fdb696521d856c45efd6533fa4cad1a3959dd36fe";
const MD5: &str = "595f72e94389c37764635a38069ac868";

const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER_SHA256: &str = "00b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_body_with_the_right_digest_is_a_response_wherever_it_goes() {
    for framing in FRAMINGS {
        let server = RawServer::responding(raw_response(framing, "", &content(300_000)));
        let get = || RequestSpec::get(server.url("/")).sha256(SHA256);
        assert!(
            *outcome(get()).unwrap().bytes() == content(300_000),
            "{framing:?}"
        );
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let all = get().sha512(SHA512).md5(MD5.to_uppercase());
        outcome(all.save_to(&target)).unwrap();
        assert!(fs::read(&target).unwrap() == content(300_000));
        let noted = Arc::default();
        outcome(get().read_with(noting(&noted))).unwrap();
        assert!(*noted.lock().unwrap() == content(300_000));
    }
}

#[test]
fn a_body_with_another_digest_is_an_exception_and_replaces_no_file() {
    let server = Server::responding(content(300_000));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let get = || RequestSpec::get(server.url("/")).sha256(OTHER_SHA256);
    let specs = [
        get(),
        get().save_to(&target),
        get().read_with(noting(&Arc::default())),
        // All of them have to be right.
        RequestSpec::get(server.url("/"))
            .sha256(SHA256)
            .md5("0".repeat(32)),
    ];
    for spec in specs {
        let exception = outcome(spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::DigestMismatch);
        assert!(exception.was_sent() && !exception.is_retryable());
        let message = exception.error().to_string();
        assert!(
            message.contains(SHA256) || message.contains(MD5),
            "{message}"
        );
    }
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["target"]);
}

#[cfg(feature = "gzip")]
#[test]
fn it_is_the_digest_of_the_decoded_body() {
    let encoded = crate::support::encodings::gzip(&content(300_000));
    let server = Server::start(move |_| {
        http::Response::builder()
            .header("content-encoding", "gzip")
            .body(encoded.clone().into())
            .unwrap()
    });
    let get = || RequestSpec::get(server.url("/")).sha256(SHA256);
    outcome(get()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    outcome(get().save_to(folder.path().join("target"))).unwrap();
    assert_eq!(
        outcome(get().decode(false)).unwrap_err().kind(),
        ErrorKind::DigestMismatch
    );
}

#[test]
fn error_pages_have_no_digest_and_empty_bodies_that_of_nothing() {
    let responding =
        |head: &str| RawServer::responding(format!("HTTP/1.1 {head}\r\n\r\n").into_bytes());
    let missing = responding("404 Not Found\r\nContent-Length: 0");
    let get = |server: &RawServer| RequestSpec::get(server.url("/"));
    assert_eq!(outcome(get(&missing).sha256(SHA256)).unwrap().status(), 404);
    for head in ["200 OK\r\nContent-Length: 0", "204 No Content"] {
        let empty = responding(head);
        outcome(get(&empty).sha256(SHA256_OF_NOTHING)).unwrap();
        let exception = outcome(get(&empty).sha256(SHA256)).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::DigestMismatch);
    }
    let server =
        RawServer::responding(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n".to_vec());
    outcome(RequestSpec::head(server.url("/")).sha256(SHA256)).unwrap();
}

#[test]
fn a_handler_has_to_read_all_of_a_body_with_a_digest() {
    let server = Server::responding(content(300_000));
    let reading = |bytes: usize| {
        RequestSpec::get(server.url("/"))
            .sha256(SHA256)
            .read_with(move |_, body| Ok(body.read_exact(&mut vec![0; bytes])?))
    };
    // It need not read the end itself.
    outcome(reading(300_000)).unwrap();
    let exception = outcome(reading(10)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Sink);
    let source = std::error::Error::source(exception.error()).unwrap();
    assert!(source.to_string().contains("to the end"), "{source}");
    // Nothing has the digest of nothing.
    let empty = Server::start(|_| {
        let response = http::Response::builder().status(204);
        response.body("".into()).unwrap()
    });
    let spec = RequestSpec::get(empty.url("/")).sha256(SHA256_OF_NOTHING);
    outcome(spec.read_with(|_, _| Ok(()))).unwrap();
}

#[test]
fn an_invalid_digest_is_an_invalid_request() {
    let server = Server::responding("never asked");
    let get = || RequestSpec::get(server.url("/"));
    for (spec, name) in [
        (get().sha256("12"), "sha256"),
        (get().sha512(SHA256), "sha512"),
        (get().md5("no digest"), "md5"),
    ] {
        let exception = outcome(spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest);
        assert!(exception.error().to_string().contains(name), "{exception}");
    }
}

/// `content(300_000)` under a digest that the server states; the path names the header.
fn stating(value: &'static str) -> Server {
    Server::start(move |request| {
        let name = &request.uri().path()[1..];
        let is_wanted = request.headers().contains_key("want-repr-digest");
        let response = http::Response::builder().header(name, value);
        let response = response.header("x-wanted", is_wanted.to_string());
        response.body(content(300_000).into()).unwrap()
    })
}

#[test]
fn digests_that_the_server_states_are_compared_if_that_is_asked_for() {
    // Those above, in base64.
    const RIGHT: &str = "sha-256=:S4QvuQ4SyONPZIR0jy5n4TjsnHxT9yqRn5kZwYDG+NQ=:";
    const WRONG: &str =
        "unixsum=:AAA=:, sha-256=:R4QvuQ4SyONPZIR0jy5n4TjsnHxT9yqRn5kZwYDG+NQ=:;x=1";
    const UNKNOWN: &str = "sha-256=:S4Q=:, sha-512=S4QvuQ, md5=:AAAA:, sha-256";

    let folder = tempfile::tempdir().unwrap();
    for (value, is_right) in [(RIGHT, true), (WRONG, false), (UNKNOWN, true)] {
        let server = stating(value);
        for name in ["/repr-digest", "/content-digest"] {
            let get = || RequestSpec::get(server.url(name)).verify_digest_headers(true);
            for spec in [get(), get().save_to(folder.path().join("target"))] {
                let result = outcome(spec);
                assert_eq!(result.is_ok(), is_right, "{value}: {result:?}");
                match result {
                    Ok(response) => assert_eq!(response.headers()["x-wanted"], "true"),
                    Err(exception) => assert_eq!(exception.kind(), ErrorKind::DigestMismatch),
                }
            }
            let response = outcome(RequestSpec::get(server.url(name))).unwrap();
            assert_eq!(response.headers()["x-wanted"], "false");
            // What a GET would have is not what comes.
            let head = RequestSpec::head(server.url(name)).verify_digest_headers(true);
            outcome(head).unwrap();
        }
    }
}

/// A part that the request asks for has the digest of the part.
#[test]
fn the_digest_of_a_part_is_that_of_its_content() {
    // Of `hello`, and of something else.
    const HELLO: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    const OTHER: &str = "sha-256=:S4QvuQ4SyONPZIR0jy5n4TjsnHxT9yqRn5kZwYDG+NQ=:";

    for (content, whole, is_right) in [(HELLO, OTHER, true), (OTHER, HELLO, false)] {
        let server = Server::start(move |_| {
            let response = http::Response::builder().status(206);
            let response = response.header("content-range", "bytes 0-4/100");
            let response = response.header("content-digest", content);
            let response = response.header("repr-digest", whole);
            response.body("hello".into()).unwrap()
        });
        let spec = RequestSpec::get(server.url("/")).header("Range", "bytes=0-4");
        let result = outcome(spec.verify_digest_headers(true));
        assert_eq!(result.is_ok(), is_right, "{result:?}");
    }
}
