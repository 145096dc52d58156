//! Responses of the blocking client, and their bodies.

use std::io::{self, Read};

use ::reqwest::blocking::Response as BlockingResponse;
use bytes::Bytes;

use super::classify;
use crate::transport::detach::{detach_headers, detached};
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
