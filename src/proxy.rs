//! Proxy URLs: those of requests, and those of the environment.

use url::Url;

use crate::error::Error;
use crate::redact::{SafeUrl, Truncated};

/// The proxy schemes that the transports support, given the enabled features.
const PROXY_SCHEMES: &[&str] = &[
    "http",
    "https",
    #[cfg(feature = "socks")]
    "socks4",
    #[cfg(feature = "socks")]
    "socks4a",
    #[cfg(feature = "socks")]
    "socks5",
    #[cfg(feature = "socks")]
    "socks5h",
];

/// Parses the URL of a proxy; `host:port` alone means an HTTP proxy, as in all common tools.
pub(crate) fn parse(text: &str) -> Result<Url, Error> {
    let with_scheme = if text.contains("://") {
        Url::parse(text)
    } else {
        Url::parse(&format!("http://{text}"))
    };
    let url = with_scheme.map_err(|error| {
        let message = format!("the proxy `{}` is not a valid URL: {error}", SafeUrl(text));
        Error::invalid_request(message).with_source(error)
    })?;
    if !PROXY_SCHEMES.contains(&url.scheme()) || !url.has_host() {
        return Err(Error::invalid_request(format!(
            "cannot use `{}` as a proxy: its scheme `{}` is not one of {} (SOCKS needs the feature `socks`)",
            SafeUrl(text),
            Truncated(url.scheme()),
            PROXY_SCHEMES.join(", "),
        )));
    }
    Ok(url)
}

/// Checks the proxies of the environment: reqwest silently bypasses those that it cannot use.
#[cfg(feature = "system-proxy")]
pub(crate) fn check_environment() -> Result<(), String> {
    for scheme in ["http", "https", "all"] {
        let (lower, upper) = (
            format!("{scheme}_proxy"),
            format!("{scheme}_proxy").to_uppercase(),
        );
        for name in [upper, lower] {
            let Some(value) = std::env::var_os(&name).filter(|value| !value.is_empty()) else {
                continue;
            };
            parse(&value.to_string_lossy()).map_err(|error| {
                format!("invalid proxy in the environment variable {name}: {error}")
            })?;
        }
    }
    Ok(())
}

/// Whether a proxy of the environment may pass on requests to `http` URLs.
pub(crate) fn environment_may_forward() -> bool {
    let forwards = |name: &str| {
        let url = variable(name).and_then(|value| parse(&value).ok());
        url.is_some_and(|url| url.scheme().starts_with("http"))
    };
    cfg!(feature = "system-proxy") && (forwards("http_proxy") || forwards("all_proxy"))
}

/// Whether the environment excepts all hosts from its proxies.
pub(crate) fn environment_excepts_all() -> bool {
    let exceptions = variable("no_proxy").unwrap_or_default();
    exceptions
        .split(',')
        .any(|exception| exception.trim() == "*")
}

/// A variable of the environment, by its name in lower case; the one in upper case comes first. An empty one is none.
pub(crate) fn variable(name: &str) -> Option<String> {
    let non_empty = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // A CGI program gets the header `Proxy` of its client as `HTTP_PROXY` (CVE-2016-5385).
    let is_forged = name == "http_proxy" && std::env::var_os("REQUEST_METHOD").is_some();
    let upper = Some(name.to_ascii_uppercase()).filter(|_| !is_forged);
    upper
        .and_then(|upper| non_empty(&upper))
        .or_else(|| non_empty(name))
}
