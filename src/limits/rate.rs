//! A rate limiter with a rate and a burst size, by the generic cell rate algorithm.

use std::time::{Duration, Instant};

/// Longer waits are cut to this: the difference does not matter, and the clock can express it.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// One request every `interval`, and up to `burst` requests at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    interval: Duration,
    burst: u32,
}

impl Quota {
    pub(super) fn new(per_second: f64, burst: u32) -> Result<Self, String> {
        if burst == 0 {
            return Err(
                "a burst of 0 would let no request through; 1 spaces requests evenly".to_owned(),
            );
        }
        if !per_second.is_finite() || per_second <= 0.0 {
            return Err(format!(
                "{per_second:?} per second is not a valid rate; it must be finite and above 0"
            ));
        }
        match Duration::try_from_secs_f64(per_second.recip()) {
            Ok(interval) if interval <= CENTURY => Ok(Self { interval, burst }),
            _ => Err(format!(
                "{per_second:?} per second is less than one in a century"
            )),
        }
    }
}

/// How a rate is kept that several pools share: attempts start a little after the time that they were given, so a part of the
/// burst is kept back for those that are late.
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "for limits on a server")
)]
impl Quota {
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// The burst that is given out.
    pub(crate) fn shared_burst(&self) -> u32 {
        self.burst - self.burst / 2
    }

    /// How late an attempt may start: no interval has more of them than rate and burst allow. Where what is kept back is over
    /// sooner than a reply may take, it may have as many more as the rate allows in that time.
    pub(crate) fn max_lateness(&self) -> Duration {
        let kept_back = self.interval.saturating_mul(self.burst / 2);
        kept_back.clamp(Duration::from_millis(50), CENTURY)
    }

    /// For how many attempts it makes sense to ask at once: for those of a quarter of a second.
    pub(crate) fn max_batch(&self) -> usize {
        let interval = self.interval.as_secs_f64().max(1e-9);
        // Casting cuts off what no integer can hold.
        ((0.25 / interval) as usize).clamp(1, 500)
    }
}

/// A rate limiter by the generic cell rate algorithm (GCRA, ITU-T I.371). Its only state is the theoretical arrival
/// time: when the next request is due if requests are evenly spaced.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiter {
    quota: Quota,
    /// `None` before the first request.
    due: Option<Instant>,
}

impl RateLimiter {
    pub(super) fn new(quota: Quota) -> Self {
        Self { quota, due: None }
    }

    /// Returns the time from which the next request may be sent; `None` if it may be sent at any time.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        let ahead = self.quota.interval.checked_mul(self.quota.burst - 1);
        // If the subtraction underflows, the burst is not used up.
        self.due?.checked_sub(ahead?)
    }

    /// Counts a request that is sent now.
    pub(crate) fn take(&mut self, now: Instant) {
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due.checked_add(self.quota.interval).unwrap_or(due));
    }

    /// Whether the state is equivalent to that of a new rate limiter.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each of `count` requests is sent, in ms, if each is sent as soon as possible.
    fn sent_at(rate: &mut RateLimiter, start: Instant, from: u32, count: usize) -> Vec<u128> {
        let mut now = start + from * MS;
        let mut times = Vec::new();
        for _ in 0..count {
            now = rate.ready_at().map_or(now, |at| at.max(now));
            rate.take(now);
            times.push((now - start).as_millis());
        }
        times
    }

    fn rate(per_second: f64, burst: u32) -> RateLimiter {
        RateLimiter::new(Quota::new(per_second, burst).expect("it is a rate"))
    }

    #[test]
    fn requests_are_evenly_spaced_after_the_burst_which_a_pause_restores() {
        let start = Instant::now();
        let mut even = rate(10.0, 1);
        assert_eq!(sent_at(&mut even, start, 0, 4), [0, 100, 200, 300]);
        assert_eq!(sent_at(&mut even, start, 1000, 3), [1000, 1100, 1200]);
        assert_eq!(sent_at(&mut even, start, 1250, 2), [1300, 1400]);

        let mut bursty = rate(10.0, 3);
        assert_eq!(sent_at(&mut bursty, start, 0, 5), [0, 0, 0, 100, 200]);
        assert_eq!(sent_at(&mut bursty, start, 350, 3), [350, 400, 500]);
        assert_eq!(
            sent_at(&mut bursty, start, 9000, 4),
            [9000, 9000, 9000, 9100]
        );
    }

    #[test]
    fn no_interval_has_more_requests_than_rate_and_burst_allow() {
        let start = Instant::now();
        for (per_second, burst) in [(1.0, 1), (7.0, 3), (1000.0, 50), (0.5, 2)] {
            let mut rate = rate(per_second, burst);
            let times = sent_at(&mut rate, start, 0, 300);
            for (first, from) in times.iter().enumerate() {
                for (last, until) in times.iter().enumerate().skip(first) {
                    let seconds = (until - from) as f64 / 1e3;
                    let allowed = f64::from(burst) + seconds * per_second;
                    assert!((last - first) as f64 <= allowed + 1.0);
                }
            }
        }
    }

    #[test]
    fn extremes_neither_overflow_nor_panic() {
        let now = Instant::now();
        for (per_second, burst) in [(4e-10, 1), (4e-10, u32::MAX), (1e18, 1), (1e18, u32::MAX)] {
            let mut rate = rate(per_second, burst);
            for _ in 0..3 {
                let _ = rate.ready_at();
                rate.take(now);
            }
            assert_eq!(
                rate.ready_at().is_some_and(|at| at > now),
                (per_second, burst) == (4e-10, 1)
            );
        }
        // The interval is 0: no limit.
        let mut fast = rate(1e12, 1);
        fast.take(now);
        assert!(fast.is_idle(now));
    }

    #[test]
    fn it_is_idle_once_the_next_request_is_due() {
        let now = Instant::now();
        let mut rate = rate(10.0, 2);
        assert!(rate.is_idle(now));
        rate.take(now);
        assert!(!rate.is_idle(now + 99 * MS));
        assert!(rate.is_idle(now + 100 * MS));
    }
}
