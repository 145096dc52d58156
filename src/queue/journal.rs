//! The journal: a durable queue in one file, for one process at a time.
//!
//! The file is only ever appended to. Memory holds where the open jobs are in it; a job is read when a pool takes it. Lines of
//! several threads that come at the same time are written, and synced, together: one of the threads does it for all of them,
//! without the lock.

mod compaction;
mod file;
mod jobs;
mod line;
mod store;
mod writer;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;

use self::file::{Damage, Lines, sync_folder};
use self::jobs::Jobs;
use self::line::HEADER;
#[cfg(feature = "default-tls")]
use super::SealingKey;
use super::sealing::Keys;
use super::{Queue, QueueError};
use crate::redact::Truncated;

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
        let file = Arc::new(self.open_locked()?);
        // What a process has left that ended while it compacted the journal.
        let _ = std::fs::remove_file(compaction::temporary_path(&self.path));
        let contents = self.read(&file)?;
        store::open(self, file, contents)
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
