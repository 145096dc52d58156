//! SSRF protection: the addresses that may be connected to when URLs are untrusted.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use url::{Host, Url};

use crate::origin::Origin;
use crate::redact::Truncated;

/// Distinguishes public addresses from local and private ones, for
/// [`PoolBuilder::public_addresses_only`](crate::PoolBuilder::public_addresses_only).
///
/// A transport given one in its [`TransportOptions`](crate::TransportOptions) must check every resolved address against it.
/// The default allows only public addresses.
#[derive(Clone, Debug, Default)]
pub struct AddressFilter {
    /// The origins that are allowed at any address.
    exceptions: Arc<[Origin]>,
}

impl AddressFilter {
    pub(crate) fn new(exceptions: impl IntoIterator<Item = Origin>) -> Self {
        Self {
            exceptions: exceptions.into_iter().collect(),
        }
    }

    /// Returns whether this host may be connected to at this address.
    pub fn allows(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || self.exceptions.iter().any(|origin| origin.has_host(host))
    }

    /// Returns the addresses of a host that may be connected to.
    pub(crate) fn vetted(
        &self,
        host: &str,
        addresses: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, NotPublic> {
        let addresses = addresses.into_iter();
        let vetted: Vec<SocketAddr> = addresses
            .filter(|address| self.allows(host, address.ip()))
            .collect();
        if vetted.is_empty() {
            return Err(NotPublic(host.to_owned()));
        }
        Ok(vetted)
    }

    /// Refuses a URL with an IP address that is not public, or with another port of an allowed origin's host. Other
    /// host names are checked when they are resolved.
    pub(crate) fn check(&self, url: &Url) -> Result<(), NotPublic> {
        if self.exceptions.iter().any(|origin| origin.matches(url)) {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        let is_refused = match url.host() {
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            _ => self.exceptions.iter().any(|origin| origin.has_host(host)),
        };
        if is_refused {
            return Err(NotPublic(host.to_owned()));
        }
        Ok(())
    }
}

/// The error for a host that may not be connected to.
#[derive(Clone, Debug)]
pub(crate) struct NotPublic(String);

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has no public address", Truncated(&self.0))
    }
}

impl std::error::Error for NotPublic {}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => is_public_v4(address),
            None => is_public_v6(address),
        },
    }
}

/// Blocks that are not globally reachable, or are not unicast (IANA's IPv4 special-purpose address registry, RFC 6890).
const SPECIAL_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast; reserved and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !SPECIAL_V4
        .iter()
        .any(|(block, prefix)| (bits ^ block.to_bits()).leading_zeros() >= *prefix)
}

/// The blocks of 2000::/3, the global unicast addresses (RFC 4291), that are not public.
const SPECIAL_V6: [(Ipv6Addr, u32); 3] = [
    // Protocol assignments, including Teredo.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = address.to_bits();
    let is_global_unicast = bits >> 125 == 0b001;
    is_global_unicast
        && !SPECIAL_V6
            .iter()
            .any(|(block, prefix)| (bits ^ block.to_bits()).leading_zeros() >= *prefix)
}

/// The IPv4 address that is embedded in an IPv6 address: mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            Some(Ipv4Addr::from_bits(bits as u32))
        }
        [0x2002, ..] => Some(Ipv4Addr::from_bits((bits >> 80) as u32)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_public_text(text: &str) -> bool {
        is_public(text.parse().expect("the table holds addresses"))
    }

    #[test]
    fn the_first_and_the_last_of_each_block_are_special_and_their_neighbours_are_not() {
        for (block, prefix) in SPECIAL_V4 {
            let first = block.to_bits();
            let last = first | (u32::MAX >> prefix);
            assert!(!is_public_v4(block), "{block}");
            assert!(!is_public_v4(Ipv4Addr::from_bits(last)), "{block}/{prefix}");
            assert_eq!(first & (u32::MAX >> prefix), 0, "{block}/{prefix}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
        ] {
            assert!(is_public_text(public), "{public}");
        }
    }

    #[test]
    fn only_global_unicast_ipv6_addresses_are_public() {
        for public in ["2600::1", "2001:4860:4860::8888", "2a00:1450::1", "3ffe::1"] {
            assert!(is_public_text(public), "{public}");
        }
        for special in [
            "::",
            "::1",
            "::7f00:1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "64:ff9b:1::1",
            "5f00::1",
        ] {
            assert!(!is_public_text(special), "{special}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_decides() {
        for (embedded, is_public) in [("10.1.2.3", false), ("127.0.0.1", false), ("8.8.8.8", true)]
        {
            let embedded: Ipv4Addr = embedded.parse().expect("an address");
            let [high, low] = [embedded.to_bits() >> 16, embedded.to_bits() & 0xffff];
            for text in [
                format!("::ffff:{embedded}"),
                format!("64:ff9b::{embedded}"),
                format!("2002:{high:x}:{low:x}::1"),
            ] {
                assert_eq!(is_public_text(&text), is_public, "{text}");
            }
        }
    }
}
