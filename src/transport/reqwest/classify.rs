//! Maps reqwest's errors to ours, by the chain of sources rather than by reqwest's own predicates.

use std::error::Error as StdError;
use std::io;

use super::super::message_texts;
use crate::error::{BoxError, Error, chain, io_kind, is_out_of_resources};
use crate::redact::SafeUrl;
use crate::request::BodySourceError;

/// Maps errors that occur before the response head is received.
pub(super) fn head_error(error: ::reqwest::Error, still_connecting: bool) -> Error {
    let is_connect = error.is_connect();
    let is_builder = error.is_builder();
    let is_dns = error.is_dns();
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    let url = error.url().map(|url| SafeUrl(url.as_str()).to_string());
    // The URL would bring its secrets into the messages.
    let source: BoxError = error.without_url().into();

    if is_builder {
        let message = format!("`{}` cannot be requested", url.unwrap_or_default());
        return Error::invalid_request(message).with_source(source);
    }
    if find::<BodySourceError>(&*source).is_some() {
        return Error::local_resource(source).sent(true);
    }
    if is_connect {
        return connect_error(source, is_dns, is_plain);
    }
    if is_timeout(&*source) {
        return Error::timeout().sent(!still_connecting).with_source(source);
    }
    exchange_error(source)
}

/// Maps errors of making a connection: nothing of the request was sent.
fn connect_error(source: BoxError, is_dns: bool, is_plain: bool) -> Error {
    if is_out_of_resources(&*source) {
        return Error::local_resource(source);
    }
    if is_timeout(&*source) {
        return Error::timeout().sent(false).with_source(source);
    }
    if message_texts::is_proxy_failure(&*source) {
        return Error::proxy(source);
    }
    if is_dns {
        return Error::from_resolution(source);
    }
    // What the operating system reports is about the connection below TLS.
    let is_below_tls =
        is_plain || is_from_system(&*source) || message_texts::is_handshake_cut(&*source);
    if is_below_tls {
        Error::connect(source)
    } else {
        Error::tls(source)
    }
}

fn is_from_system(error: &(dyn StdError + 'static)) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error().is_some())
}

/// Maps errors on an established connection.
fn exchange_error(source: BoxError) -> Error {
    if message_texts::is_tls_alert(&*source) {
        return Error::tls(source).sent(true);
    }
    if let Some(hyper) = find::<hyper::Error>(&*source) {
        if hyper.is_parse() || message_texts::is_unsolicited(hyper) {
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
    if is_timeout(&*source) {
        return Error::timeout().with_source(source);
    }
    let is_cut = find::<hyper::Error>(&*source).is_some_and(hyper::Error::is_incomplete_message)
        || io_kind(&*source) == Some(io::ErrorKind::UnexpectedEof);
    if is_cut {
        return Error::body_truncated(source);
    }
    exchange_error(source)
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    find::<::reqwest::Error>(error).is_some_and(::reqwest::Error::is_timeout)
        || io_kind(error) == Some(io::ErrorKind::TimedOut)
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}
