//! A durable queue on a Redis or Valkey server, for any number of processes on any number of machines. With the feature `redis`.
//!
//! Jobs are entries of a stream that a consumer group shares out. What changes a queue is a script, which the server runs as
//! one step; see `scripts.rs`. A job is leased while a consumer has it: the lease is renewed while the consumer lives, and when
//! it runs out, another consumer takes the job over.

mod availability;
mod consumer;
mod limits;
mod scripts;
mod server;
mod store;

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use redis::{IntoConnectionInfo, RedisResult};

use self::server::Server;
#[cfg(feature = "default-tls")]
use super::SealingKey;
use super::{Queue, QueueError, sealing};
use crate::redact::Truncated;

/// The version of what is stored.
const VERSION: &str = "1";

/// Opens a [`Queue`] on a Redis or Valkey server: for any number of processes, on any number of machines.
///
/// ```no_run
/// use threaded::Pool;
/// use threaded::queue::RedisQueue;
///
/// let queue = RedisQueue::open("redis://10.0.0.5/0", "backfill")?;
/// for delivery in Pool::builder().concurrency(500).deliveries(&queue)? {
///     let delivery = delivery?;
///     println!("{}", delivery.job_id());
///     delivery.ack()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The server must be Redis 7.0 or newer, or Valkey, and must not forget: with `appendonly yes`, and a `maxmemory-policy` of
/// `noeviction`. Otherwise opening fails, unless [`allow_volatile`](Self::allow_volatile) is set. With `appendfsync everysec`,
/// the default, a crash of the server, or of its machine, can lose what the last second has changed, and two seconds while its disk
/// is busy (measured with Redis 7.0, killed just after a reply): jobs whose records are lost with it are sent again. With
/// `appendfsync always` nothing is lost.
///
/// URLs are `redis://[user:password@]host[:port][/database]`, `rediss://…` for TLS, and `unix:///path/to/socket`.
///
/// # What consumers do
///
/// A pool that consumes a queue takes two threads more. A job that was taken is leased; the lease is renewed while the pool
/// has the job, so it may take as long as it needs. If the process ends, the job is taken over by another consumer when the
/// [`lease`](Self::lease) has run out. A consumer that is slow or hangs longer than that, and comes back, may do a job twice: then
/// the first record wins. Taking over takes up to a third of the lease more, and a consumer that has room.
///
/// A request that is not idempotent is marked when it is taken. If its consumer ends without giving it back, it counts as sent,
/// though it may have been queued in the pool.
///
/// # Who can write to the server
///
/// A job is obeyed by the consumers that take it: it says which URL is requested, and which files below the [root](Self::root) are
/// sent and written. Give the server a password, and the pool
/// [`public_addresses_only`](crate::PoolBuilder::public_addresses_only) if URLs come from outside.
///
/// # While the server is away
///
/// Jobs that were taken go on. Calls that need the server, such as [`Delivery::ack`](crate::Delivery::ack), wait until it is
/// back, or fail after [`max_outage`](Self::max_outage); nothing is lost. The observer of the pool is
/// [told](crate::Observer::queue_down). Deliveries wait for ever; a deadline of the pool or
/// [`Handle::shutdown`](crate::Handle::shutdown) ends them. If the server comes back without its data, they fail with
/// [`QueueError::Lost`].
#[derive(Clone)]
#[must_use]
pub struct RedisQueue {
    url: String,
    name: String,
    lease: Duration,
    max_deliveries: u32,
    remembers_ids: bool,
    allows_volatile: bool,
    max_outage: Option<Duration>,
    secrets: sealing::Keys,
    root: Option<PathBuf>,
}

impl RedisQueue {
    /// Opens the queue of this name on this server with the default settings, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error as [`build`](Self::build) does.
    pub fn open(url: impl Into<String>, name: impl Into<String>) -> Result<Queue, QueueError> {
        Self::builder(url, name).build()
    }

    /// Opens the queue of this name on this server with other settings: see [`build`](Self::build).
    pub fn builder(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            name: name.into(),
            lease: Duration::from_secs(60),
            max_deliveries: 3,
            remembers_ids: true,
            allows_volatile: false,
            max_outage: None,
            secrets: sealing::Keys::default(),
            root: None,
        }
    }

    /// After what time without a sign of life another consumer takes a job over. Leases are renewed three times in that time.
    /// Less than 100 ms count as 100 ms. Defaults to 60 s.
    pub fn lease(mut self, time: Duration) -> Self {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1 << 30));
        self.lease = time.clamp(min, max);
        self
    }

    /// How often a job is taken without an outcome, before it is [dead](Queue::dead). All jobs that a consumer has when it dies
    /// count as taken by it; before a job is dead, it is taken once without others of that kind. 0 counts as 1. Defaults to 3.
    pub fn max_deliveries(mut self, times: u32) -> Self {
        self.max_deliveries = times.max(1);
        self
    }

    /// Whether the server keeps the ids of jobs that are done, about 70 bytes for each, so that a job that is submitted again is
    /// [known](super::Submitted::Known). Defaults to `true`.
    pub fn remember_ids(mut self, remember: bool) -> Self {
        self.remembers_ids = remember;
        self
    }

    /// Whether a server is accepted that may lose jobs, since it keeps them in memory only, or drops keys when its memory is
    /// full. Defaults to `false`.
    pub fn allow_volatile(mut self, allow: bool) -> Self {
        self.allows_volatile = allow;
        self
    }

    /// For how long a call waits for a server that is away, before it fails: it tries once more after that time, which takes up to
    /// 15 s. `None` is no limit. Defaults to `None`.
    pub fn max_outage(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.max_outage = limit.into();
        self
    }

    /// The folder of this consumer that paths of jobs are in: files that are sent, and those that bodies are
    /// [saved to](crate::RequestSpec::save_to). Jobs can only name paths below it, since they come from outside; other paths are
    /// refused when a job is submitted, and make it dead when it is taken. Defaults to none, so that jobs with files are dead.
    pub fn root(mut self, folder: impl Into<PathBuf>) -> Self {
        self.root = Some(folder.into());
        self
    }

    /// Where the file of a job is.
    fn resolve(&self, path: &Path) -> Result<PathBuf, String> {
        let path = relative(path)?;
        match &self.root {
            Some(root) => Ok(root.join(path)),
            None => Err(format!(
                "`{}`: the queue was opened without a folder for files; set it with `RedisQueue::root`",
                Truncated(path.display())
            )),
        }
    }

    /// Seals secrets with this key, instead of refusing them, as `Journal::seal_with` does. Defaults to none.
    #[cfg(feature = "default-tls")]
    pub fn seal_with(mut self, key: SealingKey) -> Self {
        self.secrets.add(key);
        self
    }

    /// Connects to the server, and creates the queue if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns [`QueueError::Server`] if the URL is invalid, or the server cannot be reached, refuses the credentials or is too
    /// old, and [`QueueError::NotDurable`] if it may lose jobs.
    pub fn build(self) -> Result<Queue, QueueError> {
        let invalid = |message: String| QueueError::Server {
            server: crate::redact::SafeUrl(&self.url).to_string(),
            message,
        };
        if self.name.is_empty() || self.name.contains(['{', '}']) {
            let message = format!(
                "the name `{}` of the queue is empty or has braces",
                self.name
            );
            return Err(invalid(message));
        }
        let info = self.url.as_str().into_connection_info();
        let info = info.map_err(|error| {
            invalid(format!(
                "the URL is not valid ({error}); it is redis://, rediss:// or unix:///path/to/socket"
            ))
        })?;
        #[cfg(feature = "default-tls")]
        if self.url.starts_with("rediss:") {
            // The client uses the provider of the process. It stays if there is one.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let client = redis::Client::open(info).map_err(|error| invalid(error.to_string()))?;
        let mut server = Server::new(client, &self.name, self.max_outage);
        let durability = server
            .call_once(|connection, _| why_not_durable(connection))
            .map_err(|error| server.error(&error))?;
        if let (Some(message), false) = (durability, self.allows_volatile) {
            return Err(QueueError::NotDurable {
                server: server.address().to_owned(),
                message,
            });
        }
        let new_id = format!("{:032x}", fastrand::u128(..));
        let (version, id): (String, String) = server
            .call_once(|connection, keys| {
                for (field, value) in [("version", VERSION), ("id", &new_id)] {
                    let mut command = redis::cmd("HSETNX");
                    let command = command.arg(&keys.meta).arg(field).arg(value);
                    command.query::<()>(connection)?;
                }
                server::create_group(connection, keys)?;
                let mut command = redis::cmd("HMGET");
                command
                    .arg(&keys.meta)
                    .arg("version")
                    .arg("id")
                    .query(connection)
            })
            .map_err(|error| server.error(&error))?;
        if version != VERSION {
            let name = &self.name;
            return Err(invalid(format!(
                "the queue `{name}` has version `{version}`, and only version {VERSION} is known here"
            )));
        }
        server.keys.id = id;
        Ok(store::open(self, server))
    }
}

impl fmt::Debug for RedisQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url,
            name,
            lease,
            max_deliveries,
            remembers_ids,
            allows_volatile,
            max_outage,
            secrets,
            root,
        } = self;
        f.debug_struct("RedisQueue")
            .field("url", &format_args!("{}", crate::redact::SafeUrl(url)))
            .field("name", name)
            .field("lease", lease)
            .field("max_deliveries", max_deliveries)
            .field("remember_ids", remembers_ids)
            .field("allow_volatile", allows_volatile)
            .field("max_outage", max_outage)
            .field("secrets", secrets)
            .field("root", root)
            .finish()
    }
}

/// A path that stays below the folder that it is relative to.
fn relative(path: &Path) -> Result<&Path, String> {
    let mut components = path.components();
    if components.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Ok(path);
    }
    Err(format!(
        "`{}` is not relative to the folder of the consumer, or leads out of it",
        Truncated(path.display())
    ))
}

/// Why the server may lose what it is given, if it may.
fn why_not_durable(connection: &mut redis::Connection) -> RedisResult<Option<String>> {
    let info: String = redis::cmd("INFO").query(connection)?;
    let value = |name: &str| {
        let line = info.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.strip_prefix(':'))
    };
    let version = value("redis_version").unwrap_or_default();
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    );
    if version < (7, 0) {
        let (major, minor) = version;
        return Err(redis::make_extension_error(
            "VERSION".to_owned(),
            Some(format!(
                "the server is version {major}.{minor}; it takes 7.0 or newer"
            )),
        ));
    }
    if value("aof_enabled") == Some("0") {
        return Ok(Some(
            "it does not append what it is given to a file; start it with `--appendonly yes`"
                .to_owned(),
        ));
    }
    Ok(match value("maxmemory_policy") {
        None | Some("noeviction") => None,
        Some(policy) => Some(format!(
            "it drops keys when its memory is full (`maxmemory-policy {policy}`); set `noeviction`"
        )),
    })
}
