//! How connections come about: straight to the server or through a proxy, and over TLS if that is asked for.

use std::sync::Arc;

use ::ureq::Error;
#[cfg(feature = "native-tls")]
use ::ureq::unversioned::transport::NativeTlsConnector;
#[cfg(feature = "default-tls")]
use ::ureq::unversioned::transport::RustlsConnector;
#[cfg(feature = "socks")]
use ::ureq::unversioned::transport::SocksConnector;
use ::ureq::unversioned::transport::{
    ConnectProxyConnector, ConnectionDetails, Connector, Transport,
};

use super::connection::boxed;
use super::failure::Stage;
use super::forward::ForwardConnector;
use super::idle::Idle;
use super::reuse::IdleFirst;
use super::socket::SocketConnector;
use crate::addresses::AddressFilter;

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
