//! A real `redis-server`, for one test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::process::eventually;

/// It listens on a Unix socket in a temporary folder, where its append-only file is too, and is killed when it is dropped.
pub(crate) struct RedisServer {
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&["--appendonly", "yes"])
    }

    /// With these arguments, beside those that keep it in its folder.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: arguments
                .iter()
                .map(|argument| (*argument).to_owned())
                .collect(),
            child: None,
        };
        server.run();
        server
    }

    /// Starts it again, if it was killed.
    pub(crate) fn run(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes"])
            // By default, a write is held back while a sync is going on, and its reply is not: then a killed server forgets it.
            .args(["--appendfsync", "no"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need `redis-server`, of the package of that name");
        self.child = Some(child);
        eventually("the server responds", || {
            UnixStream::connect(self.socket()).is_ok() && {
                let reply = self.command("PING");
                reply.contains("PONG") || reply.contains("NOAUTH")
            }
        });
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("redis.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Sends an inline command. Returns the beginning of the reply.
    pub(crate) fn command(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut reply = vec![0; 1 << 16];
        let len = stream.read(&mut reply).unwrap();
        String::from_utf8_lossy(&reply[..len]).into_owned()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the network between a client and a server does.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Network {
    Whole,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Nothing arrives, until it is whole again.
    Silent,
    /// Commands arrive, and instead of their replies, the connection ends.
    LosesReplies,
    OneByteAtATime,
}

/// A relay on a TCP port in front of the server's socket.
pub(crate) struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<(Network, Vec<TcpStream>)>>,
}

impl Relay {
    pub(crate) fn start(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new((Network::Whole, Vec::new()))),
        };
        let (state, socket) = (Arc::clone(&relay.state), server.socket());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // While the server is away, so is what is behind the relay.
                let Ok(far) = UnixStream::connect(&socket) else {
                    continue;
                };
                if state.lock().unwrap().0 == Network::Cut {
                    continue;
                }
                let _ = near.set_nodelay(true);
                state.lock().unwrap().1.push(near.try_clone().unwrap());
                let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (states, states_too) = (Arc::clone(&state), Arc::clone(&state));
                thread::spawn(move || pass_on(near, far, &states, false));
                thread::spawn(move || pass_on(far_too, near_too, &states_too, true));
            }
        });
        relay
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    pub(crate) fn set(&self, network: Network) {
        let mut state = self.state.lock().unwrap();
        state.0 = network;
        if network == Network::Cut {
            for stream in state.1.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// A connection, of either kind.
trait Ending: Read + Write {
    fn end(&self);
}

impl Ending for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Ending for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

fn pass_on(
    mut from: impl Ending,
    mut to: impl Ending,
    state: &Mutex<(Network, Vec<TcpStream>)>,
    are_replies: bool,
) {
    let network = || state.lock().unwrap().0;
    let mut buffer = [0; 1 << 16];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        while network() == Network::Silent {
            thread::sleep(Duration::from_millis(5));
        }
        let step = match network() {
            Network::Cut => break,
            Network::LosesReplies if are_replies => break,
            Network::OneByteAtATime => 1,
            _ => len,
        };
        if buffer[..len]
            .chunks(step)
            .any(|bytes| to.write_all(bytes).is_err())
        {
            break;
        }
    }
    from.end();
    to.end();
}
