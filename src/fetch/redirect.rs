//! The redirect rules: whether a response is followed, where to, and with which method (RFC 9110, section 15.4).

use http::header::LOCATION;
use http::{Method, StatusCode};
use url::Url;

use super::hop::Hop;
use crate::error::Error;
use crate::history::RedirectHop;
use crate::redact::{SafeUrl, Truncated};

/// The request that a response asks for, if it is a redirect. With a limit of 0, no redirect is followed.
pub(super) fn next<'a, B>(
    sent: &Hop<'a>,
    response: &http::Response<B>,
    limit: u32,
    history: &[RedirectHop],
) -> Result<Option<Hop<'a>>, Error> {
    let status = response.status();
    if limit == 0 || !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(LOCATION) else {
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
        // RFC 9110, section 10.2.2: the fragment of the request stays valid.
        url.set_fragment(from.fragment());
    }
    Ok(url)
}

/// The next method, and whether the body is sent again: 303 asks for a GET elsewhere; 301 and 302 turn a POST into one, as
/// in all clients (RFC 9110, sections 15.4.2 and 15.4.3); any other request is repeated as it was, so for 307 and 308.
fn next_method(method: &Method, status: StatusCode) -> (Method, bool) {
    match status.as_u16() {
        303 if method == Method::HEAD => (Method::HEAD, false),
        303 => (Method::GET, false),
        301 | 302 if method == Method::POST => (Method::GET, false),
        _ => (method.clone(), true),
    }
}
