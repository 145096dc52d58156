//! What can go wrong with a job: [`Error`].

mod source;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;

pub(crate) use source::{RootCause, chain, io_kind, is_local_lack, is_tls_alert};

use crate::history::RedirectHop;
use crate::redact::Clipped;

/// Any error of another library, as the source of one of ours.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Why a job has no usable answer.
///
/// The same fault gives the same variant on every transport; what the transport itself reported is the
/// [`source`](std::error::Error::source). `Display` is one line that ends with the root cause; it never holds
/// credentials, cookies or query values and stays short whatever the input.
///
/// In the variants that have a field `sent`, it says whether the attempt may have shown the server anything of the
/// request: see [`was_sent`](Error::was_sent).
///
/// ```
/// use threaded::Error;
///
/// fn advice(error: &Error) -> &'static str {
///     match error {
///         Error::InvalidRequest { .. } => "mend the request",
///         Error::Status { status } if status.is_client_error() => "the server does not want it",
///         error if error.is_retryable() => "try again later",
///         _ => "look closer",
///     }
/// }
/// # let refused = Error::Connect { sent: false, source: "connection refused".into() };
/// # assert_eq!(advice(&refused), "try again later");
/// ```
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request cannot be sent as it was described: a bad URL, method, header, proxy or body. Nothing was sent.
    #[error("invalid request: {message}")]
    InvalidRequest {
        /// What was wrong, and what to do about it.
        message: String,
        /// The error of the library that found it, if one did.
        source: Option<BoxError>,
    },
    /// The host name could not be resolved.
    #[error("could not resolve the host name: {}", RootCause(source))]
    Dns {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the resolver reported.
        source: BoxError,
    },
    /// No connection could be made: refused, unreachable, prohibited.
    #[error("could not connect: {}", RootCause(source))]
    Connect {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the operating system reported.
        source: BoxError,
    },
    /// No secure connection could be agreed on, most often because the server's certificate is not trusted.
    #[error("could not agree on a secure connection: {}", RootCause(source))]
    Tls {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the TLS library reported.
        source: BoxError,
    },
    /// The proxy could not be reached or did not open a tunnel.
    #[error("could not connect through the proxy: {}", RootCause(source))]
    Proxy {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the transport reported.
        source: BoxError,
    },
    /// The attempt was not over, body included, when its time was.
    #[error("timed out after {after:?}")]
    Timeout {
        /// The limit that was exceeded, or how long it took until something else (the operating system) gave up.
        after: Duration,
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the transport reported, if it was the transport that stopped.
        source: Option<BoxError>,
    },
    /// The connection was reset, or closed before the response head was complete.
    #[error("the connection was closed: {}", RootCause(source))]
    Closed {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the transport reported.
        source: BoxError,
    },
    /// The server's answer is not HTTP: a malformed head or framing.
    #[error("the answer is not valid HTTP: {}", RootCause(source))]
    Protocol {
        /// What the transport reported.
        source: BoxError,
    },
    /// The connection ended properly, but before the announced end of the body.
    #[error("the body was cut off: {}", RootCause(source))]
    BodyTruncated {
        /// What the transport reported.
        source: BoxError,
    },
    /// The body is larger than `max_body` allows.
    #[error("the body is larger than the limit of {limit} bytes; raise it with max_body")]
    BodyTooLarge {
        /// The limit, in bytes after decoding.
        limit: u64,
    },
    /// The body is not what its `Content-Encoding` (or the reader of its content) takes it for.
    #[error("could not decode the body: {}", RootCause(source))]
    Decode {
        /// What the decoder reported.
        source: BoxError,
    },
    /// A redirect could not be followed: too many, or to a place that may not or cannot be requested.
    #[error("could not follow the redirect: {message}")]
    Redirect {
        /// What was wrong with it.
        message: String,
        /// The redirects answered before, and the one that could not be followed.
        hops: Vec<RedirectHop>,
    },
    /// The server answered with a 4xx or 5xx and `error_for_status` was asked for. The answer itself is in
    /// [`ThreadException::response`](crate::ThreadException::response).
    #[error("the server answered {status}")]
    Status {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The body could not be saved, or its handler failed.
    #[error("{}: {}", Receiver(path.as_deref()), RootCause(source))]
    Sink {
        /// The file that it was to be saved to; `None` for a handler.
        path: Option<PathBuf>,
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the operating system or the handler reported.
        source: BoxError,
    },
    /// This machine ran out of something: file descriptors, local ports, threads, or a file to send shrank.
    #[error("a local resource failed: {}", RootCause(source))]
    LocalResource {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What the operating system reported.
        source: BoxError,
    },
    /// The worker that took the job has no session to send it with: the session's constructor, the initializer or the
    /// auth generator failed.
    #[error("the worker has no session: {}", Clipped(source))]
    Session {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
        /// What they reported.
        source: BoxError,
    },
    /// The job was called off: by [`Handle::cancel`](crate::Handle::cancel), or by the
    /// [`deadline`](crate::PoolBuilder::deadline) of the run.
    #[error("cancelled{}", if *sent { " while it was under way" } else { " before it was sent" })]
    Cancelled {
        /// See [`was_sent`](Error::was_sent).
        sent: bool,
    },
    /// A closure, a transport or a library panicked while it worked on this job.
    #[error("panicked: {}", Clipped(message))]
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

impl Error {
    pub(crate) fn invalid_request(message: impl Into<String>) -> Self {
        Self::InvalidRequest {
            message: message.into(),
            source: None,
        }
    }

    /// Whether time ran out.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether no connection came about: DNS, TCP, TLS or the proxy failed.
    pub fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Dns { .. } | Self::Connect { .. } | Self::Tls { .. } | Self::Proxy { .. }
        )
    }

    /// Whether the same request may well succeed later: the fault lies with the network, the server's load or this
    /// machine's, not with the request.
    ///
    /// It says nothing about whether repeating is safe; for a request that is not idempotent, see
    /// [`was_sent`](Error::was_sent). A [`Status`](Error::Status) counts for 408, 429, 500, 502, 503 and 504.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Timeout { .. }
            | Self::Closed { .. }
            | Self::BodyTruncated { .. }
            | Self::LocalResource { .. } => true,
            Self::Status { status } => {
                matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
            }
            Self::InvalidRequest { .. }
            | Self::Tls { .. }
            | Self::Protocol { .. }
            | Self::BodyTooLarge { .. }
            | Self::Decode { .. }
            | Self::Redirect { .. }
            | Self::Sink { .. }
            | Self::Session { .. }
            | Self::Cancelled { .. }
            | Self::Panicked { .. } => false,
        }
    }

    /// Whether a server may have seen the request, or a part of it.
    ///
    /// `false` is a promise: no server can have seen it, so repeating it is safe whatever its method. `true` means that
    /// it was seen or that this cannot be told.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::InvalidRequest { .. } => false,
            Self::Dns { sent, .. }
            | Self::Connect { sent, .. }
            | Self::Tls { sent, .. }
            | Self::Proxy { sent, .. }
            | Self::Timeout { sent, .. }
            | Self::Closed { sent, .. }
            | Self::LocalResource { sent, .. }
            | Self::Sink { sent, .. }
            | Self::Session { sent, .. }
            | Self::Cancelled { sent } => *sent,
            Self::Protocol { .. }
            | Self::BodyTruncated { .. }
            | Self::BodyTooLarge { .. }
            | Self::Decode { .. }
            | Self::Redirect { .. }
            | Self::Status { .. }
            | Self::Panicked { .. } => true,
        }
    }

    /// The status, if the job failed because of it.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status } => Some(*status),
            _ => None,
        }
    }

    /// The same error, where a server has seen earlier exchanges of the attempt, or earlier attempts.
    pub(crate) fn after_earlier_exchange(mut self) -> Self {
        match &mut self {
            Self::Dns { sent, .. }
            | Self::Connect { sent, .. }
            | Self::Tls { sent, .. }
            | Self::Proxy { sent, .. }
            | Self::Timeout { sent, .. }
            | Self::Closed { sent, .. }
            | Self::LocalResource { sent, .. }
            | Self::Sink { sent, .. }
            | Self::Session { sent, .. } => *sent = true,
            // The request was as it should be when it began: a file to be sent again has gone, for example.
            Self::InvalidRequest { message, source } => {
                let source = source.take();
                return Self::LocalResource {
                    sent: true,
                    source: source.unwrap_or_else(|| std::mem::take(message).into()),
                };
            }
            _ => {}
        }
        self
    }

    /// Sorts a failed read of a body.
    ///
    /// A transport that knows better hands over its own [`Error`] inside the `io::Error`; otherwise the kind decides.
    pub(crate) fn from_body_read(error: io::Error) -> Self {
        use io::ErrorKind::*;

        let source = match error.downcast::<Self>() {
            Ok(known) => return known,
            Err(error) => BoxError::from(error),
        };
        match io_kind(&*source).unwrap_or(Other) {
            UnexpectedEof => Self::BodyTruncated { source },
            TimedOut | WouldBlock => Self::Timeout {
                after: Duration::ZERO,
                sent: true,
                source: Some(source),
            },
            InvalidData | InvalidInput => Self::Protocol { source },
            _ => Self::Closed { sent: true, source },
        }
    }

    /// The same error, with the time after which it struck where the transport did not know it.
    pub(crate) fn with_time(mut self, time: impl FnOnce() -> Duration) -> Self {
        match &mut self {
            Self::Timeout { after, .. } if after.is_zero() => *after = time(),
            _ => {}
        }
        self
    }
}

/// Displays who did not take the body.
struct Receiver<'a>(Option<&'a Path>);

impl fmt::Display for Receiver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, "could not save the body to {}", Clipped(path.display())),
            None => f.write_str("the handler of the body failed"),
        }
    }
}

// By hand: a derived one would print the sources, whose length nobody bounds.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::InvalidRequest { .. } => "InvalidRequest",
            Self::Dns { .. } => "Dns",
            Self::Connect { .. } => "Connect",
            Self::Tls { .. } => "Tls",
            Self::Proxy { .. } => "Proxy",
            Self::Timeout { .. } => "Timeout",
            Self::Closed { .. } => "Closed",
            Self::Protocol { .. } => "Protocol",
            Self::BodyTruncated { .. } => "BodyTruncated",
            Self::BodyTooLarge { .. } => "BodyTooLarge",
            Self::Decode { .. } => "Decode",
            Self::Redirect { .. } => "Redirect",
            Self::Status { .. } => "Status",
            Self::Sink { .. } => "Sink",
            Self::LocalResource { .. } => "LocalResource",
            Self::Session { .. } => "Session",
            Self::Cancelled { .. } => "Cancelled",
            Self::Panicked { .. } => "Panicked",
        };
        // What `Display` writes is escaped already.
        write!(f, "{name}(\"{self}\", sent: {})", self.was_sent())
    }
}
