//! DNS resolution of the event-driven client.
//!
//! The resolver of the system blocks, so it runs on threads of its own. What it has found is kept for a moment, for all pools
//! of the process, and lookups of the same name at the same time share one.

use std::net::{IpAddr, SocketAddr};
#[cfg(not(feature = "hickory-dns"))]
use std::{
    collections::HashMap,
    io,
    net::ToSocketAddrs,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

#[cfg(not(feature = "hickory-dns"))]
use tokio::sync::watch;

use super::Settings;
#[cfg(not(feature = "hickory-dns"))]
use crate::blocking_threads::LOOKUPS;
use crate::error::Error;
#[cfg(not(feature = "hickory-dns"))]
use crate::sync::Mutex;

/// A host without the brackets that an IPv6 address is in within a URL.
pub(super) fn without_brackets(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

/// The address that a host is, rather than a name.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    without_brackets(host).parse().ok()
}

/// The addresses of a host: of a literal, as the settings say, or resolved.
pub(super) async fn addresses(
    settings: &Settings,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, Error> {
    if let Some(address) = literal(host) {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let with_port = |address: &SocketAddr| match address.port() {
        0 => SocketAddr::new(address.ip(), port),
        _ => *address,
    };
    let key = host.to_ascii_lowercase();
    if let Some(addresses) = settings.overrides.get(&key) {
        return Ok(addresses.iter().map(with_port).collect());
    }
    let found = resolve(settings, key).await?;
    if found.is_empty() {
        return Err(Error::dns("the name has no address"));
    }
    Ok(found
        .iter()
        .map(|address| SocketAddr::new(*address, port))
        .collect())
}

#[cfg(feature = "hickory-dns")]
async fn resolve(settings: &Settings, host: String) -> Result<Vec<IpAddr>, Error> {
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::LookupIpStrategy;
    use hickory_resolver::net::NetError;

    use crate::error::is_out_of_resources;

    let failed = |error: NetError| match error {
        NetError::Io(error) if is_out_of_resources(&*error) => Error::local_resource(error),
        error => Error::from_resolution(error.into()),
    };
    let resolver = match settings.resolver.get() {
        Some(resolver) => resolver,
        None => {
            let mut builder = TokioResolver::builder_tokio().map_err(failed)?;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
            let resolver = builder.build().map_err(failed)?;
            settings.resolver.get_or_init(|| resolver)
        }
    };
    let found = resolver.lookup_ip(host).await.map_err(failed)?;
    Ok(found.iter().collect())
}

/// How long the addresses of a name are kept. The resolver of the system does not tell how long they are valid.
#[cfg(not(feature = "hickory-dns"))]
const KEPT_FOR: Duration = Duration::from_secs(5);

/// How many names are kept, at least, before those whose time is over are removed.
#[cfg(not(feature = "hickory-dns"))]
const MAX_KEPT: usize = 1024;

#[cfg(not(feature = "hickory-dns"))]
static CACHE: LazyLock<Mutex<Cache>> = LazyLock::new(Mutex::default);

#[cfg(not(feature = "hickory-dns"))]
#[derive(Default)]
struct Cache {
    entries: HashMap<String, Entry>,
    /// How many there were after old ones were removed last.
    tidied: usize,
}

#[cfg(not(feature = "hickory-dns"))]
impl Cache {
    /// Removes names whose time is over, when there are twice as many as before.
    fn tidy(&mut self) {
        if self.entries.len() < MAX_KEPT.max(2 * self.tidied) {
            return;
        }
        let now = Instant::now();
        self.entries.retain(|_, entry| match entry {
            Entry::Known { until, .. } => *until > now,
            Entry::Pending(_) => true,
        });
        self.tidied = self.entries.len();
    }
}

#[cfg(not(feature = "hickory-dns"))]
type Resolved = Result<Arc<[IpAddr]>, Arc<io::Error>>;

#[cfg(not(feature = "hickory-dns"))]
enum Entry {
    Known {
        addresses: Arc<[IpAddr]>,
        until: Instant,
    },
    /// A lookup is under way, or waits for a thread.
    Pending(Lookup),
}

#[cfg(not(feature = "hickory-dns"))]
async fn resolve(_: &Settings, host: String) -> Result<Arc<[IpAddr]>, Error> {
    // A lookup that this one waits for may be given up by those that have asked for it first.
    for _ in 0..2 {
        let mut lookup = match look_into_cache(&host)? {
            Ok(addresses) => return Ok(addresses),
            Err(lookup) => lookup,
        };
        let result = match lookup.wait_for(Option::is_some).await {
            Ok(result) => result.clone(),
            Err(_) => None,
        };
        match result {
            Some(Ok(addresses)) => return Ok(addresses),
            Some(Err(error)) => return Err(Error::from_resolution(error.into())),
            None => {}
        }
    }
    Err(Error::local_resource(
        "the lookup of the name could not be started",
    ))
}

#[cfg(not(feature = "hickory-dns"))]
type Lookup = watch::Receiver<Option<Resolved>>;

/// The addresses of a name, if they are known; otherwise a lookup that is under way, or starts now.
#[cfg(not(feature = "hickory-dns"))]
fn look_into_cache(host: &str) -> Result<Result<Arc<[IpAddr]>, Lookup>, Error> {
    let mut cache = CACHE.lock();
    match cache.entries.get(host) {
        Some(Entry::Known { addresses, until }) if *until > Instant::now() => {
            return Ok(Ok(Arc::clone(addresses)));
        }
        // One without a sender had no thread.
        Some(Entry::Pending(lookup)) if lookup.has_changed().is_ok() => {
            return Ok(Err(lookup.clone()));
        }
        _ => {}
    }
    let (result, lookup) = watch::channel(None);
    let pending = Entry::Pending(lookup.clone());
    cache.entries.insert(host.to_owned(), pending);
    drop(cache);
    let name = host.to_owned();
    if let Err(error) = LOOKUPS.spawn(move || look_up(name, result)) {
        CACHE.lock().entries.remove(host);
        return Err(error);
    }
    Ok(Err(lookup))
}

#[cfg(not(feature = "hickory-dns"))]
fn look_up(name: String, result: watch::Sender<Option<Resolved>>) {
    // Besides the one in the cache.
    let is_wanted = result.receiver_count() > 1;
    let found = is_wanted.then(|| (name.as_str(), 0).to_socket_addrs());
    let mut cache = CACHE.lock();
    cache.tidy();
    let resolved: Option<Resolved> = match found {
        Some(Ok(found)) => {
            let addresses: Arc<[IpAddr]> = found.map(|address| address.ip()).collect();
            let entry = Entry::Known {
                addresses: Arc::clone(&addresses),
                until: Instant::now() + KEPT_FOR,
            };
            cache.entries.insert(name, entry);
            Some(Ok(addresses))
        }
        Some(Err(error)) => {
            cache.entries.remove(&name);
            Some(Err(Arc::new(error)))
        }
        None => {
            // A caller that comes now begins another lookup; one that came a moment ago is told that this one failed.
            cache.entries.remove(&name);
            None
        }
    };
    drop(cache);
    result.send_replace(resolved);
}
