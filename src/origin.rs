//! Origins: scheme, host and port, by which connections, limits and credentials are told apart.

use std::fmt;

use url::Url;

use crate::redact::SafeUrl;

/// An http or https origin (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    is_https: bool,
    host: Box<str>,
    port: u16,
}

impl Origin {
    /// `None` if the scheme is neither http nor https.
    pub(crate) fn from_url(url: &Url) -> Option<Self> {
        Some(Self {
            is_https: match url.scheme() {
                "http" => false,
                "https" => true,
                _ => return None,
            },
            host: url.host_str()?.into(),
            port: url.port_or_known_default()?,
        })
    }

    /// Parses an origin as users write it: a URL with nothing but scheme, host and port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = |reason: &dyn fmt::Display| {
            Err(format!(
                "`{}` is not an origin: {reason}; it should look like https://example.com or http://example.com:8080",
                SafeUrl(text),
            ))
        };
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return invalid(&error),
        };
        let Some(origin) = Self::from_url(&url) else {
            return invalid(&"only http and https are supported");
        };
        let has_more = !matches!(url.path(), "" | "/")
            || url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some();
        if has_more {
            return invalid(&"it has more than scheme, host and port");
        }
        Ok(origin)
    }

    /// Whether a URL has this origin.
    pub(crate) fn matches(&self, url: &Url) -> bool {
        url.scheme() == self.scheme()
            && url.host_str() == Some(&self.host)
            && url.port_or_known_default() == Some(self.port)
    }

    pub(crate) fn has_host(&self, host: &str) -> bool {
        *self.host == *host
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        write!(f, "{}://{host}:{port}", self.scheme())
    }
}

/// Whether two URLs have the same origin.
pub(crate) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_can_be_written_in_several_ways() {
        let url = Url::parse("https://example.com/path?query").expect("it is a URL");
        let of_url = Origin::from_url(&url).expect("it has an origin");
        for text in [
            "https://example.com",
            "https://example.com/",
            "https://EXAMPLE.com:443",
            "HTTPS://example.com",
        ] {
            assert_eq!(Origin::parse(text), Ok(of_url.clone()), "{text}");
        }
        for text in [
            "http://example.com",
            "https://example.com:444",
            "https://www.example.com",
        ] {
            let other = Origin::parse(text).expect("it is an origin");
            assert_ne!(other, of_url, "{text}");
            assert!(!other.matches(&url), "{text}");
        }
        assert!(of_url.matches(&url));
    }

    #[test]
    fn the_error_says_why_an_origin_is_invalid() {
        for (text, reason) in [
            ("example.com", "relative URL without a base"),
            ("", "relative URL without a base"),
            ("https://", "empty host"),
            ("ftp://example.com", "only http and https"),
            ("localhost:8080", "only http and https"),
            ("https://example.com/v1", "more than scheme, host and port"),
            (
                "https://example.com/?a=1",
                "more than scheme, host and port",
            ),
            (
                "https://me:s3cr3t@example.com",
                "more than scheme, host and port",
            ),
        ] {
            let message = Origin::parse(text).expect_err(text);
            assert!(message.contains(reason), "{message}");
            assert!(!message.contains("s3cr3t"), "{message}");
        }
    }
}
