//! The store of a queue on a server: the jobs that this process has leased, and what its handles ask the server for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use redis::{FromRedisValue, Value};
use slab::Slab;

use super::limits::RedisLimits;
use super::server::Server;
use super::{RedisQueue, relative, scripts};
use crate::limits::shared::LimitServer;
use crate::observe::Observer;
use crate::queue::store::MAX_SETTLING;
use crate::queue::{
    Acked, Batch, DeadJob, Delay, Entry, Job, Queue, QueueError, QueueStats, Recorded,
    RecordedOutcomes, Store, Taken, TakenJob, reason_of,
};
use crate::request::RequestSpec;
use crate::sync::{Mutex, WaitList, thread};

/// How many bytes of jobs are submitted in one call, at most.
const BATCH: usize = 256 << 10;
/// How many jobs.
const BATCH_JOBS: usize = 1_000;

/// The queue on this server.
pub(super) fn open(settings: RedisQueue, server: Server) -> Queue {
    let random = fastrand::u64(..);
    let shared = Arc::new(Shared {
        consumer: format!("{}-{random:016x}", std::process::id()),
        server,
        settings,
        state: Mutex::default(),
        reader: WaitList::default(),
        keeper: WaitList::default(),
        settled: WaitList::default(),
    });
    Queue(Arc::new(RedisStore(shared)))
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
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) settings: RedisQueue,
    /// Unique for each start of a process: a name that is used again would renew leases of another one.
    pub(super) consumer: String,
    pub(super) state: Mutex<State>,
    /// The thread that takes jobs.
    pub(super) reader: WaitList,
    /// The thread that renews leases.
    pub(super) keeper: WaitList,
    /// Those that wait until all leases have ended that are to end.
    pub(super) settled: WaitList,
}

#[derive(Default)]
pub(super) struct State {
    /// The jobs that this process has leased.
    pub(super) held: Slab<Held>,
    /// Those that were taken, and that no pool has yet.
    pub(super) ready: VecDeque<TakenJob>,
    /// How many jobs pools have room for.
    pub(super) wanted: usize,
    /// The marks, by their entries, of which it is not known whether the server has them.
    pub(super) marks_in_doubt: HashMap<String, String>,
    /// Leases that the thread that keeps them is to end: no worker waits for the server.
    pub(super) endings: VecDeque<Ending>,
    pub(super) is_over: bool,
    pub(super) is_dropped: bool,
    /// Whether jobs may be in this consumer's name that it does not know of, since a reply was lost.
    pub(super) has_unknown: bool,
    /// Whether the next job with its last chance can be taken over.
    pub(super) reclaims_now: bool,
    /// Whether the thread that takes jobs is there.
    pub(super) takes_jobs: bool,
    pub(super) watchers: Vec<Waker>,
    pub(super) failure: Option<QueueError>,
}

/// How a lease ends without an outcome.
pub(super) enum Ending {
    Release(Held),
    /// When the retry is due; `None` if the clock cannot express it. With what is known of the attempts.
    Postpone(Held, Option<Instant>, String),
}

/// A leased job.
pub(super) struct Held {
    /// The id of its entry in the stream.
    pub(super) entry: String,
    pub(super) starts: u32,
    /// Whether it was started this time.
    pub(super) is_started: bool,
    /// Whether it is dead if its consumer dies with it.
    pub(super) is_last_chance: bool,
}

impl State {
    pub(super) fn hold(&mut self, held: Held) -> usize {
        self.held.insert(held)
    }

    pub(super) fn let_go(&mut self, place: usize) -> Option<Held> {
        let held = self.held.try_remove(place)?;
        self.reclaims_now |= held.is_last_chance;
        Some(held)
    }

    /// The entries of all leases that are to be renewed.
    pub(super) fn leased(&self) -> impl Iterator<Item = &Held> {
        let endings = self.endings.iter().map(|ending| match ending {
            Ending::Release(held) | Ending::Postpone(held, ..) => held,
        });
        self.held.iter().map(|(_, held)| held).chain(endings)
    }

    pub(super) fn leased_entries(&self) -> HashSet<String> {
        self.leased().map(|held| held.entry.clone()).collect()
    }

    fn entry(&self, place: usize) -> Option<String> {
        Some(self.held.get(place)?.entry.clone())
    }
}

impl Shared {
    fn wake_threads(&self) {
        self.reader.notify_all();
        self.keeper.notify_all();
        self.server.waiting.notify_all();
    }

    pub(super) fn wake_watchers(&self) {
        let watchers = self.state.lock().watchers.clone();
        watchers.iter().for_each(Waker::wake_by_ref);
    }

    pub(super) fn set_over(&self, is_over: bool) {
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

    fn observe(&self, observer: &Arc<dyn Observer>) {
        let server = &self.0.server;
        server.availability.observe(server.name(), observer);
    }

    fn unobserve(&self, observer: &Arc<dyn Observer>) {
        self.0.server.availability.unobserve(observer);
    }

    fn start(&self, entry: &Entry, _: bool) -> Result<(), QueueError> {
        // It was marked when it was taken.
        let mut state = self.0.state.lock();
        if let Some(held) = state.held.get_mut(entry.place) {
            held.is_started = true;
        }
        Ok(())
    }

    fn record(&self, outcomes: &[(&Entry, &[u8])]) -> Result<Vec<Acked>, QueueError> {
        let state = self.0.state.lock();
        // One that is not leased any more has no entry.
        let entries: Vec<String> = (outcomes.iter())
            .map(|(entry, _)| state.entry(entry.place).unwrap_or_default())
            .collect();
        drop(state);
        let (were_first, is_over): (Vec<bool>, bool) = self.0.server.call(|connection, keys| {
            let mut call = keys.call(&scripts::RECORD);
            call.arg(i32::from(self.0.settings.remembers_ids));
            for (id, (entry, outcome)) in entries.iter().zip(outcomes) {
                call.arg(id).arg(&*entry.job_id).arg(outcome);
            }
            call.invoke(connection)
        })?;
        let mut state = self.0.state.lock();
        for (entry, _) in outcomes {
            state.let_go(entry.place);
        }
        drop(state);
        self.0.set_over(is_over);
        let acked = were_first.into_iter().map(|was_first| {
            if was_first {
                Acked::Recorded
            } else {
                Acked::Superseded
            }
        });
        Ok(acked.collect())
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

    fn is_connected(&self) -> bool {
        self.0.server.availability.is_connected()
    }

    fn limits(&self) -> Option<Arc<dyn LimitServer>> {
        Some(Arc::new(RedisLimits(Arc::clone(&self.0))))
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
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// An entry of a stream: its id, and its fields, unless it was deleted.
pub(super) type StreamEntry = (String, Option<Fields>);

pub(super) fn field<'a>(fields: &'a [(Vec<u8>, Vec<u8>)], name: &str) -> Option<&'a [u8]> {
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
