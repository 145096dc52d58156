//! A file while a body is written to it, in its order or in segments, and what is computed of it meanwhile.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::segments::{Claim, Segments};
use super::{DIGEST_STEP, part};
use crate::digest::{BackgroundVerifier, Verifier};
use crate::error::{Error, ErrorKind};

/// A file that is not complete. Deletes itself unless it is kept.
pub(crate) struct OpenFile {
    pub(super) file: NamedTempFile,
    /// What is to be written next.
    pub(crate) buffer: Vec<u8>,
    verifier: Verifier,
    /// The same, once the body has turned out to be long.
    background: Option<BackgroundVerifier>,
    /// Of what was written from the beginning on, and computed with.
    pub(crate) length: u64,
    /// Where it ends, if segments of it were written that begin further on.
    whole: Option<u64>,
    /// Whether it stays if the body is cut.
    pub(super) is_kept: bool,
    /// As the spec has it.
    pub(super) path: Arc<Path>,
    /// Behind symbolic links.
    pub(super) target: PathBuf,
}

impl OpenFile {
    pub(super) fn new(
        file: NamedTempFile,
        is_kept: bool,
        path: Arc<Path>,
        target: PathBuf,
        verifier: Verifier,
    ) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            verifier,
            background: None,
            length: 0,
            whole: None,
            is_kept,
            path,
            target,
        }
    }

    /// Adds those that the beginning of the file was computed with already.
    pub(super) fn join_verifier(&mut self, begun: Verifier) {
        self.verifier.join(begun);
    }

    /// What is behind this length is written anew; what is before belongs to the body.
    pub(super) fn continue_from(&mut self, length: u64) -> io::Result<()> {
        self.file.as_file().set_len(length)?;
        self.continue_behind(length)
    }

    /// What comes next is written there; what is before belongs to the body.
    pub(super) fn continue_behind(&mut self, length: u64) -> io::Result<()> {
        let file = self.file.as_file_mut();
        if !self.verifier.is_empty() {
            file.seek(SeekFrom::Start(0))?;
            io::copy(&mut Read::take(&*file, length), &mut self.verifier)?;
        }
        file.seek(SeekFrom::Start(length))?;
        self.length = length;
        Ok(())
    }

    /// Writes what is in the buffer, after which more comes.
    pub(crate) fn write(mut self) -> Result<Self, Error> {
        self.write_buffer()?;
        self.verify_later();
        Ok(self)
    }

    /// Computes with what was in the buffer, on another thread.
    fn verify_later(&mut self) {
        if !self.verifier.is_empty() {
            let verifier = std::mem::take(&mut self.verifier);
            self.background = Some(BackgroundVerifier::new(verifier));
        }
        match &self.background {
            Some(background) => background.update(&mut self.buffer),
            None => self.buffer.clear(),
        }
    }

    /// Writes a part of the whole, wherever it begins.
    pub(super) fn write_at(&mut self, at: u64, mut part: Vec<u8>) -> Result<Vec<u8>, Error> {
        let written = self.file.seek(SeekFrom::Start(at));
        let written = written.and_then(|_| self.file.write_all(&part));
        written.map_err(|error| Error::file(&self.path, error))?;
        if at == self.length {
            self.length += part.len() as u64;
            std::mem::swap(&mut self.buffer, &mut part);
            self.verify_later();
            std::mem::swap(&mut self.buffer, &mut part);
        }
        part.clear();
        Ok(part)
    }

    fn read_at(&mut self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(at))?;
        let mut part = std::mem::take(&mut self.buffer);
        part.resize(usize::try_from(length).unwrap_or_default(), 0);
        self.file.read_exact(&mut part)?;
        Ok(part)
    }

    /// The whole has this length, and its segments are written anywhere in it.
    pub(super) fn set_whole(&mut self, whole: u64) {
        self.whole = Some(whole);
    }

    pub(super) fn is_segmented(&self) -> bool {
        self.whole.is_some()
    }

    /// Computes with what was not written in its order. Fails with the error of `check`, which is called now and then.
    pub(super) fn verify_segments(
        &mut self,
        check: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(whole) = self.whole else {
            return Ok(());
        };
        let has_digests = self.background.is_some() || !self.verifier.is_empty();
        while has_digests && self.length < whole {
            check()?;
            let length = DIGEST_STEP.min(whole - self.length);
            let read = self.read_at(self.length, length);
            self.buffer = read.map_err(|error| Error::file(&self.path, error))?;
            self.length += length;
            self.verify_later();
        }
        self.length = whole;
        Ok(())
    }

    pub(super) fn write_last(mut self) -> Result<Self, Error> {
        self.write_buffer()?;
        match &self.background {
            Some(background) => background.update(&mut self.buffer),
            None => self.verifier.update(&self.buffer),
        }
        self.buffer.clear();
        Ok(self)
    }

    fn write_buffer(&mut self) -> Result<(), Error> {
        let written = self.file.write_all(&self.buffer);
        written.map_err(|error| Error::file(&self.path, error))?;
        self.length += self.buffer.len() as u64;
        Ok(())
    }

    pub(super) fn verify(&mut self) -> Result<(), Error> {
        let background = self.background.take();
        match background {
            Some(background) => background.finish(),
            None => std::mem::take(&mut self.verifier).finish(),
        }
    }

    /// Deletes a part that would otherwise be kept.
    pub(super) fn discard(self) {
        if self.is_kept {
            let path = self.file.path().to_owned();
            part::delete_kept(&path, Some(self.file));
        }
    }

    /// The attempt has failed. Keeps what has come, unless it is to blame.
    pub(crate) fn give_up(mut self, error: Error) -> Error {
        if !self.is_kept {
            return error;
        }
        let is_useless = matches!(
            error.kind(),
            ErrorKind::DigestMismatch | ErrorKind::BodyTooLarge
        );
        let written = if is_useless {
            Ok(())
        } else {
            self.file.write_all(&self.buffer)
        };
        let length = self.length + self.buffer.len() as u64;
        let is_empty = self.whole.is_none() && length == 0;
        if is_useless || (written.is_ok() && is_empty) {
            self.discard();
        }
        error
    }
}

/// A file that several connections write to, each of them a segment of it.
pub(crate) struct SegmentedFile {
    file: OpenFile,
    pub(crate) segments: Segments,
}

impl SegmentedFile {
    pub(super) fn new(mut file: OpenFile, segments: Segments) -> Self {
        file.set_whole(segments.whole());
        Self { file, segments }
    }

    /// Writes what comes next in this segment. Returns the buffer, which is empty.
    pub(crate) fn write(
        mut self,
        segment: usize,
        content: Vec<u8>,
    ) -> Result<(Self, Vec<u8>), Error> {
        let length = content.len() as u64;
        let at = self.segments.range(segment).start;
        let buffer = self.file.write_at(at, content)?;
        // Only now may a record say so.
        let noted = self.segments.advance(segment, length);
        noted.map_err(|error| Error::file(&self.file.path, error))?;
        Ok((self, buffer))
    }

    /// The server sends what was claimed. Returns the segment that it is from now on; `None` if it has been received meanwhile.
    pub(crate) fn confirm(mut self, claim: &Claim) -> Result<(Self, Option<usize>), Error> {
        let confirmed = self.segments.confirm(claim);
        let segment = confirmed.map_err(|error| Error::file(&self.file.path, error))?;
        Ok((self, segment))
    }

    /// The file, once nothing more is written to it.
    pub(crate) fn into_file(self) -> OpenFile {
        self.file
    }
}
