//! The integration tests: one binary, one file per promise, and one per thing that users do.

#[path = "../support/mod.rs"]
mod support;

mod api;
mod attempts;
mod environment;
mod feeding;
mod handles;
mod imap;
mod joining;
mod native_tls;
mod observing;
mod original;
mod outcomes;
mod panicking;
mod parsers;
mod sessions;
mod stopping;
mod transports;
mod workers;

// The tests in `each_transport`, on one transport after the other.
mod on_reqwest;
#[cfg(feature = "ureq")]
mod on_ureq;

use on_reqwest::{outcome, pool};
