//! The body of a response as a transport returns it: [`ResponseBody`].

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;

use bytes::Bytes;

/// The body of a response as received: neither decoded nor limited in size.
///
/// Converts from text and bytes; [`from_reader`](Self::from_reader) takes any reader.
pub struct ResponseBody {
    content: Content,
    remote_addr: Option<SocketAddr>,
}

enum Content {
    Bytes(Bytes),
    Reader(Box<dyn Read + Send>),
    Whole(Box<dyn ReadWhole>),
}

/// Maximum capacity that is reserved because of a `Content-Length`, before any of the body has arrived.
const MAX_RESERVED: u64 = 1 << 20;

/// Reads all of a body into memory. `expected` is its expected length in bytes, 0 if unknown.
pub(crate) fn collect(content: &mut dyn Read, expected: u64) -> io::Result<Bytes> {
    let reserved = usize::try_from(expected.min(MAX_RESERVED)).unwrap_or(0);
    let mut collected = Vec::with_capacity(reserved);
    content.read_to_end(&mut collected)?;
    Ok(collected.into())
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

    /// The whole body at once, without a copy, if its length is known (and so checked against the limit) or it is in
    /// memory already. Otherwise returns the body unchanged.
    pub(crate) fn into_whole(self, is_length_known: bool) -> Result<io::Result<Bytes>, Self> {
        match self.content {
            Content::Bytes(bytes) => Ok(Ok(bytes)),
            Content::Whole(body) if is_length_known => Ok(body.read_whole()),
            other => Err(other.into()),
        }
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
