//! A durable queue on a Redis or Valkey server, for any number of processes on any number of machines. With the feature `redis`.
//!
//! Jobs are entries of a stream that a consumer group shares out. What changes a queue is a script, which the server runs as
//! one step; see `scripts.rs`. A job is leased while a consumer has it: the lease is renewed while the consumer lives, and when
//! it runs out, another consumer takes the job over.

mod consumer;
mod scripts;
mod server;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use redis::{FromRedisValue, IntoConnectionInfo, RedisResult, Value};

use self::server::Server;
#[cfg(feature = "default-tls")]
use super::SealingKey;
use super::sealing;
use super::{
    Acked, Batch, DeadJob, Delay, Entry, Job, Queue, QueueError, QueueStats, Recorded,
    RecordedOutcomes, Store, Taken, TakenJob, reason_of,
};
use crate::redact::Truncated;
use crate::request::RequestSpec;
use crate::sync::{Mutex, WaitList, thread};

/// How many bytes of jobs are submitted in one call, at most.
const BATCH: usize = 256 << 10;
/// How many jobs.
const BATCH_JOBS: usize = 1_000;

/// For how long the end of the deliveries waits until the server knows what was given back.
const MAX_SETTLING: Duration = Duration::from_secs(5);

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
/// the default, a crash of the server process loses nothing, and a power failure the last second.
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
/// back, or fail after [`max_outage`](Self::max_outage); nothing is lost. Deliveries wait for ever; a deadline of the pool or
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
        let info = info.map_err(|error| invalid(error.to_string()))?;
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
        let random = fastrand::u64(..);
        let shared = Arc::new(Shared {
            consumer: format!("{}-{random:016x}", std::process::id()),
            server,
            settings: self,
            state: Mutex::default(),
            reader: WaitList::default(),
            keeper: WaitList::default(),
            settled: WaitList::default(),
        });
        Ok(Queue(Arc::new(RedisStore(shared))))
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

/// The public handle. When the last one is dropped, the threads end.
struct RedisStore(Arc<Shared>);

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.0.state.lock().is_dropped = true;
        self.0.wake_threads();
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.0;
        f.debug_struct("RedisQueue")
            .field("server", &shared.server.address())
            .field("name", &shared.settings.name)
            .field("consumer", &shared.consumer)
            .finish_non_exhaustive()
    }
}

/// What the handles share with the threads.
struct Shared {
    server: Server,
    settings: RedisQueue,
    /// Unique for each start of a process: a name that is used again would renew leases of another one.
    consumer: String,
    state: Mutex<State>,
    /// The thread that takes jobs.
    reader: WaitList,
    /// The thread that renews leases.
    keeper: WaitList,
    /// Those that wait until all leases have ended that are to end.
    settled: WaitList,
}

#[derive(Default)]
struct State {
    /// The jobs that this process has leased.
    held: Vec<Option<Held>>,
    vacant: Vec<usize>,
    /// Those that were taken, and that no pool has yet.
    ready: VecDeque<TakenJob>,
    /// How many jobs pools have room for.
    wanted: usize,
    /// The marks, by their entries, of which it is not known whether the server has them.
    marks_in_doubt: HashMap<String, String>,
    /// Leases that the thread that keeps them is to end: no worker waits for the server.
    endings: VecDeque<Ending>,
    is_over: bool,
    is_dropped: bool,
    /// Whether jobs may be in this consumer's name that it does not know of, since a reply was lost.
    has_unknown: bool,
    /// Whether the next job with its last chance can be taken over.
    reclaims_now: bool,
    /// Whether the thread that takes jobs is there.
    takes_jobs: bool,
    watchers: Vec<Waker>,
    failure: Option<QueueError>,
}

/// How a lease ends without an outcome.
enum Ending {
    Release(Held),
    /// When the retry is due; `None` if the clock cannot express it. With what is known of the attempts.
    Postpone(Held, Option<Instant>, String),
}

/// A leased job.
struct Held {
    /// The id of its entry in the stream.
    entry: String,
    starts: u32,
    /// Whether it was started this time.
    is_started: bool,
    /// Whether it is dead if its consumer dies with it.
    is_last_chance: bool,
}

impl State {
    fn hold(&mut self, held: Held) -> usize {
        let place = match self.vacant.pop() {
            Some(place) => place,
            None => {
                self.held.push(None);
                self.held.len() - 1
            }
        };
        if let Some(slot) = self.held.get_mut(place) {
            *slot = Some(held);
        }
        place
    }

    fn let_go(&mut self, place: usize) -> Option<Held> {
        let held = self.held.get_mut(place)?.take()?;
        self.vacant.push(place);
        self.reclaims_now |= held.is_last_chance;
        Some(held)
    }

    /// The entries of all leases that are to be renewed.
    fn leased(&self) -> impl Iterator<Item = &Held> {
        let endings = self.endings.iter().map(|ending| match ending {
            Ending::Release(held) | Ending::Postpone(held, ..) => held,
        });
        self.held.iter().flatten().chain(endings)
    }

    fn leased_entries(&self) -> HashSet<String> {
        self.leased().map(|held| held.entry.clone()).collect()
    }

    fn entry(&self, place: usize) -> Option<String> {
        let held = self.held.get(place)?.as_ref()?;
        Some(held.entry.clone())
    }
}

impl Shared {
    fn wake_threads(&self) {
        self.reader.notify_all();
        self.keeper.notify_all();
        self.server.waiting.notify_all();
    }

    fn wake_watchers(&self) {
        let watchers = self.state.lock().watchers.clone();
        watchers.iter().for_each(Waker::wake_by_ref);
    }

    fn set_over(&self, is_over: bool) {
        if is_over {
            self.state.lock().is_over = true;
            self.wake_watchers();
        }
    }

    /// Jobs were added.
    fn reopen(&self, is_open: bool) {
        if is_open {
            self.state.lock().is_over = false;
        }
    }
}

impl Store for RedisStore {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>) -> Result<usize, QueueError> {
        let mut accepted = 0;
        loop {
            let with_relative_paths = |request: RequestSpec| {
                request.with_paths(|path| relative(path).map(Path::to_owned))
            };
            let secrets = &self.0.settings.secrets;
            let batch = Batch::next(jobs, secrets, with_relative_paths, (BATCH_JOBS, BATCH));
            if !batch.jobs.is_empty() {
                let added = self.0.server.call(|connection, keys| {
                    let mut call = keys.call(&scripts::SUBMIT);
                    for (id, json) in &batch.jobs {
                        call.arg(id).arg(json);
                    }
                    call.invoke::<usize>(connection)
                })?;
                self.0.reopen(added > 0);
                accepted += added;
            }
            if let Some(end) = batch.end {
                return end.map(|()| accepted);
            }
        }
    }

    fn close(&self) -> Result<(), QueueError> {
        let is_over = self
            .0
            .server
            .call(|connection, keys| keys.call(&scripts::CLOSE).invoke(connection))?;
        self.0.set_over(is_over);
        Ok(())
    }

    fn take(&self, max: usize) -> Result<Taken, QueueError> {
        let mut state = self.0.state.lock();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let len = max.min(state.ready.len());
        let jobs: Vec<TakenJob> = state.ready.drain(..len).collect();
        state.wanted = max - len;
        let taken = Taken {
            is_over: jobs.is_empty() && state.is_over,
            jobs,
            next_at: None,
        };
        drop(state);
        self.0.reader.notify_one();
        Ok(taken)
    }

    fn watch(&self, waker: &Waker) {
        let mut state = self.0.state.lock();
        // Of consumers before.
        state.failure = None;
        state.is_over = false;
        state.watchers.push(waker.clone());
        let starts_threads = !std::mem::replace(&mut state.takes_jobs, true);
        drop(state);
        if starts_threads {
            for (name, run) in [
                ("threaded-take", Shared::take_jobs as fn(&Shared)),
                ("threaded-lease", Shared::keep_leases),
            ] {
                let shared = Arc::clone(&self.0);
                let thread = thread::Builder::new().name(name.to_owned());
                if let Err(error) = thread.spawn(move || run(&shared)) {
                    let mut state = self.0.state.lock();
                    state.takes_jobs = false;
                    state.failure = Some(QueueError::Server {
                        server: self.0.server.address().to_owned(),
                        message: format!("a thread could not be started: {error}"),
                    });
                }
            }
        }
    }

    fn unwatch(&self, waker: &Waker) {
        let mut state = self.0.state.lock();
        state.watchers.retain(|watcher| !watcher.will_wake(waker));
        if state.watchers.is_empty() {
            state.wanted = 0;
            let ready = std::mem::take(&mut state.ready);
            for job in ready {
                if let Some(held) = state.let_go(job.entry.place) {
                    state.endings.push_back(Ending::Release(held));
                }
            }
        }
        drop(state);
        self.0.keeper.notify_one();
    }

    fn start(&self, entry: &Entry, _: bool) -> Result<(), QueueError> {
        // It was marked when it was taken.
        let mut state = self.0.state.lock();
        if let Some(Some(held)) = state.held.get_mut(entry.place) {
            held.is_started = true;
        }
        Ok(())
    }

    fn record(&self, entry: &Entry, outcome: &[u8]) -> Result<Acked, QueueError> {
        let Some(id) = self.0.state.lock().entry(entry.place) else {
            return Ok(Acked::Superseded);
        };
        let remembers = i32::from(self.0.settings.remembers_ids);
        let (was_first, is_over): (bool, bool) = self.0.server.call(|connection, keys| {
            let mut call = keys.call(&scripts::RECORD);
            call.arg(&id)
                .arg(&*entry.job_id)
                .arg(outcome)
                .arg(remembers);
            call.invoke(connection)
        })?;
        self.0.state.lock().let_go(entry.place);
        self.0.set_over(is_over);
        Ok(if was_first {
            Acked::Recorded
        } else {
            Acked::Superseded
        })
    }

    fn postpone(&self, entry: &Entry, delay: Delay) -> Result<(), QueueError> {
        let data = serde_json::to_string(&delay.made).unwrap_or_default();
        let due = Instant::now().checked_add(delay.time);
        let mut state = self.0.state.lock();
        if let Some(held) = state.let_go(entry.place) {
            state.endings.push_back(Ending::Postpone(held, due, data));
        }
        drop(state);
        self.0.keeper.notify_one();
        Ok(())
    }

    fn give_back(&self, entry: &Entry) {
        let mut state = self.0.state.lock();
        if let Some(held) = state.let_go(entry.place) {
            state.endings.push_back(Ending::Release(held));
        }
        drop(state);
        self.0.keeper.notify_one();
    }

    fn settle(&self) {
        let until = Instant::now().checked_add(MAX_SETTLING);
        self.0.settled.wait(until, || {
            let state = self.0.state.lock();
            (state.endings.is_empty() || !state.takes_jobs).then_some(())
        });
    }

    fn outcomes(&self) -> Result<RecordedOutcomes, QueueError> {
        Ok(Box::new(RecordedEntries {
            shared: Arc::clone(&self.0),
            page: VecDeque::new(),
            after: Some("-".to_owned()),
            has_dead: true,
        }))
    }

    fn dead(&self) -> Result<Vec<DeadJob>, QueueError> {
        let dead = self.0.dead_outcomes()?;
        let dead = dead.into_iter().map(|(id, outcome)| DeadJob {
            job_id: Some(id),
            reason: reason_of(&outcome),
        });
        Ok(dead.collect())
    }

    fn requeue(&self, job_id: &str) -> Result<bool, QueueError> {
        let was_dead = self
            .0
            .server
            .call(|connection, keys| keys.call(&scripts::REQUEUE).arg(job_id).invoke(connection))?;
        self.0.reopen(was_dead);
        Ok(was_dead)
    }

    fn discard(&self, job_id: &str) -> Result<bool, QueueError> {
        self.0
            .server
            .call(|connection, keys| keys.call(&scripts::DISCARD).arg(job_id).invoke(connection))
    }

    fn stats(&self) -> Result<QueueStats, QueueError> {
        let (all, leased, delayed, dead, recorded, is_closed): (
            usize,
            usize,
            usize,
            usize,
            usize,
            bool,
        ) = self
            .0
            .server
            .call(|connection, keys| keys.call(&scripts::STATS).invoke(connection))?;
        Ok(QueueStats {
            waiting: all.saturating_sub(leased),
            delayed,
            leased,
            dead,
            recorded,
            damaged: 0,
            is_closed,
        })
    }
}

impl Shared {
    fn dead_outcomes(&self) -> Result<Vec<(String, Vec<u8>)>, QueueError> {
        self.server.call(|connection, keys| {
            redis::cmd("HGETALL")
                .arg(&keys.dead_outcomes)
                .query(connection)
        })
    }
}

/// The fields of an entry of a stream, as pairs of name and value.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry of a stream: its id, and its fields, unless it was deleted.
type StreamEntry = (String, Option<Fields>);

fn field<'a>(fields: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
    let found = fields.iter().find(|(found, _)| found == name.as_bytes());
    found.map(|(_, value)| &value[..])
}

/// The recorded outcomes, a page at a time, and then those of the dead.
struct RecordedEntries {
    shared: Arc<Shared>,
    page: VecDeque<(String, Vec<u8>)>,
    /// The entry after which the next page begins; `None` after the last one.
    after: Option<String>,
    has_dead: bool,
}

impl RecordedEntries {
    fn next_page(&mut self) -> Result<(), QueueError> {
        const PAGE: usize = 200;
        let Some(after) = self.after.take() else {
            self.has_dead = false;
            self.page.extend(self.shared.dead_outcomes()?);
            return Ok(());
        };
        let entries: Vec<StreamEntry> = self.shared.server.call(|connection, keys| {
            let mut command = redis::cmd("XRANGE");
            let command = command.arg(&keys.outcomes).arg(&after).arg("+");
            let value: Value = command.arg("COUNT").arg(PAGE).query(connection)?;
            Vec::<StreamEntry>::from_redis_value(value).map_err(Into::into)
        })?;
        self.after = entries.last().map(|(id, _)| format!("({id}"));
        for (id, fields) in entries {
            let fields = fields.unwrap_or_default();
            let job_id = field(&fields, "id").map_or(id.into(), String::from_utf8_lossy);
            let outcome = field(&fields, "outcome").unwrap_or_default().to_vec();
            self.page.push_back((job_id.into_owned(), outcome));
        }
        Ok(())
    }
}

impl Iterator for RecordedEntries {
    type Item = Result<Recorded, QueueError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((job_id, outcome)) = self.page.pop_front() {
                let outcome = serde_json::from_slice(&outcome).unwrap_or_default();
                return Some(Ok(Recorded { job_id, outcome }));
            }
            if !self.has_dead {
                return None;
            }
            if let Err(error) = self.next_page() {
                self.after = None;
                self.has_dead = false;
                return Some(Err(error));
            }
        }
    }
}
