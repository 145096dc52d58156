//! The retry budget of a pool: a token bucket that jobs fill and retries empty.

use crate::sync::atomic::{AtomicU64, Ordering};

/// A bound on the retries of a whole pool. Passed to [`Retry::budget`](crate::Retry::budget).
///
/// It works as a token bucket: it starts full, with [`reserve`](Self::reserve) retries in it. Each retry takes one out,
/// and each job puts [`percent`](Self::percent) hundredths of one back in, up to the reserve. So beyond the reserve,
/// there are at most `percent` % more attempts than jobs. While it is empty, a job ends with the result of its attempt.
///
/// ```
/// use threaded::{Retry, RetryBudget};
///
/// let retry = Retry::new(5).budget(RetryBudget::new().percent(10).reserve(20));
/// # let _ = retry;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the setters take it by value and return it"]
pub struct RetryBudget {
    percent: u32,
    reserve: u32,
}

impl RetryBudget {
    /// Creates a budget of 20 % and a reserve of 100 retries.
    ///
    /// 20 % is the default of common proxies and service meshes too; the reserve lets small runs have all their
    /// retries.
    pub fn new() -> Self {
        Self {
            percent: 20,
            reserve: 100,
        }
    }

    /// Sets how much of a retry each job adds, in hundredths. Defaults to 20.
    pub fn percent(mut self, percent: u32) -> Self {
        self.percent = percent;
        self
    }

    /// Sets the number of retries in the budget at the start, which is also its maximum, but at least 1. Defaults to
    /// 100.
    pub fn reserve(mut self, retries: u32) -> Self {
        self.reserve = retries;
        self
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// The token bucket of one pool.
pub(crate) struct TokenBucket {
    budget: RetryBudget,
    hundredths: AtomicU64,
}

const ONE_RETRY: u64 = 100;

impl TokenBucket {
    pub(super) fn new(budget: RetryBudget) -> Self {
        Self {
            budget,
            hundredths: AtomicU64::new(u64::from(budget.reserve) * ONE_RETRY),
        }
    }

    /// Adds the share of a job that starts its first attempt.
    pub(crate) fn deposit(&self) {
        // Even without a reserve, there is room for one retry: otherwise the shares of jobs could never add up to one.
        let max = u64::from(self.budget.reserve.max(1)) * ONE_RETRY;
        let filled = |level: u64| {
            let new_level = level.saturating_add(self.budget.percent.into()).min(max);
            (new_level != level).then_some(new_level)
        };
        let _ = self
            .hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled);
    }

    /// Takes out one retry. Returns `false` if there is none.
    pub(crate) fn withdraw(&self) -> bool {
        self.hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |level| {
                level.checked_sub(ONE_RETRY)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(percent: u32, reserve: u32) -> TokenBucket {
        TokenBucket::new(RetryBudget::new().percent(percent).reserve(reserve))
    }

    fn affordable(bucket: &TokenBucket) -> usize {
        std::iter::from_fn(|| bucket.withdraw().then_some(())).count()
    }

    #[test]
    fn the_bucket_starts_full_and_jobs_refill_it() {
        let bucket = bucket(20, 10);
        assert_eq!(affordable(&bucket), 10);
        (0..4).for_each(|_| bucket.deposit());
        assert_eq!(affordable(&bucket), 0);
        bucket.deposit();
        assert_eq!(affordable(&bucket), 1);
        (0..1_000_000).for_each(|_| bucket.deposit());
        assert_eq!(affordable(&bucket), 10, "it never exceeds the reserve");
    }

    #[test]
    fn extremes_are_possible() {
        let nothing = bucket(0, 0);
        nothing.deposit();
        assert_eq!(affordable(&nothing), 0);

        let no_reserve = bucket(50, 0);
        (0..2).for_each(|_| no_reserve.deposit());
        assert_eq!(affordable(&no_reserve), 1);

        let all = bucket(u32::MAX, u32::MAX);
        all.deposit();
        assert!(all.withdraw());
    }
}
