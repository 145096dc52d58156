//! Maps reqwest's errors to ours, by the chain of sources rather than by reqwest's own predicates.

use std::error::Error as StdError;
use std::io;

use super::super::classify::{self, exchange_error, find, handshake_error};
use super::super::message_texts;
use super::connecting::Connecting;
use crate::error::{BoxError, Error, io_kind, is_out_of_resources};
use crate::redact::SafeUrl;
use crate::request::BodySourceError;

/// Maps errors that occur before the response head is received.
pub(super) fn head_error(error: ::reqwest::Error, connecting: Connecting) -> Error {
    let is_connect = error.is_connect();
    let is_builder = error.is_builder();
    let is_body = error.is_body();
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
    let is_over_time = is_timeout(&*source);
    match connecting {
        // Of a request with a body that is read, the client tells only that nothing takes the body, not why.
        Connecting::Incomplete(Some(failure)) => {
            let is_dns = message_texts::is_resolution_failure(&failure);
            connect_error(failure.into(), is_dns, is_plain)
        }
        Connecting::Incomplete(None) if is_over_time || is_body => {
            Error::timeout().sent(false).with_source(source)
        }
        _ if is_over_time => Error::timeout().with_source(source),
        _ => exchange_error(source),
    }
}

/// Maps errors of making a connection: nothing of the request was sent.
fn connect_error(source: BoxError, is_dns: bool, is_plain: bool) -> Error {
    if is_out_of_resources(&*source) {
        return Error::local_resource(source);
    }
    if is_timeout(&*source) {
        return Error::timeout().sent(false).with_source(source);
    }
    if message_texts::is_proxy_refusal(&*source) {
        return Error::proxy_credentials(source);
    }
    if message_texts::is_proxy_failure(&*source) {
        return Error::proxy(source);
    }
    if is_dns {
        return Error::from_resolution(source);
    }
    if is_plain {
        Error::connect(source)
    } else {
        handshake_error(source)
    }
}

/// Maps errors in the response body.
pub(super) fn body_error(source: BoxError) -> Error {
    if is_timeout(&*source) {
        return Error::timeout().with_source(source);
    }
    classify::body_error(source)
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    find::<::reqwest::Error>(error).is_some_and(::reqwest::Error::is_timeout)
        || io_kind(error) == Some(io::ErrorKind::TimedOut)
}
