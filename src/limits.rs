//! Rate limits and concurrency limits: [`Limits`]. Pure arithmetic: time is injected.

mod bandwidth;
mod rate;
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "for limits on a server")
)]
pub(crate) mod shared;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::bandwidth::{Bandwidth, Bandwidths};
use self::rate::CENTURY;
pub(crate) use self::rate::{Quota, RateLimiter};
use self::shared::LimitServer;
use crate::origin::Origin;
use crate::redact::SafeUrl;

/// Rate limits and concurrency limits of a pool. Passed to [`PoolBuilder::limits`](crate::PoolBuilder::limits).
///
/// A job that may not be sent yet waits in the queue and does not occupy a worker. Workers take the next job that may
/// be sent, in round-robin order across origins (scheme, host and port), so a limited origin delays no other origin; a
/// slow one does not either, with [`in_flight_per_origin`](Self::in_flight_per_origin).
/// When no job may be sent, they wait until the time at which one may.
///
/// This applies to the jobs in the pool. Requests that [`imap`](crate::imap) has not yet pulled from its iterator, or
/// that are still in a job channel of your own, are taken when there is room for them: see
/// [`PoolBuilder::window`](crate::PoolBuilder::window).
///
/// Each attempt counts, including those of [`Retry`](crate::Retry), for the origin of the request's URL. Redirects that
/// an attempt follows do not count, neither for this origin nor for the one that they lead to.
///
/// A 429 or 503 response with `Retry-After` pauses its whole origin for that time. See [`cool_down`](Self::cool_down).
///
/// ```
/// use threaded::{Limits, OriginLimits, Pool};
///
/// let limits = Limits::new()
///     .rate(100.0, 10)                  // the pool: 100 per second, in bursts of at most 10
///     .rate_per_origin(5.0, 1)          // each origin: one every 200 ms
///     .in_flight_per_origin(2)          // and at most 2 at a time
///     .for_origin("https://api.example.com", OriginLimits::new().rate(50.0, 50));
/// let builder = Pool::builder().num_threads(32).limits(limits);
/// # let _ = builder;
/// ```
///
/// Setters never fail. Building the pool fails with [`PoolError::Limits`](crate::PoolError::Limits) if a value is
/// invalid, such as a rate of 0.
#[derive(Clone)]
#[must_use = "the setters take it by value and return it"]
pub struct Limits {
    rate: Option<RateSetting>,
    bandwidth: Option<u64>,
    per_origin: OriginLimits,
    /// Unparsed, in the order in which they were set.
    overrides: Vec<(String, OriginLimits)>,
    max_cool_down: Option<Duration>,
    /// What keeps them for several pools.
    pub(crate) server: Option<Arc<dyn LimitServer>>,
}

/// The limits of one particular origin, which replace the per-origin limits. Passed to [`Limits::for_origin`].
#[derive(Clone, Debug, Default)]
#[must_use = "the setters take it by value and return it"]
pub struct OriginLimits {
    rate: Option<RateSetting>,
    in_flight: Option<usize>,
    bandwidth: Option<u64>,
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
    /// Creates limits that set only the default cool-down of 60 s.
    pub fn new() -> Self {
        Self {
            rate: None,
            bandwidth: None,
            per_origin: OriginLimits::default(),
            overrides: Vec::new(),
            max_cool_down: Some(Duration::from_secs(60)),
            server: None,
        }
    }

    /// Sets the maximum rate of the whole pool, in attempts per second, and the maximum burst: the number of attempts
    /// that may start at once after a pause. Building the pool fails if the rate is 0, negative or not finite, or the
    /// burst is 0. Defaults to no limit.
    pub fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.rate = Some(RateSetting { per_second, burst });
        self
    }

    /// Sets the maximum rate for each origin, as [`rate`](Self::rate) does for the pool. Defaults to no limit.
    pub fn rate_per_origin(mut self, per_second: f64, burst: u32) -> Self {
        self.per_origin = self.per_origin.rate(per_second, burst);
        self
    }

    /// Sets the maximum number of concurrent attempts for each origin. Building the pool fails if it is 0. Defaults to
    /// no limit other than the number of workers.
    pub fn in_flight_per_origin(mut self, max: usize) -> Self {
        self.per_origin = self.per_origin.in_flight(max);
        self
    }

    /// Sets the maximum bandwidth of the whole pool, in bytes per second: how fast the bodies of all responses together are received,
    /// before decoding. Building the pool fails if it is 0. Defaults to no limit.
    ///
    /// The jobs in flight take turns of 20 ms, so that each gets the same share while all of them want more. What does not fit is left
    /// to the server to hold back, as with a slow line. An attempt that waits for its turn waits as part of its
    /// [`timeout`](crate::PoolBuilder::timeout), if there is one; the [stall timeout](crate::PoolBuilder::stall_timeout) does not run
    /// meanwhile. A turn is 1 KiB at least and 256 KiB at most, and pieces of up to 16 KiB are not divided.
    /// Heads of responses and bodies of requests do not count.
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// Sets the maximum bandwidth for each origin, as [`bandwidth`](Self::bandwidth) does for the pool: that of the URL which the
    /// body comes from, after redirects. Defaults to no limit.
    pub fn bandwidth_per_origin(mut self, bytes_per_second: u64) -> Self {
        self.per_origin = self.per_origin.bandwidth(bytes_per_second);
        self
    }

    /// Sets the limits for one origin, written like `https://api.example.com`. They replace all per-origin limits: one
    /// that is not set here does not apply to this origin. Building the pool fails if the origin is invalid.
    /// Defaults to the same limits for all origins.
    pub fn for_origin(mut self, origin: impl Into<String>, limits: OriginLimits) -> Self {
        self.overrides.push((origin.into(), limits));
        self
    }

    /// Sets the maximum time for which the `Retry-After` of a 429 or 503 pauses its origin; a longer one is capped.
    /// With `None`, origins are not paused, and only [`Retry`](crate::Retry) respects the header, for the job itself.
    /// Defaults to 60 s.
    pub fn cool_down(mut self, max: impl Into<Option<Duration>>) -> Self {
        self.max_cool_down = max.into();
        self
    }

    /// Checks the values that the setters were given.
    pub(crate) fn check(self) -> Result<CheckedLimits, String> {
        let overrides = self
            .overrides
            .into_iter()
            .map(|(origin, limits)| {
                let name = format!("for_origin({})", SafeUrl(&origin));
                let origin =
                    Origin::parse(&origin).map_err(|reason| invalid("for_origin", &reason))?;
                Ok((origin, limits.check([&name, &name, &name])?))
            })
            .collect::<Result<_, String>>()?;
        Ok(CheckedLimits {
            rate: checked_rate(self.rate, "rate")?,
            bandwidth: checked_bandwidth(self.bandwidth, "bandwidth")?,
            per_origin: self.per_origin.check([
                "rate_per_origin",
                "in_flight_per_origin",
                "bandwidth_per_origin",
            ])?,
            overrides: Arc::new(overrides),
            max_cool_down: self.max_cool_down.map(|max| max.min(CENTURY)),
            server: self.server,
        })
    }
}

impl OriginLimits {
    /// Creates an empty set of limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum rate, as [`Limits::rate`] does for the pool. Defaults to no limit.
    pub fn rate(mut self, per_second: f64, burst: u32) -> Self {
        self.rate = Some(RateSetting { per_second, burst });
        self
    }

    /// Sets the maximum number of concurrent attempts. Building the pool fails if it is 0. Defaults to no limit.
    pub fn in_flight(mut self, max: usize) -> Self {
        self.in_flight = Some(max);
        self
    }

    /// Sets the maximum bandwidth, in bytes per second, as [`Limits::bandwidth`] does for the pool. Defaults to no limit.
    pub fn bandwidth(mut self, bytes_per_second: u64) -> Self {
        self.bandwidth = Some(bytes_per_second);
        self
    }

    /// Checks the limits. The names of the setters are for the error message.
    fn check(
        &self,
        [rate, in_flight, bandwidth]: [&str; 3],
    ) -> Result<CheckedOriginLimits, String> {
        if self.in_flight == Some(0) {
            return Err(invalid(
                in_flight,
                &"0 in flight would let no request through",
            ));
        }
        Ok(CheckedOriginLimits {
            rate: checked_rate(self.rate, rate)?,
            in_flight: self.in_flight,
            bandwidth: checked_bandwidth(self.bandwidth, bandwidth)?,
        })
    }
}

// By hand: the origins are unchecked, and may be URLs with secrets.
impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            bandwidth,
            per_origin,
            overrides,
            max_cool_down,
            server,
        } = self;
        f.debug_struct("Limits")
            .field("rate", rate)
            .field("bandwidth", bandwidth)
            .field("per_origin", per_origin)
            .field("for_origin", &overrides.len())
            .field("cool_down", max_cool_down)
            .field("shared", &server.is_some())
            .finish()
    }
}

/// Limits with valid values.
#[derive(Clone, Debug)]
pub(crate) struct CheckedLimits {
    pub(crate) rate: Option<Quota>,
    bandwidth: Option<u64>,
    per_origin: CheckedOriginLimits,
    overrides: Arc<HashMap<Origin, CheckedOriginLimits>>,
    pub(crate) max_cool_down: Option<Duration>,
    pub(crate) server: Option<Arc<dyn LimitServer>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckedOriginLimits {
    pub(crate) rate: Option<Quota>,
    pub(crate) in_flight: Option<usize>,
    bandwidth: Option<u64>,
}

impl CheckedLimits {
    /// Creates the rate limiter of the whole pool, unless others share it.
    pub(crate) fn rate_limiter(&self) -> Option<RateLimiter> {
        let is_shared = self.server.is_some();
        self.rate.filter(|_| !is_shared).map(RateLimiter::new)
    }

    /// Creates the limits on how fast bodies are received, if there are any.
    pub(crate) fn bandwidths(&self) -> Option<Bandwidths> {
        Bandwidths::new(self)
    }

    pub(crate) fn for_origin(&self, origin: &Origin) -> CheckedOriginLimits {
        self.overrides
            .get(origin)
            .copied()
            .unwrap_or(self.per_origin)
    }
}

impl CheckedOriginLimits {
    /// Creates the rate limiter of one origin.
    pub(crate) fn rate_limiter(&self) -> Option<RateLimiter> {
        self.rate.map(RateLimiter::new)
    }
}

fn checked_rate(setting: Option<RateSetting>, name: &str) -> Result<Option<Quota>, String> {
    let Some(RateSetting { per_second, burst }) = setting else {
        return Ok(None);
    };
    match Quota::new(per_second, burst) {
        Ok(quota) => Ok(Some(quota)),
        Err(reason) => Err(invalid(name, &reason)),
    }
}

fn checked_bandwidth(setting: Option<u64>, name: &str) -> Result<Option<u64>, String> {
    match setting {
        Some(0) => Err(invalid(
            name,
            &"0 bytes per second would let nothing through",
        )),
        setting => Ok(setting),
    }
}

fn invalid(name: &str, reason: &dyn fmt::Display) -> String {
    format!("{name}: {reason}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_invalid_setting() {
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
            (Limits::new().bandwidth(0), "bandwidth: 0 bytes per second"),
            (
                Limits::new().bandwidth_per_origin(0),
                "bandwidth_per_origin: 0 bytes per second",
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
    fn the_limits_of_one_origin_replace_both_limits() {
        let limits = Limits::new()
            .rate_per_origin(1.0, 1)
            .in_flight_per_origin(2)
            .for_origin("http://fast", OriginLimits::new().in_flight(7))
            .check()
            .expect("the limits are valid");
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
