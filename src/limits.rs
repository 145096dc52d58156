//! How fast a pool may go, and how many requests at a time: [`Limits`]. Plain arithmetic; the clock is handed to it.

mod rate;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::rate::RateLimiter;
use self::rate::{CENTURY, Quota};
use crate::origin::Origin;
use crate::redact::SafeUrl;

/// Limits that a pool keeps to. Given to [`PoolBuilder::limits`](crate::PoolBuilder::limits).
///
/// A job that may not be sent yet waits in the queue, not on a worker: workers take the next job that may, round robin over
/// the origins (scheme, host and port), and a slow or limited origin delays nobody else. When nothing may be sent, they wait
/// for the very moment at which something may.
///
/// That holds for the jobs that the pool knows of. What [`imap`](crate::imap) has not drawn yet, or what is still in a job
/// channel of your own, is found when there is room for it: see [`PoolBuilder::window`](crate::PoolBuilder::window).
///
/// Each attempt counts, repetitions by [`Retry`](crate::Retry) included, for the origin of the request's URL. The redirects
/// that an attempt follows do not count, nor does the origin that they lead to.
///
/// A response 429 or 503 with a `Retry-After` cools down its whole origin: until then, no job is sent there. See
/// [`cool_down`](Self::cool_down).
///
/// ```
/// use threaded::{Limits, OriginLimits, Pool};
///
/// let limits = Limits::new()
///     .rate(100.0, 10)                  // all together: 100 a second, at most 10 at once after a pause
///     .rate_per_origin(5.0, 1)          // each origin: one every 200 ms
///     .in_flight_per_origin(2)          // and no more than 2 at a time
///     .for_origin("https://api.example.com", OriginLimits::new().rate(50.0, 50));
/// let builder = Pool::builder().num_threads(32).limits(limits);
/// # let _ = builder;
/// ```
///
/// Setters never fail; what cannot be kept to (a rate of 0, an origin that is none) is refused when the pool is built:
/// [`PoolError::Limits`](crate::PoolError::Limits).
#[derive(Clone)]
pub struct Limits {
    rate: Option<RateSetting>,
    per_origin: OriginLimits,
    /// As they were written, in that order.
    overrides: Vec<(String, OriginLimits)>,
    max_cool_down: Option<Duration>,
}

/// The limits of one origin that is not to be treated as all others: for [`Limits::for_origin`].
#[derive(Clone, Debug, Default)]
pub struct OriginLimits {
    rate: Option<RateSetting>,
    in_flight: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct RateSetting {
    per_second: f64,
    burst: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

impl Limits {
    /// No limits but the cool-down that servers ask for.
    pub fn new() -> Self {
        Self {
            rate: None,
            per_origin: OriginLimits::default(),
            overrides: Vec::new(),
            max_cool_down: Some(Duration::from_secs(60)),
        }
    }

    /// At most so many attempts per second by the whole pool, and so many at once after a pause. Defaults to no limit.
    pub fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.rate = Some(RateSetting { per_second, burst });
        self
    }

    /// At most so many attempts per second to each origin, and so many at once after a pause. Defaults to no limit.
    pub fn rate_per_origin(mut self, per_second: f64, burst: u32) -> Self {
        self.per_origin = self.per_origin.rate(per_second, burst);
        self
    }

    /// At most so many attempts at a time to each origin. Defaults to no limit but the number of workers.
    pub fn in_flight_per_origin(mut self, most: usize) -> Self {
        self.per_origin = self.per_origin.in_flight(most);
        self
    }

    /// Treats one origin, written like `https://api.example.com`, differently: these limits take the place of both that hold
    /// for each origin. What is not set in them is not limited. Defaults to treating all alike.
    pub fn for_origin(mut self, origin: impl Into<String>, limits: OriginLimits) -> Self {
        self.overrides.push((origin.into(), limits));
        self
    }

    /// The longest time for which a `Retry-After` in a response 429 or 503 keeps all jobs from its origin; one that asks for
    /// more is taken for this much. `None` ignores it: then only [`Retry`](crate::Retry) heeds it, for the job itself.
    /// Defaults to 60 s.
    pub fn cool_down(mut self, longest: impl Into<Option<Duration>>) -> Self {
        self.max_cool_down = longest.into();
        self
    }

    /// Checks what the setters were given.
    pub(crate) fn check(self) -> Result<CheckedLimits, String> {
        let overrides = self
            .overrides
            .into_iter()
            .map(|(origin, limits)| {
                let name = format!("for_origin({})", SafeUrl(&origin));
                let origin =
                    Origin::parse(&origin).map_err(|reason| refused("for_origin", &reason))?;
                Ok((origin, limits.check([&name, &name])?))
            })
            .collect::<Result<_, String>>()?;
        Ok(CheckedLimits {
            rate: checked_rate(self.rate, "rate")?,
            per_origin: self
                .per_origin
                .check(["rate_per_origin", "in_flight_per_origin"])?,
            overrides: Arc::new(overrides),
            max_cool_down: self.max_cool_down.map(|longest| longest.min(CENTURY)),
        })
    }
}

impl OriginLimits {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// At most so many attempts per second, and so many at once after a pause. Defaults to no limit.
    pub fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.rate = Some(RateSetting { per_second, burst });
        self
    }

    /// At most so many attempts at a time. Defaults to no limit.
    pub fn in_flight(mut self, most: usize) -> Self {
        self.in_flight = Some(most);
        self
    }

    /// Checks the limits, which were given under these names.
    fn check(&self, [rate, in_flight]: [&str; 2]) -> Result<CheckedOriginLimits, String> {
        if self.in_flight == Some(0) {
            return Err(refused(in_flight, &"0 in flight would let nothing through"));
        }
        Ok(CheckedOriginLimits {
            rate: checked_rate(self.rate, rate)?,
            in_flight: self.in_flight,
        })
    }
}

// By hand: what was given for an origin may be a whole URL, with its secrets.
impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            per_origin,
            overrides,
            max_cool_down,
        } = self;
        f.debug_struct("Limits")
            .field("rate", rate)
            .field("per_origin", per_origin)
            .field("for_origin", &overrides.len())
            .field("cool_down", max_cool_down)
            .finish()
    }
}

/// Limits that can be kept to.
#[derive(Clone, Debug)]
pub(crate) struct CheckedLimits {
    rate: Option<Quota>,
    per_origin: CheckedOriginLimits,
    overrides: Arc<HashMap<Origin, CheckedOriginLimits>>,
    pub(crate) max_cool_down: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckedOriginLimits {
    rate: Option<Quota>,
    pub(crate) in_flight: Option<usize>,
}

impl CheckedLimits {
    /// The account of the whole pool.
    pub(crate) fn rate_limiter(&self) -> Option<RateLimiter> {
        self.rate.map(RateLimiter::new)
    }

    pub(crate) fn for_origin(&self, origin: &Origin) -> CheckedOriginLimits {
        self.overrides
            .get(origin)
            .copied()
            .unwrap_or(self.per_origin)
    }
}

impl CheckedOriginLimits {
    /// The account of one origin.
    pub(crate) fn rate_limiter(&self) -> Option<RateLimiter> {
        self.rate.map(RateLimiter::new)
    }
}

fn checked_rate(setting: Option<RateSetting>, name: &str) -> Result<Option<Quota>, String> {
    let Some(RateSetting { per_second, burst }) = setting else {
        return Ok(None);
    };
    match Quota::new(per_second, burst) {
        Ok(limit) => Ok(Some(limit)),
        Err(reason) => Err(refused(name, &reason)),
    }
}

fn refused(name: &str, reason: &dyn fmt::Display) -> String {
    format!("{name}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_kept_to_is_told_by_its_name() {
        let table = [
            (Limits::new().rate(0.0, 1), "rate: 0.0 per second"),
            (Limits::new().rate(-1.0, 1), "rate: -1.0 per second"),
            (Limits::new().rate(f64::NAN, 1), "rate: NaN per second"),
            (Limits::new().rate(f64::INFINITY, 1), "rate: inf per second"),
            (Limits::new().rate(1e-300, 1), "less than one in a century"),
            (Limits::new().rate(1.0, 0), "a burst of 0"),
            (
                Limits::new().rate_per_origin(1.0, 0),
                "rate_per_origin: a burst of 0",
            ),
            (
                Limits::new().in_flight_per_origin(0),
                "in_flight_per_origin: 0 in flight",
            ),
            (
                Limits::new().for_origin("example.com", OriginLimits::new()),
                "for_origin: `example.com` is not an origin",
            ),
            (
                Limits::new().for_origin("http://test", OriginLimits::new().in_flight(0)),
                "for_origin(http://test/): 0 in flight",
            ),
        ];
        for (limits, reason) in table {
            let error = limits.check().expect_err(reason);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_exception_takes_the_place_of_both_limits() {
        let limits = Limits::new()
            .rate_per_origin(1.0, 1)
            .in_flight_per_origin(2)
            .for_origin("http://fast", OriginLimits::new().in_flight(7))
            .check()
            .expect("they can be kept to");
        let origin = |text| Origin::parse(text).expect("it is an origin");
        let (fast, other) = (
            limits.for_origin(&origin("http://fast")),
            limits.for_origin(&origin("http://other")),
        );
        assert_eq!(
            (fast.in_flight, fast.rate_limiter().is_some()),
            (Some(7), false)
        );
        assert_eq!(
            (other.in_flight, other.rate_limiter().is_some()),
            (Some(2), true)
        );
    }
}
