//! Reading a body into memory, up to a limit.

use bytes::Bytes;

use super::{Arrival, DEFAULT_MAX_BODY, unpacked};
use crate::error::Error;
use crate::transport::collect;

pub(super) fn read(mut arrival: Arrival<'_>, content_length: Option<u64>) -> Result<Bytes, Error> {
    let limit = arrival.max_body.unwrap_or(DEFAULT_MAX_BODY);
    arrival.max_body = Some(limit);
    if !arrival.decoders.is_empty() {
        return unpacked::read(arrival);
    }
    if content_length.is_some_and(|length| length > limit) {
        return Err(Error::body_too_large(limit));
    }
    match arrival.body.into_whole(content_length.is_some()) {
        Ok(whole) => match whole.map_err(Error::from_body_read)? {
            whole if whole.len() as u64 > limit => Err(Error::body_too_large(limit)),
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
