//! What a transport has to keep to, beyond its own settings: [`TransportOptions`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use url::Url;

use super::TransportBuilder;
use crate::addresses::AddressFilter;
use crate::error::{BoxError, Error, RootCause};
use crate::redact::SafeUrl;

/// The requirements that the pool or a request places on a transport, passed to [`TransportBuilder::build`].
///
/// The default has none. A pool never sets a proxy together with an address filter.
///
/// ```
/// use threaded::url::Url;
/// use threaded::{TransportBuilder, TransportOptions};
///
/// let client = || reqwest::blocking::Client::builder();
/// let options = TransportOptions::default().with_proxy(Url::parse("http://user:s3cr3t@127.0.0.1:3128")?);
/// let transport = TransportBuilder::build(client(), &options)?;
/// assert!(!format!("{options:?}").contains("s3cr3t"));
/// # let _ = transport;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TransportOptions {
    proxy: Option<Url>,
    address_filter: Option<AddressFilter>,
    stall_timeout: Option<Duration>,
    /// Shared by clones: a builder may pass one on to another builder.
    read: Arc<ReadFlags>,
}

/// Which options a builder has read. One that ignored them would send requests past their proxy, or into the local
/// network.
#[derive(Default)]
struct ReadFlags {
    proxy: AtomicBool,
    address_filter: AtomicBool,
}

impl TransportOptions {
    /// Sets the [`proxy`](Self::proxy). Defaults to none.
    #[must_use]
    pub fn with_proxy(mut self, proxy: impl Into<Option<Url>>) -> Self {
        self.proxy = proxy.into();
        self
    }

    /// Sets the [`address_filter`](Self::address_filter). Defaults to none.
    #[must_use]
    pub fn with_address_filter(mut self, filter: impl Into<Option<AddressFilter>>) -> Self {
        self.address_filter = filter.into();
        self
    }

    /// Sets the [`stall_timeout`](Self::stall_timeout). Defaults to none.
    #[must_use]
    pub fn with_stall_timeout(mut self, stall_timeout: impl Into<Option<Duration>>) -> Self {
        self.stall_timeout = stall_timeout.into();
        self
    }

    /// The proxy set by a request: all exchanges must go through it. Its scheme selects the protocol; its user info must be
    /// sent to the proxy only. With `None`, the transport's own settings apply.
    pub fn proxy(&self) -> Option<&Url> {
        self.read.proxy.store(true, Ordering::Relaxed);
        self.proxy.as_ref()
    }

    /// The addresses that may be connected to
    /// ([`PoolBuilder::public_addresses_only`](crate::PoolBuilder::public_addresses_only)). The transport connects to no
    /// others, and sends through no proxy, not even one of the environment: a proxy resolves host names itself, out of
    /// the filter's reach.
    pub fn address_filter(&self) -> Option<&AddressFilter> {
        self.read.address_filter.store(true, Ordering::Relaxed);
        self.address_filter.as_ref()
    }

    /// The [stall timeout](crate::Exchange::stall_timeout) of all exchanges that have one, for clients that take it when
    /// they are built. A transport that takes it from the exchange may ignore this one.
    pub fn stall_timeout(&self) -> Option<Duration> {
        self.stall_timeout
    }

    /// Builds a transport that honours these options, or fails.
    pub(crate) fn build<B: TransportBuilder>(&self, builder: B) -> Result<B::Transport, BoxError> {
        if self.proxy.is_some() && self.address_filter.is_some() {
            return Err(Error::invalid_request(
                "with public_addresses_only no request is sent through a proxy, which would resolve the host name itself",
            )
            .into());
        }
        let transport = builder.build(self)?;
        let ReadFlags {
            proxy,
            address_filter,
        } = &*self.read;
        let is_ignored = |read: &AtomicBool| !read.load(Ordering::Relaxed);
        self.refuse_if(is_ignored(proxy), is_ignored(address_filter))?;
        Ok(transport)
    }

    /// Fails if there is an option that must be honoured.
    pub(super) fn refuse(&self) -> Result<(), BoxError> {
        self.refuse_if(true, true)
    }

    fn refuse_if(&self, proxy: bool, address_filter: bool) -> Result<(), BoxError> {
        if address_filter && self.address_filter.is_some() {
            return Err("this transport cannot be kept to public addresses".into());
        }
        if proxy && self.proxy.is_some() {
            let message = "this transport cannot send through a proxy of the request's choice";
            return Err(Error::invalid_request(message).into());
        }
        Ok(())
    }
}

/// The error of a request whose proxy the client cannot use.
pub(super) fn unusable_proxy(source: impl Into<BoxError>) -> Error {
    let source = source.into();
    let message = format!("the proxy cannot be used: {}", RootCause(&*source));
    Error::invalid_request(message).with_source(source)
}

impl fmt::Debug for TransportOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proxy,
            address_filter,
            stall_timeout,
            read: _,
        } = self;
        let proxy = proxy.as_ref().map(|proxy| SafeUrl(proxy.as_str()));
        f.debug_struct("TransportOptions")
            .field("proxy", &proxy)
            .field("address_filter", address_filter)
            .field("stall_timeout", stall_timeout)
            .finish()
    }
}
