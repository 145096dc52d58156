//! One attempt: session and spec become exchanges, redirects are followed, the body is decoded and read.

mod compose;
mod deadline;
mod decode;
mod incoming;
mod receive;
mod redirect;
mod refusal;
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
    /// The outer option: was it set? The inner one: is there a limit?
    pub(crate) timeout: Option<Option<Duration>>,
    pub(crate) stall_timeout: Option<Duration>,
    pub(crate) max_redirects: u32,
    /// The outer option: was it set? If not, there is a limit for bodies in memory only. The inner one: is there a limit?
    pub(crate) max_body: Option<Option<u64>>,
}

const DEFAULT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

impl Default for AttemptLimits {
    fn default() -> Self {
        Self {
            timeout: None,
            stall_timeout: Some(Duration::from_secs(30)),
            max_redirects: 10,
            max_body: None,
        }
    }
}

impl AttemptLimits {
    fn of(spec: &RequestSpec, defaults: &Self) -> Self {
        Self {
            timeout: spec.time_limit().or(defaults.timeout),
            stall_timeout: defaults.stall_timeout,
            max_redirects: spec.redirect_limit().unwrap_or(defaults.max_redirects),
            max_body: spec.body_limit().or(defaults.max_body),
        }
    }

    /// The limit of the whole attempt; otherwise that of each wait in it. How long a large download takes in all, nobody
    /// can say beforehand.
    fn time_limits(&self, spec: &RequestSpec) -> (Option<Duration>, Option<Duration>) {
        match self.timeout {
            Some(timeout) => (timeout, None),
            None if spec.body_destination().is_some() => (None, self.stall_timeout),
            None => (DEFAULT_TIMEOUT, None),
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
    let (timeout, stall_timeout) = limits.time_limits(spec);
    let deadline = Deadline::after(timeout, stall_timeout);
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
    let mut outgoing = Outgoing::new(spec, &mut session.url_parser)?;
    loop {
        deadline.check(!history.is_empty())?;
        let answer = send(session, &outgoing, deadline)
            .map_err(|error| refusal::blame_redirect(error, history))?;
        match redirect::next(&outgoing, &answer, limits.max_redirects, history)? {
            Some(next) => {
                history.push(RedirectHop::new(outgoing.url, answer.status()));
                outgoing = next;
                incoming::drain(Incoming::new(answer.into_body(), deadline));
            }
            None => {
                let history = history.clone();
                let max_body = limits.max_body.map(|max| max.unwrap_or(u64::MAX));
                return receive::receive(answer, outgoing, history, max_body, deadline);
            }
        }
    }
}

fn send(
    session: &mut OpenSession,
    outgoing: &Outgoing<'_>,
    deadline: &Deadline,
) -> Result<http::Response<ResponseBody>, Error> {
    if let Some(filter) = &session.filter {
        filter.check(&outgoing.url).map_err(refusal::not_public)?;
    }
    let exchange = Exchange {
        method: &outgoing.method,
        url: &outgoing.url,
        headers: outgoing.headers(&session.additions)?,
        body: outgoing.body,
        deadline: deadline.at(),
        stall_timeout: deadline.stall_timeout(),
    };
    session
        .transport
        .exchange(exchange)
        .map_err(|error| blame_proxy(error, session.proxy.as_ref()))
        .map_err(refusal::of_look_up)
}

/// Through a proxy, it is the proxy that was to be connected to. Only with SOCKS the name may be that of the server; then
/// transports name the proxy themselves where it is the culprit.
fn blame_proxy(error: Error, proxy: Option<&Url>) -> Error {
    if proxy.is_none_or(|proxy| proxy.scheme().starts_with("socks")) {
        return error;
    }
    error.at_proxy()
}
