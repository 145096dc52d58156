//! From ureq's errors to ours.

use std::io;
use std::time::Duration;

use ::ureq::Error as UreqError;

use super::failure::{ConnectFailure, Stage};
use crate::error::{BoxError, Error, chain, io_kind, is_local_lack, is_tls_alert};
use crate::redact::{Clipped, SafeUrl};
use crate::request::BodySourceError;

/// Sorts what went wrong before the head of the response was complete.
pub(super) fn head_error(error: UreqError, url: &str, sent: bool) -> Error {
    match error {
        UreqError::Other(source) => match source.downcast::<ConnectFailure>() {
            Ok(failure) => connect_error(*failure),
            Err(source) => exchange_error(source, sent),
        },
        UreqError::Timeout(_) => timeout(sent, error),
        UreqError::Io(error) => exchange_error(error.into(), sent),
        UreqError::Protocol(_) | UreqError::LargeResponseHeader(..) if sent => Error::Protocol {
            source: error.into(),
        },
        // These would show the whole URL.
        UreqError::BadUri(_) | UreqError::RequireHttpsOnly(_) => unsendable(url, None),
        other => unsendable(url, Some(other)),
    }
}

fn unsendable(url: &str, error: Option<UreqError>) -> Error {
    let reason = error.as_ref().map(|error| format!(": {}", Clipped(error)));
    Error::InvalidRequest {
        message: format!(
            "`{}` cannot be requested{}",
            SafeUrl(url),
            reason.unwrap_or_default()
        ),
        source: error.map(Into::into),
    }
}

/// Sorts what went wrong while a connection was made: of the request, nothing was sent.
fn connect_error(ConnectFailure { stage, source }: ConnectFailure) -> Error {
    let sent = false;
    if matches!(source, UreqError::Timeout(_)) {
        return timeout(sent, source);
    }
    let kind = match &source {
        UreqError::Io(error) => Some(error.kind()),
        UreqError::HostNotFound | UreqError::ConnectionFailed => Some(io::ErrorKind::NotFound),
        _ => None,
    };
    let source: BoxError = match source {
        UreqError::Io(error) => error.into(),
        UreqError::Other(source) => source,
        other => other.into(),
    };
    if is_local_lack(&*source) {
        return Error::LocalResource { sent, source };
    }
    match (stage, kind) {
        (Stage::Proxy, _) => Error::Proxy { sent, source },
        (Stage::LookUp, _) => Error::from_look_up(source),
        (Stage::Connection, Some(io::ErrorKind::TimedOut)) => Error::Timeout {
            after: Duration::ZERO,
            sent,
            source: Some(source),
        },
        // What is no fault of the network, TLS libraries report in this way, or as errors of their own.
        (Stage::Connection, Some(io::ErrorKind::InvalidData) | None) => Error::Tls { sent, source },
        (Stage::Connection, Some(_)) => Error::Connect { sent, source },
    }
}

/// Sorts what went wrong in the body of the response.
pub(super) fn body_error(error: io::Error) -> Error {
    let wrapped = match error.downcast::<UreqError>() {
        Ok(wrapped) => wrapped,
        Err(error) => UreqError::Io(error),
    };
    let source: BoxError = match wrapped {
        UreqError::Timeout(_) => return timeout(true, wrapped),
        UreqError::Io(error) => error.into(),
        UreqError::Other(source) => source,
        other => {
            return Error::Protocol {
                source: other.into(),
            };
        }
    };
    match io_kind(&*source) {
        Some(io::ErrorKind::UnexpectedEof) => Error::BodyTruncated { source },
        Some(io::ErrorKind::InvalidData) => Error::Protocol { source },
        _ => Error::Closed { sent: true, source },
    }
}

/// Sorts what went wrong on a connection that stood.
fn exchange_error(source: BoxError, sent: bool) -> Error {
    if chain(&*source).any(|error| error.is::<BodySourceError>()) {
        return Error::LocalResource { sent: true, source };
    }
    if is_tls_alert(&*source) {
        return Error::Tls { sent, source };
    }
    match io_kind(&*source) {
        Some(io::ErrorKind::InvalidData) => Error::Protocol { source },
        _ => Error::Closed { sent, source },
    }
}

fn timeout(sent: bool, error: UreqError) -> Error {
    Error::Timeout {
        after: Duration::ZERO,
        sent,
        source: Some(error.into()),
    }
}
