//! What is done to make a session, and what can go wrong with it.

use std::fmt;

use crate::error::{BoxError, RootCause};
use crate::panics;
use crate::redact::Truncated;

/// What is done to make a session, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Step {
    Constructor,
    Initializer,
    AuthGenerator,
    Proxy,
    Transport,
}

impl Step {
    pub(super) fn run<T>(
        self,
        step: impl FnOnce() -> Result<T, BoxError>,
    ) -> Result<T, SessionFault> {
        match panics::caught(step) {
            Ok(result) => result.map_err(|source| SessionFault { step: self, source }),
            Err(message) => Err(SessionFault {
                step: self,
                source: format!("it panicked: {}", Truncated(message)).into(),
            }),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Constructor => "session constructor",
            Self::Initializer => "initializer",
            Self::AuthGenerator => "auth generator",
            Self::Proxy => "proxy",
            Self::Transport => "transport",
        })
    }
}

/// Why a session could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {}", RootCause(&**source))]
pub(in crate::pool) struct SessionFault {
    pub(in crate::pool) step: Step,
    pub(in crate::pool) source: BoxError,
}
