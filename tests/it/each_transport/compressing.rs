//! Bodies of requests that are compressed, as a server receives them.

use std::io::Read;

use bytes::Bytes;
use http::{Request, Response};
use threaded::{ErrorKind, RequestSpec};

use super::{outcome, pool};
use crate::support::encodings::TEXT;
use crate::support::pools::{at_once, outcome_of};
use crate::support::recording_server::{RecordingServer, redirect, values};

/// What a server receives of a POST.
fn received(dress: impl FnOnce(RequestSpec) -> RequestSpec) -> Request<Bytes> {
    let server = RecordingServer::responding_ok();
    outcome(dress(RequestSpec::post(server.url("/")))).unwrap();
    server.only()
}

/// The content of a request that must be compressed.
fn unpacked(request: &Request<Bytes>) -> Vec<u8> {
    assert_eq!(values(request, "content-encoding"), ["gzip"]);
    let mut unpacked = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(&**request.body());
    decoder.read_to_end(&mut unpacked).unwrap();
    unpacked
}

#[test]
fn a_body_in_memory_is_compressed_whichever_setter_comes_first() {
    type Dress<'a> = &'a dyn Fn(RequestSpec) -> RequestSpec;
    let rows: [(Dress<'_>, &str, &str); 5] = [
        (&|spec| spec.body(TEXT).gzip(6), TEXT, ""),
        (&|spec| spec.gzip(6).body("first").body(TEXT), TEXT, ""),
        (&|spec| spec.gzip(9).body("").gzip(0), "", ""),
        (
            &|spec| spec.gzip(1).form(&[("a", "1")]),
            "a=1",
            "application/x-www-form-urlencoded",
        ),
        // The length of what is sent, not of what was set.
        (
            &|spec| spec.header("Content-Length", "71").body(TEXT).gzip(9),
            TEXT,
            "",
        ),
    ];
    for (row, (dress, body, content_type)) in rows.into_iter().enumerate() {
        let request = received(dress);
        assert_eq!(unpacked(&request), body.as_bytes(), "row {row}");
        let length = request.body().len().to_string();
        assert_eq!(values(&request, "content-length"), [length], "row {row}");
        let types = values(&request, "content-type").concat();
        assert_eq!(types, content_type, "row {row}");
        assert_eq!(values(&request, "transfer-encoding"), [""; 0], "row {row}");
    }
}

#[test]
fn the_level_decides_on_the_size() {
    let content = TEXT.repeat(1000);
    let size = |level| {
        received(|spec| spec.body(content.clone()).gzip(level))
            .body()
            .len()
    };
    assert!(size(0) > content.len());
    assert!(size(9) < size(1) && size(1) < content.len() / 10);
}

#[test]
fn a_file_is_compressed_while_it_is_sent() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) % 251) as u8)
        .collect();
    std::fs::write(file.path(), &content).unwrap();
    let request = received(|spec| spec.gzip(6).body_from_file(file.path()));
    assert!(unpacked(&request) == content);
    assert_eq!(values(&request, "content-length"), [""; 0]);
    assert_eq!(values(&request, "transfer-encoding"), ["chunked"]);
}

#[cfg(feature = "multipart")]
#[test]
fn a_form_with_files_is_compressed_while_it_is_sent() {
    use threaded::multipart::{Form, Part};

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TEXT).unwrap();
    let form = Form::new()
        .text("a", "1")
        .part("file", Part::file(file.path()));
    let request = received(|spec| spec.multipart(form).gzip(6));
    let body = String::from_utf8(unpacked(&request)).unwrap();
    let content_type = values(&request, "content-type").concat();
    let (_, boundary) = content_type.split_once("boundary=").unwrap();
    assert!(body.starts_with(&format!("--{boundary}\r\n")), "{body}");
    assert!(
        body.contains(TEXT) && body.ends_with(&format!("--{boundary}--\r\n")),
        "{body}"
    );
}

#[test]
fn without_a_body_nothing_is_compressed() {
    let request = received(|spec| spec.gzip(6));
    assert_eq!(values(&request, "content-encoding"), [""; 0]);
    assert!(request.body().is_empty());
}

#[test]
fn what_cannot_be_compressed_is_an_invalid_request_and_nothing_is_sent() {
    let server = RecordingServer::responding_ok();
    let post = || RequestSpec::post(server.url("/"));
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        (
            post().gzip(10).body(TEXT),
            "invalid gzip level; it may be between 0 and 9",
        ),
        (
            post().header("Content-Encoding", "br").body(TEXT).gzip(6),
            "the header `content-encoding` is set, and `gzip` as well, which sets it; leave one of them out",
        ),
        (
            post().gzip(6).body(TEXT).header("Content-Encoding", "gzip"),
            "the header `content-encoding` is set, and `gzip` as well, which sets it; leave one of them out",
        ),
        (
            post().gzip(6).body_from_file(folder.path()),
            "not a regular file, so it could not be sent again",
        ),
    ];
    for (spec, message) in rows {
        let exception = outcome(spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest);
        assert!(exception.to_string().ends_with(message), "{exception}");
        assert!(!exception.was_sent());
    }
    assert!(server.received().is_empty());
}

#[test]
fn a_redirect_and_a_retry_send_it_again_and_a_303_drops_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TEXT).unwrap();
    for from_file in [false, true] {
        let server = RecordingServer::start(|request| match request.uri().path() {
            "/307" => redirect(307, "/303"),
            "/303" => redirect(303, "/end"),
            "/busy" => Response::builder().status(503).body(Bytes::new()).unwrap(),
            _ => Response::new(Bytes::new()),
        });
        let put = |path: &str| {
            let spec = RequestSpec::put(server.url(path)).gzip(6);
            if from_file {
                spec.body_from_file(file.path())
            } else {
                spec.body(TEXT)
            }
        };
        outcome(put("/307")).unwrap();
        let busy = outcome_of(pool().retry(at_once(1)), put("/busy")).unwrap();
        assert_eq!((busy.status().as_u16(), busy.attempts()), (503, 2));

        let received = server.received();
        let paths: Vec<&str> = received
            .iter()
            .map(|request| request.uri().path())
            .collect();
        assert_eq!(paths, ["/307", "/303", "/end", "/busy", "/busy"]);
        for (request, path) in received.iter().zip(paths) {
            if path == "/end" {
                assert_eq!(values(request, "content-encoding"), [""; 0]);
                assert!(request.body().is_empty());
            } else {
                assert_eq!(unpacked(request), TEXT.as_bytes(), "{path}");
            }
        }
    }
}
