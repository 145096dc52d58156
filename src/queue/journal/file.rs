//! The file of a journal: its whole lines, and those that are damaged.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::jobs::Span;
use crate::redact::Truncated;

/// The number of damaged lines of which the places are kept.
const MAX_DAMAGE: usize = 1_000;

/// Makes sure that a new file is found in its folder after a power failure.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The whole lines of a file, from a place on.
pub(super) struct Lines {
    pub(super) reader: BufReader<Reader>,
    line: Vec<u8>,
    /// Where the next line begins.
    pub(super) end: u64,
}

/// Reads a file without its cursor, which other threads may use.
pub(super) struct Reader {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read_at(buffer, self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Lines {
    pub(super) fn new(file: &Arc<File>, from: u64) -> Self {
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
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], Span)>> {
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
pub(super) struct Damage {
    pub(super) count: usize,
    /// Of the first ones.
    pub(super) places: Vec<String>,
}

impl Damage {
    pub(super) fn add(&mut self, path: &Path, span: Span, reason: &str) {
        self.count += 1;
        let Span { at, len } = span;
        let place = format!("{len} bytes at offset {at}: {}", Truncated(reason));
        log::warn!("the journal `{}`: {place}", Truncated(path.display()));
        if self.places.len() < MAX_DAMAGE {
            self.places.push(place);
        }
    }
}

pub(super) fn read_line(file: &File, span: Span) -> io::Result<Vec<u8>> {
    let mut line = vec![0; span.len];
    file.read_exact_at(&mut line, span.at)?;
    Ok(line)
}
