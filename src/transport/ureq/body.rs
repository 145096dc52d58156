//! Bodies that go out through the agent, and those that come in.

use std::io::{self, Read};

use ::ureq::{Body, BodyReader, SendBody};
use bytes::Bytes;

use super::current::Limit;
use super::{classify, current};
use crate::request::OpenBody;
use crate::transport::{ReadWhole, room_for};

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
    length: Option<u64>,
    limit: Limit,
}

impl IncomingBody {
    pub(super) fn new(body: Body, limit: Limit) -> Self {
        let length = body.content_length();
        // The limit is the crate's business.
        let reader = body.into_with_config().limit(u64::MAX).reader();
        Self {
            reader,
            length,
            limit,
        }
    }
}

impl Read for IncomingBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Another exchange may have begun on this thread meanwhile.
        current::limit(self.limit);
        self.reader
            .read(buffer)
            .map_err(|error| io::Error::other(classify::body_error(error)))
    }
}

impl ReadWhole for IncomingBody {
    fn read_whole(mut self: Box<Self>) -> io::Result<Bytes> {
        let mut whole = room_for(self.length.unwrap_or(0));
        self.read_to_end(&mut whole)?;
        Ok(whole.into())
    }
}
