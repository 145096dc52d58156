//! Credentials: [`Auth`] and the header values that they become.

use std::fmt::{self, Display};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

/// Credentials for a [`Session`](crate::Session), sent with each of its requests that brings none of its own.
///
/// They do not follow a redirect to another origin. `Debug` hides them.
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
    /// `Authorization: Basic` with a user name and, if there is one, a password (RFC 7617).
    ///
    /// A user name with a colon cannot be sent; the session that gets it fails to open.
    pub fn basic<P: Display>(user: impl Display, password: Option<P>) -> Self {
        Self(basic(user, password))
    }

    /// `Authorization: Bearer` with a token (RFC 6750).
    ///
    /// A token with a line break cannot be sent; the session that gets it fails to open.
    pub fn bearer(token: impl Display) -> Self {
        Self(bearer(token))
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
        return Err("the user name of basic authentication may not hold a colon");
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
        "the bearer token may not hold line breaks or other control characters",
    )
}

fn sensitive(value: String, complaint: &'static str) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::try_from(value).map_err(|_| complaint)?;
    value.set_sensitive(true);
    Ok(value)
}
