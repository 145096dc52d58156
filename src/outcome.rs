//! What every outcome says about its job.

use std::fmt;
use std::time::{Duration, Instant};

use crate::request::RequestSpec;

/// A job that is over.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) request: RequestSpec,
    pub(crate) index: usize,
    pub(crate) attempts: u32,
    pub(crate) elapsed: Duration,
    pub(crate) last_attempt_elapsed: Duration,
    /// Puts outcomes that come over two lanes into one order.
    pub(crate) finished_at: Instant,
}

impl Record {
    pub(crate) fn show<'a, 'b, 'c>(
        &self,
        shown: &'a mut fmt::DebugStruct<'b, 'c>,
    ) -> &'a mut fmt::DebugStruct<'b, 'c> {
        let Self {
            request,
            index,
            attempts,
            elapsed,
            last_attempt_elapsed,
            finished_at: _,
        } = self;
        shown
            .field("request", request)
            .field("index", index)
            .field("attempts", attempts)
            .field("elapsed", elapsed)
            .field("last_attempt_elapsed", last_attempt_elapsed)
    }
}
