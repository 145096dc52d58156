//! Using connections again that are idle.

use std::sync::Arc;

use ::ureq::Error;
use ::ureq::unversioned::transport::{ConnectionDetails, Connector};

use super::connection::{BoxedConnector, Connection, copy};
use super::current;
use super::failure::Stage;
use super::idle::{Destination, Idle};
use super::in_use::InUse;

/// Takes an idle connection, or makes one.
#[derive(Debug)]
pub(super) struct IdleFirst {
    idle: Arc<Idle>,
    connector: BoxedConnector,
    to_proxies: BoxedConnector,
}

impl IdleFirst {
    pub(super) fn new(
        idle: Arc<Idle>,
        connector: BoxedConnector,
        to_proxies: BoxedConnector,
    ) -> Self {
        Self {
            idle,
            connector,
            to_proxies,
        }
    }

    fn make(&self, details: &ConnectionDetails<'_>) -> Result<Option<Connection>, Error> {
        let to_proxies = Arc::clone(&self.to_proxies);
        let details = ConnectionDetails {
            timeout: current::within(details.timeout)?,
            // A tunnel begins with a connection that will never be idle.
            run_connector: Arc::new(move |details| {
                to_proxies
                    .connect(details, None)?
                    .ok_or(Error::ConnectionFailed)
            }),
            ..copy(details)
        };
        self.connector.connect(&details, None)
    }
}

impl Connector<()> for IdleFirst {
    type Out = InUse;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<InUse>, Error> {
        let to = Destination::of(details.uri);
        let idle = to.as_ref().and_then(|to| self.idle.take(to));
        let connection = match idle {
            Some(connection) => Some(connection),
            None => self
                .make(details)
                .map_err(|error| Stage::Connection.failed(error))?,
        };
        current::has_connected();
        Ok(connection
            .zip(to)
            .map(|(connection, to)| InUse::new(connection, to, Arc::clone(&self.idle))))
    }
}
