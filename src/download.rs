//! A body that is saved to a file: from the part of it that is there already, over what the server is asked for and responds,
//! to the file under its name.

mod complete;
mod conditional;
mod continuation;
mod file_name;
mod open_file;
mod part;
mod segments;
mod validators;

use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, ACCEPT_RANGES, ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use url::{Position, Url};

use self::continuation::{Continuation, Rest};
pub(crate) use self::open_file::{OpenFile, SegmentedFile};
pub(crate) use self::segments::Claim;
use self::segments::{MIN_SEGMENT, Segments};
use self::validators::{OpenRecord, Record, Validator};
use crate::digest::{ExpectedDigest, Verifier};
use crate::error::{Error, is_out_of_resources};
use crate::headers;
use crate::request::{BodyDestination, RequestSpec, SaveOptions};
use crate::response::ResponseHead;

/// After how much of a file it is looked whether the attempt has time left.
const DIGEST_STEP: u64 = 1 << 20;

/// What an attempt does about a file: it saves the body to it, or is made unless the file has the body.
pub(crate) struct Download {
    /// `None` if the body goes elsewhere.
    place: Option<Place>,
    options: SaveOptions,
    if_modified: Option<Arc<Path>>,
    /// Those that a file must have to make a request conditional.
    digests: Box<[ExpectedDigest]>,
    /// Identifies the request, if something is to be found again by it.
    request: String,
    /// The conditions of the request, if there are any.
    conditions: HeaderMap,
    /// A part from an earlier attempt. No other job, thread or process has it.
    kept: Option<NamedTempFile>,
    /// The part that the request continues.
    asked: Option<Continuation>,
    /// What it amounts to for the digests, if there are any.
    digested: Option<Verifier>,
    /// Whether a response was of no use, so that the request was sent again.
    is_repeated: bool,
    /// Whether segments of the body can be requested, over one connection at least.
    can_split: bool,
    /// The headers of the request, without those that are about a file; if segments may be requested.
    sent: HeaderMap,
    /// What the response says of the body.
    body: BodyInfo,
}

enum Place {
    File(Arc<Path>),
    Folder(Arc<Path>),
}

#[derive(Default)]
struct BodyInfo {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
    length: Option<u64>,
    /// By which a part of it can be recognized as such.
    validator: Option<Validator>,
    /// Whether the server states that it sends ranges of it.
    has_ranges: bool,
    /// Identifies what was requested in the end.
    resource: String,
    name: String,
}

impl Download {
    /// `None` if the request has nothing to do with a file. `url` has no user info, and `defaults` are the headers of the session.
    pub(crate) fn of(spec: &RequestSpec, url: &Url, defaults: &HeaderMap) -> Option<Box<Self>> {
        let place = match spec.body_destination() {
            Some(BodyDestination::File(path)) => Some(Place::File(Arc::clone(path))),
            Some(BodyDestination::Folder(path)) => Some(Place::Folder(Arc::clone(path))),
            _ => None,
        };
        let if_modified = spec.if_modified_file();
        if place.is_none() && if_modified.is_none() {
            return None;
        }
        let is_get = *spec.method() == Method::GET;
        let fields = spec.header_map();
        let has_conditions = [
            IF_MATCH,
            IF_NONE_MATCH,
            IF_MODIFIED_SINCE,
            IF_UNMODIFIED_SINCE,
            IF_RANGE,
        ]
        .iter()
        .any(|name| fields.contains_key(name) || defaults.contains_key(name));
        let if_modified = if_modified.filter(|_| is_get && !has_conditions).cloned();
        let is_folder = matches!(place, Some(Place::Folder(_)));
        let mut options = spec.save_options();
        options.resume &= is_get && !has_conditions;
        Some(Box::new(Self {
            place,
            options,
            digests: spec.digests().into(),
            request: if options.resume || if_modified.is_some() || is_folder {
                identity(url, fields, defaults)
            } else {
                String::new()
            },
            if_modified,
            conditions: HeaderMap::new(),
            kept: None,
            asked: None,
            digested: None,
            is_repeated: false,
            can_split: is_get && !has_conditions && spec.request_body().is_none(),
            sent: HeaderMap::new(),
            body: BodyInfo::default(),
        }))
    }

    /// Looks at what is there, before anything is sent. Fails if the body could not be saved, or if `check`, which is called now
    /// and then, says that there is no time for more. `can_split` is whether several exchanges are possible at once. If it fails for
    /// lack of resources, it can be called again.
    pub(crate) fn prepare(
        &mut self,
        can_split: bool,
        check: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.can_split &= can_split;
        let SaveOptions {
            create_dirs,
            overwrite,
            resume,
            ..
        } = self.options;
        match &self.place {
            Some(Place::File(path)) => part::check_file(path, create_dirs, overwrite)?,
            Some(Place::Folder(path)) => part::check_folder(path, create_dirs)?,
            None => {}
        }
        if resume {
            if let Some(path) = self.part_path() {
                let found = self.find_part(&path);
                found.map_err(|error| Error::file(&path, error).sent(false))?;
            }
            self.digest_part(check)?;
        }
        if let Some(path) = self.if_modified.clone() {
            self.conditions = self.conditions_of(&path, check)?.unwrap_or_default();
        }
        Ok(())
    }

    /// Finds what an earlier attempt has left. What is wrong with it only means that the body is received from its beginning, but not
    /// that there are no descriptors to look at it.
    fn find_part(&mut self, path: &Path) -> io::Result<()> {
        let file = match part::open_kept(path, false) {
            Ok(Some(file)) => file,
            Err(error) if is_out_of_resources(&error) => return Err(error),
            _ => return Ok(()),
        };
        let record = Record::read(&part::record_of_part(path))?;
        let length = file.as_file().metadata().map_or(0, |there| there.len());
        let mut asked = record.and_then(|record| Continuation::of(record, &self.request, length));
        if !self.can_split {
            asked = asked.and_then(|asked| reduce(asked, file.as_file(), path));
        }
        self.asked = asked;
        self.kept = Some(file);
        Ok(())
    }

    /// How many connections may receive the body at once.
    pub(crate) fn max_segments(&self) -> usize {
        match self.place {
            Some(_) if self.can_split => self.options.segments.into(),
            _ => 1,
        }
    }

    fn may_split(&self) -> bool {
        self.max_segments() > 1
    }

    /// Whether the request continues a part that was received in segments.
    fn continues_segments(&self) -> bool {
        (self.asked.as_ref()).is_some_and(|asked| asked.missing.is_some())
    }

    /// Computes what a part amounts to for the digests. That is done before anything is sent, since a server does not wait as long
    /// as it may take.
    fn digest_part(&mut self, check: &dyn Fn() -> Result<(), Error>) -> Result<(), Error> {
        let (Some(kept), Some(asked)) = (&self.kept, &self.asked) else {
            return Ok(());
        };
        if self.digests.is_empty() {
            return Ok(());
        }
        let part = Read::take(kept.as_file(), asked.from);
        let verifier = digest(part, &self.digests, check)?;
        let verifier = verifier.map_err(|error| Error::file(kept.path(), error).sent(false))?;
        self.digested = Some(verifier);
        Ok(())
    }

    /// Where a part of the body is kept.
    fn part_path(&self) -> Option<PathBuf> {
        match self.place.as_ref()? {
            Place::File(path) => Some(part::kept_of(&part::behind_links(path).ok()?)),
            Place::Folder(folder) => Some(folder.join(part::name_of_kept(self.request.as_bytes()))),
        }
    }

    /// What the request has to say about the file.
    pub(crate) fn add_headers(&mut self, headers: &mut HeaderMap) {
        if self.may_split() || self.continues_segments() {
            self.sent = headers.clone();
        }
        let conditions = self.conditions.iter();
        headers.extend(conditions.map(|(name, value)| (name.clone(), value.clone())));
        if let Some(asked) = &self.asked {
            let (from, end) = asked.first_missing();
            add_range(headers, from, end, &asked.validator);
        }
    }

    /// The headers of a request for a segment of the body.
    pub(crate) fn segment_headers(&self, range: &Range<u64>) -> HeaderMap {
        let mut headers = self.sent.clone();
        if let Some(validator) = &self.body.validator {
            add_range(&mut headers, range.start, Some(range.end), validator);
        }
        headers
    }

    /// Whether a response is what was requested so, or the beginning of it. Returns where it ends.
    pub(crate) fn fits_segment(
        &self,
        status: StatusCode,
        fields: &HeaderMap,
        range: &Range<u64>,
    ) -> Option<u64> {
        let validator = self.body.validator.as_ref()?;
        let is_part = status == StatusCode::PARTIAL_CONTENT;
        let rest = Rest::fitting(fields, validator, range.start, self.whole());
        Some(rest.filter(|_| is_part)?.end)
    }

    /// Whether the response, from this URL, can be taken in. Otherwise the request must be sent again, for the whole body.
    pub(crate) fn accepts(&mut self, status: StatusCode, fields: &HeaderMap, url: &Url) -> bool {
        if self.needs_validator() {
            self.body.resource =
                hexadecimal(Sha256::digest(&url[..Position::AfterPath]).as_slice());
        }
        let Some(asked) = &mut self.asked else {
            return true;
        };
        asked.rest = match status {
            StatusCode::PARTIAL_CONTENT => asked.fitting_rest(fields, &self.body.resource),
            StatusCode::RANGE_NOT_SATISFIABLE => None,
            _ => {
                if status.is_success() {
                    self.asked = None;
                }
                return true;
            }
        };
        if asked.rest.is_none() {
            self.asked = None;
            self.is_repeated = true;
            return false;
        }
        true
    }

    /// Whether the response is the rest of a part.
    pub(crate) fn continues(&self) -> bool {
        self.rest().is_some()
    }

    fn rest(&self) -> Option<&Rest> {
        self.asked.as_ref()?.rest.as_ref()
    }

    /// The part that the response continues.
    fn continued(&self) -> Option<&Continuation> {
        self.asked.as_ref().filter(|asked| asked.rest.is_some())
    }

    /// Whether a response was of no use, so that the request was sent again.
    pub(crate) fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// How much of the body was there before.
    pub(crate) fn resumed_from(&self) -> u64 {
        self.continued().map_or(0, Continuation::there)
    }

    /// The length of all of the body, if it is known of one that is continued.
    pub(crate) fn continued_length(&self) -> Option<u64> {
        self.rest().map(|rest| rest.whole)
    }

    /// How much of the body the response consists of, if it is known.
    pub(crate) fn response_length(&self) -> Option<u64> {
        match (&self.asked, self.rest()) {
            (Some(asked), Some(rest)) => Some(rest.end.saturating_sub(asked.from)),
            _ => self.body.length,
        }
    }

    /// Whether it must be possible to recognize another response as one of the same content.
    fn needs_validator(&self) -> bool {
        self.options.resume || self.may_split()
    }

    /// The length of all of the body, if it is known.
    fn whole(&self) -> Option<u64> {
        self.continued_length().or(self.body.length)
    }

    /// Whether the body is saved if its response has this status.
    pub(crate) fn saves(&self, status: StatusCode) -> bool {
        self.place.is_some() && status.is_success()
    }

    /// Takes note of what the response says of the body.
    pub(crate) fn note(&mut self, head: &ResponseHead, is_encoded: bool) {
        let fields = &head.headers;
        let is_encoded = is_encoded || headers::has_encoding(fields);
        let mut body = BodyInfo {
            etag: fields.get(ETAG).cloned(),
            last_modified: fields.get(LAST_MODIFIED).cloned(),
            length: head.content_length.filter(|_| !is_encoded),
            validator: match self.continued() {
                Some(asked) => Some(asked.validator.clone()),
                None => {
                    validators::strong(fields).filter(|_| self.needs_validator() && !is_encoded)
                }
            },
            has_ranges: fields
                .get(ACCEPT_RANGES)
                .is_some_and(|unit| unit.as_bytes().eq_ignore_ascii_case(b"bytes")),
            resource: std::mem::take(&mut self.body.resource),
            name: String::new(),
        };
        if let Some(Place::Folder(_)) = &self.place {
            let known = self
                .asked
                .as_ref()
                .and_then(|asked| asked.record.name.as_deref());
            body.name = known
                .and_then(file_name::safe)
                .unwrap_or_else(|| file_name::of_response(fields, &head.url));
        }
        self.body = body;
    }

    /// Opens the file that the body is written to, and decides whether it comes in segments. Fails if it is known to be longer than
    /// `max_body`.
    pub(crate) fn open(
        &mut self,
        digests: &[ExpectedDigest],
        max_body: u64,
    ) -> Result<Opened, Error> {
        let place = self.place.as_ref();
        let (path, target) = match place {
            Some(Place::Folder(folder)) => {
                let path = folder.join(&self.body.name);
                (Arc::from(&*path), Ok(path))
            }
            Some(Place::File(path)) => (Arc::clone(path), part::behind_links(path)),
            None => return Err(Error::invalid_request("there is no file to save it to")),
        };
        if self.whole().is_some_and(|whole| whole > max_body) {
            if let Some(part) = self.part_path() {
                part::delete_kept(&part, self.kept.take());
            }
            return Err(Error::body_too_large(max_body));
        }
        let opened = target.and_then(|target| {
            if self.options.create_dirs {
                part::create_folder(part::folder(&target), self.options.sync)?;
            }
            Ok((self.open_part(&target)?, target))
        });
        let (part, target) = opened.map_err(|error| Error::file(&path, error))?;
        // What is there of a part has been computed with.
        let begun = self.digested.take().filter(|_| self.continues());
        let begun = begun.unwrap_or_default();
        let verifier = Verifier::new(digests.get(begun.len()..).unwrap_or_default());
        let mut open = OpenFile::new(part.file, part.is_kept, path, target, verifier);
        if let Some(from) = self.continued().map(|asked| asked.from) {
            let continued = match &part.segments {
                Some(_) => open.continue_behind(from),
                None => open.continue_from(from),
            };
            continued.map_err(|error| Error::file(&open.path, error))?;
        }
        open.join_verifier(begun);
        Ok(match part.segments {
            Some(segments) => Opened::Segmented(SegmentedFile::new(open, segments)),
            None => Opened::Whole(open),
        })
    }

    /// What is missing of a body that is to be received in segments, before any of it has come, and how long all of it is.
    fn missing_at_first(&self) -> Option<(Vec<Range<u64>>, u64)> {
        self.body.validator.as_ref()?;
        let whole = self.whole()?;
        let (missing, has_ranges) = match &self.asked {
            Some(asked) => match &asked.missing {
                Some(missing) => return Some((missing.clone(), whole)),
                None => (asked.from..whole, true),
            },
            None => (0..whole, self.body.has_ranges),
        };
        let is_long = missing.end.saturating_sub(missing.start) >= 2 * MIN_SEGMENT;
        let splits = self.may_split() && has_ranges && is_long;
        splits.then(|| (vec![missing], whole))
    }

    /// Returns the part that the body is written to. If that fails, one that is kept can be opened again.
    fn open_part(&mut self, target: &Path) -> io::Result<Part> {
        let missing = self.missing_at_first();
        let path = match &self.place {
            Some(Place::Folder(_)) => self.part_path(),
            _ => Some(part::kept_of(target)),
        };
        if let Some(path) = &path {
            self.keep_part(path)?;
        }
        let (Some(kept), Some(path)) = (&self.kept, path) else {
            let file = part::create(target)?;
            let whole = |(missing, whole)| {
                // A file system that cannot do that gets the body in one piece.
                file.as_file().set_len(whole).ok()?;
                Some(Segments::new(whole, missing, None))
            };
            return Ok(Part {
                segments: missing.and_then(whole),
                file,
                is_kept: false,
            });
        };
        let file = kept.as_file();
        part::delete_abandoned(target);
        if !self.continues() && !part::is_empty(file) {
            // In this order: what a record says is never said of what is left of another version.
            file.set_len(0)?;
        }
        let segments = match missing {
            Some((missing, whole)) => {
                let record = self.write_record(&path, Some(missing.clone()))?;
                // In this order: by its length alone, it is not complete.
                match file.set_len(whole) {
                    Ok(()) => Some(Segments::new(whole, missing, Some(record))),
                    Err(error) if self.continues() => return Err(error),
                    Err(_) => None,
                }
            }
            None => None,
        };
        if segments.is_none() && !self.continues() {
            self.write_record(&path, None)?;
        }
        Ok(Part {
            file: self.kept.take().ok_or_else(gone)?,
            is_kept: true,
            segments,
        })
    }

    /// Opens the part that is to be kept if the body is cut, if there is to be one.
    fn keep_part(&mut self, path: &Path) -> io::Result<()> {
        if self.continues() {
            return self.kept.as_ref().map(drop).ok_or_else(gone);
        }
        if !self.options.resume || self.body.validator.is_none() {
            // What there is of another version is of no use any more.
            part::delete_kept(path, self.kept.take());
        } else if self.kept.is_none() {
            // What has come there since belongs to another job, which may go on with it.
            self.kept =
                part::open_kept(path, true)?.filter(|there| part::is_empty(there.as_file()));
        }
        Ok(())
    }

    /// Writes the record of a part.
    fn write_record(
        &self,
        part: &Path,
        missing: Option<Vec<Range<u64>>>,
    ) -> io::Result<OpenRecord> {
        let is_folder = matches!(self.place, Some(Place::Folder(_)));
        let mut record = Record {
            request: self.request.clone(),
            resource: self.body.resource.clone(),
            length: self.whole(),
            name: is_folder.then(|| self.body.name.clone()),
            missing,
            ..Record::default()
        };
        if let Some(validator) = self.body.validator.clone() {
            record.set_validator(validator);
        }
        record.write(&part::record_of_part(part))
    }
}

fn gone() -> io::Error {
    io::Error::other("the part that it continues is gone")
}

/// A file that is open, and how the body comes.
pub(crate) enum Opened {
    Whole(OpenFile),
    Segmented(SegmentedFile),
}

/// A part that a body goes to.
struct Part {
    file: NamedTempFile,
    /// Whether it is to be kept if the body is cut.
    is_kept: bool,
    segments: Option<Segments>,
}

/// Leaves of a part that was received in segments what is there from its beginning on, which a single connection can continue.
fn reduce(asked: Continuation, part: &fs::File, path: &Path) -> Option<Continuation> {
    if asked.missing.is_none() {
        return Some(asked);
    }
    let Continuation {
        from, mut record, ..
    } = asked;
    record.missing = None;
    // In this order: by its length alone, it is not complete. The other record, if it stays, says no more than is there.
    part.set_len(from).ok()?;
    let _ = record.write(&part::record_of_part(path));
    let request = record.request.clone();
    Continuation::of(record, &request, from)
}

fn add_range(headers: &mut HeaderMap, from: u64, end: Option<u64>, validator: &Validator) {
    let last = end.map_or(String::new(), |end| end.saturating_sub(1).to_string());
    if let Ok(range) = HeaderValue::try_from(format!("bytes={from}-{last}")) {
        headers.insert(RANGE, range);
        headers.insert(IF_RANGE, validator.value().clone());
    }
}

/// Computes digests of what is there. Fails with the error of `check`, which is called now and then.
fn digest(
    mut content: impl Read,
    digests: &[ExpectedDigest],
    check: &dyn Fn() -> Result<(), Error>,
) -> Result<io::Result<Verifier>, Error> {
    let mut verifier = Verifier::new(digests);
    loop {
        check()?;
        match io::copy(&mut Read::take(&mut content, DIGEST_STEP), &mut verifier) {
            Ok(0) => return Ok(Ok(verifier)),
            Ok(_) => {}
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Identifies a request: the same content is asked for by the same one.
fn identity(url: &Url, fields: &HeaderMap, defaults: &HeaderMap) -> String {
    let mut hash = Sha256::new();
    hash.update(&url[..Position::AfterQuery]);
    for name in [ACCEPT, ACCEPT_LANGUAGE] {
        let fields = if fields.contains_key(&name) {
            fields
        } else {
            defaults
        };
        for value in fields.get_all(&name) {
            hash.update(b"\n");
            hash.update(name.as_str());
            hash.update(value.as_bytes());
        }
    }
    hexadecimal(&hash.finalize())
}

fn hexadecimal(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
