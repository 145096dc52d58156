//! The body of a response, as a transport delivers it: [`ResponseBody`].

use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::error::Error;

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
    /// Yields as much as the response has announced, if it has, or an error.
    Announced(Box<dyn Read + Send>),
}

/// Maximum that is allocated for a body on the word of its `Content-Length`, before any of it has come.
const MAX_ADVANCE: u64 = 1 << 20;

/// How much is read at once of a body that comes in pieces, and the least that is worth a read.
const PIECE: usize = 16 << 10;
const MIN_PIECE: usize = 4 << 10;

/// How much of an announced length is allocated for.
pub(crate) fn expected_length(announced: u64) -> usize {
    usize::try_from(announced.min(MAX_ADVANCE)).unwrap_or(0)
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

    /// A body that a client reads, which keeps to the length that the response has announced.
    pub(crate) fn announced(reader: impl Read + Send + 'static) -> Self {
        Content::Announced(Box::new(reader)).into()
    }

    /// Takes all of it at once if that takes no more than one buffer: because it is there, or because its length is known.
    /// `check` is told what has come, and tells whether to go on.
    pub(crate) fn take_whole(
        &mut self,
        length: Option<u64>,
        mut check: impl FnMut(usize) -> Result<(), Error>,
    ) -> Option<Result<Bytes, Error>> {
        match (&mut self.content, length) {
            (Content::Bytes(bytes), _) => {
                let bytes = std::mem::take(bytes);
                // All of it is there: there is nothing to wait for.
                let _ = check(bytes.len());
                Some(Ok(bytes))
            }
            (Content::Announced(reader), Some(length)) => {
                Some(read_announced(&mut **reader, length, check))
            }
            _ => None,
        }
    }

    /// Reads the rest on another thread, and waits for its end until this time at most, so that the connection can be used
    /// again. Reads that never end occupy a bounded number of threads, until their own time limits.
    pub(crate) fn discard(mut self, max: usize, until: Instant) {
        if let Content::Bytes(_) = self.content {
            return;
        }
        let Some(reading) = Discarding::begin() else {
            return;
        };
        let (over_tx, over) = mpsc::channel::<()>();
        let read = move || {
            let mut left = max;
            while left > 0 && Instant::now() < until {
                match self.piece() {
                    Ok(piece) if !piece.is_empty() => left = left.saturating_sub(piece.len()),
                    _ => break,
                }
            }
            drop((self, reading, over_tx));
        };
        // Without a thread, the body is dropped, and its connection with it.
        if thread::Builder::new().spawn(read).is_ok() {
            let _ = over.recv_timeout(until.saturating_duration_since(Instant::now()));
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
        let read = read_some(self, &mut buffer)?;
        let piece = buffer.split_to(read.min(buffer.len())).freeze();
        self.buffer = buffer;
        Ok(piece)
    }
}

fn read_announced(
    reader: &mut dyn Read,
    length: u64,
    mut check: impl FnMut(usize) -> Result<(), Error>,
) -> Result<Bytes, Error> {
    let mut whole = vec![0; expected_length(length)];
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (mut filled, mut checked) = (0, 0);
    while filled < length {
        check(filled - checked)?;
        checked = filled;
        if filled == whole.len() {
            whole.resize(length.min(2 * filled), 0);
        }
        let free = whole.get_mut(filled..).unwrap_or_default();
        match read_some(reader, free).map_err(Error::from_body_read)? {
            0 => break,
            read => filled += read,
        }
    }
    let _ = check(filled - checked);
    whole.truncate(filled);
    Ok(whole.into())
}

fn read_some(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// One of the threads that read what is discarded.
struct Discarding;

static DISCARDING: AtomicUsize = AtomicUsize::new(0);

impl Discarding {
    /// `None` if there are too many.
    fn begin() -> Option<Self> {
        const MOST: usize = 64;

        let this = Self;
        (DISCARDING.fetch_add(1, Ordering::Relaxed) < MOST).then_some(this)
    }
}

impl Drop for Discarding {
    fn drop(&mut self) {
        DISCARDING.fetch_sub(1, Ordering::Relaxed);
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
            Content::Reader(reader) | Content::Announced(reader) => reader.read(buffer),
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Bytes(bytes) => write!(f, "ResponseBody({} bytes)", bytes.len()),
            Content::Reader(_) | Content::Announced(_) => f.write_str("ResponseBody(reader)"),
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
