//! Which connections a client may keep for the next request, so that idle ones do not take all file descriptors:
//! [`KeptConnections`].
//!
//! The client closes none of its idle connections before their time is over, and limits them for each host alone. So a request
//! to an origin beyond the budget says that its connection is to be closed (RFC 9112, section 9.6). Over HTTP/2 that cannot be
//! said: such connections stay until their time is over.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::transport::idle_budget::IDLE;

/// How long an idle connection counts as open: what reqwest's default is.
const MAX_IDLE_TIME: Duration = Duration::from_secs(90);

/// How often connections that have expired are looked for at most.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of all workers of the process, so that those of one that has nothing to do do not use up the budget.
static ALL: LazyLock<Mutex<All>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct All {
    workers: Vec<Weak<Mutex<LastUsed>>>,
    tidied: Option<Instant>,
}

/// The origins to which a worker keeps a connection, and when it was used last.
type LastUsed = HashMap<String, Instant>;

/// Those of one worker.
#[derive(Debug)]
pub(super) struct KeptConnections(Arc<Mutex<LastUsed>>);

impl Default for KeptConnections {
    fn default() -> Self {
        let last_used = Arc::default();
        let mut all = ALL.lock();
        all.workers.retain(|worker| worker.strong_count() > 0);
        all.workers.push(Arc::downgrade(&last_used));
        Self(last_used)
    }
}

impl KeptConnections {
    /// Whether the connection of a request to this origin may be kept. Called for each request.
    pub(super) fn may_keep(&mut self, origin: &str) -> bool {
        let now = Instant::now();
        if let Some(last_used) = self.0.lock().get_mut(origin) {
            *last_used = now;
            return true;
        }
        let may_keep = IDLE.try_add() || (tidy(now) && IDLE.try_add());
        if may_keep {
            self.0.lock().insert(origin.to_owned(), now);
        }
        may_keep
    }

    /// The connection is gone.
    pub(super) fn forget(&mut self, origin: &str) {
        let removed = self.0.lock().remove(origin);
        IDLE.remove(usize::from(removed.is_some()));
    }
}

/// Forgets connections that have expired. Returns whether there were any.
fn tidy(now: Instant) -> bool {
    let since = |then: Instant| now.saturating_duration_since(then);
    let mut all = ALL.lock();
    if all
        .tidied
        .is_some_and(|tidied| since(tidied) < TIDY_INTERVAL)
    {
        return false;
    }
    all.tidied = Some(now);
    let mut expired = 0;
    for worker in all.workers.iter().filter_map(Weak::upgrade) {
        let mut last_used = worker.lock();
        let before = last_used.len();
        last_used.retain(|_, last_used| since(*last_used) < MAX_IDLE_TIME);
        expired += before - last_used.len();
    }
    IDLE.remove(expired);
    expired > 0
}

impl Drop for KeptConnections {
    fn drop(&mut self) {
        IDLE.remove(std::mem::take(&mut *self.0.lock()).len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only test here that uses what is of the whole process.
    #[test]
    fn connections_that_have_expired_are_forgotten_but_not_looked_for_all_the_time() {
        let mut kept = KeptConnections::default();
        assert!(kept.may_keep("a"));
        let now = Instant::now();
        assert!(!tidy(now));
        assert!(!tidy(now + TIDY_INTERVAL / 2));
        assert!(tidy(now + MAX_IDLE_TIME + TIDY_INTERVAL));
        assert_eq!(kept.0.lock().len(), 0);
    }
}
