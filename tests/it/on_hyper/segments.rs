//! Downloads over several connections: what is requested of which server, and that the file is whole and right or there is an error.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use threaded::{ErrorKind, Event, Limits, Outcome, RequestSpec};

use super::each_transport::sinks::names;
use super::pool;
use crate::support::pools::{at_once, outcome_of};
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request};
#[cfg(all(feature = "http2", feature = "default-tls"))]
use crate::support::server::Server;
use crate::support::subprocess::start_child;

/// Takes four seconds over one connection of a slow server.
const LENGTH: usize = 4 << 20;

/// What a connection of a slow server sends in [`PAUSE`].
const PIECE: usize = 10 << 10;

const PAUSE: Duration = Duration::from_millis(10);

/// A version of the content, each of whose bytes differs from that of the other.
fn content(version: u8) -> &'static [u8] {
    static VERSIONS: [OnceLock<Vec<u8>>; 2] = [const { OnceLock::new() }; 2];
    VERSIONS[usize::from(version) - 1].get_or_init(|| {
        let bytes = (0..LENGTH).map(|n| ((n * 31 + n / 251) % 251) as u8 ^ version);
        bytes.collect()
    })
}

/// A request as the server has read it, with its number from 0.
struct Request {
    number: usize,
    head: String,
    range: Option<Range<usize>>,
}

/// What the server responds with.
struct Reply {
    status: &'static str,
    headers: String,
    body: Vec<u8>,
    /// How much of the body is sent before the connection is closed.
    until: usize,
    /// Whether that, or the head if nothing is sent, waits until all other responses are sent.
    is_last: bool,
}

impl Reply {
    /// What is requested, of this version.
    fn right(request: &Request, version: u8) -> Self {
        Self::with(request, version, &format!("ETag: \"v{version}\"\r\n"))
    }

    fn with(request: &Request, version: u8, validator: &str) -> Self {
        let body = content(version);
        let is_other = condition(&request.head)
            .is_some_and(|condition| condition != format!("\"v{version}\""));
        match request.range.clone().filter(|_| !is_other) {
            None => Self::new(
                "200 OK",
                format!("{validator}Accept-Ranges: bytes\r\n"),
                body.to_vec(),
            ),
            Some(range) => Self::new(
                "206 Partial Content",
                format!("{validator}{}", content_range(&range, LENGTH)),
                body[range].to_vec(),
            ),
        }
    }

    /// What is requested, whatever its conditions are.
    fn part(request: &Request, version: u8, headers: &str) -> Self {
        let range = request.range.clone().unwrap();
        let body = content(version)[range.clone()].to_vec();
        let headers = format!("{headers}{}", content_range(&range, LENGTH));
        Self::new("206 Partial Content", headers, body)
    }

    fn part_of(range: Range<usize>, whole: usize, version: u8) -> Self {
        let headers = format!("ETag: \"v{version}\"\r\n{}", content_range(&range, whole));
        Self::new(
            "206 Partial Content",
            headers,
            content(version)[range].to_vec(),
        )
    }

    fn new(status: &'static str, headers: String, body: Vec<u8>) -> Self {
        Self {
            status,
            headers,
            until: body.len(),
            body,
            is_last: false,
        }
    }

    /// What is requested; of the first two requests only the first half.
    fn half_at_first(request: &Request) -> Self {
        let reply = Self::right(request, 1);
        let half = reply.body.len() / 2;
        reply.cut(if request.number < 2 { half } else { usize::MAX })
    }

    /// The same body, which ends with the connection, and a range that may not fit.
    fn stating(self, range: &Range<usize>) -> Self {
        let headers = "ETag: \"v1\"\r\nConnection: close\r\n";
        Self {
            headers: format!("{headers}{}", content_range(range, LENGTH)),
            ..self
        }
    }

    fn cut(mut self, until: usize) -> Self {
        self.until = until.min(self.body.len());
        self
    }
}

fn condition(head: &str) -> Option<&str> {
    head.split("if-range: ").nth(1)?.split("\r\n").next()
}

fn content_range(range: &Range<usize>, whole: usize) -> String {
    format!(
        "Content-Range: bytes {}-{}/{whole}\r\n",
        range.start,
        range.end - 1
    )
}

/// A server whose connections are slow, each of them by itself.
struct SlowServer {
    server: RawServer,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    ranges: Mutex<Vec<Option<Range<usize>>>>,
    /// The values of `If-Range`.
    conditions: Mutex<Vec<String>>,
    sent: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl SlowServer {
    fn start(reply: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::sending(reply, |due| due)
    }

    /// `turn` says when a piece may be sent that is due then.
    fn sending(
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        turn: impl Fn(Instant) -> Instant + Send + Sync + 'static,
    ) -> Self {
        let log = Arc::<Log>::default();
        let ours = Arc::clone(&log);
        let server = RawServer::start(move |mut stream, _| {
            while let Some(request) = ours.read(&mut stream) {
                let Reply {
                    status,
                    headers,
                    body,
                    until,
                    is_last,
                } = reply(&request);
                let wait_for_others = |others| {
                    eventually("the others are sent", || {
                        ours.open.load(Ordering::SeqCst) <= others
                    });
                };
                if is_last && until == 0 {
                    wait_for_others(0);
                }
                let ends_with_connection = headers.contains("Connection: close");
                let length = if ends_with_connection {
                    String::new()
                } else {
                    format!("Content-Length: {}\r\n", body.len())
                };
                let head = format!("HTTP/1.1 {status}\r\n{headers}{length}\r\n");
                let open = ours.open.fetch_add(1, Ordering::SeqCst) + 1;
                ours.most_open.fetch_max(open, Ordering::SeqCst);
                let mut sent = stream.write_all(head.as_bytes());
                let mut due = Instant::now();
                for piece in body[..until].chunks(PIECE) {
                    // What was missed is made up for, so that the rate does not depend on how busy the machine is.
                    due += PAUSE;
                    thread::sleep(turn(due).saturating_duration_since(Instant::now()));
                    sent = sent.and_then(|()| stream.write_all(piece));
                    if sent.is_err() {
                        break;
                    }
                    ours.sent.fetch_add(piece.len(), Ordering::SeqCst);
                }
                if is_last {
                    wait_for_others(1);
                }
                ours.open.fetch_sub(1, Ordering::SeqCst);
                if sent.is_err() || until < body.len() || length.is_empty() {
                    return;
                }
            }
        });
        Self { server, log }
    }

    fn get(&self, target: &Path) -> RequestSpec {
        RequestSpec::get(self.server.url("/file"))
            .save_to(target)
            .segments(4)
    }

    /// The first version can be saved.
    fn assert_saved(&self) {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        outcome(self.get(&target)).unwrap();
        assert!(fs::read(&target).unwrap() == content(1));
    }

    fn ranges(&self) -> Vec<Option<Range<usize>>> {
        self.log.ranges.lock().unwrap().clone()
    }
}

impl Log {
    fn read(&self, stream: &mut TcpStream) -> Option<Request> {
        let head = read_request(stream).to_ascii_lowercase();
        if head.is_empty() {
            return None;
        }
        let range = head.split("\r\nrange: ").nth(1);
        let range = range.and_then(|rest| rest.split("\r\n").next());
        let range = range.map(parse_range);
        if let Some(condition) = condition(&head) {
            self.conditions.lock().unwrap().push(condition.to_owned());
        }
        let mut ranges = self.ranges.lock().unwrap();
        ranges.push(range.clone());
        Some(Request {
            number: ranges.len() - 1,
            head,
            range,
        })
    }
}

fn parse_range(value: &str) -> Range<usize> {
    let (start, last) = value["bytes=".len()..].split_once('-').unwrap();
    let end = last.parse().map_or(LENGTH, |last: usize| last + 1);
    start.parse().unwrap()..end
}

fn outcome(spec: RequestSpec) -> Outcome {
    outcome_of(pool(), spec)
}

#[test]
fn a_slow_file_comes_over_several_connections() {
    let server = SlowServer::start(|request| {
        assert!(request.head.contains("accept-encoding: identity\r\n"));
        Reply::right(request, 1)
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let pool = pool().concurrency(1).build().unwrap();
    let (mut responses, _) = pool.map([server.get(&target)]).unwrap();
    let response = responses.next().unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.saved_to(), Some(&*target));
    assert!(fs::read(&target).unwrap() == content(1));
    assert_eq!(names(folder.path()), ["target"]);
    let ranges = server.ranges();
    let is_last_half = |range: &Range<usize>| range.end == LENGTH && range.start > LENGTH / 2;
    let ranges = ranges.split_first().unwrap();
    assert!(
        ranges.0.is_none() && ranges.1[0].as_ref().is_some_and(is_last_half),
        "{ranges:?}"
    );
    let conditions = server.log.conditions.lock().unwrap();
    assert_eq!(*conditions, vec!["\"v1\""; ranges.1.len()]);
    let most_open = server.log.most_open.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most_open), "{most_open}");
    // What was sent behind the end of a segment, and was not needed.
    let received = pool.stats().bytes_received();
    let surplus = received.checked_sub(LENGTH as u64).unwrap();
    assert!(surplus < LENGTH as u64 / 10, "{surplus}");
}

/// A response of a file that no test waits for, of which no range is longer than this.
fn long(request: &Request, most: usize) -> Reply {
    const LONG: usize = 32 << 20;

    let headers = "ETag: \"v1\"\r\nAccept-Ranges: bytes\r\n";
    match &request.range {
        None => Reply::new("200 OK", headers.to_owned(), vec![0; LONG]),
        Some(range) => {
            let range = range.start..range.end.min(range.start.saturating_add(most));
            let headers = format!("{headers}{}", content_range(&range, LONG));
            Reply::new("206 Partial Content", headers, vec![0; range.len()])
        }
    }
}

/// There are never more connections than were asked for, though each of them brings more.
#[test]
fn there_are_so_many_connections_at_most() {
    thread::scope(|scope| {
        for most in [2, 3] {
            scope.spawn(move || {
                let server = SlowServer::start(|request| long(request, usize::MAX));
                let folder = tempfile::tempdir().unwrap();
                let target = folder.path().join("target");
                let pool = pool().concurrency(1).build().unwrap();
                let _job = pool.spawn(server.get(&target).segments(most)).unwrap();
                let log = &server.log;
                eventually("all of them are open", || {
                    log.open.load(Ordering::SeqCst) == most
                });
                // So much that another one would have been opened.
                let more = log.sent.load(Ordering::SeqCst) + most * (3 << 20);
                eventually("much more has come", || {
                    log.sent.load(Ordering::SeqCst) > more
                });
                assert_eq!(log.most_open.load(Ordering::SeqCst), most);
            });
        }
    });
}

/// Whatever the server responds to the request for a further segment, the first connection receives the file.
#[test]
fn a_further_segment_that_is_refused_does_no_harm() {
    type Refusal = fn(&Request) -> Reply;
    let cases: [(&str, Refusal); 14] = [
        ("the whole", |_| {
            Reply::new("200 OK", "ETag: \"v1\"\r\n".to_owned(), content(1).to_vec())
        }),
        ("another version", |request| Reply::right(request, 2)),
        ("another version as a part", |request| {
            Reply::part(request, 2, "ETag: \"v2\"\r\n")
        }),
        ("no validator", |request| Reply::part(request, 1, "")),
        ("a weak one", |request| {
            Reply::part(request, 1, "ETag: W/\"v1\"\r\n")
        }),
        ("another range", |request| {
            let range = request.range.clone().unwrap();
            Reply::part_of(range.start + 1..range.end, LENGTH, 1)
        }),
        ("another length", |request| {
            Reply::part_of(request.range.clone().unwrap(), LENGTH + 1, 1)
        }),
        ("an encoded part", |request| {
            Reply::part(request, 1, "ETag: \"v1\"\r\nContent-Encoding: gzip\r\n")
        }),
        ("a part as the whole", |request| Reply {
            status: "200 OK",
            ..Reply::right(request, 1)
        }),
        ("several parts", |request| {
            let headers = "ETag: \"v1\"\r\nContent-Type: multipart/byteranges; boundary=x\r\n";
            Reply::part(request, 1, headers)
        }),
        ("no such range", |_| {
            Reply::new("416 Range Not Satisfiable", String::new(), Vec::new())
        }),
        ("too many requests", |_| {
            let headers = "Retry-After: 0\r\n".to_owned();
            Reply::new("429 Too Many Requests", headers, b"too many".to_vec())
        }),
        ("a byte", |request| {
            let start = request.range.clone().unwrap().start;
            Reply::part_of(start..start + 1, LENGTH, 1)
        }),
        ("nothing", |_| Reply::new("", String::new(), Vec::new())),
    ];
    thread::scope(|scope| {
        for (case, refuse) in cases {
            scope.spawn(move || {
                let server = SlowServer::start(move |request| match request.number {
                    0 => Reply::right(request, 1),
                    _ => {
                        let mut reply = refuse(request);
                        // It is not to be used.
                        reply.body.fill(0);
                        reply
                    }
                });
                let folder = tempfile::tempdir().unwrap();
                let target = folder.path().join("target");
                let response = outcome(server.get(&target)).expect(case);
                assert_eq!(response.status().as_u16(), 200, "{case}");
                assert!(fs::read(&target).unwrap() == content(1), "{case}");
                assert_eq!(names(folder.path()), ["target"], "{case}");
                assert_eq!(server.ranges().len(), 2, "{case}");
            });
        }
    });
}

/// What is not known to consist of ranges of the same content, or is short, is received over one connection.
#[test]
fn what_cannot_be_split_is_requested_once() {
    const RANGES: &str = "Accept-Ranges: bytes\r\n";
    const ETAG: &str = "ETag: \"v1\"\r\n";
    let long = || content(1).to_vec();
    let whole = |headers: &[&str], body| Reply::new("200 OK", headers.concat(), body);
    let cases: Vec<(&str, Reply)> = vec![
        ("no ranges", whole(&[ETAG], long())),
        (
            "ranges of none",
            whole(&[ETAG, "Accept-Ranges: none\r\n"], long()),
        ),
        ("no validator", whole(&[RANGES], long())),
        (
            "a weak validator",
            whole(&[RANGES, "ETag: W/\"v1\"\r\n"], long()),
        ),
        (
            "encoded",
            whole(&[RANGES, ETAG, "Content-Encoding: x\r\n"], long()),
        ),
        (
            "short",
            whole(&[RANGES, ETAG], content(1)[..(2 << 20) - 1].to_vec()),
        ),
    ];
    thread::scope(|scope| {
        for (case, reply) in cases {
            scope.spawn(move || {
                let body = reply.body.clone();
                // Once only: a second request would not be served.
                let reply = Mutex::new(Some(reply));
                let server = SlowServer::start(move |_| reply.lock().unwrap().take().unwrap());
                let folder = tempfile::tempdir().unwrap();
                let target = folder.path().join("target");
                outcome(server.get(&target).decode(false)).expect(case);
                assert!(fs::read(&target).unwrap() == body, "{case}");
                assert_eq!(server.ranges(), [None], "{case}");
            });
        }
    });
}

/// Segments of a body that was asked for with one would have to be, too.
#[test]
fn a_request_with_a_body_is_sent_once() {
    let server = SlowServer::start(|request| Reply::right(request, 1));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    outcome(server.get(&target).body("query")).unwrap();
    assert_eq!(server.ranges(), [None]);
}

/// Connections that share a line: together they send one piece after each pause.
fn sharing() -> impl Fn(Instant) -> Instant {
    let line = Mutex::new(Instant::now());
    move |_| {
        let mut line = line.lock().unwrap();
        *line += PAUSE;
        *line
    }
}

#[test]
fn a_connection_that_brings_nothing_is_closed() {
    let server = SlowServer::sending(|request| Reply::right(request, 1), sharing());
    server.assert_saved();
    assert_eq!(server.log.most_open.load(Ordering::SeqCst), 2);
    let ranges = server.ranges();
    let [None, Some(closed), Some(rest)] = &*ranges else {
        panic!("{ranges:?}");
    };
    assert!(
        rest.start > closed.start && rest.end == closed.end,
        "{ranges:?}"
    );
}

/// It needs several responses for what would show that it brings nothing.
#[test]
fn a_connection_whose_responses_are_short_is_closed_if_it_brings_nothing() {
    let reply = |request: &Request| long(request, 100_000);
    let server = SlowServer::sending(reply, sharing());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let pool = pool().concurrency(1).build().unwrap();
    let _job = pool.spawn(server.get(&target)).unwrap();
    // By then, it has been known for long.
    eventually("much has come", || {
        server.log.sent.load(Ordering::SeqCst) > 5 << 20
    });
    assert_eq!(server.log.most_open.load(Ordering::SeqCst), 2);
}

#[test]
fn connections_that_fail_are_made_up_for_by_the_others() {
    thread::scope(|scope| {
        for failing in [0, 1] {
            scope.spawn(move || {
                let server = SlowServer::start(move |request| {
                    let reply = Reply::right(request, 1);
                    if request.number == failing {
                        // After the other one has begun, and before this one has come to its end.
                        return reply.cut(LENGTH * (5 - 3 * failing) / 10);
                    }
                    reply
                });
                server.assert_saved();
                let ranges = server.ranges();
                assert_eq!(ranges.len(), 3, "{ranges:?}");
            });
        }
    });
}

/// A connection that has nothing to do any more takes over from one that fails.
#[test]
fn a_connection_that_fails_last_is_made_up_for() {
    let server = SlowServer::start(|request| {
        let mut reply = Reply::right(request, 1);
        if request.number == 1 {
            reply.is_last = true;
            let until = reply.body.len() / 2;
            return reply.cut(until);
        }
        reply
    });
    server.assert_saved();
    let ranges = server.ranges();
    assert_eq!(ranges.len(), 3, "{ranges:?}");
}

/// What comes behind the end of the range that a response states is not taken for content.
#[test]
fn a_segment_that_is_longer_than_its_range_is_cut_off() {
    let server = SlowServer::start(|request| {
        let mut reply = Reply::right(request, 1);
        if let (1, Some(range)) = (request.number, &request.range) {
            let stated = range.start..range.start + range.len() / 3;
            reply = reply.stating(&stated);
            reply.body = content(2)[range.clone()].to_vec();
            reply.body[..stated.len()].copy_from_slice(&content(1)[stated]);
        }
        reply
    });
    server.assert_saved();
}

/// Of several faults, that counts by which the attempt can be repeated.
#[test]
fn a_fault_that_another_attempt_may_be_spared_counts() {
    let server = SlowServer::start(|request| {
        let reply = Reply::right(request, 1);
        match (request.number, &request.range) {
            // Soon after the other one has begun.
            (0, _) => reply.cut(LENGTH / 3),
            (_, Some(range)) => reply.stating(&(range.start..range.start + range.len() / 2)),
            _ => reply,
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let error = outcome(server.get(&target)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BodyTruncated, "{error:?}");
}

/// All connections fail, so the attempt does; the next one continues all of its segments.
#[test]
fn what_was_received_in_segments_is_continued_in_as_many() {
    let server = SlowServer::start(|request| {
        let mut reply = Reply::right(request, 1);
        match request.number {
            0 => reply.cut(LENGTH / 2),
            1 => reply.cut(LENGTH / 10),
            // Refused when the other segment is complete. Then its connection asks for it.
            3 => {
                reply = Reply::new("503 Service Unavailable", String::new(), Vec::new());
                reply.is_last = true;
                reply
            }
            _ => reply,
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || server.get(&target).resume(true);
    let error = outcome(get()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BodyTruncated, "{error:?}");
    assert_eq!(names(folder.path()).len(), 2);
    let response = outcome(get()).unwrap();
    assert_eq!(response.status().as_u16(), 206);
    assert!(fs::read(&target).unwrap() == content(1));
    assert_eq!(names(folder.path()), ["target"]);
    let ranges = server.ranges();
    let ranges: Vec<_> = ranges.into_iter().flatten().collect();
    let [second, rest_of_first, rest_of_second, again] = &*ranges else {
        panic!("{ranges:?}");
    };
    assert_eq!(rest_of_second, again);
    assert!(
        rest_of_first.start > LENGTH / 3 && rest_of_first.end == second.start,
        "{ranges:?}"
    );
    assert!(
        rest_of_second.start > second.start && rest_of_second.end == LENGTH,
        "{ranges:?}"
    );
    let again = server.log.sent.load(Ordering::SeqCst) - LENGTH;
    assert!(again < LENGTH / 20, "{again}");
}

/// What is left of the file has changed when it is asked for: it is an error, after which the whole is received from its beginning.
#[test]
fn a_file_that_changes_between_segments_is_never_a_mixture() {
    let server = SlowServer::start(|request| match request.number {
        0 => Reply::right(request, 1),
        1 => Reply::right(request, 1).cut(LENGTH / 10),
        _ => Reply::right(request, 2),
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for (resumes, status) in [(true, 200), (false, 200)] {
        server.log.ranges.lock().unwrap().clear();
        let get = server.get(&target).resume(resumes);
        let error = outcome(get.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BodyTruncated);
        assert!(error.to_string().contains("bytes"), "{error}");
        assert!(!target.exists());
        let response = outcome(get).unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert!(fs::read(&target).unwrap() == content(2));
        assert_eq!(names(folder.path()), ["target"]);
        fs::remove_file(&target).unwrap();
    }
}

#[test]
fn a_retry_continues_segments() {
    let server = SlowServer::start(Reply::half_at_first);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let pool = pool().retry(at_once(1));
    outcome_of(pool, server.get(&target).resume(true)).unwrap();
    assert!(fs::read(&target).unwrap() == content(1));
    let again = server.log.sent.load(Ordering::SeqCst) - LENGTH;
    assert!(again < LENGTH / 20, "{again}");
}

/// A response may be shorter than what was requested (RFC 9110, section 14.2). The same connection gets the rest.
#[test]
fn responses_may_be_shorter_than_the_segment() {
    const MOST: usize = 300_000;

    let server = SlowServer::start(|request| match &request.range {
        Some(range) if range.len() > MOST => {
            Reply::part_of(range.start..range.start + MOST, LENGTH, 1)
        }
        _ => Reply::right(request, 1),
    });
    server.assert_saved();
    assert!(server.ranges().len() > 3);
    assert!(server.server.connections() <= 4);
}

#[test]
fn digests_are_those_of_the_whole() {
    let right = sha256(content(1));
    let wrong = sha256(content(2));
    thread::scope(|scope| {
        for resumes in [false, true] {
            for digest in [&right, &wrong] {
                let is_right = *digest == right;
                scope.spawn(move || {
                    let server = SlowServer::start(|request| Reply::right(request, 1));
                    let folder = tempfile::tempdir().unwrap();
                    let target = folder.path().join("target");
                    let get = server.get(&target).resume(resumes).sha256(digest);
                    let outcome = outcome_of(pool().retry(at_once(1)), get);
                    assert!(server.ranges().len() > 1);
                    if is_right {
                        outcome.unwrap();
                        assert!(fs::read(&target).unwrap() == content(1));
                        assert_eq!(names(folder.path()), ["target"]);
                    } else {
                        let exception = outcome.unwrap_err();
                        assert_eq!(exception.kind(), ErrorKind::DigestMismatch);
                        assert_eq!(exception.attempts(), 1);
                        assert!(names(folder.path()).is_empty());
                    }
                });
            }
        }
    });
}

fn sha256(content: &[u8]) -> String {
    use sha2::{Digest, Sha256};

    let digest = Sha256::digest(content);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_body_that_is_too_large_is_not_begun() {
    let server = SlowServer::start(|request| Reply::right(request, 1));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for resumes in [false, true] {
        let get = server.get(&target).resume(resumes);
        if resumes {
            // There is a part in segments.
            let cut = get.clone().timeout(Duration::from_millis(2_500));
            assert_eq!(outcome(cut).unwrap_err().kind(), ErrorKind::Timeout);
            assert!(server.ranges().len() > 2);
        }
        let error = outcome(get.max_body(LENGTH as u64 - 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BodyTooLarge);
        assert_eq!(error.limit(), Some(LENGTH as u64 - 1));
        assert!(names(folder.path()).is_empty());
    }
}

/// The announced length is not trusted to be there.
#[test]
fn a_length_that_no_file_can_have_is_that_of_a_body_that_is_cut() {
    let head = "HTTP/1.1 200 OK\r\nETag: \"a\"\r\nAccept-Ranges: bytes\r\n";
    let server = RawServer::responding(format!(
        "{head}Content-Length: {}\r\n\r\nbegun",
        i64::MAX as u64 + 1
    ));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for resumes in [false, true] {
        let get = RequestSpec::get(server.url("/"))
            .save_to(&target)
            .segments(2);
        let get = get.resume(resumes);
        for (get, kind) in [
            (get.clone().max_body(1 << 40), ErrorKind::BodyTooLarge),
            (get.clone().max_body(4), ErrorKind::BodyTooLarge),
            (get, ErrorKind::BodyTruncated),
        ] {
            assert_eq!(outcome(get).unwrap_err().kind(), kind);
        }
    }
}

/// What cannot be recorded is an error, and what has come before is still there.
#[test]
fn a_part_whose_record_cannot_be_written_is_not_lost() {
    let server = SlowServer::start(Reply::half_at_first);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || server.get(&target).resume(true);
    outcome(get()).unwrap_err();
    let mut names = names(folder.path());
    names.sort();
    let obstacle = folder.path().join(format!("{}.new", names[1]));
    fs::create_dir(&obstacle).unwrap();
    assert_eq!(outcome(get()).unwrap_err().kind(), ErrorKind::Sink);
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(outcome(get()).unwrap().status().as_u16(), 206);
    assert!(fs::read(&target).unwrap() == content(1));
    let again = server.log.sent.load(Ordering::SeqCst) - LENGTH;
    assert!(again < LENGTH / 4, "{again}");
}

#[test]
fn a_job_that_is_cancelled_closes_all_its_connections() {
    let server = SlowServer::start(|request| Reply::right(request, 1));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let pool = pool().concurrency(1).build().unwrap();
    let job = pool.spawn(server.get(&target)).unwrap();
    eventually("there are two connections", || {
        server.log.open.load(Ordering::SeqCst) == 2
    });
    job.cancel();
    assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
    eventually("they are closed", || {
        server.log.open.load(Ordering::SeqCst) == 0
    });
    eventually("no file is left", || names(folder.path()).is_empty());
}

/// What all connections receive together is told of and limited.
#[test]
fn progress_is_that_of_the_whole() {
    let server = SlowServer::start(Reply::half_at_first);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let pool = pool().retry(at_once(1)).on_event(move |event| {
        if let Event::Progress(progress) = event {
            let (there, length) = (progress.received(), progress.length());
            noted
                .lock()
                .unwrap()
                .push((progress.resumed_from(), there, length));
        }
    });
    outcome_of(pool, server.get(&target).resume(true)).unwrap();
    let told = told.lock().unwrap();
    let resumed = told.iter().filter(|(from, ..)| *from > 0);
    assert!((1..told.len()).contains(&resumed.count()), "{told:?}");
    for (from, there, length) in &*told {
        assert_eq!(*length, Some(LENGTH as u64));
        assert!((*from..=LENGTH as u64).contains(there), "{told:?}");
    }
    // Both attempts together receive it once, or little more.
    let from = told.iter().map(|(from, ..)| *from).max().unwrap();
    assert!(from > LENGTH as u64 / 3, "{told:?}");
}

/// The bandwidth is that of all connections of a job together.
#[test]
fn the_bandwidth_is_shared_by_segments() {
    let server = SlowServer::start(|request| Reply::right(request, 1));
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let bandwidth = LENGTH as u64 / 4;
    let began = Instant::now();
    let pool = pool().limits(Limits::new().bandwidth(bandwidth));
    outcome_of(pool, server.get(&target)).unwrap();
    assert!(began.elapsed() > Duration::from_secs(3));
    assert!(fs::read(&target).unwrap() == content(1));
}

/// A part in segments, each of which is half there, and what continues it.
fn continue_halves(get: impl FnOnce(RequestSpec) -> Outcome) -> Vec<Option<Range<usize>>> {
    let server = SlowServer::start(Reply::half_at_first);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let spec = server.get(&target).resume(true).sha256(sha256(content(1)));
    outcome(spec.clone()).unwrap_err();
    assert_eq!(get(spec).unwrap().status().as_u16(), 206);
    assert!(fs::read(&target).unwrap() == content(1));
    assert_eq!(names(folder.path()), ["target"]);
    server.ranges()
}

#[test]
fn segments_are_continued_over_one_connection_after_the_other() {
    let ranges = continue_halves(|get| outcome(get.segments(1)));
    let [None, Some(second), Some(first_rest), Some(second_rest)] = &*ranges else {
        panic!("{ranges:?}");
    };
    assert!(first_rest.start > LENGTH / 3 && first_rest.end == second.start);
    assert!(second_rest.start > second.start && second_rest.end == LENGTH);
}

/// On a transport that blocks, only what there is without a gap is continued.
#[test]
fn segments_are_continued_by_what_knows_none_of_them() {
    let ranges = continue_halves(|get| outcome_of(crate::on_reqwest::pool(), get));
    let [None, Some(second), Some(rest)] = &*ranges else {
        panic!("{ranges:?}");
    };
    assert!(rest.start > LENGTH / 3 && rest.start < second.start && rest.end == LENGTH);
}

/// A process that is killed at any point, and started again, continues each segment.
#[test]
fn segments_of_killed_processes_are_continued() {
    const KILLS: usize = 6;
    const URL: &str = "THREADED_TEST_URL";
    const TARGET: &str = "THREADED_TEST_TARGET";

    if let Ok(url) = std::env::var(URL) {
        let target = std::env::var_os(TARGET).unwrap();
        let get = RequestSpec::get(url)
            .save_to(target)
            .segments(4)
            .resume(true);
        outcome(get).unwrap();
        return;
    }
    let test = concat!(
        module_path!(),
        "::segments_of_killed_processes_are_continued"
    );
    let run = |file: u64| {
        let mut random = fastrand::Rng::with_seed(file);
        let server = SlowServer::start(|request| Reply::right(request, 1));
        let sent = || server.log.sent.load(Ordering::SeqCst);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let url = server.server.url("/file");
        let start = || start_child(test, &[(URL, url.as_ref()), (TARGET, target.as_ref())]);
        // By then, it has a second connection.
        let mut until = LENGTH / 2;
        for _ in 0..KILLS {
            let mut child = start();
            eventually("it has received some more", || sent() > until);
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!target.exists());
            until = sent() + random.usize(1..LENGTH / 2 / KILLS);
        }
        assert!(start().wait().unwrap().success());
        assert!(fs::read(&target).unwrap() == content(1));
        assert_eq!(names(folder.path()), ["target"]);
        // In each run, up to four connections lose what was not written yet.
        let again = sent() - LENGTH;
        assert!(again < KILLS * 4 * (64 << 10) * 2, "{again}");
        let ranges = server.ranges();
        let starts: Vec<_> = ranges.iter().flatten().map(|range| range.start).collect();
        let (second, later) = starts.split_first().unwrap();
        assert!(later.iter().any(|start| start < second), "{ranges:?}");
        assert!(later.iter().any(|start| start > second), "{ranges:?}");
    };
    thread::scope(|scope| {
        for file in 0..4 {
            scope.spawn(move || run(file));
        }
    });
}

/// Over HTTP/2, segments are streams of one connection, each of which can end without it.
#[cfg(all(feature = "http2", feature = "default-tls"))]
#[test]
fn segments_over_http2_share_a_connection() {
    let certificate = crate::support::tls::certificate_for(&["localhost"]);
    let server = Server::start_tls(Arc::clone(&certificate.config), |request| {
        let body = bytes::Bytes::from_static(content(1));
        let range = request.headers().get(http::header::RANGE);
        let range = range.map(|range| parse_range(range.to_str().unwrap()));
        let response = http::Response::builder()
            .header("etag", "\"v1\"")
            .header("accept-ranges", "bytes");
        let response = match range {
            None => response.body(body),
            Some(range) => response
                .status(206)
                .header(
                    "content-range",
                    format!("bytes {}-{}/{LENGTH}", range.start, range.end - 1),
                )
                .body(body.slice(range)),
        };
        response.unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let pool =
        super::trusting_pool(&certificate.pem).limits(Limits::new().bandwidth(LENGTH as u64 / 3));
    let get = RequestSpec::get(server.url("/"))
        .save_to(&target)
        .segments(4);
    let response = outcome_of(pool, get).unwrap();
    assert_eq!(response.version(), http::Version::HTTP_2);
    assert!(fs::read(&target).unwrap() == content(1));
    assert_eq!(server.connections(), 1);
    assert!(server.requests() > 1);
}
