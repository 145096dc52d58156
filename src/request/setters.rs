//! The setters of [`RequestSpec`]: each takes the spec by value, none fails.

use std::fmt::Display;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::body::RequestBody;
use super::target::Target;
use super::{RequestSpec, Sink};
use crate::error::BoxError;
use crate::headers;
use crate::response::ResponseHead;

impl RequestSpec {
    /// Sets another URL, for a copy of a spec that is sent to many. Defaults to the one it was made with.
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.target = Target::from_text(url.into());
        self
    }

    /// Adds a header. Several of one name are all sent, in the order in which they were added.
    ///
    /// A header of the session with the same name is replaced. Values of headers that carry credentials by their name
    /// (`Authorization`, `Cookie`, `X-Api-Key` …: those with `auth`, `key` or `jwt` as a word, or `apikey`, `bearer`, `cookie`,
    /// `credential`, `passwd`, `password`, `secret`, `session`, `signature` or `token` in them; but the `key` of `Idempotency-Key`
    /// and `Surrogate-Key` is none) are marked sensitive: they are not printed, and redirects to
    /// another origin do not take them along. For other names, hand in a `HeaderValue` that is marked so.
    ///
    /// `Content-Length` and `Transfer-Encoding` follow from the body: setting them ends as
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), but for the right length of a body in memory.
    /// `Expect` is not sent: no transport would wait for the 100. Defaults to none.
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

    /// Sets all headers of the map. Those set before under the same names are replaced, the others stay.
    /// Defaults to none.
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        match headers::replace(&mut self.options_mut().headers, headers) {
            Ok(()) => self,
            Err(error) => self.faulty(headers::TOO_MANY, Some(error.into())),
        }
    }

    /// Appends pairs to the query of the URL, percent-encoded. Defaults to what the URL holds.
    ///
    /// Takes what `serde_urlencoded` takes: a slice of pairs, a map, a struct of plain fields.
    pub fn query<T: Serialize + ?Sized>(mut self, query: &T) -> Self {
        match serde_urlencoded::to_string(query) {
            Ok(pairs) => {
                self.target.append_query(&pairs);
                self
            }
            Err(error) => self.faulty("the query cannot be encoded", Some(error.into())),
        }
    }

    /// Sets the body: bytes, text, or a [`RequestBody`]. Sets no `Content-Type`. Defaults to no body.
    pub fn body(mut self, body: impl Into<RequestBody>) -> Self {
        self.options_mut().body = Some(body.into());
        self
    }

    /// Sends what the file holds at the time of each attempt. Sets no `Content-Type`. Defaults to no body.
    ///
    /// It must be a regular file, since it may have to be read again for a redirect or a retry; if it cannot be opened,
    /// the job ends as [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    pub fn body_from_file(self, path: impl Into<PathBuf>) -> Self {
        self.body(RequestBody::from_file(path))
    }

    /// Sends a form as a browser does, with `Content-Type: application/x-www-form-urlencoded` unless a header says
    /// otherwise. Defaults to no body.
    pub fn form<T: Serialize + ?Sized>(self, form: &T) -> Self {
        match serde_urlencoded::to_string(form) {
            Ok(encoded) => self.body(RequestBody::typed(
                encoded.into(),
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            )),
            Err(error) => self.faulty("the form cannot be encoded", Some(error.into())),
        }
    }

    /// Sends a value as JSON, with `Content-Type: application/json` unless a header says otherwise.
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

    /// Sends `Authorization: Basic` (RFC 7617). Replaces other credentials of the spec, and those of the session for
    /// this job. Defaults to the user info of the URL, otherwise to the session's credentials.
    pub fn basic_auth<U, P>(self, user: U, password: Option<P>) -> Self
    where
        U: Display,
        P: Display,
    {
        self.authorization(headers::basic(user, password))
    }

    /// Sends `Authorization: Bearer` (RFC 6750). Replaces other credentials of the spec, and those of the session for
    /// this job. Defaults to the user info of the URL, otherwise to the session's credentials.
    pub fn bearer_auth(self, token: impl Display) -> Self {
        self.authorization(headers::bearer(token))
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

    /// Adds a cookie to the `Cookie` header. It replaces the session's `Cookie` header for this job.
    /// Defaults to none.
    pub fn cookie(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if name.is_empty()
            || [name, value]
                .iter()
                .any(|part| part.contains([';', '\r', '\n', '\0']))
        {
            return self.faulty(
                "a cookie needs a name, and neither name nor value may hold a semicolon or a line break",
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

    /// The time for one attempt: all its redirects and its whole body. `None` lifts the limit.
    /// Defaults to the pool's [`timeout`](crate::PoolBuilder::timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.options_mut().timeout = Some(timeout.into());
        self
    }

    /// How many redirects to follow; 0 hands back the 3xx itself.
    /// Defaults to the pool's [`redirects`](crate::PoolBuilder::redirects).
    pub fn redirects(mut self, limit: usize) -> Self {
        self.options_mut().redirects = Some(limit);
        self
    }

    /// Sends this request, and the redirects that it leads to, through a proxy instead of the session's way.
    ///
    /// Schemes are `http`, `https` and, with the feature `socks`, `socks4`, `socks4a`, `socks5` and `socks5h`;
    /// `host:port` means `http`. User info in the URL is for the proxy.
    ///
    /// A worker keeps one session for each proxy it meets, beside its own, made by the same session constructor,
    /// initializer and auth generator: so connections, cookies and credentials are never shared between two proxies, nor
    /// between a proxy and none. Of those sessions, the 8 used last stay open. A transport that cannot do so (a stub,
    /// for example) ends the job as [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest).
    ///
    /// Defaults to what the session's transport does: with reqwest and the feature `system-proxy`, the proxies of the
    /// environment (`HTTP_PROXY` …).
    pub fn proxy(mut self, proxy: impl Into<String>) -> Self {
        self.options_mut().proxy = Some(proxy.into().into_boxed_str());
        self
    }

    /// Writes the body of the answer to a file instead of into memory. Defaults to memory.
    ///
    /// It is written to a temporary file in the same folder, which takes the place of the target when it is complete: under
    /// the final name there is never a part of it, and on failure nothing is left. A file that it replaces keeps its
    /// permissions; through a symbolic link, the file behind it is replaced. Only an answer with a 2xx status is
    /// saved, so that no file is replaced by an error page; the body of any other one is in memory, and
    /// [`Response::saved_to`](crate::Response::saved_to) tells.
    ///
    /// A folder that does not exist, a target that is there and no file (a directory, a device), a full disk end as
    /// [`ErrorKind::Sink`](crate::ErrorKind::Sink). Unless a `timeout` is set, the
    /// [`stall_timeout`](crate::PoolBuilder::stall_timeout) holds.
    pub fn save_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.options_mut().sink = Some(Sink::File(path.into().into()));
        self
    }

    /// Hands the body of the answer, whatever its status, to a handler instead of reading it into memory. Defaults to memory.
    ///
    /// It runs on the worker, as a part of the attempt: the body is decoded, and `max_body` and `timeout` hold if they are
    /// set; otherwise the [`stall_timeout`](crate::PoolBuilder::stall_timeout) does. If the handler fails, the job ends as
    /// [`ErrorKind::Sink`](crate::ErrorKind::Sink) with its error as the source; if the body fails, the job ends as that, whatever
    /// the handler makes of it. It need not read to the end; what it leaves is not waited for, and costs the connection.
    ///
    /// ```
    /// use std::io::{BufRead, BufReader};
    /// use threaded::RequestSpec;
    ///
    /// let spec = RequestSpec::get("https://example.com/large.csv").read_with(|head, body| {
    ///     if !head.status().is_success() {
    ///         return Err(std::io::Error::other("no table there"));
    ///     }
    ///     for line in BufReader::new(body).lines() {
    ///         println!("{}", line?);
    ///     }
    ///     Ok(())
    /// });
    /// # let _ = spec;
    /// ```
    pub fn read_with<F, E>(mut self, handler: F) -> Self
    where
        F: Fn(&ResponseHead, &mut dyn Read) -> Result<(), E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let handler =
            move |head: &ResponseHead, body: &mut dyn Read| handler(head, body).map_err(Into::into);
        self.options_mut().sink = Some(Sink::Handler(Arc::new(handler)));
        self
    }

    /// Largest body to accept, in bytes after decoding. A larger one ends as
    /// [`ErrorKind::BodyTooLarge`](crate::ErrorKind::BodyTooLarge). Defaults to the pool's
    /// [`max_body`](crate::PoolBuilder::max_body).
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.options_mut().max_body = Some(bytes);
        self
    }

    /// Whether to ask for compressed bodies and to decode them. With `false` no `Accept-Encoding` is sent (unless a
    /// header does) and the body stays as it came. Defaults to `true`.
    pub fn decode(mut self, decode: bool) -> Self {
        self.options_mut().decode = Some(decode);
        self
    }

    /// Whether sending it twice does what sending it once does, so that it may be repeated after a fault.
    /// Defaults to what its method says: `true` for GET, HEAD, PUT, DELETE, OPTIONS and TRACE.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.options_mut().idempotent = Some(idempotent);
        self
    }

    /// Attaches a value that comes back with the outcome, such as the row that the URL was read from; one of each type.
    /// See [`extensions`](Self::extensions). Defaults to none.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.options_mut().extensions.insert(value);
        self
    }
}
