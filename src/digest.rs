//! Digests of bodies: those that a request expects, and computing them.

use std::fmt;
use std::io::{self, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, StatusCode};
use sha2::digest::{Digest, DynDigest};

use crate::error::Error;
use crate::headers::has_encoding;
use crate::response::ResponseHead;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Sha256,
    Sha512,
    Md5,
}

impl Algorithm {
    /// The name of its setter.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
            Self::Md5 => "md5",
        }
    }

    fn hasher(self) -> Box<dyn DynDigest + Send> {
        match self {
            Self::Sha256 => Box::new(sha2::Sha256::new()),
            Self::Sha512 => Box::new(sha2::Sha512::new()),
            Self::Md5 => Box::new(md5::Md5::new()),
        }
    }
}

/// The digest that a body must have.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ExpectedDigest {
    pub(crate) algorithm: Algorithm,
    value: Box<[u8]>,
}

impl ExpectedDigest {
    /// From hexadecimal digits, in either case.
    pub(crate) fn parse(algorithm: Algorithm, hex: &str) -> Result<Self, String> {
        let digits: Option<Vec<u8>> = (hex.trim().chars())
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let expected = 2 * algorithm.hasher().output_size();
        let digits = digits
            .filter(|digits| digits.len() == expected)
            .ok_or_else(|| {
                format!(
                    "`{}`: a digest has {expected} hexadecimal digits, and this is none: `{}`",
                    algorithm.name(),
                    crate::redact::Truncated(hex)
                )
            })?;
        let bytes = digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit));
        Ok(Self {
            algorithm,
            value: bytes.collect(),
        })
    }
}

/// What the server states of the body that it sends (RFC 9530).
impl ExpectedDigest {
    /// Those of `Repr-Digest`, otherwise of `Content-Digest`, which says nothing of the whole if the response is a part. What is
    /// malformed, or of another algorithm, is left out.
    pub(crate) fn of_headers(head: &ResponseHead) -> Vec<Self> {
        let fields = head.headers();
        if has_encoding(fields) {
            return Vec::new();
        }
        let of = |name: &str| fields.get_all(name).iter().flat_map(Self::of_dictionary);
        let digests: Vec<Self> = of("repr-digest").collect();
        if digests.is_empty() && head.status() != StatusCode::PARTIAL_CONTENT {
            return of("content-digest").collect();
        }
        digests
    }

    /// The members of a dictionary of byte sequences (RFC 8941, sections 3.2 and 3.3.5).
    fn of_dictionary(value: &HeaderValue) -> Vec<Self> {
        let text = value.to_str().unwrap_or_default();
        let member = |member: &str| {
            let (name, value) = member.trim().split_once('=')?;
            let algorithm = match name {
                "sha-256" => Algorithm::Sha256,
                "sha-512" => Algorithm::Sha512,
                _ => return None,
            };
            let value = value.strip_prefix(':')?.split_once(':')?.0;
            let value = BASE64_STANDARD.decode(value).ok()?;
            (value.len() == algorithm.hasher().output_size()).then(|| Self {
                algorithm,
                value: value.into(),
            })
        };
        text.split(',').filter_map(member).collect()
    }
}

/// In hexadecimal digits.
impl fmt::Display for ExpectedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ExpectedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm.name())
    }
}

/// Compares a body, as it comes, with the digests that it must have.
pub(crate) struct Verifier(Vec<(ExpectedDigest, Box<dyn DynDigest + Send>)>);

impl Verifier {
    pub(crate) fn new(expected: &[ExpectedDigest]) -> Self {
        let expected = expected.iter();
        Self(
            expected
                .map(|digest| (digest.clone(), digest.algorithm.hasher()))
                .collect(),
        )
    }

    pub(crate) fn update(&mut self, part: &[u8]) {
        for (_, hasher) in &mut self.0 {
            hasher.update(part);
        }
    }

    /// Compares a whole body.
    pub(crate) fn verify(mut self, body: &[u8]) -> Result<(), Error> {
        self.update(body);
        self.finish()
    }

    /// The body is complete.
    pub(crate) fn finish(self) -> Result<(), Error> {
        for (expected, hasher) in self.0 {
            let found = ExpectedDigest {
                algorithm: expected.algorithm,
                value: hasher.finalize(),
            };
            if found != expected {
                return Err(Error::digest_mismatch(format!("{found:?}, not {expected}")));
            }
        }
        Ok(())
    }
}

impl Write for Verifier {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        self.update(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        for (algorithm, of_abc) in [
            (
                Algorithm::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Algorithm::Sha512,
                "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
                 2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ),
            (Algorithm::Md5, "900150983CD24FB0D6963F7D28E17F72"),
        ] {
            let expected = ExpectedDigest::parse(algorithm, of_abc).expect("it is a digest");
            assert_eq!(expected.to_string(), of_abc.to_lowercase());
            let verify = |parts: &[&str]| {
                let mut verifier = Verifier::new(std::slice::from_ref(&expected));
                parts
                    .iter()
                    .for_each(|part| verifier.update(part.as_bytes()));
                verifier.finish()
            };
            assert!(verify(&["abc"]).is_ok() && verify(&["", "a", "bc"]).is_ok());
            let error = verify(&["abd"])
                .expect_err("it is another body")
                .to_string();
            assert!(error.contains(&of_abc.to_lowercase()), "{error}");
        }
    }

    #[test]
    fn what_is_no_digest_is_told() {
        for hex in [
            "",
            "12",
            "zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "é",
        ] {
            let error = ExpectedDigest::parse(Algorithm::Sha256, hex).expect_err("it is none");
            assert!(
                error.contains("`sha256`") && error.contains("64"),
                "{error}"
            );
        }
    }
}
