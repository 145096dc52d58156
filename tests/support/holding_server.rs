//! A server that holds its responses back, of any number of connections, on one thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// Responds with `ok` to requests without content, once it has been told to.
pub(crate) struct HoldingServer {
    address: SocketAddr,
    held: Arc<Held>,
    thread: Option<JoinHandle<()>>,
}

struct Held {
    /// Connections that are open, and requests that have come.
    open: AtomicUsize,
    requests: AtomicUsize,
    /// The number of requests that releases the responses.
    enough: usize,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Holding,
    Released,
    Stopped,
}

impl HoldingServer {
    /// Holds them until it is dropped.
    pub(crate) fn start() -> Self {
        Self::releasing_at(usize::MAX)
    }

    /// Holds them until this many requests have come.
    pub(crate) fn releasing_at(requests: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = {
            let _context = runtime.enter();
            socket.listen(4096).unwrap()
        };
        let held = Arc::new(Held {
            open: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            enough: requests,
            stage: watch::Sender::new(Stage::Holding),
        });
        let thread = thread::spawn({
            let held = Arc::clone(&held);
            move || {
                runtime.block_on(accept(listener, held));
                runtime.shutdown_background();
            }
        });
        Self {
            address,
            held,
            thread: Some(thread),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.held.open.load(Ordering::SeqCst)
    }

    /// Requests that have come.
    pub(crate) fn requests(&self) -> usize {
        self.held.requests.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, held: Arc<Held>) {
    let mut stage = held.stage.subscribe();
    let stopped = stage.wait_for(|stage| *stage == Stage::Stopped);
    let accepting = async {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            held.open.fetch_add(1, Ordering::SeqCst);
            let held = Arc::clone(&held);
            tokio::spawn(async move {
                let _ = serve(stream, &held).await;
                held.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    };
    tokio::select! {
        _ = stopped => {}
        () = accepting => {}
    }
}

/// Serves a connection until its client has gone, also while its responses are held.
async fn serve(mut stream: TcpStream, held: &Held) -> std::io::Result<()> {
    let mut stage = held.stage.subscribe();
    let mut head = Vec::new();
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        head.clear();
        if held.requests.fetch_add(1, Ordering::SeqCst) + 1 == held.enough {
            held.stage.send_replace(Stage::Released);
        }
        tokio::select! {
            _ = stage.wait_for(|stage| *stage != Stage::Holding) => {}
            // Nothing comes before the response.
            _ = stream.read_u8() => return Ok(()),
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .await?;
    }
}

impl Drop for HoldingServer {
    fn drop(&mut self) {
        self.held.stage.send_replace(Stage::Stopped);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
