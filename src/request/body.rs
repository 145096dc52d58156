//! Request bodies, which can be sent any number of times: [`RequestBody`].

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use crate::error::{Error, is_out_of_resources};
use crate::redact::{DebugTruncated, Truncated};

/// The body of a request: bytes in memory, or a file that is read again for each attempt.
///
/// Bytes and strings convert into it, owned or static. Cloning it does not copy the content.
#[derive(Clone)]
pub struct RequestBody {
    pub(super) source: Source,
    /// The `Content-Type`, unless a header sets it.
    pub(super) content_type: Option<HeaderValue>,
    content_encoding: Option<&'static str>,
}

#[derive(Clone)]
pub(super) enum Source {
    Bytes(Bytes),
    File(Arc<Path>),
    #[cfg(feature = "multipart")]
    Pieces(Arc<[Piece]>),
    /// Compresses another one while it is read.
    #[cfg(feature = "gzip")]
    Gzip(Arc<Source>, flate2::Compression),
}

/// A piece of a body that is assembled while it is sent.
#[cfg(feature = "multipart")]
#[derive(Clone)]
pub(super) enum Piece {
    Bytes(Bytes),
    File(Arc<Path>),
}

/// An open body, which can be read once.
pub(crate) enum OpenBody {
    Bytes(Bytes),
    /// Yields exactly `length` bytes if it is known, or an error that wraps a [`BodySourceError`].
    Reader {
        reader: Box<dyn Read + Send>,
        length: Option<u64>,
    },
}

impl RequestBody {
    /// Creates a body from the content of a regular file, as it is at the time of each attempt.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into().into()),
            content_type: None,
            content_encoding: None,
        }
    }

    pub(super) fn typed(content: Bytes, content_type: HeaderValue) -> Self {
        Self {
            source: Source::Bytes(content),
            content_type: Some(content_type),
            content_encoding: None,
        }
    }

    #[cfg(feature = "multipart")]
    pub(super) fn from_pieces(
        pieces: Vec<Piece>,
        content_type: impl Into<Option<HeaderValue>>,
    ) -> Self {
        Self {
            source: Source::Pieces(pieces.into()),
            content_type: content_type.into(),
            content_encoding: None,
        }
    }

    /// Returns the content, if it is in memory.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.source {
            Source::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Opens the body for reading, from its start. It can be called any number of times.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be opened or is not a regular file.
    pub fn reader(&self) -> io::Result<impl Read + Send + 'static> {
        Ok(self.open()?.into_reader())
    }

    pub(crate) fn content_type(&self) -> Option<&HeaderValue> {
        self.content_type.as_ref()
    }

    pub(crate) fn content_encoding(&self) -> Option<&'static str> {
        self.content_encoding
    }

    /// Opens the body for a transport. Returns an error if it cannot be opened: the request is invalid, or this machine
    /// ran out of a resource.
    pub(crate) fn open_to_send(&self) -> Result<OpenBody, Error> {
        self.open().map_err(|error| {
            if is_out_of_resources(&error) {
                return Error::local_resource(error);
            }
            let message = format!("the body cannot be read: {}", Truncated(&error));
            Error::invalid_request(message).with_source(error)
        })
    }

    fn open(&self) -> io::Result<OpenBody> {
        self.source.open()
    }

    /// The same body, compressed: now if it is in memory, otherwise while it is read.
    #[cfg(feature = "gzip")]
    pub(crate) fn gzipped(&self, level: u32) -> io::Result<Self> {
        let level = flate2::Compression::new(level);
        let source = match &self.source {
            Source::Bytes(bytes) => {
                let mut compressed = Vec::new();
                flate2::read::GzEncoder::new(&**bytes, level).read_to_end(&mut compressed)?;
                Source::Bytes(compressed.into())
            }
            source => Source::Gzip(Arc::new(source.clone()), level),
        };
        Ok(Self {
            source,
            content_type: self.content_type.clone(),
            content_encoding: Some("gzip"),
        })
    }
}

impl Source {
    fn open(&self) -> io::Result<OpenBody> {
        match self {
            Self::Bytes(bytes) => Ok(OpenBody::Bytes(bytes.clone())),
            Self::File(path) => {
                let reader = FileReader::open(path)?;
                Ok(OpenBody::Reader {
                    length: Some(reader.left),
                    reader: Box::new(reader),
                })
            }
            #[cfg(feature = "multipart")]
            Self::Pieces(pieces) => open_pieces(pieces),
            #[cfg(feature = "gzip")]
            Self::Gzip(source, level) => {
                let reader = flate2::read::GzEncoder::new(source.open()?.into_reader(), *level);
                Ok(OpenBody::Reader {
                    reader: Box::new(reader),
                    length: None,
                })
            }
        }
    }
}

impl OpenBody {
    fn into_reader(self) -> Box<dyn Read + Send> {
        match self {
            Self::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Self::Reader { reader, .. } => reader,
        }
    }
}

#[cfg(feature = "multipart")]
fn open_pieces(pieces: &[Piece]) -> io::Result<OpenBody> {
    let mut length = 0;
    let mut reader: Box<dyn Read + Send> = Box::new(io::empty());
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => {
                length += bytes.len() as u64;
                reader = Box::new(reader.chain(io::Cursor::new(bytes.clone())));
            }
            Piece::File(path) => {
                let file = FileReader::open(path)?;
                length += file.left;
                reader = Box::new(reader.chain(file));
            }
        }
    }
    Ok(OpenBody::Reader {
        reader,
        length: Some(length),
    })
}

/// Reads as many bytes of a file as it had when it was opened, since that length has been sent as the `Content-Length`.
struct FileReader {
    file: File,
    path: Arc<Path>,
    left: u64,
}

impl FileReader {
    fn open(path: &Arc<Path>) -> io::Result<Self> {
        let failed = |error| BodySourceError::wrap(path, error);
        let check = |metadata: Metadata| {
            if metadata.is_file() {
                return Ok(metadata.len());
            }
            let message = "not a regular file, so it could not be sent again";
            Err(failed(io::Error::new(io::ErrorKind::InvalidInput, message)))
        };
        // Checked before opening, since opening a named pipe blocks; and after, since the file may have been replaced.
        check(std::fs::metadata(path).map_err(failed)?)?;
        let file = File::open(path).map_err(failed)?;
        Ok(Self {
            left: check(file.metadata().map_err(failed)?)?,
            path: Arc::clone(path),
            file,
        })
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(buffer) = buffer.get_mut(..wanted).filter(|buffer| !buffer.is_empty()) else {
            return Ok(0);
        };
        match self.file.read(buffer) {
            Ok(0) => {
                let message = "the file was truncated while it was sent";
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, message);
                Err(BodySourceError::wrap(&self.path, error))
            }
            Ok(read) => {
                self.left -= read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(BodySourceError::wrap(&self.path, error)),
        }
    }
}

/// The file of a request body could not be opened or read to its end.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", Truncated(.path.display()))]
pub(crate) struct BodySourceError {
    path: Arc<Path>,
    source: io::Error,
}

impl BodySourceError {
    fn wrap(path: &Arc<Path>, source: io::Error) -> io::Error {
        let path = Arc::clone(path);
        io::Error::new(source.kind(), Self { path, source })
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self {
            source: Source::Bytes(bytes),
            content_type: None,
            content_encoding: None,
        }
    }
}

impl From<Vec<u8>> for RequestBody {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for RequestBody {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for RequestBody {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for RequestBody {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::File(path) => write!(f, "file {:?}", DebugTruncated(path.display())),
            #[cfg(feature = "multipart")]
            Self::Pieces(pieces) => write!(f, "form of {} pieces", pieces.len()),
            #[cfg(feature = "gzip")]
            Self::Gzip(source, _) => write!(f, "gzip of {source:?}"),
        }
    }
}
