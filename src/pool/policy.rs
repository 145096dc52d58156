//! The policy of a pool: what it does after an attempt, and which settings attempts have.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::job::{AttemptLog, Job};
use crate::error::Error;
use crate::fetch::AttemptLimits;
use crate::limits::Bandwidths;
use crate::observe::{self, Counters, Observer, RetryEvent};
use crate::panics;
use crate::request::Handlers;
use crate::response::Response;
use crate::retry::{self, Retry, RetryContext, TokenBucket};

pub(super) struct Policy {
    pub(super) attempt_limits: AttemptLimits,
    pub(super) handlers: Handlers,
    pub(super) error_for_status: bool,
    pub(super) reauthenticate: bool,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) retry: Option<Retry>,
    /// Those of the pool.
    pub(super) counters: Arc<Counters>,
    /// What all retries of the pool are paid from.
    pub(super) retry_budget: Option<TokenBucket>,
    /// The maximum time for which a response can pause its origin; `None` if it cannot.
    pub(super) max_cool_down: Option<Duration>,
    /// How fast bodies may be received.
    pub(super) bandwidths: Option<Bandwidths>,
    /// The deadline of the run.
    pub(super) deadline: Option<Instant>,
}

impl Policy {
    pub(super) fn notify(&self, call: impl FnOnce(&dyn Observer)) {
        observe::notify(self.observer.as_ref(), call);
    }

    /// A job starts its first attempt.
    pub(super) fn pay_into_retry_budget(&self) {
        if let Some(budget) = &self.retry_budget {
            budget.deposit();
        }
    }

    /// Until when to pause the origin of a job, as its response asks.
    pub(super) fn cool_down(&self, result: &Result<Response, Error>) -> Option<Instant> {
        let (Some(max), Ok(response)) = (self.max_cool_down, result) else {
            return None;
        };
        let wait = retry::cool_down(response, SystemTime::now())?;
        Some(Instant::now() + wait.min(max))
    }

    /// When to make the next attempt, if there is to be one. `Err` is the message of the policy's panic.
    pub(super) fn next_attempt_at(
        &self,
        job: &Job,
        log: AttemptLog,
        result: &Result<Response, Error>,
    ) -> Result<Option<Instant>, String> {
        let Some(retry) = &self.retry else {
            return Ok(None);
        };
        let (request, index) = (&job.request, job.index);
        let mut context = RetryContext::new(request, index, log.attempts, log.retries, result);
        let delay = panics::caught(|| {
            let (now, random) = (SystemTime::now(), fastrand::f64());
            retry.delay(&mut context, now, random)
        })?;
        let Some(delay) = delay else {
            return Ok(None);
        };
        // A time that the clock cannot express, or after the end of the run, never comes.
        let until = Instant::now().checked_add(delay);
        let is_in_time = |until: &Instant| self.deadline.is_none_or(|deadline| *until < deadline);
        // A durable queue outlives the run.
        let is_in_time = |until: &Instant| job.is_leased() || is_in_time(until);
        let Some(until) = until.filter(is_in_time) else {
            return Ok(None);
        };
        if self
            .retry_budget
            .as_ref()
            .is_some_and(|budget| !budget.withdraw())
        {
            self.counters.retry_denied();
            log::debug!(
                "job {} is not retried: the retry budget is used up",
                context.index()
            );
            return Ok(None);
        }
        let context = &context;
        self.notify(|observer| observer.retry(&RetryEvent { context, delay }));
        Ok(Some(until))
    }
}
