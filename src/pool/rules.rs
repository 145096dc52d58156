//! What a pool does with its jobs' attempts and their outcomes.

use std::time::{Duration, Instant};

use crate::fetch::AttemptLimits;
use crate::observe::Observer;
use crate::panics;
use crate::redact::Clipped;
use crate::retry::{Budget, Retry};

pub(super) struct Rules {
    pub(super) limits: AttemptLimits,
    pub(super) error_for_status: bool,
    pub(super) observer: Option<Box<dyn Observer>>,
    pub(super) retrying: Option<Retrying>,
    /// The longest time for which a response may keep all jobs from its origin.
    pub(super) longest_cool_down: Option<Duration>,
    pub(super) reauthenticate: bool,
    /// The end of the whole run.
    pub(super) deadline: Option<Instant>,
}

impl Rules {
    /// Tells the observer, if there is one. What happened stands, even if it panics over that.
    pub(super) fn tell(&self, tell: impl FnOnce(&dyn Observer)) {
        let Some(observer) = &self.observer else {
            return;
        };
        if let Err(message) = panics::caught(|| tell(&**observer)) {
            log::error!("the observer panicked: {}", Clipped(message));
        }
    }

    /// A job is about to have its first attempt.
    pub(super) fn job_started(&self) {
        let budget = self
            .retrying
            .as_ref()
            .and_then(|retrying| retrying.budget.as_ref());
        if let Some(budget) = budget {
            budget.earn();
        }
    }
}

pub(super) struct Retrying {
    pub(super) policy: Retry,
    pub(super) budget: Option<Budget>,
}

impl Retrying {
    pub(super) fn new(policy: Retry) -> Self {
        Self {
            budget: policy.open_budget(),
            policy,
        }
    }
}
