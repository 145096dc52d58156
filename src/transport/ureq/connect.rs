//! How connections come about: straight to the server or through a proxy, and over TLS if that is asked for.

use std::sync::Arc;

use ::ureq::Error;
use ::ureq::http::Uri;
#[cfg(feature = "native-tls")]
use ::ureq::unversioned::transport::NativeTlsConnector;
#[cfg(feature = "default-tls")]
use ::ureq::unversioned::transport::RustlsConnector;
#[cfg(feature = "socks")]
use ::ureq::unversioned::transport::SocksConnector;
use ::ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Transport,
};

use super::forward::ForwardConnector;
use super::idle::{Idle, IdleFirst};
use super::socket::SocketConnector;
use crate::addresses::AddressFilter;

/// A connection of whatever kind.
pub(super) type Connection = Box<dyn Transport>;

/// What makes connections, erased because proxies need it too.
pub(super) type BoxedConnector = Arc<dyn Connector<(), Out = Connection>>;

/// What an agent makes its connections with: one that is idle if there is one, a new one otherwise.
pub(super) fn connector(
    idle: Arc<Idle>,
    filter: Option<AddressFilter>,
) -> impl Connector<(), Out = impl Transport> {
    let to_proxies = boxed(direct((), None));
    let proxied = ();
    #[cfg(feature = "socks")]
    let proxied = proxied.chain(AtProxy(SocksConnector::default()));
    let proxied = proxied
        .chain(AtProxy(ForwardConnector::new(Arc::clone(&to_proxies))))
        .chain(AtProxy(ConnectProxyConnector::default()));
    IdleFirst::new(idle, boxed(direct(proxied, filter)), to_proxies)
}

/// Connects to the server itself, unless a proxy has connected already. On top comes TLS, if it is asked for.
fn direct<P: Connector<()>>(
    proxied: P,
    filter: Option<AddressFilter>,
) -> impl Connector<(), Out = impl Transport> {
    let connector = proxied.chain(SocketConnector::new(filter));
    #[cfg(feature = "default-tls")]
    let connector = connector.chain(RustlsConnector::default());
    #[cfg(feature = "native-tls")]
    let connector = connector.chain(NativeTlsConnector::default());
    connector
}

/// The details of a connection to another place, on behalf of this one. Its addresses are yet to be looked up.
pub(super) fn details_for<'a>(
    details: &ConnectionDetails<'a>,
    uri: &'a Uri,
) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri,
        addrs: details.resolver.empty(),
        ..copy(details)
    }
}

pub(super) fn copy<'a>(details: &ConnectionDetails<'a>) -> ConnectionDetails<'a> {
    ConnectionDetails {
        uri: details.uri,
        addrs: details.addrs.clone(),
        config: details.config,
        request_level: details.request_level,
        resolver: details.resolver,
        now: details.now,
        timeout: details.timeout,
        current_time: details.current_time.clone(),
        run_connector: details.run_connector.clone(),
        register_shutdown: details.register_shutdown.clone(),
    }
}

/// What kept a connection from coming about: no server has seen any of the request.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(super) struct ConnectFailure {
    pub(super) stage: Stage,
    pub(super) source: Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    LookUp,
    Connection,
    /// Anything on the way to and with a proxy, looking it up included.
    Proxy,
}

impl Stage {
    /// The same error, marked as one of this stage. One of a stage further inside stays that, but for proxies: they are
    /// connected to in the same way as servers.
    pub(super) fn failed(self, error: Error) -> Error {
        let mut failure = match error {
            Error::Other(source) => match source.downcast::<ConnectFailure>() {
                Ok(failure) => failure,
                Err(source) => self.failure(Error::Other(source)),
            },
            source => self.failure(source),
        };
        if self == Self::Proxy {
            failure.stage = self;
        }
        Error::Other(failure)
    }

    fn failure(self, source: Error) -> Box<ConnectFailure> {
        Box::new(ConnectFailure {
            stage: self,
            source,
        })
    }
}

/// A connector that is about proxies only.
#[derive(Debug)]
struct AtProxy<C>(C);

impl<In: Transport, C: Connector<In>> Connector<In> for AtProxy<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<C::Out>, Error> {
        self.0
            .connect(details, chained)
            .map_err(|error| Stage::Proxy.failed(error))
    }
}

fn boxed(connector: impl Connector<()>) -> BoxedConnector {
    Arc::new(connector.chain(Boxing))
}

#[derive(Debug)]
struct Boxing;

impl<In: Transport> Connector<In> for Boxing {
    type Out = Connection;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Connection>, Error> {
        Ok(chained.map(|connection| Box::new(connection) as Connection))
    }
}
