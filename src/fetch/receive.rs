//! Taking in a response: head, then body.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::compose::Outgoing;
use super::deadline::Deadline;
use super::decode;
use super::sink::{self, Arrival, Received};
use crate::error::Error;
use crate::headers;
use crate::history::RedirectHop;
use crate::request::BodyDestination;
use crate::response::Response;
use crate::response::ResponseHead;
use crate::transport::ResponseBody;

/// Reads the whole response.
pub(super) fn receive(
    answer: http::Response<ResponseBody>,
    outgoing: Outgoing<'_>,
    history: Vec<RedirectHop>,
    max_body: Option<u64>,
    deadline: &Deadline,
) -> Result<Response, Error> {
    let (mut parts, body) = answer.into_parts();
    check_framing(&parts.headers)?;
    let content_length = content_length(&parts.headers);
    let has_body = !lacks_body(&outgoing.method, parts.status);
    let decoders = match has_body && outgoing.wants_decoding() {
        true => decode::decoders(&parts.headers)?,
        false => Vec::new(),
    };
    if !decoders.is_empty() {
        // They describe what came over the wire, not what the user gets.
        parts.headers.remove(CONTENT_ENCODING);
        parts.headers.remove(CONTENT_LENGTH);
    }
    let sink = outgoing.sink();
    let head = ResponseHead {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        url: outgoing.url,
        history,
        remote_addr: body.remote_addr(),
        content_length,
    };
    let arrival = Arrival {
        body: if has_body {
            body
        } else {
            ResponseBody::empty()
        },
        decoders: &decoders,
        max_body,
        deadline,
    };
    let received = match sink {
        Some(BodyDestination::File(_)) | None if !has_body => Received::default(),
        sink => sink::receive(arrival, &head, sink)?,
    };
    Ok(Response {
        head,
        body: received.content,
        saved_to: match sink {
            Some(BodyDestination::File(path)) if received.is_saved => Some(Arc::clone(path)),
            _ => None,
        },
    })
}

/// Refuses transfer codings that no transport undoes (RFC 9112, section 7): the body would be handed on with its framing.
fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if codings.all(|coding| {
        coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked")
    }) {
        return Ok(());
    }
    Err(Error::protocol(
        "it has a Transfer-Encoding other than `chunked`",
    ))
}

/// Answers that end with their head, whatever their headers announce (RFC 9112, section 6.3).
fn lacks_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What the server announced, and is bound by: a `Transfer-Encoding` overrides it (RFC 9112, section 6.3).
fn content_length(fields: &HeaderMap) -> Option<u64> {
    if fields.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers::content_length(fields.get(CONTENT_LENGTH)?)
}
