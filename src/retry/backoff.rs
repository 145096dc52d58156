//! Exponential backoff with full jitter.

use std::time::Duration;

/// Each delay is a random part of a ceiling that doubles with each retry until it reaches the cap.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10))
    }
}

impl Backoff {
    pub(super) fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The delay before this retry, counted from 1. `random` is at least 0 and below 1.
    pub(super) fn delay(self, retry: u32, random: f64) -> Duration {
        let ceiling = self.ceiling(retry);
        let part = Duration::try_from_secs_f64(ceiling.as_secs_f64() * random.clamp(0.0, 1.0));
        part.map_or(ceiling, |part| part.min(ceiling))
    }

    fn ceiling(self, retry: u32) -> Duration {
        let doublings = retry.saturating_sub(1);
        let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_whatever_the_number() {
        let backoff = Backoff::new(100 * MS, 5_000 * MS);
        for (retry, ceiling) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (6, 3_200),
            (7, 5_000),
            (32, 5_000),
            (33, 5_000),
            (63, 5_000),
            (64, 5_000),
            (128, 5_000),
            (u32::MAX, 5_000),
        ] {
            assert_eq!(backoff.ceiling(retry), ceiling * MS, "{retry}");
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_panic() {
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        assert_eq!(endless.ceiling(u32::MAX), Duration::MAX);
        assert!(endless.delay(u32::MAX, 1.0) == Duration::MAX);
        let none = Backoff::new(Duration::ZERO, Duration::MAX);
        assert_eq!(none.delay(u32::MAX, 0.5), Duration::ZERO);
        let tiny = Backoff::new(Duration::from_nanos(1), Duration::MAX);
        assert!(tiny.ceiling(200) > Duration::from_secs(1));
        // A base above the cap is cut to it.
        assert_eq!(Backoff::new(2_000 * MS, 500 * MS).ceiling(1), 500 * MS);
    }

    #[test]
    fn the_random_number_selects_a_part_of_the_ceiling() {
        let backoff = Backoff::new(100 * MS, 5_000 * MS);
        for (random, delay) in [(0.0, 0), (0.25, 100), (0.5, 200)] {
            assert_eq!(backoff.delay(3, random), delay * MS, "{random}");
        }
        for random in [f64::NEG_INFINITY, -1.0, 1.0, 2.0, f64::INFINITY, f64::NAN] {
            assert!(backoff.delay(3, random) <= 400 * MS, "{random}");
        }
    }
}
