//! A real `redis-server`, for one test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
