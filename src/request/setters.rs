//! The setters of [`RequestSpec`]: each takes the spec by value and never fails.

use std::fmt::Display;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::body::RequestBody;
use super::{BodyDestination, IntoUrl, RequestSpec};
use crate::error::BoxError;
use crate::headers;
use crate::response::ResponseHead;

impl RequestSpec {
    /// Replaces the URL, so that one spec can serve as a template for many. Defaults to the URL that the spec was
    /// created with.
    pub fn with_url(mut self, url: impl IntoUrl) -> Self {
        self.target = url.into_target();
        self
    }

    /// Adds a header. Headers with the same name are all sent, in the order in which they were added. They replace
    /// those of the session with that name.
    ///
    /// Headers whose names indicate credentials are marked sensitive: their values are not printed, and redirects to
    /// another origin do not carry them. These are `Authorization`, names with a word that ends in `auth` or `key`
    /// (except `Idempotency-Key`, `Surrogate-Key` and `Cache-Key`) or is `jwt`, `pass`, `pin`, `otp` or the like, and names
    /// that contain, among others, `bearer`, `cookie`, `credential`, `passwd`, `password`, `secret`, `session`, `signature`
    /// or `token`. For other names, pass a `HeaderValue` that is marked sensitive.
    ///
    /// `Content-Length` and `Transfer-Encoding` follow from the body: with either of them, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), except with the correct length of a body in
    /// memory. `Expect` is not sent, since no transport waits for the 100. Defaults to none.
    pub fn header<V>(mut self, name: impl AsRef<str>, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        match headers::checked(name.as_ref(), value) {
            Ok((name, value)) => match self.options_mut().headers.try_append(name, value) {
                Ok(_) => self,
                Err(error) => self.faulty(headers::TOO_MANY, Some(error.into())),
            },
            Err((message, source)) => self.faulty(message, Some(source)),
        }
    }

    /// Sets all headers of the map. They replace those set before with the same names.
    /// Defaults to none.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        match headers::replace(&mut self.options_mut().headers, headers) {
            Ok(()) => self,
            Err(error) => self.faulty(headers::TOO_MANY, Some(error.into())),
        }
    }

    /// Appends pairs to the query of the URL, percent-encoded. Takes a slice of pairs, a map, or a struct of plain
    /// fields, as `serde_urlencoded` does. By default, only the query of the URL is sent.
    pub fn query<T: Serialize + ?Sized>(mut self, query: &T) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(pairs) => {
                self.target.append_query(&pairs);
                self
            }
            Err(error) => self.faulty("the query cannot be encoded", Some(error.into())),
        }
    }

    /// Sets the body: bytes, a string, or a [`RequestBody`]. Sets no `Content-Type`. Defaults to no body.
    pub fn body(mut self, body: impl Into<RequestBody>) -> Self {
        self.options_mut().body = Some(body.into());
        self
    }

    /// Sends the content of a file, as it is at the time of each attempt. Sets no `Content-Type`. Defaults to no body.
    ///
    /// It must be a regular file, since a redirect or a retry reads it again. If it is not, or cannot be opened, the
    /// job fails with [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    pub fn body_from_file(self, path: impl Into<PathBuf>) -> Self {
        self.body(RequestBody::from_file(path))
    }

    /// Sends a form as a browser does, with `Content-Type: application/x-www-form-urlencoded` unless a header sets
    /// another one. Defaults to no body.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        match serde_urlencoded::to_string(form) {
            Ok(encoded) => self.body(RequestBody::typed(
                encoded.into(),
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )),
            Err(error) => self.faulty("the form cannot be encoded", Some(error.into())),
        }
    }

    /// Sends a value as JSON, with `Content-Type: application/json` unless a header sets another one.
    /// Defaults to no body.
    #[cfg(feature = "json")]
    pub fn json<T: Serialize + ?Sized>(self, json: &T) -> Self {
        match serde_json::to_vec(json) {
            Ok(encoded) => self.body(RequestBody::typed(
                encoded.into(),
                HeaderValue::from_static("application/json"),
            )),
            Err(error) => self.faulty("the body cannot be encoded as JSON", Some(error.into())),
        }
    }

    /// Sends a form with files, with `Content-Type: multipart/form-data` and its boundary. Defaults to no body.
    #[cfg(feature = "multipart")]
    pub fn multipart(self, form: super::multipart::Form) -> Self {
        match form.into_body() {
            Ok(body) => self.body(body),
            Err((message, source)) => self.faulty(message, source),
        }
    }

    /// Compresses the body when it is sent, with `Content-Encoding: gzip`, whether it is set before or after this call.
    /// The level is between 0 (fastest, not compressed) and 9 (smallest); 6 is usual. Defaults to no compression.
    ///
    /// Few servers accept it: those whose documentation says so, such as the bulk interfaces of search engines and
    /// metrics services. A body in memory is compressed before it is sent, for each attempt. Files and forms with files
    /// are compressed while they are sent, so they come without a `Content-Length`, over HTTP/1.1 in chunks. Without a
    /// body, this has no effect.
    ///
    /// With another level, or with a `Content-Encoding` header on the spec, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    #[cfg(feature = "gzip")]
    pub fn gzip(mut self, level: u32) -> Self {
        if level > 9 {
            return self.faulty("invalid gzip level; it may be between 0 and 9", None);
        }
        self.options_mut().gzip = Some(level);
        self
    }

    /// Sends `Authorization: Basic` (RFC 7617). Replaces other credentials of the spec, and takes the place of those of
    /// the session. Defaults to the user info of the URL, otherwise to the session's credentials.
    pub fn basic_auth<U, P>(self, user: U, password: Option<P>) -> Self
    where
        U: Display,
        P: Display,
    {
        self.authorization(headers::basic(user, password))
    }

    /// Sends `Authorization: Bearer` (RFC 6750). Replaces other credentials of the spec, and takes the place of those
    /// of the session. Defaults to the user info of the URL, otherwise to the session's credentials.
    pub fn bearer_auth(self, token: impl Display) -> Self {
        self.authorization(headers::bearer(token))
    }

    /// Sends the credentials that the session knows by this name: see [`Session::auth_named`](crate::Session::auth_named).
    /// They take the place of the session's other ones, and `Authorization` headers and user info of the spec that of them.
    /// A spec that is stored holds no secret in this way. Without credentials of that name, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest). Defaults to the session's credentials.
    pub fn auth_named(mut self, name: impl AsRef<str>) -> Self {
        self.options_mut().auth_name = Some(name.as_ref().into());
        self
    }

    fn authorization(self, value: Result<HeaderValue, &'static str>) -> Self {
        match value {
            Ok(value) => self.set_header(AUTHORIZATION, value),
            Err(message) => self.faulty(message, None),
        }
    }

    fn set_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        match self.options_mut().headers.try_insert(name, value) {
            Ok(_) => self,
            Err(error) => self.faulty(headers::TOO_MANY, Some(error.into())),
        }
    }

    /// Adds a cookie to the `Cookie` header, which takes the place of the session's.
    /// Defaults to none.
    pub fn cookie(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty()
            || [name, value]
                .iter()
                .any(|part| part.contains([';', '\r', '\n', '\0']))
        {
            return self.faulty(
                "a cookie needs a name; name and value must not contain a semicolon or a line break",
                None,
            );
        }
        let cookie = [name.as_bytes(), b"=", value.as_bytes()].concat();
        let others = self.header_map().get_all(COOKIE).iter();
        let cookies: Vec<&[u8]> = others
            .map(HeaderValue::as_bytes)
            .chain([&*cookie])
            .collect();
        match HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
            Ok(mut cookies) => {
                cookies.set_sensitive(true);
                self.set_header(COOKIE, cookies)
            }
            Err(error) => self.faulty("the cookie is not a valid header value", Some(error.into())),
        }
    }

    /// Sets the time limit for each attempt, which includes all its redirects and its whole body. `None` lifts the
    /// limit. Defaults to the pool's [`timeout`](crate::PoolBuilder::timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options_mut().timeout = Some(timeout.into());
        self
    }

    /// Sets the maximum number of redirects to follow. With 0, a 3xx is the response. If there are more, the job ends
    /// as [`ErrorKind::Redirect`](crate::ErrorKind::Redirect). Defaults to the pool's
    /// [`max_redirects`](crate::PoolBuilder::max_redirects).
    pub fn max_redirects(mut self, max: u32) -> Self {
        self.options_mut().max_redirects = Some(max);
        self
    }

    /// Sends this request and its redirects through a proxy, in place of the proxies of the session.
    ///
    /// The scheme is `http`, `https` or, with the feature `socks`, `socks4`, `socks4a`, `socks5` or `socks5h`;
    /// `host:port` means `http`. The user info of the URL is sent to the proxy.
    ///
    /// Each worker has a session of its own for each proxy, created by the same session constructor, initializer and
    /// auth generator. So connections, cookies and credentials are not shared between two proxies, nor with requests
    /// that use none. The 8 most recently used of these sessions stay open. With a transport that does not support
    /// proxies (a stub, for example), the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Defaults to the proxies of the session's transport: with reqwest and the feature `system-proxy`, those of the
    /// environment (`HTTP_PROXY` …).
    pub fn proxy(mut self, proxy: impl Into<String>) -> Self {
        self.options_mut().proxy = Some(proxy.into().into_boxed_str());
        self
    }

    /// Passes the body of the response, whatever its status, to a handler. Replaces a `save_to` or `save_into` set before. Defaults to
    /// memory.
    ///
    /// The handler is called once for each attempt that leads to a response, so a [`Retry`](crate::Retry) may call it several
    /// times, with a body that was read before or with that of a 503. What it finds out goes to a place that it shares: an
    /// atomic, a lock, a channel.
    ///
    /// The handler runs on the worker, as a part of the attempt: the body is decoded, and `max_body` and `timeout`
    /// apply if they are set, otherwise the [`stall_timeout`](crate::PoolBuilder::stall_timeout). If the handler
    /// returns an error of any type, the job fails with [`ErrorKind::Sink`](crate::ErrorKind::Sink) with that error as
    /// its source. An error while reading the body becomes the error of the job, even if the handler ignores it. The
    /// handler need not read to the end: the rest of the body is not waited for, and the connection is not reused.
    ///
    /// ```
    /// use std::io::{BufRead, BufReader};
    /// use threaded::RequestSpec;
    ///
    /// let spec = RequestSpec::get("https://example.com/large.csv").read_with(|head, body| {
    ///     if !head.status().is_success() {
    ///         return Err("the table is missing".into());
    ///     }
    ///     for line in BufReader::new(body).lines() {
    ///         let number: u32 = line?.parse()?;
    ///         println!("{number}");
    ///     }
    ///     Ok(())
    /// });
    /// # let _ = spec;
    /// ```
    pub fn read_with<F>(mut self, handler: F) -> Self
    where
        F: Fn(&ResponseHead, &mut dyn Read) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.options_mut().destination = Some(BodyDestination::Handler(Arc::new(handler)));
        self
    }

    /// Passes the body of the response to the handler that the pool knows by this name: see
    /// [`PoolBuilder::handler`](crate::PoolBuilder::handler). Otherwise like [`read_with`](Self::read_with), for specs that
    /// are stored or sent to another process. Without a handler of that name, the job fails with
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest). Defaults to memory.
    pub fn handler(mut self, name: impl AsRef<str>) -> Self {
        self.options_mut().destination = Some(BodyDestination::Named(name.as_ref().into()));
        self
    }

    /// Attaches a value that stays with the job and is stored with it, unlike an [`extension`](Self::extension): a row number,
    /// a record. It is not sent. Replaces the one set before. Defaults to none.
    #[cfg(feature = "serde")]
    pub fn tag(mut self, value: impl Into<serde_json::Value>) -> Self {
        self.options_mut().tag = Some(Box::new(value.into()));
        self
    }

    /// Sets the maximum size of the response body, in bytes after decoding. With a larger one, the job fails with
    /// [`ErrorKind::BodyTooLarge`](crate::ErrorKind::BodyTooLarge). `None` lifts the limit. Defaults to the pool's
    /// [`max_body`](crate::PoolBuilder::max_body). A body that is announced to be longer, and is not encoded, is not received, unless
    /// it goes to a handler.
    pub fn max_body(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.options_mut().max_body = Some(bytes.into());
        self
    }

    /// Sets whether to accept compressed bodies and to decode them. With `false`, no `Accept-Encoding` is sent, unless
    /// it is set as a header, and the body is returned as received. Defaults to `true`.
    ///
    /// A part of a body, in a response with status 206, is never decoded.
    pub fn decode(mut self, decode: bool) -> Self {
        self.options_mut().decode = Some(decode);
        self
    }

    /// Sets whether sending the request twice has the same effect as sending it once, so that it can be retried.
    /// Defaults to that of the method, `true` for GET, HEAD, PUT, DELETE, OPTIONS and TRACE, and to `true` with an
    /// `Idempotency-Key` header.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options_mut().idempotent = Some(idempotent);
        self
    }

    /// Attaches a value that is returned with the outcome, such as the row that the URL was read from. It replaces one
    /// of the same type. See [`extensions`](Self::extensions). Defaults to none.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.options_mut().extensions.insert(value);
        self
    }
}
