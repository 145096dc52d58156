//! When an attempt must be over.

use std::time::{Duration, Instant};

use crate::error::Error;

/// The end of an attempt's time, fixed when it starts.
pub(super) struct Deadline {
    at: Option<Instant>,
    limit: Option<Duration>,
}

impl Deadline {
    /// A limit that lies beyond what the clock can tell is none.
    pub(super) fn new(started: Instant, limit: Option<Duration>) -> Self {
        let at = limit.and_then(|limit| started.checked_add(limit));
        Self { at, limit }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// The error that there is no time left, if so.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.at.is_some_and(|at| Instant::now() >= at) {
            return Err(Error::Timeout {
                after: self.limit.unwrap_or_default(),
                sent: true,
                source: None,
            });
        }
        Ok(())
    }
}
