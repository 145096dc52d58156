//! What the JSON forms of requests and outcomes have in common: bytes, values of headers, times.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// The version of the JSON forms. A form of another version is refused.
pub(crate) const VERSION: u32 = 1;

/// Bytes, as text if they are UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Data {
    Utf8(String),
    Base64(String),
}

impl Data {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text.to_owned()),
            Err(_) => Self::Base64(BASE64_STANDARD.encode(bytes)),
        }
    }

    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Utf8(text) => Ok(text.into_bytes()),
            Self::Base64(text) => BASE64_STANDARD
                .decode(text)
                .map_err(|error| format!("invalid base64: {error}")),
        }
    }
}

/// The value of a header: a string, or an object if it is not UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldValue {
    Text(String),
    Data(Data),
}

impl FieldValue {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match Data::of(bytes) {
            Data::Utf8(text) => Self::Text(text),
            data => Self::Data(data),
        }
    }

    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Self::Text(text) => Ok(text.into_bytes()),
            Self::Data(data) => data.into_bytes(),
        }
    }
}

/// A time in milliseconds, to the nanosecond: a number of this size has digits enough for over a hundred days.
pub(crate) fn milliseconds(time: Duration) -> Number {
    let nanoseconds = time.as_nanos();
    let whole = u64::try_from(nanoseconds / 1_000_000);
    match whole.ok().filter(|_| nanoseconds % 1_000_000 == 0) {
        Some(whole) => whole.into(),
        None => Number::from_f64(nanoseconds as f64 / 1e6).unwrap_or_else(|| u64::MAX.into()),
    }
}
