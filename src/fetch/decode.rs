//! Content codings (RFC 9110, section 8.4.1): which ones a body has, and undoing them.

use std::io::{self, BufRead, BufReader, Read};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    #[cfg(feature = "gzip")]
    Gzip,
    #[cfg(feature = "gzip")]
    Deflate,
    #[cfg(feature = "brotli")]
    Brotli,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The codings of a body in the order in which they were applied; none if one of them is unknown, for then the body is
/// handed on as it is.
pub(super) fn encodings(headers: &HeaderMap) -> Result<Vec<Encoding>, Error> {
    let mut encodings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let Ok(value) = value.to_str() else {
            return Ok(Vec::new());
        };
        for token in value.split(',').map(str::trim) {
            if token.is_empty() || token.eq_ignore_ascii_case("identity") {
                continue;
            }
            match encoding(token) {
                Some(encoding) => encodings.push(encoding),
                None => return Ok(Vec::new()),
            }
        }
    }
    if encodings.len() > MOST_ENCODINGS {
        return Err(Error::Decode {
            source: format!(
                "{} codings on top of each other; at most {MOST_ENCODINGS} are undone",
                encodings.len()
            )
            .into(),
        });
    }
    Ok(encodings)
}

fn encoding(token: &str) -> Option<Encoding> {
    match token.to_ascii_lowercase().as_str() {
        #[cfg(feature = "gzip")]
        "gzip" | "x-gzip" => Some(Encoding::Gzip),
        #[cfg(feature = "gzip")]
        "deflate" => Some(Encoding::Deflate),
        #[cfg(feature = "brotli")]
        "br" => Some(Encoding::Brotli),
        #[cfg(feature = "zstd")]
        "zstd" => Some(Encoding::Zstd),
        _ => None,
    }
}

/// Undoes the codings, the last one first.
pub(super) fn decoder<'a>(
    source: &'a mut dyn BufRead,
    encodings: &[Encoding],
) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut decoded: Box<dyn BufRead + 'a> = Box::new(source);
    for encoding in encodings.iter().rev() {
        let decoder: Box<dyn Read + 'a> = match encoding {
            #[cfg(feature = "gzip")]
            Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(decoded)),
            #[cfg(feature = "gzip")]
            Encoding::Deflate => deflate(decoded)?,
            #[cfg(feature = "brotli")]
            Encoding::Brotli => Box::new(brotli_decompressor::Decompressor::new(decoded, 8 << 10)),
            #[cfg(feature = "zstd")]
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(decoded)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        };
        decoded = Box::new(BufReader::new(decoder));
    }
    Ok(decoded)
}

/// `deflate` means the zlib format, but some servers send the bare one (RFC 9110, section 8.4.1.2). The first byte tells:
/// in zlib it names method 8 and a window; a bare stream would have to start with a stored block and padding that no
/// encoder writes.
#[cfg(feature = "gzip")]
fn deflate<'a>(mut source: Box<dyn BufRead + 'a>) -> io::Result<Box<dyn Read + 'a>> {
    let is_zlib = source
        .fill_buf()?
        .first()
        .is_some_and(|first| first & 0x0f == 8 && first >> 4 <= 7);
    Ok(if is_zlib {
        Box::new(flate2::bufread::ZlibDecoder::new(source))
    } else {
        Box::new(flate2::bufread::DeflateDecoder::new(source))
    })
}
