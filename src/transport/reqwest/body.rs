//! Response bodies of the blocking client.

use std::io::{self, Read};

use ::reqwest::blocking::Response;
use bytes::Bytes;

use super::{classify, detach};
use crate::transport::ReadWhole;

/// A body under the time limit of its request.
pub(super) struct IncomingBody(Response);

impl IncomingBody {
    pub(super) fn new(response: Response) -> Self {
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
            Ok(body) => Ok(detach::body(body)),
            Err(error) => {
                let error = classify::body_error(error.without_url().into());
                Err(io::Error::other(error))
            }
        }
    }
}
