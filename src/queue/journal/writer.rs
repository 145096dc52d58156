//! Writing to a journal: the lines of all threads that have some at once, and the thread in the background that syncs the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Instant;

use super::file::Damage;
use super::jobs::{Change, Jobs, Span};
use super::line::{self, Verb};
use super::{Fsync, Journal};
use crate::queue::{QueueError, QueueStats};
use crate::redact::Truncated;
use crate::sync::{Mutex, MutexGuard, WaitList};

/// What the handles share with the thread in the background.
pub(super) struct Shared {
    pub(super) settings: Journal,
    pub(super) state: Mutex<State>,
    /// The threads whose lines are being written.
    pub(super) written: WaitList,
    /// The thread in the background.
    pub(super) background: WaitList,
}

pub(super) struct State {
    pub(super) jobs: Jobs,
    pub(super) damage: Damage,
    pub(super) file: Arc<File>,
    /// Where what was written ends.
    pub(super) written: u64,
    /// Where the next line begins: after those that are being written, and those in the buffer.
    pub(super) end: u64,
    /// The lines that are to be written.
    pub(super) buffer: Vec<u8>,
    /// What they change.
    pub(super) changes: Vec<Change>,
    /// Told of the fate of the lines in the buffer.
    pub(super) batch: Arc<Written>,
    pub(super) wants_sync: bool,
    /// Whether a thread is writing, or is about to replace the file.
    pub(super) is_writing: bool,
    /// Whether all of the file is on the disk.
    pub(super) is_synced: bool,
    pub(super) is_compacting: bool,
    /// Whether it has not failed to.
    pub(super) can_compact: bool,
    /// How many bytes the last compaction has left that count as being of no use.
    pub(super) kept_garbage: u64,
    pub(super) is_dropped: bool,
    /// The file can be relied on no more.
    pub(super) broken: Option<Arc<io::Error>>,
    /// Why a worker could not tell that it starts a job. The next call that takes jobs fails with it.
    pub(super) failure: Option<QueueError>,
    pub(super) watchers: Vec<Waker>,
}

/// Lines that are written at the same time.
#[derive(Default)]
pub(super) struct Written(OnceLock<Result<(), Arc<io::Error>>>);

impl State {
    /// Appends a line to the buffer.
    pub(super) fn push(&mut self, verb: Verb, id: Option<&str>, payload: &[u8]) -> Span {
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

    pub(super) fn stats(&self) -> QueueStats {
        QueueStats {
            damaged: self.damage.count,
            ..self.jobs.stats()
        }
    }
}

/// Those that take jobs have to look again. Wakes them without the lock, which they will want to have.
pub(super) fn wake_watchers(state: MutexGuard<'_, State>) {
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
    pub(super) fn lock(&self) -> Result<MutexGuard<'_, State>, QueueError> {
        let state = self.state.lock();
        match &state.broken {
            Some(error) => Err(self.failed(error)),
            None => Ok(state),
        }
    }

    /// Writes what is in the buffer, or waits until another thread has.
    pub(super) fn flush<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        sync: bool,
    ) -> Result<(), QueueError> {
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
        let may_free_jobs = changes.iter().any(Change::may_free_jobs);
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
        let has_news = may_free_jobs || result.is_err() || state.jobs.is_over();
        // Under the lock: a thread that waits finds either the result, or its lines in the buffer.
        let _ = batch.0.set(result);
        let wakes_background = self.has_work_in_background(&state);
        if has_news {
            wake_watchers(state);
        } else {
            drop(state);
        }
        self.written.notify_all();
        if wakes_background {
            self.background.notify_one();
        }
    }

    /// Tells the next call that takes jobs too: a worker has no caller that it could tell.
    pub(super) fn keep_failure(&self, result: Result<(), QueueError>) -> Result<(), QueueError> {
        if let Err(error) = &result {
            self.state.lock().failure = Some(error.clone());
        }
        result
    }

    pub(super) fn syncs_each(&self) -> bool {
        self.settings.fsync == Fsync::Each
    }

    // ---- in the background -----------------------------------------------------------------------------------------

    /// Syncs and compacts the file, until the last handle is dropped.
    pub(super) fn run_in_background(&self) {
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
