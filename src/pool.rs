//! The pool: [`Pool`], its builder, workers, queue and results.

mod builder;
mod core;
mod error;
mod handle;
mod imap;
mod job;
mod policy;
mod queue;
mod results;
mod shutdown;
mod threads;
mod user_channel;
mod worker;

use std::fmt;
use std::sync::Arc;

pub use builder::PoolBuilder;
pub use error::{PoolError, SubmitError};
pub use handle::Handle;
pub use imap::{Imap, ImapUnordered};
pub use results::{Exceptions, Outcomes, Responses};

use self::results::ResultReceiver;
use self::threads::Threads;
use crate::observe::Stats;
use crate::outcome::{ThreadException, ThreadResponse};
use crate::request::RequestSpec;
use crate::sync::channel::Receiver;

/// Workers, each with its own thread and HTTP client, that turn requests into outcomes.
///
/// Every job ends in exactly one outcome, a [`ThreadResponse`] or a [`ThreadException`]. Each kind has its own channel, which
/// holds them in completion order.
///
/// # Life cycle
///
/// A pool works from the moment it is built, and accepts jobs until its intake is closed. That happens in one of three ways:
///
/// - [`join_all`](Self::join_all) closes the intake and returns when every job has its outcome. The outcomes stay in the
///   pool, to be read afterwards.
/// - Iterating over the pool closes the intake, yields each outcome as it arrives, and ends with the last one.
/// - Dropping the pool (or its iterator) cancels queued jobs and returns at once. Jobs in flight end on their own, and their
///   outcomes are discarded.
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
    /// let mut pool = Pool::from_urls(["https://example.com/"])?;
    /// pool.join_all();
    /// let retryable = pool.exceptions().filter(|exception| exception.is_retryable());
    /// let mut second = Pool::from_exceptions(retryable)?;
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
    /// # Errors
    ///
    /// Returns an error, which gives the request back, if the intake is closed ([`join_all`](Self::join_all),
    /// [`close`](Self::close)), if the pool was shut down or cancelled, or if no worker can be started.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        if self.core().is_intake_closed() {
            return Err(SubmitError::new(request.into()));
        }
        self.guard.threads.submit(request.into())
    }

    /// A handle to reach the pool from other threads, or while iterating over it.
    pub fn handle(&self) -> Handle {
        Handle::new(&self.guard.threads)
    }

    /// Returns the next available response, without blocking.
    pub fn get_response(&self) -> Option<ThreadResponse> {
        self.responses().next()
    }

    /// Returns the next available exception, without blocking.
    pub fn get_exception(&self) -> Option<ThreadException> {
        self.exceptions().next()
    }

    /// Drains the responses that are available now, without blocking. Responses that arrive later stay in the pool.
    pub fn responses(&self) -> Responses {
        self.guard.results.responses()
    }

    /// Drains the exceptions that are available now, without blocking. Exceptions that arrive later stay in the pool.
    pub fn exceptions(&self) -> Exceptions {
        self.guard.results.exceptions()
    }

    /// Closes the intake without waiting: [`submit`](Self::submit) fails from now on, and the work is over when all accepted
    /// jobs are done. A job channel of your own is not closed; dropping its senders closes it.
    pub fn close(&self) {
        self.core().close_intake();
    }

    /// The channel of the responses, for a `select!` of your own.
    ///
    /// It is disconnected when the work is over, which requires that the intake was closed: see [`close`](Self::close).
    /// While the pool is iterated over, outcomes do not go through it.
    pub fn response_channel(&self) -> &Receiver<ThreadResponse> {
        &self.guard.results.responses
    }

    /// The channel of the exceptions, for a `select!` of your own, like [`response_channel`](Self::response_channel).
    pub fn exception_channel(&self) -> &Receiver<ThreadException> {
        &self.guard.results.exceptions
    }

    /// Closes the intake and blocks until every job has its outcome.
    ///
    /// With a job channel of your own, the jobs that are in it now are processed. It does not wait for live senders; later
    /// sends fail with a disconnect error. The threads of the workers may end a little later than this call.
    pub fn join_all(&mut self) {
        self.core().close_after_present();
        self.guard.results.wait_until_over();
    }

    /// Starts no more jobs, waits for the jobs in flight, and returns those that were not sent: first the accepted ones, in
    /// the order of their acceptance, then what is left in your own job channel.
    ///
    /// The outcomes of the others stay in the pool, to be read. To stop without waiting for them, see
    /// [`Handle::cancel`].
    ///
    /// ```
    /// use threaded::Pool;
    ///
    /// let url = "https://example.com/";
    /// # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
    /// # let url = url.as_str();
    /// let mut pool = Pool::from_urls([url; 100])?;
    /// let unsent = pool.shutdown();
    /// assert_eq!(unsent.len() + pool.responses().count() + pool.exceptions().count(), 100);
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    pub fn shutdown(&mut self) -> Vec<RequestSpec> {
        let channel = self.core().shut_down();
        self.guard.results.wait_until_over();
        let mut unsent = self.core().take_returned();
        if let Some(channel) = channel {
            // Its senders may go on sending, to other receivers.
            let left = channel.len();
            unsent.extend(channel.try_iter().take(left));
        }
        unsent
    }

    /// A snapshot of what the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.core().counters.snapshot()
    }

    /// The number of workers, including those that are still starting.
    ///
    /// Workers start gradually: no more at a time than are up already, and only while there are jobs for them. A pool that
    /// was built from fewer jobs than the builder's `num_threads` gets more workers when jobs are submitted to it.
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
