//! When an attempt must be over.

use std::time::{Duration, Instant};

use crate::error::Error;

/// The end of an attempt's time, fixed when it starts.
pub(super) struct Deadline {
    started: Instant,
    at: Option<Instant>,
    limit: Option<Duration>,
    /// Where there is no deadline, the longest wait for the head, and for each further piece of the body.
    stall_timeout: Option<Duration>,
}

impl Deadline {
    /// A limit that lies beyond what the clock can tell is none.
    pub(super) fn after(limit: Option<Duration>, stall_timeout: Option<Duration>) -> Self {
        let started = Instant::now();
        Self {
            started,
            at: limit.and_then(|limit| started.checked_add(limit)),
            limit,
            stall_timeout,
        }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn stall_timeout(&self) -> Option<Duration> {
        self.stall_timeout
    }

    /// The limit if it was reached, otherwise the time until now.
    pub(super) fn time_taken(&self) -> Duration {
        let taken = self.started.elapsed();
        let limit = self.limit.or(self.stall_timeout);
        limit.map_or(taken, |limit| limit.min(taken))
    }

    /// The error that there is no time left, if so. `sent` is whether a server may have seen anything by now.
    pub(super) fn check(&self, sent: bool) -> Result<(), Error> {
        if self.at.is_some_and(|at| Instant::now() >= at) {
            return Err(Error::timeout().sent(sent));
        }
        Ok(())
    }
}
