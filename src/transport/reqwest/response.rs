//! Responses of the blocking client, and their bodies.

use std::io::{self, Read};

use ::reqwest::blocking::Response as BlockingResponse;

use super::classify;
use crate::transport::ResponseBody;
use crate::transport::detach::detach_headers;

pub(super) fn take_in(mut answer: BlockingResponse) -> http::Response<ResponseBody> {
    let (status, version) = (answer.status(), answer.version());
    let mut headers = std::mem::take(answer.headers_mut());
    detach_headers(&mut headers);
    let remote_addr = answer.remote_addr();
    let body = ResponseBody::announced(IncomingBody(answer));
    let mut response = http::Response::new(body.with_remote_addr(remote_addr));
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    response
}

/// A body under the time limit of its request.
struct IncomingBody(BlockingResponse);

impl Read for IncomingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| io::Error::other(classify::body_error(error.into())))
    }
}
