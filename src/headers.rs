//! Header fields from users, checked and marked as sensitive if they carry credentials, and the credentials [`Auth`].

use std::fmt::{self, Display};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_ENCODING, MaxSizeReached};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::BoxError;
use crate::redact::Truncated;

/// Checks one header field. The error names the field, without its value.
pub(crate) fn checked<V>(
    name: &str,
    value: V,
) -> Result<(HeaderName, HeaderValue), (String, BoxError)>
where
    V: TryInto<HeaderValue>,
    V::Error: Into<http::Error>,
{
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| {
        let message = format!(
            "`{}` is not a valid header name; it may contain letters, digits and hyphens",
            Truncated(name)
        );
        (message, error.into())
    })?;
    let value = value.try_into().map_err(|error| {
        let message = format!(
            "invalid value of the header `{}`; it must not contain line breaks or other control characters",
            Truncated(&name)
        );
        (message, error.into().into())
    })?;
    Ok((name.clone(), marked(&name, value)))
}

/// The `Content-Length`, if all values agree: each may be a list (RFC 9112, section 6.3).
pub(crate) fn content_length(fields: &HeaderMap) -> Option<u64> {
    let mut agreed = None;
    for value in fields.get_all(http::header::CONTENT_LENGTH) {
        for text in value.to_str().ok()?.split(',') {
            let length = parse_length(text)?;
            if agreed.is_some_and(|agreed| agreed != length) {
                return None;
            }
            agreed = Some(length);
        }
    }
    agreed
}

/// Parses a length: digits only (RFC 9110, section 8.6), while Rust accepts a sign.
pub(crate) fn parse_length(text: &str) -> Option<u64> {
    let text = text.trim();
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether the content has an encoding.
pub(crate) fn has_encoding(fields: &HeaderMap) -> bool {
    let mut encodings = fields.get_all(CONTENT_ENCODING).iter();
    encodings.any(|value| {
        !value
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"identity")
    })
}

/// The message when a header map is full.
pub(crate) const TOO_MANY: &str = "too many headers; a request can have about 24,000";

/// Sets all fields of `other`. They replace the fields of `own` with the same names.
pub(crate) fn replace(own: &mut HeaderMap, other: HeaderMap) -> Result<(), MaxSizeReached> {
    let mut current = None;
    for (name, value) in other {
        // The iterator yields a name once, with its first value; the further values come without it.
        match (name, &current) {
            (Some(name), _) => {
                own.try_insert(&name, marked(&name, value))?;
                current = Some(name);
            }
            (None, Some(name)) => {
                own.try_append(name, marked(name, value))?;
            }
            (None, None) => {}
        }
    }
    Ok(())
}

/// Adds the fields of `defaults` whose names are not in `own`.
pub(crate) fn fill_in(own: &mut HeaderMap, defaults: &HeaderMap) -> Result<(), MaxSizeReached> {
    for name in defaults.keys() {
        if !own.contains_key(name) {
            for value in defaults.get_all(name) {
                own.try_append(name, value.clone())?;
            }
        }
    }
    Ok(())
}

/// Removes all fields that must not be sent to another origin: those marked as sensitive, and those with the name of a
/// credential, in case a transport has not marked them.
pub(crate) fn remove_sensitive(headers: &mut HeaderMap) {
    let sensitive: Vec<HeaderName> = headers
        .iter()
        .filter(|(name, value)| is_sensitive(name, value))
        .map(|(name, _)| name.clone())
        .collect();
    for name in sensitive {
        headers.remove(name);
    }
}

/// Whether a field holds a credential: because its value is marked as sensitive, or by its name.
pub(crate) fn is_sensitive(name: &HeaderName, value: &HeaderValue) -> bool {
    value.is_sensitive() || carries_credentials(name)
}

fn marked(name: &HeaderName, mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(is_sensitive(name, &value));
    value
}

/// Whether a header with this name carries a credential, such as `X-Api-Key` or `X-Auth-Token`.
pub(crate) fn carries_credentials(name: &HeaderName) -> bool {
    const SIGNS: [&str; 13] = [
        "authorization",
        "authenticat",
        "cookie",
        "token",
        "secret",
        "password",
        "passphrase",
        "passwd",
        "credential",
        "session",
        "signature",
        "bearer",
        "apikey",
    ];
    const WORDS: [&str; 9] = [
        "jwt", "pwd", "pass", "passcode", "pin", "otp", "sig", "hmac", "creds",
    ];
    // Names with a key that is not a credential.
    const HARMLESS_KEYS: [&str; 3] = ["idempotencykey", "surrogatekey", "cachekey"];

    let words = || name.as_str().split(|c: char| !c.is_ascii_alphanumeric());
    let letters: String = words().collect();
    let has_harmless_key = || HARMLESS_KEYS.iter().any(|name| letters.ends_with(name));
    // Also of a word that was put together, such as `X-AuthKey` or `X-ProxyAuth`.
    let ends_like_one =
        |word: &str| word.ends_with("auth") || (word.ends_with("key") && !has_harmless_key());
    words().any(|word| ends_like_one(word) || WORDS.contains(&word))
        || SIGNS.iter().any(|sign| letters.contains(sign))
}

/// Credentials for a [`Session`](crate::Session), sent with each request that has none of its own.
///
/// A redirect to another origin does not carry them. `Debug` hides them.
///
/// ```
/// use threaded::{Auth, Session};
///
/// let session = Session::default().auth(Auth::bearer("s3cr3t"));
/// assert!(!format!("{session:?}").contains("s3cr3t"));
/// ```
#[derive(Clone)]
pub struct Auth(Result<HeaderValue, &'static str>);

impl Auth {
    /// Creates `Authorization: Basic` credentials from a user name and an optional password (RFC 7617).
    ///
    /// A user name that contains a colon is invalid, and an error when the session is built.
    pub fn basic<P: Display>(user: impl Display, password: Option<P>) -> Self {
        Self(basic(user, password))
    }

    /// Creates `Authorization: Bearer` credentials from a token (RFC 6750).
    ///
    /// A token that contains a line break is invalid, and an error when the session is built.
    pub fn bearer(token: impl Display) -> Self {
        Self(bearer(token))
    }

    pub(crate) fn from_header_value(value: HeaderValue) -> Self {
        Self(Ok(value))
    }

    pub(crate) fn into_header_value(self) -> Result<HeaderValue, &'static str> {
        self.0
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Auth(***)")
    }
}

pub(crate) fn basic<P: Display>(
    user: impl Display,
    password: Option<P>,
) -> Result<HeaderValue, &'static str> {
    let user = user.to_string();
    if user.contains(':') {
        return Err("the user name of basic authentication must not contain a colon");
    }
    let password = password
        .map(|password| password.to_string())
        .unwrap_or_default();
    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
    sensitive(
        format!("Basic {encoded}"),
        "the credentials are not a valid header value",
    )
}

pub(crate) fn bearer(token: impl Display) -> Result<HeaderValue, &'static str> {
    sensitive(
        format!("Bearer {token}"),
        "the bearer token must not contain line breaks or other control characters",
    )
}

fn sensitive(value: String, message: &'static str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::try_from(value).map_err(|_| message)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_with_credentials_are_recognized_by_name() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "x_api_key",
            "x-auth-token",
            "x-auth-key",
            "x-session",
            "x-signature",
            "www-authenticate",
            "x-functions-key",
            "ocp-apim-subscription-key",
            "dd-application-key",
            "x-jwt",
            "x-bearer",
            "x-passwd",
            "x-private-key",
            "x-auth-idempotency-key",
            "x-authkey",
            "x-appkey",
            "x-servicekey",
            "x-proxyauth",
            "x-pwd",
            "x-pass",
            "x-pin",
            "x-hub-sig",
        ] {
            assert!(
                carries_credentials(&HeaderName::from_static(name)),
                "{name}"
            );
        }
        for name in [
            "accept",
            "idempotency-key",
            "user-agent",
            "x-request-id",
            "x-author",
            "content-type",
            "x-keyboard",
            "surrogate-key",
            "x-cache-key",
            "x-passenger",
            "x-pinned",
            "x-design",
        ] {
            assert!(
                !carries_credentials(&HeaderName::from_static(name)),
                "{name}"
            );
        }
    }
}
