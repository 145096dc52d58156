//! Secrets in a queue: refused, or sealed with a key that only producers and consumers have.

#[cfg(feature = "default-tls")]
use std::fmt;
#[cfg(feature = "default-tls")]
use std::sync::Arc;

#[cfg(feature = "default-tls")]
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
#[cfg(feature = "default-tls")]
use base64::Engine;
#[cfg(feature = "default-tls")]
use base64::prelude::BASE64_STANDARD;

use super::{Job, QueueError};
use crate::request::{RequestSpec, from_json, to_json};

/// A key that secrets of requests are sealed with in a queue: headers that hold credentials, and user info in URLs. Without one
/// they are refused. With the feature `default-tls`.
///
/// They are encrypted with AES-256-GCM (NIST SP 800-38D) with a random nonce, so use a key for four billion jobs at most. The id
/// of the job is authenticated with them: what is sealed for one job cannot be opened as that of another. Everything else is stored
/// as it is.
///
/// ```
/// use threaded::RequestSpec;
/// use threaded::queue::{Job, Journal, SealingKey};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.journal");
/// # let secret: [u8; 32] = [7; 32];
/// let queue = Journal::builder(path).seal_with(SealingKey::new("2026-11", &secret)).build()?;
/// queue.submit(Job::new("row-17", RequestSpec::get("https://example.com/").bearer_auth("token")))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "default-tls")]
#[derive(Clone)]
pub struct SealingKey {
    name: Arc<str>,
    key: Arc<LessSafeKey>,
}

#[cfg(feature = "default-tls")]
impl SealingKey {
    /// Makes a key of 256 random bits. Its name is stored beside what is sealed, to tell keys apart when they are replaced.
    pub fn new(name: impl Into<String>, key: &[u8; 32]) -> Self {
        #[expect(clippy::expect_used, reason = "a key of AES-256 has 32 bytes")]
        let key = UnboundKey::new(&AES_256_GCM, key).expect("a key of AES-256 has 32 bytes");
        Self {
            name: name.into().into(),
            key: Arc::new(LessSafeKey::new(key)),
        }
    }

    /// The nonce, and what is sealed, in base64.
    fn seal(&self, job_id: &str, secrets: &[u8]) -> Result<String, String> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| "there are no random numbers".to_owned())?;
        let mut sealed = secrets.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        let aad = Aad::from(job_id.as_bytes());
        self.key
            .seal_in_place_append_tag(unique, aad, &mut sealed)
            .map_err(|_| "its secrets could not be sealed".to_owned())?;
        Ok(BASE64_STANDARD.encode([&nonce[..], &sealed].concat()))
    }

    fn open(&self, job_id: &str, sealed: &str) -> Result<Vec<u8>, String> {
        let damaged = || format!("its secrets cannot be opened with the key `{}`", self.name);
        let bytes = BASE64_STANDARD.decode(sealed).map_err(|_| damaged())?;
        let (nonce, content) = bytes.split_at_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut content = content.to_vec();
        let aad = Aad::from(job_id.as_bytes());
        let opened = self.key.open_in_place(nonce, aad, &mut content);
        Ok(opened.map_err(|_| damaged())?.to_vec())
    }
}

#[cfg(feature = "default-tls")]
impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The keys of a queue. The last one seals, and each opens what it has sealed.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    #[cfg(feature = "default-tls")]
    keys: Vec<SealingKey>,
}

impl Keys {
    #[cfg(feature = "default-tls")]
    pub(super) fn add(&mut self, key: SealingKey) {
        self.keys.push(key);
    }

    /// The id of a job, and its request in its JSON form.
    pub(super) fn write(&self, job: Job) -> Result<(String, Vec<u8>), QueueError> {
        let Job { id, request } = job;
        #[cfg(feature = "default-tls")]
        let seal = self.keys.last().map(|key| {
            let id = &id;
            move |secrets: &[u8]| Ok((key.name.to_string(), key.seal(id, secrets)?))
        });
        #[cfg(not(feature = "default-tls"))]
        let seal = None::<fn(&[u8]) -> Result<(String, String), String>>;
        match to_json(&request, seal) {
            Ok(json) => Ok((id, json)),
            Err(message) => Err(QueueError::Job { id, message }),
        }
    }

    /// The request of a job, or why it is not understood.
    pub(super) fn read(&self, job_id: &str, json: &[u8]) -> Result<RequestSpec, String> {
        from_json(json, |name, sealed| self.open(job_id, name, sealed))
    }

    #[cfg(feature = "default-tls")]
    fn open(&self, job_id: &str, name: &str, sealed: &str) -> Result<Vec<u8>, String> {
        let key = self.keys.iter().rev().find(|key| *key.name == *name);
        let key = key.ok_or_else(|| {
            format!(
                "its secrets are sealed with the key `{name}`, which the queue was opened without"
            )
        })?;
        key.open(job_id, sealed)
    }

    #[cfg(not(feature = "default-tls"))]
    fn open(&self, _: &str, name: &str, _: &str) -> Result<Vec<u8>, String> {
        Err(format!(
            "its secrets are sealed with the key `{name}`; that needs the feature `default-tls` of reqwest-threaded"
        ))
    }
}
