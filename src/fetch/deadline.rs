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
    pub(super) fn after(limit: Option<Duration>) -> Self {
        let at = limit.and_then(|limit| Instant::now().checked_add(limit));
        Self { at, limit }
    }

    /// The time left, or the error that there is none. `Ok(None)` is time without end.
    pub(super) fn remaining(&self) -> Result<Option<Duration>, Error> {
        let Some(at) = self.at else { return Ok(None) };
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout {
                after: self.limit.unwrap_or_default(),
                sent: false,
                source: None,
            });
        }
        Ok(Some(left))
    }
}
