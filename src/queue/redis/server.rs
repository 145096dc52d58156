//! The server of a queue: connections, what to do while it is away, and what its errors mean.

use std::time::{Duration, Instant};

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::availability::Availability;
use super::scripts::{GROUP, Keys};
use crate::queue::QueueError;
use crate::sync::{Mutex, WaitList};

/// How long a connection may take, and a reply.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Server {
    client: redis::Client,
    pub(super) keys: Keys,
    /// The name of the queue, and the address of the server: without its password.
    name: String,
    address: String,
    /// For how long a call waits for a server that is away; `None` for ever.
    max_outage: Option<Duration>,
    /// Connections that are not in use. A call takes one out, so that no lock is held while it waits for the reply.
    idle: Mutex<Vec<Connection>>,
    pub(super) availability: Availability,
    pub(super) waiting: WaitList,
}

/// What an error of the server means.
enum Meaning {
    /// It may be over in a moment.
    Outage,
    /// The group is gone.
    NoGroup,
    /// The queue is gone.
    Lost,
    Fatal,
}

/// What helps against an error.
#[derive(PartialEq)]
pub(super) enum Remedy {
    /// It may be over in a moment.
    Wait,
    /// The group was made again.
    Made,
}

fn meaning(error: &RedisError) -> Meaning {
    match error.code() {
        Some("NOGROUP") => return Meaning::NoGroup,
        Some("LOST") => return Meaning::Lost,
        // Of memory, and of the disk.
        Some("OOM" | "MISCONF" | "NOREPLICAS") => return Meaning::Outage,
        // A call that was blocked, when the server became a replica or was flushed: the next one says more.
        Some("UNBLOCKED" | "BUSY") => return Meaning::Outage,
        _ => {}
    }
    if (error.detail()).is_some_and(|detail| detail.contains("max number of clients")) {
        return Meaning::Outage;
    }
    let is_outage = match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly
        ),
        _ => false,
    };
    if is_outage || error.is_connection_dropped() || error.is_timeout() {
        Meaning::Outage
    } else {
        Meaning::Fatal
    }
}

impl Server {
    pub(super) fn new(client: redis::Client, name: &str, max_outage: Option<Duration>) -> Self {
        Self {
            address: client.get_connection_info().addr().to_string(),
            client,
            keys: Keys::new(name),
            name: name.to_owned(),
            max_outage,
            idle: Mutex::default(),
            availability: Availability::default(),
            waiting: WaitList::default(),
        }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A connection on which a reply may take as long as this, and as any other.
    pub(super) fn connect(&self, blocking: Duration) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE + blocking))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(connection)
    }

    /// Does something on a connection. Waits for a server that is away, as long as a call may.
    pub(super) fn call<T>(
        &self,
        operation: impl Fn(&mut Connection, &Keys) -> RedisResult<T>,
    ) -> Result<T, QueueError> {
        // A time that the clock cannot express is no limit.
        let until = (self.max_outage).and_then(|limit| Instant::now().checked_add(limit));
        let mut delay = Duration::from_millis(20);
        loop {
            let error = match self.call_once(&operation) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if self.check_outage(&error)? == Remedy::Made {
                continue;
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(self.error(&error));
            }
            log::warn!("the queue `{}` is not available: {error}", self.name);
            self.waiting.back_off(&mut delay, || false);
        }
    }

    /// The same, without waiting.
    pub(super) fn call_once<T>(
        &self,
        operation: impl Fn(&mut Connection, &Keys) -> RedisResult<T>,
    ) -> RedisResult<T> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => {
                let connected = self.connect(Duration::ZERO);
                connected.inspect_err(|error| self.note_error(error))?
            }
        };
        let result = operation(&mut connection, &self.keys);
        let is_usable = match &result {
            Ok(_) => true,
            Err(error) => !error.is_unrecoverable_error() && !error.is_io_error(),
        };
        self.note(&result);
        if is_usable {
            self.idle.lock().push(connection);
        }
        result
    }

    /// What the result of a call tells of the server.
    pub(super) fn note<T>(&self, result: &RedisResult<T>) {
        match result {
            Ok(_) => self.availability.is_back(&self.name),
            Err(error) => self.note_error(error),
        }
    }

    fn note_error(&self, error: &RedisError) {
        match meaning(error) {
            Meaning::Outage => {
                // They have likely gone too.
                self.idle.lock().clear();
                self.availability.is_away(&self.name, error);
            }
            Meaning::NoGroup | Meaning::Lost => self.availability.is_back(&self.name),
            Meaning::Fatal => {}
        }
    }

    /// What helps against an error; `Err` if nothing does.
    pub(super) fn check_outage(&self, error: &RedisError) -> Result<Remedy, QueueError> {
        match meaning(error) {
            Meaning::Outage => Ok(Remedy::Wait),
            Meaning::NoGroup => match self.call_once(make_group) {
                Ok(()) => Ok(Remedy::Made),
                Err(error) if matches!(meaning(&error), Meaning::Outage) => Ok(Remedy::Wait),
                Err(error) => Err(self.error(&error)),
            },
            Meaning::Lost | Meaning::Fatal => Err(self.error(error)),
        }
    }

    pub(super) fn error(&self, error: &RedisError) -> QueueError {
        match meaning(error) {
            Meaning::Lost => QueueError::Lost {
                queue: self.name.clone(),
                server: self.address.clone(),
            },
            _ => QueueError::Server {
                server: self.address.clone(),
                message: error.to_string(),
            },
        }
    }
}

/// Makes the consumer group, which reads the stream from its beginning. Fails if the queue is gone with it.
fn make_group(connection: &mut Connection, keys: &Keys) -> RedisResult<()> {
    let id: Option<String> = redis::cmd("HGET")
        .arg(&keys.meta)
        .arg("id")
        .query(connection)?;
    if id.as_deref() != Some(&*keys.id) {
        return Err(redis::make_extension_error(
            "LOST".to_owned(),
            Some("the queue is gone".to_owned()),
        ));
    }
    create_group(connection, keys)
}

pub(super) fn create_group(connection: &mut Connection, keys: &Keys) -> RedisResult<()> {
    let mut command = redis::cmd("XGROUP");
    let command = command.arg("CREATE").arg(&keys.jobs).arg(GROUP);
    match command.arg("0").arg("MKSTREAM").query::<()>(connection) {
        Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
        result => result,
    }
}
