//! One attempt: session and spec become exchanges, redirects are followed, the body is decoded and read.

mod compose;
mod deadline;
mod decode;
mod incoming;
mod receive;
mod redirect;
mod sink;

use std::time::Duration;

use url::Url;

use self::compose::Outgoing;
use self::deadline::Deadline;
use self::incoming::Incoming;
use crate::error::Error;
use crate::history::RedirectHop;
use crate::request::RequestSpec;
use crate::response::Response;
use crate::session::OpenSession;
use crate::transport::{Exchange, ResponseBody};

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

impl AttemptLimits {
    fn of(spec: &RequestSpec, defaults: &Self) -> Self {
        Self {
            timeout: spec.time_limit().unwrap_or(defaults.timeout),
            redirects: spec.redirect_limit().unwrap_or(defaults.redirects),
            max_body: spec.body_limit().unwrap_or(defaults.max_body),
        }
    }
}

/// Performs one attempt at a request. Its time runs from now.
pub(crate) fn fetch(
    session: &mut OpenSession,
    spec: &RequestSpec,
    defaults: &AttemptLimits,
) -> Result<Response, Error> {
    let limits = AttemptLimits::of(spec, defaults);
    let deadline = Deadline::after(limits.timeout);
    let mut history = Vec::new();
    follow(session, spec, &limits, &deadline, &mut history).map_err(|error| {
        let error = error.with_time(|| deadline.time_taken());
        if history.is_empty() {
            error
        } else {
            error.after_earlier_exchange()
        }
    })
}

/// Sends the request, then what its answers ask for, until one of them is the last.
fn follow(
    session: &mut OpenSession,
    spec: &RequestSpec,
    limits: &AttemptLimits,
    deadline: &Deadline,
    history: &mut Vec<RedirectHop>,
) -> Result<Response, Error> {
    let mut outgoing = Outgoing::new(spec)?;
    loop {
        deadline.check(!history.is_empty())?;
        let answer = send(session, &outgoing, deadline)?;
        match redirect::next(&outgoing, &answer, limits.redirects, history)? {
            Some(next) => {
                history.push(RedirectHop::new(outgoing.url, answer.status()));
                outgoing = next;
                incoming::drain(Incoming::new(answer.into_body(), deadline));
            }
            None => {
                let mut response = receive::receive(answer, outgoing, limits.max_body, deadline)?;
                response.head.history = std::mem::take(history);
                return Ok(response);
            }
        }
    }
}

fn send(
    session: &mut OpenSession,
    outgoing: &Outgoing<'_>,
    deadline: &Deadline,
) -> Result<http::Response<ResponseBody>, Error> {
    let exchange = Exchange {
        method: &outgoing.method,
        url: &outgoing.url,
        headers: outgoing.headers(&session.headers)?,
        body: outgoing.body,
        deadline: deadline.at(),
    };
    session
        .transport
        .exchange(exchange)
        .map_err(|error| blame_proxy(error, session.proxy.as_ref()))
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
