//! How a pool is to be: [`PoolBuilder`].

mod settings;
mod start;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::blocking::ClientBuilder;

use self::settings::Settings;
use super::recipe::SessionPlan;
use crate::error::BoxError;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::request::RequestSpec;
use crate::retry::Retry;
use crate::session::Session;
use crate::sync::channel::Receiver;
use crate::transport::TransportBuilder;

/// The settings of a [`Pool`](crate::Pool). Made by [`Pool::builder`](crate::Pool::builder).
///
/// Setters take the builder by value and never fail; the methods that end it ([`build`](Self::build) and those that begin
/// with `build_`, [`map`](Self::map)) say what is wrong.
///
/// ```no_run
/// use std::time::Duration;
/// use threaded::Pool;
///
/// let (responses, exceptions) = Pool::builder()
///     .num_threads(32)
///     .timeout(Duration::from_secs(10))
///     .initializer(|session| session.user_agent(threaded::user_agent("my-scraper", "0.1")))
///     .map(["https://example.com/", "https://example.org/"])?;
/// # Ok::<(), threaded::PoolError>(())
/// ```
pub struct PoolBuilder<B: TransportBuilder = ClientBuilder> {
    settings: Settings,
    plan: SessionPlan<B>,
}

impl Default for PoolBuilder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            plan: SessionPlan::default(),
        }
    }
}

impl<B: TransportBuilder + 'static> PoolBuilder<B> {
    /// How many workers to start. Fetching is waiting, so many more than there are processors pay off.
    ///
    /// 0 is refused with [`PoolError::NoThreads`](crate::PoolError::NoThreads). A pool whose jobs are known beforehand starts no more workers than
    /// there are jobs. Defaults to the number of processors.
    pub fn num_threads(mut self, num_threads: usize) -> Self {
        self.settings.num_threads = Some(num_threads);
        self
    }

    /// Takes jobs out of a channel of yours, beside those that are submitted.
    ///
    /// Workers take a job when they are free, so a bounded channel holds its producer back. With [`retry`](Self::retry),
    /// [`limits`](Self::limits) or [`affinity`](Self::affinity) they look ahead for jobs that may be sent: then at most
    /// [`window`](Self::window) jobs, 1,000 unless it is set, are taken out of the channel and wait in the pool. [`imap`](Self::imap) and
    /// [`imap_unordered`](Self::imap_unordered) have no use for it: they drop it, so that its senders see it closed.
    /// Defaults to none.
    pub fn job_queue(mut self, jobs: Receiver<RequestSpec>) -> Self {
        self.settings.job_queue = Some(jobs);
        self
    }

    /// How many jobs [`imap`](Self::imap) and [`imap_unordered`](Self::imap_unordered) hold at most: queued, in flight, or
    /// done and not yet handed out. Memory is bounded by it. Jobs that wait for their next attempt or for a limit take their
    /// places in it: when they fill it, nothing else is drawn.
    ///
    /// With fewer than there are workers, some of them idle. 0 is refused with [`PoolError::NoWindow`](crate::PoolError::NoWindow). Defaults to 4 for
    /// each worker.
    pub fn window(mut self, jobs: usize) -> Self {
        self.settings.window = Some(jobs);
        self
    }

    /// The time for all jobs together, from when the pool is started. When it is over, every job without an outcome ends as
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), as with [`Handle::cancel`](crate::Handle::cancel). Takes one more
    /// thread. `None` lifts the limit. Defaults to `None`.
    pub fn deadline(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.deadline = limit.into();
        self
    }

    /// How each worker makes its session, on its own thread, once. Any [`TransportBuilder`] will do.
    ///
    /// Initializer, auth generator and `share_session` that were set before stay if the new sessions have the same
    /// type; otherwise the pool is refused with [`PoolError::Session`](crate::PoolError::Session). Defaults to [`Session::default`].
    pub fn session<C, F>(self, constructor: F) -> PoolBuilder<C>
    where
        C: TransportBuilder + 'static,
        F: Fn() -> Session<C> + Send + Sync + 'static,
    {
        PoolBuilder {
            settings: self.settings,
            plan: self.plan.with_constructor(Arc::new(constructor)),
        }
    }

    /// Sets up each session after it was made. Called once for each worker, on its thread; once more for each proxy that
    /// [`RequestSpec::proxy`] names there, and when a session is replaced after a panic. Defaults to leaving it as it is.
    pub fn initializer<F>(self, initializer: F) -> Self
    where
        F: Fn(Session<B>) -> Session<B> + Send + Sync + 'static,
    {
        self.try_initializer(move |session| Ok::<_, BoxError>(initializer(session)))
    }

    /// An [`initializer`](Self::initializer) that may fail. For the first worker, `build` returns the error; a later worker
    /// takes no jobs, and [`Stats`](crate::Stats) says so. Defaults to leaving the session as it is.
    pub fn try_initializer<F, E>(mut self, initializer: F) -> Self
    where
        F: Fn(Session<B>) -> Result<Session<B>, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.plan.initializer = Some(Arc::new(move |session| {
            initializer(session).map_err(Into::into)
        }));
        self
    }

    /// Gives each session its credentials, after the initializer and as often as it. Defaults to none.
    pub fn auth_generator<F>(self, auth_generator: F) -> Self
    where
        F: Fn(Session<B>) -> Session<B> + Send + Sync + 'static,
    {
        self.try_auth_generator(move |session| Ok::<_, BoxError>(auth_generator(session)))
    }

    /// An [`auth_generator`](Self::auth_generator) that may fail, with the same consequences as in
    /// [`try_initializer`](Self::try_initializer). Defaults to no credentials.
    pub fn try_auth_generator<F, E>(mut self, auth_generator: F) -> Self
    where
        F: Fn(Session<B>) -> Result<Session<B>, E> + Send + Sync + 'static,
        E: Into<BoxError>,
    {
        self.plan.auth_generator = Some(Arc::new(move |session| {
            auth_generator(session).map_err(Into::into)
        }));
        self
    }

    /// On a 401, lets the worker call the auth generator again, on its session as the initializer has left it, and repeat the
    /// attempt at once, with the same connections. The session's constructor is called for it
    /// too; what it and the auth generator do to the client's builder has no effect then. Workers that [share](Self::share_session) a session call it once for all.
    ///
    /// That happens once for an attempt, and only if the credentials for this origin have changed, the request has brought none
    /// of its own, and no redirect has led elsewhere. An auth generator that fails lets the 401 stand. The repetition counts
    /// as an attempt, of which limits take note without making it wait. Defaults to `false`.
    pub fn reauthenticate(mut self, reauthenticate: bool) -> Self {
        self.settings.reauthenticate = reauthenticate;
        self
    }

    /// Makes all workers use clones of the first one's session: constructor, initializer and auth generator are called once
    /// for the pool, and all connections (and cookies, if the client keeps some) are shared.
    ///
    /// With reqwest this takes one thread for the client and one for each worker, instead of two for each worker; a single
    /// thread then does the network work of all. Defaults to `false`.
    pub fn share_session(mut self, share: bool) -> Self
    where
        B::Transport: Clone,
    {
        self.plan.share(share);
        self
    }

    /// The time for one attempt: all its redirects and its whole body. `None` lifts the limit. Defaults to 30 s, but for
    /// bodies that go to a file or a handler: see [`stall_timeout`](Self::stall_timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.attempt_limits.timeout = Some(timeout.into());
        self
    }

    /// For bodies that go to a file ([`RequestSpec::save_to`]) or a handler ([`RequestSpec::read_with`]), as long as neither
    /// their spec nor the pool sets a `timeout`: the longest wait for the head, and then for each further byte. So a large
    /// download may take its time, and a dead one ends. `None` lifts the limit. Defaults to 30 s.
    pub fn stall_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.attempt_limits.stall_timeout = timeout.into();
        self
    }

    /// Sets the maximum number of redirects to follow. With 0, a 3xx is the response. Defaults to 10.
    pub fn max_redirects(mut self, max: u32) -> Self {
        self.settings.attempt_limits.max_redirects = max;
        self
    }

    /// Sets the maximum size of a response body, in bytes after decoding. A larger one ends as
    /// [`ErrorKind::BodyTooLarge`](crate::ErrorKind::BodyTooLarge). `None` lifts the limit. Defaults to 64 MiB in memory,
    /// and to no limit for bodies that go to a file or a handler.
    pub fn max_body(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.settings.attempt_limits.max_body = Some(bytes.into());
        self
    }

    /// Whether a 4xx or 5xx is an exception, [`ErrorKind::Status`](crate::ErrorKind::Status), instead of a response.
    /// Defaults to `false`.
    pub fn error_for_status(mut self, error_for_status: bool) -> Self {
        self.settings.error_for_status = error_for_status;
        self
    }

    /// For URLs that come from strangers: connects to public addresses only. Refused are those of this machine and of the networks
    /// that it may be in: loopback, private, link-local, shared, multicast, unspecified and reserved ones, in every spelling and
    /// inside of IPv6 addresses (mapped, NAT64, 6to4). A public address counts as one, even if this machine has it itself.
    ///
    /// It holds for addresses in URLs, for what host names are resolved to (only the addresses that were vetted are connected to,
    /// so another answer to a second look-up changes nothing), and for each redirect. Such a job ends as
    /// [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), or as [`ErrorKind::Redirect`](crate::ErrorKind::Redirect). Nothing goes through a proxy, which would
    /// look up the address itself: those of the environment and of the session's client are not used, and a request that names one is
    /// refused. Defaults to `false`.
    pub fn public_addresses_only(mut self, public_addresses_only: bool) -> Self {
        self.settings.public_addresses_only = public_addresses_only;
        self
    }

    /// Excepts an origin, written like `http://127.0.0.1:8080`, from [`public_addresses_only`](Self::public_addresses_only):
    /// a service of one's own, or the server of a test. Can be called more than once. What is no origin is refused with
    /// [`PoolError::AllowedOrigin`](crate::PoolError::AllowedOrigin). Defaults to none.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.allowed_origins.push(origin.into());
        self
    }

    /// Tries jobs again that failed for reasons that may pass, by this policy. Defaults to one attempt for each job.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = Some(retry);
        self
    }

    /// How fast to send, and how many at a time to one origin. Replaces the limits set before. Defaults to no limit but the
    /// number of workers.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = Some(limits);
        self
    }

    /// Whether a worker prefers jobs for origins that it has sent to before, so that connections are used again instead of
    /// opened by each worker. It never idles for that, and stays with an origin for at most 64 jobs or 50 ms while others
    /// wait; those whose own worker is at one job for more than a second are served by the others. Jobs for one origin keep
    /// their order, jobs for different ones do not. Defaults to `false`.
    pub fn affinity(mut self, affinity: bool) -> Self {
        self.settings.affinity = affinity;
        self
    }

    /// Who is told what the workers do: an [`Observer`], or a closure that takes an [`Event`](crate::Event). Replaces the one
    /// set before. Defaults to nobody.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.settings.observer = Some(Box::new(observer));
        self
    }

    /// Names the worker threads by their number, for debuggers and panic messages. It is called on the thread that starts
    /// the worker: the one that builds the pool, or submits to it. Defaults to `threaded-0`, `threaded-1` …, also for a
    /// number at which it panics.
    pub fn thread_name<F>(mut self, name: F) -> Self
    where
        F: Fn(usize) -> String + Send + Sync + 'static,
    {
        self.settings.thread_name = Box::new(name);
        self
    }

    /// The stack of each worker thread, in bytes. Defaults to that of [`std::thread`], 2 MiB today.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.settings.thread_stack_size = Some(bytes);
        self
    }
}

impl<B: TransportBuilder> fmt::Debug for PoolBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, plan: _ } = self;
        f.debug_struct("PoolBuilder")
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}
