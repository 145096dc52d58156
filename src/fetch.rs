//! One attempt: session and spec become exchanges, redirects are followed, the body is decoded and read.

mod compose;
mod deadline;
mod decode;
mod incoming;
mod redirect;
mod sink;

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use self::compose::Outgoing;
use self::deadline::Deadline;
use self::incoming::Incoming;
use self::redirect::Step;
use crate::error::Error;
use crate::history::RedirectHop;
use crate::request::RequestSpec;
use crate::response::{Response, ResponseHead};
use crate::session::OpenSession;
use crate::transport::{Exchange, RemoteAddr, ResponseBody};

/// What an attempt is bound by where the spec says nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptLimits {
    pub(crate) timeout: Option<Duration>,
    pub(crate) redirects: usize,
    pub(crate) max_body: u64,
}

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(30)),
            redirects: 10,
            max_body: 64 << 20,
        }
    }
}

/// Performs one attempt at a request.
pub(crate) fn fetch(
    session: &mut OpenSession,
    spec: &RequestSpec,
    defaults: &AttemptLimits,
) -> Result<Response, Error> {
    let deadline = Deadline::after(spec.time_limit().unwrap_or(defaults.timeout));
    let mut outgoing = Outgoing::new(spec)?;
    let mut history = Vec::new();
    let outcome = loop {
        match exchange(session, &outgoing, spec, defaults, &deadline, &mut history) {
            Ok(Progress::Redirected(next)) => outgoing = next,
            Ok(Progress::Answered(response)) => break Ok(response),
            Err(error) => break Err(error),
        }
    };
    outcome.map_err(|error| {
        let error = error.with_time_limit(deadline.limit());
        if history.is_empty() {
            error
        } else {
            error.after_earlier_exchange()
        }
    })
}

enum Progress<'a> {
    Answered(Response),
    Redirected(Outgoing<'a>),
}

fn exchange<'a>(
    session: &mut OpenSession,
    outgoing: &Outgoing<'a>,
    spec: &'a RequestSpec,
    defaults: &AttemptLimits,
    deadline: &Deadline,
    history: &mut Vec<RedirectHop>,
) -> Result<Progress<'a>, Error> {
    let answer = session.transport.exchange(Exchange {
        method: &outgoing.method,
        url: &outgoing.url,
        headers: outgoing.headers(&session.headers),
        body: outgoing.body,
        timeout: deadline.remaining()?,
    });
    let answer = answer.map_err(|error| blame_proxy(error, session.proxy.as_ref()))?;
    check_framing(answer.headers())?;

    let limit = spec.redirect_limit().unwrap_or(defaults.redirects);
    let (parts, body) = answer.into_parts();
    match redirect::step(outgoing, parts.status, &parts.headers, limit, history)? {
        Step::Follow(next) => {
            incoming::drain(Incoming::new(body, deadline));
            history.push(RedirectHop::new(outgoing.url.clone(), parts.status));
            Ok(Progress::Redirected(next))
        }
        Step::Stay => {
            let max_body = spec.body_limit().unwrap_or(defaults.max_body);
            let answer = http::Response::from_parts(parts, body);
            let mut response =
                receive(answer, outgoing, spec.wants_decoding(), max_body, deadline)?;
            response.head.history = std::mem::take(history).into();
            Ok(Progress::Answered(response))
        }
    }
}

/// Takes in a response: head, then body.
fn receive(
    answer: http::Response<ResponseBody>,
    outgoing: &Outgoing<'_>,
    decode: bool,
    max_body: u64,
    deadline: &Deadline,
) -> Result<Response, Error> {
    let (mut parts, body) = answer.into_parts();
    let content_length = content_length(&parts.headers);
    let body = if has_no_body(&outgoing.method, parts.status) {
        bytes::Bytes::new()
    } else {
        let encodings = if decode {
            decode::encodings(&parts.headers)?
        } else {
            Vec::new()
        };
        if encodings.is_empty() {
            sink::plain_into_memory(body, content_length, max_body, deadline)?
        } else {
            // They describe what came over the wire, not what the user gets.
            parts.headers.remove(CONTENT_ENCODING);
            parts.headers.remove(CONTENT_LENGTH);
            sink::decoded_into_memory(body, &encodings, max_body, deadline)?
        }
    };
    Ok(Response {
        head: ResponseHead {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            url: outgoing.url.clone(),
            history: [].into(),
            remote_addr: parts
                .extensions
                .get::<RemoteAddr>()
                .map(|address| address.0),
            content_length,
        },
        body,
    })
}

/// Through a proxy, it is the proxy that was to be connected to. Only with SOCKS the name may be that of the server; then
/// transports name the proxy themselves where it is the culprit.
fn blame_proxy(error: Error, proxy: Option<&Url>) -> Error {
    if proxy.is_none_or(|proxy| proxy.scheme().starts_with("socks")) {
        return error;
    }
    match error {
        Error::Connect { sent, source } | Error::Dns { sent, source } => {
            Error::Proxy { sent, source }
        }
        other => other,
    }
}

/// Refuses a body whose end the transport cannot know (RFC 9112, section 6.3): it would be handed on with its framing.
fn check_framing(headers: &HeaderMap) -> Result<(), Error> {
    let codings = headers.get_all(TRANSFER_ENCODING).iter().next_back();
    let is_chunked = codings.is_none_or(|codings| {
        let last = codings.as_bytes().rsplit(|byte| *byte == b',').next();
        last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"))
    });
    if is_chunked {
        return Ok(());
    }
    Err(Error::Protocol {
        source: "it has a Transfer-Encoding that does not end in `chunked`".into(),
    })
}

/// Answers that end with their head, whatever their headers announce (RFC 9112, section 6.3).
fn has_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
}
