//! The tests of `each_store` on the journal, and the tests of the journal alone.

#[path = "each_store/all.rs"]
mod each_store;

mod crashing;
mod files;

use std::path::PathBuf;

use tempfile::TempDir;
#[cfg(feature = "default-tls")]
use threaded::queue::SealingKey;
use threaded::queue::{Journal, Queue};

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
        Journal::open(self.path()).unwrap()
    }

    fn open_with_max_deliveries(&self, times: u32) -> Queue {
        Journal::builder(self.path())
            .max_deliveries(times)
            .build()
            .unwrap()
    }

    #[cfg(feature = "default-tls")]
    fn open_with_keys(&self, keys: impl IntoIterator<Item = SealingKey>) -> Queue {
        let builder = Journal::builder(self.path());
        let sealed = keys.into_iter().fold(builder, Journal::seal_with);
        sealed.build().unwrap()
    }

    /// All that is stored.
    fn content(&self) -> Vec<u8> {
        std::fs::read(self.path()).unwrap()
    }
}
