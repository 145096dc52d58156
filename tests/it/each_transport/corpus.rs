//! Every case in `tests/corpus`: what a server sends, and what must come of it. `tests/corpus/README.md` has the format.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use std::{fs, io, thread};

use threaded::{ErrorKind, Outcome, RequestSpec};

use super::{TRANSPORT, pool};
use crate::support::pools::outcome_before_another;
use crate::support::raw::{RawServer, read_request, reset};

/// How many cases are tried at the same time.
const AT_ONCE: usize = 8;

#[test]
fn each_case_ends_as_it_should() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    let queue = Mutex::new(files.iter());
    let wrong = Mutex::new(String::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().next();
                    let Some(path) = next else { break };
                    let name = path.file_stem().unwrap().to_string_lossy();
                    let text = fs::read_to_string(path).unwrap();
                    let case = Case::parse(&text).unwrap_or_else(|line| panic!("{name}: {line}"));
                    if let Err(complaint) = case.check() {
                        writeln!(wrong.lock().unwrap(), "{name}: {complaint}").unwrap();
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "on {TRANSPORT}:\n{wrong}");
    assert!(files.len() >= 120, "{} cases", files.len());
}

/// What a case consists of.
#[derive(Default)]
struct Case {
    method: Option<String>,
    path: Option<String>,
    fields: Vec<(String, String)>,
    body: Option<String>,
    timeout: Option<Duration>,
    max_body: Option<u64>,
    raw: bool,
    steps: Vec<Step>,
    is_needed: bool,
    expected: Vec<Expected>,
    /// Instead of the others, on the transport under test.
    expected_here: Vec<Expected>,
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    /// Waits for a request.
    Request,
    Pause(Duration),
    Reset,
    /// Keeps the connection until the client closes it.
    Hold,
}

#[derive(Debug)]
enum Expected {
    Status(u16),
    Body(Vec<u8>),
    Text(String),
    /// A field, with the value that its lines have together; `None` if there is none.
    Field(String, Option<String>),
    Length(Option<u64>),
    Redirects(usize),
    Error(String),
    Sent(bool),
    Retryable(bool),
    Connections(usize),
}

impl Case {
    /// Fails with the line that is not understood.
    fn parse(text: &str) -> Result<Self, String> {
        let mut case = Self {
            is_needed: true,
            ..Self::default()
        };
        for line in text.lines() {
            if !line.is_empty() && !line.starts_with('#') {
                case.add(line).ok_or(line)?;
            }
        }
        if case.steps.is_empty() || case.expected.is_empty() {
            return Err("it sends nothing, or expects nothing".to_owned());
        }
        Ok(case)
    }

    /// `None` if the line is not understood.
    fn add(&mut self, line: &str) -> Option<()> {
        if let Some((transport @ ("reqwest" | "hyper" | "ureq"), line)) = line.split_once(": ") {
            let expected = Expected::parse(line)?;
            if transport == TRANSPORT {
                self.expected_here.push(expected);
            }
            return Some(());
        }
        if let Some(expected) = Expected::parse(line) {
            self.expected.push(expected);
            return Some(());
        }
        if let Some(step) = Step::parse(line) {
            self.steps.push(step);
            return Some(());
        }
        let (word, rest) = words(line);
        match word {
            "request" => {
                let (method, path) = rest.split_once(' ')?;
                self.method = Some(method.to_owned());
                self.path = Some(path.to_owned());
            }
            "request-field" => {
                let (name, value) = rest.split_once(": ")?;
                self.fields.push((name.to_owned(), value.to_owned()));
            }
            "request-body" => self.body = Some(rest.to_owned()),
            "timeout" => self.timeout = Some(Duration::from_millis(rest.parse().ok()?)),
            "max-body" => self.max_body = Some(rest.parse().ok()?),
            "no-decoding" => self.raw = true,
            "needs" => {
                self.is_needed &= match rest {
                    "gzip" => cfg!(feature = "gzip"),
                    "charset" => cfg!(feature = "charset"),
                    _ => return None,
                };
            }
            _ => return None,
        }
        Some(())
    }

    fn check(&self) -> Result<(), String> {
        if !self.is_needed {
            return Ok(());
        }
        let steps = self.steps.clone();
        let server = RawServer::start(move |stream, _| {
            let _ = play(stream, &steps);
        });
        let outcome = outcome_before_another(pool(), self.request(&server));
        let expected = if self.expected_here.is_empty() {
            &self.expected
        } else {
            &self.expected_here
        };
        for expected in expected {
            if !expected.is_met(&outcome, &server) {
                return Err(format!("{expected:?}, but it was {}", described(&outcome)));
            }
        }
        Ok(())
    }

    fn request(&self, server: &RawServer) -> RequestSpec {
        let method = self.method.as_deref().unwrap_or("GET");
        let url = server.url(self.path.as_deref().unwrap_or("/"));
        let mut spec = RequestSpec::new(method, url).decode(!self.raw);
        for (name, value) in &self.fields {
            spec = spec.header(name, value);
        }
        if let Some(body) = &self.body {
            spec = spec.body(body.clone());
        }
        if let Some(max) = self.max_body {
            spec = spec.max_body(max);
        }
        spec.timeout(self.timeout.unwrap_or(Duration::from_secs(60)))
    }
}

/// Plays the steps on each connection, once it has received a request. Then it closes the connection.
fn play(mut stream: TcpStream, steps: &[Step]) -> io::Result<()> {
    read_request(&mut stream);
    for step in steps {
        match step {
            Step::Send(bytes) => stream.write_all(bytes)?,
            Step::Request => drop(read_request(&mut stream)),
            Step::Pause(time) => thread::sleep(*time),
            Step::Reset => {
                reset(stream);
                return Ok(());
            }
            Step::Hold => {
                io::copy(&mut stream, &mut io::sink())?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The first word of a line, and what it says.
fn words(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

impl Step {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = words(line);
        Some(match word {
            "send" => Self::Send(unescaped(rest)?),
            "next-request" => Self::Request,
            "pause" => Self::Pause(Duration::from_millis(rest.parse().ok()?)),
            "reset" => Self::Reset,
            "hold" => Self::Hold,
            _ => return None,
        })
    }
}

impl Expected {
    fn parse(line: &str) -> Option<Self> {
        let (word, rest) = words(line);
        Some(match word {
            "status" => Self::Status(rest.parse().ok()?),
            "body" => Self::Body(unescaped(rest)?),
            "text" => Self::Text(rest.to_owned()),
            "field" => {
                let (name, value) = rest.split_once(':')?;
                Self::Field(name.to_owned(), Some(value.trim_start().to_owned()))
            }
            "no-field" => Self::Field(rest.to_owned(), None),
            "length" if rest == "none" => Self::Length(None),
            "length" => Self::Length(Some(rest.parse().ok()?)),
            "redirects" => Self::Redirects(rest.parse().ok()?),
            "error" => Self::Error(rest.to_owned()),
            "sent" => Self::Sent(true),
            "not-sent" => Self::Sent(false),
            "retryable" => Self::Retryable(true),
            "not-retryable" => Self::Retryable(false),
            "connections" => Self::Connections(rest.parse().ok()?),
            _ => return None,
        })
    }

    fn is_met(&self, outcome: &Outcome, server: &RawServer) -> bool {
        if let Self::Connections(count) = self {
            return server.connections() == *count;
        }
        match outcome {
            Ok(response) => match self {
                Self::Status(status) => response.status().as_u16() == *status,
                Self::Body(body) => response.bytes() == body,
                Self::Text(text) => response.text() == *text,
                Self::Field(name, value) => {
                    let lines = response.headers().get_all(name).iter();
                    let lines: Vec<_> = lines
                        .map(|line| String::from_utf8_lossy(line.as_bytes()))
                        .collect();
                    let joined = (!lines.is_empty()).then(|| lines.join(", "));
                    joined.as_ref() == value.as_ref()
                }
                Self::Length(length) => response.content_length() == *length,
                Self::Redirects(count) => response.history().len() == *count,
                _ => false,
            },
            Err(exception) => match self {
                Self::Error(kind) => kind
                    .split(" or ")
                    .any(|kind| kind == format!("{:?}", exception.kind())),
                Self::Sent(sent) => exception.was_sent() == *sent,
                Self::Retryable(retryable) => exception.is_retryable() == *retryable,
                Self::Redirects(count) => exception.error().hops().len() == *count,
                _ => false,
            },
        }
    }
}

fn described(outcome: &Outcome) -> String {
    match outcome {
        Ok(response) => format!(
            "{} {:?}, {:?}, length {:?}",
            response.status(),
            response.headers(),
            String::from_utf8_lossy(&response.bytes()[..response.bytes().len().min(100)]),
            response.content_length(),
        ),
        Err(exception) if exception.kind() == ErrorKind::Panicked => panic!("{exception:?}"),
        Err(exception) => format!(
            "{:?}, sent: {}, retryable: {}: {exception}",
            exception.kind(),
            exception.was_sent(),
            exception.is_retryable(),
        ),
    }
}

/// Bytes as Rust writes them: `\r`, `\n`, `\t`, `\0`, `\\`, `\x00` to `\xff`, and everything else as it is.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(position) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..position]);
        let escape = rest.as_bytes().get(position + 1)?;
        let mut length = 2;
        bytes.push(match escape {
            b'r' => b'\r',
            b'n' => b'\n',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                length = 4;
                let digits = rest.get(position + 2..position + 4)?;
                u8::from_str_radix(digits, 16).ok()?
            }
            _ => return None,
        });
        rest = rest.get(position + length..)?;
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}
