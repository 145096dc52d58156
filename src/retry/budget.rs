//! How many retries a pool can afford.

use crate::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What each job adds, in hundredths of a retry.
    pub(super) percent: u32,
    /// What there is at first, and at most.
    pub(super) reserve: u32,
}

/// 20 % is what proxies and service meshes allow by default too; the reserve lets small runs have all their retries.
impl Default for Terms {
    fn default() -> Self {
        Self {
            percent: 20,
            reserve: 100,
        }
    }
}

/// An account of retries: jobs fill it, retries are paid from it.
pub(crate) struct Budget {
    terms: Terms,
    hundredths: AtomicU64,
}

const ONE_RETRY: u64 = 100;

impl Budget {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            hundredths: AtomicU64::new(u64::from(terms.reserve) * ONE_RETRY),
        }
    }

    /// A job had its first attempt.
    pub(crate) fn earn(&self) {
        // Without any reserve, what jobs bring must find room to become one retry.
        let most = u64::from(self.terms.reserve.max(1)) * ONE_RETRY;
        let filled = |there: u64| {
            let more = there.saturating_add(self.terms.percent.into()).min(most);
            (more != there).then_some(more)
        };
        let _ = self
            .hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, filled);
    }

    /// Pays for a retry; `false` if it cannot be afforded.
    pub(crate) fn spend(&self) -> bool {
        self.hundredths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |there| {
                there.checked_sub(ONE_RETRY)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn affordable(budget: &Budget) -> usize {
        std::iter::from_fn(|| budget.spend().then_some(())).count()
    }

    #[test]
    fn the_reserve_is_there_at_first_and_jobs_refill_it() {
        let budget = Budget::new(Terms {
            percent: 20,
            reserve: 10,
        });
        assert_eq!(affordable(&budget), 10);
        (0..4).for_each(|_| budget.earn());
        assert_eq!(affordable(&budget), 0);
        budget.earn();
        assert_eq!(affordable(&budget), 1);
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!(affordable(&budget), 10, "good times are not saved up");
    }

    #[test]
    fn extremes_are_possible() {
        let nothing = Budget::new(Terms {
            percent: 0,
            reserve: 0,
        });
        nothing.earn();
        assert_eq!(affordable(&nothing), 0);

        let no_reserve = Budget::new(Terms {
            percent: 50,
            reserve: 0,
        });
        (0..2).for_each(|_| no_reserve.earn());
        assert_eq!(affordable(&no_reserve), 1);

        let all = Budget::new(Terms {
            percent: u32::MAX,
            reserve: u32::MAX,
        });
        all.earn();
        assert!(all.spend());
    }
}
