//! A response body on its way in: under the deadline, with its faults sorted.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::deadline::Deadline;
use crate::error::Error;
use crate::transport::ResponseBody;

/// Most that is read of a body that nobody wants, so that its connection can be used again.
const LONGEST_DRAIN: u64 = 64 << 10;

/// How long pieces of such a body are taken as they come. Who sends one at a time would otherwise keep the worker.
const DRAIN_TIME: Duration = Duration::from_millis(100);

/// Reads a body as the transport delivers it. Its `io::Error`s wrap an [`Error`], so that they can be told from those of
/// the decoders above it.
pub(super) struct Incoming<'a> {
    body: ResponseBody,
    deadline: &'a Deadline,
}

impl<'a> Incoming<'a> {
    pub(super) fn new(body: ResponseBody, deadline: &'a Deadline) -> Self {
        Self { body, deadline }
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The transport keeps the deadline while it waits; this is for one that always has a little more.
        self.deadline.check(true).map_err(io::Error::other)?;
        match self.body.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(io::Error::other(Error::from_body_read(error))),
            Ok(read) => Ok(read),
        }
    }
}

/// Reads the rest of a body that has no reader, in part; faults do not matter any more.
pub(super) fn drain(mut body: impl Read) {
    let until = Instant::now() + DRAIN_TIME;
    let mut left = LONGEST_DRAIN;
    let mut buffer = [0; 4 << 10];
    loop {
        match body.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
        if left == 0 || Instant::now() >= until {
            return;
        }
    }
}
