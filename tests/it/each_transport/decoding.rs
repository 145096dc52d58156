//! Promise 10: bodies are decoded by the crate, as a whole, and decoding errors are told from connection errors.
#![cfg(feature = "gzip")]

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use threaded::{ErrorKind, Outcome, RequestSpec};

use super::{outcome, pool};
use crate::support::encodings::{TEXT, encodings, gzip, gzip_text, zlib};
#[cfg(feature = "brotli")]
use crate::support::encodings::{brotli, brotli_with_large_window};
use crate::support::framing::{FRAMINGS, Framing, chunked, drip, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, values};

/// A server whose responses have this `Content-Encoding` and this body.
fn labelled(encoding: &'static str, body: Vec<u8>) -> RecordingServer {
    let body = Bytes::from(body);
    RecordingServer::start(move |_| {
        let response = Response::builder().header("content-encoding", encoding);
        response.body(body.clone()).unwrap()
    })
}

/// The outcomes of GETs whose responses are these bytes, by one worker.
fn outcomes_of_responses(responses: Vec<Vec<u8>>) -> Vec<Outcome> {
    let servers: Vec<_> = responses.into_iter().map(RawServer::responding).collect();
    outcomes_of(pool(), servers.iter().map(|server| server.url("/")))
}

fn outcome_of(bytes: Vec<u8>) -> Outcome {
    outcomes_of_responses(vec![bytes]).remove(0)
}

/// Responses that differ in one thing each, and their names.
#[derive(Default)]
struct Table(Vec<(String, Vec<u8>)>);

impl Table {
    fn add(&mut self, what: String, response: Vec<u8>) {
        self.0.push((what, response));
    }

    fn outcomes(self) -> impl Iterator<Item = (String, Outcome)> {
        let (names, responses): (Vec<_>, Vec<_>) = self.0.into_iter().unzip();
        assert!(!names.is_empty());
        names.into_iter().zip(outcomes_of_responses(responses))
    }
}

#[test]
fn every_content_encoding_is_decoded_in_every_framing() {
    let mut table = Table::default();
    for (encoding, body) in encodings() {
        for framing in FRAMINGS {
            let headers = format!("Content-Encoding: {encoding}\r\n");
            let what = format!("{encoding}, {framing:?}");
            table.add(what, raw_response(framing, &headers, &body));
        }
    }
    for (what, outcome) in table.outcomes() {
        assert_eq!(outcome.unwrap().text(), TEXT, "{what}");
    }
}

#[test]
fn headers_tell_of_the_decoded_body_and_content_length_of_the_wire() {
    for (encoding, body) in encodings() {
        let (length, server) = (body.len() as u64, labelled(encoding, body));
        let response = outcome(server.url("/")).unwrap();
        for name in ["content-encoding", "content-length"] {
            assert!(!response.headers().contains_key(name), "{encoding}: {name}");
        }
        assert!(response.headers().contains_key("date"));
        assert_eq!(response.content_length(), Some(length), "{encoding}");
    }
    let chunked = raw_response(Framing::Chunked, "Content-Encoding: gzip\r\n", &gzip_text());
    assert_eq!(outcome_of(chunked).unwrap().content_length(), None);
}

#[test]
fn without_decoding_the_body_stays_as_it_came() {
    for (encoding, body) in encodings() {
        let server = labelled(encoding, body.clone());
        let response = outcome(RequestSpec::get(server.url("/")).decode(false)).unwrap();
        assert_eq!(*response.bytes(), body, "{encoding}");
        assert_eq!(response.headers()["content-encoding"], encoding);
        assert!(response.headers().contains_key("content-length"));
        assert_eq!(values(&server.only(), "accept-encoding"), [""; 0]);
    }
}

#[test]
fn what_can_be_decoded_is_asked_for() {
    let server = RecordingServer::responding_ok();
    let get = RequestSpec::get(server.url("/"));
    let specs = [
        get.clone(),
        get.clone().header("Accept-Encoding", "identity"),
        get.clone().header("Accept-Encoding", "gzip").decode(false),
        get.clone().header("Range", "bytes=0-9"),
    ];
    outcomes_of(pool(), specs);
    let sent: Vec<_> = server
        .received()
        .iter()
        .map(|request| values(request, "accept-encoding"))
        .collect();
    let offered: Vec<&str> = sent[0][0].split(", ").collect();
    for (encoding, is_offered) in [
        ("gzip", true),
        ("deflate", true),
        ("br", cfg!(feature = "brotli")),
        ("zstd", cfg!(feature = "zstd")),
    ] {
        assert_eq!(offered.contains(&encoding), is_offered, "{encoding}");
    }
    assert_eq!(sent[1], ["identity"]);
    assert_eq!(sent[2], ["gzip"]);
    // A part of an encoded body could not be decoded.
    assert_eq!(sent[3], [""; 0]);
}

#[test]
fn data_after_the_last_gzip_member_is_ignored_unless_it_begins_another() {
    let one = gzip_text();
    for rest in [&[0; 4][..], b"junk", &[0; 100_000]] {
        let body = [&*one, rest].concat();
        let response = outcome(labelled("gzip", body).url("/")).unwrap();
        assert_eq!(response.text(), TEXT);
    }
    // It begins as a member does.
    let body = [&*one, &one[..one.len() / 2]].concat();
    let exception = outcome(labelled("gzip", body).url("/")).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Decode);
}

#[test]
fn two_members_come_whole_however_they_were_cut() {
    let (one, two) = (gzip(&TEXT.as_bytes()[..30]), gzip(&TEXT.as_bytes()[30..]));
    let border = one.len();
    let both = [one, two].concat();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        both.len()
    );
    let cuts = [
        0,
        1,
        9,
        10,
        border - 8,
        border - 1,
        border,
        border + 1,
        border + 10,
        both.len() - 1,
    ];
    let mut urls = Vec::new();
    let mut servers = Vec::new();
    let mut table = Table::default();
    let chunked_head =
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    for at in cuts {
        let (start, end) = both.split_at(at);
        let pieces = [head.as_bytes().to_vec(), start.to_vec(), end.to_vec()];
        let server = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            let pause = Duration::from_millis(20);
            drip(&mut stream, pause, pieces.iter().map(Vec::as_slice));
        });
        urls.push(server.url("/"));
        servers.push(server);
        let bytes = [chunked_head.as_bytes(), &chunked([start, end])].concat();
        table.add(format!("chunk cut at {at}"), bytes);
    }
    let single_bytes = [chunked_head.as_bytes(), &chunked(both.chunks(1))].concat();
    table.add("single bytes".to_owned(), single_bytes);

    for (at, outcome) in cuts.into_iter().zip(outcomes_of(pool(), urls)) {
        assert_eq!(outcome.unwrap().text(), TEXT, "TCP cut at {at}");
    }
    for (what, outcome) in table.outcomes() {
        assert_eq!(outcome.unwrap().text(), TEXT, "{what}");
    }
}

#[test]
fn a_body_that_does_not_match_its_content_encoding_cannot_be_decoded() {
    let whole = gzip_text();
    let bad_checksum = {
        let mut body = whole.clone();
        let at = body.len() - 8;
        body[at] ^= 0xff;
        body
    };
    let cut = |by: usize| whole[..whole.len() - by].to_vec();
    let rows = [
        ("gzip", cut(1)),
        ("gzip", cut(8)),
        ("gzip", cut(20)),
        ("gzip", whole[..5].to_vec()),
        ("gzip", bad_checksum),
        ("gzip", TEXT.as_bytes().to_vec()),
        ("gzip", [gzip_text(), cut(9)].concat()),
        ("deflate", TEXT.as_bytes().to_vec()),
        ("deflate", zlib(TEXT.as_bytes())[..20].to_vec()),
        ("gzip, gzip", gzip_text()),
        #[cfg(feature = "brotli")]
        ("br", TEXT.as_bytes().to_vec()),
        #[cfg(feature = "brotli")]
        ("br", brotli(TEXT.as_bytes())[..20].to_vec()),
        #[cfg(feature = "zstd")]
        ("zstd", TEXT.as_bytes().to_vec()),
        #[cfg(feature = "zstd")]
        (
            "zstd",
            zstd::encode_all(TEXT.as_bytes(), 3).unwrap()[..20].to_vec(),
        ),
    ];
    let mut table = Table::default();
    for (row, (encoding, body)) in rows.into_iter().enumerate() {
        for framing in FRAMINGS {
            let headers = format!("Content-Encoding: {encoding}\r\n");
            let what = format!("row {row}, {encoding}, {framing:?}");
            table.add(what, raw_response(framing, &headers, &body));
        }
    }
    for (what, outcome) in table.outcomes() {
        let exception = outcome.expect_err(&what);
        let is_expected = exception.kind() == ErrorKind::Decode;
        assert!(is_expected, "{what}: {exception:?}");
    }
}

#[test]
fn a_connection_that_ends_early_is_no_decoding_error() {
    let mut table = Table::default();
    for (encoding, body) in encodings() {
        for framing in [Framing::ContentLength, Framing::Chunked] {
            for left in [0, 1, body.len() / 2, body.len() - 1] {
                let headers = format!("Content-Encoding: {encoding}\r\n");
                let mut bytes = raw_response(framing, &headers, &body);
                // Of a chunked one, the line that ends it and that of its last chunk go too.
                let extra = if framing == Framing::Chunked { 7 } else { 0 };
                bytes.truncate(bytes.len() - extra - (body.len() - left));
                table.add(format!("{encoding}, {framing:?}, {left} bytes came"), bytes);
            }
        }
    }
    for (what, outcome) in table.outcomes() {
        let exception = outcome.expect_err(&what);
        let is_expected = exception.kind() == ErrorKind::BodyTruncated;
        assert!(is_expected, "{what}: {exception:?}");
    }
}

#[test]
fn the_response_to_a_head_has_nothing_to_decode() {
    for label in ["gzip", "gzip, gzip, gzip, gzip, gzip, gzip"] {
        let server = labelled(label, gzip_text());
        let response = outcome(RequestSpec::head(server.url("/"))).unwrap();
        assert!(response.bytes().is_empty());
        assert_eq!(response.content_length(), Some(gzip_text().len() as u64));
    }
    let bytes = b"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n";
    let response = outcome_of(bytes.to_vec()).unwrap();
    assert_eq!(response.status(), 304);
    assert!(response.bytes().is_empty());
}

#[test]
fn the_connection_serves_again_after_a_decoded_response() {
    for (encoding, body) in encodings() {
        for framing in [Framing::ContentLength, Framing::Chunked] {
            let headers = format!("Content-Encoding: {encoding}\r\n");
            let bytes = raw_response(framing, &headers, &body);
            let server = RawServer::start(move |mut stream, _| {
                while !read_request(&mut stream).is_empty() {
                    stream.write_all(&bytes).unwrap();
                }
            });
            for outcome in outcomes_of(pool(), vec![server.url("/"); 4]) {
                assert_eq!(outcome.unwrap().text(), TEXT);
            }
            assert_eq!(server.connections(), 1, "{encoding}, {framing:?}");
        }
    }
}

/// It would take a gigabyte for each worker (RFC 7932, section 9.1, allows 16 MiB).
#[cfg(feature = "brotli")]
#[test]
fn a_brotli_window_beyond_the_standard_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for encoding in ["br", "br, gzip"] {
        let encoded = |content: Vec<u8>| match encoding {
            "br" => content,
            _ => gzip(&content),
        };
        let fields = format!("Content-Encoding: {encoding}\r\nConnection: close\r\n");
        let serve = |content| {
            let response = raw_response(Framing::ContentLength, &fields, &encoded(content));
            RawServer::responding(response)
        };
        let legal = serve(brotli(TEXT.as_bytes()));
        assert_eq!(outcome(legal.url("/")).unwrap().text(), TEXT);
        let large = serve(brotli_with_large_window(TEXT.as_bytes()));
        let get = || RequestSpec::get(large.url("/"));
        let to_handler = get().read_with(|_, body| {
            std::io::copy(body, &mut std::io::sink())?;
            Ok(())
        });
        for spec in [
            get(),
            get().save_to(folder.path().join("target")),
            to_handler,
        ] {
            let exception = outcome(spec).unwrap_err();
            assert_eq!(exception.kind(), ErrorKind::Decode, "{exception:?}");
        }
    }
}
