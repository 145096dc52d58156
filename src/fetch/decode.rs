//! Content codings (RFC 9110, section 8.4.1): which ones a body has, and undoing them.

use std::io::{self, BufRead, BufReader, Read};

#[cfg(feature = "gzip")]
use flate2::bufread::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::error::Error;

/// What `Accept-Encoding` offers, if anything.
pub(super) const ACCEPTED: Option<&str> = match (
    cfg!(feature = "gzip"),
    cfg!(feature = "brotli"),
    cfg!(feature = "zstd"),
) {
    (false, false, false) => None,
    (true, false, false) => Some("gzip, deflate"),
    (false, true, false) => Some("br"),
    (false, false, true) => Some("zstd"),
    (true, true, false) => Some("gzip, deflate, br"),
    (true, false, true) => Some("gzip, deflate, zstd"),
    (false, true, true) => Some("br, zstd"),
    (true, true, true) => Some("gzip, deflate, br, zstd"),
};

/// Most codings that are undone one after the other. A sender needs one; dozens are an attack.
const MOST_ENCODINGS: usize = 5;

/// A window of 8 MiB, the largest that a sender of HTTP may ask for (RFC 9659).
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Undoes one coding.
pub(super) type Decoder = for<'a> fn(Box<dyn BufRead + 'a>) -> io::Result<Box<dyn Read + 'a>>;

/// What undoes the codings of a body, in the order in which they were applied; nothing if one of them is unknown, for
/// then the body is handed on as it is.
pub(super) fn decoders(headers: &HeaderMap) -> Result<Vec<Decoder>, Error> {
    let mut decoders = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let Ok(value) = value.to_str() else {
            return Ok(Vec::new());
        };
        for token in value.split(',').map(str::trim) {
            if token.is_empty() || token.eq_ignore_ascii_case("identity") {
                continue;
            }
            match decoder(token) {
                Some(decoder) => decoders.push(decoder),
                None => return Ok(Vec::new()),
            }
        }
    }
    if decoders.len() > MOST_ENCODINGS {
        return Err(Error::decode(format!(
            "{} content encodings on top of each other; at most {MOST_ENCODINGS} are decoded",
            decoders.len()
        )));
    }
    Ok(decoders)
}

/// Undoes all codings, the last one first.
pub(super) fn decoded<'a>(
    source: &'a mut dyn BufRead,
    decoders: &[Decoder],
) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut decoded: Box<dyn BufRead + 'a> = Box::new(source);
    for decoder in decoders.iter().rev() {
        decoded = Box::new(BufReader::new(decoder(decoded)?));
    }
    Ok(decoded)
}

/// What comes next, without taking it; empty at the end.
pub(super) fn peek(source: &mut impl BufRead) -> io::Result<&[u8]> {
    while let Err(error) = source.fill_buf() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    source.fill_buf()
}

/// An error that does not come from below the decoders comes from them.
pub(super) fn error(error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::decode)
}

fn decoder(token: &str) -> Option<Decoder> {
    match token.to_ascii_lowercase().as_str() {
        #[cfg(feature = "gzip")]
        "gzip" | "x-gzip" => Some(|source| Ok(Box::new(GzipMembers::new(source)))),
        #[cfg(feature = "gzip")]
        "deflate" => Some(deflate),
        #[cfg(feature = "brotli")]
        "br" => Some(|source| {
            let decoder = brotli_decompressor::Decompressor::new(source, 8 << 10);
            Ok(Box::new(decoder))
        }),
        #[cfg(feature = "zstd")]
        "zstd" => Some(|source| {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Ok(Box::new(decoder))
        }),
        _ => None,
    }
}

/// The members of a gzip file, one after the other (RFC 1952, section 2.2). What follows them and is none, padding mostly, is
/// left alone, as other clients do.
#[cfg(feature = "gzip")]
struct GzipMembers<R> {
    /// `None` at the end.
    member: Option<GzDecoder<R>>,
}

#[cfg(feature = "gzip")]
impl<R: BufRead> GzipMembers<R> {
    fn new(source: R) -> Self {
        Self {
            member: Some(GzDecoder::new(source)),
        }
    }
}

#[cfg(feature = "gzip")]
impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// What each member begins with.
        const FIRST_BYTE: u8 = 0x1f;

        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let has_next = peek(member.get_mut())?.first() == Some(&FIRST_BYTE);
            let ended = self.member.take().map(GzDecoder::into_inner);
            self.member = ended.filter(|_| has_next).map(GzDecoder::new);
        }
        Ok(0)
    }
}

/// `deflate` means the zlib format, but some servers send the bare one (RFC 9110, section 8.4.1.2). The first byte tells:
/// in zlib it names method 8 and a window; a bare stream would have to start with a stored block and padding that no
/// encoder writes.
#[cfg(feature = "gzip")]
fn deflate<'a>(mut source: Box<dyn BufRead + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let is_zlib = peek(&mut source)?
        .first()
        .is_some_and(|first| first & 0x0f == 8 && first >> 4 <= 7);
    Ok(if is_zlib {
        Box::new(flate2::bufread::ZlibDecoder::new(source))
    } else {
        Box::new(flate2::bufread::DeflateDecoder::new(source))
    })
}
