//! Reading a body into memory, up to a limit.

use std::io::{self, Read};

use bytes::Bytes;

use super::{Arrival, DEFAULT_MAX_BODY};
use crate::error::Error;

/// Most memory that is set aside on the word of a `Content-Length`, before any of the body has come.
const LARGEST_ADVANCE: u64 = 1 << 20;

pub(super) fn read(mut arrival: Arrival<'_>, content_length: Option<u64>) -> Result<Bytes, Error> {
    let limit = arrival.max_body.unwrap_or(DEFAULT_MAX_BODY);
    arrival.max_body = Some(limit);
    if !arrival.decoders.is_empty() {
        return arrival
            .read(|content| collect(content, 0))?
            .map_err(Error::from_body_read);
    }
    if content_length.is_some_and(|length| length > limit) {
        return Err(Error::BodyTooLarge { limit });
    }
    match arrival.body.into_whole(content_length.is_some()) {
        Ok(whole) => match whole.map_err(Error::from_body_read)? {
            whole if whole.len() as u64 > limit => Err(Error::BodyTooLarge { limit }),
            whole => Ok(whole),
        },
        Err(body) => {
            arrival.body = body;
            let expected = content_length.unwrap_or(0);
            arrival
                .read(|content| collect(content, expected))?
                .map_err(Error::from_body_read)
        }
    }
}

fn collect(content: &mut dyn Read, expected: u64) -> io::Result<Bytes> {
    let advance = usize::try_from(expected.min(LARGEST_ADVANCE)).unwrap_or(0);
    let mut collected = Vec::with_capacity(advance);
    content.read_to_end(&mut collected)?;
    Ok(collected.into())
}
