//! The tests of `each_store` on the journal, and the tests of the journal alone.

#[path = "each_store/all.rs"]
mod each_store;

mod crashing;
mod files;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
#[cfg(feature = "default-tls")]
use threaded::queue::SealingKey;
use threaded::queue::{Journal, Queue, QueueError};

use crate::support::process::eventually;

/// Where a durable queue is kept: in a file of a folder of its own.
struct TestStore(TempDir);

impl TestStore {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("run.journal")
    }

    fn open(&self) -> Queue {
        self.open_by(Journal::open)
    }

    /// Waits for workers that are busy with the last job of the handle before.
    fn open_by(&self, open: impl Fn(PathBuf) -> Result<Queue, QueueError>) -> Queue {
        let mut opened = None;
        eventually("the journal is not in use", || {
            opened = Some(open(self.path()));
            !matches!(opened, Some(Err(QueueError::InUse(_))))
        });
        opened.unwrap().unwrap()
    }

    /// For a subprocess, what [`open_at`](Self::open_at) takes.
    fn address(&self) -> OsString {
        self.path().into()
    }

    fn open_at(address: &OsStr) -> Queue {
        Journal::open(Path::new(address)).unwrap()
    }

    fn open_with_max_deliveries(&self, times: u32) -> Queue {
        self.open_by(|path| Journal::builder(path).max_deliveries(times).build())
    }

    #[cfg(feature = "default-tls")]
    fn open_with_keys(&self, keys: impl IntoIterator<Item = SealingKey>) -> Queue {
        let keys: Vec<SealingKey> = keys.into_iter().collect();
        self.open_by(|path| {
            let keys = keys.iter().cloned();
            keys.fold(Journal::builder(path), Journal::seal_with)
                .build()
        })
    }

    /// All that is stored.
    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}
