//! How fast bodies are received: by a pool, and from each origin.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CheckedLimits;
use super::rate::CENTURY;
use crate::origin::Origin;
use crate::sync::Mutex;

/// At how many origins those are forgotten that nothing is received from.
const MAX_ORIGINS: usize = 1_000;

/// The bandwidths of a pool. Each is that of all its attempts together.
pub(crate) struct Bandwidths {
    limits: CheckedLimits,
    pool: Option<Arc<Bandwidth>>,
    origins: Mutex<HashMap<Origin, Arc<Bandwidth>>>,
}

impl Bandwidths {
    /// `None` if there is no limit on any.
    pub(super) fn new(limits: &CheckedLimits) -> Option<Self> {
        let has_any = limits.bandwidth.is_some()
            || limits.per_origin.bandwidth.is_some()
            || limits
                .overrides
                .values()
                .any(|limits| limits.bandwidth.is_some());
        has_any.then(|| Self {
            pool: limits.bandwidth.map(Bandwidth::new),
            limits: limits.clone(),
            origins: Mutex::default(),
        })
    }

    /// Those that a body of this origin is received with.
    pub(crate) fn of(&self, origin: Option<Origin>) -> Vec<Arc<Bandwidth>> {
        let origin = origin.and_then(|origin| {
            let bytes_per_second = self.limits.for_origin(&origin).bandwidth?;
            let mut origins = self.origins.lock();
            if origins.len() >= MAX_ORIGINS {
                let now = Instant::now();
                origins.retain(|_, bandwidth| bandwidth.is_in_use(now));
            }
            let bandwidth = origins.entry(origin);
            Some(Arc::clone(
                bandwidth.or_insert_with(|| Bandwidth::new(bytes_per_second)),
            ))
        });
        self.pool.clone().into_iter().chain(origin).collect()
    }
}

/// How long a turn is.
const TURN: Duration = Duration::from_millis(20);

/// How much may come in a turn, at least and at most.
const MIN_TURN: u64 = 1 << 10;
const MAX_TURN: u64 = 256 << 10;

/// Attempts that receive bodies take turns, one after the other, in the order in which they ask for one. Each turn is of the same
/// length, so each attempt gets the same share.
pub(crate) struct Bandwidth {
    bytes_per_second: u64,
    /// When the turns that were given are over.
    free_at: Mutex<Instant>,
}

impl Bandwidth {
    fn new(bytes_per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_per_second,
            free_at: Mutex::new(Instant::now()),
        })
    }

    /// How many bytes may come in a turn.
    pub(crate) fn turn(&self) -> u64 {
        let turns_per_second = 1_000 / u64::try_from(TURN.as_millis()).unwrap_or(1).max(1);
        (self.bytes_per_second / turns_per_second).clamp(MIN_TURN, MAX_TURN)
    }

    /// Takes a turn for so many bytes. Returns when it begins.
    pub(crate) fn take(&self, bytes: u64, now: Instant) -> Instant {
        let time = self.time_of(bytes);
        let mut free_at = self.free_at.lock();
        let start = (*free_at).max(now);
        *free_at = start.checked_add(time).unwrap_or(start);
        start
    }

    /// Gives back what was not needed of a turn.
    pub(crate) fn give_back(&self, bytes: u64) {
        let time = self.time_of(bytes);
        let mut free_at = self.free_at.lock();
        *free_at = free_at.checked_sub(time).unwrap_or(*free_at);
    }

    fn time_of(&self, bytes: u64) -> Duration {
        let seconds = bytes as f64 / self.bytes_per_second as f64;
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(CENTURY)
            .min(CENTURY)
    }

    fn is_in_use(self: &Arc<Self>, now: Instant) -> bool {
        Arc::strong_count(self) > 1 || *self.free_at.lock() > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{Limits, OriginLimits};

    fn bandwidths(limits: Limits) -> Option<Bandwidths> {
        limits.check().expect("the limits are valid").bandwidths()
    }

    fn of(bandwidths: &Bandwidths, origin: &str) -> Vec<Arc<Bandwidth>> {
        bandwidths.of(Some(Origin::parse(origin).expect("it is an origin")))
    }

    #[test]
    fn bytes_come_one_after_the_other_and_unused_time_is_gone() {
        let now = Instant::now();
        let limited = bandwidths(Limits::new().bandwidth(1000)).expect("there is a limit");
        let [first] = &of(&limited, "http://a")[..] else {
            panic!("it is that of the pool alone");
        };
        let [second] = &of(&limited, "http://b")[..] else {
            panic!("it is that of the pool alone");
        };
        let ms = |ms| now + Duration::from_secs(10) + Duration::from_millis(ms);
        assert_eq!(first.take(100, ms(0)), ms(0));
        assert_eq!(second.take(50, ms(0)), ms(100));
        assert_eq!(first.take(100, ms(120)), ms(150));
        assert_eq!(first.take(1, ms(900)), ms(900));
        assert_eq!(first.take(1_000, ms(900)), ms(901));
        first.give_back(999);
        assert_eq!(first.take(1, ms(900)), ms(902));
        assert_eq!(first.take(u64::MAX, ms(900)), ms(903));
        assert!(first.take(1, ms(900)) > ms(1_000_000));
    }

    #[test]
    fn a_turn_is_short_but_worth_a_wait() {
        for (bytes_per_second, turn) in [(1, 1 << 10), (1_000_000, 20_000), (u64::MAX, 256 << 10)] {
            assert_eq!(Bandwidth::new(bytes_per_second).turn(), turn);
        }
    }

    #[test]
    fn an_origin_has_its_own_beside_that_of_the_pool() {
        assert!(bandwidths(Limits::new().rate(1.0, 1)).is_none());
        let limited = Limits::new()
            .bandwidth_per_origin(10)
            .for_origin("http://free", OriginLimits::new());
        let limited = bandwidths(limited).expect("there is a limit");
        let (a, b) = (of(&limited, "http://a"), of(&limited, "http://b"));
        assert_eq!((a.len(), b.len()), (1, 1));
        assert!(!Arc::ptr_eq(&a[0], &b[0]));
        assert!(Arc::ptr_eq(&a[0], &of(&limited, "http://a")[0]));
        assert!(of(&limited, "http://free").is_empty());
        let both = Limits::new().bandwidth(5).bandwidth_per_origin(10);
        assert_eq!(
            of(&bandwidths(both).expect("there is a limit"), "http://a").len(),
            2
        );
    }

    #[test]
    fn origins_that_nothing_comes_from_are_forgotten() {
        let limited = bandwidths(Limits::new().bandwidth_per_origin(1)).expect("there is a limit");
        let kept = of(&limited, "http://kept");
        let busy = of(&limited, "http://busy");
        busy[0].take(1000, Instant::now());
        drop(busy);
        for host in 0..MAX_ORIGINS {
            of(&limited, &format!("http://{host}.test"));
        }
        assert!(limited.origins.lock().len() < 10);
        assert!(Arc::ptr_eq(&kept[0], &of(&limited, "http://kept")[0]));
        assert!(*of(&limited, "http://busy")[0].free_at.lock() > Instant::now());
    }
}
