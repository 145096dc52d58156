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
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (transport, line) = match line.split_once(": ") {
                Some((name @ ("reqwest" | "hyper" | "ureq"), rest)) => (Some(name), rest),
                _ => (None, line),
            };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let number = || rest.parse::<u64>().map_err(|_| line.to_owned());
            let expected = match word {
                "request" => {
                    let (method, path) = rest.split_once(' ').ok_or(line)?;
                    case.method = Some(method.to_owned());
                    case.path = Some(path.to_owned());
                    continue;
                }
                "request-field" => {
                    let (name, value) = rest.split_once(": ").ok_or(line)?;
                    case.fields.push((name.to_owned(), value.to_owned()));
                    continue;
                }
                "request-body" => {
                    case.body = Some(rest.to_owned());
                    continue;
                }
                "timeout" => {
                    case.timeout = Some(Duration::from_millis(number()?));
                    continue;
                }
                "max-body" => {
                    case.max_body = Some(number()?);
                    continue;
                }
                "no-decoding" => {
                    case.raw = true;
                    continue;
                }
                "needs" => {
                    case.is_needed &= match rest {
                        "gzip" => cfg!(feature = "gzip"),
                        "charset" => cfg!(feature = "charset"),
                        _ => return Err(line.to_owned()),
                    };
                    continue;
                }
                "send" => {
                    case.steps.push(Step::Send(unescaped(rest).ok_or(line)?));
                    continue;
                }
                "send-times" => {
                    let (times, bytes) = rest.split_once(' ').ok_or(line)?;
                    let times = times.parse().map_err(|_| line.to_owned())?;
                    let bytes = unescaped(bytes).ok_or(line)?.repeat(times);
                    case.steps.push(Step::Send(bytes));
                    continue;
                }
                "next-request" => {
                    case.steps.push(Step::Request);
                    continue;
                }
                "pause" => {
                    case.steps
                        .push(Step::Pause(Duration::from_millis(number()?)));
                    continue;
                }
                "reset" => {
                    case.steps.push(Step::Reset);
                    continue;
                }
                "hold" => {
                    case.steps.push(Step::Hold);
                    continue;
                }
                "status" => Expected::Status(rest.parse().map_err(|_| line.to_owned())?),
                "body" => Expected::Body(unescaped(rest).ok_or(line)?),
                "text" => Expected::Text(rest.to_owned()),
                "field" => {
                    let (name, value) = rest.split_once(':').ok_or(line)?;
                    Expected::Field(name.to_owned(), Some(value.trim_start().to_owned()))
                }
                "no-field" => Expected::Field(rest.to_owned(), None),
                "length" if rest == "none" => Expected::Length(None),
                "length" => Expected::Length(Some(number()?)),
                "redirects" => Expected::Redirects(rest.parse().map_err(|_| line.to_owned())?),
                "error" => Expected::Error(rest.to_owned()),
                "sent" => Expected::Sent(true),
                "not-sent" => Expected::Sent(false),
                "retryable" => Expected::Retryable(true),
                "not-retryable" => Expected::Retryable(false),
                "connections" => Expected::Connections(rest.parse().map_err(|_| line.to_owned())?),
                _ => return Err(line.to_owned()),
            };
            match transport {
                None => case.expected.push(expected),
                Some(name) if name == TRANSPORT => case.expected_here.push(expected),
                Some(_) => {}
            }
        }
        if case.steps.is_empty() || case.expected.is_empty() {
            return Err("it sends nothing, or expects nothing".to_owned());
        }
        Ok(case)
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

impl Expected {
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
