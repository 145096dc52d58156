//! The tests of `each_store` on a Redis server, and the tests of that alone.
//!
//! Each test starts a server of its own, on a Unix socket in a temporary folder. They need `redis-server`.

#[path = "each_store/all.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests, on another store")]
mod each_store;

mod servers;
mod shared_limits;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "default-tls")]
use threaded::queue::SealingKey;
use threaded::queue::{Queue, RedisQueue};

use crate::support::redis_server::RedisServer;

/// Where a durable queue is kept: on a server of its own.
struct TestStore(RedisServer);

impl TestStore {
    fn new() -> Self {
        Self(RedisServer::start())
    }

    fn builder(&self) -> RedisQueue {
        RedisQueue::builder(self.0.url(), "test")
    }

    fn open(&self) -> Queue {
        self.builder().build().unwrap()
    }

    /// For a subprocess, what [`open_at`](Self::open_at) takes.
    fn address(&self) -> OsString {
        self.0.url().into()
    }

    /// With a lease that is shorter than a test.
    fn open_at(address: &OsStr) -> Queue {
        let builder = RedisQueue::builder(address.to_str().unwrap(), "test");
        builder.lease(Duration::from_millis(1500)).build().unwrap()
    }

    fn open_with_max_deliveries(&self, times: u32) -> Queue {
        self.builder().max_deliveries(times).build().unwrap()
    }

    #[cfg(feature = "default-tls")]
    fn open_with_keys(&self, keys: impl IntoIterator<Item = SealingKey>) -> Queue {
        let sealed = keys.into_iter().fold(self.builder(), RedisQueue::seal_with);
        sealed.build().unwrap()
    }

    /// All that is stored.
    fn content(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.0.folder().join("appendonlydir")).unwrap();
        let paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        paths
            .iter()
            .flat_map(|path| std::fs::read(path).unwrap())
            .collect()
    }
}
