//! Blocked addresses, as errors.

use crate::addresses::NotPublic;
use crate::error::{Error, ErrorKind, chain};
use crate::history::RedirectHop;

/// Reports a host without an allowed address as an invalid request, not as a failed DNS resolution.
pub(super) fn of_look_up(error: Error) -> Error {
    match blocked(&error) {
        Some(blocked) if error.kind() == ErrorKind::Dns => not_public(blocked.clone()),
        _ => error,
    }
}

pub(super) fn not_public(blocked: NotPublic) -> Error {
    Error::invalid_request(message(&blocked)).with_source(blocked)
}

/// Reports a redirect to a blocked address as an error of that redirect.
pub(super) fn blame_redirect(error: Error, history: &[RedirectHop]) -> Error {
    match blocked(&error) {
        Some(blocked) if error.kind() == ErrorKind::InvalidRequest && !history.is_empty() => {
            Error::redirect(message(blocked), history.to_vec())
        }
        _ => error,
    }
}

fn blocked(error: &Error) -> Option<&NotPublic> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn message(blocked: &NotPublic) -> String {
    format!("{blocked}, and public_addresses_only allows no others")
}
