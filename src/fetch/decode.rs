//! Content encodings (RFC 9110, section 8.4.1): which ones a body has, and decoding it piece by piece.
//!
//! The decoders of the libraries pull: here from a source that holds one piece of the body at a time. When that is used up, the
//! source reports [`WouldBlock`](io::ErrorKind::WouldBlock), which every decoder passes on; when it is read again, it
//! continues. So the same decoders serve a thread that waits for the next piece and an event loop that must return.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bytes::{Buf, Bytes};
#[cfg(feature = "gzip")]
use flate2::bufread::{DeflateDecoder, GzDecoder, ZlibDecoder};
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

/// Maximum number of stacked content encodings. A sender needs one; dozens are an attack.
const MAX_ENCODINGS: usize = 5;

/// A window of 8 MiB, the largest that a sender of HTTP may ask for (RFC 9659).
#[cfg(feature = "zstd")]
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Maximum length of a piece that decoders are fed with, of a part that [`Decoded::next`] hands over, and of each buffer
/// between decoders.
pub(super) const STEP: usize = 16 << 10;

/// Decodes one content encoding.
pub(super) type Decoder = fn(Box<dyn BufRead>) -> io::Result<Box<dyn Read>>;

/// The decoders of a body, in the order in which its encodings were applied. None if one of the encodings is unknown: the
/// body is then passed on as it is.
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
    if decoders.len() > MAX_ENCODINGS {
        return Err(Error::decode(format!(
            "{} content encodings on top of each other; at most {MAX_ENCODINGS} are decoded",
            decoders.len()
        )));
    }
    Ok(decoders)
}

fn decoder(token: &str) -> Option<Decoder> {
    match token.to_ascii_lowercase().as_str() {
        #[cfg(feature = "gzip")]
        "gzip" | "x-gzip" => Some(gzip),
        #[cfg(feature = "gzip")]
        "deflate" => Some(deflate),
        #[cfg(feature = "brotli")]
        "br" => Some(brotli),
        #[cfg(feature = "zstd")]
        "zstd" => Some(zstd),
        _ => None,
    }
}

/// The decoded content of a body, up to a limit. It is fed with pieces of the body.
pub(super) struct Decoded {
    /// The piece that the decoders get next.
    fed: Rc<Cell<Option<Bytes>>>,
    decoded: Box<dyn BufRead>,
    /// Decoders that are not in place yet; the last one comes next.
    pending: Vec<Decoder>,
    is_encoded: bool,
    limit: u64,
    left: u64,
}

impl Decoded {
    /// `decoders` are in the order in which the encodings were applied; `limit` is in bytes after decoding.
    pub(super) fn new(decoders: &[Decoder], limit: u64) -> Self {
        let fed = Rc::new(Cell::new(None));
        let source = Source {
            fed: Rc::clone(&fed),
            piece: Bytes::new(),
            is_over: false,
        };
        Self {
            fed,
            decoded: Box::new(source),
            pending: decoders.to_vec(),
            is_encoded: false,
            limit,
            left: limit,
        }
    }

    /// This much of the content is there already, and counts.
    pub(super) fn count(&mut self, length: u64) -> Result<(), Error> {
        let left = self.left.checked_sub(length);
        self.left = left.ok_or_else(|| Error::body_too_large(self.limit))?;
        Ok(())
    }

    /// Feeds the next piece of the body, an empty one at its end, when [`next`](Self::next) has asked for it.
    pub(super) fn feed(&mut self, piece: Bytes) {
        self.fed.set(Some(piece));
    }

    /// Hands over the next of the content, a bounded part of it, however much a few bytes expand to, and returns its length:
    /// 0 at the end, `None` if another piece must be fed first.
    pub(super) fn next(
        &mut self,
        max: usize,
        take: impl FnOnce(&[u8]),
    ) -> Result<Option<usize>, Error> {
        let available = match self.place_decoders().and_then(|()| self.decoded.fill_buf()) {
            Ok(available) => available,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(Error::decode(error)),
        };
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        if left == 0 && !available.is_empty() {
            return Err(Error::body_too_large(self.limit));
        }
        let max = max.min(STEP).min(left);
        let part = available.get(..max).unwrap_or(available);
        let length = part.len();
        self.left -= length as u64;
        take(part);
        self.decoded.consume(length);
        Ok(Some(length))
    }

    /// Puts each decoder into place when its first byte has come.
    fn place_decoders(&mut self) -> io::Result<()> {
        while let Some(&decoder) = self.pending.last() {
            if self.decoded.fill_buf()?.is_empty() && !self.is_encoded {
                // Servers label empty bodies as encoded; no decoder would accept them.
                self.pending.clear();
                break;
            }
            self.pending.pop();
            self.is_encoded = true;
            let source = std::mem::replace(&mut self.decoded, Box::new(io::empty()));
            self.decoded = Box::new(BufReader::with_capacity(STEP, decoder(source)?));
        }
        Ok(())
    }
}

/// What the decoders of a body read from: one piece of it after the other.
struct Source {
    fed: Rc<Cell<Option<Bytes>>>,
    piece: Bytes,
    is_over: bool,
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && !self.is_over {
            let Some(piece) = self.fed.take() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            self.is_over = piece.is_empty();
            self.piece = piece;
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(feature = "gzip")]
fn gzip(source: Box<dyn BufRead>) -> io::Result<Box<dyn Read>> {
    let member = Some(GzDecoder::new(source));
    Ok(Box::new(GzipMembers { member }))
}

/// The members of a gzip file, one after the other (RFC 1952, section 2.2). What follows them and is not a member, mostly
/// padding, is ignored, as in other clients.
#[cfg(feature = "gzip")]
struct GzipMembers<R> {
    /// `None` at the end.
    member: Option<GzDecoder<R>>,
}

#[cfg(feature = "gzip")]
impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        /// The first byte of each member.
        const FIRST_BYTE: u8 = 0x1f;

        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let has_next = member.get_mut().fill_buf()?.first() == Some(&FIRST_BYTE);
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
fn deflate(mut source: Box<dyn BufRead>) -> io::Result<Box<dyn Read>> {
    let is_zlib = source
        .fill_buf()?
        .first()
        .is_some_and(|first| first & 0x0f == 8 && first >> 4 <= 7);
    Ok(if is_zlib {
        Box::new(ZlibDecoder::new(source))
    } else {
        Box::new(DeflateDecoder::new(source))
    })
}

#[cfg(feature = "brotli")]
fn brotli(mut source: Box<dyn BufRead>) -> io::Result<Box<dyn Read>> {
    /// Begins a stream with a window of up to 1 GiB, an extension that the library reads. RFC 7932, section 9.1, has no
    /// windows of more than 16 MiB, and no stream that begins with these seven bits.
    const LARGE_WINDOW: u8 = 0b001_0001;

    let first = source.fill_buf()?.first().copied().unwrap_or_default();
    if first & 0x7f == LARGE_WINDOW {
        let message = "its window is larger than the 16 MiB that brotli has (RFC 7932)";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let decoder = brotli_decompressor::Decompressor::new(source, 8 << 10);
    Ok(Box::new(decoder))
}

#[cfg(feature = "zstd")]
fn zstd(source: Box<dyn BufRead>) -> io::Result<Box<dyn Read>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    let is_hungry = false;
    Ok(Box::new(ZstdFrames { decoder, is_hungry }))
}

/// The frames of a zstd stream. The library fails when it is called 16 times without any input or output, and each read calls
/// it without input first: so it must not be called again before something has come for it.
#[cfg(feature = "zstd")]
struct ZstdFrames<R: BufRead> {
    decoder: zstd::stream::read::Decoder<'static, R>,
    is_hungry: bool,
}

#[cfg(feature = "zstd")]
impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_hungry {
            self.decoder.get_mut().fill_buf()?;
        }
        let read = self.decoder.read(buffer);
        let error = read.as_ref().err().map(io::Error::kind);
        self.is_hungry = error == Some(io::ErrorKind::WouldBlock);
        read
    }
}

#[cfg(all(test, feature = "gzip"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::io::Write;

    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use flate2::{Compression, Crc};
    use http::HeaderValue;

    use super::*;
    use crate::error::ErrorKind;

    /// A body of which nothing comes for some time after its first bytes.
    #[cfg(feature = "zstd")]
    struct Late(usize, io::Chain<io::Cursor<Vec<u8>>, io::Cursor<Vec<u8>>>);

    #[cfg(feature = "zstd")]
    impl Read for Late {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.fill_buf()?.read(buffer)?;
            self.consume(len);
            Ok(len)
        }
    }

    #[cfg(feature = "zstd")]
    impl BufRead for Late {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            let (first, _) = self.1.get_ref();
            if first.position() == first.get_ref().len() as u64 && self.0 > 0 {
                self.0 -= 1;
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.1.fill_buf()
        }

        fn consume(&mut self, len: usize) {
            self.1.consume(len);
        }
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn a_zstd_decoder_is_patient_until_something_comes() {
        let body = ::zstd::encode_all(&text()[..], 3).unwrap();
        let (first, rest) = body.split_at(20);
        let [first, rest] = [first, rest].map(|piece| io::Cursor::new(piece.to_vec()));
        let pieces = Read::chain(first, rest);
        let mut decoder = super::zstd(Box::new(Late(100, pieces))).unwrap();
        let mut content = Vec::new();
        for _ in 0..100 {
            let error = decoder.read_to_end(&mut content).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
        decoder.read_to_end(&mut content).unwrap();
        assert_eq!(content, text());
    }

    fn text() -> Vec<u8> {
        let lines = (0..60).map(|number| format!("line {}\n", number * number));
        lines.collect::<String>().into_bytes()
    }

    fn decoders_of(encodings: &'static str) -> Vec<Decoder> {
        let value = HeaderValue::from_static(encodings);
        decoders(&HeaderMap::from_iter([(CONTENT_ENCODING, value)])).unwrap()
    }

    /// What these pieces of a body are decoded to, and the length of the longest part that came at once.
    fn decoded<'a>(
        encodings: &'static str,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, usize), Error> {
        let mut pieces = pieces.into_iter().filter(|piece| !piece.is_empty());
        let mut content = Decoded::new(&decoders_of(encodings), u64::MAX);
        let (mut all, mut longest) = (Vec::new(), 0);
        loop {
            match content.next(usize::MAX, |part| all.extend_from_slice(part))? {
                Some(0) => return Ok((all, longest)),
                Some(length) => longest = longest.max(length),
                None => content.feed(Bytes::copy_from_slice(pieces.next().unwrap_or_default())),
            }
        }
    }

    /// A member whose header has every field (RFC 1952, section 2.3).
    fn gzip_with_all_fields(content: &[u8]) -> Vec<u8> {
        let mut member = vec![0x1f, 0x8b, 8, 0b1_1110, 1, 2, 3, 4, 0, 3];
        member.extend(b"\x05\0extra");
        member.extend(b"a name\0and a comment\0");
        let mut crc = Crc::new();
        crc.update(&member);
        member.extend(&crc.sum().to_le_bytes()[..2]);
        let mut encoder = DeflateEncoder::new(member, Compression::default());
        encoder.write_all(content).unwrap();
        let mut member = encoder.finish().unwrap();
        let mut crc = Crc::new();
        crc.update(content);
        member.extend(crc.sum().to_le_bytes());
        member.extend(crc.amount().to_le_bytes());
        member
    }

    /// In blocks with code tables of their own, so that many bytes in a row decode to nothing.
    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        for block in content.chunks(content.len().div_ceil(3).max(1)) {
            encoder.write_all(block).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(content: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// The text, encoded by another implementation.
    #[cfg(feature = "brotli")]
    const BROTLI: &[u8] = b"\x1b\x29\x02\xc0\xc4\x1b\xfa\xef\xbb\x90\x2c\xf0\xf8\xdd\x40\x76\xd1\x66\xff\x63\x40\x12\x84\
        \x0b\xba\x77\x51\x12\x04\x6e\xb2\x0d\xf6\x60\x30\xd3\x08\x06\x8f\xbf\x70\xe3\x4d\x30\x1c\x9d\x8c\xa7\x96\x31\xe9\
        \x66\x9c\xc7\x45\x74\xb5\xb6\xec\x4a\xbb\x95\x27\x4b\xab\xbc\x32\x32\x13\x62\xa0\x6c\x7c\x66\x55\xf6\x87\x68\xb7\
        \xf0\x55\xfe\x99\x33\x29\x50\xcd\x4f\xc8\x59\x57\xb9\x51\x5a\xd5\x38\xa9\xb6\x5d\xd1\x00\xe6\xe8\x8f\x9f\xf3\x5d\
        \x7a\xb8\xc0\x22\x79\x85\xa6\x03\x6b\xd0\x05\x0c\xe8\x87\x3d\x94\x32\xfb\x40\x2b\x27\xca\x75\xe2\xcf\xc7\x07";

    #[cfg(feature = "zstd")]
    fn zstd(content: &[u8]) -> Vec<u8> {
        let (start, end) = content.split_at(content.len() / 2);
        let [start, end] = [start, end].map(|part| zstd::encode_all(part, 3).unwrap());
        // With a frame between them that is to be skipped (RFC 8878, section 3.1.2).
        [&*start, b"\x50\x2a\x4d\x18\x03\0\0\0abc", &*end].concat()
    }

    /// One frame with the text in a raw block (RFC 8878, section 3.1.1), so that an encoding on top of it has work to do.
    #[cfg(feature = "zstd")]
    fn raw_zstd(content: &[u8]) -> Vec<u8> {
        let length = content.len() as u32;
        let block = (length << 3 | 1).to_le_bytes();
        let size = (length as u16 - 256).to_le_bytes();
        [b"\x28\xb5\x2f\xfd\x60", &size[..], &block[..3], content].concat()
    }

    /// Encodings, and the text in them.
    fn bodies() -> Vec<(&'static str, Vec<u8>)> {
        let text = text();
        let (start, end) = text.split_at(100);
        vec![
            ("identity", text.clone()),
            ("gzip", gzip(&text)),
            ("gzip", gzip_with_all_fields(&text)),
            (
                "gzip",
                [gzip_with_all_fields(start), gzip(b""), gzip(end)].concat(),
            ),
            ("deflate", zlib(&text)),
            ("deflate", raw_deflate(&text)),
            ("gzip, gzip", gzip(&gzip(&text))),
            ("deflate, gzip", gzip(&raw_deflate(&text))),
            #[cfg(feature = "brotli")]
            ("br", BROTLI.to_vec()),
            #[cfg(feature = "brotli")]
            ("br, gzip", gzip(BROTLI)),
            #[cfg(feature = "zstd")]
            ("zstd", zstd(&text)),
            #[cfg(feature = "zstd")]
            ("zstd, gzip", gzip(&zstd(&text))),
            #[cfg(feature = "zstd")]
            ("zstd, gzip", gzip(&raw_zstd(&text))),
            #[cfg(feature = "zstd")]
            ("gzip, zstd", zstd(&gzip(&text))),
            #[cfg(all(feature = "zstd", feature = "brotli"))]
            ("br, zstd, deflate", zlib(&zstd(BROTLI))),
        ]
    }

    #[test]
    fn decoders_go_on_wherever_the_body_is_cut() {
        for (row, (encodings, body)) in bodies().into_iter().enumerate() {
            for at in 0..=body.len() {
                let (start, end) = body.split_at(at);
                let (content, _) = decoded(encodings, [start, end]).unwrap();
                assert!(content == text(), "row {row}, {encodings}, cut at {at}");
            }
            for size in [1, 2, 3, 7] {
                let (content, _) = decoded(encodings, body.chunks(size)).unwrap();
                assert!(
                    content == text(),
                    "row {row}, {encodings}, pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn a_body_that_ends_early_is_an_error_wherever_it_ends() {
        for (row, (encodings, body)) in bodies().into_iter().enumerate().skip(1) {
            for length in 1..body.len() {
                for size in [1, body.len()] {
                    let what = format!("row {row}, {encodings}, {length} bytes, pieces of {size}");
                    match decoded(encodings, body[..length].chunks(size)) {
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Decode, "{what}"),
                        // Complete members or frames have come, or all of an encoding that tells its end itself.
                        Ok((content, _)) => {
                            let has_parts = row == 3 || encodings.contains("zstd");
                            assert!(text().starts_with(&content), "{what}");
                            assert!(content == text() || has_parts, "{what}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_body_is_empty_whatever_its_label() {
        for (encodings, _) in bodies() {
            assert_eq!(
                decoded(encodings, []).unwrap(),
                (Vec::new(), 0),
                "{encodings}"
            );
        }
        // A body that decodes to nothing is not the same.
        assert_eq!(decoded("gzip", [&*gzip(b"")]).unwrap().0, b"");
        assert!(decoded("gzip, gzip", [&*gzip(b"")]).is_err());
    }

    #[test]
    fn what_a_few_bytes_expand_to_comes_in_bounded_parts() {
        let zeros = vec![0; 4 << 20];
        let bombs = [
            ("identity", zeros.clone()),
            ("gzip", gzip(&zeros)),
            ("deflate", zlib(&zeros)),
            ("gzip, gzip", gzip(&gzip(&zeros))),
            #[cfg(feature = "zstd")]
            ("zstd", zstd(&zeros)),
        ];
        for (encodings, bomb) in bombs {
            let (content, longest) = decoded(encodings, [&*bomb]).unwrap();
            assert!(content == zeros, "{encodings}");
            assert!(longest <= STEP, "{encodings}: {longest} bytes at once");
        }
    }
}
