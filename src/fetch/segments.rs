//! A body that is received in segments, over several connections: as many of them as bring something.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use url::Url;

use super::body::{DRAIN_TIME, Incoming, check_framing};
use super::deadline::Deadline;
use super::engine::Engine;
use super::meter::Meter;
use super::sink::BUFFER;
use crate::download::{Claim, Download, SegmentedFile};
use crate::error::Error;
use crate::transport::Exchange;

/// How long it is measured what a connection brings: long enough for it to leave slow start (RFC 5681, section 3.1).
const WINDOW: Duration = Duration::from_secs(1);

/// What must come with a further connection, as a ratio of what came without it.
const MIN_GAIN: f64 = 1.05;

/// How long a segment should take at least, so that its request is worth it.
const MIN_TIME: Duration = Duration::from_millis(500);

/// A response that is shorter than its segment and than this, in bytes, is of no use: each takes a request.
const MIN_RESPONSE: u64 = 16 << 10;

/// After how many arrivals other attempts on the same thread go on.
const ARRIVALS_PER_TURN: usize = 256;

/// Receives all of a body into a file, or as much of it as can be. Returns the engine too.
pub(super) async fn receive<'a, E: Engine + ?Sized>(
    incoming: Incoming<'a, '_, E>,
    mut file: SegmentedFile,
    source: Source<'_>,
) -> Result<(&'a mut E, SegmentedFile, Option<Error>), Error> {
    let Some(engine) = incoming.engine.fork() else {
        return Err(Error::panicked(
            "a bug in reqwest-threaded: segments on a blocking transport".to_owned(),
        ));
    };
    let mut receiver = Receiver {
        engine: incoming.engine,
        meter: incoming.meter,
        source,
        connections: Vec::new(),
        idle: 0,
        growth: Growth::new(),
        fault: None,
    };
    let first = Stream {
        engine,
        body: incoming.body,
    };
    // What was received in segments before goes on so.
    while receiver.connections.len() + 1 < source.download.max_segments() {
        let claim = file.segments.claim(u64::MAX);
        let Some((claim, engine)) = claim.zip(first.engine.fork()) else {
            break;
        };
        receiver.ask(engine, claim, false);
    }
    let length = source.download.response_length().unwrap_or(u64::MAX);
    let left = length.checked_sub(incoming.rest.len() as u64);
    let segment = Segment {
        index: 0,
        left: left.unwrap_or_default(),
        is_trial: false,
        buffer: Vec::new(),
    };
    file = match left {
        Some(_) => receiver.take_in(file, first, segment, incoming.rest).await,
        None => receiver.abandon(file, segment, too_long()).await,
    }?;
    let (file, fault) = receiver.receive_all(file).await?;
    Ok((receiver.engine, file, fault))
}

/// Where segments are requested.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) download: &'a Download,
    pub(super) url: &'a Url,
    pub(super) deadline: &'a Deadline,
}

impl Source<'_> {
    async fn request<E: Engine + ?Sized>(
        self,
        engine: &mut E,
        range: &Range<u64>,
    ) -> Result<http::Response<E::Body>, Error> {
        let mut exchange = Exchange {
            method: &Method::GET,
            url: self.url,
            headers: self.download.segment_headers(range),
            body: None,
            deadline: self.deadline.at(),
            stall_timeout: self.deadline.stall_timeout(),
        };
        engine.exchange(&mut exchange).await
    }
}

struct Receiver<'a, 's, 'm, E: Engine + ?Sized> {
    engine: &'a mut E,
    meter: &'a mut Meter<'m>,
    source: Source<'s>,
    connections: Vec<Connection<'s, E>>,
    /// How many have received what they were to, and had nothing more to do.
    idle: usize,
    growth: Growth,
    /// That of a connection that failed.
    fault: Option<Error>,
}

/// One of the connections, and what it waits for.
struct Connection<'a, E: Engine + ?Sized> {
    state: State,
    next: Pin<Box<dyn Future<Output = Arrival<E>> + 'a>>,
}

enum State {
    /// It has requested a segment.
    Asking {
        claim: Claim,
        is_trial: bool,
    },
    Receiving(Segment),
    /// Something of it has come, and waits for bandwidth: what is taken in next, and what comes after that.
    HeldBack(Segment, Bytes, Bytes),
    /// It has received its segment, and waits for the end of the response, after which it can be used again.
    Ending {
        is_trial: bool,
    },
}

struct Segment {
    index: usize,
    /// How much of the response is to come.
    left: u64,
    /// Whether the connection is the last that was added, and is kept only if it brings something.
    is_trial: bool,
    /// What is to be written next.
    buffer: Vec<u8>,
}

/// What a connection has waited for.
enum Arrival<E: Engine + ?Sized> {
    Responded(Box<E>, Result<http::Response<E::Body>, Error>),
    Received(Stream<E>, Result<Bytes, Error>),
    HasBandwidth(Stream<E>),
}

/// The body of a response, and the engine that it comes by.
struct Stream<E: Engine + ?Sized> {
    engine: Box<E>,
    body: E::Body,
}

impl<'s, E: Engine + ?Sized + 's> Receiver<'_, 's, '_, E> {
    /// Receives what is missing, until all of it has come or no connection is left.
    async fn receive_all(
        &mut self,
        mut file: SegmentedFile,
    ) -> Result<(SegmentedFile, Option<Error>), Error> {
        let mut arrivals = 0;
        loop {
            let is_ending = |other: &Connection<'_, E>| matches!(other.state, State::Ending { .. });
            if file.segments.is_complete() && !self.connections.iter().any(is_ending) {
                return Ok((file, None));
            }
            if let Err(error) = self.source.deadline.check(true) {
                self.fault = Some(error);
                break;
            }
            arrivals += 1;
            if arrivals % ARRIVALS_PER_TURN == 0 {
                self.engine.yield_now().await;
            }
            let Some((state, arrival)) = self.next_arrival().await else {
                break;
            };
            file = self.handle(file, state, arrival).await?;
            file = self.adapt(file).await?;
        }
        for connection in std::mem::take(&mut self.connections) {
            if let State::Receiving(segment) | State::HeldBack(segment, ..) = connection.state {
                (file, _) = self.write(file, segment).await?;
            }
        }
        let fault = self.fault.take().unwrap_or_else(|| {
            Error::body_truncated("a segment of it is missing, and no connection is left")
        });
        Ok((file, Some(fault)))
    }

    /// Waits for any of the connections. `None` if there is none.
    async fn next_arrival(&mut self) -> Option<(State, Arrival<E>)> {
        let (index, arrival) = poll_fn(|context| {
            if self.connections.is_empty() {
                return Poll::Ready(None);
            }
            let mut waiting = self.connections.iter_mut().enumerate();
            let ready = waiting.find_map(|(index, connection)| {
                match connection.next.as_mut().poll(context) {
                    Poll::Ready(arrival) => Some((index, arrival)),
                    Poll::Pending => None,
                }
            });
            ready.map_or(Poll::Pending, |ready| Poll::Ready(Some(ready)))
        })
        .await?;
        // It is put back behind the others, so that each gets its turn.
        Some((self.connections.remove(index).state, arrival))
    }

    async fn handle(
        &mut self,
        mut file: SegmentedFile,
        state: State,
        arrival: Arrival<E>,
    ) -> Result<SegmentedFile, Error> {
        match (state, arrival) {
            (State::Receiving(mut segment), Arrival::Received(stream, Ok(bytes)))
                if !bytes.is_empty() =>
            {
                self.meter.note(bytes.len());
                if let Some(left) = segment.left.checked_sub(bytes.len() as u64) {
                    segment.left = left;
                    file = self.take_in(file, stream, segment, bytes).await?;
                } else {
                    file = self.abandon(file, segment, too_long()).await?;
                }
            }
            (State::Receiving(segment), Arrival::Received(_, Err(error))) => {
                file = self.abandon(file, segment, error).await?;
            }
            (State::Receiving(segment), Arrival::Received(..)) if segment.left > 0 => {
                let error = Error::body_truncated("a segment of it ends early");
                file = self.abandon(file, segment, error).await?;
            }
            // The response was shorter than what was requested.
            (State::Receiving(segment), Arrival::Received(stream, _)) => {
                let is_trial = segment.is_trial;
                file = self.release(file, segment).await?;
                self.ask_for_next(&mut file, stream.engine, is_trial);
            }
            (State::HeldBack(segment, bytes, rest), Arrival::HasBandwidth(stream)) => {
                let (returned, segment) = self.append(file, segment, &bytes).await?;
                file = self.take_in(returned, stream, segment, rest).await?;
            }
            (State::Asking { claim, is_trial }, Arrival::Responded(engine, responded)) => {
                file = self.begin(file, claim, is_trial, engine, responded).await?;
            }
            (State::Ending { is_trial }, Arrival::Received(stream, _)) => {
                self.ask_for_next(&mut file, stream.engine, is_trial);
            }
            // Others do not occur.
            (_, Arrival::Received(Stream { engine, .. }, _) | Arrival::Responded(engine, _))
            | (_, Arrival::HasBandwidth(Stream { engine, .. })) => {
                self.ask_for_next(&mut file, engine, false);
            }
        }
        Ok(file)
    }

    /// A connection has failed, which had received this segment.
    async fn abandon(
        &mut self,
        file: SegmentedFile,
        segment: Segment,
        error: Error,
    ) -> Result<SegmentedFile, Error> {
        let mut file = self.release(file, segment).await?;
        self.fail(&mut file, error);
        Ok(file)
    }

    /// Writes what has come of a segment. The rest of it is for other connections.
    async fn release(
        &mut self,
        file: SegmentedFile,
        segment: Segment,
    ) -> Result<SegmentedFile, Error> {
        let (mut file, segment) = self.write(file, segment).await?;
        file.segments.release(segment.index);
        Ok(file)
    }

    /// A connection has failed. Others go on without it.
    fn fail(&mut self, file: &mut SegmentedFile, error: Error) {
        log::debug!("one of the connections of a download has failed: {error}");
        // If all fail, the next attempt may succeed if one of them might.
        if self.fault.is_none() || error.is_retryable() {
            self.fault = Some(error);
        }
        self.growth.is_over = true;
        self.wake_idle(file);
    }

    /// There may be something to do for connections that had nothing to do any more.
    fn wake_idle(&mut self, file: &mut SegmentedFile) {
        while let Some(idle) = self.idle.checked_sub(1) {
            let Some((claim, engine)) = self.claim(file).zip(self.engine.fork()) else {
                return;
            };
            self.idle = idle;
            self.ask(engine, claim, false);
        }
    }

    /// Requests what was claimed.
    fn ask(&mut self, mut engine: Box<E>, claim: Claim, is_trial: bool) {
        let (source, range) = (self.source, claim.range.clone());
        self.connections.push(Connection {
            state: State::Asking { claim, is_trial },
            next: Box::pin(async move {
                let responded = source.request(&mut *engine, &range).await;
                Arrival::Responded(engine, responded)
            }),
        });
    }

    /// Chooses what one more connection should receive.
    fn claim(&self, file: &mut SegmentedFile) -> Option<Claim> {
        let min = self.growth.min_segment(self.connections.len() + 1);
        file.segments.claim(min)
    }

    /// A connection has received its segment: requests what is left for it, if anything is.
    fn ask_for_next(&mut self, file: &mut SegmentedFile, engine: Box<E>, is_trial: bool) {
        match self.claim(file) {
            Some(claim) => self.ask(engine, claim, is_trial),
            None => {
                self.idle += 1;
                // What comes is not to be compared with what came before.
                self.growth.restart();
                self.growth.is_over |= !file.segments.is_being_split();
            }
        }
    }

    /// Begins to receive what was claimed, if the response is that.
    async fn begin(
        &mut self,
        mut file: SegmentedFile,
        claim: Claim,
        is_trial: bool,
        engine: Box<E>,
        responded: Result<http::Response<E::Body>, Error>,
    ) -> Result<SegmentedFile, Error> {
        if is_trial && std::mem::take(&mut self.growth.is_trial_asked) {
            self.growth.restart();
        }
        let range = claim.range.clone();
        let fitting = responded.and_then(|response| {
            check_framing(response.headers())?;
            let (status, fields) = (response.status(), response.headers());
            let end = self.source.download.fits_segment(status, fields, &range);
            let least = range.end.min(range.start.saturating_add(MIN_RESPONSE));
            match end.filter(|end| *end >= least) {
                Some(end) => Ok((response, end)),
                None => Err(Error::body_truncated(format!(
                    "bytes {} to {} are missing, and the server does not send them as a part of the same content: it \
                     responds with {status}",
                    range.start, range.end
                ))),
            }
        });
        let (response, end) = match fitting {
            Ok(fitting) => fitting,
            Err(error) => {
                file.segments.refuse(&claim);
                self.fail(&mut file, error);
                return Ok(file);
            }
        };
        let confirming = self.engine.unblock(move || file.confirm(&claim));
        let (mut file, index) = confirming.await??;
        let Some(index) = index else {
            self.ask_for_next(&mut file, engine, is_trial);
            return Ok(file);
        };
        let body = response.into_body();
        let segment = Segment {
            index,
            left: end - range.start,
            is_trial,
            buffer: Vec::new(),
        };
        self.wait(State::Receiving(segment), Stream { engine, body });
        self.wake_idle(&mut file);
        Ok(file)
    }

    /// Waits for the next piece of a response.
    fn wait(&mut self, state: State, mut stream: Stream<E>) {
        self.connections.push(Connection {
            state,
            next: Box::pin(async move {
                let piece = stream.engine.piece(&mut stream.body).await;
                Arrival::Received(stream, piece)
            }),
        });
    }

    /// Takes in what has come of a segment, as far as there is bandwidth for it.
    async fn take_in(
        &mut self,
        mut file: SegmentedFile,
        mut stream: Stream<E>,
        mut segment: Segment,
        mut bytes: Bytes,
    ) -> Result<SegmentedFile, Error> {
        while !bytes.is_empty() && room(&file, &segment) > 0 {
            let (step, wait) = self.meter.next_step(&mut bytes);
            if let Some(until) = wait {
                let deadline = self.source.deadline;
                self.connections.push(Connection {
                    state: State::HeldBack(segment, step, bytes),
                    next: Box::pin(async move {
                        stream.engine.pause(deadline, until).await;
                        Arrival::HasBandwidth(stream)
                    }),
                });
                return Ok(file);
            }
            (file, segment) = self.append(file, segment, &step).await?;
        }
        if room(&file, &segment) > 0 {
            self.wait(State::Receiving(segment), stream);
            return Ok(file);
        }
        file.segments.release(segment.index);
        let is_trial = segment.is_trial;
        if segment.left == 0 {
            E::end_by(&mut stream.body, Instant::now() + DRAIN_TIME);
            self.wait(State::Ending { is_trial }, stream);
        } else {
            // Closes the connection, as more of the response would come.
            drop(stream.body);
            self.ask_for_next(&mut file, stream.engine, is_trial);
        }
        Ok(file)
    }

    /// Adds to what has come of a segment.
    async fn append(
        &mut self,
        file: SegmentedFile,
        mut segment: Segment,
        bytes: &[u8],
    ) -> Result<(SegmentedFile, Segment), Error> {
        self.growth.received += bytes.len() as u64;
        segment.buffer.extend_from_slice(bytes);
        let room = room(&file, &segment);
        if segment.buffer.len() >= room.min(BUFFER) {
            return self.write(file, segment).await;
        }
        Ok((file, segment))
    }

    /// Writes what has come of a segment. What is behind its end belongs to another one.
    async fn write(
        &mut self,
        file: SegmentedFile,
        mut segment: Segment,
    ) -> Result<(SegmentedFile, Segment), Error> {
        segment.buffer.truncate(room(&file, &segment));
        let (index, content) = (segment.index, segment.buffer);
        let writing = self.engine.unblock(move || file.write(index, content));
        let (file, buffer) = writing.await??;
        Ok((file, Segment { buffer, ..segment }))
    }

    /// Now and then, adds a connection, or closes the last one if it has brought nothing.
    async fn adapt(&mut self, mut file: SegmentedFile) -> Result<SegmentedFile, Error> {
        if self.growth.is_over || self.growth.is_trial_asked {
            return Ok(file);
        }
        let Some(rate) = self.growth.measured() else {
            return Ok(file);
        };
        let mut connections = self.connections.iter_mut();
        let trial = connections.position(|connection| match &mut connection.state {
            State::Asking { is_trial, .. } | State::Ending { is_trial } => std::mem::take(is_trial),
            State::Receiving(segment) | State::HeldBack(segment, ..) => {
                std::mem::take(&mut segment.is_trial)
            }
        });
        if let Some(index) = trial.filter(|_| rate < self.growth.rate * MIN_GAIN) {
            log::debug!("a further connection of a download brings nothing, and is closed");
            self.growth.is_over = true;
            match self.connections.remove(index).state {
                State::Asking { claim, .. } => file.segments.refuse(&claim),
                State::Receiving(segment) | State::HeldBack(segment, ..) => {
                    file = self.release(file, segment).await?;
                }
                State::Ending { .. } => {}
            }
            return Ok(file);
        }
        self.growth.rate = rate;
        if self.connections.len() < self.source.download.max_segments() {
            if let Some((claim, engine)) = self.claim(&mut file).zip(self.engine.fork()) {
                self.growth.is_trial_asked = true;
                self.ask(engine, claim, true);
            }
        }
        Ok(file)
    }
}

/// How much is missing of a segment.
fn room(file: &SegmentedFile, segment: &Segment) -> usize {
    let missing = file.segments.range(segment.index);
    usize::try_from(missing.end - missing.start).unwrap_or(usize::MAX)
}

fn too_long() -> Error {
    Error::protocol("a part of it (206) is longer than its Content-Range")
}

/// How much comes, and whether further connections are tried.
struct Growth {
    since: Instant,
    received: u64,
    /// In bytes per second, before the last connection was added.
    rate: f64,
    /// Whether a further connection has requested its first segment.
    is_trial_asked: bool,
    is_over: bool,
}

impl Growth {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            received: 0,
            rate: 0.0,
            is_trial_asked: false,
            is_over: false,
        }
    }

    fn restart(&mut self) {
        self.since = Instant::now();
        self.received = 0;
    }

    /// How much has come in each second, once that is known. Then measures again.
    fn measured(&mut self) -> Option<f64> {
        let time = self.since.elapsed();
        if time < WINDOW {
            return None;
        }
        let rate = self.received as f64 / time.as_secs_f64();
        self.restart();
        Some(rate)
    }

    /// How long a segment of one of so many connections should be.
    fn min_segment(&self, connections: usize) -> u64 {
        (self.rate * MIN_TIME.as_secs_f64() / connections as f64) as u64
    }
}
