//! Where bodies go: into memory, into a file, to a handler.

mod file;
mod memory;
mod unpacked;

use std::io::{self, BufReader, Read};

use bytes::Bytes;

use super::deadline::Deadline;
use super::decode::{self, Decoder};
use super::incoming::{self, Incoming};
use crate::error::Error;
use crate::request::BodyDestination;
use crate::response::ResponseHead;
use crate::transport::ResponseBody;

pub(super) use file::check_place;

/// Largest body in memory, where nobody says otherwise.
const DEFAULT_MAX_BODY: u64 = 64 << 20;

/// A body on its way from the transport, and what it is to go through.
pub(super) struct Arrival<'a> {
    pub(super) body: ResponseBody,
    pub(super) decoders: &'a [Decoder],
    pub(super) max_body: Option<u64>,
    pub(super) deadline: &'a Deadline,
}

/// What a response holds of its body in the end.
#[derive(Default)]
pub(super) struct Received {
    pub(super) content: Bytes,
    pub(super) is_saved: bool,
}

/// Brings a body to where it is to go. A file takes only that of an answer that is a success: it is not to be replaced
/// by what a server says about an error.
pub(super) fn receive(
    arrival: Arrival<'_>,
    head: &ResponseHead,
    sink: Option<&BodyDestination>,
) -> Result<Received, Error> {
    match sink {
        Some(BodyDestination::Handler(handler)) => {
            let handled = arrival.read(|content| handler(head, content))?;
            handled.map_err(Error::handler)?;
            Ok(Received::default())
        }
        Some(BodyDestination::File(path)) if head.status().is_success() => {
            arrival.read(|content| file::save(content, path))??;
            Ok(Received {
                is_saved: true,
                ..Received::default()
            })
        }
        Some(BodyDestination::File(_)) | None => {
            let content = memory::read(arrival, head.content_length())?;
            Ok(Received {
                content,
                ..Received::default()
            })
        }
    }
}

impl Arrival<'_> {
    /// Lets somebody read the decoded body. What goes wrong with the body itself is the outer error, whatever the reader
    /// has made of it.
    fn read<T>(self, reader: impl FnOnce(&mut dyn Read) -> T) -> Result<T, Error> {
        let mut incoming = BufReader::new(Incoming::new(self.body, self.deadline));
        // Servers label empty bodies as encoded; no decoder would accept them.
        let is_empty = decode::peek(&mut incoming)
            .map_err(Error::from_body_read)?
            .is_empty();
        let decoders = if is_empty { &[] } else { self.decoders };
        let decoded = decode::decoded(&mut incoming, decoders).map_err(decode::error)?;
        let mut content = Content {
            decoded,
            left: self.max_body.unwrap_or(u64::MAX),
            limit: self.max_body.unwrap_or(u64::MAX),
            fault: None,
            is_at_end: false,
        };
        let result = reader(&mut content);
        let (fault, is_at_end) = (content.fault.take(), content.is_at_end);
        drop(content);
        if let Some(fault) = fault {
            return Err(fault);
        }
        // Some formats end before the body does, and a connection is only used again after its end. But who has left off
        // reading may have done so because there is no end.
        if is_at_end {
            incoming::drain(incoming);
        }
        Ok(result)
    }
}

/// The decoded content of a body, for somebody else to read. Remembers what went wrong, so that it can be told from what
/// goes wrong with the reader.
struct Content<R> {
    decoded: R,
    left: u64,
    limit: u64,
    fault: Option<Error>,
    is_at_end: bool,
}

impl<R: Read> Read for Content<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_some() {
            return Err(io::Error::other("the body could not be read"));
        }
        let fault = match self.decoded.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => decode::error(error),
            Ok(read) => match self.left.checked_sub(read as u64) {
                Some(left) => {
                    self.left = left;
                    self.is_at_end = read == 0 && !buffer.is_empty();
                    return Ok(read);
                }
                None => Error::body_too_large(self.limit),
            },
        };
        let message = fault.to_string();
        self.fault = Some(fault);
        Err(io::Error::other(message))
    }
}
