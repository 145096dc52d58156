//! Durable queues: runs that survive a crash, with the feature `journal`, and that any number of machines share, with the
//! feature `redis`.
//!
//! A [`Queue`] holds [`Job`]s outside the memory of a process, together with their recorded outcomes: in a file, or on a Redis
//! server. A run that is killed goes on where it was when it is started again:
//!
#![cfg_attr(feature = "journal", doc = "```")]
#![cfg_attr(not(feature = "journal"), doc = "```ignore")]
//! use threaded::queue::{Job, Journal};
//! use threaded::{Pool, RequestSpec};
//!
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("run.journal");
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let queue = Journal::open(&file)?;
//! // Each job has an id. One that was submitted before is known, so that a program simply submits all of them again.
//! let rows = 0..20;
//! queue.submit_all(rows.map(|row| Job::new(format!("row-{row}"), RequestSpec::get(format!("{site}/{row}")))))?;
//! queue.close()?;
//!
//! for delivery in Pool::builder().num_threads(4).deliveries(&queue)? {
//!     let delivery = delivery?;
//!     println!("{}: {:?}", delivery.job_id(), delivery.outcome().as_ref().map(|response| response.status()));
//!     // Once this returns, the job is done, whatever happens to the process.
//!     delivery.ack()?;
//! }
//! assert_eq!(queue.stats()?.recorded(), 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is promised
//!
//! - **Every accepted job is recorded exactly once.** A job leaves the queue when its outcome is recorded, never before. The
//!   first record of a job wins; any later one is [`Acked::Superseded`].
//! - **An idempotent request is sent at least once** ([`RequestSpec::is_idempotent`](crate::RequestSpec::is_idempotent)): if
//!   the process ends between sending and recording, it is sent again.
//! - **Any other request is sent at most once**: it is marked before its first byte goes. If it comes again with that mark, it
//!   is not sent again, but ends as [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted). (A [retry](crate::Retry) that
//!   the pool decides on knows how the attempt before has ended, and is sent.)
//! - **A job that kills its process does so three times at most**: then it is dead, recorded as interrupted, and the others go
//!   on. See [`Queue::dead`].
//!
//! How much a queue keeps through a power failure, and what happens while a server is away, is told by what opens it: `Journal`
//! and `RedisQueue`.

mod error;
#[cfg(feature = "journal")]
mod journal;
mod limits;
pub(crate) mod recorder;
#[cfg(feature = "redis")]
mod redis;
mod sealing;
mod store;

use std::fmt;
use std::sync::Arc;

pub use self::error::QueueError;
#[cfg(feature = "journal")]
pub use self::journal::{Fsync, Journal};
#[cfg(feature = "redis")]
pub use self::redis::RedisQueue;
#[cfg(feature = "default-tls")]
pub use self::sealing::SealingKey;
use self::store::{Batch, RecordedOutcomes, outcome_of_dead, reason_of};
pub(crate) use self::store::{Delay, Entry, Lease, Made, Store, Taken, TakenJob};
use crate::redact::DebugTruncated;
use crate::request::RequestSpec;

/// A durable queue of jobs, with their recorded outcomes. Opened by `Journal` and `RedisQueue`. A clone is another handle to the same
/// queue; any number of threads can use it at the same time.
#[derive(Clone)]
pub struct Queue(pub(crate) Arc<dyn Store>);

impl Queue {
    /// Adds a job, unless its id is [known](Submitted::Known): then nothing is changed, not even if the request is another
    /// one.
    ///
    /// When this returns, the job survives the process. A queue that was [closed](Self::close) is open again if the job is
    /// accepted.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be written, and [`QueueError::Job`] if the request is no data: see the `Serialize`
    /// of [`RequestSpec`].
    pub fn submit(&self, job: Job) -> Result<Submitted, QueueError> {
        let accepted = self.0.submit(&mut std::iter::once(job))?;
        Ok(match accepted {
            0 => Submitted::Known,
            _ => Submitted::Accepted,
        })
    }

    /// Adds many jobs, as [`submit`](Self::submit) does: faster, and in constant memory. Returns how many were accepted; the
    /// others were known.
    ///
    /// If the process ends meanwhile, a part of the jobs was accepted. Submitting them all again adds the others.
    ///
    /// # Errors
    ///
    /// Returns an error as `submit` does, at the first job that cannot be submitted. Jobs before it are accepted.
    pub fn submit_all<I>(&self, jobs: I) -> Result<usize, QueueError>
    where
        I: IntoIterator<Item = Job>,
    {
        self.0.submit(&mut jobs.into_iter())
    }

    /// Tells that there will be no more jobs: [`Deliveries`](crate::Deliveries) end when all jobs are recorded or dead. Without
    /// that, they wait for more. A job that is accepted later opens the queue again.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be written.
    pub fn close(&self) -> Result<(), QueueError> {
        self.0.close()
    }

    /// Whether the server could be used by the last call that this process has made to it. While it cannot, jobs that were taken go
    /// on, and calls wait. Observers of the pools that consume the queue are [told](crate::Observer::queue_down). A journal is always
    /// connected.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    /// The outcomes that are recorded now: one for each job that is recorded, in that order, or [dead](Self::dead).
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be read, and so does the iterator.
    pub fn outcomes(
        &self,
    ) -> Result<impl Iterator<Item = Result<Recorded, QueueError>> + use<>, QueueError> {
        self.0.outcomes()
    }

    /// The dead: jobs that were delivered too often without an outcome, jobs whose data is not understood, and what is damaged.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be read.
    pub fn dead(&self) -> Result<Vec<DeadJob>, QueueError> {
        self.0.dead()
    }

    /// Gives a dead job another chance: it is delivered as if it had just been submitted, and its outcome is void. Returns
    /// whether there is a dead job with this id.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be written.
    pub fn requeue(&self, job_id: &str) -> Result<bool, QueueError> {
        self.0.requeue(job_id)
    }

    /// Takes a job from the list of the dead. Its outcome stays recorded. Returns whether there is a dead job with this id.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be written.
    pub fn discard(&self, job_id: &str) -> Result<bool, QueueError> {
        self.0.discard(job_id)
    }

    /// How many jobs are in which state.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue cannot be read.
    pub fn stats(&self) -> Result<QueueStats, QueueError> {
        self.0.stats()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.0).finish()
    }
}

/// A request with an id, which tells the jobs of a queue apart. Equal ids are the same job.
#[derive(Clone, Debug)]
pub struct Job {
    id: String,
    request: RequestSpec,
}

impl Job {
    /// Makes a job. The id is any string, such as the key of a database row, or the URL itself.
    pub fn new(id: impl Into<String>, request: impl Into<RequestSpec>) -> Self {
        Self {
            id: id.into(),
            request: request.into(),
        }
    }

    /// Returns the id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the request.
    pub fn request(&self) -> &RequestSpec {
        &self.request
    }
}

/// Whether a job was added to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Submitted {
    /// It is in the queue now.
    Accepted,
    /// A job with this id was submitted before. It may be done.
    Known,
}

/// Whether an outcome was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acked {
    /// It is the outcome of the job.
    Recorded,
    /// There is a record of this job already, which stays; this outcome is not recorded. (On a Redis server, that record may be
    /// this very outcome, if the connection broke before the server's reply.) The [observer](crate::Observer::superseded) of the pool is
    /// told too.
    Superseded,
}

/// The recorded outcome of a job. Returned by [`Queue::outcomes`].
#[derive(Clone, Debug)]
pub struct Recorded {
    pub(crate) job_id: String,
    pub(crate) outcome: serde_json::Value,
}

impl Recorded {
    /// Returns the id of the job.
    pub fn job_id(&self) -> &str {
        &self.job_id
    }

    /// Returns the outcome, as data: see the `Serialize` of [`ThreadResponse`](crate::ThreadResponse) and
    /// [`ThreadException`](crate::ThreadException).
    ///
    /// ```
    /// # let outcome = serde_json::json!({"response": {"status": 200}});
    /// let status = outcome["response"]["status"].as_u64();
    /// let failure = outcome["error"]["message"].as_str();
    /// # assert_eq!((status, failure), (Some(200), None));
    /// ```
    pub fn outcome(&self) -> &serde_json::Value {
        &self.outcome
    }
}

/// A job that is not delivered any more, or a part of the queue that is no job. Returned by [`Queue::dead`].
#[derive(Clone)]
pub struct DeadJob {
    pub(crate) job_id: Option<String>,
    pub(crate) reason: String,
}

impl DeadJob {
    /// Returns the id of the job; `None` for damage, of which the [reason](Self::reason) tells the place.
    pub fn job_id(&self) -> Option<&str> {
        self.job_id.as_deref()
    }

    /// Returns why it is dead.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Debug for DeadJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadJob")
            .field("job_id", &self.job_id)
            .field("reason", &DebugTruncated(&self.reason))
            .finish()
    }
}

/// How many jobs of a queue are in which state. Returned by [`Queue::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    pub(crate) waiting: usize,
    pub(crate) delayed: usize,
    pub(crate) leased: usize,
    pub(crate) dead: usize,
    pub(crate) recorded: usize,
    pub(crate) damaged: usize,
    pub(crate) is_closed: bool,
}

impl QueueStats {
    /// Returns the number of jobs that can be delivered now.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Returns the number of jobs that wait for a time: that of a retry.
    pub fn delayed(&self) -> usize {
        self.delayed
    }

    /// Returns the number of jobs that a pool has taken and that are not recorded yet.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// Returns the number of [dead](Queue::dead) jobs.
    pub fn dead(&self) -> usize {
        self.dead
    }

    /// Returns the number of jobs with a recorded outcome, without the dead.
    pub fn recorded(&self) -> usize {
        self.recorded
    }

    /// Returns the number of damaged records, which [`Queue::dead`] tells of.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Whether the queue was [closed](Queue::close).
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }
}
