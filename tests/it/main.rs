//! The integration tests: one binary, with a file for each promise and each task of a user.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod api;
mod attempts;
mod feeding;
mod handles;
mod imap;
mod jobs_as_data;
mod joining;
mod native_tls;
mod observing;
mod original;
mod outcomes;
mod panicking;
mod parsers;
mod receiving;
mod rounds;
mod sessions;
mod spawning;
mod stopping;
mod transports;
mod workers;

// Each includes the tests of `each_store`.
#[cfg(feature = "journal")]
mod on_journal;
#[cfg(feature = "redis")]
mod on_redis;

// Each includes the tests of `each_transport`.
#[cfg(feature = "hyper")]
mod on_hyper;
mod on_reqwest;
#[cfg(feature = "ureq")]
mod on_ureq;

use on_reqwest::pool;
