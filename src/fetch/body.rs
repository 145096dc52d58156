//! The body of a response: whether it has one, and receiving it piece by piece under the deadline of the attempt.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderMap, Method, StatusCode};

use super::deadline::Deadline;
use super::decode::{Decoded, STEP};
use super::engine::Engine;
use super::meter::Meter;
use crate::error::Error;
use crate::headers;

/// Maximum length that is drained of a body.
const MAX_DRAIN: usize = 64 << 10;

/// How long pieces of it are drained as they come. A server that sends one at a time would otherwise keep the worker.
pub(super) const DRAIN_TIME: Duration = Duration::from_millis(100);

/// Refuses transfer codings that no transport decodes (RFC 9112, section 7): the body would come with its framing.
pub(super) fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.all(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) {
        return Ok(());
    }
    Err(Error::protocol(
        "it has a Transfer-Encoding other than `chunked`",
    ))
}

/// Whether a response ends with its head, whatever its headers announce (RFC 9112, section 6.3).
pub(super) fn is_absent(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// The length that the server announced and must keep: a `Transfer-Encoding` overrides it (RFC 9112, section 6.3).
pub(super) fn content_length(fields: &HeaderMap) -> Option<u64> {
    if fields.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers::content_length(fields)
}

/// A body on its way from an engine to where it goes.
pub(super) struct Incoming<'a, 'm, E: Engine + ?Sized> {
    pub(super) engine: &'a mut E,
    pub(super) body: E::Body,
    pub(super) deadline: &'a Deadline,
    pub(super) meter: &'a mut Meter<'m>,
    /// The part of it that has come and is not handed on yet.
    pub(super) rest: Bytes,
    is_over: bool,
    /// Its encoded form up to here, as far as the decoders were fed with it; dropped when it exceeds `max_kept`.
    pub(super) kept: Option<Vec<u8>>,
    pub(super) max_kept: usize,
}

impl<'a, 'm, E: Engine + ?Sized> Incoming<'a, 'm, E> {
    pub(super) fn new(
        engine: &'a mut E,
        body: E::Body,
        is_absent: bool,
        deadline: &'a Deadline,
        meter: &'a mut Meter<'m>,
    ) -> Self {
        Self {
            engine,
            body,
            deadline,
            meter,
            rest: Bytes::new(),
            is_over: is_absent,
            kept: None,
            max_kept: 0,
        }
    }

    /// Waits until a piece of it or its end has come.
    pub(super) async fn fill(&mut self) -> Result<(), Error> {
        if self.rest.is_empty() && !self.is_over {
            // The engine keeps the deadline while it waits; this is for one that always has a little more.
            self.deadline.check(true)?;
            self.rest = self.engine.piece(&mut self.body).await?;
            self.meter.note(self.rest.len());
            self.is_over = self.rest.is_empty();
        }
        Ok(())
    }

    /// Appends the next of its content, a bounded part; returns `false` at the end.
    pub(super) async fn next(
        &mut self,
        decoded: &mut Decoded,
        into: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let mut stall = self.deadline.stall();
        loop {
            match decoded.next(STEP, |part| into.extend_from_slice(part))? {
                None => {
                    stall.check()?;
                    self.fill().await?;
                    let piece = self.rest.split_to(self.rest.len().min(STEP));
                    if self.meter.is_limited() {
                        if let Some(until) = self.meter.spend(piece.len()) {
                            Box::pin(self.engine.pause(self.deadline, until)).await;
                            self.deadline.check(true)?;
                            stall = self.deadline.stall();
                        }
                    }
                    self.keep(&piece);
                    decoded.feed(piece);
                }
                Some(length) => {
                    // There may be more without another piece.
                    if length == STEP {
                        self.deadline.check(true)?;
                        self.engine.yield_now().await;
                    }
                    return Ok(length > 0);
                }
            }
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let kept = self.kept.as_mut();
        match kept.filter(|kept| kept.len() + piece.len() <= self.max_kept) {
            Some(kept) => kept.extend_from_slice(piece),
            None => self.kept = None,
        }
    }

    /// Reads the rest after the end of its content (some formats end before the body does), so that the connection can be
    /// used again. Faults no longer matter.
    pub(super) async fn drain(&mut self) {
        let until = Instant::now() + DRAIN_TIME;
        E::end_by(&mut self.body, until);
        self.drain_until(until).await;
    }

    /// Likewise for a body without a reader, of which no more may come.
    pub(super) async fn discard(mut self) {
        let until = Instant::now() + DRAIN_TIME;
        if self.is_over {
            return;
        }
        if E::end_by(&mut self.body, until) {
            self.drain_until(until).await;
        } else if self.deadline.is_limited() {
            // Without a limit, a body without an end would occupy a thread as long as its server likes.
            E::discard(self.body, MAX_DRAIN, until);
        }
    }

    async fn drain_until(&mut self, until: Instant) {
        let mut left = MAX_DRAIN;
        while left > 0 && Instant::now() < until && !self.is_over {
            match self.fill().await {
                Ok(()) => left = left.saturating_sub(std::mem::take(&mut self.rest).len()),
                Err(_) => return,
            }
        }
    }

    /// Starts again with the encoded form that was kept; returns `None` if it was dropped.
    pub(super) fn replay(&mut self) -> Option<()> {
        self.rest = self.kept.take()?.into();
        self.is_over = true;
        Some(())
    }
}
