//! Connections and what makes them, of whatever kind.

use std::sync::Arc;

use ::ureq::Error;
use ::ureq::http::Uri;
use ::ureq::unversioned::transport::{ConnectionDetails, Connector, Transport};

/// A connection of whatever kind.
pub(super) type Connection = Box<dyn Transport>;

/// What makes connections, erased because proxies need it too.
pub(super) type BoxedConnector = Arc<dyn Connector<(), Out = Connection>>;

pub(super) fn boxed(connector: impl Connector<()>) -> BoxedConnector {
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
