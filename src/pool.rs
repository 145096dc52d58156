//! The pool: [`Pool`] and what it is made of.

mod builder;
mod crew;
mod deadline;
mod error;
mod handle;
mod imap;
mod in_flight;
mod job;
mod outcomes;
mod queue;
mod results;
mod rules;
mod worker;

use std::fmt;
use std::sync::Arc;

pub use builder::PoolBuilder;
pub use error::{PoolError, SubmitError};
pub use handle::Handle;
pub use imap::{Imap, ImapUnordered};
pub use outcomes::Outcomes;
pub use results::{Exceptions, Responses};

use self::crew::Crew;
use self::results::Inbox;
use crate::observe::Stats;
use crate::outcome::{ThreadException, ThreadResponse};
use crate::request::RequestSpec;
use crate::sync::channel::Receiver;

/// Workers, each on a thread and with an HTTP client of its own, that turn requests into outcomes.
///
/// Every job ends in exactly one outcome: a [`ThreadResponse`] or a [`ThreadException`], each on its own channel, in the
/// order in which the jobs are done.
///
/// # A pool's life
///
/// A pool works from when it is made, and takes more jobs until its intake is closed. That happens in one of three ways:
///
/// - [`join_all`](Self::join_all) closes the intake and returns when every job has its outcome. The outcomes stay in the
///   pool, to be read then.
/// - Iterating over the pool closes the intake, hands out each outcome as it comes, and ends with the last one.
/// - Dropping the pool (or its iterator) cancels what is queued and returns at once. What is in flight ends on its own;
///   nobody learns how.
///
/// Reading with [`responses`](Self::responses), [`get_response`](Self::get_response) and their like never waits and can be
/// done at any time.
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use threaded::Pool;
///
/// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::empty()));
/// # let builder = Pool::builder().num_threads(2).session(move || Session::new(answer));
/// # let pool = builder.build_from_urls(["http://test/1", "http://test/2"])?;
/// // let pool = Pool::from_urls(["http://…", "http://…"])?;
/// pool.submit("http://test/3")?;
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
/// With a channel of your own ([`Pool::new`]), closing the intake has two meanings. Iterating goes on until all senders
/// of the channel are gone, as iterating over the channel itself would: drop yours first. [`join_all`](Self::join_all)
/// does not wait for them: it takes what is in the channel at that moment.
pub struct Pool {
    running: Running,
}

impl Pool {
    /// Settings for a pool.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    /// A pool that takes its jobs out of your own channel.
    ///
    /// ```no_run
    /// use threaded::{Pool, RequestSpec};
    ///
    /// let (jobs, receiver) = threaded::crossbeam_channel::bounded::<RequestSpec>(100);
    /// std::thread::spawn(move || {
    ///     for page in 1..=1000 {
    ///         // Waits while 100 jobs are waiting; fails when the pool is gone.
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
    /// As [`PoolError`] lists them.
    pub fn new(jobs: Receiver<RequestSpec>) -> Result<Self, PoolError> {
        Self::builder().job_queue(jobs).build()
    }

    /// A pool that gets each of these URLs.
    ///
    /// # Errors
    ///
    /// As [`PoolError`] lists them. A text that is no URL is no error here: that job ends in an exception.
    pub fn from_urls<I>(urls: I) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::builder().build_from_urls(urls)
    }

    /// A pool that sends the template, with its method, headers, body and all its settings, to each of these URLs. The
    /// template's own URL is not used.
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
    /// As [`PoolError`] lists them.
    pub fn from_urls_with<I>(urls: I, template: &RequestSpec) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self::builder().build_from_urls_with(urls, template)
    }

    /// A pool that sends these requests.
    ///
    /// # Errors
    ///
    /// As [`PoolError`] lists them.
    pub fn from_requests<I>(requests: I) -> Result<Self, PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        Self::builder().build_from_requests(requests)
    }

    /// A pool that sends the requests of these exceptions again.
    ///
    /// Not every request should be sent again: [`Error::is_retryable`](crate::Error::is_retryable) says whether it may help,
    /// [`Error::was_sent`](crate::Error::was_sent) and [`RequestSpec::is_idempotent`] whether it may harm.
    ///
    /// ```no_run
    /// use threaded::Pool;
    ///
    /// let mut pool = Pool::from_urls(["https://example.com/"])?;
    /// pool.join_all();
    /// let again = pool.exceptions().filter(|exception| exception.is_retryable());
    /// let mut second = Pool::from_exceptions(again)?;
    /// second.join_all();
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`PoolError`] lists them.
    pub fn from_exceptions<I>(exceptions: I) -> Result<Self, PoolError>
    where
        I: IntoIterator<Item = ThreadException>,
    {
        Self::builder().build_from_exceptions(exceptions)
    }

    fn new_running(crew: Arc<Crew>, inbox: Inbox) -> Self {
        Self {
            running: Running { crew, inbox },
        }
    }

    fn start(&self, requests: Vec<RequestSpec>, workers: usize) -> Result<(), PoolError> {
        let crew = &self.running.crew;
        for request in requests {
            // Nothing has closed the intake yet.
            let _ = crew.queue.submit(request);
        }
        crew.start(workers)
    }

    /// Adds a job. Returns its index: 0, 1, 2 … in the order in which jobs are accepted.
    ///
    /// # Errors
    ///
    /// If the pool takes no more jobs, because [`join_all`](Self::join_all) was called or it was cancelled, or if not even
    /// one worker can be started. The error gives the request back.
    pub fn submit(&self, request: impl Into<RequestSpec>) -> Result<usize, SubmitError> {
        let crew = &self.running.crew;
        if crew.queue.is_intake_closed() {
            return Err(SubmitError::new(request.into()));
        }
        crew.submit(request.into())
    }

    /// A way to reach the pool from elsewhere: from other threads, or while iterating over it.
    pub fn handle(&self) -> Handle {
        Handle::new(&self.running.crew)
    }

    /// A response, if one is there.
    pub fn get_response(&self) -> Option<ThreadResponse> {
        self.responses().next()
    }

    /// An exception, if one is there.
    pub fn get_exception(&self) -> Option<ThreadException> {
        self.exceptions().next()
    }

    /// The responses that are there now. Reading them before the work is over loses nothing: later ones come later.
    pub fn responses(&self) -> Responses {
        self.running.inbox.responses()
    }

    /// The exceptions that are there now. Reading them before the work is over loses nothing: later ones come later.
    pub fn exceptions(&self) -> Exceptions {
        self.running.inbox.exceptions()
    }

    /// Takes no more jobs from [`submit`](Self::submit), and does not wait: the work ends when what is under way is done. It
    /// does not close a job channel of your own; dropping its senders does.
    pub fn close(&self) {
        self.running.crew.queue.close_intake();
    }

    /// The channel of the responses, for a `select!` of your own.
    ///
    /// It is disconnected soon after the work is over, for which the intake has to be closed: see [`close`](Self::close).
    /// Iterating over the pool draws the outcomes away from it.
    pub fn response_channel(&self) -> &Receiver<ThreadResponse> {
        &self.running.inbox.responses
    }

    /// The channel of the exceptions, for a `select!` of your own, like [`response_channel`](Self::response_channel).
    pub fn exception_channel(&self) -> &Receiver<ThreadException> {
        &self.running.inbox.exceptions
    }

    /// Closes the intake and returns when every job has its outcome.
    ///
    /// With your own job channel, the jobs that are in it now are done, and a sender that somebody still holds keeps nobody
    /// waiting: with nobody left to take them, further jobs cannot be sent. The threads of the workers may take a little longer to end than this call.
    pub fn join_all(&mut self) {
        let Running { crew, inbox } = &self.running;
        crew.queue.close_intake();
        crew.queue.drain_channel();
        inbox.wait_until_over();
    }

    /// Sends nothing new, waits for the jobs in flight, and gives back those that were not sent: first the accepted ones, in
    /// the order of their acceptance, then what is left in your own job channel.
    ///
    /// The outcomes of the others stay in the pool, to be read. To not even wait for the jobs in flight, see
    /// [`Handle::cancel`].
    ///
    /// ```
    /// # use threaded::{Exchange, ResponseBody, Session};
    /// use threaded::Pool;
    ///
    /// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::empty()));
    /// # let builder = Pool::builder().num_threads(2).session(move || Session::new(answer));
    /// # let mut pool = builder.build_from_urls(["http://test/"; 100])?;
    /// // let mut pool = Pool::from_urls(…)?;
    /// let unsent = pool.shutdown();
    /// assert_eq!(unsent.len() + pool.responses().count() + pool.exceptions().count(), 100);
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    pub fn shutdown(&mut self) -> Vec<RequestSpec> {
        let Running { crew, inbox } = &self.running;
        let channel = crew.give_back();
        inbox.wait_until_over();
        let mut unsent = crew.queue.take_given_back();
        if let Some(channel) = channel {
            // Somebody may go on sending, but not for us.
            let left = channel.len();
            unsent.extend(channel.try_iter().take(left));
        }
        unsent
    }

    /// What the pool has done so far.
    pub fn stats(&self) -> Stats {
        self.running.crew.queue.tally().snapshot()
    }

    /// How many workers there are, those included that are still coming up: no more do so at a time than are up already, and
    /// only while there is something left for them to do. It grows up to what the builder was told when jobs are submitted to
    /// a pool that was made from fewer jobs than that.
    pub fn num_threads(&self) -> usize {
        self.running.crew.size()
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

/// A pool at work. Dropping it cancels what is queued.
struct Running {
    crew: Arc<Crew>,
    inbox: Inbox,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.crew.queue.forget();
    }
}
