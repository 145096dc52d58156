//! Callbacks for the events of a pool: [`Observer`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;
use crate::panics;
use crate::redact::Truncated;
use crate::request::RequestSpec;
use crate::retry::RetryContext;

/// Receives the events of a pool as they happen, for metrics, logs and progress bars. Passed to
/// [`PoolBuilder::observer`](crate::PoolBuilder::observer).
///
/// It is called on the workers' threads, and on that of a shutdown or a cancellation, by all of them concurrently, and
/// they wait for it: it should be quick. On [`Session::hyper`](crate::Session::hyper), all requests that the worker has in
/// flight wait for it. If it panics at the start of an attempt, the job fails with
/// [`ErrorKind::Panicked`](crate::ErrorKind::Panicked); if it panics later, the result of the attempt stands and the
/// panic is logged.
///
/// What happens to a durable queue is told on the thread that finds out: one of the queue's own, or one that calls it. No other
/// call that needs the queue waits for that.
///
/// A closure that takes an [`Event`] is an observer of all events. Its argument needs the type annotation:
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use threaded::{Event, Pool};
///
/// let failures = Arc::new(AtomicUsize::new(0));
/// let counter = Arc::clone(&failures);
/// # let stub = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::empty()));
/// # let builder = Pool::builder().session(move || Session::new(stub));
/// # let (responses, _) = builder
/// // let (responses, exceptions) = Pool::builder()
///     .observer(move |event: &Event<'_>| {
///         if let Event::Exception(exception) = event {
///             counter.fetch_add(1, Ordering::Relaxed);
///             eprintln!("job {}: {}", exception.index(), exception.error());
///         }
///     })
///     .map(["http://test/", "no URL"])?;
/// assert_eq!((responses.count(), failures.load(Ordering::Relaxed)), (1, 1));
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub trait Observer: Send + Sync {
    /// A worker starts an attempt.
    fn attempt_started(&self, attempt: &Attempt<'_>) {
        let _ = attempt;
    }

    /// More of the body of a response has arrived. Called at most every 100 ms for each job, and for none whose body takes less
    /// time than that.
    fn progress(&self, progress: &Progress<'_>) {
        let _ = progress;
    }

    /// An attempt is over, and its job will be retried after a delay.
    fn retry(&self, retry: &RetryEvent<'_>) {
        let _ = retry;
    }

    /// A job has ended in a response.
    fn response(&self, response: &ThreadResponse) {
        let _ = response;
    }

    /// A job has ended in an exception.
    fn exception(&self, exception: &ThreadException) {
        let _ = exception;
    }

    /// The server of the durable queue that the pool consumes is away: see [`Queue::is_connected`](crate::queue::Queue::is_connected).
    #[cfg(any(feature = "journal", feature = "redis"))]
    fn queue_down(&self, outage: &QueueDown<'_>) {
        let _ = outage;
    }

    /// The server of the durable queue that the pool consumes is back.
    #[cfg(any(feature = "journal", feature = "redis"))]
    fn queue_up(&self, queue: &QueueUp<'_>) {
        let _ = queue;
    }

    /// An outcome was acknowledged and not recorded, since its job was recorded before:
    /// [`Acked::Superseded`](crate::queue::Acked::Superseded).
    #[cfg(any(feature = "journal", feature = "redis"))]
    fn superseded(&self, superseded: &Superseded<'_>) {
        let _ = superseded;
    }
}

/// The argument of an [`Observer`] that is a closure.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event<'a> {
    /// A worker starts an attempt.
    AttemptStarted(&'a Attempt<'a>),
    /// More of the body of a response has arrived.
    Progress(&'a Progress<'a>),
    /// An attempt is over, and its job will be retried after a delay.
    Retry(&'a RetryEvent<'a>),
    /// A job has ended in a response.
    Response(&'a ThreadResponse),
    /// A job has ended in an exception.
    Exception(&'a ThreadException),
    /// The server of the durable queue is away.
    #[cfg(any(feature = "journal", feature = "redis"))]
    QueueDown(&'a QueueDown<'a>),
    /// The server of the durable queue is back.
    #[cfg(any(feature = "journal", feature = "redis"))]
    QueueUp(&'a QueueUp<'a>),
    /// An outcome was acknowledged and not recorded, since its job was recorded before.
    #[cfg(any(feature = "journal", feature = "redis"))]
    Superseded(&'a Superseded<'a>),
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn attempt_started(&self, attempt: &Attempt<'_>) {
        self(&Event::AttemptStarted(attempt));
    }

    fn progress(&self, progress: &Progress<'_>) {
        self(&Event::Progress(progress));
    }

    fn retry(&self, retry: &RetryEvent<'_>) {
        self(&Event::Retry(retry));
    }

    fn response(&self, response: &ThreadResponse) {
        self(&Event::Response(response));
    }

    fn exception(&self, exception: &ThreadException) {
        self(&Event::Exception(exception));
    }

    #[cfg(any(feature = "journal", feature = "redis"))]
    fn queue_down(&self, outage: &QueueDown<'_>) {
        self(&Event::QueueDown(outage));
    }

    #[cfg(any(feature = "journal", feature = "redis"))]
    fn queue_up(&self, queue: &QueueUp<'_>) {
        self(&Event::QueueUp(queue));
    }

    #[cfg(any(feature = "journal", feature = "redis"))]
    fn superseded(&self, superseded: &Superseded<'_>) {
        self(&Event::Superseded(superseded));
    }
}

/// Calls the observer, if there is one. What it is told about stands, even if it panics.
pub(crate) fn notify(observer: Option<&Arc<dyn Observer>>, call: impl FnOnce(&dyn Observer)) {
    let Some(observer) = observer else {
        return;
    };
    if let Err(message) = panics::caught(|| call(&**observer)) {
        log::error!("the observer panicked: {}", Truncated(message));
    }
}

/// A worker's attempt at a job, as it starts.
pub struct Attempt<'a> {
    pub(crate) request: &'a RequestSpec,
    pub(crate) index: usize,
    pub(crate) number: u32,
}

impl<'a> Attempt<'a> {
    /// Returns the request.
    pub fn request(&self) -> &'a RequestSpec {
        self.request
    }

    /// Returns the job's index in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Returns the number of the attempt at its job, starting at 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Debug for Attempt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            request,
            index,
            number,
        } = self;
        f.debug_struct("Attempt")
            .field("request", request)
            .field("index", index)
            .field("number", number)
            .finish()
    }
}

/// How much has arrived of the body of a response.
///
/// A progress bar shows [`received`](Self::received) of [`length`](Self::length). The last one may be of less than all of the body,
/// and nothing is told while digests are computed: that the body is complete is told by
/// [`Event::Response`](crate::Event::Response).
#[derive(Debug)]
pub struct Progress<'a> {
    pub(crate) attempt: &'a Attempt<'a>,
    pub(crate) received: u64,
    pub(crate) resumed_from: u64,
    pub(crate) length: Option<u64>,
}

impl<'a> Progress<'a> {
    /// Returns the attempt: its request, index and number.
    pub fn attempt(&self) -> &'a Attempt<'a> {
        self.attempt
    }

    /// Returns how much of the body is there, in bytes before decoding, including what was there before the attempt.
    pub fn received(&self) -> u64 {
        self.resumed_from + self.received
    }

    /// Returns how much was there before the attempt, in bytes: 0 unless it [resumes](RequestSpec::resume) a download.
    pub fn resumed_from(&self) -> u64 {
        self.resumed_from
    }

    /// Returns the length of the whole body in bytes, if the server has announced it.
    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

/// An attempt that is over, and the delay before the next one.
#[derive(Debug)]
pub struct RetryEvent<'a> {
    pub(crate) context: &'a RetryContext<'a>,
    pub(crate) delay: Duration,
}

impl<'a> RetryEvent<'a> {
    /// Returns the attempt that is over: its request, index and result.
    pub fn context(&self) -> &'a RetryContext<'a> {
        self.context
    }

    /// Returns the delay before the next attempt. Rate limits may make it longer.
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

/// The server of a durable queue is away.
#[cfg(any(feature = "journal", feature = "redis"))]
#[derive(Debug)]
pub struct QueueDown<'a> {
    pub(crate) queue: &'a str,
    pub(crate) reason: &'a str,
}

#[cfg(any(feature = "journal", feature = "redis"))]
impl<'a> QueueDown<'a> {
    /// Returns the name of the queue.
    pub fn queue(&self) -> &'a str {
        self.queue
    }

    /// Returns why its server could not be used.
    pub fn reason(&self) -> &'a str {
        self.reason
    }
}

/// The server of a durable queue is back.
#[cfg(any(feature = "journal", feature = "redis"))]
#[derive(Debug)]
pub struct QueueUp<'a> {
    pub(crate) queue: &'a str,
}

#[cfg(any(feature = "journal", feature = "redis"))]
impl<'a> QueueUp<'a> {
    /// Returns the name of the queue.
    pub fn queue(&self) -> &'a str {
        self.queue
    }
}

/// An outcome that is not the one that is recorded of its job.
#[cfg(any(feature = "journal", feature = "redis"))]
#[derive(Debug)]
pub struct Superseded<'a> {
    pub(crate) job_id: &'a str,
}

#[cfg(any(feature = "journal", feature = "redis"))]
impl<'a> Superseded<'a> {
    /// Returns the id of the job.
    pub fn job_id(&self) -> &'a str {
        self.job_id
    }
}
