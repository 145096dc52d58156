//! What performs exchanges: [`Transport`] and what it is handed and hands back.

mod exchange;
mod message_texts;
pub(crate) mod reqwest;
mod response_body;
#[cfg(feature = "ureq")]
pub(crate) mod ureq;

use std::time::Duration;

use url::Url;

pub use exchange::Exchange;
pub(crate) use exchange::check_tls_is_built_in;
pub use response_body::ResponseBody;
pub(crate) use response_body::{ReadWhole, room_for};

use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error};

/// Performs exchanges: sends one request, hands back the head of its response and a reader of its body.
///
/// Redirects, decoding, size limits and outcomes are not its business; the crate does them, the same on every transport.
/// What is: to send the request as it stands, to be done within [`Exchange::timeout`] (body included), and to report
/// faults as an [`Error`] of the kind that fits. A worker uses its transport for one exchange at a time.
///
/// A closure is a transport, so code can be tested without a network:
///
/// ```
/// use threaded::{Error, Exchange, Pool, ResponseBody, Session};
///
/// let answers = |exchange: Exchange<'_>| match exchange.url().path() {
///     "/ok" => Ok(http::Response::new(ResponseBody::from("hello"))),
///     _ => Err(Error::connect("no such host here")),
/// };
/// let (responses, exceptions) = Pool::builder()
///     .num_threads(2)
///     .session(move || Session::new(answers))
///     .map(["http://test/ok", "http://test/lost"])?;
///
/// assert_eq!(responses.map(|r| r.text().into_owned()).collect::<Vec<_>>(), ["hello"]);
/// assert_eq!(exceptions.count(), 1);
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub trait Transport: Send {
    /// Performs one exchange.
    ///
    /// # Errors
    ///
    /// Returns an [`Error`] of the kind that fits the fault. Its [`was_sent`](Error::was_sent) must be `true` unless the
    /// server cannot have seen any of the request.
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error>;
}

impl<F> Transport for F
where
    F: FnMut(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> + Send,
{
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
        self(exchange)
    }
}

/// Makes the transport of one session, on the thread of the worker that will use it.
///
/// Every [`Transport`] is a builder of itself; a `reqwest::blocking::ClientBuilder` builds a
/// [`ReqwestTransport`](crate::ReqwestTransport).
pub trait TransportBuilder: Sized {
    /// What is built.
    type Transport: Transport;

    /// Builds the transport.
    ///
    /// # Errors
    ///
    /// What the worker, and for the first worker [`PoolError::Session`](crate::PoolError::Session), should report.
    fn build(self) -> Result<Self::Transport, BoxError>;

    /// Builds a transport that connects to no other addresses than this filter allows, and sends through no proxy: that would
    /// look up host names where nobody can ask it. Used instead of [`build`](Self::build) with
    /// [`PoolBuilder::public_addresses_only`](crate::PoolBuilder::public_addresses_only).
    ///
    /// # Errors
    ///
    /// As in [`build`](Self::build), or if it cannot tell which addresses it connects to. That is the default.
    fn build_with_filter(self, filter: AddressFilter) -> Result<Self::Transport, BoxError> {
        let _ = filter;
        Err("this transport cannot be kept to public addresses".into())
    }

    /// Prepares for exchanges that have no deadline but a [`stall_timeout`](Exchange::stall_timeout), which will always be
    /// this one. Defaults to doing nothing.
    fn stall_timeout(self, stall_timeout: Option<Duration>) -> Self {
        let _ = stall_timeout;
        self
    }

    /// Makes all that will be sent go through a proxy, and nothing past it. The scheme of the URL says which kind of proxy
    /// it is; its user info is for the proxy.
    ///
    /// # Errors
    ///
    /// If it cannot. That is the default: a request must not silently go past the proxy that it names.
    fn through_proxy(self, proxy: &Url) -> Result<Self, BoxError> {
        let _ = proxy;
        Err("this transport cannot send through a proxy of the request's choice".into())
    }
}

impl<T: Transport> TransportBuilder for T {
    type Transport = T;

    fn build(self) -> Result<T, BoxError> {
        Ok(self)
    }
}
