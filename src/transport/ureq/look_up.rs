//! Looking up host names: only for connections that are made.

use std::net::{IpAddr, SocketAddr};

use ::ureq::config::Config;
use ::ureq::http::Uri;
use ::ureq::http::uri::Scheme;
use ::ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ::ureq::unversioned::transport::{ConnectionDetails, NextTimeout};
use ::ureq::{Error, Proxy, ProxyProtocol};

use super::current;
use super::failure::Stage;
use crate::addresses::AddressFilter;

/// Finds nothing. An agent asks for the addresses of each request's host, whether it connects or not; who connects looks
/// them up itself.
#[derive(Debug)]
pub(super) struct LookUpLater;

impl Resolver for LookUpLater {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        if config.proxy().is_some_and(needs_addresses) {
            return look_up(uri, config, timeout);
        }
        Ok(self.empty())
    }
}

/// ureq's connectors for these take what they are given.
fn needs_addresses(proxy: &Proxy) -> bool {
    proxy.resolve_target()
        || !matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https)
}

/// The addresses to connect to.
pub(super) fn addresses(
    details: &ConnectionDetails<'_>,
    filter: Option<&AddressFilter>,
) -> Result<Vec<SocketAddr>, Error> {
    let found = if details.addrs.is_empty() {
        look_up(details.uri, details.config, details.timeout)?
    } else {
        details.addrs.clone()
    };
    let Some(filter) = filter else {
        return Ok(found.to_vec());
    };
    let host = details.uri.host().unwrap_or_default();
    filter
        .vetted(host, found.iter().copied())
        .map_err(|refused| Stage::LookUp.failed(Error::Other(refused.into())))
}

fn look_up(uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
    let resolver = DefaultResolver::default();
    if let Some(address) = address(uri) {
        let mut addresses = resolver.empty();
        addresses.push(address);
        return Ok(addresses);
    }
    current::within(timeout)
        .and_then(|timeout| resolver.resolve(uri, config, timeout))
        .map_err(|error| Stage::LookUp.failed(error))
}

/// Looking up a name takes a thread; an address needs none.
fn address(uri: &Uri) -> Option<SocketAddr> {
    let host = uri.host()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address: IpAddr = bare.unwrap_or(host).parse().ok()?;
    let default_port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => 80,
        Some(scheme) if *scheme == Scheme::HTTPS => 443,
        _ => return None,
    };
    Some(SocketAddr::new(
        address,
        uri.port_u16().unwrap_or(default_port),
    ))
}
