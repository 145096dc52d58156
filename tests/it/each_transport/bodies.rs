//! Promise 8, the part in memory: a body comes whole, within its limit, and can be read in many ways.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Response;
use threaded::{ErrorKind, Outcome, RequestSpec};

use super::{outcome, pool};
use crate::support::framing::{FRAMINGS, Framing, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::RawServer;
use crate::support::recording_server::RecordingServer;

/// Bytes without a short period.
fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn assert_too_large(outcome: Outcome, limit: u64, what: &str) {
    let exception = outcome.expect_err(what);
    assert_eq!(
        exception.kind(),
        ErrorKind::BodyTooLarge,
        "{what}: {exception:?}"
    );
    assert_eq!(exception.limit(), Some(limit), "{what}");
    assert!(exception.was_sent());
    assert!(!exception.is_retryable());
}

#[test]
fn bodies_come_whole_in_every_framing() {
    for length in [0, 1, 8192, 2 << 20] {
        let content = content(length);
        for framing in FRAMINGS {
            let server = RawServer::responding(raw_response(framing, "", &content));
            let response = outcome(server.url("/")).unwrap();
            assert!(*response.bytes() == content, "{length}, {framing:?}");
            let expected = (framing == Framing::ContentLength).then_some(length as u64);
            assert_eq!(response.content_length(), expected, "{framing:?}");
        }
    }
}

#[test]
fn a_body_may_be_as_large_as_the_limit_and_not_larger() {
    for limit in [0_u64, 1, 1000, 100_000] {
        for framing in FRAMINGS {
            let what = format!("limit {limit}, {framing:?}");
            let servers = [limit, limit + 1].map(|length| {
                let content = content(length as usize);
                RawServer::responding(raw_response(framing, "", &content))
            });
            let good = RecordingServer::responding_ok();
            let specs = [
                RequestSpec::get(servers[0].url("/")).max_body(limit),
                RequestSpec::get(servers[1].url("/")).max_body(limit),
                RequestSpec::get(good.url("/")),
            ];
            let mut outcomes = outcomes_of(pool(), specs);
            assert_eq!(outcomes.pop().unwrap().unwrap().text(), "ok", "{what}");
            assert_too_large(outcomes.pop().unwrap(), limit, &what);
            let response = outcomes.pop().unwrap().unwrap();
            assert_eq!(response.bytes().len() as u64, limit, "{what}");
        }
    }
}

#[test]
fn the_limit_of_the_spec_goes_before_that_of_the_pool() {
    let server = RecordingServer::start(|_| Response::new(Bytes::from_static(&[b'x'; 100])));
    let get = || RequestSpec::get(server.url("/"));
    let specs = [
        get(),
        get().max_body(100),
        get().max_body(50),
        get().max_body(u64::MAX),
        get().max_body(None),
    ];
    let mut outcomes = outcomes_of(pool().max_body(99), specs).into_iter();
    assert_too_large(outcomes.next().unwrap(), 99, "the pool's");
    assert_eq!(outcomes.next().unwrap().unwrap().bytes().len(), 100);
    assert_too_large(outcomes.next().unwrap(), 50, "the spec's");
    for _unlimited in 0..2 {
        assert_eq!(outcomes.next().unwrap().unwrap().bytes().len(), 100);
    }
}

#[cfg(feature = "gzip")]
#[test]
fn the_limit_counts_decoded_bytes() {
    use crate::support::encodings::gzip;

    let gzipped = |content: &[u8], framing| {
        RawServer::responding(raw_response(
            framing,
            "Content-Encoding: gzip\r\nConnection: close\r\n",
            &gzip(content),
        ))
    };
    let bomb = vec![0; 16 << 20];
    for framing in FRAMINGS {
        let what = format!("{framing:?}");
        // Small on the wire and large in memory.
        let server = gzipped(&bomb, framing);
        let spec = RequestSpec::get(server.url("/")).max_body(1 << 20);
        assert_too_large(outcome(spec), 1 << 20, &what);

        let server = gzipped(&bomb[..1000], framing);
        let get = RequestSpec::get(server.url("/"));
        let mut outcomes = outcomes_of(pool(), [get.clone().max_body(1000), get.max_body(999)]);
        assert_too_large(outcomes.remove(1), 999, &what);
        assert_eq!(outcomes.remove(0).unwrap().bytes().len(), 1000, "{what}");

        // Larger on the wire than in memory.
        let server = gzipped(b"ab", framing);
        let response = outcome(RequestSpec::get(server.url("/")).max_body(2)).unwrap();
        assert_eq!(response.text(), "ab", "{what}");
    }
}

/// The response of a server that sends this body with this content type.
fn response_with(content_type: Option<&'static str>, body: &'static [u8]) -> threaded::Response {
    let server = RecordingServer::start(move |_| {
        let mut response = Response::new(Bytes::from_static(body));
        if let Some(content_type) = content_type {
            let value = http::HeaderValue::from_static(content_type);
            response.headers_mut().insert("content-type", value);
        }
        response
    });
    outcome(server.url("/path#top")).unwrap().into_parts().1
}

#[cfg(feature = "json")]
#[test]
fn json_is_read_or_an_error() {
    let response = response_with(None, br#"{"a": 1, "b": 2}"#);
    let read: BTreeMap<String, u8> = response.json().unwrap();
    assert_eq!(
        read,
        BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)])
    );
    // A byte order mark is passed over (RFC 8259, section 8.1).
    let marked: Vec<u8> = response_with(None, b"\xef\xbb\xbf[1]").json().unwrap();
    assert_eq!(marked, [1]);
    #[cfg(feature = "charset")]
    for utf_16 in [b"\xff\xfe[\x001\x00]\0", b"\xfe\xff\0[\x001\0]"] {
        let marked: Vec<u8> = response_with(None, utf_16).json().unwrap();
        assert_eq!(marked, [1]);
    }
    // Of another type, and none at all.
    for error in [
        response.json::<Vec<u8>>().unwrap_err(),
        response_with(None, b"{\"a\": ")
            .json::<BTreeMap<String, u8>>()
            .unwrap_err(),
        response_with(None, b"")
            .json::<BTreeMap<String, u8>>()
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Decode, "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn a_response_becomes_that_of_other_crates() {
    let response = response_with(Some("text/plain"), b"hello");
    let url = response.url().clone();
    for http in [
        response.clone().into_http(),
        Response::from(response.clone()),
    ] {
        assert_eq!(http.status(), 200);
        assert_eq!(http.version(), http::Version::HTTP_11);
        assert_eq!(http.headers()["content-type"], "text/plain");
        assert_eq!(http.body(), "hello");
    }
    let reqwest = threaded::reqwest::blocking::Response::from(response);
    assert_eq!(reqwest.status(), 200);
    assert_eq!(reqwest.version(), http::Version::HTTP_11);
    assert_eq!(reqwest.headers()["content-type"], "text/plain");
    assert_eq!(*reqwest.url(), url);
    assert_eq!(reqwest.text().unwrap(), "hello");
}

#[test]
fn a_response_tells_who_sent_it() {
    let server = RecordingServer::responding_ok();
    let response = outcome(server.url("/")).unwrap();
    let address = response.remote_addr().unwrap();
    assert_eq!(address.port(), server.port());
    assert!(address.ip().is_loopback());
}

/// With both, the length is what an attacker says and the coding is what counts (RFC 9112, section 6.3).
#[test]
fn a_length_beside_a_transfer_coding_is_ignored() {
    let chunked = raw_response(Framing::Chunked, "Content-Length: 5\r\n", &content(100_000));
    let server = RawServer::responding(chunked);
    let get = RequestSpec::get(server.url("/"));
    assert_too_large(outcome(get.clone().max_body(1000)), 1000, "chunked");
    let response = outcome(get).unwrap();
    assert_eq!(
        (response.bytes().len(), response.content_length()),
        (100_000, None)
    );
}
