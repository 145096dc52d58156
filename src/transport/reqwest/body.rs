//! Response bodies of the blocking client.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use ::reqwest::blocking::Response;
use bytes::{Buf, Bytes};
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::{classify, detach};
use crate::error::Error;
use crate::transport::ReadWhole;

/// What a pumped body is handed on in.
const PIECE: usize = 16 << 10;

/// A body whose time the client or the request keeps.
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

/// A body that another thread reads, because nothing bounds that reading: here, the clock is watched.
///
/// When it is dropped, the other thread ends with its next piece, or at the client's own timeout.
pub(super) struct PumpedBody {
    pieces: Receiver<io::Result<Bytes>>,
    current: Bytes,
    deadline: Instant,
}

impl PumpedBody {
    pub(super) fn start(response: Response, deadline: Instant) -> Result<Self, Error> {
        let (sender, pieces) = bounded(1);
        let mut body = IncomingBody::new(response);
        thread::Builder::new()
            .name("threaded-body".to_owned())
            .spawn(move || {
                loop {
                    let mut piece = vec![0; PIECE];
                    let read = body.read(&mut piece);
                    let is_last = matches!(read, Ok(0) | Err(_));
                    let piece = read.map(|read| {
                        piece.truncate(read);
                        Bytes::from(piece)
                    });
                    if sender.send(piece).is_err() || is_last {
                        break;
                    }
                }
            })
            .map_err(|error| Error::LocalResource {
                sent: true,
                source: error.into(),
            })?;
        Ok(Self {
            pieces,
            current: Bytes::new(),
            deadline,
        })
    }
}

impl Read for PumpedBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current = match self.pieces.recv_deadline(self.deadline) {
                Ok(piece) => piece?,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(io::Error::other(Error::Timeout {
                        after: Duration::ZERO,
                        sent: true,
                        source: None,
                    }));
                }
                // The last piece was the empty one, or an error that was handed on.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
        }
        let read = (&*self.current).read(buffer)?;
        self.current.advance(read);
        Ok(read)
    }
}
