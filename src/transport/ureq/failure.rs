//! What failed while a connection was made.

use ::ureq::Error;

/// What kept a connection from coming about: no server has seen any of the request.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(super) struct ConnectFailure {
    pub(super) stage: Stage,
    pub(super) source: Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    LookUp,
    Connection,
    /// Anything on the way to and with a proxy, looking it up included.
    Proxy,
}

impl Stage {
    /// The same error, marked as one of this stage. One of a stage further inside stays that, but for proxies: they are
    /// connected to in the same way as servers.
    pub(super) fn failed(self, error: Error) -> Error {
        let mut failure = match error {
            Error::Other(source) => match source.downcast::<ConnectFailure>() {
                Ok(failure) => failure,
                Err(source) => self.failure(Error::Other(source)),
            },
            source => self.failure(source),
        };
        if self == Self::Proxy {
            failure.stage = self;
        }
        Error::Other(failure)
    }

    fn failure(self, source: Error) -> Box<ConnectFailure> {
        Box::new(ConnectFailure {
            stage: self,
            source,
        })
    }
}
