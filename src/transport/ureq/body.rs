//! Bodies that go out through the agent, and those that come in.

use std::io::{self, Read};
use std::time::Duration;

use ::ureq::{Body, BodyReader, SendBody};

use super::current::Limit;
use super::{classify, current};
use crate::request::OpenBody;

/// What is to be sent, and how long it is, if that is known.
pub(super) fn outgoing(body: OpenBody) -> (SendBody<'static>, Option<u64>) {
    match body {
        OpenBody::Bytes(bytes) => {
            let length = bytes.len() as u64;
            let body = SendBody::from_owned_reader(io::Cursor::new(bytes));
            (body, Some(length))
        }
        OpenBody::Reader { reader, length } => (SendBody::from_owned_reader(reader), length),
    }
}

pub(super) struct IncomingBody {
    reader: BodyReader<'static>,
    /// How much of its announced length has not come yet.
    left: Option<u64>,
    limit: Limit,
    /// Takes the place of the limit, from the beginning of each read: whatever arrives, it has to yield content.
    stall_timeout: Option<Duration>,
}

impl IncomingBody {
    pub(super) fn new(body: Body, limit: Limit, stall_timeout: Option<Duration>) -> Self {
        let left = body.content_length();
        // The limit is the crate's business.
        let reader = body.into_with_config().limit(u64::MAX).reader();
        Self {
            reader,
            left,
            limit,
            stall_timeout,
        }
    }
}

impl Read for IncomingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Another exchange may have begun on this thread meanwhile.
        current::limit(self.stall_timeout.map_or(self.limit, Limit::until_after));
        let failed = |error| io::Error::other(classify::body_error(error));
        let read = self.reader.read(buffer).map_err(failed)?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(read as u64);
            if *left == 0 {
                // The agent gets the connection back when it has told the end.
                self.left = None;
                self.reader.read(&mut [0]).map_err(failed)?;
            }
        }
        Ok(read)
    }
}
