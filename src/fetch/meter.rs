//! The bytes of bodies as they arrive: they are counted, told to the observer, and held to the bandwidth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::limits::{Bandwidth, Bandwidths};
use crate::observe::{Attempt, Counters, Observer, Progress, notify};
use crate::origin::Origin;
use crate::response::ResponseHead;

/// How often an observer is told of one body.
const INTERVAL: Duration = Duration::from_millis(100);

/// How far an attempt may be ahead of its bandwidth: it is not worth a wait.
const SLACK: Duration = Duration::from_millis(20);

/// Measures the bodies of an attempt.
pub(crate) struct Meter<'a> {
    counters: &'a Counters,
    worker: usize,
    /// The observer, and the attempt that it is told of.
    watched: Option<(&'a Arc<dyn Observer>, Attempt<'a>)>,
    bandwidths: Option<&'a Bandwidths>,
    body: Body,
}

/// The body that arrives.
#[derive(Default)]
struct Body {
    received: u64,
    resumed_from: u64,
    /// Of all of it, if it is known.
    length: Option<u64>,
    told_at: Option<Instant>,
    /// Those that it takes its bytes from.
    bandwidths: Vec<Arc<Bandwidth>>,
    /// When more of it may come.
    free_at: Option<Instant>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(
        counters: &'a Counters,
        worker: usize,
        watched: Option<(&'a Arc<dyn Observer>, Attempt<'a>)>,
        bandwidths: Option<&'a Bandwidths>,
    ) -> Self {
        Self {
            counters,
            worker,
            watched,
            bandwidths,
            body: Body::default(),
        }
    }

    /// The body of this response comes next. A part of it may be there.
    pub(super) fn begin(&mut self, head: &ResponseHead, resumed_from: u64) {
        if self.watched.is_some() {
            self.body.resumed_from = resumed_from;
            self.body.length = head.content_length.map(|rest| resumed_from + rest);
            self.body.told_at = Some(Instant::now());
        }
        if let Some(bandwidths) = self.bandwidths {
            self.body.bandwidths = bandwidths.of(Origin::from_url(&head.url));
        }
    }

    /// Whether bytes may have to wait: then a wait says nothing of the server.
    pub(super) fn is_limited(&self) -> bool {
        !self.body.bandwidths.is_empty()
    }

    /// Bytes of the body have come.
    #[inline]
    pub(super) fn note(&mut self, bytes: usize) {
        self.counters.bytes_received(self.worker, bytes as u64);
        if self.watched.is_some() || self.is_limited() {
            self.tell_and_limit(bytes);
        }
    }

    fn tell_and_limit(&mut self, bytes: usize) {
        let now = Instant::now();
        let body = &mut self.body;
        body.received += bytes as u64;
        let free_at = body.bandwidths.iter().map(|limit| limit.take(bytes, now));
        body.free_at = free_at.max();
        let is_due = body
            .told_at
            .is_some_and(|told| now.saturating_duration_since(told) >= INTERVAL);
        if let (Some((observer, attempt)), true) = (&self.watched, is_due) {
            body.told_at = Some(now);
            let progress = Progress {
                attempt,
                received: body.received,
                resumed_from: body.resumed_from,
                length: body.length,
            };
            notify(Some(observer), |observer| observer.progress(&progress));
        }
    }

    /// Until when to wait before more of the body is received, if there is a wait.
    pub(super) fn take_pause(&mut self) -> Option<Instant> {
        let free_at = self.body.free_at.take()?;
        let wait = free_at.saturating_duration_since(Instant::now());
        (wait > SLACK).then_some(free_at)
    }
}
