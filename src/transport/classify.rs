//! Maps the errors of hyper, h2 and the libraries below them to ours, for the transports that are made of them.

use std::error::Error as StdError;
use std::io;

use super::message_texts;
use crate::error::{BoxError, Error, chain, io_kind};

/// The error of a proxy that responds with a 407.
pub(super) fn refused_credentials() -> Error {
    Error::proxy_credentials("it requires other credentials (407)")
}

/// Maps errors on an established connection.
pub(super) fn exchange_error(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    if message_texts::is_tls_alert(&*source) {
        return Error::tls(source).sent(true);
    }
    if let Some(hyper) = find::<hyper::Error>(&*source) {
        if hyper.is_parse() || message_texts::is_unsolicited(&*source) {
            return Error::protocol(source);
        }
        if hyper.is_canceled() {
            return Error::closed(source).sent(false);
        }
    }
    #[cfg(feature = "http2")]
    if let Some(h2) = find::<h2::Error>(&*source) {
        return http2_error(h2.reason(), h2.is_io(), source);
    }
    match io_kind(&*source) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => Error::protocol(source),
        _ => Error::closed(source),
    }
}

#[cfg(feature = "http2")]
fn http2_error(reason: Option<h2::Reason>, is_io: bool, source: BoxError) -> Error {
    match reason {
        // RFC 9113, section 8.7: the stream was closed before any processing.
        Some(h2::Reason::REFUSED_STREAM) => Error::closed(source).sent(false),
        Some(
            h2::Reason::PROTOCOL_ERROR
            | h2::Reason::FRAME_SIZE_ERROR
            | h2::Reason::COMPRESSION_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR,
        ) if !is_io => Error::protocol(source),
        _ => Error::closed(source),
    }
}

/// Maps errors in the response body.
pub(super) fn body_error(source: BoxError) -> Error {
    let is_cut = find::<hyper::Error>(&*source).is_some_and(hyper::Error::is_incomplete_message)
        || io_kind(&*source) == Some(io::ErrorKind::UnexpectedEof);
    if is_cut {
        return Error::body_truncated(source);
    }
    exchange_error(source).sent(true)
}

/// Maps errors of a TLS handshake. What the operating system reports is about the connection below TLS.
pub(super) fn handshake_error(error: impl Into<BoxError>) -> Error {
    let error = error.into();
    let is_from_system = chain(&*error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error().is_some());
    if is_from_system || message_texts::is_handshake_cut(&*error) {
        Error::connect(error)
    } else {
        Error::tls(error)
    }
}

pub(super) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}
