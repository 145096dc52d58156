//! Where bodies go: into memory, up to a limit.

use std::io::{self, BufReader, Read};

use bytes::Bytes;

use super::deadline::Deadline;
use super::decode::{self, Decoder};
use super::incoming::{self, Incoming};
use crate::error::Error;
use crate::transport::ResponseBody;

/// Most memory that is set aside on the word of a `Content-Length`, before any of the body has come.
const LARGEST_ADVANCE: u64 = 1 << 20;

/// Reads a body as it comes.
pub(super) fn plain_into_memory(
    body: ResponseBody,
    content_length: Option<u64>,
    max_body: u64,
    deadline: &Deadline,
) -> Result<Bytes, Error> {
    if content_length.is_some_and(|length| length > max_body) {
        return Err(Error::BodyTooLarge { limit: max_body });
    }
    match body.into_whole(content_length.is_some()) {
        Ok(Ok(whole)) if whole.len() as u64 > max_body => {
            Err(Error::BodyTooLarge { limit: max_body })
        }
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(error)) => Err(Error::from_body_read(error)),
        Err(body) => {
            let incoming = Incoming::new(body, deadline);
            read(incoming, content_length.unwrap_or(0), max_body)?.map_err(Error::from_body_read)
        }
    }
}

/// Reads a body and undoes its codings. The limit is on what comes out.
pub(super) fn decoded_into_memory(
    body: ResponseBody,
    decoders: &[Decoder],
    max_body: u64,
    deadline: &Deadline,
) -> Result<Bytes, Error> {
    let mut incoming = BufReader::new(Incoming::new(body, deadline));
    // Servers label empty bodies as encoded; no decoder would accept them.
    if decode::peek(&mut incoming)
        .map_err(Error::from_body_read)?
        .is_empty()
    {
        return Ok(Bytes::new());
    }
    let decoded = decode::decoded(&mut incoming, decoders).map_err(decode_error)?;
    let content = read(decoded, 0, max_body)?.map_err(decode_error)?;
    // Some formats end before the body does, and a connection is only used again after its end.
    incoming::drain(incoming);
    Ok(content)
}

/// The outer error is about the size, the inner one about reading.
fn read(reader: impl Read, expected: u64, max_body: u64) -> Result<io::Result<Bytes>, Error> {
    let advance = usize::try_from(expected.min(LARGEST_ADVANCE)).unwrap_or(0);
    let mut content = Vec::with_capacity(advance);
    let result = reader
        .take(max_body.saturating_add(1))
        .read_to_end(&mut content);
    if content.len() as u64 > max_body {
        return Err(Error::BodyTooLarge { limit: max_body });
    }
    Ok(result.map(|_| content.into()))
}

/// An error that does not come from below the decoder comes from the decoder.
fn decode_error(error: io::Error) -> Error {
    error
        .downcast::<Error>()
        .unwrap_or_else(|error| Error::Decode {
            source: error.into(),
        })
}
