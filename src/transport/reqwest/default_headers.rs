//! Default headers of the client itself: it sends them with every request, also after a redirect to another origin.

use std::fmt::Write;

use ::reqwest::blocking::ClientBuilder;
use http::HeaderName;

use crate::error::BoxError;
use crate::headers;

/// Refuses a client whose default headers hold credentials, since nothing would keep them from other origins.
pub(super) fn check(client: &ClientBuilder) -> Result<(), BoxError> {
    let mut settings = String::new();
    write!(settings, "{client:?}")?;
    match credential_in(&settings) {
        Some(name) => Err(format!(
            "the client's `default_headers` hold `{name}`, which the client would also send to other origins after a redirect; \
             set it with `Session::header` or `Session::auth` instead"
        )
        .into()),
        None => Ok(()),
    }
}

/// The name of the first default header that holds a credential, by its name or because it is marked sensitive.
///
/// A builder gives its headers away in its `Debug` output alone: `{"name": "value", "other": Sensitive}`. There is a backslash
/// before each quote within a value, so none of these can be taken for the end of it and the beginning of the next name.
fn credential_in(settings: &str) -> Option<String> {
    let (_, mut rest) = settings.split_once("default_headers: {\"")?;
    loop {
        let (name, value) = rest.split_once("\": ")?;
        let parsed: HeaderName = name.parse().ok()?;
        if value.starts_with("Sensitive") || headers::carries_credentials(&parsed) {
            return Some(name.to_owned());
        }
        (_, rest) = value.split_once("\", \"")?;
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn refused(headers: &[(&'static str, &str)]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            map.append(*name, value);
        }
        let error = check(&ClientBuilder::new().default_headers(map)).err()?;
        Some(error.to_string())
    }

    #[test]
    fn credentials_are_found_among_other_headers() {
        let others = [
            ("accept", "a \"quoted\\\" text, \"x-api-key\": \"no\""),
            ("accept-language", "caf\u{e9}"),
            ("x-version", "1"),
            ("x-version", "2"),
        ];
        assert_eq!(refused(&others), None);
        assert_eq!(refused(&[]), None);
        for name in ["authorization", "x-api-key", "cookie"] {
            let message = refused(&[&others[..], &[(name, "s3cr3t")]].concat()).unwrap();
            assert!(
                message.contains(name) && !message.contains("s3cr3t"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_value_that_is_marked_sensitive_is_a_credential() {
        let mut value = HeaderValue::from_static("s3cr3t");
        value.set_sensitive(true);
        let map = HeaderMap::from_iter([(HeaderName::from_static("x-plain"), value)]);
        let error = check(&ClientBuilder::new().default_headers(map)).unwrap_err();
        assert!(error.to_string().contains("x-plain"), "{error}");
    }
}
