//! Reading an encoded body into memory, without keeping what a bomb unpacks to.
//!
//! A few hundred KiB can unpack to more than a machine holds, and each worker may be at such a body. So a body that turns
//! out to be packed very densely is only measured at first, with its packed form kept aside: it is unpacked into memory
//! when it is known to be within its limit.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::Arrival;
use crate::error::Error;
use crate::fetch::decode;
use crate::transport::ResponseBody;

/// So much is unpacked into memory before it is asked how densely it was packed.
const UNMEASURED: u64 = 8 << 20;

/// A body that unpacks to so many times its size is measured first. Text seldom unpacks to more than ten times its size, a
/// bomb to a thousand times.
const DENSE: u64 = 32;

pub(super) fn read(mut arrival: Arrival<'_>) -> Result<Bytes, Error> {
    let packed = Packed::default();
    arrival.body = packed.recording(arrival.body);
    let (decoders, deadline) = (arrival.decoders, arrival.deadline);
    let unpacked = arrival
        .read(|content| unpack(content, &packed))?
        .map_err(Error::from_body_read)?;
    match unpacked {
        Unpacked::Whole(content) => Ok(content),
        Unpacked::Measured(length) => {
            deadline.check(true)?;
            let packed = packed.stop();
            decode::decoded(&mut packed.as_slice(), decoders)
                .and_then(|mut content| collect_exactly(&mut content, length))
                .map_err(decode::error)
        }
    }
}

enum Unpacked {
    Whole(Bytes),
    /// It is so many bytes long.
    Measured(u64),
}

fn unpack(content: &mut dyn Read, packed: &Packed) -> io::Result<Unpacked> {
    let mut begun = Vec::new();
    content.take(UNMEASURED).read_to_end(&mut begun)?;
    let length = begun.len() as u64;
    if length < UNMEASURED || length / DENSE < packed.length() {
        packed.stop();
        content.read_to_end(&mut begun)?;
        return Ok(Unpacked::Whole(begun.into()));
    }
    drop(begun);
    let rest = io::copy(content, &mut io::sink())?;
    Ok(Unpacked::Measured(length + rest))
}

fn collect_exactly(content: &mut dyn Read, length: u64) -> io::Result<Bytes> {
    let mut collected = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    content.take(length).read_to_end(&mut collected)?;
    Ok(collected.into())
}

/// What has come of a body, as it came. Forgets all of it when it is stopped.
#[derive(Clone, Default)]
struct Packed(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    is_stopped: bool,
}

impl Packed {
    fn recording(&self, body: ResponseBody) -> ResponseBody {
        ResponseBody::from_reader(Recording {
            body,
            packed: self.clone(),
        })
    }

    fn length(&self) -> u64 {
        self.change(|record| record.bytes.len() as u64)
    }

    fn add(&self, bytes: &[u8]) {
        self.change(|record| {
            if !record.is_stopped {
                record.bytes.extend_from_slice(bytes);
            }
        });
    }

    fn stop(&self) -> Vec<u8> {
        self.change(|record| {
            record.is_stopped = true;
            std::mem::take(&mut record.bytes)
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Recording {
    body: ResponseBody,
    packed: Packed,
}

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.body.read(buffer)?;
        self.packed.add(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
