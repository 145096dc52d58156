//! Bodies that a handler reads, and the errors of handlers.

use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use threaded::{ErrorKind, RequestSpec};

use super::{content, outcome, pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

#[test]
fn a_handler_gets_the_head_and_the_decoded_body() {
    let server = Server::start(|request| {
        let mut response = http::Response::new(bytes::Bytes::from("line 1\nline 2\n"));
        match request.uri().path() {
            "/moved" => {
                *response.status_mut() = http::StatusCode::FOUND;
                response
                    .headers_mut()
                    .insert("location", "/".parse().unwrap());
            }
            _ => *response.status_mut() = http::StatusCode::IM_A_TEAPOT,
        }
        response
    });
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let spec = RequestSpec::get(server.url("/moved")).read_with(move |head, body| {
        let mut notes = notes.lock().unwrap();
        notes.push(format!("{} after {}", head.status(), head.history().len()));
        for line in BufReader::new(body).lines() {
            // Errors of any type, without an annotation.
            let number: u8 = line?.trim_start_matches("line ").parse()?;
            notes.push(format!("line {number}"));
        }
        Ok(())
    });
    let response = outcome(spec).unwrap();
    assert_eq!(
        *noted.lock().unwrap(),
        ["418 I'm a teapot after 1", "line 1", "line 2"]
    );
    assert!(response.bytes().is_empty());
    assert_eq!(response.status(), 418);
}

#[test]
fn a_handlers_error_is_the_source_and_its_panic_an_outcome() {
    #[derive(Debug, thiserror::Error)]
    #[error("line {0} is no number")]
    struct NoNumber(u32);

    let server = Server::responding("hello");
    let get = || RequestSpec::get(server.url("/"));
    let specs = [
        get().read_with(|_, _| Err(NoNumber(7).into())),
        get().read_with(|_, _| panic!("the handler panicked")),
        get(),
    ];
    let outcomes = outcomes_of(pool(), specs);
    let exception = outcomes[0].as_ref().unwrap_err();
    assert!(
        exception
            .to_string()
            .ends_with("the handler of the body failed: line 7 is no number")
    );
    let source = std::error::Error::source(exception.error()).unwrap();
    assert_eq!(source.downcast_ref::<NoNumber>().unwrap().0, 7);
    assert!(exception.was_sent() && !exception.is_retryable());
    assert_eq!(
        outcomes[1].as_ref().unwrap_err().kind(),
        ErrorKind::Panicked
    );
    assert_eq!(outcomes[2].as_ref().unwrap().text(), "hello");
}

#[test]
fn a_body_that_fails_is_told_as_that_whatever_the_handler_makes_of_it() {
    let server = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345");
    let spec = RequestSpec::get(server.url("/")).read_with(|_, body| {
        let mut all = Vec::new();
        let _ = body.read_to_end(&mut all);
        Ok(())
    });
    let exception = outcome(spec).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::BodyTruncated, "{exception:?}");
}

#[test]
fn a_handler_need_not_read_to_the_end() {
    let server = Server::responding(content(1 << 20));
    let first_byte =
        RequestSpec::get(server.url("/")).read_with(|_, body| Ok(body.read_exact(&mut [0])?));
    let outcomes = outcomes_of(pool(), [first_byte, RequestSpec::get(server.url("/"))]);
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1].as_ref().unwrap().bytes().len(), 1 << 20);
}

#[test]
fn a_handler_that_has_enough_is_not_kept_waiting_for_the_rest() {
    // It sends a line, and no more until the client has gone.
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}5\r\nline\n\r\n").as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for succeeds in [true, false] {
        let spec = RequestSpec::get(server.url("/"))
            .timeout(Duration::from_secs(120))
            .read_with(move |_, body| {
                body.read_exact(&mut [0; 5])?;
                if succeeds { Ok(()) } else { Err("no".into()) }
            });
        let started = Instant::now();
        assert_eq!(outcome(spec).is_ok(), succeeds);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
}
