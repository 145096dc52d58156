//! Why a job has no usable response: [`Error`] and its [`ErrorKind`].

mod source;
#[cfg(test)]
mod tests;

use std::error::Error as _;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

pub(crate) use source::{RootCause, chain, io_kind, is_out_of_resources};

use crate::history::RedirectHop;
use crate::redact::Truncated;

/// A boxed error: the source of an [`Error`], and what a handler of [`read_with`](crate::RequestSpec::read_with) fails
/// with. Any error converts into it, by `?` or `into()`, as does a string.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a job has no usable response.
///
/// The same fault has the same [`kind`](Error::kind) on every transport, with the exceptions listed in the [crate's
/// documentation](crate#thousands-of-requests-at-the-same-time); what the transport itself reported is the
/// [`source`](std::error::Error::source). A clone is cheap and shares that source.
///
/// `Display` is one line; it never holds credentials, cookies or query values and stays short whatever the input. It
/// ends with the root cause, which is the innermost `source()` as well. Errors of a bulk run are printed one per line,
/// into logs and tables, and such a line must say "connection refused" without a loop over the sources. A reporter that
/// prints the whole chain repeats that cause.
///
/// ```
/// use threaded::{Error, ErrorKind};
///
/// fn advice(error: &Error) -> &'static str {
///     match error.kind() {
///         ErrorKind::InvalidRequest => "fix the request",
///         ErrorKind::Status if error.status().is_some_and(|s| s.is_client_error()) => "the server rejects it",
///         _ if error.is_retryable() => "try again later",
///         _ => "look closer",
///     }
/// }
/// let refused = Error::connect("connection refused");
/// assert_eq!(advice(&refused), "try again later");
/// assert_eq!(refused.to_string(), "could not connect: connection refused");
/// ```
///
/// # For transports
///
/// A [`Transport`](crate::Transport) and the reader of a [`ResponseBody`](crate::ResponseBody) report faults with the
/// constructors here. Each states what [`was_sent`](Error::was_sent) returns by default; [`sent`](Error::sent)
/// overrides it:
///
/// ```
/// use threaded::Error;
///
/// # let handshake_error = "received fatal alert";
/// // With TLS 1.3 the server may reject the client's certificate after the request is on its way.
/// let error = Error::tls(handshake_error).sent(true);
/// assert!(error.was_sent());
/// ```
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    fault: Fault,
    sent: bool,
    /// Shared, so that errors can be cloned.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What an attempt was waiting for when its time was over.
#[derive(Clone, Copy)]
pub(crate) enum Wait {
    Connection,
    Head,
    Body,
}

impl Wait {
    /// As the end of a message.
    fn described(self) -> &'static str {
        match self {
            Self::Connection => ", before the request was sent",
            Self::Head => ", without a response",
            Self::Body => ", within the body of the response",
        }
    }
}

/// The kind of an error, with what only errors of that kind have.
#[derive(Clone)]
enum Fault {
    InvalidRequest(String),
    Dns,
    Connect,
    Tls,
    /// The name of the proxy, if it is known.
    Proxy(Option<Box<str>>),
    /// Its credentials were refused.
    ProxyCredentials,
    /// How long it took, and what it waited for; `None` until the attempt fills it in, for a transport does not know when the
    /// attempt began.
    Timeout(Option<Duration>, Option<Wait>),
    Closed,
    Protocol,
    BodyTruncated,
    BodyTooLarge(u64),
    /// The digest that the body has, and the expected one.
    /// The digests, and whether another attempt may find the right one.
    DigestMismatch(String, bool),
    Decode,
    Redirect(String, Vec<RedirectHop>),
    Status(StatusCode),
    Handler,
    File(PathBuf),
    LocalResource,
    Session,
    Credentials,
    Cancelled,
    /// How often the job was started.
    #[cfg(any(feature = "journal", feature = "redis"))]
    Interrupted(u32),
    Panicked(String),
}

/// What kind of fault an [`Error`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be sent as it was described: its URL, method, headers, proxy or body are invalid. Nothing was
    /// sent.
    InvalidRequest,
    /// The host name could not be resolved.
    Dns,
    /// No connection could be made: refused, unreachable, prohibited.
    Connect,
    /// The TLS handshake failed, most often because the server's certificate is not trusted.
    Tls,
    /// The proxy could not be reached or did not open a tunnel.
    Proxy,
    /// The attempt, body included, took longer than its time limit, or the operating system timed out. See
    /// [`Error::time_limit`].
    Timeout,
    /// The connection was reset, or closed before the response head was complete.
    Closed,
    /// The response is not valid HTTP: its head or framing is malformed.
    Protocol,
    /// The connection ended properly, but before the announced end of the body.
    BodyTruncated,
    /// The body is larger than `max_body` allows. See [`Error::limit`].
    BodyTooLarge,
    /// The body has another digest than the request expects, such as that of [`sha256`](crate::RequestSpec::sha256).
    DigestMismatch,
    /// The body does not conform to its `Content-Encoding`, or its content to the type that it was read as.
    Decode,
    /// A redirect could not be followed: too many, or to a URL that must not or cannot be requested. See
    /// [`Error::hops`].
    Redirect,
    /// The server responded with a 4xx or 5xx and `error_for_status` was asked for. See [`Error::status`]; the response
    /// itself is in [`ThreadException::response`](crate::ThreadException::response).
    Status,
    /// The body could not be saved, or its handler failed. See [`Error::path`].
    Sink,
    /// This machine ran out of a resource (file descriptors, local ports, memory), or a file to send could not be read
    /// to its end.
    LocalResource,
    /// The worker that took the job has no session to send it with: the session's constructor, the initializer, the
    /// auth generator, the pool's credentials or the transport's builder failed.
    Session,
    /// The job was cancelled: by [`Handle::cancel`](crate::Handle::cancel) or
    /// [`JobHandle::cancel`](crate::JobHandle::cancel), or by the [`deadline`](crate::PoolBuilder::deadline) of the run. Or it
    /// was not sent, and its handle or round gets it back: since the pool was closed, shut down or dropped. It does not count
    /// as retryable, since it was ended on purpose; with [`was_sent`](Error::was_sent) `false` it is safe to send later.
    Cancelled,
    /// The job, of a durable queue, was started before, and the process has ended without its outcome. The request is not
    /// idempotent, or it was delivered too often, so it was not sent again. A server may have seen it.
    Interrupted,
    /// A closure, a transport or a library panicked while it worked on this job.
    Panicked,
}

impl Error {
    /// What kind of fault this is.
    pub fn kind(&self) -> ErrorKind {
        match self.0.fault {
            Fault::InvalidRequest(_) => ErrorKind::InvalidRequest,
            Fault::Dns => ErrorKind::Dns,
            Fault::Connect => ErrorKind::Connect,
            Fault::Tls => ErrorKind::Tls,
            Fault::Proxy(_) | Fault::ProxyCredentials => ErrorKind::Proxy,
            Fault::Timeout(..) => ErrorKind::Timeout,
            Fault::Closed => ErrorKind::Closed,
            Fault::Protocol => ErrorKind::Protocol,
            Fault::BodyTruncated => ErrorKind::BodyTruncated,
            Fault::BodyTooLarge(_) => ErrorKind::BodyTooLarge,
            Fault::DigestMismatch(..) => ErrorKind::DigestMismatch,
            Fault::Decode => ErrorKind::Decode,
            Fault::Redirect(..) => ErrorKind::Redirect,
            Fault::Status(_) => ErrorKind::Status,
            Fault::Handler | Fault::File(_) => ErrorKind::Sink,
            Fault::LocalResource => ErrorKind::LocalResource,
            Fault::Session | Fault::Credentials => ErrorKind::Session,
            Fault::Cancelled => ErrorKind::Cancelled,
            #[cfg(any(feature = "journal", feature = "redis"))]
            Fault::Interrupted(_) => ErrorKind::Interrupted,
            Fault::Panicked(_) => ErrorKind::Panicked,
        }
    }

    /// Whether this is a timeout.
    pub fn is_timeout(&self) -> bool {
        self.kind() == ErrorKind::Timeout
    }

    /// Whether no connection could be established: DNS, TCP, TLS or the proxy failed. Not if it took too long: that is a
    /// [`Timeout`](ErrorKind::Timeout), and not [sent](Self::was_sent).
    pub fn is_connect(&self) -> bool {
        use ErrorKind::*;

        matches!(self.kind(), Dns | Connect | Tls | Proxy)
    }

    /// Whether the same request may well succeed later: the cause is the network, or load on the server or on this
    /// machine, not the request.
    ///
    /// It says nothing about whether repeating is safe; for a request that is not idempotent, see
    /// [`was_sent`](Error::was_sent). An [`ErrorKind::Status`] counts for 408, 429, 500, 502, 503 and 504, and an
    /// [`ErrorKind::DigestMismatch`] if the body was [continued](crate::RequestSpec::resume): the next attempt gets all of it.
    pub fn is_retryable(&self) -> bool {
        use ErrorKind::*;

        match self.0.fault {
            Fault::Credentials => return true,
            Fault::ProxyCredentials => return false,
            Fault::DigestMismatch(_, was_continued) => return was_continued,
            _ => {}
        }
        match self.kind() {
            Dns | Connect | Proxy | Timeout | Closed | BodyTruncated | LocalResource => true,
            Status => self
                .status()
                .is_some_and(|status| matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)),
            InvalidRequest | Tls | Protocol | BodyTooLarge | DigestMismatch | Decode | Redirect
            | Sink | Session | Cancelled | Interrupted | Panicked => false,
        }
    }

    /// Whether a server may have seen the request, or a part of it.
    ///
    /// `false` is a promise: no server can have seen it, so repeating it is safe whatever its method. `true` means that
    /// it was seen, or that this is unknown.
    pub fn was_sent(&self) -> bool {
        self.0.sent
    }

    /// The status, if the job failed because of it ([`ErrorKind::Status`]).
    pub fn status(&self) -> Option<StatusCode> {
        match self.0.fault {
            Fault::Status(status) => Some(status),
            _ => None,
        }
    }

    /// The redirects that were followed, and last the one that could not be ([`ErrorKind::Redirect`]); empty for other
    /// kinds.
    pub fn hops(&self) -> &[RedirectHop] {
        match &self.0.fault {
            Fault::Redirect(_, hops) => hops,
            _ => &[],
        }
    }

    /// The limit that the body exceeds, in bytes after decoding ([`ErrorKind::BodyTooLarge`]).
    pub fn limit(&self) -> Option<u64> {
        match self.0.fault {
            Fault::BodyTooLarge(limit) => Some(limit),
            _ => None,
        }
    }

    /// The file that the body was to be saved to ([`ErrorKind::Sink`]); `None` if it was a handler.
    pub fn path(&self) -> Option<&Path> {
        match &self.0.fault {
            Fault::File(path) => Some(path),
            _ => None,
        }
    }

    /// The time limit that was exceeded, or the time it took until the operating system or another library gave up
    /// ([`ErrorKind::Timeout`]). `None` if it is not known: the attempt fills it in, so every outcome of a pool has it.
    pub fn time_limit(&self) -> Option<Duration> {
        match self.0.fault {
            Fault::Timeout(time, _) => time,
            _ => None,
        }
    }
}

/// Constructors for transports and body readers.
impl Error {
    /// The request cannot be sent as it was described. The message says what is wrong and what to do about it; it is
    /// displayed as it stands, so it must be one line without secrets. [`was_sent`](Error::was_sent) is always `false`.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(Fault::InvalidRequest(message.into()), false)
    }

    /// The host name could not be resolved. [`was_sent`](Error::was_sent) defaults to `false`.
    pub fn dns(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Dns, false).with_source(source)
    }

    /// No connection could be made. [`was_sent`](Error::was_sent) defaults to `false`.
    pub fn connect(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Connect, false).with_source(source)
    }

    /// The TLS handshake failed. [`was_sent`](Error::was_sent) defaults to `false`.
    pub fn tls(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Tls, false).with_source(source)
    }

    /// The proxy could not be reached or did not open a tunnel. [`was_sent`](Error::was_sent) defaults to `false`.
    pub fn proxy(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Proxy(None), false).with_source(source)
    }

    /// A time limit was exceeded. The attempt fills in the limit, unless [`with_time_limit`](Error::with_time_limit) sets it.
    /// [`was_sent`](Error::was_sent) defaults to `true`.
    pub fn timeout() -> Self {
        Self::new(Fault::Timeout(None, None), true)
    }

    /// The connection was reset, or closed before the response head was complete. [`was_sent`](Error::was_sent)
    /// defaults to `true`.
    pub fn closed(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Closed, true).with_source(source)
    }

    /// The response is not valid HTTP. [`was_sent`](Error::was_sent) is always `true`.
    pub fn protocol(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Protocol, true).with_source(source)
    }

    /// The connection ended properly, but before the announced end of the body. [`was_sent`](Error::was_sent) is always
    /// `true`.
    pub fn body_truncated(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::BodyTruncated, true).with_source(source)
    }

    /// The body does not conform to its encoding. [`was_sent`](Error::was_sent) is always `true`.
    pub fn decode(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Decode, true).with_source(source)
    }

    /// This machine ran out of a resource, or a file to send could not be read to its end.
    /// [`was_sent`](Error::was_sent) defaults to `false`.
    pub fn local_resource(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::LocalResource, false).with_source(source)
    }

    /// Sets whether a server may have seen anything of the request. `false` is a promise: see
    /// [`was_sent`](Error::was_sent).
    ///
    /// It changes nothing where the kind decides: an invalid request was not sent, and there was a response where the
    /// fault is in one (`Protocol`, `BodyTruncated`, `BodyTooLarge`, `DigestMismatch`, `Decode`, `Redirect`, `Status`).
    /// After a panic nothing can be promised.
    #[must_use]
    pub fn sent(mut self, sent: bool) -> Self {
        use ErrorKind::*;

        match self.kind() {
            InvalidRequest | Protocol | BodyTruncated | BodyTooLarge | DigestMismatch | Decode
            | Redirect | Status | Interrupted | Panicked => {}
            Dns | Connect | Tls | Proxy | Timeout | Closed | Sink | LocalResource | Session
            | Cancelled => self.0.sent = sent,
        }
        self
    }

    /// Sets the [`time_limit`](Error::time_limit) of a timeout that is not the attempt's own: the connect timeout of a
    /// transport, for example. It changes nothing for other kinds.
    #[must_use]
    pub fn with_time_limit(mut self, time: Duration) -> Self {
        if let Fault::Timeout(taken, _) = &mut self.0.fault {
            *taken = Some(time);
        }
        self
    }

    /// Sets the [`source`](std::error::Error::source), for the constructors that take none.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }
}

/// What only this crate reports.
impl Error {
    /// Takes the digest that the body has, and the expected one.
    pub(crate) fn digest_mismatch(digests: String) -> Self {
        Self::new(Fault::DigestMismatch(digests, false), true)
    }

    /// The body was continued from a part, which may be at fault, and which the next attempt does without.
    pub(crate) fn after_continuation(mut self) -> Self {
        if let Fault::DigestMismatch(_, was_continued) = &mut self.0.fault {
            *was_continued = true;
        }
        self
    }

    pub(crate) fn body_too_large(limit: u64) -> Self {
        Self::new(Fault::BodyTooLarge(limit), true)
    }

    /// `hops` ends with the redirect that could not be followed.
    pub(crate) fn redirect(message: String, hops: Vec<RedirectHop>) -> Self {
        Self::new(Fault::Redirect(message, hops), true)
    }

    pub(crate) fn from_status(status: StatusCode) -> Self {
        Self::new(Fault::Status(status), true)
    }

    /// The handler of a body failed.
    pub(crate) fn handler(source: BoxError) -> Self {
        Self::new(Fault::Handler, true).with_source(source)
    }

    /// The body could not be saved to a file.
    pub(crate) fn file(path: &Path, source: io::Error) -> Self {
        Self::new(Fault::File(path.to_owned()), true).with_source(source)
    }

    pub(crate) fn session(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Session, false).with_source(source)
    }

    /// The pool's credential could not be renewed: a moment later it may be.
    pub(crate) fn credentials(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::Credentials, false).with_source(source)
    }

    /// The proxy has refused the credentials for it: it will do so again.
    pub(crate) fn proxy_credentials(source: impl Into<BoxError>) -> Self {
        Self::new(Fault::ProxyCredentials, false).with_source(source)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(Fault::Cancelled, false)
    }

    /// The job was started so often without an outcome.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub(crate) fn interrupted(starts: u32) -> Self {
        Self::new(Fault::Interrupted(starts), true)
    }

    pub(crate) fn panicked(message: String) -> Self {
        Self::new(Fault::Panicked(message), true)
    }

    fn new(fault: Fault, sent: bool) -> Self {
        Self(Box::new(Inner {
            fault,
            sent,
            source: None,
        }))
    }
}

/// What an error becomes on its way from the transport to the outcome.
impl Error {
    /// The same error, where a server has seen earlier exchanges of the attempt, or earlier attempts.
    pub(crate) fn after_earlier_exchange(mut self) -> Self {
        if let Fault::InvalidRequest(message) = self.0.fault {
            // The request was valid when it was first sent: a file to be sent again is gone, for example.
            self.0
                .source
                .get_or_insert_with(|| BoxError::from(message).into());
            self.0.fault = Fault::LocalResource;
        }
        self.0.sent = true;
        self
    }

    /// The same error, where it was a proxy that the connection was to be made to.
    pub(crate) fn at_proxy(mut self) -> Self {
        if let Fault::Connect | Fault::Dns = self.0.fault {
            self.0.fault = Fault::Proxy(None);
        }
        self
    }

    /// The same error; one of a proxy tells which. The name holds no user info.
    #[cfg(feature = "hyper")]
    pub(crate) fn naming_proxy(mut self, name: impl FnOnce() -> String) -> Self {
        if let Fault::Proxy(named) = &mut self.0.fault {
            named.get_or_insert_with(|| name().into());
        }
        self
    }

    /// The same error; a timeout without a time gets one, and tells what it waited for.
    pub(crate) fn with_time(mut self, wait: Wait, time: impl FnOnce() -> Duration) -> Self {
        if let Fault::Timeout(taken, waited) = &mut self.0.fault {
            taken.get_or_insert_with(time);
            waited.get_or_insert(wait);
        }
        self
    }

    /// Classifies a failed read of a body.
    ///
    /// A transport that knows better returns its own [`Error`] inside the `io::Error`; otherwise the `io::ErrorKind`
    /// decides.
    pub(crate) fn from_body_read(error: io::Error) -> Self {
        use io::ErrorKind::*;

        let source = match error.downcast::<Self>() {
            Ok(known) => return known,
            Err(error) => BoxError::from(error),
        };
        match io_kind(&*source).unwrap_or(Other) {
            UnexpectedEof => Self::body_truncated(source),
            TimedOut | WouldBlock => Self::timeout().with_source(source),
            InvalidData | InvalidInput => Self::protocol(source),
            _ => Self::closed(source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = Suffix(self.source().map(RootCause));
        match &self.0.fault {
            Fault::InvalidRequest(message) => write!(f, "invalid request: {message}"),
            Fault::Dns => write!(f, "could not resolve the host name{cause}"),
            Fault::Connect => write!(f, "could not connect{cause}"),
            Fault::Tls => write!(f, "TLS handshake failed{cause}"),
            Fault::Proxy(Some(name)) => {
                write!(f, "could not connect through the proxy {name}{cause}")
            }
            Fault::Proxy(None) | Fault::ProxyCredentials => {
                write!(f, "could not connect through the proxy{cause}")
            }
            Fault::Timeout(time, wait) => {
                f.write_str("timed out")?;
                if let Some(time) = time {
                    write!(f, " after {time:?}")?;
                }
                f.write_str(wait.map_or("", Wait::described))
            }
            Fault::Closed => write!(f, "the connection was closed{cause}"),
            Fault::Protocol => write!(f, "invalid HTTP response{cause}"),
            Fault::BodyTruncated => write!(f, "the response body was truncated{cause}"),
            Fault::BodyTooLarge(limit) => write!(
                f,
                "the body is larger than the limit of {limit} bytes; raise it with max_body"
            ),
            Fault::DigestMismatch(digests, _) => write!(f, "the body has the digest {digests}"),
            Fault::Decode => write!(f, "could not decode the body{cause}"),
            Fault::Redirect(message, _) => write!(f, "could not follow the redirect: {message}"),
            Fault::Status(status) => write!(f, "the server responded with {status}"),
            Fault::Handler => write!(f, "the handler of the body failed{cause}"),
            Fault::File(path) => {
                let path = Truncated(path.display());
                write!(f, "could not save the body to {path}{cause}")
            }
            Fault::LocalResource if self.source().is_some_and(is_out_of_resources) => write!(
                f,
                "ran out of a local resource (file descriptors, ports, memory){cause}"
            ),
            Fault::LocalResource => write!(f, "a local resource failed{cause}"),
            Fault::Credentials => write!(f, "the pool's credentials could not be renewed{cause}"),
            Fault::Session => {
                let cause = Suffix(self.source().map(Truncated));
                write!(f, "the worker has no session{cause}")
            }
            Fault::Cancelled if self.was_sent() => f.write_str("cancelled while in flight"),
            Fault::Cancelled => write!(f, "cancelled before it was sent{cause}"),
            #[cfg(any(feature = "journal", feature = "redis"))]
            Fault::Interrupted(1) => f.write_str(
                "interrupted: it was started once, and no outcome was recorded; it is not sent again",
            ),
            #[cfg(any(feature = "journal", feature = "redis"))]
            Fault::Interrupted(starts) => write!(
                f,
                "interrupted: it was started {starts} times, and no outcome was recorded; it is not sent again"
            ),
            Fault::Panicked(message) => write!(f, "panicked: {}", Truncated(message)),
        }
    }
}

/// Displays a colon and the cause, if there is one.
struct Suffix<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Suffix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

// By hand: a derived one would print the sources, whose length is not bounded.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What `Display` writes is escaped already.
        let (kind, sent) = (self.kind(), self.was_sent());
        write!(f, "{kind:?}(\"{self}\", sent: {sent})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
