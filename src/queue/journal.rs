//! The journal: a durable queue in one file, for one process at a time.
//!
//! The file is only ever appended to. Memory holds where the open jobs are in it; a job is read when a pool takes it. Lines of
//! several threads that come at the same time are written, and synced, together: one of the threads does it for all of them,
//! without the lock.

mod compaction;
mod jobs;
mod line;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use self::jobs::{Change, Jobs, Span, TakenSlot};
use self::line::{DelayData, HEADER, Verb};
#[cfg(feature = "default-tls")]
use super::SealingKey;
use super::sealing::Keys;
use super::{
    Acked, Batch, DeadJob, Delay, Entry, Job, Queue, QueueError, QueueStats, Recorded,
    RecordedOutcomes, Store, Taken, TakenJob, outcome_of_dead, reason_of,
};
use crate::error::Error;
use crate::redact::Truncated;
use crate::request::RequestSpec;
use crate::sync::{Mutex, MutexGuard, WaitList, thread};

/// How many bytes of lines are written at once when many jobs are submitted.
const BATCH: usize = 1 << 20;

/// The number of damaged lines of which the places are kept.
const MAX_DAMAGE: usize = 1_000;

/// Opens a [`Queue`] in a file: for one process at a time, on a local file system.
///
/// The file is text, one record a line: `head`, `grep` and `tail -f` show what is going on. It grows with each job and its
/// outcome. Of a job that is not done, memory holds about 170 bytes; of one that is done, about 30, or nothing: see
/// [`remember_ids`](Self::remember_ids).
///
/// ```
/// use std::time::Duration;
/// use threaded::queue::{Fsync, Journal};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("run.journal");
/// let queue = Journal::builder(path)
///     .fsync(Fsync::Interval(Duration::from_millis(20)))
///     .max_deliveries(5)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What a crash can do to the file
///
/// If the process ends, however it ends, everything is in the file for which a call has returned. If the power fails or the
/// operating system crashes, [`fsync`](Self::fsync) decides. A last line that was not written to its end is cut off when the
/// file is opened. Other damage is skipped, logged and [told](Queue::dead) with its place, and the jobs of other lines are not
/// affected: a job whose record is damaged is run again.
#[derive(Clone, Debug)]
#[must_use]
pub struct Journal {
    path: PathBuf,
    fsync: Fsync,
    max_deliveries: u32,
    remembers_ids: bool,
    compact_above: u64,
    keys: Keys,
}

/// When a [`Journal`] makes sure that what it has written survives a power failure, by fsync(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before a call returns. Nothing is lost. Takes from 50 µs to 10 ms, as the disk has it; records of several threads share
    /// one sync.
    Each,
    /// This long after a record, by a thread in the background, which is later while the file is compacted: records of this
    /// time may be lost, which means that jobs are sent again, also those that are not idempotent. What is not synced when the
    /// process ends is left to the operating system.
    Interval(Duration),
    /// When the operating system likes, within half a minute on most. What may be lost is as with `Interval`, and what is left
    /// may have gaps.
    Never,
}

impl Journal {
    /// Opens the journal in this file with the default settings, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error as [`build`](Self::build) does.
    pub fn open(path: impl AsRef<Path>) -> Result<Queue, QueueError> {
        Self::builder(path).build()
    }

    /// Opens the journal in this file with other settings: see [`build`](Self::build).
    pub fn builder(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            fsync: Fsync::Interval(Duration::from_millis(100)),
            max_deliveries: 3,
            remembers_ids: true,
            compact_above: 64 << 20,
            keys: Keys::default(),
        }
    }

    /// When what is written is safe from a power failure. Defaults to [`Fsync::Interval`] of 100 ms.
    pub fn fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// How often a job is started without an outcome, before it is [dead](Queue::dead): since the process has ended each time,
    /// or no outcome was acknowledged. 0 counts as 1. Defaults to 3.
    pub fn max_deliveries(mut self, times: u32) -> Self {
        self.max_deliveries = times.max(1);
        self
    }

    /// Whether the ids of jobs that are done are kept in memory, about 30 bytes for each, so that a job that is submitted again
    /// is [known](super::Submitted::Known). Without that, it is accepted and run again. Defaults to `true`.
    pub fn remember_ids(mut self, remember: bool) -> Self {
        self.remembers_ids = remember;
        self
    }

    /// Compacts the file when so many bytes of it, and a quarter of the whole, are of no use any more: of jobs that are done,
    /// everything but their outcomes. It takes place in the background, and needs room on the disk for a second file
    /// meanwhile. Defaults to 64 MiB.
    pub fn compact_above(mut self, bytes: u64) -> Self {
        self.compact_above = bytes;
        self
    }

    /// Seals secrets with this key, instead of refusing them. After another call, the new key seals, and the others open what was
    /// sealed with them. Defaults to none.
    #[cfg(feature = "default-tls")]
    pub fn seal_with(mut self, key: SealingKey) -> Self {
        self.keys.add(key);
        self
    }

    /// Opens the file, and creates it if it does not exist. Reads all of it once, at about a million jobs in a second.
    ///
    /// # Errors
    ///
    /// Returns [`QueueError::InUse`] if another process or handle has it open, [`QueueError::Format`] if it is no journal, which
    /// leaves it unchanged, and [`QueueError::File`] if it cannot be opened, read or written.
    pub fn build(self) -> Result<Queue, QueueError> {
        let failed = |error| QueueError::file(&self.path, error);
        let file = Arc::new(self.open_locked()?);
        // What a process has left that ended while it compacted the journal.
        let _ = std::fs::remove_file(compaction::temporary_path(&self.path));
        let (jobs, damage, end) = self.read(&file)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                jobs,
                damage,
                file,
                written: end,
                end,
                buffer: Vec::new(),
                changes: Vec::new(),
                batch: Arc::default(),
                wants_sync: false,
                is_writing: false,
                is_synced: true,
                is_compacting: false,
                can_compact: true,
                kept_garbage: 0,
                is_dropped: false,
                broken: None,
                failure: None,
                watchers: Vec::new(),
            }),
            settings: self.clone(),
            written: WaitList::default(),
            background: WaitList::default(),
        });
        let background = Arc::clone(&shared);
        thread::Builder::new()
            .name("threaded-journal".to_owned())
            .spawn(move || background.run_in_background())
            .map_err(failed)?;
        Ok(Queue(Arc::new(JournalStore(shared))))
    }

    /// Opens the file and locks it, for as long as it is open.
    fn open_locked(&self) -> Result<File, QueueError> {
        let failed = |error| QueueError::file(&self.path, error);
        loop {
            let mut options = File::options();
            let options = options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&self.path).map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(QueueError::InUse(self.path.clone()));
                }
                Err(error) => return Err(failed(error.into())),
            }
            // Compaction may have put another file in its place before it was locked.
            let opened = file.metadata().map_err(failed)?;
            let current = std::fs::metadata(&self.path);
            if current
                .is_ok_and(|current| (current.dev(), current.ino()) == (opened.dev(), opened.ino()))
            {
                return Ok(file);
            }
        }
    }

    /// Reads a file. Returns its jobs, what is damaged, and where its last whole line ends; what is beyond is cut off.
    fn read(&self, file: &Arc<File>) -> Result<(Jobs, Damage, u64), QueueError> {
        let failed = |error| QueueError::file(&self.path, error);
        let mut jobs = Jobs::new(self.remembers_ids);
        let mut damage = Damage::default();
        let mut start = Vec::new();
        let header = u64::try_from(HEADER.len()).unwrap_or_default();
        let mut first = Lines::new(file, 0).reader.take(header);
        first.read_to_end(&mut start).map_err(failed)?;
        let has_header = line::check_header(&start).map_err(|message| QueueError::Format {
            path: self.path.clone(),
            message,
        })?;
        if !has_header {
            file.set_len(0).map_err(failed)?;
            file.write_all_at(HEADER.as_bytes(), 0).map_err(failed)?;
            if self.fsync != Fsync::Never {
                file.sync_all().map_err(failed)?;
                sync_folder(&self.path).map_err(failed)?;
            }
            return Ok((jobs, damage, header));
        }
        let mut lines = Lines::new(file, header);
        while let Some((bytes, span)) = lines.next().map_err(failed)? {
            let replayed = line::parse(bytes).and_then(|line| jobs.replay(&line, span));
            if let Err(reason) = replayed {
                damage.add(&self.path, span, &reason);
            }
        }
        let end = lines.end;
        jobs.end_replay();
        let length = file.metadata().map_err(failed)?.len();
        if length > end {
            let path = Truncated(self.path.display());
            let torn = length - end;
            log::warn!(
                "the journal `{path}`: cut off its last line, which was not written to its end ({torn} bytes)"
            );
            file.set_len(end).map_err(failed)?;
        }
        Ok((jobs, damage, end))
    }
}

impl QueueError {
    fn file(path: &Path, error: io::Error) -> Self {
        Self::File {
            path: path.to_owned(),
            source: Arc::new(error),
        }
    }
}

/// Makes sure that a new file is found in its folder after a power failure.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The whole lines of a file, from a place on.
struct Lines {
    reader: BufReader<Reader>,
    line: Vec<u8>,
    /// Where the next line begins.
    end: u64,
}

/// Reads a file without its cursor, which other threads may use.
struct Reader {
    file: Arc<File>,
    at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Lines {
    fn new(file: &Arc<File>, from: u64) -> Self {
        let reader = Reader {
            file: Arc::clone(file),
            at: from,
        };
        Self {
            reader: BufReader::with_capacity(1 << 18, reader),
            line: Vec::new(),
            end: from,
        }
    }

    /// `None` at the end of the last whole line.
    fn next(&mut self) -> io::Result<Option<(&[u8], Span)>> {
        self.line.clear();
        let len = self.reader.read_until(b'\n', &mut self.line)?;
        if !self.line.ends_with(b"\n") {
            return Ok(None);
        }
        let span = Span { at: self.end, len };
        self.end += len as u64;
        Ok(Some((&self.line, span)))
    }
}

/// The lines of a journal that are not understood.
#[derive(Clone, Default)]
struct Damage {
    count: usize,
    /// Of the first ones.
    places: Vec<String>,
}

impl Damage {
    fn add(&mut self, path: &Path, span: Span, reason: &str) {
        self.count += 1;
        let Span { at, len } = span;
        let place = format!("{len} bytes at offset {at}: {}", Truncated(reason));
        log::warn!("the journal `{}`: {place}", Truncated(path.display()));
        if self.places.len() < MAX_DAMAGE {
            self.places.push(place);
        }
    }
}

/// The public handle. When the last one is dropped, the file is unlocked.
struct JournalStore(Arc<Shared>);

impl Drop for JournalStore {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_dropped = true;
        // While it is compacted, the file is unlocked after that.
        if !state.is_compacting {
            let _ = rustix::fs::flock(&*state.file, FlockOperation::Unlock);
        }
        drop(state);
        self.0.background.notify_all();
    }
}

impl fmt::Debug for JournalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shared = &self.0;
        f.debug_struct("Journal")
            .field("path", &shared.settings.path)
            .field("stats", &shared.state.lock().stats())
            .finish_non_exhaustive()
    }
}

/// What the handles share with the thread in the background.
struct Shared {
    settings: Journal,
    state: Mutex<State>,
    /// The threads whose lines are being written.
    written: WaitList,
    /// The thread in the background.
    background: WaitList,
}

struct State {
    jobs: Jobs,
    damage: Damage,
    file: Arc<File>,
    /// Where what was written ends.
    written: u64,
    /// Where the next line begins: after those that are being written, and those in the buffer.
    end: u64,
    /// The lines that are to be written.
    buffer: Vec<u8>,
    /// What they change.
    changes: Vec<Change>,
    /// Told of the fate of the lines in the buffer.
    batch: Arc<Written>,
    wants_sync: bool,
    /// Whether a thread is writing, or is about to replace the file.
    is_writing: bool,
    /// Whether all of the file is on the disk.
    is_synced: bool,
    is_compacting: bool,
    /// Whether it has not failed to.
    can_compact: bool,
    /// How many bytes the last compaction has left that count as being of no use.
    kept_garbage: u64,
    is_dropped: bool,
    /// The file can be relied on no more.
    broken: Option<Arc<io::Error>>,
    /// Why a worker could not tell that it starts a job. The next call that takes jobs fails with it.
    failure: Option<QueueError>,
    watchers: Vec<Waker>,
}

/// Lines that are written at the same time.
#[derive(Default)]
struct Written(OnceLock<Result<(), Arc<io::Error>>>);

impl State {
    /// Appends a line to the buffer.
    fn push(&mut self, verb: Verb, id: Option<&str>, payload: &[u8]) -> Span {
        let len = line::write(&mut self.buffer, verb, id, payload);
        let span = Span { at: self.end, len };
        self.end += len as u64;
        span
    }

    /// These changes did not get into the file, nor did what is in the buffer, since its places are behind theirs.
    fn roll_back(
        &mut self,
        changes: Vec<Change>,
        written: u64,
        is_broken: bool,
        error: io::Error,
    ) -> Arc<io::Error> {
        let error = Arc::new(error);
        let later = std::mem::take(&mut self.changes);
        for change in changes.into_iter().chain(later) {
            self.jobs.roll_back(change);
        }
        self.buffer.clear();
        self.wants_sync = false;
        (self.written, self.end) = (written, written);
        let later = std::mem::take(&mut self.batch);
        let _ = later.0.set(Err(Arc::clone(&error)));
        if is_broken {
            self.broken = Some(Arc::clone(&error));
        }
        error
    }

    fn stats(&self) -> QueueStats {
        QueueStats {
            damaged: self.damage.count,
            ..self.jobs.stats()
        }
    }
}

/// Those that take jobs have to look again. Wakes them without the lock, which they will want to have.
fn wake_watchers(state: MutexGuard<'_, State>) {
    let watchers = state.watchers.clone();
    drop(state);
    watchers.iter().for_each(Waker::wake_by_ref);
}

impl Shared {
    fn failed(&self, error: &Arc<io::Error>) -> QueueError {
        QueueError::File {
            path: self.settings.path.clone(),
            source: Arc::clone(error),
        }
    }

    /// The state, unless the file is broken.
    fn lock(&self) -> Result<MutexGuard<'_, State>, QueueError> {
        let state = self.state.lock();
        match &state.broken {
            Some(error) => Err(self.failed(error)),
            None => Ok(state),
        }
    }

    /// Writes what is in the buffer, or waits until another thread has.
    fn flush<'a>(&'a self, mut state: MutexGuard<'a, State>, sync: bool) -> Result<(), QueueError> {
        if state.buffer.is_empty() {
            return Ok(());
        }
        let batch = Arc::clone(&state.batch);
        state.wants_sync |= sync;
        let result = loop {
            if let Some(result) = batch.0.get() {
                break result;
            }
            if state.is_writing {
                drop(state);
                self.written.wait(None, || {
                    let is_done = batch.0.get().is_some();
                    (is_done || !self.state.lock().is_writing).then_some(())
                });
            } else {
                self.write(state);
            }
            state = self.state.lock();
        };
        result.clone().map_err(|error| self.failed(&error))
    }

    /// Writes what is in the buffer, while no other thread does.
    fn write(&self, mut state: MutexGuard<'_, State>) {
        state.is_writing = true;
        let lines = std::mem::take(&mut state.buffer);
        let changes = std::mem::take(&mut state.changes);
        let batch = std::mem::take(&mut state.batch);
        let wants_sync = std::mem::take(&mut state.wants_sync);
        let at = state.written;
        let file = Arc::clone(&state.file);
        drop(state);

        let written = file.write_all_at(&lines, at);
        let synced = match (&written, wants_sync) {
            (Ok(()), true) => file.sync_data(),
            _ => Ok(()),
        };

        let mut state = self.state.lock();
        let result = match (written, synced) {
            (Ok(()), Ok(())) => {
                for change in changes {
                    state.jobs.commit(change);
                }
                state.written = at + lines.len() as u64;
                state.is_synced &= wants_sync;
                Ok(())
            }
            (Err(error), _) => {
                // A part of a line in front of the next one would make that one unreadable.
                let is_broken = file.set_len(at).is_err();
                Err(state.roll_back(changes, at, is_broken, error))
            }
            // What is on the disk is not known any more: the operating system may have dropped what it could not write.
            (Ok(()), Err(error)) => Err(state.roll_back(changes, at, true, error)),
        };
        state.is_writing = false;
        // Under the lock: a thread that waits finds either the result, or its lines in the buffer.
        let _ = batch.0.set(result);
        let wakes_background = self.has_work_in_background(&state);
        wake_watchers(state);
        self.written.notify_all();
        if wakes_background {
            self.background.notify_one();
        }
    }

    /// Tells the next call that takes jobs too: a worker has no caller that it could tell.
    fn keep_failure(&self, result: Result<(), QueueError>) -> Result<(), QueueError> {
        if let Err(error) = &result {
            self.state.lock().failure = Some(error.clone());
        }
        result
    }

    fn syncs_each(&self) -> bool {
        self.settings.fsync == Fsync::Each
    }

    /// The id of a job and its request, or why that is not understood.
    fn read_request(
        &self,
        file: &File,
        span: Span,
    ) -> io::Result<(String, Result<RequestSpec, String>)> {
        let line = read_line(file, span)?;
        let line = line::parse(&line).map_err(io::Error::other)?;
        let request = self.settings.keys.read(&line.id, line.payload);
        Ok((line.id.into_owned(), request))
    }

    /// Reads the jobs in these slots. Those that are not delivered any more are dead from now on.
    fn read_taken(&self, file: &File, slots: &[TakenSlot]) -> Result<Vec<TakenJob>, QueueError> {
        let mut jobs = Vec::with_capacity(slots.len());
        for slot in slots {
            let (id, request) = self
                .read_request(file, slot.submitted)
                .map_err(|error| QueueError::file(&self.settings.path, error))?;
            match request {
                Ok(request) if slot.starts < self.settings.max_deliveries => jobs.push(TakenJob {
                    entry: Entry {
                        job_id: id.into(),
                        place: slot.slot,
                        starts: slot.starts,
                    },
                    request,
                    made: slot.made,
                }),
                Ok(request) => {
                    self.bury(slot.slot, &id, request, Error::interrupted(slot.starts))?;
                }
                Err(reason) => {
                    let error = Error::invalid_request(reason);
                    self.bury(slot.slot, &id, RequestSpec::get(""), error)?;
                }
            }
        }
        Ok(jobs)
    }

    /// Ends a leased job that is not delivered any more.
    fn bury(
        &self,
        slot: usize,
        id: &str,
        request: RequestSpec,
        error: Error,
    ) -> Result<(), QueueError> {
        let json = outcome_of_dead(id, request, error);
        let mut state = self.lock()?;
        let span = state.push(Verb::Dead, Some(id), &json);
        state.changes.push(Change::Dead(slot, span));
        self.flush(state, self.syncs_each())
    }

    // ---- in the background -----------------------------------------------------------------------------------------

    /// Syncs and compacts the file, until the last handle is dropped.
    fn run_in_background(&self) {
        loop {
            self.background.wait(None, || {
                let state = self.state.lock();
                (state.is_dropped || self.has_work_in_background(&state)).then_some(())
            });
            if let Fsync::Interval(interval) = self.settings.fsync {
                let until = Instant::now().checked_add(interval);
                self.background.wait(until, || {
                    let state = self.state.lock();
                    (state.is_dropped || self.wants_compaction(&state)).then_some(())
                });
                self.sync();
            }
            let state = self.state.lock();
            if state.is_dropped || state.broken.is_some() {
                return;
            }
            let is_due = self.wants_compaction(&state);
            drop(state);
            if is_due {
                if let Err(error) = self.compact() {
                    self.state.lock().can_compact = false;
                    let path = Truncated(self.settings.path.display());
                    log::warn!(
                        "the journal `{path}` could not be compacted, and goes on as it is: {error}"
                    );
                }
            }
        }
    }

    fn has_work_in_background(&self, state: &State) -> bool {
        let syncs = matches!(self.settings.fsync, Fsync::Interval(_));
        (syncs && !state.is_synced) || self.wants_compaction(state)
    }

    fn wants_compaction(&self, state: &State) -> bool {
        let garbage = state.end.saturating_sub(state.jobs.live_bytes());
        let garbage = garbage.saturating_sub(state.kept_garbage);
        state.can_compact && garbage > self.settings.compact_above && garbage > state.end / 4
    }

    fn sync(&self) {
        let mut state = self.state.lock();
        if state.is_synced {
            return;
        }
        state.is_synced = true;
        let file = Arc::clone(&state.file);
        drop(state);
        if let Err(error) = file.sync_data() {
            self.state.lock().broken = Some(Arc::new(error));
        }
    }
}

impl Store for JournalStore {
    fn submit(&self, jobs: &mut dyn Iterator<Item = Job>) -> Result<usize, QueueError> {
        let shared = &self.0;
        let mut accepted = 0;
        loop {
            // The iterator, which is the user's, runs without the lock.
            let batch = Batch::next(jobs, &shared.settings.keys, Ok, (usize::MAX, BATCH));
            let mut state = shared.lock()?;
            let mut added = 0;
            for (id, json) in &batch.jobs {
                let Some(slot) = state.jobs.begin_submit(id) else {
                    continue;
                };
                let span = state.push(Verb::Submit, Some(id), json);
                state.changes.push(Change::Submit(slot, span));
                added += 1;
            }
            shared.flush(state, shared.syncs_each())?;
            accepted += added;
            if let Some(end) = batch.end {
                return end.map(|()| accepted);
            }
        }
    }

    fn close(&self) -> Result<(), QueueError> {
        let mut state = self.0.lock()?;
        if state.jobs.stats().is_closed {
            return Ok(());
        }
        state.push(Verb::Close, None, b"");
        state.changes.push(Change::Close);
        self.0.flush(state, self.0.syncs_each())
    }

    fn take(&self, max: usize) -> Result<Taken, QueueError> {
        let shared = &self.0;
        let mut state = shared.lock()?;
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let slots = state.jobs.take(max, Instant::now());
        let (next_at, is_over) = (state.jobs.next_at(), state.jobs.is_over());
        let file = Arc::clone(&state.file);
        drop(state);
        match shared.read_taken(&file, &slots) {
            Ok(jobs) => Ok(Taken {
                jobs,
                next_at,
                is_over,
            }),
            Err(error) => {
                let mut state = shared.state.lock();
                for slot in &slots {
                    state.jobs.give_back(slot.slot);
                }
                wake_watchers(state);
                Err(error)
            }
        }
    }

    fn watch(&self, waker: &Waker) {
        let mut state = self.0.state.lock();
        // Of consumers before.
        state.failure = None;
        state.watchers.push(waker.clone());
    }

    fn unwatch(&self, waker: &Waker) {
        let mut state = self.0.state.lock();
        state.watchers.retain(|watcher| !watcher.will_wake(waker));
    }

    fn start(&self, entry: &Entry, is_idempotent: bool) -> Result<(), QueueError> {
        let mut state = self.0.lock()?;
        state.push(Verb::Start, Some(&entry.job_id), b"");
        state.changes.push(Change::Start(entry.place));
        // What is idempotent may as well be sent again.
        let started = self.0.flush(state, self.0.syncs_each() && !is_idempotent);
        self.0.keep_failure(started)
    }

    fn record(&self, entry: &Entry, outcome: &[u8]) -> Result<Acked, QueueError> {
        let mut state = self.0.lock()?;
        if !state.jobs.begin_record(entry.place) {
            return Ok(Acked::Superseded);
        }
        let span = state.push(Verb::Record, Some(&entry.job_id), outcome);
        state.changes.push(Change::Record(entry.place, span));
        self.0.flush(state, self.0.syncs_each())?;
        Ok(Acked::Recorded)
    }

    fn postpone(&self, entry: &Entry, delay: Delay) -> Result<(), QueueError> {
        let data = serde_json::to_vec(&DelayData::of(&delay)).unwrap_or_default();
        let mut state = self.0.lock()?;
        state.push(Verb::Delay, Some(&entry.job_id), &data);
        state.changes.push(Change::Delay(entry.place, delay));
        let postponed = self.0.flush(state, false);
        self.0.keep_failure(postponed)
    }

    fn give_back(&self, entry: &Entry) {
        let mut state = self.0.state.lock();
        state.jobs.give_back(entry.place);
        wake_watchers(state);
    }

    fn settle(&self) {}

    fn outcomes(&self) -> Result<RecordedOutcomes, QueueError> {
        let state = self.0.lock()?;
        Ok(Box::new(RecordedLines {
            path: self.0.settings.path.clone(),
            lines: Lines::new(&state.file, HEADER.len() as u64),
            end: state.written,
            dead: state.jobs.dead(),
        }))
    }

    fn dead(&self) -> Result<Vec<DeadJob>, QueueError> {
        let state = self.0.lock()?;
        let (spans, file) = (state.jobs.dead(), Arc::clone(&state.file));
        let damage = state.damage.places.clone();
        drop(state);
        let mut dead = Vec::new();
        for span in spans {
            let line = read_line(&file, span);
            let line = line.map_err(|error| QueueError::file(&self.0.settings.path, error))?;
            let (job_id, reason) = match line::parse(&line) {
                Ok(line) => (Some(line.id.into_owned()), reason_of(line.payload)),
                Err(reason) => (None, reason),
            };
            dead.push(DeadJob { job_id, reason });
        }
        dead.extend(damage.into_iter().map(|reason| DeadJob {
            job_id: None,
            reason,
        }));
        Ok(dead)
    }

    fn requeue(&self, job_id: &str) -> Result<bool, QueueError> {
        let mut state = self.0.lock()?;
        let Some((slot, _)) = state.jobs.dead_with_id(job_id) else {
            return Ok(false);
        };
        state.push(Verb::Requeue, Some(job_id), b"");
        state.changes.push(Change::Requeue(slot));
        self.0.flush(state, self.0.syncs_each())?;
        Ok(true)
    }

    fn discard(&self, job_id: &str) -> Result<bool, QueueError> {
        let state = self.0.lock()?;
        let Some((slot, span)) = state.jobs.dead_with_id(job_id) else {
            return Ok(false);
        };
        let file = Arc::clone(&state.file);
        drop(state);
        let line = read_line(&file, span);
        let line = line.map_err(|error| QueueError::file(&self.0.settings.path, error))?;
        let outcome = line::parse(&line).map_or(&b"null"[..], |line| line.payload);
        let mut state = self.0.lock()?;
        // Meanwhile, another thread may have done the same.
        if !state.jobs.begin_discard(slot, span) {
            return Ok(false);
        }
        let span = state.push(Verb::Record, Some(job_id), outcome);
        state.changes.push(Change::Record(slot, span));
        self.0.flush(state, self.0.syncs_each())?;
        Ok(true)
    }

    fn stats(&self) -> Result<QueueStats, QueueError> {
        Ok(self.0.lock()?.stats())
    }
}

fn read_line(file: &File, span: Span) -> io::Result<Vec<u8>> {
    let mut line = vec![0; span.len];
    file.read_exact_at(&mut line, span.at)?;
    Ok(line)
}

/// The outcomes in a file.
struct RecordedLines {
    path: PathBuf,
    lines: Lines,
    end: u64,
    /// The lines of the dead that are dead still.
    dead: Vec<Span>,
}

impl Iterator for RecordedLines {
    type Item = Result<Recorded, QueueError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.lines.end < self.end {
            let (bytes, span) = match self.lines.next() {
                Ok(line) => line?,
                Err(error) => {
                    self.end = 0;
                    return Some(Err(QueueError::file(&self.path, error)));
                }
            };
            let Ok(line) = line::parse(bytes) else {
                continue;
            };
            let is_meant = match line.verb {
                Verb::Record => true,
                Verb::Dead => self.dead.contains(&span),
                _ => false,
            };
            if is_meant {
                let outcome = serde_json::from_slice(line.payload);
                return Some(Ok(Recorded {
                    job_id: line.id.into_owned(),
                    outcome: outcome.unwrap_or_default(),
                }));
            }
        }
        None
    }
}
