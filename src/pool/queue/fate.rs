//! What becomes of jobs that no worker has begun.

use crate::sync::atomic::{AtomicU8, Ordering};

/// It only ever moves on to a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(in crate::pool) enum Fate {
    Sent,
    GivenBack,
    CalledOff,
    /// The pool is gone, and with it who wanted to know.
    Forgotten,
}

/// The fate that was decided on last.
pub(super) struct Decision(AtomicU8);

impl Default for Decision {
    fn default() -> Self {
        Self(AtomicU8::new(Fate::Sent as u8))
    }
}

impl Decision {
    pub(super) fn get(&self) -> Fate {
        match self.0.load(Ordering::SeqCst) {
            fate if fate == Fate::Sent as u8 => Fate::Sent,
            fate if fate == Fate::GivenBack as u8 => Fate::GivenBack,
            fate if fate == Fate::CalledOff as u8 => Fate::CalledOff,
            _ => Fate::Forgotten,
        }
    }

    pub(super) fn move_on(&self, fate: Fate) {
        self.0.fetch_max(fate as u8, Ordering::SeqCst);
    }
}
