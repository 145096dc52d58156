//! The server's loop for plain HTTP/1.1: one thread, and one and the same response to each request on any connection.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

const LISTENER: Token = Token(usize::MAX);
/// Timers fire up to 1 ms late, half of that on average.
const TIMER_DELAY: Duration = Duration::from_micros(500);

/// Sends `response` to each request, `delay` after its arrival. Never returns.
pub(crate) fn serve(listener: TcpListener, response: &[u8], delay: Duration) {
    let mut poll = Poll::new().expect("an event queue");
    let mut listener = mio::net::TcpListener::from_std(listener);
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .expect("room for a listener");
    let mut connections = Connections::default();
    let mut responder = Responder {
        response,
        delay: delay.saturating_sub(TIMER_DELAY),
        due: VecDeque::new(),
        received: vec![0; 16 << 10],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, responder.timeout())
            .expect("an event queue");
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    connections.add(stream, poll.registry());
                }
                continue;
            }
            let Token(number) = event.token();
            connections.with(number, |connection| {
                connection.readable |= event.is_readable();
                responder.proceed(number, connection)
            });
        }
        while let Some(number) = responder.next_due() {
            connections.with(number, |connection| {
                connection.state = State::Responding { written: 0 };
                responder.proceed(number, connection)
            });
        }
    }
}

struct Connection {
    stream: TcpStream,
    state: State,
    /// Whether there may be something to read.
    readable: bool,
    /// The first pieces of a request that does not arrive all at once.
    pieces: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Reading,
    /// Has received a request whose response is not due yet.
    Waiting,
    Responding {
        written: usize,
    },
}

/// The peer closed the connection.
struct Closed;

/// The open connections, by number. Numbers are used again.
#[derive(Default)]
struct Connections {
    all: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Connections {
    fn add(&mut self, mut stream: TcpStream, registry: &Registry) {
        let _ = stream.set_nodelay(true);
        let number = self.free.pop().unwrap_or_else(|| {
            self.all.push(None);
            self.all.len() - 1
        });
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry
            .register(&mut stream, Token(number), interests)
            .expect("room for a connection");
        self.all[number] = Some(Connection {
            stream,
            state: State::Reading,
            readable: false,
            pieces: Vec::new(),
        });
    }

    /// Does something with a connection that is still open.
    fn with(&mut self, number: usize, proceed: impl FnOnce(&mut Connection) -> Result<(), Closed>) {
        let connection = &mut self.all[number];
        if connection
            .as_mut()
            .map(proceed)
            .is_some_and(|result| result.is_err())
        {
            *connection = None;
            self.free.push(number);
        }
    }
}

struct Responder<'a> {
    response: &'a [u8],
    delay: Duration,
    /// When responses are due, with the connection's number. A connection is open while it is in here.
    due: VecDeque<(Instant, usize)>,
    /// Room for what is read from any connection.
    received: Vec<u8>,
}

impl Responder<'_> {
    /// The time until the next response is due.
    fn timeout(&self) -> Option<Duration> {
        let (due, _) = self.due.front()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    fn next_due(&mut self) -> Option<usize> {
        let (due, number) = *self.due.front()?;
        if due > Instant::now() {
            return None;
        }
        self.due.pop_front();
        Some(number)
    }

    /// Reads, and responds, until the connection would block or its response is not due yet.
    fn proceed(&mut self, number: usize, connection: &mut Connection) -> Result<(), Closed> {
        loop {
            match connection.state {
                State::Waiting => return Ok(()),
                State::Reading if !connection.readable => return Ok(()),
                State::Reading => {
                    if self.read_request(connection)? {
                        if self.delay.is_zero() {
                            connection.state = State::Responding { written: 0 };
                        } else {
                            connection.state = State::Waiting;
                            self.due.push_back((Instant::now() + self.delay, number));
                        }
                    }
                }
                State::Responding { written } => {
                    match connection.stream.write(&self.response[written..]) {
                        Ok(more) if written + more == self.response.len() => {
                            connection.state = State::Reading;
                        }
                        Ok(more) => {
                            let written = written + more;
                            connection.state = State::Responding { written };
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                        Err(_) => return Err(Closed),
                    }
                }
            }
        }
    }

    /// Reads once. Returns whether a request is complete.
    fn read_request(&mut self, connection: &mut Connection) -> Result<bool, Closed> {
        let length = match connection.stream.read(&mut self.received) {
            Ok(0) => return Err(Closed),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                connection.readable = false;
                return Ok(false);
            }
            Err(_) => return Err(Closed),
        };
        // What did not fill the buffer was all there was.
        connection.readable = length == self.received.len();
        let received = &self.received[..length];
        // No contender pipelines its requests.
        if connection.pieces.is_empty() && received.ends_with(b"\r\n\r\n") {
            return Ok(true);
        }
        connection.pieces.extend_from_slice(received);
        let is_complete = connection.pieces.ends_with(b"\r\n\r\n");
        if is_complete {
            connection.pieces.clear();
        }
        Ok(is_complete)
    }
}
