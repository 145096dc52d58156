//! The bytes of bodies as they arrive: they are counted, told to the observer, and held to the bandwidth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::decode::STEP;
use crate::limits::{Bandwidth, Bandwidths};
use crate::observe::{Attempt, Counters, Observer, Progress, notify};
use crate::origin::Origin;
use crate::response::ResponseHead;

/// How often an observer is told of one body.
const INTERVAL: Duration = Duration::from_millis(100);

/// Measures the bodies of an attempt.
pub(crate) struct Meter<'a> {
    counters: &'a Counters,
    worker: usize,
    /// The observer, and the attempt that it is told of.
    watched: Option<(&'a Arc<dyn Observer>, Attempt<'a>)>,
    bandwidths: Option<&'a Bandwidths>,
    body: MeteredBody,
}

/// The body that arrives.
#[derive(Default)]
struct MeteredBody {
    received: u64,
    resumed_from: u64,
    /// Of all of it, if it is known.
    length: Option<u64>,
    told_at: Option<Instant>,
    /// Those that it takes turns at.
    bandwidths: Vec<Arc<Bandwidth>>,
    /// What may come still in its turn, in bytes.
    granted: u64,
    /// What is to come of the body, if it is known.
    left: Option<u64>,
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
            body: MeteredBody::default(),
        }
    }

    /// The body of this response comes next. A part of it may be there; then the length of all of it is known.
    pub(super) fn begin(
        &mut self,
        head: &ResponseHead,
        resumed_from: u64,
        continued_length: Option<u64>,
    ) {
        let length = continued_length.or(head.content_length);
        if self.watched.is_some() {
            // What came before belongs to other bodies: those of redirects.
            self.body.received = 0;
            self.body.resumed_from = resumed_from;
            self.body.length = length;
            self.body.told_at = Some(Instant::now());
        }
        if let Some(bandwidths) = self.bandwidths {
            self.body.bandwidths = bandwidths.of(Origin::from_url(&head.url));
            self.body.left = length.map(|length| length.saturating_sub(resumed_from));
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
        if self.watched.is_some() {
            self.tell(bytes);
        }
    }

    fn tell(&mut self, bytes: usize) {
        let now = Instant::now();
        let body = &mut self.body;
        body.received += bytes as u64;
        let is_due = body
            .told_at
            .is_some_and(|told| now.saturating_duration_since(told) >= INTERVAL);
        if let (Some((observer, attempt)), true) = (&self.watched, is_due) {
            body.told_at = Some(now);
            // More comes of a segment than is needed.
            let most = body
                .length
                .map(|length| length.saturating_sub(body.resumed_from));
            let progress = Progress {
                attempt,
                received: body.received.min(most.unwrap_or(u64::MAX)),
                resumed_from: body.resumed_from,
                length: body.length,
            };
            notify(Some(observer), |observer| observer.progress(&progress));
        }
    }

    /// Takes the next of what has come off, to be handed on: all of it, or what fits into a turn if the bandwidth is limited. Returns
    /// until when that has to wait, if it has.
    pub(super) fn next_step(&mut self, rest: &mut Bytes) -> (Bytes, Option<Instant>) {
        if !self.is_limited() {
            return (std::mem::take(rest), None);
        }
        let step = rest.split_to(rest.len().min(STEP));
        let wait = self.spend(step.len());
        (step, wait)
    }

    /// Takes a turn for bytes that have come, unless there is room for them in the last one. Returns until when to wait before they
    /// are handed on, if there is a wait.
    pub(super) fn spend(&mut self, bytes: usize) -> Option<Instant> {
        let (body, bytes) = (&mut self.body, bytes as u64);
        let left = body.left.unwrap_or(u64::MAX);
        body.left = body.left.map(|left| left.saturating_sub(bytes));
        if bytes <= body.granted {
            body.granted -= bytes;
            return None;
        }
        let missing = bytes - body.granted;
        let turn = body
            .bandwidths
            .iter()
            .map(|bandwidth| bandwidth.turn())
            .min()?;
        // No longer than the body.
        let turn = turn.min(left.saturating_sub(body.granted)).max(missing);
        body.granted = turn - missing;
        let now = Instant::now();
        let begins = body
            .bandwidths
            .iter()
            .map(|bandwidth| bandwidth.take(turn, now));
        begins.max().filter(|begins| *begins > now)
    }
}

/// What was not needed is for others.
impl Drop for MeteredBody {
    fn drop(&mut self) {
        if self.granted > 0 {
            for bandwidth in &self.bandwidths {
                bandwidth.give_back(self.granted);
            }
        }
    }
}
