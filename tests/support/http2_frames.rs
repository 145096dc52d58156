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

/// The head of a response with status 200, after which its body follows.
pub(crate) fn response_head(stream: u32) -> Vec<u8> {
    // Entry 8 of the static table (RFC 7541, appendix A).
    const STATUS_200: u8 = 0x88;

    frame_with_flags(HEADERS, END_HEADERS, stream, &[STATUS_200])
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
