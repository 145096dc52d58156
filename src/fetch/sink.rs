//! The destinations of a body: memory (with protection against decompression bombs), a file (replaced when the body is
//! complete) and handlers.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::body::Incoming;
use super::deadline::Deadline;
use super::decode::{Decoded, Decoder};
use super::engine::{Engine, NextPiece, Piece};
use super::segments;
use crate::digest::{ExpectedDigest, Verifier};
use crate::download::{Download, OpenFile, Opened};
use crate::error::{Error, is_out_of_resources};
use crate::request::Handler;
use crate::response::ResponseHead;
use crate::transport::expected_length;

/// Maximum length of a body in memory, where neither the spec nor the pool sets one.
const DEFAULT_MAX_BODY: u64 = 64 << 20;

/// How much is unpacked into memory before its density matters.
const UNMEASURED: usize = 8 << 20;

/// A body that unpacks to this many times its length is dense. Text seldom unpacks to more than ten times its length, a
/// decompression bomb to a thousand times.
const DENSE: usize = 32;

impl<E: Engine + ?Sized> Incoming<'_, '_, E> {
    /// Collects the content, up to a limit.
    ///
    /// A few hundred KiB can unpack to more than a machine holds, and many attempts may be at such a body. So a dense body is
    /// only measured at first, and its encoded form kept: it is unpacked into memory when it is known to be within the limit.
    pub(super) async fn into_memory(
        mut self,
        decoders: &[Decoder],
        max_body: Option<u64>,
        content_length: Option<u64>,
    ) -> Result<Bytes, Error> {
        let limit = max_body.unwrap_or(DEFAULT_MAX_BODY);
        let is_encoded = !decoders.is_empty();
        if !is_encoded && content_length.is_some_and(|length| length > limit) {
            return Err(Error::body_too_large(limit));
        }
        // A limited bandwidth is waited for between pieces.
        if !is_encoded && !self.meter.is_limited() {
            let whole =
                self.engine
                    .whole(&mut self.body, content_length, self.deadline, self.meter);
            if let Some(whole) = whole.await {
                return match whole? {
                    whole if whole.len() as u64 > limit => Err(Error::body_too_large(limit)),
                    whole => Ok(whole),
                };
            }
        }
        // What follows is rarely needed, and would make each attempt larger by what it remembers.
        Box::pin(self.collect(decoders, limit, content_length)).await
    }

    async fn collect(
        mut self,
        decoders: &[Decoder],
        limit: u64,
        content_length: Option<u64>,
    ) -> Result<Bytes, Error> {
        let is_encoded = !decoders.is_empty();
        let mut decoded = Decoded::new(decoders, limit);
        let mut collected = match content_length {
            Some(length) if !is_encoded => Vec::with_capacity(expected_length(length)),
            _ => Vec::new(),
        };
        self.kept = is_encoded.then(Vec::new);
        self.max_kept = UNMEASURED / DENSE;
        while self.next(&mut decoded, &mut collected).await? {
            if self.kept.is_some() && collected.len() >= UNMEASURED {
                let length = self.measure(decoded, collected, limit).await?;
                self.replay().ok_or(Error::body_too_large(limit))?;
                decoded = Decoded::new(decoders, limit);
                collected = Vec::with_capacity(length);
            }
        }
        self.drain().await;
        Ok(collected.into())
    }

    /// Unpacks the rest of a body without keeping it, and returns the length of all of it.
    async fn measure(
        &mut self,
        mut decoded: Decoded,
        begun: Vec<u8>,
        limit: u64,
    ) -> Result<usize, Error> {
        let mut length = begun.len();
        drop(begun);
        // Only an attack has an encoded form that is longer: empty members of a gzip file, for example.
        self.max_kept = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut part = Vec::new();
        while self.next(&mut decoded, &mut part).await? {
            length = length.saturating_add(part.len());
            part.clear();
        }
        self.drain().await;
        Ok(length)
    }
}

/// How much of a file is written at once.
pub(super) const BUFFER: usize = 64 << 10;

impl<E: Engine + ?Sized> Incoming<'_, '_, E> {
    /// Saves the content to a file, which gets its name in the end. Returns its path.
    pub(super) async fn into_file(
        mut self,
        decoders: &[Decoder],
        max_body: Option<u64>,
        mut download: Box<Download>,
        head: &ResponseHead,
        digests: &[ExpectedDigest],
    ) -> Result<Arc<Path>, Error> {
        self.fill().await?;
        download.note(head, !decoders.is_empty());
        let (max_body, deadline) = (max_body.unwrap_or(u64::MAX), self.deadline);
        let digests = digests.to_vec();
        let open = move |download: &mut Download| download.open(&digests, max_body);
        let opening = with_files(self.engine, deadline, true, download, open);
        let (download, opened) = opening.await?;
        match opened {
            Opened::Whole(file) => {
                let (file, fault) = self.write_whole(file, decoders, max_body).await?;
                let saved = complete(self.engine, deadline, download, file, fault).await;
                if saved.is_ok() {
                    self.drain().await;
                }
                saved
            }
            Opened::Segmented(file) => {
                let source = segments::Source {
                    download: &download,
                    url: &head.url,
                    deadline,
                };
                let receiving = segments::receive(self, file, source);
                let (engine, file, fault) = Box::pin(receiving).await?;
                complete(engine, deadline, download, file.into_file(), fault).await
            }
        }
    }

    /// Writes the content to a file, up to its end or to a fault.
    async fn write_whole(
        &mut self,
        mut file: OpenFile,
        decoders: &[Decoder],
        max_body: u64,
    ) -> Result<(OpenFile, Option<Error>), Error> {
        let mut decoded = Decoded::new(decoders, max_body);
        let mut fault = decoded.count(file.length).err();
        while fault.is_none() {
            match self.next(&mut decoded, &mut file.buffer).await {
                Ok(false) => break,
                Ok(true) if file.buffer.len() < BUFFER => {}
                Ok(true) => file = self.engine.unblock(|| file.write()).await??,
                Err(error) => fault = Some(error),
            }
        }
        Ok((file, fault))
    }
}

/// Lets a download work with files. Waits if there are no descriptors for that. `sent` is whether a server may have seen anything by
/// now.
pub(super) async fn with_files<E: Engine + ?Sized, T: Send + 'static>(
    engine: &mut E,
    deadline: &Deadline,
    sent: bool,
    mut download: Box<Download>,
    work: impl Fn(&mut Download) -> Result<T, Error> + Clone + Send + 'static,
) -> Result<(Box<Download>, T), Error> {
    let stall_timeout = deadline.stall_timeout();
    let until = stall_timeout.and_then(|limit| Instant::now().checked_add(limit));
    loop {
        let is_in_time = until.is_none_or(|until| Instant::now() < until);
        let work = work.clone();
        let working = engine.unblock(move || {
            let done = work(&mut download);
            (download, done)
        });
        let (returned, done) = working.await?;
        download = returned;
        match done {
            Err(error) if is_out_of_resources(&error) && is_in_time && engine.relieved().await => {
                deadline.check(sent)?;
            }
            done => return done.map(|done| (download, done)),
        }
    }
}

/// Gives a file its name, unless there was a fault: then it stays a part. Returns its path.
async fn complete<E: Engine + ?Sized>(
    engine: &mut E,
    deadline: &Deadline,
    download: Box<Download>,
    file: OpenFile,
    fault: Option<Error>,
) -> Result<Arc<Path>, Error> {
    let deadline = deadline.clone();
    let complete = move || match fault.map_or_else(|| deadline.check(true), Err) {
        Ok(()) => download.complete(file, &|| deadline.check(true)),
        Err(error) => Err(file.give_up(error)),
    };
    engine.unblock(complete).await?
}

impl<E: Engine + ?Sized> Incoming<'_, '_, E> {
    /// Lets a handler read the content. A fault of the body is the error, whatever the handler makes of it.
    pub(super) async fn into_handler(
        mut self,
        decoders: Vec<Decoder>,
        max_body: Option<u64>,
        head: Box<ResponseHead>,
        handler: &Handler,
        verifier: Option<Verifier>,
    ) -> Result<Box<ResponseHead>, Error> {
        self.fill().await?;
        let first = std::mem::take(&mut self.rest);
        let (deadline, handler) = (self.deadline.clone(), Arc::clone(handler));
        let read = move |next: &mut NextPiece<'_>| {
            let mut decoded = Decoded::new(&decoders, max_body.unwrap_or(u64::MAX));
            decoded.feed(first);
            let mut content = Content {
                decoded,
                deadline,
                next,
                verifier,
                fault: None,
                is_at_end: false,
            };
            let handled = handler(&head, &mut content).map_err(Error::handler);
            let verified = match handled {
                Ok(()) => content.verify(),
                Err(_) => Ok(()),
            };
            match content.fault {
                Some(fault) => (Err(fault), false, head),
                None => (handled.and(verified), content.is_at_end, head),
            }
        };
        let reading = (self.engine).read_with(&mut self.body, self.deadline, self.meter, read);
        let (handled, is_at_end, head) = reading.await?;
        // A handler that has stopped early may have done so because there is no end.
        if is_at_end {
            self.drain().await;
        }
        handled.map(|()| head)
    }
}

/// The content of a body as a handler reads it. Remembers the fault of the body, to tell it from one of the handler.
struct Content<F> {
    decoded: Decoded,
    deadline: Deadline,
    /// Waits for the next piece of the body.
    next: F,
    verifier: Option<Verifier>,
    fault: Option<Error>,
    is_at_end: bool,
}

impl<F: FnMut() -> Result<Piece, Error>> Content<F> {
    /// The handler is done: compares what it has read with the digests that it must have.
    fn verify(&mut self) -> Result<(), Error> {
        // The end may be there without having been read.
        let has_more = self.verifier.is_some() && !matches!(self.read(&mut [0]), Ok(0));
        match self.verifier.take() {
            Some(_) if has_more => Err(Error::handler(
                "it has not read to the end of a body whose digest is to be verified".into(),
            )),
            Some(verifier) => verifier.finish(),
            None => Ok(()),
        }
    }

    fn read_next(&mut self, mut buffer: &mut [u8]) -> Result<usize, Error> {
        let mut stall = self.deadline.stall();
        loop {
            let max = buffer.len();
            let take = |part: &[u8]| buffer.write_all(part).unwrap_or_default();
            if let Some(read) = self.decoded.next(max, take)? {
                self.is_at_end = read == 0;
                return Ok(read);
            }
            self.deadline.check(true)?;
            stall.check()?;
            let piece = (self.next)()?;
            if piece.was_held_back {
                stall = self.deadline.stall();
            }
            self.decoded.feed(piece.bytes);
        }
    }
}

impl<F: FnMut() -> Result<Piece, Error>> Read for Content<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_some() {
            return Err(io::Error::other("the body could not be read"));
        }
        if self.is_at_end || buffer.is_empty() {
            return Ok(0);
        }
        let read = self.read_next(buffer).map_err(|fault| {
            let message = fault.to_string();
            self.fault = Some(fault);
            io::Error::other(message)
        })?;
        if let (Some(verifier), Some(part)) = (&mut self.verifier, buffer.get(..read)) {
            verifier.update(part);
        }
        Ok(read)
    }
}
