//! Taking in a response: head, then body.

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::compose::Outgoing;
use super::deadline::Deadline;
use super::{decode, sink};
use crate::error::Error;
use crate::response::{Response, ResponseHead};
use crate::transport::ResponseBody;

/// Reads the whole response. Its history is not this one's business.
pub(super) fn receive(
    answer: http::Response<ResponseBody>,
    outgoing: Outgoing<'_>,
    max_body: u64,
    deadline: &Deadline,
) -> Result<Response, Error> {
    let (mut parts, body) = answer.into_parts();
    check_framing(&parts.headers)?;
    let content_length = content_length(&parts.headers);
    let remote_addr = body.remote_addr();
    let body = if has_no_body(&outgoing.method, parts.status) {
        Bytes::new()
    } else {
        let decoders = match outgoing.wants_decoding() {
            true => decode::decoders(&parts.headers)?,
            false => Vec::new(),
        };
        if decoders.is_empty() {
            sink::plain_into_memory(body, content_length, max_body, deadline)?
        } else {
            // They describe what came over the wire, not what the user gets.
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
            sink::decoded_into_memory(body, &decoders, max_body, deadline)?
        }
    };
    let head = ResponseHead {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        url: outgoing.url,
        history: Vec::new(),
        remote_addr,
        content_length,
    };
    Ok(Response { head, body })
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
    Err(Error::Protocol {
        source: "it has a Transfer-Encoding other than `chunked`".into(),
    })
}

/// Answers that end with their head, whatever their headers announce (RFC 9112, section 6.3).
fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// What the server announced, and is bound by: a `Transfer-Encoding` overrides it (RFC 9112, section 6.3).
fn content_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return None;
    }
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}
