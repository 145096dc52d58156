//! Who keeps the time of an exchange.
//!
//! There are two ways to bound one with reqwest's blocking client. A timeout of the request sets a timer in the client's
//! runtime and holds to the last byte; measured, it takes 3 to 4 % of all the work that fetching 1 KiB over a kept
//! connection makes. The timeout of the client bounds the same waits for nothing, but starts anew for the body, and for
//! each piece of a body that is read piecemeal.
//!
//! So the client keeps the time where that comes to the same: the head was there at once, and the body has a known length
//! and is taken as a whole. This is only known afterwards. Hence a guess: a worker whose last answers were all of that
//! kind expects another one. If the guess was wrong, another thread reads the body while this one watches the clock.

use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};

use crate::transport::Exchange;

/// How many answers in a row must have been quick and whole before the next one is expected to be.
const TRUST_AFTER: u32 = 16;

/// A head that takes no longer than this part of the limit was there at once: what may be lost by counting the body anew.
const TOLERANCE: u32 = 100;

/// How long a client waits for what, and what its last answers were like.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// The limit that the client was built with.
    usual: Option<Duration>,
    /// How many of the last answers, in a row, were quick and whole.
    streak: u32,
}

/// Who keeps the time of one exchange.
#[derive(Debug)]
pub(super) enum Keeper {
    Client { deadline: Instant },
    Request(Option<Duration>),
}

impl Keeper {
    /// What to tell the request.
    pub(super) fn request_timeout(&self) -> Option<Duration> {
        match self {
            Self::Client { .. } => None,
            // Without any, that of the client would hold.
            Self::Request(limit) => Some(limit.unwrap_or(Duration::MAX)),
        }
    }
}

impl Patience {
    pub(super) fn new(usual: Option<Duration>) -> Self {
        Self { usual, streak: 0 }
    }

    /// Who is to keep the time of an exchange.
    pub(super) fn keeper(&self, exchange: &Exchange<'_>) -> Keeper {
        match exchange.deadline {
            Some(deadline) if self.streak >= TRUST_AFTER && exchange.time_limit == self.usual => {
                Keeper::Client { deadline }
            }
            _ => Keeper::Request(exchange.timeout()),
        }
    }

    /// Takes note of an answer; whether the client can keep the time of its body.
    pub(super) fn learn(&mut self, keeper: &Keeper, headers: &HeaderMap) -> bool {
        // Decoding reads piecemeal.
        let is_whole =
            headers.contains_key(CONTENT_LENGTH) && !headers.contains_key(CONTENT_ENCODING);
        let is_quick = match keeper {
            Keeper::Request(_) => true,
            Keeper::Client { deadline } => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.usual
                    .is_some_and(|usual| left >= usual - usual / TOLERANCE)
            }
        };
        let fits = is_whole && is_quick;
        self.streak = if fits {
            self.streak.saturating_add(1)
        } else {
            0
        };
        fits
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Method};
    use url::Url;

    use super::*;

    const USUAL: Duration = Duration::from_secs(30);

    fn headers(names: &[&'static str]) -> HeaderMap {
        let name = |name| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        names.iter().copied().map(name).collect()
    }

    fn keeper(patience: &Patience, limit: Option<Duration>) -> Keeper {
        patience.keeper(&Exchange {
            method: &Method::GET,
            url: &Url::parse("http://test/").unwrap(),
            headers: HeaderMap::new(),
            body: None,
            deadline: limit.and_then(|limit| Instant::now().checked_add(limit)),
            time_limit: limit,
        })
    }

    fn trusting() -> Patience {
        let mut patience = Patience::new(Some(USUAL));
        let whole = headers(&["content-length"]);
        for _ in 0..TRUST_AFTER {
            let keeper = keeper(&patience, Some(USUAL));
            assert!(matches!(keeper, Keeper::Request(_)), "too early");
            patience.learn(&keeper, &whole);
        }
        patience
    }

    #[test]
    fn the_client_keeps_the_time_after_a_streak_of_quick_and_whole_answers() {
        let keeper = keeper(&trusting(), Some(USUAL));
        assert!(matches!(keeper, Keeper::Client { .. }));
        assert_eq!(keeper.request_timeout(), None);
    }

    #[test]
    fn a_limit_that_is_not_the_usual_one_is_kept_by_the_request() {
        for limit in [None, Some(USUAL / 2), Some(USUAL * 2), Some(Duration::MAX)] {
            let keeper = keeper(&trusting(), limit);
            assert!(keeper.request_timeout().is_some(), "{limit:?}");
        }
    }

    #[test]
    fn a_body_that_is_not_whole_ends_the_trust() {
        for names in [
            &[][..],
            &["content-length", "content-encoding"],
            &["transfer-encoding"],
        ] {
            let mut patience = trusting();
            let expected = keeper(&patience, Some(USUAL));
            assert!(!patience.learn(&expected, &headers(names)));
            let next = keeper(&patience, Some(USUAL));
            assert!(matches!(next, Keeper::Request(_)), "{names:?}");
        }
    }

    #[test]
    fn a_head_that_took_its_time_ends_the_trust() {
        let mut patience = trusting();
        let deadline = Instant::now() + USUAL / 2;
        assert!(!patience.learn(&Keeper::Client { deadline }, &headers(&["content-length"])));
        assert!(matches!(keeper(&patience, Some(USUAL)), Keeper::Request(_)));
    }
}
