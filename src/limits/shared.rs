//! Limits that several pools share: what a pool asks of the server that keeps them, and what it is given.

use std::fmt;
use std::time::{Duration, Instant};

use super::rate::Quota;
use crate::origin::Origin;

/// What keeps limits for several pools. Its methods block; threads of their own call them.
pub(crate) trait LimitServer: Send + Sync + fmt::Debug {
    /// Asks for several origins at once, in the name of this pool. Returns what is given, in the same order.
    fn ask(&self, pool: &str, asks: &[Ask]) -> Result<Vec<Given>, LimitError>;

    /// Tells all pools until when nothing more may be sent to these origins.
    fn cool_down(&self, pool: &str, origins: &[(Origin, Instant)]) -> Result<(), LimitError>;

    /// Calls `hear` with all news of other pools from now on, and now and then without any, until it returns whether to go on as
    /// `false`.
    fn listen(
        &self,
        pool: &str,
        hear: &mut dyn FnMut(Option<LimitNews>) -> bool,
    ) -> Result<(), LimitError>;

    /// For how long a place is kept for a pool that does not ask again.
    fn lease(&self) -> Duration;
}

/// What one pool asks for one origin.
#[derive(Debug)]
pub(crate) struct Ask {
    /// `None` for the rate of all origins together.
    pub(crate) origin: Option<Origin>,
    pub(crate) quota: Option<Quota>,
    /// For how many attempts it asks when they may start.
    pub(crate) slots: usize,
    pub(crate) max_in_flight: Option<usize>,
    /// The places for attempts in flight that it has and keeps.
    pub(crate) held: usize,
    /// How many more it asks for.
    pub(crate) places: usize,
}

impl Ask {
    /// Gives all places up.
    pub(crate) fn for_nothing(origin: Origin) -> Self {
        Self {
            origin: Some(origin),
            quota: None,
            slots: 0,
            max_in_flight: Some(1),
            held: 0,
            places: 0,
        }
    }
}

/// What a pool is given for one origin.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// When attempts may start, from now on: not more than it has asked for.
    pub(crate) slots: Vec<Duration>,
    /// After what time to ask again, if there are no slots soon.
    pub(crate) ask_again: Option<Duration>,
    /// How many places it has more.
    pub(crate) places: usize,
    /// How many of the places that it holds it has to give up, since others have got them when its lease had run out.
    pub(crate) surplus: usize,
    /// Whether other pools wait for a place.
    pub(crate) is_contended: bool,
}

/// What a pool hears of the limits that it shares.
#[derive(Debug)]
pub(crate) enum LimitNews {
    /// All cool-downs that were known before were told.
    Complete,
    /// The server is away: news may be missed.
    Interrupted,
    CoolDown(Origin, Duration),
    /// A pool waits for a place of this origin.
    Wanted(Origin),
    /// A place of this origin was given up that pools have waited for.
    Freed(Origin),
}

/// Why the server did not answer.
#[derive(Debug)]
pub(crate) struct LimitError {
    pub(crate) message: String,
    /// Whether it is over with these limits; otherwise it may work again later.
    pub(crate) is_final: bool,
}
