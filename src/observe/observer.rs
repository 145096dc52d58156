//! Being told what workers do: [`Observer`].

use std::fmt;
use std::time::Duration;

use crate::outcome::ThreadException;
use crate::outcome::ThreadResponse;
use crate::request::RequestSpec;
use crate::retry::Tried;

/// Is told what the workers of a pool do, as they do it: for metrics, logs, progress bars.
///
/// It is called on the workers' threads, by all of them at once, and they wait for it: it should be quick. If it panics when
/// an attempt is about to begin, that job ends as [`ErrorKind::Panicked`](crate::ErrorKind::Panicked); when it is told
/// what an attempt has led to, that stands and the panic is logged.
///
/// A closure that takes an [`Event`] is an observer of everything:
///
/// ```
/// # use threaded::{Exchange, ResponseBody, Session};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use threaded::{Event, Pool};
///
/// let failures = Arc::new(AtomicUsize::new(0));
/// let counter = Arc::clone(&failures);
/// # let answer = |_: Exchange<'_>| Ok(http::Response::new(ResponseBody::empty()));
/// # let builder = Pool::builder().session(move || Session::new(answer));
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
    /// A worker is about to begin an attempt.
    fn attempt_started(&self, attempt: &Attempt<'_>) {
        let _ = attempt;
    }

    /// An attempt is over, and its job is to be tried again after this delay.
    fn retry(&self, tried: &Tried<'_>, delay: Duration) {
        let _ = (tried, delay);
    }

    /// A job has ended in a response.
    fn response(&self, response: &ThreadResponse) {
        let _ = response;
    }

    /// A job has ended in an exception.
    fn exception(&self, exception: &ThreadException) {
        let _ = exception;
    }
}

/// What an [`Observer`] that is a closure is told.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event<'a> {
    /// A worker is about to begin an attempt.
    AttemptStarted(&'a Attempt<'a>),
    /// An attempt is over, and its job is to be tried again after this delay.
    #[non_exhaustive]
    Retry {
        /// What the attempt was.
        tried: &'a Tried<'a>,
        /// The wait until the next one.
        delay: Duration,
    },
    /// A job has ended in a response.
    Response(&'a ThreadResponse),
    /// A job has ended in an exception.
    Exception(&'a ThreadException),
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn attempt_started(&self, attempt: &Attempt<'_>) {
        self(&Event::AttemptStarted(attempt));
    }

    fn retry(&self, tried: &Tried<'_>, delay: Duration) {
        self(&Event::Retry { tried, delay });
    }

    fn response(&self, response: &ThreadResponse) {
        self(&Event::Response(response));
    }

    fn exception(&self, exception: &ThreadException) {
        self(&Event::Exception(exception));
    }
}

/// One try at a job.
pub struct Attempt<'a> {
    pub(crate) request: &'a RequestSpec,
    pub(crate) index: usize,
    pub(crate) number: u32,
}

impl<'a> Attempt<'a> {
    /// The request.
    pub fn request(&self) -> &'a RequestSpec {
        self.request
    }

    /// The job's number in its pool.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Which attempt at the job it is, from 1.
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
