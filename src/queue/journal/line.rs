//! The format of a journal: lines of text, each with a checksum.
//!
//! ```text
//! threaded-journal 1
//! 5a1d0c3e submit "row-17" {"v":1,"method":"GET","url":"https://example.com/17"}
//! 91c7f0b2 start "row-17"
//! 0d2b8a55 record "row-17" {"v":1,"index":0,"attempts":1,…}
//! ```
//!
//! A line is a CRC-32 of what follows it, a verb, the id of the job as a JSON string, and JSON that depends on the verb.

use std::borrow::Cow;
use std::io::Write;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::queue::{Delay, Made};

/// The first line.
pub(super) const HEADER: &str = "threaded-journal 1\n";

/// What the first line of every version begins with.
const MAGIC: &str = "threaded-journal ";

/// The digits of the checksum, and a space.
const PREFIX: usize = 9;

/// What a line tells of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// It was accepted. With the request.
    Submit,
    /// A worker was about to send it.
    Start,
    /// It is done. With the outcome.
    Record,
    /// It waits for a retry. With a [`DelayData`].
    Delay,
    /// It was delivered too often, or is not understood. With an outcome.
    Dead,
    /// The job, which was dead, is to be delivered again.
    Requeue,
    /// There will be no more jobs. Without an id.
    Close,
}

const VERBS: [(Verb, &str); 7] = [
    (Verb::Submit, "submit"),
    (Verb::Start, "start"),
    (Verb::Record, "record"),
    (Verb::Delay, "delay"),
    (Verb::Dead, "dead"),
    (Verb::Requeue, "requeue"),
    (Verb::Close, "close"),
];

impl Verb {
    fn name(self) -> &'static str {
        let found = VERBS.iter().find(|(verb, _)| *verb == self);
        found.map_or("", |(_, name)| name)
    }
}

/// Appends a line. Returns its length.
pub(super) fn write(buffer: &mut Vec<u8>, verb: Verb, id: Option<&str>, payload: &[u8]) -> usize {
    let start = buffer.len();
    // Room for the verb too, and for what surrounds the id.
    buffer.reserve(PREFIX + 16 + id.map_or(0, str::len) + payload.len());
    buffer.extend_from_slice(&[b' '; PREFIX]);
    buffer.extend_from_slice(verb.name().as_bytes());
    if let Some(id) = id {
        buffer.push(b' ');
        // Strings can always be serialized, and memory can always be written to.
        let _ = serde_json::to_writer(&mut *buffer, id);
    }
    if !payload.is_empty() {
        buffer.push(b' ');
        buffer.extend_from_slice(payload);
    }
    let checksum = buffer.get(start + PREFIX..).map_or(0, crc32fast::hash);
    if let Some(mut place) = buffer.get_mut(start..) {
        let _ = write!(place, "{checksum:08x}");
    }
    buffer.push(b'\n');
    buffer.len() - start
}

/// What a line says.
pub(super) struct Line<'a> {
    pub(super) verb: Verb,
    /// Empty for [`Verb::Close`].
    pub(super) id: Cow<'a, str>,
    pub(super) payload: &'a [u8],
}

/// Reads a line, with or without its line break. Fails with what is wrong with it.
pub(super) fn parse(line: &[u8]) -> Result<Line<'_>, String> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (prefix, rest) = line
        .split_at_checked(PREFIX)
        .ok_or("the line is too short")?;
    let checksum = std::str::from_utf8(prefix)
        .ok()
        .and_then(|digits| digits.strip_suffix(' '))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok());
    if checksum != Some(crc32fast::hash(rest)) {
        return Err("the checksum does not match".to_owned());
    }
    let end = rest.iter().position(|byte| *byte == b' ');
    let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
    let known = VERBS.iter().find(|(_, known)| known.as_bytes() == name);
    let Some((verb, _)) = known else {
        let name = String::from_utf8_lossy(name);
        return Err(format!("`{name}` is not known here"));
    };
    if *verb == Verb::Close {
        return Ok(Line {
            verb: *verb,
            id: Cow::Borrowed(""),
            payload: b"",
        });
    }
    let rest = rest.trim_ascii_start();
    let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<Id<'_>>();
    let id = match values.next() {
        Some(Ok(Id(id))) => id,
        _ => return Err("there is no id".to_owned()),
    };
    let payload = rest.get(values.byte_offset()..).unwrap_or_default();
    Ok(Line {
        verb: *verb,
        id,
        payload: payload.trim_ascii_start(),
    })
}

/// Borrowed if it has no escapes.
#[derive(Deserialize)]
struct Id<'a>(#[serde(borrow)] Cow<'a, str>);

/// Whether a file that begins like this is a journal. Fails with what it is instead; `Ok(false)` is one whose first line was
/// not written to its end, so that nothing is in it.
pub(super) fn check_header(start: &[u8]) -> Result<bool, String> {
    let header = HEADER.as_bytes();
    if start.starts_with(header) {
        return Ok(true);
    }
    if header.starts_with(start) {
        return Ok(false);
    }
    let text = String::from_utf8_lossy(start);
    let version = text
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.lines().next());
    Err(match version {
        Some(version) => format!(
            "is a journal of version `{version}`, and only version 1 is known here; use a newer version of \
             reqwest-threaded"
        ),
        None => "is not a journal; nothing was written to it".to_owned(),
    })
}

/// The JSON form of a [`Delay`].
#[derive(Serialize, Deserialize)]
pub(super) struct DelayData {
    /// Since the Unix epoch.
    until_ms: u64,
    #[serde(flatten)]
    made: Made,
}

impl DelayData {
    pub(super) fn of(delay: &Delay) -> Self {
        let until = since_epoch().saturating_add(delay.time);
        Self {
            until_ms: u64::try_from(until.as_millis()).unwrap_or(u64::MAX),
            made: delay.made,
        }
    }

    /// With the time that is left now.
    pub(super) fn into_delay(self) -> Delay {
        let until = Duration::from_millis(self.until_ms);
        Delay {
            time: until.saturating_sub(since_epoch()),
            made: self.made,
        }
    }
}

fn since_epoch() -> Duration {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.unwrap_or_default()
}
