//! Compaction of a journal: it is copied without the lines that are of no use any more, and the copy takes its place.
//!
//! Nothing has to stop for it. What is appended meanwhile is copied at the end, while lines wait in the buffer.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use super::file::{Lines, Reader, sync_folder};
use super::jobs::{Change, Span};
use super::line::{self, HEADER, Line, Verb};
use super::writer::{Shared, State};
use crate::sync::MutexGuard;

/// Where the copy is written, beside the journal.
pub(super) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".compacting");
    path.with_file_name(name)
}

/// Where the lines of the old file are in the new one.
struct Moves {
    /// Lines that were copied one by one: the old place, and the new one. In their order.
    copied: Vec<(u64, u64)>,
    /// From here on, everything was copied as it is.
    tail_from: u64,
    tail_to: u64,
}

impl Moves {
    fn place(&self, span: Span) -> Span {
        let at = match span.at.checked_sub(self.tail_from) {
            Some(distance) => self.tail_to + distance,
            None => {
                let found = self.copied.binary_search_by_key(&span.at, |(old, _)| *old);
                let copied = found.ok().and_then(|index| self.copied.get(index));
                copied.map_or(span.at, |(_, new)| *new)
            }
        };
        Span { at, ..span }
    }
}

impl Shared {
    /// Replaces the file by a copy without the lines that are of no use any more.
    pub(super) fn compact(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.is_dropped {
            return Ok(());
        }
        state.is_compacting = true;
        let (old, end) = (Arc::clone(&state.file), state.written);
        drop(state);
        let temporary = temporary_path(&self.settings.path);
        let result = self.copy_and_replace(&old, end, &temporary);
        // It is gone if it has taken the place of the file.
        let _ = std::fs::remove_file(&temporary);
        let mut state = self.state.lock();
        state.is_compacting = false;
        if state.is_dropped {
            // The handle has left it to this thread to unlock the file.
            let _ = rustix::fs::flock(&*state.file, FlockOperation::Unlock);
        }
        drop(state);
        result
    }

    fn copy_and_replace(&self, old: &Arc<File>, end: u64, temporary: &Path) -> io::Result<()> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(true);
        let new = Arc::new(options.open(temporary)?);
        rustix::fs::flock(&*new, FlockOperation::NonBlockingLockExclusive)?;
        let mut writer = BufWriter::with_capacity(1 << 18, &*new);
        writer.write_all(HEADER.as_bytes())?;
        let mut new_end = HEADER.len() as u64;
        let mut copied = Vec::new();
        let mut lines = Lines::new(old, HEADER.len() as u64);
        while lines.end < end {
            let Some((bytes, span)) = lines.next()? else {
                break;
            };
            if self.state.lock().is_dropped {
                return Ok(());
            }
            let is_kept = match line::parse(bytes) {
                Ok(line) => self.is_needed(&line, span),
                // Damage is not made to vanish.
                Err(_) => true,
            };
            if is_kept {
                writer.write_all(bytes)?;
                copied.push((span.at, new_end));
                new_end += span.len as u64;
            }
        }
        // Most of it is on the disk before anything has to wait.
        writer.flush()?;
        new.sync_all()?;
        let state = self.begin_writing();
        if state.is_dropped {
            drop(state);
            self.end_writing();
            return Ok(());
        }
        let written = state.written;
        drop(state);
        let tail = Reader {
            file: Arc::clone(old),
            at: end,
        };
        let result = io::copy(&mut io::Read::take(tail, written - end), &mut writer)
            .and_then(|_| writer.flush())
            .and_then(|()| new.sync_all())
            .and_then(|()| std::fs::rename(temporary, &self.settings.path));
        if result.is_ok() {
            let moves = Moves {
                copied,
                tail_from: end,
                tail_to: new_end,
            };
            let mut state = self.state.lock();
            state.jobs.relocate(|span| moves.place(span));
            for change in &mut state.changes {
                if let Change::Submit(_, span) | Change::Dead(_, span) | Change::Record(_, span) =
                    change
                {
                    *span = moves.place(*span);
                }
            }
            let end_of = |at| moves.place(Span { at, len: 0 }).at;
            (state.written, state.end) = (end_of(state.written), end_of(state.end));
            state.is_synced = true;
            state.file = Arc::clone(&new);
            state.kept_garbage = state.end.saturating_sub(state.jobs.live_bytes());
        }
        self.end_writing();
        if result.is_ok() {
            // After a power failure, the old file may be there instead, with all that was in it before.
            sync_folder(&self.settings.path)?;
        }
        result
    }

    /// Waits until no other thread writes, and keeps them from it.
    fn begin_writing(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        while state.is_writing {
            drop(state);
            self.written
                .wait(None, || (!self.state.lock().is_writing).then_some(()));
            state = self.state.lock();
        }
        state.is_writing = true;
        state
    }

    /// Lets threads go on whose lines were added meanwhile.
    fn end_writing(&self) {
        self.state.lock().is_writing = false;
        self.written.notify_all();
    }

    fn is_needed(&self, line: &Line<'_>, span: Span) -> bool {
        let state = self.state.lock();
        match line.verb {
            Verb::Record => true,
            Verb::Close => state.jobs.stats().is_closed,
            Verb::Submit => state.jobs.is_open(&line.id, Some(span)),
            Verb::Start | Verb::Delay | Verb::Requeue => state.jobs.is_open(&line.id, None),
            Verb::Dead => (state.jobs.dead_with_id(&line.id)).is_some_and(|(_, dead)| dead == span),
        }
    }
}
