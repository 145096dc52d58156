//! JSON lines: requests in, one a line, and outcomes out. With the feature `serde`.
//!
//! ```
//! use threaded::jsonl;
//!
//! let input = r#"{"url": "https://example.com/", "tag": 1}
//! {"method": "POST", "url": "https://example.com/items", "body": {"utf8": "content"}, "tag": 2}
//! "https://example.com/a-url-alone"
//! {"ulr": "https://example.com/"}
//! "#;
//! let mut specs = jsonl::read(input.as_bytes());
//! assert_eq!(specs.next().unwrap()?.tag_value(), Some(&1.into()));
//! assert_eq!(specs.next().unwrap()?.method(), "POST");
//! assert_eq!(specs.next().unwrap()?.url(), "https://example.com/a-url-alone");
//! let error = specs.next().unwrap().unwrap_err();
//! assert!(error.to_string().starts_with("line 4, column 6: unknown field `ulr`"));
//! # Ok::<(), jsonl::LineError>(())
//! ```

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use crate::outcome::{Outcome, OutcomeData};
use crate::request::RequestSpec;

/// The maximum length of a line, in bytes. A longer one is an error, since it would be held in memory.
const MAX_LINE: u64 = 64 << 20;

/// Reads specs, one from each line, as they are asked for. Empty lines are skipped.
///
/// A line that is no spec is an error that names it, and the next line is read all the same. A fault of the reader is the last
/// item. For the form of a line, see the `Deserialize` of [`RequestSpec`].
pub fn read<R: BufRead>(reader: R) -> Specs<R> {
    Specs {
        reader,
        line: 0,
        is_over: false,
    }
}

/// The specs that [`read`] reads.
#[derive(Debug)]
pub struct Specs<R> {
    reader: R,
    /// How many lines were read.
    line: u64,
    is_over: bool,
}

impl<R: BufRead> Iterator for Specs<R> {
    type Item = Result<RequestSpec, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.is_over {
            self.line += 1;
            let line = match self.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.is_over = true;
                    return None;
                }
                Err(error) => {
                    self.is_over = error.kind() != io::ErrorKind::FileTooLarge;
                    return Some(Err(self.error(None, error.to_string())));
                }
            };
            if !line.trim_ascii().is_empty() {
                let spec = serde_json::from_slice(&line);
                return Some(spec.map_err(|error| {
                    let message = error.to_string();
                    let place = format!(" at line {} column {}", error.line(), error.column());
                    let message = message.strip_suffix(&place).unwrap_or(&message);
                    self.error(Some(error.column()), message.to_owned())
                }));
            }
        }
        None
    }
}

impl<R: BufRead> Specs<R> {
    /// `None` at the end.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let mut limited = self.reader.by_ref().take(MAX_LINE);
        if limited.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            self.reader.skip_until(b'\n')?;
            let message = format!("longer than {} MiB", MAX_LINE >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(Some(line))
    }

    fn error(&self, column: Option<usize>, message: String) -> LineError {
        LineError {
            line: self.line,
            column,
            message,
        }
    }
}

/// A line that is no spec, or that could not be read.
#[derive(Clone, Debug)]
pub struct LineError {
    line: u64,
    column: Option<usize>,
    message: String,
}

impl LineError {
    /// Returns the number of the line, counted from 1.
    pub fn line(&self) -> u64 {
        self.line
    }
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line,
            column,
            message,
        } = self;
        match column {
            Some(column) => write!(f, "line {line}, column {column}: {message}"),
            None => write!(f, "line {line}: {message}"),
        }
    }
}

impl std::error::Error for LineError {}

/// Writes an outcome, its body included, as one line. For its form, see the `Serialize` of
/// [`ThreadResponse`](crate::ThreadResponse) and [`ThreadException`](crate::ThreadException).
///
/// # Errors
///
/// Returns an error if the writer fails.
pub fn write(writer: impl Write, outcome: &Outcome) -> io::Result<()> {
    write_line(writer, outcome, true)
}

/// Like [`write()`], without the body of the response.
///
/// # Errors
///
/// Returns an error if the writer fails.
pub fn write_without_body(writer: impl Write, outcome: &Outcome) -> io::Result<()> {
    write_line(writer, outcome, false)
}

fn write_line(mut writer: impl Write, outcome: &Outcome, with_body: bool) -> io::Result<()> {
    let data = OutcomeData::of(outcome, with_body);
    // All of a line at once: it is whole, or not there at all.
    let mut line = serde_json::to_vec(&data)?;
    line.push(b'\n');
    writer.write_all(&line)
}
