//! Multipart forms, as a server receives them.
#![cfg(feature = "multipart")]

use bytes::Bytes;
use http::{Request, Response};
use threaded::multipart::{Form, Part};
use threaded::{ErrorKind, RequestSpec};

use super::outcome;
use crate::support::recording_server::{RecordingServer, redirect, values};

/// What a server receives of a form.
fn received(form: Form) -> Request<Bytes> {
    let server = RecordingServer::responding_ok();
    outcome(RequestSpec::post(server.url("/")).multipart(form)).unwrap();
    server.only()
}

/// The parts of a form, head and content, after the announced length and boundary.
fn parts(request: &Request<Bytes>) -> Vec<(String, Vec<u8>)> {
    let length = request.body().len().to_string();
    assert_eq!(values(request, "content-length"), [length]);
    let content_type = values(request, "content-type").concat();
    let boundary = content_type
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap();
    assert!((16..=70).contains(&boundary.len()));

    // Bytes as characters of the same number.
    let body: String = request.body().iter().copied().map(char::from).collect();
    let body = format!("\r\n{body}");
    let body = body
        .strip_suffix(&format!("\r\n--{boundary}--\r\n"))
        .unwrap();
    let border = format!("\r\n--{boundary}\r\n");
    let mut pieces = body.split(&border);
    assert_eq!(pieces.next(), Some(""));
    let part = |piece: &str| {
        let (head, content) = piece.split_once("\r\n\r\n").unwrap();
        let bytes = |text: &str| text.chars().map(|character| character as u8).collect();
        (String::from_utf8(bytes(head)).unwrap(), bytes(content))
    };
    pieces.map(part).collect()
}

fn photo() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("beach.jpg");
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, content).unwrap();
    (directory, path)
}

#[test]
fn parts_arrive_in_order_as_they_were_described() {
    let (_directory, path) = photo();
    let form = Form::new()
        .text("title", "Ferien & Söhne")
        .text("title", "")
        .file("photo", &path)
        .part(
            "notes",
            Part::bytes("sunny\r\n")
                .file_name("notes.txt")
                .content_type("text/plain"),
        )
        .part("raw", Part::bytes(&b"\0\xff"[..]))
        .part(
            "other",
            Part::file(&path).file_name("other").content_type("x/y"),
        );
    let photo = std::fs::read(&path).unwrap();
    let expected: [(&str, &[u8]); 6] = [
        (r#"name="title""#, "Ferien & Söhne".as_bytes()),
        (r#"name="title""#, b""),
        (
            "name=\"photo\"; filename=\"beach.jpg\"\r\nContent-Type: image/jpeg",
            &photo,
        ),
        (
            "name=\"notes\"; filename=\"notes.txt\"\r\nContent-Type: text/plain",
            b"sunny\r\n",
        ),
        (r#"name="raw""#, b"\0\xff"),
        (
            "name=\"other\"; filename=\"other\"\r\nContent-Type: x/y",
            &photo,
        ),
    ];
    let request = received(form);
    let parts = parts(&request);
    assert_eq!(parts.len(), expected.len());
    for ((head, content), (expected_head, expected_content)) in parts.iter().zip(expected) {
        assert_eq!(
            *head,
            format!("Content-Disposition: form-data; {expected_head}")
        );
        assert!(content == expected_content, "{head}: another content");
    }
}

#[test]
fn a_file_of_an_unknown_kind_is_a_stream_of_bytes() {
    let file = tempfile::Builder::new()
        .suffix(".no-such-kind")
        .tempfile()
        .unwrap();
    let parts = parts(&received(Form::new().file("f", file.path())));
    let (head, content) = &parts[0];
    assert!(
        head.ends_with("\r\nContent-Type: application/octet-stream"),
        "{head}"
    );
    assert!(content.is_empty());
}

#[test]
fn a_form_may_be_empty() {
    let server = RecordingServer::responding_ok();
    outcome(RequestSpec::post(server.url("/")).multipart(Form::new())).unwrap();
    let request = server.only();
    let content_type = values(&request, "content-type").concat();
    let (_, boundary) = content_type.split_once("boundary=").unwrap();
    assert_eq!(request.body(), &format!("--{boundary}--\r\n"));
}

#[test]
fn a_form_is_the_same_when_it_is_sent_again() {
    let (_directory, path) = photo();
    let forms = [
        Form::new().text("title", "Holiday"),
        Form::new().text("title", "Holiday").file("photo", path),
    ];
    for form in forms {
        let server = RecordingServer::start(|request| match request.uri().path() {
            "/" => redirect(307, "/again"),
            _ => Response::new(Bytes::new()),
        });
        outcome(RequestSpec::post(server.url("/")).multipart(form)).unwrap();
        let received = server.received();
        assert_eq!(received.len(), 2);
        assert!(!parts(&received[0]).is_empty());
        assert!(received[0].body() == received[1].body(), "another body");
        for name in ["content-type", "content-length"] {
            assert_eq!(values(&received[0], name), values(&received[1], name));
        }
    }
}

#[test]
fn a_missing_file_is_an_invalid_request() {
    let (directory, path) = photo();
    let missing = directory.path().join("missing.jpg");
    let form = Form::new()
        .text("a", "1")
        .file("ok", path)
        .file("photo", missing);
    let server = RecordingServer::responding_ok();
    let exception = outcome(RequestSpec::post(server.url("/")).multipart(form)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert!(exception.to_string().contains("missing.jpg"), "{exception}");
    assert!(!exception.was_sent());
    assert!(server.received().is_empty());
}

#[test]
fn names_cannot_break_out_of_their_quotes() {
    let evil = "a\"; x=\"b\r\nX-Evil: 1\r\n\r\nc";
    let escaped = "a%22; x=%22b%0D%0AX-Evil: 1%0D%0A%0D%0Ac";
    let form = Form::new()
        .text(evil, "1")
        .part("f", Part::bytes("2").file_name(evil));
    let parts = parts(&received(form));
    let expected = [
        format!("Content-Disposition: form-data; name=\"{escaped}\""),
        format!("Content-Disposition: form-data; name=\"f\"; filename=\"{escaped}\""),
    ];
    let heads: Vec<_> = parts.iter().map(|(head, _)| head).collect();
    assert_eq!(heads, [&expected[0], &expected[1]]);
    assert_eq!((&*parts[0].1, &*parts[1].1), (&b"1"[..], &b"2"[..]));
}

#[test]
fn a_content_type_with_a_line_break_is_an_invalid_request() {
    let server = RecordingServer::responding_ok();
    let form = Form::new().part("f", Part::bytes("1").content_type("x/y\r\nX-Evil: 1"));
    let exception = outcome(RequestSpec::post(server.url("/")).multipart(form)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
    assert!(server.received().is_empty());
}
