//! From reqwest's errors to ours: what the chain of sources says, not what reqwest's own predicates say.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use crate::error::{BoxError, Error, chain, io_kind, is_local_lack, is_tls_alert};
use crate::redact::SafeUrl;
use crate::request::BodySourceError;

/// Sorts what went wrong before the head of the response was complete.
pub(super) fn head_error(error: ::reqwest::Error, still_connecting: bool) -> Error {
    let is_connect = error.is_connect();
    let is_builder = error.is_builder();
    let is_dns = error.is_dns();
    let is_plain = error.url().is_some_and(|url| url.scheme() == "http");
    let url = error.url().map(|url| SafeUrl(url.as_str()).to_string());
    // The URL would bring its secrets into the messages.
    let source: BoxError = error.without_url().into();

    if is_builder {
        return Error::InvalidRequest {
            message: format!("`{}` cannot be requested", url.unwrap_or_default()),
            source: Some(source),
        };
    }
    if find::<BodySourceError>(&*source).is_some() {
        return Error::LocalResource { sent: true, source };
    }
    if is_connect {
        return connect_error(source, is_dns, is_plain);
    }
    if is_timeout(&*source) {
        return Error::Timeout {
            after: Duration::ZERO,
            sent: !still_connecting,
            source: Some(source),
        };
    }
    exchange_error(source)
}

/// Sorts what went wrong while a connection was made: of the request, nothing was sent.
fn connect_error(source: BoxError, is_dns: bool, is_plain: bool) -> Error {
    let sent = false;
    if is_local_lack(&*source) {
        return Error::LocalResource { sent, source };
    }
    if is_timeout(&*source) {
        return Error::Timeout {
            after: Duration::ZERO,
            sent,
            source: Some(source),
        };
    }
    if is_proxy_failure(&*source) {
        return Error::Proxy { sent, source };
    }
    if is_dns {
        return Error::from_look_up(source);
    }
    // What the operating system reports is about the connection below TLS.
    let is_below_tls = is_plain || is_from_system(&*source) || is_handshake_cut(&*source);
    if is_below_tls {
        Error::Connect { sent, source }
    } else {
        Error::Tls { sent, source }
    }
}

fn is_from_system(error: &(dyn StdError + 'static)) -> bool {
    chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error().is_some())
}

/// Sorts what went wrong on a connection that stood.
fn exchange_error(source: BoxError) -> Error {
    if is_tls_alert(&*source) {
        return Error::Tls { sent: true, source };
    }
    if let Some(hyper) = find::<hyper::Error>(&*source) {
        if hyper.is_parse() || is_unasked(hyper) {
            return Error::Protocol { source };
        }
        if hyper.is_canceled() {
            return Error::Closed {
                sent: false,
                source,
            };
        }
    }
    #[cfg(feature = "http2")]
    if let Some(h2) = find::<h2::Error>(&*source) {
        return http2_error(h2.reason(), h2.is_io(), source);
    }
    match io_kind(&*source) {
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) => {
            Error::Protocol { source }
        }
        _ => Error::Closed { sent: true, source },
    }
}

#[cfg(feature = "http2")]
fn http2_error(reason: Option<h2::Reason>, is_io: bool, source: BoxError) -> Error {
    match reason {
        // RFC 9113, section 8.7: the stream was closed before any processing.
        Some(h2::Reason::REFUSED_STREAM) => Error::Closed {
            sent: false,
            source,
        },
        Some(
            h2::Reason::PROTOCOL_ERROR
            | h2::Reason::FRAME_SIZE_ERROR
            | h2::Reason::COMPRESSION_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR,
        ) if !is_io => Error::Protocol { source },
        _ => Error::Closed { sent: true, source },
    }
}

/// Sorts what went wrong in the body of the response.
pub(super) fn body_error(source: BoxError) -> Error {
    if is_timeout(&*source) {
        return Error::Timeout {
            after: Duration::ZERO,
            sent: true,
            source: Some(source),
        };
    }
    let is_cut = find::<hyper::Error>(&*source).is_some_and(hyper::Error::is_incomplete_message)
        || io_kind(&*source) == Some(io::ErrorKind::UnexpectedEof);
    if is_cut {
        return Error::BodyTruncated { source };
    }
    exchange_error(source)
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    find::<::reqwest::Error>(error).is_some_and(::reqwest::Error::is_timeout)
        || io_kind(error) == Some(io::ErrorKind::TimedOut)
}

/// The connectors through proxies have no public error type; their messages begin like this.
fn is_proxy_failure(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| {
        let message = error.to_string();
        message.starts_with("tunnel error") || message.to_lowercase().starts_with("socks")
    })
}

/// Whether the peer closed the connection during the handshake. The message is OpenSSL's.
fn is_handshake_cut(error: &(dyn StdError + 'static)) -> bool {
    io_kind(error) == Some(io::ErrorKind::UnexpectedEof)
        || chain(error).any(|error| error.to_string() == "unexpected EOF")
}

/// Whether the peer has spoken before it was asked, as servers do that are not made for HTTP. hyper tells it in words only.
fn is_unasked(error: &hyper::Error) -> bool {
    error.to_string().starts_with("received unexpected message")
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref::<T>())
}
