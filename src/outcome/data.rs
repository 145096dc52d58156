//! Outcomes as data: `Serialize` of [`ThreadResponse`] and [`ThreadException`].
//!
//! The JSON form is an object:
//!
//! ```json
//! {"v": 1, "index": 0, "attempts": 1, "elapsed_ms": 12.5, "last_attempt_ms": 12.5,
//!  "request": {"v": 1, "method": "GET", "url": "https://example.com/"},
//!  "response": {"status": 200, "version": "HTTP/1.1", "url": "https://example.com/",
//!               "headers": [["content-type", "text/plain"]], "body": {"utf8": "hello"}}}
//! ```

use http::HeaderMap;
use serde::ser::{Serialize, Serializer};
use serde_json::Number;

use super::{JobInfo, Outcome, ThreadException, ThreadResponse};
use crate::data::{Data, FieldValue, VERSION, milliseconds};
use crate::error::Error;
use crate::headers;
use crate::history::RedirectHop;
use crate::request::Described;
use crate::response::Response;

/// The request, the job's index, attempts and times, and the response: status, headers, final URL, history, and the body as
/// text, as base64, or as the path that it was saved to. Headers that hold credentials are left out, such as `Set-Cookie`, and
/// so is what cannot be serialized of the request.
impl Serialize for ThreadResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        OutcomeData::of_response(self, true).serialize(serializer)
    }
}

/// Like that of a [`ThreadResponse`], with the error in place of the response: its kind, its message, and whether the request
/// was sent. There is a response as well if the error is of kind [`Status`](crate::ErrorKind::Status).
impl Serialize for ThreadException {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        OutcomeData::of_exception(self, true).serialize(serializer)
    }
}

/// The JSON form of an outcome.
#[derive(serde::Serialize)]
pub(crate) struct OutcomeData<'a> {
    v: u32,
    index: usize,
    attempts: u32,
    elapsed_ms: Number,
    last_attempt_ms: Number,
    request: Described<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorData<'a>>,
}

#[derive(serde::Serialize)]
struct ResponseData<'a> {
    status: u16,
    version: String,
    url: &'a str,
    headers: Vec<(&'a str, FieldValue)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<HopData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    saved_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Data>,
}

#[derive(serde::Serialize)]
struct ErrorData<'a> {
    kind: String,
    message: String,
    was_sent: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hops: Vec<HopData<'a>>,
}

#[derive(serde::Serialize)]
struct HopData<'a> {
    status: u16,
    url: &'a str,
}

impl<'a> OutcomeData<'a> {
    pub(crate) fn of(outcome: &'a Outcome, with_body: bool) -> Self {
        match outcome {
            Ok(response) => Self::of_response(response, with_body),
            Err(exception) => Self::of_exception(exception, with_body),
        }
    }

    fn of_response(response: &'a ThreadResponse, with_body: bool) -> Self {
        let (info, response) = &*response.0;
        Self {
            response: Some(ResponseData::of(response, with_body)),
            ..Self::of_job(info)
        }
    }

    fn of_exception(exception: &'a ThreadException, with_body: bool) -> Self {
        let response = exception.response();
        Self {
            response: response.map(|response| ResponseData::of(response, with_body)),
            error: Some(ErrorData::of(exception.error())),
            ..Self::of_job(&exception.0.info)
        }
    }

    fn of_job(info: &'a JobInfo) -> Self {
        Self {
            v: VERSION,
            index: info.index,
            attempts: info.attempts,
            elapsed_ms: milliseconds(info.elapsed),
            last_attempt_ms: milliseconds(info.last_attempt_elapsed),
            request: Described(&info.request),
            response: None,
            error: None,
        }
    }
}

impl<'a> ResponseData<'a> {
    fn of(response: &'a Response, with_body: bool) -> Self {
        let saved_to = response.saved_to();
        Self {
            status: response.status().as_u16(),
            version: format!("{:?}", response.version()),
            url: response.url().as_str(),
            headers: public_fields(response.headers()),
            history: response.history().iter().map(HopData::of).collect(),
            remote_addr: response.remote_addr().map(|address| address.to_string()),
            content_length: response.content_length(),
            saved_to: saved_to.map(|path| path.display().to_string()),
            body: (with_body && saved_to.is_none()).then(|| Data::of(response.bytes())),
        }
    }
}

impl<'a> ErrorData<'a> {
    fn of(error: &'a Error) -> Self {
        Self {
            kind: format!("{:?}", error.kind()),
            message: error.to_string(),
            was_sent: error.was_sent(),
            hops: error.hops().iter().map(HopData::of).collect(),
        }
    }
}

impl<'a> HopData<'a> {
    fn of(hop: &'a RedirectHop) -> Self {
        Self {
            status: hop.status().as_u16(),
            url: hop.url().as_str(),
        }
    }
}

/// The fields of a map in their order, as pairs of name and value; without those that hold credentials.
fn public_fields(fields: &HeaderMap) -> Vec<(&str, FieldValue)> {
    let public = fields
        .iter()
        .filter(|(name, value)| !headers::is_sensitive(name, value));
    public
        .map(|(name, value)| (name.as_str(), FieldValue::of(value.as_bytes())))
        .collect()
}
