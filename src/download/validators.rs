//! By what a body is recognized: validators (RFC 9110, section 8.8), and the record of them beside a saved file or a part of one.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use super::part;
use super::segments::MAX_MISSING;
use crate::error::is_out_of_resources;
use http::header::{DATE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

/// How much earlier than the response a `Last-Modified` must be to tell versions apart: then the clocks that the two come from
/// need not agree exactly (RFC 9110, section 8.8.2.2).
const MIN_AGE: Duration = Duration::from_secs(60);

/// The first line of a record. Those of other versions are ignored.
const HEADING: &[u8] = b"reqwest-threaded 1";

/// Records have at most two headers, a name, and [`MAX_MISSING`] ranges.
const MAX_RECORD: u64 = 64 << 10;

/// The validator by which two parts belong to the same content, if a response has one.
pub(super) fn strong(headers: &HeaderMap) -> Option<Validator> {
    let is_strong = |etag: &&HeaderValue| {
        let etag = etag.as_bytes();
        etag.len() > 2 && etag.starts_with(b"\"") && etag.ends_with(b"\"")
    };
    if let Some(etag) = headers.get(ETAG) {
        // With a weak one, `Last-Modified` says no more either.
        return Some(etag).filter(is_strong).cloned().map(Validator::ETag);
    }
    let date_of = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok();
    let modified = headers.get(LAST_MODIFIED)?;
    let age = date_of(DATE)?.duration_since(date_of(LAST_MODIFIED)?);
    let is_old = age.is_ok_and(|age| age >= MIN_AGE);
    is_old.then(|| Validator::LastModified(modified.clone()))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validator {
    ETag(HeaderValue),
    LastModified(HeaderValue),
}

impl Validator {
    pub(super) fn value(&self) -> &HeaderValue {
        match self {
            Self::ETag(value) | Self::LastModified(value) => value,
        }
    }

    /// Whether a response is of the same content.
    pub(super) fn is_that_of(&self, headers: &HeaderMap) -> bool {
        let name = match self {
            Self::ETag(_) => ETAG,
            Self::LastModified(_) => LAST_MODIFIED,
        };
        headers.get(name) == Some(self.value())
    }
}

/// What is known of a file that a body was saved to, or of a part of one. Stands in a file of its own beside it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// Identifies the request.
    pub(super) request: String,
    /// Identifies what the redirects have led to, of which the validators are.
    pub(super) resource: String,
    pub(super) etag: Option<HeaderValue>,
    pub(super) last_modified: Option<HeaderValue>,
    /// Of the whole body, if it is known.
    pub(super) length: Option<u64>,
    /// The modification time of the file, from 1970 on. A part has none.
    pub(super) modified: Option<Duration>,
    /// The name that the server gives the body, if it has a say in it.
    pub(super) name: Option<String>,
    /// What is missing of a part that is received in segments, besides what is behind the end of its file. `None` if nothing else is.
    pub(super) missing: Option<Vec<Range<u64>>>,
}

impl Record {
    /// The validator of a part.
    pub(super) fn validator(&self) -> Option<Validator> {
        let etag = self.etag.clone().map(Validator::ETag);
        etag.or_else(|| self.last_modified.clone().map(Validator::LastModified))
    }

    pub(super) fn set_validator(&mut self, validator: Validator) {
        match validator {
            Validator::ETag(value) => self.etag = Some(value),
            Validator::LastModified(value) => self.last_modified = Some(value),
        }
    }

    /// Writes it in place of any other, at once: whenever the process is killed, there is one of the two. The file stays open.
    pub(super) fn write(&self, path: &Path) -> io::Result<OpenRecord> {
        let mut text = HEADING.to_vec();
        if let Some(missing) = &self.missing {
            let missing = missing.iter().cloned().chain(std::iter::repeat(0..0));
            for range in missing.take(MAX_MISSING) {
                text.extend_from_slice(missing_line(&range).as_bytes());
            }
        }
        let mut line = |name: &str, value: &[u8]| {
            text.extend_from_slice(b"\n");
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value);
        };
        line("request", self.request.as_bytes());
        line("resource", self.resource.as_bytes());
        for (name, value) in [("etag", &self.etag), ("last-modified", &self.last_modified)] {
            if let Some(value) = value {
                line(name, value.as_bytes());
            }
        }
        if let Some(length) = self.length {
            line("length", length.to_string().as_bytes());
        }
        if let Some(time) = self.modified {
            line("modified", time.as_nanos().to_string().as_bytes());
        }
        if let Some(name) = &self.name {
            line("name", name.as_bytes());
        }
        // What is cut off has no end.
        line("end", b"\n");
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let _ = fs::remove_file(&new);
        // Follows no link.
        let mut file = File::options().write(true).create_new(true).open(&new)?;
        let written = file.write_all(&text).and_then(|()| fs::rename(&new, path));
        if let Err(error) = written {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
        Ok(OpenRecord { file })
    }

    /// Reads one. `None` if there is none, or something else. Fails if it cannot be known for lack of resources.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let mut text = Vec::new();
        let read = match part::open_to_read(path) {
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(_) => return Ok(None),
            Ok(file) => file.take(MAX_RECORD).read_to_end(&mut text),
        };
        Ok(read.ok().and_then(|_| Self::parse(&text)))
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = text.split(|byte| *byte == b'\n');
        if lines.next()? != HEADING {
            return None;
        }
        let mut record = Self::default();
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = line.split_at_checked(colon)?;
            let value = value.strip_prefix(b": ")?;
            let text = || std::str::from_utf8(value).ok();
            match name {
                b"request" => record.request = text()?.to_owned(),
                b"resource" => record.resource = text()?.to_owned(),
                b"etag" => record.etag = Some(HeaderValue::from_bytes(value).ok()?),
                b"last-modified" => {
                    record.last_modified = Some(HeaderValue::from_bytes(value).ok()?);
                }
                b"length" => record.length = Some(text()?.parse().ok()?),
                b"modified" => {
                    record.modified = Some(Duration::from_nanos(text()?.parse().ok()?));
                }
                b"name" => record.name = Some(text()?.to_owned()),
                b"missing" => {
                    let (start, end) = text()?.split_once('-')?;
                    let range = start.parse().ok()?..end.parse().ok()?;
                    record.missing.get_or_insert_default().push(range);
                }
                b"end" => return Some(record),
                _ => return None,
            }
        }
        None
    }
}

/// A line that takes the same room whatever the range is.
fn missing_line(range: &Range<u64>) -> String {
    format!("\nmissing: {:020}-{:020}", range.start, range.end)
}

/// A record whose missing ranges change.
pub(super) struct OpenRecord {
    file: File,
}

impl OpenRecord {
    /// Replaces one of them. All of them are at the beginning, in one page of memory: so a process that is killed meanwhile leaves the
    /// old one or the new one.
    pub(super) fn set_missing(&mut self, index: usize, range: &Range<u64>) -> io::Result<()> {
        let line = missing_line(range);
        let at = HEADING.len() + index * line.len();
        self.file.seek(SeekFrom::Start(at as u64))?;
        self.file.write_all(line.as_bytes())
    }
}

/// The modification time of a file, as a record has it.
pub(super) fn modification_time(metadata: &fs::Metadata) -> Option<Duration> {
    metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        lines.collect()
    }

    #[test]
    fn only_what_tells_versions_apart_is_a_strong_validator() {
        const NOON: &str = "Thu, 26 Nov 2026 12:00:00 GMT";
        for (lines, expected) in [
            (&[("etag", "\"a\"")][..], Some("\"a\"")),
            (&[("etag", "W/\"a\"")], None),
            (&[("etag", "\"\"")], None),
            (&[("etag", "a")], None),
            (
                &[
                    ("last-modified", "Thu, 26 Nov 2026 11:59:00 GMT"),
                    ("date", NOON),
                ],
                Some("Thu, 26 Nov 2026 11:59:00 GMT"),
            ),
            (
                &[
                    ("last-modified", "Thu, 26 Nov 2026 11:59:01 GMT"),
                    ("date", NOON),
                ],
                None,
            ),
            (
                &[
                    ("last-modified", "Thu, 26 Nov 2026 13:00:00 GMT"),
                    ("date", NOON),
                ],
                None,
            ),
            (&[("last-modified", "Thu, 26 Nov 2026 11:00:00 GMT")], None),
            (&[("last-modified", "yesterday"), ("date", NOON)], None),
            (
                &[
                    ("etag", "W/\"a\""),
                    ("last-modified", "Thu, 26 Nov 2026 11:00:00 GMT"),
                    ("date", NOON),
                ],
                None,
            ),
            (&[], None),
        ] {
            let validator = strong(&headers(lines));
            let value = validator.as_ref().map(|validator| validator.value());
            assert_eq!(
                value.map(HeaderValue::as_bytes),
                expected.map(str::as_bytes)
            );
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_part_of_one_is_none() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("record");
        let full = Record {
            request: "a1".to_owned(),
            resource: "b2".to_owned(),
            etag: Some(HeaderValue::from_bytes(b"\"\xff: x\"").expect("it is valid")),
            last_modified: Some(HeaderValue::from_static("Thu, 26 Nov 2026 11:00:00 GMT")),
            length: Some(u64::MAX),
            modified: Some(Duration::new(7, 9)),
            name: Some("naïve: 1".to_owned()),
            missing: None,
        };
        for record in [full, Record::default()] {
            record.write(&path).expect("it is written");
            let read = |path| Record::read(path).expect("there are resources");
            assert_eq!(read(&path).as_ref(), Some(&record));
            let text = fs::read(&path).expect("it is there");
            for length in 0..text.len() - 2 {
                fs::write(&path, &text[..length]).expect("it is written");
                assert_eq!(read(&path), None, "{length}");
            }
            record.write(&path).expect("it replaces another");
        }
        let mut record = Record {
            missing: Some(vec![0..5, 7..u64::MAX]),
            ..Record::default()
        };
        let mut open = record.write(&path).expect("it is written");
        for (index, range) in [(0, 3..5), (MAX_MISSING - 1, 1..2), (1, 0..0)] {
            open.set_missing(index, &range).expect("it is written");
        }
        let mut missing = vec![0..0; MAX_MISSING];
        missing[0] = 3..5;
        missing[MAX_MISSING - 1] = 1..2;
        record.missing = Some(missing);
        let read = |path| Record::read(path).expect("there are resources");
        assert_eq!(read(&path), Some(record));
        fs::write(&path, "reqwest-threaded 2\nend: \n").expect("it is written");
        assert_eq!(read(&path), None);
        assert_eq!(read(folder.path()), None);
    }
}
