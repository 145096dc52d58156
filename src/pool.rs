//! The pool: [`Pool`], its builder, workers, queue and results.

mod builder;
mod core;
#[cfg(any(feature = "journal", feature = "redis"))]
mod deliveries;
mod error;
mod handle;
mod imap;
mod job;
mod job_handle;
mod policy;
mod queue;
mod results;
mod round;
#[cfg(feature = "redis")]
mod shared_limits;
mod shutdown;
mod threads;
mod user_channel;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use builder::PoolBuilder;
#[cfg(any(feature = "journal", feature = "redis"))]
pub use deliveries::{Deliveries, Delivery};
pub use error::{FetchError, PoolError, SubmitError};
pub use handle::Handle;
pub use imap::{Imap, ImapUnordered};
pub use job_handle::JobHandle;
pub use results::{Exceptions, Incoming, Outcomes, Responses};

use self::results::ResultReceiver;
use self::threads::Threads;
use crate::observe::Stats;
use crate::outcome::{Outcome, ThreadException, ThreadResponse};
use crate::request::RequestSpec;
use crate::sync::channel::{Receiver, RecvTimeoutError};

/// Workers, each with its own thread and HTTP client, that turn requests into outcomes.
///
/// Every job ends in exactly one outcome, a [`ThreadResponse`] or a [`ThreadException`]. Each kind has its own channel, which
/// holds them in completion order.
///
/// # Life cycle
///
/// A pool works from the moment it is built, and all of it through `&self`: an `Arc<Pool>` serves a whole program. The
/// outcome of a job goes where it is wanted:
///
/// - of a job that is [submitted](Self::submit), to the pool: [`recv`](Self::recv), [`responses`](Self::responses),
///   iterators;
/// - of a job that is [spawned](Self::spawn), to its [`JobHandle`];
/// - of a round, such as [`map`](Self::map), to the caller of that round.
///
/// It accepts jobs until its work ends:
///
/// - [`join_all`](Self::join_all) returns when every job has its outcome, those included that jobs have led to
///   meanwhile. The outcomes stay in the pool, to be read afterwards.
/// - Iterating over the pool by value yields each outcome as it arrives, and ends with the last one, those included of
///   jobs that the loop submits through a [`Handle`].
/// - [`close`](Self::close) accepts nothing more from now on, [`shutdown`](Self::shutdown) also returns what was not
///   sent, and [`Handle::cancel`] ends everything at once.
/// - Dropping the pool (or its iterator) discards queued jobs, cancels those in flight, as [`Handle::cancel`] does, and
///   returns at once.
///
/// [`responses`](Self::responses), [`get_response`](Self::get_response) and their like never block and can be called at any
/// time.
///
/// ```
/// use threaded::Pool;
///
/// let site = "https://example.com";
/// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// let pool = Pool::from_urls([format!("{site}/1"), format!("{site}/2")])?;
/// pool.submit(format!("{site}/3"))?;
/// let mut done = 0;
/// for outcome in pool {
///     match outcome {
///         Ok(response) => println!("{} {}", response.status(), response.request().url()),
///         Err(exception) => eprintln!("{exception}"),
///     }
///     done += 1;
/// }
/// assert_eq!(done, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// With a job channel of your own ([`Pool::new`]), closing the intake has two meanings. Iterating continues until all senders
/// of the channel are dropped, as iterating over the channel itself would: drop yours first. [`join_all`](Self::join_all)
/// does not wait for them: it processes what is in the channel at that moment.
pub struct Pool {
    guard: PoolGuard,
    /// How many jobs a lazy round holds.
    window: usize,
}

impl Pool {
    /// A builder with the default settings.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// Starts a pool that takes its jobs from your own channel.
    ///
    /// ```no_run
    /// use threaded::{Pool, RequestSpec};
    ///
    /// let (jobs, receiver) = threaded::crossbeam_channel::bounded::<RequestSpec>(100);
    /// std::thread::spawn(move || {
    ///     for page in 1..=1000 {
    ///         // Blocks while the channel holds 100 jobs; fails once the pool is dropped.
    ///         if jobs.send(format!("https://example.com/?page={page}").into()).is_err() {
    ///             break;
    ///         }
    ///     }
    /// });
    /// for outcome in Pool::new(receiver)? {
    ///     println!("{:?}", outcome.map(|response| response.status()));
    /// }
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the first worker cannot be started: there is no thread for it, or its session cannot be opened.
    pub fn new(jobs: Receiver<RequestSpec>) -> Result<Self, PoolError> {
        Self::builder().job_queue(jobs).build()
    }

    /// Starts a pool that sends a GET request to each of these URLs.
    ///
    /// # Errors
    ///
    /// Returns an error if the first worker cannot be started. An invalid URL is not an error here: that job ends in an
    /// exception.
    pub fn from_urls<I>(urls: I) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::builder().build_from_urls(urls)
    }

    /// Starts a pool that sends the template, with its method, headers, body and all its settings, to each of these URLs. The
    /// URL of the template is not used.
    ///
    /// ```no_run
    /// use threaded::{Pool, RequestSpec};
    ///
    /// let template = RequestSpec::head("").header("Accept", "text/html");
    /// let pool = Pool::from_urls_with(["https://example.com/a", "https://example.com/b"], &template)?;
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the first worker cannot be started.
    pub fn from_urls_with<I>(urls: I, template: &RequestSpec) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::builder().build_from_urls_with(urls, template)
    }

    /// Starts a pool that sends these requests.
    ///
    /// # Errors
    ///
    /// Returns an error if the first worker cannot be started.
    pub fn from_requests<I>(requests: I) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        Self::builder().build_from_requests(requests)
    }

    /// Starts a pool that sends the requests of these exceptions again.
    ///
    /// Not every request should be sent again: [`Error::is_retryable`](crate::Error::is_retryable) tells whether a retry may
    /// help, [`Error::was_sent`](crate::Error::was_sent) and [`RequestSpec::is_idempotent`] whether it is safe.
    ///
    /// ```no_run
    /// use threaded::Pool;
    ///
    /// let pool = Pool::from_urls(["https://example.com/"])?;
    /// pool.join_all();
    /// let retryable = pool.exceptions().filter(|exception| exception.is_retryable());
    /// let second = Pool::from_exceptions(retryable)?;
    /// second.join_all();
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the first worker cannot be started.
    pub fn from_exceptions<I>(exceptions: I) -> Result<Self, PoolError>
    where
        I: IntoIterator<Item = ThreadException>,
    {
        Self::builder().build_from_exceptions(exceptions)
    }

    fn core(&self) -> &self::core::Core {
        &self.guard.threads.core
    }

    /// Submits a job. Returns its index: 0, 1, 2 … in the order in which jobs are accepted.
    ///
    /// While another thread [joins](Self::join_all) the pool, jobs are accepted as long as work is outstanding.
    ///
    /// # Errors
    ///
    /// Returns an error, which gives the request back, if the pool was [closed](Self::close), shut down or cancelled, if it was
    /// joined and its work is over, or if no worker can be started.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        self.guard.threads.submit(request.into(), None)
    }

    /// Submits a job whose outcome comes back through its own handle, and not through the pool's channels: for a program in
    /// which many threads or tasks each want the response to their own request.
    ///
    /// The handle costs less than 200 bytes beyond the job. A handle that is waited for while nothing reads the other outcomes
    /// of the pool is held back by [`max_unread`](PoolBuilder::max_unread), as every job is.
    ///
    /// # Errors
    ///
    /// Returns an error, which gives the request back, as [`submit`](Self::submit) does.
    pub fn spawn(&self, request: impl Into<RequestSpec>) -> Result<JobHandle, SubmitError> {
        self.guard.threads.spawn_job(request.into())
    }

    /// A handle to reach the pool from other threads, or while iterating over it.
    pub fn handle(&self) -> Handle {
        Handle::new(&self.guard.threads, None)
    }

    /// Blocks until there is an outcome, and returns it: of the pool's own jobs, in completion order, either kind. `None` when
    /// the work is over, which requires that the intake was closed: see [`close`](Self::close). **Without that, it waits for the
    /// next job, and so does a loop over `&pool`.**
    ///
    /// Several threads can receive at the same time: each outcome goes to one of them.
    ///
    /// ```
    /// use threaded::Pool;
    ///
    /// let site = "https://example.com";
    /// # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// let pool = Pool::builder().num_threads(4).build()?;
    /// for page in 0..10 {
    ///     pool.submit(format!("{site}/{page}"))?;
    /// }
    /// pool.close();
    /// let mut done = 0;
    /// while let Some(outcome) = pool.recv() {
    ///     println!("{:?}", outcome.map(|response| response.status()));
    ///     done += 1;
    /// }
    /// assert_eq!(done, 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv(&self) -> Option<Outcome> {
        self.guard.results.recv(None).ok()
    }

    /// Like [`recv`](Self::recv), but blocks at most for this time.
    ///
    /// # Errors
    ///
    /// Returns [`RecvTimeoutError::Timeout`] if there is no outcome in this time, and [`RecvTimeoutError::Disconnected`] if
    /// there will be none, since the work is over.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Outcome, RecvTimeoutError> {
        // A time that the clock cannot express never comes.
        self.guard.results.recv(Instant::now().checked_add(timeout))
    }

    /// Blocks until no job is queued, delayed or in flight. The intake stays open.
    ///
    /// Meanwhile, [`max_unread`](PoolBuilder::max_unread) holds no worker back. Must not be called on a worker's thread.
    pub fn wait_idle(&self) {
        self.core().wait_idle();
    }

    /// Returns the next available response, without blocking.
    pub fn get_response(&self) -> Option<ThreadResponse> {
        self.responses().next()
    }

    /// Returns the next available exception, without blocking.
    pub fn get_exception(&self) -> Option<ThreadException> {
        self.exceptions().next()
    }

    /// An iterator that takes the available responses out of the pool, without blocking. It ends when none is available
    /// at that moment.
    pub fn responses(&self) -> Responses {
        self.guard.results.responses()
    }

    /// An iterator that takes the available exceptions out of the pool, without blocking. It ends when none is
    /// available at that moment.
    pub fn exceptions(&self) -> Exceptions {
        self.guard.results.exceptions()
    }

    /// Closes the intake without waiting: no more jobs are accepted, and the work is over when all accepted jobs are done. A
    /// job channel of your own is not closed; dropping its senders closes it.
    pub fn close(&self) {
        self.core().close();
    }

    /// The channel of the responses, for a `select!` of your own.
    ///
    /// It is disconnected when the work is over, which requires that the intake was closed: see [`close`](Self::close).
    /// [`recv`](Self::recv) and iterators take outcomes out of both channels, and may hold back the first of one kind until
    /// the first of the other kind was read: use either them or the channels. From the first call on,
    /// [`max_unread`](PoolBuilder::max_unread) has no effect, since what is read from the channel wakes no worker.
    pub fn response_channel(&self) -> &Receiver<ThreadResponse> {
        self.guard.results.channels().0
    }

    /// The channel of the exceptions, for a `select!` of your own, like [`response_channel`](Self::response_channel).
    pub fn exception_channel(&self) -> &Receiver<ThreadException> {
        self.guard.results.channels().1
    }

    /// Closes the intake and blocks until every job has its outcome, those that are submitted meanwhile included.
    ///
    /// With a job channel of your own, the jobs that are in it now are processed. It does not wait for live senders; later
    /// sends fail with a disconnect error. The threads of the workers may end a little later than this call. Must not be called
    /// on a worker's thread.
    pub fn join_all(&self) {
        self.core().drain_present();
        self.guard.results.wait_until_over();
    }

    /// Starts no more jobs, waits for the jobs in flight, and returns the requests that were not sent: first the accepted
    /// ones, in the order of their acceptance, then what is left in your own job channel.
    ///
    /// The outcomes of the others stay in the pool, to be read. A job that waits for a retry ends with the result of its
    /// last attempt, which may be a 503. A job with a [`JobHandle`] or of a [`map`](Self::map) round that was not sent fails
    /// with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), so that whatever waits for it gets its request back. To
    /// stop without waiting for the jobs in flight, see [`Handle::cancel`]. Must not be called on a worker's thread.
    ///
    /// ```
    /// use threaded::Pool;
    ///
    /// let url = "https://example.com/";
    /// # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// # let url = url.as_str();
    /// let pool = Pool::from_urls([url; 100])?;
    /// let unsent = pool.shutdown();
    /// assert_eq!(unsent.len() + pool.responses().count() + pool.exceptions().count(), 100);
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    pub fn shutdown(&self) -> Vec<RequestSpec> {
        self.core().shut_down()
    }

    /// A snapshot of what the pool has done so far. In a loop over the pool itself, which moves it, take a
    /// [`handle`](Self::handle) before and ask that.
    pub fn stats(&self) -> Stats {
        self.core().counters.snapshot()
    }

    /// The number of workers, including those that are still starting.
    ///
    /// Workers start gradually, about as many at a time as are up already. A pool that was built from fewer jobs than
    /// the builder's `num_threads` gets more workers when jobs are submitted to it.
    pub fn num_threads(&self) -> usize {
        self.guard.threads.count()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("num_threads", &self.num_threads())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a pool and its iterator own. Dropping it cancels what is queued.
struct PoolGuard {
    threads: Arc<Threads>,
    results: ResultReceiver,
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        self.threads.core.abandon();
    }
}
