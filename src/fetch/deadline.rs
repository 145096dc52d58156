//! The time of an attempt: the deadline of all of it, or the longest wait of a download; and its cancellation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::AttemptLimits;
use crate::error::Error;
use crate::sync::{CancelFlag, Parker};

/// The timeout of an attempt whose body goes into memory, where neither the spec nor the pool sets one.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// The end of an attempt's time, fixed when it starts.
#[derive(Clone)]
pub(super) struct Deadline {
    started: Instant,
    at: Option<Instant>,
    limit: Option<Duration>,
    /// Where there is no deadline, the longest wait for the head, and for each further piece of the body.
    stall_timeout: Option<Duration>,
    cancel_flag: Arc<CancelFlag>,
}

impl Deadline {
    /// Starts the time of an attempt. A download (to a file or a handler) without a timeout has no deadline, because how
    /// long a large body takes cannot be known beforehand: only each wait in it is limited.
    pub(super) fn start(
        limits: &AttemptLimits,
        is_download: bool,
        cancel_flag: &Arc<CancelFlag>,
    ) -> Self {
        let (limit, stall_timeout) = match limits.timeout {
            Some(timeout) => (timeout, None),
            None if is_download => (None, limits.stall_timeout),
            None => (Some(DEFAULT_TIMEOUT), None),
        };
        let started = Instant::now();
        Self {
            started,
            // A limit beyond the range of the clock is no limit.
            at: limit.and_then(|limit| started.checked_add(limit)),
            limit,
            stall_timeout,
            cancel_flag: Arc::clone(cancel_flag),
        }
    }

    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether each wait ends at some time.
    pub(super) fn is_limited(&self) -> bool {
        self.at.is_some() || self.stall_timeout.is_some()
    }

    pub(super) fn stall_timeout(&self) -> Option<Duration> {
        self.stall_timeout
    }

    /// The end of a pause of this length, if the attempt has time for it: of a download, as for any other wait.
    pub(super) fn pause_until(&self, pause: Duration) -> Option<Instant> {
        let until = Instant::now().checked_add(pause)?;
        let is_within = self.at.is_none_or(|at| until < at)
            && self.stall_timeout.is_none_or(|limit| pause < limit);
        is_within.then_some(until)
    }

    /// This time, or the deadline if that is earlier.
    pub(super) fn earlier(&self, until: Instant) -> Instant {
        self.at.map_or(until, |at| at.min(until))
    }

    /// Blocks until that time, the deadline, or until the job is cancelled.
    pub(super) fn pause(&self, until: Instant) {
        let until = self.earlier(until);
        let parker = Parker::new();
        self.cancel_flag.wake_on_set(parker.waker());
        while !self.cancel_flag.is_set() && Instant::now() < until {
            parker.park(Some(until));
        }
    }

    /// Begins a wait for content.
    pub(super) fn stall(&self) -> Stall {
        let ends_at = |limit| Instant::now().checked_add(limit);
        Stall(self.stall_timeout.and_then(ends_at))
    }

    /// The limit if it was reached, otherwise the time until now.
    pub(super) fn time_taken(&self) -> Duration {
        let taken = self.started.elapsed();
        let limit = self.limit.or(self.stall_timeout);
        limit.map_or(taken, |limit| limit.min(taken))
    }

    /// Returns an error if the deadline has passed, or the job was cancelled. `sent` is whether a server may have seen anything
    /// by now.
    pub(super) fn check(&self, sent: bool) -> Result<(), Error> {
        if self.cancel_flag.is_set() {
            return Err(Error::cancelled().sent(sent));
        }
        if self.at.is_some_and(|at| Instant::now() >= at) {
            return Err(Error::timeout().sent(sent));
        }
        Ok(())
    }
}

/// A wait for content. The transport limits each wait for bytes; but they may be framing, or tell a decoder nothing yet.
#[derive(Clone, Copy)]
pub(super) struct Stall(Option<Instant>);

impl Stall {
    /// Returns an error if it has lasted too long.
    pub(super) fn check(self) -> Result<(), Error> {
        match self.0 {
            Some(end) if Instant::now() >= end => Err(Error::timeout().sent(true)),
            _ => Ok(()),
        }
    }
}
