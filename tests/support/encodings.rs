//! Bodies in each content encoding that the crate decodes.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{DeflateEncoder, ZlibEncoder};

pub(crate) const TEXT: &str =
    "We have met the enemy and he is us. We have met the enemy and he is us.";

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn gzip_text() -> Vec<u8> {
    gzip(TEXT.as_bytes())
}

pub(crate) fn zlib(content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut encoder = ZlibEncoder::new(content, Compression::default());
    encoder.read_to_end(&mut encoded).unwrap();
    encoded
}

pub(crate) fn raw_deflate(content: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut encoder = DeflateEncoder::new(content, Compression::default());
    encoder.read_to_end(&mut encoded).unwrap();
    encoded
}

/// One uncompressed meta-block of up to 65,536 bytes, and the empty one that ends the stream (RFC 7932, section 9.2).
#[cfg(feature = "brotli")]
pub(crate) fn brotli(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32 - 1;
    let header = 0b1011 | length << 7 | 1 << 23;
    [&header.to_le_bytes()[..3], content, &[3]].concat()
}

/// The same, with the window of 1 GiB that only an extension of the format has.
#[cfg(feature = "brotli")]
pub(crate) fn brotli_with_large_window(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u64 - 1;
    let header = 0b001_0001 | 30 << 8 | length << 17 | 1 << 33;
    [&header.to_le_bytes()[..5], content, &[3]].concat()
}

/// Each content encoding, with the text encoded in it.
pub(crate) fn encodings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip_text()),
        ("x-gzip", gzip_text()),
        ("GZip", gzip_text()),
        ("deflate", zlib(TEXT.as_bytes())),
        ("deflate", raw_deflate(TEXT.as_bytes())),
        ("gzip, gzip", gzip(&gzip_text())),
        ("deflate, gzip", gzip(&zlib(TEXT.as_bytes()))),
        ("gzip,,identity , deflate", zlib(&gzip_text())),
        ("gzip, gzip, gzip, gzip, gzip", nested_gzip(5)),
        #[cfg(feature = "brotli")]
        ("br", brotli(TEXT.as_bytes())),
        #[cfg(feature = "brotli")]
        ("gzip, br", brotli(&gzip_text())),
        #[cfg(feature = "zstd")]
        ("zstd", zstd::encode_all(TEXT.as_bytes(), 3).unwrap()),
        #[cfg(feature = "zstd")]
        (
            "zstd",
            [
                zstd::encode_all(&TEXT.as_bytes()[..9], 3).unwrap(),
                zstd::encode_all(&TEXT.as_bytes()[9..], 3).unwrap(),
            ]
            .concat(),
        ),
    ]
}

pub(crate) fn nested_gzip(times: usize) -> Vec<u8> {
    (0..times).fold(TEXT.as_bytes().to_vec(), |body, _| gzip(&body))
}
