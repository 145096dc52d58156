//! The store of a journal: what its handles do.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use rustix::fs::FlockOperation;

use super::Journal;
use super::file::{Damage, Lines, read_line};
use super::jobs::{Change, Jobs, Span, TakenSlot};
use super::line::{self, DelayData, HEADER, Verb};
use super::writer::{Shared, State, wake_watchers};
use crate::error::Error;
use crate::queue::{
    Acked, Batch, DeadJob, Delay, Entry, Job, Queue, QueueError, QueueStats, Recorded,
    RecordedOutcomes, Store, Taken, TakenJob, outcome_of_dead, reason_of,
};
use crate::request::RequestSpec;
use crate::sync::{Mutex, WaitList, thread};

/// How many bytes of lines are written at once when many jobs are submitted.
const BATCH: usize = 1 << 20;

/// The queue of a file that was read, with the thread that syncs and compacts it.
pub(super) fn open(
    settings: Journal,
    file: Arc<File>,
    (jobs, damage, end): (Jobs, Damage, u64),
) -> Result<Queue, QueueError> {
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
        settings,
        written: WaitList::default(),
        background: WaitList::default(),
    });
    let background = Arc::clone(&shared);
    thread::Builder::new()
        .name("threaded-journal".to_owned())
        .spawn(move || background.run_in_background())
        .map_err(|error| QueueError::file(&shared.settings.path, error))?;
    Ok(Queue(Arc::new(JournalStore(shared))))
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

impl Shared {
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

    fn record(&self, outcomes: &[(&Entry, &[u8])]) -> Result<Vec<Acked>, QueueError> {
        let mut state = self.0.lock()?;
        let acked = outcomes.iter().map(|(entry, outcome)| {
            if !state.jobs.begin_record(entry.place) {
                return Acked::Superseded;
            }
            let span = state.push(Verb::Record, Some(&entry.job_id), outcome);
            state.changes.push(Change::Record(entry.place, span));
            Acked::Recorded
        });
        let acked = acked.collect();
        self.0.flush(state, self.0.syncs_each())?;
        Ok(acked)
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
