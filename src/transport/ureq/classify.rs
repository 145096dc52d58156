//! Maps ureq's errors to ours.

use std::io;

use ::ureq::Error as UreqError;

use super::super::message_texts;
use super::failure::{ConnectFailure, Stage};
use crate::error::{BoxError, Error, chain, io_kind, is_out_of_resources};
use crate::redact::{SafeUrl, Truncated};
use crate::request::BodySourceError;

/// Maps errors that occur before the response head is received.
pub(super) fn head_error(error: UreqError, url: &str, sent: bool) -> Error {
    match error {
        UreqError::Other(source) => match source.downcast::<ConnectFailure>() {
            Ok(failure) => connect_error(*failure),
            Err(source) => exchange_error(source, sent),
        },
        UreqError::Timeout(_) => timeout(sent, error),
        UreqError::Io(error) => exchange_error(error.into(), sent),
        UreqError::Protocol(_) | UreqError::LargeResponseHeader(..) if sent => {
            Error::protocol(error)
        }
        // These would show the whole URL.
        UreqError::BadUri(_) | UreqError::RequireHttpsOnly(_) => unsendable(url, None),
        other => unsendable(url, Some(other)),
    }
}

fn unsendable(url: &str, error: Option<UreqError>) -> Error {
    let reason = error
        .as_ref()
        .map(|error| format!(": {}", Truncated(error)));
    let message = format!(
        "`{}` cannot be requested{}",
        SafeUrl(url),
        reason.unwrap_or_default()
    );
    let invalid = Error::invalid_request(message);
    match error {
        Some(error) => invalid.with_source(error),
        None => invalid,
    }
}

/// Maps errors of making a connection: nothing of the request was sent.
fn connect_error(ConnectFailure { stage, source }: ConnectFailure) -> Error {
    if matches!(source, UreqError::Timeout(_)) {
        return timeout(false, source);
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
    if is_out_of_resources(&*source) {
        return Error::local_resource(source);
    }
    match (stage, kind) {
        (Stage::Proxy, _) if message_texts::is_proxy_refusal(&*source) => {
            Error::proxy_credentials(source)
        }
        (Stage::Proxy, _) => Error::proxy(source),
        (Stage::LookUp, _) => Error::from_resolution(source),
        (Stage::Connection, Some(io::ErrorKind::TimedOut)) => timeout(false, source),
        // What is no fault of the network, TLS libraries report in this way, or as errors of their own.
        (Stage::Connection, Some(io::ErrorKind::InvalidData) | None) => Error::tls(source),
        (Stage::Connection, Some(_)) => Error::connect(source),
    }
}

/// Maps errors in the response body.
pub(super) fn body_error(error: io::Error) -> Error {
    let wrapped = match error.downcast::<UreqError>() {
        Ok(wrapped) => wrapped,
        Err(error) => UreqError::Io(error),
    };
    let source: BoxError = match wrapped {
        UreqError::Timeout(_) => return timeout(true, wrapped),
        UreqError::Io(error) => error.into(),
        UreqError::Other(source) => source,
        other => return Error::protocol(other),
    };
    match io_kind(&*source) {
        Some(io::ErrorKind::UnexpectedEof) => Error::body_truncated(source),
        Some(io::ErrorKind::InvalidData) => Error::protocol(source),
        _ => Error::closed(source),
    }
}

/// Maps errors on an established connection.
fn exchange_error(source: BoxError, sent: bool) -> Error {
    if chain(&*source).any(|error| error.is::<BodySourceError>()) {
        return Error::local_resource(source).sent(true);
    }
    if message_texts::is_tls_alert(&*source) {
        return Error::tls(source).sent(sent);
    }
    match io_kind(&*source) {
        Some(io::ErrorKind::InvalidData) => Error::protocol(source),
        _ => Error::closed(source).sent(sent),
    }
}

fn timeout(sent: bool, source: impl Into<BoxError>) -> Error {
    Error::timeout().sent(sent).with_source(source)
}
