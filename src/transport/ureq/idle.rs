//! Connections that wait for their next exchange.
//!
//! ureq has a pool of its own, which is not used: before it looks there, it looks up the host name, for each request, on a
//! thread of its own; and it sorts what it holds anew after each of them, in time that grows with the square of the number of hosts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::ureq::http::Uri;
use ::ureq::http::uri::{Authority, Scheme};

use super::connection::Connection;
use crate::sync::Mutex;

/// How many connections an agent keeps, beyond one for each worker that uses it.
const MOST_SPARE: usize = 64;

pub(super) struct Idle {
    /// The one used last comes last.
    connections: Mutex<VecDeque<Waiting>>,
    longest: Duration,
}

struct Waiting {
    to: Destination,
    connection: Connection,
    since: Instant,
}

/// All that an agent's connections differ in.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Destination(Scheme, Authority);

impl Destination {
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(Self(uri.scheme()?.clone(), uri.authority()?.clone()))
    }
}

impl Idle {
    pub(super) fn new(longest: Duration) -> Arc<Self> {
        Arc::new(Self {
            connections: Mutex::default(),
            longest,
        })
    }

    /// A connection that the other end has not closed meanwhile.
    pub(super) fn take(&self, to: &Destination) -> Option<Connection> {
        loop {
            let mut connections = self.connections.lock();
            let expired = connections.partition_point(|waiting| self.has_expired(waiting));
            let expired: Vec<Waiting> = connections.drain(..expired).collect();
            let position = connections.iter().rposition(|waiting| waiting.to == *to);
            let found = position.and_then(|position| connections.remove(position));
            drop(connections);
            // Closing takes its time, and does not need the lock.
            drop(expired);
            let mut connection = found?.connection;
            if connection.is_open() {
                return Some(connection);
            }
        }
    }

    pub(super) fn put(self: &Arc<Self>, to: Destination, connection: Connection) {
        let since = Instant::now();
        // Each transport that uses it holds it.
        let most = MOST_SPARE + Arc::strong_count(self);
        let mut connections = self.connections.lock();
        connections.push_back(Waiting {
            to,
            connection,
            since,
        });
        let superfluous = if connections.len() > most {
            connections.pop_front()
        } else {
            None
        };
        drop(connections);
        drop(superfluous);
    }

    fn has_expired(&self, waiting: &Waiting) -> bool {
        waiting.since.elapsed() > self.longest
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idle").finish_non_exhaustive()
    }
}
