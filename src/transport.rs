//! The seam between the pool and an HTTP client: [`Transport`], its builder, and what they exchange.

mod classify;
#[cfg(feature = "hyper")]
pub(crate) mod descriptors;
mod detach;
mod exchange;
#[cfg(feature = "hyper")]
pub(crate) mod hyper;
mod idle_budget;
mod message_texts;
mod options;
pub(crate) mod reqwest;
mod response_body;
#[cfg(feature = "ureq")]
pub(crate) mod ureq;

pub use exchange::Exchange;
pub(crate) use exchange::check_tls_is_built_in;
pub use options::TransportOptions;
pub use response_body::ResponseBody;
pub(crate) use response_body::expected_length;

use crate::error::{BoxError, Error};

/// An HTTP client: sends one request at a time and returns the response head together with a reader of the body.
///
/// Redirects, content decoding, size limits and retries are not the transport's job; the crate does them, the same on
/// every transport. A transport sends the request as it is, ends within [`Exchange::timeout`] (body included), and
/// reports each fault as the kind of [`Error`] that fits. Each worker performs one exchange at a time.
///
/// A closure is a transport, so code can be tested without a network:
///
/// ```
/// use threaded::{Error, Exchange, Pool, ResponseBody, Session};
///
/// let stub = |exchange: Exchange<'_>| match exchange.url().path() {
///     "/ok" => Ok(http::Response::new(ResponseBody::from("hello"))),
///     _ => Err(Error::connect("no such host here")),
/// };
/// let (responses, exceptions) = Pool::builder()
///     .num_threads(2)
///     .session(move || Session::new(stub))
///     .map(["http://test/ok", "http://test/lost"])?;
///
/// assert_eq!(responses.map(|r| r.text().into_owned()).collect::<Vec<_>>(), ["hello"]);
/// assert_eq!(exceptions.count(), 1);
/// # Ok::<(), threaded::PoolError>(())
/// ```
///
/// A transport can wrap another one, to sign requests, to cache or to record responses. Its builder passes the
/// [`TransportOptions`] on, so that the wrapped transport keeps to the proxy of a request and to the address filter:
///
/// ```
/// use threaded::http::HeaderValue;
/// use threaded::{BoxError, Error, Exchange, Pool, ResponseBody, Session, Transport, TransportBuilder, TransportOptions};
///
/// struct Signing<T>(T);
///
/// impl<T: Transport> Transport for Signing<T> {
///     fn exchange(&mut self, mut exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
///         let signature = signature(&exchange);
///         exchange.headers_mut().insert("x-signature", signature);
///         self.0.exchange(exchange)
///     }
/// }
/// # fn signature(exchange: &Exchange<'_>) -> HeaderValue { HeaderValue::from(exchange.url().path().len()) }
///
/// struct SigningBuilder<B>(B);
///
/// impl<B: TransportBuilder<Transport: Transport>> TransportBuilder for SigningBuilder<B> {
///     type Transport = Signing<B::Transport>;
///
///     fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError> {
///         Ok(Signing(self.0.build(options)?))
///     }
/// }
///
/// let client = || reqwest::blocking::Client::builder();
/// let builder = Pool::builder().session(move || Session::new(SigningBuilder(client())));
/// # let _ = builder;
/// ```
pub trait Transport: Send {
    /// Performs one exchange.
    ///
    /// # Errors
    ///
    /// Returns the kind of [`Error`] that fits the fault. It must count as [sent](Error::was_sent) unless the server
    /// cannot have seen any part of the request: one that was not sent may be retried whatever its method.
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

/// A transport, whichever engine drives it: every [`Transport`], which blocks, and [`HyperTransport`](crate::HyperTransport),
/// which is event-driven. No other type can implement it.
pub trait AnyTransport: Send {
    #[doc(hidden)]
    fn is_event_driven() -> bool
    where
        Self: Sized;

    #[doc(hidden)]
    fn by_engine(&mut self) -> ByEngine<'_>;
}

/// A transport, by the engine that drives it.
#[doc(hidden)]
#[expect(missing_debug_implementations, reason = "not a part of the API")]
pub enum ByEngine<'a> {
    Blocking(&'a mut dyn Transport),
    #[cfg(feature = "hyper")]
    EventDriven(&'a hyper::HyperTransport),
}

impl<T: Transport> AnyTransport for T {
    fn is_event_driven() -> bool {
        false
    }

    fn by_engine(&mut self) -> ByEngine<'_> {
        ByEngine::Blocking(self)
    }
}

#[cfg(feature = "hyper")]
impl AnyTransport for hyper::HyperTransport {
    fn is_event_driven() -> bool {
        true
    }

    fn by_engine(&mut self) -> ByEngine<'_> {
        ByEngine::EventDriven(self)
    }
}

/// Builds the transport of one session, on the thread of the worker that owns it.
///
/// A `reqwest::blocking::ClientBuilder` builds a [`ReqwestTransport`](crate::ReqwestTransport), a
/// [`HyperBuilder`](crate::HyperBuilder) a [`HyperTransport`](crate::HyperTransport). Every [`Transport`],
/// closures included, is its own builder. It is already built when it gets the options, so it rejects a proxy and an
/// address filter. For a transport that can honour them, write a builder: a type that implements this trait and not `Transport`.
pub trait TransportBuilder: Sized {
    /// The transport that is built.
    type Transport: AnyTransport;

    /// Builds a transport that keeps to these options.
    ///
    /// A [`proxy`](TransportOptions::proxy) and an [`address_filter`](TransportOptions::address_filter) must be honoured
    /// or refused. One that `build` does not read counts as refused: the pool does not use such a transport.
    ///
    /// # Errors
    ///
    /// Returns an error if the transport cannot be built, or cannot honour the options. For the first worker it becomes
    /// [`PoolError::Session`](crate::PoolError::Session); a later worker ends, or, if it is the last one or the session
    /// is for a request's proxy, the job ends with [`ErrorKind::Session`](crate::ErrorKind::Session). An [`Error`] (in
    /// the box) becomes the job's error as it is: a proxy that cannot be used makes the request invalid, not the
    /// session.
    fn build(self, options: &TransportOptions) -> Result<Self::Transport, BoxError>;
}

impl<T: Transport> TransportBuilder for T {
    type Transport = T;

    fn build(self, options: &TransportOptions) -> Result<T, BoxError> {
        options.refuse()?;
        Ok(self)
    }
}
