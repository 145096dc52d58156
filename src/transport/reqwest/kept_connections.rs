//! Which connections a client may keep for the next request, so that idle ones do not take all file descriptors:
//! [`KeptConnections`].
//!
//! The client closes none of its idle connections before their time is over, and limits them for each host alone. So a request
//! to an origin beyond the budget says that its connection is to be closed (RFC 9112, section 9.6). Over HTTP/2 that cannot be
//! said: such connections stay until their time is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::transport::idle_budget::IDLE;

/// How long an idle connection counts as open: what reqwest's default is.
const MAX_IDLE_TIME: Duration = Duration::from_secs(90);

/// How often connections that have expired are looked for at most.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// The origins to which one worker keeps a connection, and when it was used last.
#[derive(Debug, Default)]
pub(super) struct KeptConnections {
    last_used: HashMap<String, Instant>,
    tidied: Option<Instant>,
}

impl KeptConnections {
    /// Whether the connection of a request to this origin may be kept. Called for each request.
    pub(super) fn may_keep(&mut self, origin: &str) -> bool {
        let now = Instant::now();
        if let Some(last_used) = self.last_used.get_mut(origin) {
            *last_used = now;
            return true;
        }
        let may_keep = IDLE.try_add() || (self.tidy(now) && IDLE.try_add());
        if may_keep {
            self.last_used.insert(origin.to_owned(), now);
        }
        may_keep
    }

    /// Forgets connections that have expired. Returns whether there were any.
    fn tidy(&mut self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self
            .tidied
            .is_some_and(|tidied| since(tidied) < TIDY_INTERVAL)
        {
            return false;
        }
        self.tidied = Some(now);
        let before = self.last_used.len();
        self.last_used
            .retain(|_, last_used| since(*last_used) < MAX_IDLE_TIME);
        let expired = before - self.last_used.len();
        IDLE.remove(expired);
        expired > 0
    }
}

impl Drop for KeptConnections {
    fn drop(&mut self) {
        IDLE.remove(self.last_used.len());
    }
}
