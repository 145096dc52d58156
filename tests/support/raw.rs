//! A server of raw bytes, to misbehave with: the test scripts each connection.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test or benchmark that it cannot serve fails"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Hands each connection, with its number from 0, to a thread of its own that runs the script.
pub(crate) struct RawServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl RawServer {
    pub(crate) fn start<F>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) + Send + Sync + 'static,
    {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub(crate) fn start_on<F>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(TcpStream, usize) + Send + Sync + 'static,
    {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let is_stopping = Arc::new(AtomicBool::new(false));
        let script = Arc::new(script);
        let thread = thread::spawn({
            let (connections, is_stopping) = (Arc::clone(&connections), Arc::clone(&is_stopping));
            move || {
                for stream in listener.incoming() {
                    if is_stopping.load(Ordering::SeqCst) {
                        break;
                    }
                    let Ok(stream) = stream else { continue };
                    let _ = stream.set_nodelay(true);
                    let number = connections.fetch_add(1, Ordering::SeqCst);
                    let script = Arc::clone(&script);
                    thread::spawn(move || script(stream, number));
                }
            }
        });
        Self {
            address,
            connections,
            is_stopping,
            thread: Some(thread),
        }
    }

    /// Reads one request of each connection, responds with these bytes, then closes it.
    pub(crate) fn responding(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::start(respond_with(bytes))
    }

    /// The same, at the port of this address, on another address of the loopback interface.
    pub(crate) fn responding_beside(
        address: SocketAddr,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Self {
        let other = SocketAddr::from(([127, 0, 0, 2], address.port()));
        let listener = TcpListener::bind(other).expect("all of 127.0.0.0/8 is this machine");
        Self::start_on(listener, respond_with(bytes))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn respond_with(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> impl Fn(TcpStream, usize) {
    move |mut stream, _| {
        read_request(&mut stream);
        let _ = stream.write_all(bytes.as_ref());
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        // Wakes the thread, which blocks in `accept`.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads one request, head and `Content-Length` body, and returns its head. Empty if the peer has closed the connection.
pub(crate) fn read_request(stream: &mut impl Read) -> String {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return head,
            Ok(_) => {}
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        let is_end = line == "\r\n";
        head.push_str(&line);
        if is_end {
            break;
        }
    }
    let mut body = vec![0; length];
    let _ = reader.read_exact(&mut body);
    head
}

/// Closes a connection with a reset (RST) instead of an orderly end (FIN).
pub(crate) fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// An address on which no socket listens, as long as this process lives: one that is bound to it keeps others away.
pub(crate) fn refused_address() -> SocketAddr {
    use socket2::{Domain, Socket, Type};

    static BOUND: OnceLock<Socket> = OnceLock::new();
    let bound = BOUND.get_or_init(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket
    });
    bound.local_addr().unwrap().as_socket().unwrap()
}

/// An address that does not respond to a SYN: its accept queue is full, for as long as this lives.
pub(crate) struct DeafListener {
    address: SocketAddr,
    _kept: (socket2::Socket, Vec<TcpStream>),
}

impl DeafListener {
    pub(crate) fn start() -> Self {
        use socket2::{Domain, Socket, Type};

        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut fillers = Vec::new();
        while let Ok(filler) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            fillers.push(filler);
            assert!(fillers.len() < 100, "the queue does not fill up");
        }
        Self {
            address,
            _kept: (socket, fillers),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Passes everything on between two connections, as a proxy does, until one of them ends.
pub(crate) fn relay(mut near: TcpStream, mut far: TcpStream) {
    let (mut from_far, mut to_near) = (far.try_clone().unwrap(), near.try_clone().unwrap());
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut from_far, &mut to_near);
        let _ = to_near.shutdown(Shutdown::Both);
    });
    let _ = std::io::copy(&mut near, &mut far);
    let _ = far.shutdown(Shutdown::Both);
    back.join().unwrap();
}
