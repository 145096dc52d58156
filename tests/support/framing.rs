//! The bytes of HTTP/1.1 responses, in each way in which the end of a body is marked (RFC 9112, section 6).

use std::time::Duration;
use std::{io::Write, net::TcpStream, thread};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Framing {
    ContentLength,
    Chunked,
    CloseDelimited,
}

pub(crate) const FRAMINGS: [Framing; 3] = [
    Framing::ContentLength,
    Framing::Chunked,
    Framing::CloseDelimited,
];

/// A complete response with status 200; `headers` are lines that end in CRLF.
pub(crate) fn raw_response(framing: Framing, headers: &str, body: &[u8]) -> Vec<u8> {
    let (field, body) = match framing {
        Framing::ContentLength => (format!("Content-Length: {}\r\n", body.len()), body.to_vec()),
        Framing::Chunked => (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            chunked(body.chunks(1000)),
        ),
        Framing::CloseDelimited => ("Connection: close\r\n".to_owned(), body.to_vec()),
    };
    let mut response = format!("HTTP/1.1 200 OK\r\n{headers}{field}\r\n").into_bytes();
    response.extend(body);
    response
}

pub(crate) fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
        all.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        all.extend(piece);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}

/// Sends pieces with a pause after each, so that they arrive separately. Ends early when the peer has closed the connection.
pub(crate) fn drip<'a>(
    stream: &mut TcpStream,
    pause: Duration,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) {
    for piece in pieces {
        if stream
            .write_all(piece)
            .and_then(|()| stream.flush())
            .is_err()
        {
            return;
        }
        thread::sleep(pause);
    }
}
