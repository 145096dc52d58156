//! Digests of bodies: those that a request expects, and computing them.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, StatusCode};
use sha2::digest::{Digest, DynDigest};

use crate::blocking_threads::DIGESTS;
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

    /// In bytes.
    fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
            Self::Md5 => 16,
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
        let hex = hex.trim();
        // As they are displayed.
        let digits = hex.strip_prefix(algorithm.name());
        let digits = digits.and_then(|digits| digits.strip_prefix(':'));
        let digits: Option<Vec<u8>> = (digits.unwrap_or(hex).chars())
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let expected = 2 * algorithm.length();
        let digits = digits
            .filter(|digits| digits.len() == expected)
            .ok_or_else(|| {
                format!(
                    "`{}`: a digest has {expected} hexadecimal digits; `{}` has {} characters, or others",
                    algorithm.name(),
                    crate::redact::Truncated(hex),
                    hex.chars().count()
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
    /// Those of `Repr-Digest`, which is about the whole of which a response may be a part, otherwise of `Content-Digest`. `is_rest`
    /// is whether it is the part that completes a file. What is malformed, or of another algorithm, is left out.
    pub(crate) fn of_headers(head: &ResponseHead, is_rest: bool) -> Vec<Self> {
        let fields = head.headers();
        if has_encoding(fields) {
            return Vec::new();
        }
        let of = |name: &str| fields.get_all(name).iter().flat_map(Self::of_dictionary);
        let is_part = head.status() == StatusCode::PARTIAL_CONTENT;
        let mut digests = Vec::new();
        if is_rest || !is_part {
            digests.extend(of("repr-digest"));
        }
        if digests.is_empty() && !is_rest {
            digests.extend(of("content-digest"));
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
            (value.len() == algorithm.length()).then(|| Self {
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

/// Computes a digest. On processors without instructions for it, the library of rustls takes half of the time.
enum Hasher {
    #[cfg(feature = "default-tls")]
    Sha(aws_lc_rs::digest::Context),
    Portable(Box<dyn DynDigest + Send>),
}

impl Hasher {
    #[cfg(feature = "default-tls")]
    fn new(algorithm: Algorithm) -> Self {
        use aws_lc_rs::digest::{Context, SHA256, SHA512};

        match algorithm {
            Algorithm::Sha256 => Self::Sha(Context::new(&SHA256)),
            Algorithm::Sha512 => Self::Sha(Context::new(&SHA512)),
            Algorithm::Md5 => Self::Portable(Box::new(md5::Md5::new())),
        }
    }

    #[cfg(not(feature = "default-tls"))]
    fn new(algorithm: Algorithm) -> Self {
        Self::Portable(match algorithm {
            Algorithm::Sha256 => Box::new(sha2::Sha256::new()),
            Algorithm::Sha512 => Box::new(sha2::Sha512::new()),
            Algorithm::Md5 => Box::new(md5::Md5::new()),
        })
    }

    fn update(&mut self, part: &[u8]) {
        match self {
            #[cfg(feature = "default-tls")]
            Self::Sha(context) => context.update(part),
            Self::Portable(hasher) => hasher.update(part),
        }
    }

    fn finish(self) -> Box<[u8]> {
        match self {
            #[cfg(feature = "default-tls")]
            Self::Sha(context) => context.finish().as_ref().into(),
            Self::Portable(hasher) => hasher.finalize(),
        }
    }
}

/// Compares a body, as it comes, with the digests that it must have.
#[derive(Default)]
pub(crate) struct Verifier(Vec<(ExpectedDigest, Hasher)>);

impl Verifier {
    pub(crate) fn new(expected: &[ExpectedDigest]) -> Self {
        let expected = expected.iter();
        Self(
            expected
                .map(|digest| (digest.clone(), Hasher::new(digest.algorithm)))
                .collect(),
        )
    }

    pub(crate) fn update(&mut self, part: &[u8]) {
        for (_, hasher) in &mut self.0 {
            hasher.update(part);
        }
    }

    /// How many digests there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the digests of another one, which has got the same of the body.
    pub(crate) fn join(&mut self, other: Self) {
        self.0.extend(other.0);
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
                value: hasher.finish(),
            };
            if found != expected {
                return Err(Error::digest_mismatch(format!("{found:?}, not {expected}")));
            }
        }
        Ok(())
    }
}

/// How many parts of a body wait to be computed with, at most.
const MAX_WAITING: usize = 4;

/// Compares a long body, as it comes, on another thread: digests take longer than most of what is done with a body.
pub(crate) struct BackgroundVerifier(Arc<Shared>);

struct Shared {
    verifier: Mutex<Verifier>,
    parts: Mutex<Parts>,
    has_changed: Condvar,
}

#[derive(Default)]
struct Parts {
    waiting: VecDeque<Vec<u8>>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    is_computing: bool,
}

impl BackgroundVerifier {
    pub(crate) fn new(verifier: Verifier) -> Self {
        Self(Arc::new(Shared {
            verifier: Mutex::new(verifier),
            parts: Mutex::default(),
            has_changed: Condvar::new(),
        }))
    }

    /// Takes the content of a buffer. Blocks while several parts wait.
    pub(crate) fn update(&self, buffer: &mut Vec<u8>) {
        let shared = &*self.0;
        let mut parts = shared.parts_if(|parts| parts.waiting.len() < MAX_WAITING);
        let spare = parts.spare.pop().unwrap_or_default();
        parts.waiting.push_back(std::mem::replace(buffer, spare));
        if std::mem::replace(&mut parts.is_computing, true) {
            return;
        }
        drop(parts);
        let computing = Arc::clone(&self.0);
        if DIGESTS.spawn(move || computing.compute()).is_err() {
            // Without a thread, it is computed here.
            shared.compute();
        }
    }

    /// The body is complete. Blocks until its digests are computed.
    pub(crate) fn finish(self) -> Result<(), Error> {
        drop(self.0.parts_if(|parts| !parts.is_computing));
        std::mem::take(&mut *lock(&self.0.verifier)).finish()
    }
}

impl Shared {
    /// Computes with what waits, until nothing does.
    fn compute(&self) {
        let mut parts = lock(&self.parts);
        while let Some(mut part) = parts.waiting.pop_front() {
            drop(parts);
            lock(&self.verifier).update(&part);
            part.clear();
            parts = lock(&self.parts);
            parts.spare.push(part);
            self.has_changed.notify_all();
        }
        parts.is_computing = false;
        self.has_changed.notify_all();
    }

    /// Waits until it is so.
    fn parts_if(&self, mut is_so: impl FnMut(&Parts) -> bool) -> MutexGuard<'_, Parts> {
        let waited = (self.has_changed).wait_while(lock(&self.parts), |parts| !is_so(parts));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            let displayed = format!("{expected:?}");
            let parsed = ExpectedDigest::parse(algorithm, &displayed);
            assert!(parsed == Ok(expected.clone()), "{displayed}");
            let error = verify(&["abd"])
                .expect_err("it is another body")
                .to_string();
            assert!(error.contains(&of_abc.to_lowercase()), "{error}");
        }
    }

    #[test]
    fn a_long_body_is_compared_in_the_background() {
        let expected = ExpectedDigest::parse(
            Algorithm::Sha256,
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        )
        .expect("it is a digest");
        let verify = |last: u8| {
            let verifier = Verifier::new(std::slice::from_ref(&expected));
            let background = BackgroundVerifier::new(verifier);
            let mut buffer = Vec::new();
            for part in 1..=1000 {
                buffer.resize(1000, b'a');
                if let (1000, Some(byte)) = (part, buffer.last_mut()) {
                    *byte = last;
                }
                background.update(&mut buffer);
                assert!(buffer.is_empty());
            }
            background.finish()
        };
        assert!(verify(b'a').is_ok());
        assert!(verify(b'b').is_err());
        let empty = BackgroundVerifier::new(Verifier::new(std::slice::from_ref(&expected)));
        assert!(empty.finish().is_err());
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
