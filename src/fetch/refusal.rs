//! Places that may not be connected to, as errors.

use super::RedirectHop;
use crate::addresses::NotPublic;
use crate::error::{BoxError, Error, RootCause, chain};

/// The error that a transport met with, if it had found no address that may be connected to.
pub(super) fn of_look_up(error: Error) -> Error {
    match error {
        Error::Dns { source, .. } if is_not_public(&*source) => not_public(source),
        other => other,
    }
}

fn is_not_public(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<NotPublic>())
}

pub(super) fn not_public(error: impl Into<BoxError>) -> Error {
    let source = error.into();
    Error::InvalidRequest {
        message: format!(
            "{}, and public_addresses_only allows no others",
            RootCause(&source)
        ),
        source: Some(source),
    }
}

/// To where nothing may be sent, no redirect may lead.
pub(super) fn blame_redirect(error: Error, history: &[RedirectHop]) -> Error {
    match error {
        Error::InvalidRequest {
            message,
            source: Some(source),
        } if !history.is_empty() && is_not_public(&*source) => Error::Redirect {
            message,
            hops: history.to_vec(),
        },
        other => other,
    }
}
