//! The integration tests: one file per promise, one binary.

#[path = "../support/mod.rs"]
mod support;

