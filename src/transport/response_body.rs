//! The body of a response, as a transport delivers it: [`ResponseBody`].

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

/// The body of a response as received: neither decoded nor limited in size.
///
/// Converts from text and bytes; [`from_reader`](Self::from_reader) takes any reader.
pub struct ResponseBody {
    content: Content,
    remote_addr: Option<SocketAddr>,
    /// What the next pieces are read into.
    buffer: BytesMut,
}

enum Content {
    Bytes(Bytes),
    Reader(Box<dyn Read + Send>),
    Whole(Box<dyn ReadWhole>),
}

/// Maximum that is allocated for a body on the word of its `Content-Length`, before any of it has come.
const MAX_ADVANCE: u64 = 1 << 20;

/// How much is read at once of a body that comes in pieces, and the least that is worth a read.
const PIECE: usize = 16 << 10;
const MIN_PIECE: usize = 4 << 10;

/// Memory for a body that is expected to have this length.
pub(crate) fn room_for(expected: u64) -> Vec<u8> {
    Vec::with_capacity(expected_length(expected))
}

/// How much of an announced length is allocated for.
pub(crate) fn expected_length(announced: u64) -> usize {
    usize::try_from(announced.min(MAX_ADVANCE)).unwrap_or(0)
}

/// A reader that can also return the whole body at once, without a copy.
pub(crate) trait ReadWhole: Read + Send {
    fn read_whole(self: Box<Self>) -> io::Result<Bytes>;
}

impl ResponseBody {
    /// A body without content.
    pub fn empty() -> Self {
        Self::from(Bytes::new())
    }

    /// A body that is read from a reader.
    ///
    /// To report a fault as an [`Error`](crate::Error) of a certain kind, wrap it:
    /// `io::Error::other(Error::decode(…))`. Otherwise the `io::ErrorKind` decides: `UnexpectedEof` becomes
    /// [`BodyTruncated`](crate::ErrorKind::BodyTruncated), `TimedOut` and `WouldBlock`
    /// [`Timeout`](crate::ErrorKind::Timeout), `InvalidData` and `InvalidInput`
    /// [`Protocol`](crate::ErrorKind::Protocol), any other [`Closed`](crate::ErrorKind::Closed).
    pub fn from_reader(reader: impl Read + Send + 'static) -> Self {
        Content::Reader(Box::new(reader)).into()
    }

    /// Sets the address of the peer that sent the response, for [`Response::remote_addr`](crate::Response::remote_addr).
    /// Defaults to unknown.
    #[must_use]
    pub fn with_remote_addr(mut self, remote_addr: impl Into<Option<SocketAddr>>) -> Self {
        self.remote_addr = remote_addr.into();
        self
    }

    pub(crate) fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr
    }

    pub(crate) fn from_whole(body: impl ReadWhole + 'static) -> Self {
        Content::Whole(Box::new(body)).into()
    }

    /// Takes all of it at once, without a copy, if that is possible within the length that is known of it.
    pub(crate) fn take_whole(&mut self, is_length_known: bool) -> Option<io::Result<Bytes>> {
        match std::mem::replace(&mut self.content, Content::Bytes(Bytes::new())) {
            Content::Bytes(bytes) => Some(Ok(bytes)),
            Content::Whole(body) if is_length_known => Some(body.read_whole()),
            other => {
                self.content = other;
                None
            }
        }
    }

    /// Reads the next piece of it; an empty one at its end.
    pub(crate) fn piece(&mut self) -> io::Result<Bytes> {
        if let Content::Bytes(bytes) = &mut self.content {
            return Ok(std::mem::take(bytes));
        }
        // Short pieces share a buffer.
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < MIN_PIECE {
            buffer = BytesMut::zeroed(PIECE);
        }
        let read = loop {
            match self.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        let piece = buffer.split_to(read.min(buffer.len())).freeze();
        self.buffer = buffer;
        Ok(piece)
    }
}

impl Read for ResponseBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.content {
            Content::Bytes(bytes) => {
                let read = bytes.as_ref().read(buffer)?;
                drop(bytes.split_to(read));
                Ok(read)
            }
            Content::Reader(reader) => reader.read(buffer),
            Content::Whole(body) => body.read(buffer),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Bytes(bytes) => write!(f, "ResponseBody({} bytes)", bytes.len()),
            Content::Reader(_) | Content::Whole(_) => f.write_str("ResponseBody(reader)"),
        }
    }
}

impl From<Content> for ResponseBody {
    fn from(content: Content) -> Self {
        Self {
            content,
            remote_addr: None,
            buffer: BytesMut::new(),
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(bytes: Bytes) -> Self {
        Content::Bytes(bytes).into()
    }
}

impl From<Vec<u8>> for ResponseBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for ResponseBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for ResponseBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for ResponseBody {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
