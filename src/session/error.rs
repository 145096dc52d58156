//! Why a session could not be opened: [`SessionError`].

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::error::{BoxError, Error, RootCause};
use crate::panics;
use crate::redact::Truncated;

/// Why a session could not be opened.
#[derive(Clone, Debug)]
pub(crate) struct SessionError {
    stage: SetupStage,
    source: Arc<dyn StdError + Send + Sync>,
}

/// The part of a session's setup that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetupStage {
    Constructor,
    Initializer,
    AuthGenerator,
    Credentials,
    Transport,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            SetupStage::Constructor => "session constructor",
            SetupStage::Initializer => "initializer",
            SetupStage::AuthGenerator => "auth generator",
            SetupStage::Credentials => "credentials",
            SetupStage::Transport => "transport",
        };
        write!(f, "{stage}: {}", RootCause(&*self.source))
    }
}

impl StdError for SessionError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.source)
    }
}

impl SetupStage {
    /// Runs the user's code of this stage. A panic is one of its errors.
    pub(super) fn run<T>(
        self,
        user_code: impl FnOnce() -> Result<T, BoxError>,
    ) -> Result<T, SessionError> {
        let result = match panics::caught(user_code) {
            Ok(result) => result,
            Err(message) => Err(format!("it panicked: {}", Truncated(message)).into()),
        };
        result.map_err(|source| SessionError {
            stage: self,
            source: source.into(),
        })
    }
}

impl From<SessionError> for Error {
    /// An [`Error`] of a transport's builder is about the request: its proxy cannot be used.
    fn from(error: SessionError) -> Self {
        match error.source.downcast_ref::<Self>() {
            Some(about_request) if error.stage == SetupStage::Transport => about_request.clone(),
            _ if error.stage == SetupStage::Credentials => Self::credentials(error),
            _ => Self::session(error),
        }
    }
}
