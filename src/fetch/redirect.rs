//! Whether an answer leads on, and where to (RFC 9110, section 15.4).

use http::header::LOCATION;
use http::{Method, StatusCode};
use url::Url;

use super::compose::Outgoing;
use crate::error::Error;
use crate::history::RedirectHop;
use crate::redact::{SafeUrl, Truncated};

/// The exchange that an answer asks for, if it does. A limit of 0 lets every answer stand as it is.
pub(super) fn next<'a, B>(
    sent: &Outgoing<'a>,
    answer: &http::Response<B>,
    limit: u32,
    history: &[RedirectHop],
) -> Result<Option<Outgoing<'a>>, Error> {
    let status = answer.status();
    if limit == 0 || !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(LOCATION) else {
        return Ok(None);
    };
    let refused = |message: String| {
        let mut hops = history.to_vec();
        hops.push(RedirectHop::new(sent.url.clone(), status));
        Error::redirect(message, hops)
    };
    if history.len() >= limit as usize {
        return Err(refused(format!("it would be more than {limit}")));
    }
    let url = destination(&sent.url, location.as_bytes()).map_err(refused)?;
    let (method, keeps_body) = next_method(&sent.method, status);
    Ok(Some(sent.redirected(method, url, keeps_body)))
}

fn destination(from: &Url, location: &[u8]) -> Result<Url, String> {
    let Ok(location) = std::str::from_utf8(location) else {
        return Err("its location is not UTF-8".to_owned());
    };
    let mut url = from
        .join(location)
        .map_err(|error| format!("its location `{}` is not a URL: {error}", SafeUrl(location)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "its location has the scheme `{}`, only http and https are followed",
            Truncated(url.scheme()),
        ));
    }
    if url.fragment().is_none() {
        // RFC 9110, section 10.2.2: the fragment of the request holds on.
        url.set_fragment(from.fragment());
    }
    Ok(url)
}

/// 303 asks for a GET elsewhere; 301 and 302 turn a POST into one, as all clients do (RFC 9110, sections 15.4.2 and
/// 15.4.3); all else is repeated as it was.
fn next_method(method: &Method, status: StatusCode) -> (Method, bool) {
    match status.as_u16() {
        303 if method == Method::HEAD => (Method::HEAD, false),
        303 => (Method::GET, false),
        301 | 302 if method == Method::POST => (Method::GET, false),
        _ => (method.clone(), true),
    }
}
