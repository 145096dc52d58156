//! The contender that does the least for a request: one thread, and one loop over non-blocking connections.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use super::contenders::Responses;
use super::workloads::Task;

/// Connections that are opened before the next look at those that are open.
const OPENED_AT_ONCE: usize = 64;
/// Room for the head of a response.
const HEAD: usize = 1 << 10;
const MAX_READ: usize = 64 << 10;

pub(crate) fn raw_epoll_loop(task: &Task) -> Instant {
    let mut responses = Responses::to(task);
    let mut poll = Poll::new().expect("an event queue");
    let mut events = Events::with_capacity(1024);
    let address = task.authority().parse().expect("an address");
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let room = (HEAD + task.body_length).min(MAX_READ);
    let mut connections: Vec<Connection> = Vec::with_capacity(task.in_flight);
    let mut unsent = task.requests;
    while !responses.are_complete() {
        let left = task.in_flight - connections.len();
        for _ in 0..left.min(OPENED_AT_ONCE) {
            let token = Token(connections.len());
            connections.push(Connection::open(address, room, token, poll.registry()));
        }
        let is_opening = connections.len() < task.in_flight;
        poll.poll(&mut events, is_opening.then_some(Duration::ZERO))
            .expect("an event queue");
        for event in &events {
            let Token(number) = event.token();
            let connection = &mut connections[number];
            let mut is_idle = false;
            if connection.is_opening && event.is_writable() {
                connection.is_opening = false;
                is_idle = true;
            }
            if event.is_readable() {
                if let Some(length) = connection.read() {
                    responses.add(length);
                    is_idle = true;
                }
            }
            if is_idle && unsent > 0 {
                unsent -= 1;
                connection.send(request.as_bytes());
            }
        }
    }
    responses.finish()
}

struct Connection {
    stream: TcpStream,
    is_opening: bool,
    received: Vec<u8>,
    progress: Progress,
}

#[derive(Clone, Copy)]
enum Progress {
    /// So many bytes of the head are in the buffer.
    Head { filled: usize },
    /// So many bytes of the body are still to come.
    Body { length: usize, left: usize },
}

impl Connection {
    fn open(address: SocketAddr, room: usize, token: Token, registry: &Registry) -> Self {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let interests = Interest::READABLE | Interest::WRITABLE;
        registry
            .register(&mut stream, token, interests)
            .expect("room for a connection");
        Self {
            stream,
            is_opening: true,
            received: vec![0; room],
            progress: Progress::Head { filled: 0 },
        }
    }

    fn send(&mut self, request: &[u8]) {
        let written = self.stream.write(request).expect("an open connection");
        assert_eq!(written, request.len(), "an idle connection takes a request");
    }

    /// Reads what there is. Returns the length of the body when it is complete.
    fn read(&mut self) -> Option<usize> {
        loop {
            let start = match self.progress {
                Progress::Head { filled } => filled,
                Progress::Body { .. } => 0,
            };
            let room = &mut self.received[start..];
            let read = match self.stream.read(room) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            };
            assert!(read > 0, "the server closed the connection");
            // What did not fill the buffer was all there was.
            let is_all = read < room.len();
            if let Some(length) = self.advance(read) {
                return Some(length);
            }
            if is_all {
                return None;
            }
        }
    }

    fn advance(&mut self, read: usize) -> Option<usize> {
        let (length, left) = match self.progress {
            Progress::Head { filled } => {
                let received = &self.received[..filled + read];
                let Some(end) = received.windows(4).position(|end| end == b"\r\n\r\n") else {
                    self.progress = Progress::Head {
                        filled: received.len(),
                    };
                    return None;
                };
                let length = content_length(&received[..end]);
                (length, length - (received.len() - end - 4))
            }
            Progress::Body { length, left } => (length, left - read),
        };
        if left == 0 {
            self.progress = Progress::Head { filled: 0 };
            return Some(length);
        }
        self.progress = Progress::Body { length, left };
        None
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).expect("ASCII");
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.expect("a length").1.parse().expect("a number")
}
