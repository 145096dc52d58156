//! Why a durable queue cannot be used: [`QueueError`].

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::redact::Truncated;

/// Why a durable queue cannot be opened, read or written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QueueError {
    /// The job is no data, so that it cannot be stored: see the `Serialize` of [`RequestSpec`](crate::RequestSpec).
    Job {
        /// The id of the job.
        id: String,
        /// What cannot be stored, and what to use instead.
        message: String,
    },
    /// Another process, or another handle in this one, has opened the journal. One at a time can. A handle lives as long as its
    /// clones, and as workers are busy with jobs of it.
    InUse(PathBuf),
    /// The file is no journal, or one of a newer version of this crate.
    Format {
        /// The path of the file.
        path: PathBuf,
        /// What was found instead.
        message: String,
    },
    /// The server cannot be reached, or refuses a command.
    Server {
        /// The address of the server.
        server: String,
        /// What it says, or what keeps it from being reached.
        message: String,
    },
    /// The server may lose the jobs that it is given.
    NotDurable {
        /// The address of the server.
        server: String,
        /// Why, and which setting is missing.
        message: String,
    },
    /// The server has lost the queue: it was flushed, or has come back without its data.
    Lost {
        /// The name of the queue.
        queue: String,
        /// The address of the server.
        server: String,
    },
    /// The file cannot be opened, read, written or synced.
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job { id, message } => write!(
                f,
                "the job `{}` cannot be stored: {}",
                Truncated(id),
                Truncated(message)
            ),
            Self::InUse(path) => write!(
                f,
                "the journal `{}` is in use; one process at a time can open it",
                Truncated(path.display())
            ),
            Self::Format { path, message } => {
                write!(f, "`{}` {}", Truncated(path.display()), Truncated(message))
            }
            Self::Server { server, message } => {
                write!(f, "the queue's server {server}: {}", Truncated(message))
            }
            Self::NotDurable { server, message } => write!(
                f,
                "the server {server} may lose jobs: {message}; or allow it, with `allow_volatile`"
            ),
            Self::Lost { queue, server } => write!(
                f,
                "the queue `{}` is not on the server {server} any more: it was flushed, or came back without its data",
                Truncated(queue)
            ),
            Self::File { path, source } => {
                write!(f, "the journal `{}`: {source}", Truncated(path.display()))
            }
        }
    }
}

impl StdError for QueueError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::File { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
