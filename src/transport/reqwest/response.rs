//! Responses of the blocking client, moved out of the buffers that they were read into.
//!
//! As hyper hands them over, header values and bodies are slices of the connection's read buffer, 8 KiB or more, and keep
//! all of it alive. Measured with bodies of 1 KiB: 12 KiB for each response that is kept, 3 KiB when it is detached.

use std::io::{self, Read};

use ::reqwest::blocking::Response as BlockingResponse;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use super::classify;
use crate::transport::{ReadWhole, ResponseBody};

pub(super) fn take_in(mut answer: BlockingResponse) -> http::Response<ResponseBody> {
    let (status, version) = (answer.status(), answer.version());
    let mut headers = std::mem::take(answer.headers_mut());
    detach_headers(&mut headers);
    let remote_addr = answer.remote_addr();
    let body = ResponseBody::from_whole(IncomingBody::new(answer));
    let mut response = http::Response::new(body.with_remote_addr(remote_addr));
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    response
}

/// A body under the time limit of its request.
struct IncomingBody(BlockingResponse);

impl IncomingBody {
    fn new(response: BlockingResponse) -> Self {
        Self(response)
    }
}

impl Read for IncomingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| io::Error::other(classify::body_error(error.into())))
    }
}

impl ReadWhole for IncomingBody {
    fn read_whole(self: Box<Self>) -> io::Result<Bytes> {
        match self.0.bytes() {
            Ok(body) => Ok(detached(body)),
            Err(error) => {
                let error = classify::body_error(error.without_url().into());
                Err(io::Error::other(error))
            }
        }
    }
}

/// Larger bodies come in several pieces, which are put together in memory of their own already.
const LARGEST_COPY: usize = 64 << 10;

fn detached(body: Bytes) -> Bytes {
    if body.len() <= LARGEST_COPY {
        Bytes::copy_from_slice(&body)
    } else {
        body
    }
}

/// Moves all values into one buffer of just their length.
fn detach_headers(headers: &mut HeaderMap) {
    let length = headers.values().map(HeaderValue::len).sum();
    let mut buffer = BytesMut::with_capacity(length);
    for value in headers.values() {
        buffer.extend_from_slice(value.as_bytes());
    }
    let mut buffer = buffer.freeze();
    for value in headers.values_mut() {
        let bytes = buffer.split_to(value.len());
        // What was a value is one; if it were not, the value would simply stay as it is.
        if let Ok(mut detached) = HeaderValue::from_maybe_shared(bytes) {
            detached.set_sensitive(value.is_sensitive());
            *value = detached;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HOST, SET_COOKIE};

    use super::*;

    #[test]
    fn detached_headers_are_what_they_were() {
        let mut before = HeaderMap::new();
        before.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        before.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        before.append(SET_COOKIE, HeaderValue::from_static(""));
        before.append(SET_COOKIE, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let mut secret = HeaderValue::from_static("h");
        secret.set_sensitive(true);
        before.insert(HOST, secret);

        let mut after = before.clone();
        detach_headers(&mut after);
        assert_eq!(after, before);
        assert!(after[HOST].is_sensitive());
        assert!(!after[CONTENT_TYPE].is_sensitive());
    }
}
