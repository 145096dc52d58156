//! What the exchange of this thread is bound by, and how far it has come.
//!
//! ureq takes time limits with each request's configuration, which it copies for that, and does not tell how far a failed
//! request has come. But it works on the thread that calls it, from the first look-up to the last byte of the body. So
//! what a connection must know of the exchange that it serves is kept with the thread.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::ureq::unversioned::transport::NextTimeout;
use ::ureq::{Error, Timeout};

#[derive(Clone, Copy)]
pub(super) enum Limit {
    None,
    Until(Instant),
}

impl Limit {
    /// What lies beyond the clock's end is no limit.
    pub(super) fn until_after(time: Duration) -> Self {
        match Instant::now().checked_add(time) {
            Some(at) => Self::Until(at),
            None => Self::None,
        }
    }
}

#[derive(Clone, Copy)]
struct Current {
    limit: Limit,
    has_sent: bool,
    peer: Option<SocketAddr>,
}

thread_local! {
    static CURRENT: Cell<Current> = const {
        Cell::new(Current { limit: Limit::None, has_sent: false, peer: None })
    };
}

fn change(change: impl FnOnce(&mut Current)) {
    let mut current = CURRENT.get();
    change(&mut current);
    CURRENT.set(current);
}

pub(super) fn begin(limit: Limit) {
    CURRENT.set(Current {
        limit,
        has_sent: false,
        peer: None,
    });
}

pub(super) fn limit(limit: Limit) {
    change(|current| current.limit = limit);
}

/// Anything that was sent so far went to a proxy, or agreed on a secure connection.
pub(super) fn has_connected() {
    change(|current| current.has_sent = false);
}

pub(super) fn sends() {
    change(|current| current.has_sent = true);
}

pub(super) fn has_sent() -> bool {
    CURRENT.get().has_sent
}

pub(super) fn reached(peer: Option<SocketAddr>) {
    change(|current| current.peer = peer);
}

pub(super) fn peer() -> Option<SocketAddr> {
    CURRENT.get().peer
}

/// The same timeout, within what is left of the time.
pub(super) fn within(mut timeout: NextTimeout) -> Result<NextTimeout, Error> {
    let left = match CURRENT.get().limit {
        Limit::None => return Ok(timeout),
        Limit::Until(at) => at.saturating_duration_since(Instant::now()),
    };
    if left.is_zero() {
        return Err(Error::Timeout(Timeout::Global));
    }
    if left < *timeout.after {
        timeout.after = left.into();
        timeout.reason = Timeout::Global;
    }
    Ok(timeout)
}
