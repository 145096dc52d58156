//! A server of raw HTTP/2 frames, over TLS, to misbehave with.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::raw::RawServer;
use super::tls::TestCertificate;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame without flags (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_with_flags(kind, 0, stream, payload)
}

pub(crate) fn frame_with_flags(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Entry 8 of the static table (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

/// The head of a response with status 200, after which its body follows.
pub(crate) fn response_head(stream: u32) -> Vec<u8> {
    frame_with_flags(HEADERS, END_HEADERS, stream, &[STATUS_200])
}

/// A header field as HPACK has it (RFC 7541, section 6.2.2): its name by its place in the static table, from 15 on.
fn field(name: u8, value: &str) -> Vec<u8> {
    [&[0x0f, name - 15, value.len() as u8], value.as_bytes()].concat()
}

/// A server whose first response stops in the middle, and whose others are the rest of it.
pub(crate) fn cut_and_continued_over_tls(certificate: &TestCertificate, body: &[u8]) -> RawServer {
    const ETAG: u8 = 34;
    const CONTENT_LENGTH: u8 = 28;
    const CONTENT_RANGE: u8 = 30;
    // Entry 10 of the static table.
    const STATUS_206: u8 = 0x8a;

    let (first, second) = body.split_at(body.len() / 2);
    let range = format!("bytes {}-{}/{}", first.len(), body.len() - 1, body.len());
    let rest = [
        vec![STATUS_206],
        field(ETAG, "\"v1\""),
        field(CONTENT_RANGE, &range),
    ]
    .concat();
    let length = field(CONTENT_LENGTH, &body.len().to_string());
    let whole = [vec![STATUS_200], field(ETAG, "\"v1\""), length].concat();
    let (first, second) = (first.to_vec(), second.to_vec());
    let requests = AtomicUsize::new(0);
    start_over_tls(certificate, move |_, stream| {
        if requests.fetch_add(1, Ordering::SeqCst) == 0 {
            let head = frame_with_flags(HEADERS, END_HEADERS, stream, &whole);
            [head, frame(DATA, stream, &first)].concat()
        } else {
            let head = frame_with_flags(HEADERS, END_HEADERS, stream, &rest);
            [head, frame_with_flags(DATA, END_STREAM, stream, &second)].concat()
        }
    })
}

/// The frames of a complete response with status 200.
pub(crate) fn response(stream: u32, body: &[u8]) -> Vec<u8> {
    [
        response_head(stream),
        frame_with_flags(DATA, END_STREAM, stream, body),
    ]
    .concat()
}

/// A server whose first connection responds once and is silent from then on, without being closed. Others respond.
pub(crate) fn falling_silent_over_tls(certificate: &TestCertificate) -> RawServer {
    falling_silent_with_over_tls(certificate, |_| Vec::new())
}

/// The same, with the last frames before that.
pub(crate) fn falling_silent_with_over_tls(
    certificate: &TestCertificate,
    last: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
) -> RawServer {
    let requests = AtomicUsize::new(0);
    start_over_tls(certificate, move |connection, stream| {
        let request = requests.fetch_add(1, Ordering::SeqCst);
        if connection > 0 || request == 0 {
            response(stream, b"ok")
        } else {
            last(stream)
        }
    })
}

/// A server that sends, for each request, the frames that are made of the number of its connection, from 0, and of its
/// stream.
pub(crate) fn start_over_tls(
    certificate: &TestCertificate,
    frames: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static,
) -> RawServer {
    let mut config = (*certificate.config).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    RawServer::start(move |stream, number| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        let mut preface = [0; 24];
        let mut head = [0; 9];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        let _ = stream.write_all(&frame(SETTINGS, 0, &[]));
        while stream.read_exact(&mut head).is_ok() {
            let [l2, l1, l0, kind, _, s3, s2, s1, s0] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, l2, l1, l0]) as usize];
            let _ = stream.read_exact(&mut payload);
            if kind == HEADERS {
                let frames = frames(number, u32::from_be_bytes([s3, s2, s1, s0]));
                let _ = stream.write_all(&frames).and_then(|()| stream.flush());
            }
        }
    })
}
