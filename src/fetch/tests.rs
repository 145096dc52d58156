//! The same attempt, on a transport that blocks and on an engine whose every step may be pending: nothing tells them apart.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs;
use std::future::poll_fn;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::engine::{NextPiece, Piece};
use super::*;
use crate::observe::Counters;
use crate::session::Session;
use crate::transport::{AnyTransport, ByEngine, ResponseBody, TransportOptions};

/// How an exchange goes.
#[derive(Clone, Debug)]
enum Play {
    Response {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
        /// What the body ends with, if it does not end properly.
        fault: Option<io::ErrorKind>,
    },
    Refused,
}

fn ok(body: impl Into<Bytes>) -> Play {
    Play::Response {
        status: 200,
        headers: Vec::new(),
        body: body.into(),
        fault: None,
    }
}

/// The part of a body that is still to come.
struct Script {
    left: Bytes,
    fault: Option<io::ErrorKind>,
}

impl Script {
    fn next(&mut self, max: usize) -> io::Result<Bytes> {
        match self.fault {
            Some(fault) if self.left.is_empty() => Err(fault.into()),
            _ => Ok(self.left.split_to(self.left.len().min(max))),
        }
    }
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer.len())?.as_ref().read(buffer)
    }
}

/// The exchanges of an attempt, one after the other, and what was sent in each.
#[derive(Clone, Default)]
struct Plays {
    left: VecDeque<Play>,
    sent: Vec<String>,
}

impl Plays {
    fn exchange(&mut self, exchange: &Exchange<'_>) -> Result<http::Response<Script>, Error> {
        let (method, url) = (exchange.method(), exchange.url());
        let body = exchange.body().and_then(|body| body.as_bytes());
        let headers = exchange.headers().iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name, value.as_bytes().escape_ascii().to_string()))
            .collect();
        self.sent
            .push(format!("{method} {url} {headers:?} {body:?}"));
        match self.left.pop_front() {
            Some(Play::Response {
                status,
                headers,
                body,
                fault,
            }) => {
                let mut response = http::Response::new(Script { left: body, fault });
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                for (name, value) in headers {
                    let value = HeaderValue::from_str(&value).unwrap();
                    response
                        .headers_mut()
                        .append(HeaderName::from_static(name), value);
                }
                Ok(response)
            }
            Some(Play::Refused) | None => Err(Error::connect("refused")),
        }
    }
}

/// An engine that is pending before and after everything, as often as its script says, and delivers bodies in pieces of any
/// size.
struct Pending {
    plays: Plays,
    pauses: Box<dyn Iterator<Item = u8>>,
    sizes: Box<dyn Iterator<Item = usize>>,
    gives_whole: bool,
    /// How many attempts have come to an exchange, and how many must before one of them gets a response.
    together: (Rc<Cell<usize>>, usize),
    /// How long each pause takes.
    slowness: Duration,
    yields: usize,
}

impl Pending {
    fn new(plays: impl IntoIterator<Item = Play>) -> Self {
        Self {
            plays: Plays {
                left: plays.into_iter().collect(),
                sent: Vec::new(),
            },
            pauses: Box::new(std::iter::repeat(1)),
            sizes: Box::new(std::iter::repeat(usize::MAX)),
            gives_whole: false,
            together: (Rc::default(), 0),
            slowness: Duration::ZERO,
            yields: 0,
        }
    }

    async fn pause(&mut self) {
        for _ in 0..self.pauses.next().unwrap_or_default() {
            thread::sleep(self.slowness);
            pause().await;
        }
    }
}

/// Is pending once.
async fn pause() {
    let mut is_ready = false;
    let once = poll_fn(|context| {
        if is_ready {
            return Poll::Ready(());
        }
        is_ready = true;
        context.waker().wake_by_ref();
        Poll::Pending
    });
    once.await;
}

impl Engine for Pending {
    type Body = Script;

    async fn exchange(
        &mut self,
        exchange: &mut Exchange<'_>,
    ) -> Result<http::Response<Script>, Error> {
        let (asked, all) = &self.together;
        asked.set(asked.get() + 1);
        while asked.get() < *all {
            pause().await;
        }
        self.pause().await;
        let response = self.plays.exchange(exchange);
        self.pause().await;
        response
    }

    fn fork(&self) -> Option<Box<Self>> {
        None
    }

    fn remote_addr(_body: &Script) -> Option<SocketAddr> {
        None
    }

    async fn whole(
        &mut self,
        body: &mut Script,
        _: Option<u64>,
        _: &Deadline,
        _: &mut Meter<'_>,
    ) -> Option<Result<Bytes, Error>> {
        self.pause().await;
        let is_possible = self.gives_whole && body.fault.is_none();
        is_possible.then(|| Ok(std::mem::take(&mut body.left)))
    }

    async fn piece(&mut self, body: &mut Script) -> Result<Bytes, Error> {
        self.pause().await;
        let max = self.sizes.next().unwrap_or(usize::MAX);
        body.next(max).map_err(Error::from_body_read)
    }

    async fn read_with<T: Send + 'static>(
        &mut self,
        body: &mut Script,
        _: &Deadline,
        _: &mut Meter<'_>,
        read: impl FnOnce(&mut NextPiece<'_>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (ask, asked) = mpsc::channel();
        let (give, given) = mpsc::channel();
        let reader = thread::spawn(move || {
            read(&mut || {
                ask.send(()).unwrap();
                given.recv().unwrap()
            })
        });
        loop {
            match asked.try_recv() {
                Ok(()) => {
                    let piece = self.piece(body).await.map(|bytes| Piece {
                        bytes,
                        was_held_back: false,
                    });
                    give.send(piece).unwrap();
                }
                Err(TryRecvError::Empty) => {
                    thread::yield_now();
                    pause().await;
                }
                Err(TryRecvError::Disconnected) => return Ok(reader.join().unwrap()),
            }
        }
    }

    async fn unblock<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.pause().await;
        let done = thread::spawn(work).join().unwrap();
        self.pause().await;
        Ok(done)
    }

    async fn relieved(&mut self) -> bool {
        false
    }

    async fn pause(&mut self, _: &Deadline, _: Instant) {}

    fn end_by(_: &mut Script, _: Instant) -> bool {
        true
    }

    fn discard(_: Script, _: usize, _: Instant) {}

    async fn yield_now(&mut self) {
        self.yields += 1;
        self.pause().await;
    }
}

/// Runs a future to its end, polling it only when it has been woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    #[derive(Default)]
    struct Wakes(AtomicUsize);
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => assert!(wakes.0.swap(0, Ordering::SeqCst) > 0, "nothing wakes it"),
        }
    }
}

/// Settings of a session that matter to an attempt.
fn open_session<T: Transport>(transport: T) -> OpenSession<T> {
    let session = Session::new(transport)
        .header("x-of-all", "1")
        .bearer_auth("s3cr3t");
    session.open(None, &TransportOptions::default()).unwrap()
}

/// An attempt on the engine, with the settings of a session.
async fn attempt<E: Engine>(
    session: &mut OpenSession,
    engine: &mut E,
    spec: &RequestSpec,
    defaults: &AttemptLimits,
) -> Result<Response, Error> {
    let counters = Counters::default();
    let Fetch {
        mut first,
        mut download,
        mut meter,
        context,
    } = Fetch::start(
        session,
        spec,
        defaults,
        &Handlers::new(),
        &Arc::default(),
        Meter::new(&counters, 0, None, None),
    )?;
    context
        .run(engine, &mut first, &mut download, &mut meter)
        .await
}

async fn run(engine: &mut Pending, spec: &RequestSpec) -> Result<Response, Error> {
    let mut session = open_session(|_: Exchange<'_>| Err(Error::connect("not used")));
    attempt(&mut session, engine, spec, &AttemptLimits::default()).await
}

/// All that can be told of an attempt from outside.
fn told(result: Result<Response, Error>) -> String {
    match result {
        Ok(Response {
            head,
            body,
            saved_to,
        }) => format!(
            "{} {:?} {} {:?} {:?} {body:?} {saved_to:?}",
            head.status, head.headers, head.url, head.history, head.content_length
        ),
        Err(error) => format!("{error:?} {:?} {:?}", error.hops(), error.limit()),
    }
}

/// Where the body goes.
#[derive(Clone, Copy, Debug)]
enum Target {
    Memory,
    File,
    /// A handler that reads so much, with buffers of this length, then returns an error if it should.
    Handler(usize, usize, bool),
}

impl Target {
    fn of(self, spec: RequestSpec, folder: &Path, noted: &Arc<Mutex<Vec<u8>>>) -> RequestSpec {
        let (length, size, fails) = match self {
            Self::Memory => return spec,
            Self::File => return spec.save_to(folder.join("target")),
            Self::Handler(length, size, fails) => (length, size, fails),
        };
        let noted = Arc::clone(noted);
        spec.read_with(move |head, body| {
            let mut noted = noted.lock().unwrap();
            noted.extend(head.status().as_str().bytes());
            let mut buffer = vec![0; size];
            let mut left = length;
            while left > 0 {
                let max = size.min(left);
                // It makes nothing of faults, which must not matter.
                let read = body.read(&mut buffer[..max]).unwrap_or(0);
                if read == 0 {
                    break;
                }
                noted.extend(&buffer[..read]);
                left -= read;
            }
            if fails {
                return Err("no more".into());
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct Case {
    method: &'static str,
    url: &'static str,
    target: Target,
    max_body: Option<u64>,
    max_redirects: u32,
    is_filtered: bool,
    proxy: Option<&'static str>,
    plays: Vec<Play>,
    pauses: Vec<u8>,
    sizes: Vec<usize>,
    gives_whole: bool,
}

impl Case {
    fn spec(&self, folder: &Path, noted: &Arc<Mutex<Vec<u8>>>) -> RequestSpec {
        let mut spec = RequestSpec::new(self.method, self.url).max_redirects(self.max_redirects);
        if self.method == "POST" {
            spec = spec.body("sent");
        }
        if let Some(limit) = self.max_body {
            spec = spec.max_body(limit);
        }
        self.target.of(spec, folder, noted)
    }

    /// What is told of the attempt, was sent, was read by a handler, and lies in the folder.
    fn outcome(
        &self,
        run: impl FnOnce(&RequestSpec, Plays) -> (Result<Response, Error>, Plays),
    ) -> (String, Vec<String>, Vec<u8>, Vec<Vec<u8>>) {
        let folder = tempfile::tempdir().unwrap();
        let noted = Arc::default();
        let spec = self.spec(folder.path(), &noted);
        let plays = Plays {
            left: self.plays.iter().cloned().collect(),
            sent: Vec::new(),
        };
        let (result, plays) = run(&spec, plays);
        let files = fs::read_dir(folder.path()).unwrap();
        let files = files.map(|entry| fs::read(entry.unwrap().path()).unwrap());
        let path = folder.path().to_str().unwrap();
        (
            told(result).replace(path, "folder"),
            plays.sent,
            std::mem::take(&mut noted.lock().unwrap()),
            files.collect(),
        )
    }

    fn settings<T: ?Sized>(&self, session: &mut OpenSession<T>) {
        session.filter = self.is_filtered.then(|| AddressFilter::new([]));
        session.state.proxy = self.proxy.map(|proxy| proxy.parse().unwrap());
    }

    fn assert_same_on_both_engines(&self) {
        let blocking = self.outcome(|spec, plays| {
            let plays = Arc::new(Mutex::new(plays));
            let (ours, is_whole) = (Arc::clone(&plays), self.gives_whole);
            let transport = move |exchange: Exchange<'_>| {
                let response = ours.lock().unwrap().exchange(&exchange)?;
                Ok(response.map(|script| match script.fault {
                    None if is_whole => ResponseBody::from(script.left),
                    _ => ResponseBody::from_reader(script),
                }))
            };
            let mut session = open_session(transport);
            self.settings(&mut session);
            let limits = AttemptLimits::default();
            let counters = Counters::default();
            let result = Fetch::start(
                &mut session,
                spec,
                &limits,
                &Handlers::new(),
                &Arc::default(),
                Meter::new(&counters, 0, None, None),
            )
            .and_then(|mut fetch| match session.transport.by_engine() {
                ByEngine::Blocking(transport) => fetch.complete(transport),
                #[cfg(feature = "hyper")]
                ByEngine::EventDriven(_) => Err(Error::session("not a closure")),
            });
            drop(session);
            let plays = plays.lock().unwrap().clone();
            (result, plays)
        });
        let pending = self.outcome(|spec, plays| {
            let mut session = open_session(|_: Exchange<'_>| Err(Error::connect("not used")));
            self.settings(&mut session);
            let mut engine = Pending::new([]);
            engine.plays = plays;
            engine.pauses = Box::new(self.pauses.clone().into_iter().cycle());
            engine.sizes = Box::new(self.sizes.clone().into_iter().cycle());
            engine.gives_whole = self.gives_whole;
            let limits = AttemptLimits::default();
            let result = block_on(attempt(&mut session, &mut engine, spec, &limits));
            (result, engine.plays)
        });
        assert_eq!(blocking, pending);
    }
}

/// A body, what it is labelled as, and whether that is true.
fn body() -> impl Strategy<Value = (Option<&'static str>, Vec<u8>, bool)> {
    let content = (0_usize..60_000, 1_u32..200).prop_map(|(length, period)| {
        let bytes = (0..length as u32).map(|number| (number * number / period) as u8);
        bytes.collect::<Vec<u8>>()
    });
    let padding = prop::sample::select(vec![&b""[..], b"\0\0\0\0", b"what follows"]);
    (content, padding, 0..10).prop_map(|(content, padding, kind)| match kind {
        #[cfg(feature = "gzip")]
        0 | 1 => {
            let padded = [encoded::gzip(&content), padding.to_vec()].concat();
            (Some("gzip"), padded, true)
        }
        #[cfg(feature = "gzip")]
        2 => {
            let (start, end) = content.split_at(content.len() / 3);
            let members = [encoded::gzip(start), encoded::gzip(end)].concat();
            (Some("x-gzip"), members, true)
        }
        #[cfg(feature = "gzip")]
        3 => {
            let padded = [encoded::zlib(&content), padding.to_vec()].concat();
            (Some("deflate"), padded, true)
        }
        #[cfg(feature = "gzip")]
        4 => {
            let twice = encoded::gzip(&encoded::zlib(&content));
            (Some("deflate, gzip"), twice, true)
        }
        #[cfg(feature = "gzip")]
        5 => {
            let whole = encoded::gzip(&content);
            (Some("gzip"), whole[..whole.len() / 2].to_vec(), false)
        }
        #[cfg(feature = "zstd")]
        6 => (Some("zstd"), zstd::encode_all(&*content, 1).unwrap(), true),
        7 => (Some("gzip"), content, false),
        8 => (Some("rot13"), content, true),
        _ => (None, content, true),
    })
}

#[cfg(feature = "gzip")]
mod encoded {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    pub(super) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    pub(super) fn zlib(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }
}

fn redirect() -> impl Strategy<Value = Play> {
    let location = prop::sample::select(vec![
        "/next",
        "http://origin.test/again",
        "http://me:p4ss@other.test/x?y#z",
        "http://127.0.0.1/",
        "https://origin.test/",
        "ftp://other.test/",
        "//",
    ]);
    let status = prop::sample::select(vec![301, 302, 303, 307, 308, 304, 200]);
    let length = prop::sample::select(vec![0_usize, 10, 100_000]);
    (status, location, length, fault()).prop_map(|(status, location, length, fault)| {
        Play::Response {
            status,
            headers: vec![("location", location.to_owned())],
            body: vec![b'x'; length].into(),
            fault,
        }
    })
}

fn fault() -> impl Strategy<Value = Option<io::ErrorKind>> {
    use io::ErrorKind::*;

    let kinds = vec![UnexpectedEof, ConnectionReset, InvalidData];
    prop_oneof![
        6 => Just(None),
        1 => prop::sample::select(kinds).prop_map(Some),
    ]
}

/// The last response, and whether its body is what it is labelled as, and comes whole.
fn last() -> impl Strategy<Value = (Play, bool)> {
    let status = prop::sample::select(vec![200, 200, 200, 206, 404, 204, 304, 302]);
    (status, body(), any::<bool>(), fault()).prop_map(
        |(status, (label, mut body, is_valid), is_announced, fault)| {
            // This one tells its end itself. Whether it is asked for more there depends on the pieces that it comes in.
            let ends_itself = label.is_some_and(|label| label.starts_with("deflate"));
            if fault.is_some() && ends_itself {
                body.truncate(body.len() / 2);
            }
            let mut headers = vec![("x-own", "1".to_owned())];
            headers.extend(label.map(|label| ("content-encoding", label.to_owned())));
            if is_announced {
                headers.push(("content-length", body.len().to_string()));
            }
            let play = Play::Response {
                status,
                headers,
                body: body.into(),
                fault,
            };
            (play, is_valid && fault.is_none())
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let target = prop_oneof![
        3 => Just(Target::Memory),
        2 => Just(Target::File),
        2 => (0_usize..100_000, 1_usize..20_000, any::<bool>())
            .prop_map(|(length, size, fails)| Target::Handler(length, size, fails)),
    ];
    let max_body = prop_oneof![Just(None), (0_u64..80_000).prop_map(Some)];
    let request = (
        prop::sample::select(vec!["GET", "GET", "POST", "HEAD"]),
        prop::sample::select(vec![
            "http://origin.test/",
            "http://me:p4ss@origin.test/#top",
        ]),
        target,
        max_body,
        0_u32..4,
        prop::bool::weighted(0.2),
        prop::sample::select(vec![
            None,
            None,
            Some("http://p.test/"),
            Some("socks5://p.test/"),
        ]),
    );
    let responses = (
        prop::collection::vec(redirect(), 0..4),
        prop_oneof![9 => last().prop_map(Some), 1 => Just(None)],
    );
    let engine = (
        prop::collection::vec(0_u8..3, 1..8),
        prop::collection::vec(prop_oneof![1_usize..40, 1_usize..100_000], 1..5),
        any::<bool>(),
    );
    (request, responses, engine).prop_map(|(request, (redirects, last), engine)| {
        let (method, url, mut target, mut max_body, max_redirects, is_filtered, proxy) = request;
        let (pauses, sizes, gives_whole) = engine;
        // How much of an invalid body can be decoded before that is noticed depends on the pieces that it comes in.
        if last.as_ref().is_some_and(|(_, is_valid)| !is_valid) {
            max_body = None;
            if let Target::Handler(length, ..) = &mut target {
                *length = usize::MAX;
            }
        }
        let last = last.map_or(Play::Refused, |(play, _)| play);
        Case {
            method,
            url,
            target,
            max_body,
            max_redirects,
            is_filtered,
            proxy,
            plays: redirects.into_iter().chain([last]).collect(),
            pauses,
            sizes,
            gives_whole,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn an_attempt_is_the_same_on_an_engine_that_blocks_and_on_one_that_is_pending(case in case()) {
        case.assert_same_on_both_engines();
    }
}

#[test]
fn thousands_of_attempts_are_pending_on_one_thread() {
    const ATTEMPTS: usize = 2_000;
    let asked = Rc::default();
    let attempts: FuturesUnordered<_> = (0..ATTEMPTS)
        .map(|number| {
            let spec = RequestSpec::get("http://origin.test/");
            let mut engine = Pending::new([ok(number.to_string())]);
            engine.together = (Rc::clone(&asked), ATTEMPTS);
            async move { run(&mut engine, &spec).await.unwrap() }
        })
        .collect();
    let responses: Vec<Response> = block_on(attempts.collect());
    let numbers = responses.iter().map(|response| response.text());
    let mut numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
    numbers.sort();
    assert_eq!(numbers, (0..ATTEMPTS).collect::<Vec<_>>());
}

/// A response with so many MiB in it that are packed most densely.
#[cfg(feature = "gzip")]
fn bomb(mebibytes: usize) -> Play {
    Play::Response {
        status: 200,
        headers: vec![("content-encoding", "gzip".to_owned())],
        body: encoded::gzip(&vec![0; mebibytes << 20]).into(),
        fault: None,
    }
}

#[cfg(feature = "gzip")]
#[test]
fn a_bomb_is_unpacked_in_steps_between_which_others_go_on() {
    let get = RequestSpec::get("http://origin.test/");
    let mut engine = Pending::new([bomb(20)]);
    let response = block_on(run(&mut engine, &get)).unwrap();
    assert!(response.bytes() == &vec![0; 20 << 20]);
    // It is unpacked once to measure it and once to keep it.
    assert!(engine.yields > 2 * (19 << 20) / decode::STEP);

    let mut engine = Pending::new([bomb(20)]);
    let limited = get.max_body((20 << 20) - 1);
    let error = block_on(run(&mut engine, &limited)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BodyTooLarge);
}

/// Its encoded form would have to be kept until its end, and can be as long as its sender likes.
#[cfg(feature = "gzip")]
#[test]
fn a_bomb_that_unpacks_to_nothing_in_the_end_is_too_large() {
    let limit: usize = 9 << 20;
    let empty = flate2::GzBuilder::new().extra(vec![0; 60_000]);
    let empty = empty.write(Vec::new(), flate2::Compression::fast());
    let empty = empty.finish().unwrap();
    let Play::Response { headers, body, .. } = bomb(9) else {
        unreachable!("it is a response");
    };
    for (length, is_whole) in [(limit / 2, true), (limit + 1, false)] {
        let body = [&*body, &*empty.repeat(length.div_ceil(empty.len()))].concat();
        let play = Play::Response {
            status: 200,
            headers: headers.clone(),
            body: body.into(),
            fault: None,
        };
        let spec = RequestSpec::get("http://origin.test/").max_body(limit as u64);
        match block_on(run(&mut Pending::new([play]), &spec)) {
            Ok(response) => assert!(is_whole && response.bytes().len() == limit),
            Err(error) => assert!(
                !is_whole && error.limit() == Some(limit as u64),
                "{error:?}"
            ),
        }
    }
}

#[cfg(feature = "gzip")]
#[test]
fn the_deadline_holds_between_the_steps_of_a_bomb() {
    let timeout = Duration::from_millis(200);
    let spec = RequestSpec::get("http://origin.test/").timeout(timeout);
    let mut engine = Pending::new([bomb(64)]);
    engine.slowness = Duration::from_millis(10);
    let error = block_on(run(&mut engine, &spec)).unwrap_err();
    assert_eq!(error.time_limit(), Some(timeout), "{error:?}");
    assert!(engine.yields < 100, "{}", engine.yields);
}

#[test]
fn an_engine_that_always_has_a_little_more_is_kept_to_the_deadline() {
    let timeout = Duration::from_millis(200);
    for target in [
        Target::Memory,
        Target::File,
        Target::Handler(usize::MAX, 10, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let spec = RequestSpec::get("http://origin.test/").timeout(timeout);
        let spec = target.of(spec, folder.path(), &Arc::default());
        let mut engine = Pending::new([ok(vec![b'x'; 1 << 20])]);
        engine.sizes = Box::new(std::iter::repeat(1));
        engine.slowness = Duration::from_millis(1);
        let error = block_on(run(&mut engine, &spec)).unwrap_err();
        assert_eq!(error.time_limit(), Some(timeout), "{target:?}: {error:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_engine_that_blocks_must_not_be_pending() {
    let error = engine::complete::<()>(pin!(std::future::pending())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panicked);
}
