//! What came back: [`Response`], and [`ThreadResponse`], which is a response with the job that it answers.

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use url::Url;

use crate::error::Error;
use crate::exception::ThreadException;
use crate::head::ResponseHead;
use crate::history::RedirectHop;
use crate::origin;
use crate::outcome::Record;
use crate::redact::Field;
use crate::request::RequestSpec;
use crate::retry;

/// An HTTP response with its whole body in memory: plain data, with no connection behind it.
///
/// A response is what the server said, whatever its status. Reading does not consume it; cloning copies no body.
#[derive(Clone)]
pub struct Response {
    pub(crate) head: ResponseHead,
    pub(crate) body: Bytes,
    pub(crate) saved_to: Option<Arc<Path>>,
}

impl Response {
    /// All but the body.
    pub fn head(&self) -> &ResponseHead {
        &self.head
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The version of HTTP that the server answered with.
    pub fn version(&self) -> Version {
        self.head.version
    }

    /// The headers. Of a body that was decoded, `Content-Encoding` and `Content-Length` are not among them.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The URL that gave this response, after all redirects, without user info.
    pub fn url(&self) -> &Url {
        &self.head.url
    }

    /// The redirects that were followed, first one first.
    pub fn history(&self) -> &[RedirectHop] {
        &self.head.history
    }

    /// The address of the server, or of the proxy, if the transport knows it.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.head.remote_addr
    }

    /// The length in bytes that the server announced, before decoding, if it did: for a HEAD, that of the body that a GET
    /// would bring.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length
    }

    /// The file that [`RequestSpec::save_to`] has written the body to, if it has.
    pub fn saved_to(&self) -> Option<&Path> {
        self.saved_to.as_deref()
    }

    /// The body, decoded. The answer to a HEAD, a 204 or a 304 has an empty one, and so has one whose body went to a file
    /// or a handler.
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body as text. What is no text in its encoding is replaced by `\u{FFFD}`.
    ///
    /// The encoding is told by a byte order mark, otherwise by the `charset` of the `Content-Type`, otherwise it is UTF-8.
    /// Without the feature `charset` it is UTF-8.
    pub fn text(&self) -> Cow<'_, str> {
        #[cfg(feature = "charset")]
        {
            let (text, _, _) = self.encoding().decode(&self.body);
            text
        }
        #[cfg(not(feature = "charset"))]
        {
            String::from_utf8_lossy(&self.body)
        }
    }

    #[cfg(feature = "charset")]
    fn encoding(&self) -> &'static encoding_rs::Encoding {
        self.head
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok()?.parse::<mime::Mime>().ok())
            .and_then(|mime| {
                encoding_rs::Encoding::for_label(mime.get_param(mime::CHARSET)?.as_str().as_bytes())
            })
            .unwrap_or(encoding_rs::UTF_8)
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if it is none, or not that of a `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::Decode {
            source: error.into(),
        })
    }

    /// The response as a type of the `http` crate; URL, history and address are lost.
    pub fn into_http(self) -> http::Response<Bytes> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.head.status;
        *response.version_mut() = self.head.version;
        *response.headers_mut() = self.head.headers;
        response
    }

    /// How long a server that is overloaded asks to be left alone (RFC 9110, section 15.6.4, and RFC 6585, section 4), if the
    /// answer is that of the origin that was asked.
    pub(crate) fn asks_to_wait(&self, now: SystemTime) -> Option<Duration> {
        let is_overloaded = matches!(
            self.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if !is_overloaded || !self.is_of_one_origin() {
            return None;
        }
        retry::retry_after(self.headers(), now)
    }

    /// Whether no redirect has led to another origin.
    pub(crate) fn is_of_one_origin(&self) -> bool {
        let mut hops = self.history().iter();
        hops.all(|hop| origin::is_same(hop.url(), self.url()))
    }

    fn failed_status(&self) -> Option<Error> {
        let status = self.status();
        (status.is_client_error() || status.is_server_error()).then_some(Error::Status { status })
    }
}

impl From<Response> for http::Response<Bytes> {
    fn from(response: Response) -> Self {
        response.into_http()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            head,
            body,
            saved_to,
        } = self;
        let mut shown = f.debug_struct("Response");
        shown
            .field("head", head)
            .field("body", &format_args!("{} bytes", body.len()));
        if let Some(path) = saved_to {
            shown.field("saved_to", &Field(path.display()));
        }
        shown.finish()
    }
}

/// The outcome of a job that was answered: a [`Response`], which it can be used as, and the request that led to it.
///
/// ```
/// # use threaded::{Exchange, Pool, ResponseBody, Session};
/// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::from("[1, 2]")));
/// # let builder = Pool::builder().num_threads(1).session(move || Session::new(answer));
/// # let (mut responses, _) = builder.map(["http://test/"])?;
/// # let thread_response = responses.next().unwrap();
/// assert_eq!(thread_response.request().url(), "http://test/");
/// assert_eq!(thread_response.status(), 200);
/// assert_eq!(thread_response.text(), "[1, 2]");
/// # Ok::<(), threaded::PoolError>(())
/// ```
#[derive(Clone)]
pub struct ThreadResponse(Box<(Record, Response)>);

impl ThreadResponse {
    pub(crate) fn new(record: Record, response: Response) -> Self {
        Self(Box::new((record, response)))
    }

    pub(crate) fn finished_at(&self) -> Instant {
        self.0.0.finished_at
    }

    pub(crate) fn into_record(self) -> (Record, Response) {
        *self.0
    }

    /// The request, as it was handed over.
    pub fn request(&self) -> &RequestSpec {
        &self.0.0.request
    }

    /// The response.
    pub fn response(&self) -> &Response {
        &self.0.1
    }

    /// The job's number in its pool: 0, 1, 2 … in the order in which the jobs were accepted.
    pub fn index(&self) -> usize {
        self.0.0.index
    }

    /// How many attempts were made, this one included.
    pub fn attempts(&self) -> u32 {
        self.0.0.attempts
    }

    /// The time from when a worker first took the job to its outcome. Waiting in the queue before does not count.
    pub fn elapsed(&self) -> Duration {
        self.0.0.elapsed
    }

    /// The time from when a worker took the job for the last attempt to its outcome.
    pub fn last_attempt_elapsed(&self) -> Duration {
        self.0.0.last_attempt_elapsed
    }

    /// Request and response.
    pub fn into_parts(self) -> (RequestSpec, Response) {
        let (record, response) = *self.0;
        (record.request, response)
    }

    /// Takes a 4xx or 5xx for a failure.
    ///
    /// # Errors
    ///
    /// An exception with [`Error::Status`] that has this response.
    pub fn error_for_status(self) -> Result<Self, ThreadException> {
        match self.response().failed_status() {
            None => Ok(self),
            Some(error) => {
                let (record, response) = *self.0;
                Err(ThreadException::new(record, error, Some(response)))
            }
        }
    }
}

impl Deref for ThreadResponse {
    type Target = Response;

    fn deref(&self) -> &Response {
        self.response()
    }
}

impl fmt::Debug for ThreadResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(parts) = self;
        let (record, response) = &**parts;
        record
            .show(&mut f.debug_struct("ThreadResponse"))
            .field("response", response)
            .finish()
    }
}
