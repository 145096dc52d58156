//! Configuring a pool: [`PoolBuilder`].

mod settings;
mod start;

use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ::reqwest::blocking::ClientBuilder;
use http::HeaderValue;

use self::settings::Settings;
use crate::error::BoxError;
use crate::headers::{self, Auth};
use crate::limits::Limits;
use crate::observe::{Event, Observer};
use crate::request::RequestSpec;
use crate::response::ResponseHead;
use crate::retry::Retry;
use crate::session::factory::SessionSetup;
use crate::session::{Preset, Session};
use crate::sync::channel::Receiver;
use crate::transport::TransportBuilder;

/// Configures a [`Pool`](crate::Pool). Created by [`Pool::builder`](crate::Pool::builder).
///
/// Setters take the builder by value and never fail; [`build`](Self::build), the methods whose names begin with `build_`,
/// [`map`](Self::map), [`imap`](Self::imap) and [`imap_unordered`](Self::imap_unordered) report invalid settings. A clone
/// starts a pool of its own, with the same observer and hooks.
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
#[must_use]
pub struct PoolBuilder<B: TransportBuilder = ClientBuilder> {
    settings: Settings,
    sessions: SessionSetup<B>,
}

impl<B: TransportBuilder> Clone for PoolBuilder<B> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            sessions: self.sessions.clone(),
        }
    }
}

impl Default for PoolBuilder {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            sessions: SessionSetup::default(),
        }
    }
}

impl<B: TransportBuilder + 'static> PoolBuilder<B> {
    /// Sets the number of workers. Most programs set [`concurrency`](Self::concurrency) instead, which is the same for a
    /// blocking session: HTTP is I/O-bound, so many more workers than CPU cores are of use there. On
    /// [`Session::hyper`](crate::Session::hyper), more event loops than cores are of none.
    ///
    /// With 0, building fails with [`PoolError::NoThreads`](crate::PoolError::NoThreads). A pool whose jobs are known when it
    /// is built starts at most one worker for each job. Defaults to the number of CPU cores; on `Session::hyper`, to one
    /// worker for each 16 requests of [`concurrency`](Self::concurrency) if those are fewer.
    pub fn num_threads(mut self, num_threads: usize) -> Self {
        self.settings.num_threads = Some(num_threads);
        self
    }

    /// Sets the maximum number of requests in flight at the same time, over all workers. A session with a blocking transport
    /// has one at a time, so this is the number of workers then, in place of [`num_threads`](Self::num_threads). On
    /// [`Session::hyper`](crate::Session::hyper), the requests are shared out among the workers.
    ///
    /// With 0, building fails with [`PoolError::NoConcurrency`](crate::PoolError::NoConcurrency). Defaults to the number of
    /// workers; on `Session::hyper`, to 64 for each of them.
    pub fn concurrency(mut self, max: usize) -> Self {
        self.settings.concurrency = Some(max);
        self
    }

    /// Takes jobs from a channel of your own, in addition to those that are submitted. Takes one more thread.
    ///
    /// A worker takes a job when it is free, so a bounded channel applies backpressure to its producer. With
    /// [`retry`](Self::retry) or [`limits`](Self::limits) workers look ahead for jobs that may go: then up to
    /// [`window`](Self::window) jobs, 1,000 by default, are taken out of the channel and wait in the pool.
    /// [`imap`](Self::imap) and [`imap_unordered`](Self::imap_unordered) drop the channel, so that its senders are
    /// disconnected. Defaults to none.
    pub fn job_queue(mut self, jobs: Receiver<RequestSpec>) -> Self {
        self.settings.job_queue = Some(jobs);
        self
    }

    /// Sets the maximum number of jobs that [`imap`](Self::imap) and [`imap_unordered`](Self::imap_unordered) hold: queued, in
    /// flight, or done and not yet yielded. It bounds their memory. Jobs that wait for a retry or a rate limit count too:
    /// while they fill the window, no further requests are pulled.
    ///
    /// If it is smaller than the number of workers, some workers stay idle. With 0, building fails with
    /// [`PoolError::NoWindow`](crate::PoolError::NoWindow). Defaults to 4 jobs for each request that may be in flight
    /// for `imap` and `imap_unordered`, on [`Session::hyper`](crate::Session::hyper) to 128 at least, and to 1,000 for a
    /// [`job_queue`](Self::job_queue).
    pub fn window(mut self, jobs: usize) -> Self {
        self.settings.window = Some(jobs);
        self
    }

    /// Bounds the memory of a pool that is read slowly: workers start no job while this many outcomes of the pool's own jobs
    /// are unread. `submit` does not wait: a bounded [`job_queue`](Self::job_queue) or [`imap`](Self::imap) bounds the jobs. Jobs in flight at that moment still end, so up to as many more outcomes as there are requests in flight can be unread.
    ///
    /// It holds all jobs back, those with a [handle](crate::JobHandle) and in a [round](crate::Pool::map) too, although their
    /// own outcomes do not count. [`join_all`](crate::Pool::join_all), [`shutdown`](crate::Pool::shutdown) and a cancellation
    /// lift it, and [`wait_idle`](crate::Pool::wait_idle) does while it waits, so that none of them waits for a reader. So does
    /// [`response_channel`](crate::Pool::response_channel): what is read from the channels themselves wakes no worker.
    ///
    /// With 0, building fails with [`PoolError::NoUnread`](crate::PoolError::NoUnread). Defaults to no limit.
    pub fn max_unread(mut self, outcomes: usize) -> Self {
        self.settings.max_unread = Some(outcomes);
        self
    }

    /// Whether outcomes are dropped once the [observer](Self::observer) and [`Stats`](crate::Stats) have been told, for a pool
    /// of which nothing else is read. Those of [rounds](crate::Pool::map) and [handles](crate::JobHandle) are not. Defaults
    /// to `false`.
    pub fn discard_outcomes(mut self, discard: bool) -> Self {
        self.settings.discard_outcomes = discard;
        self
    }

    /// Sets the time limit of the whole run, from the start of the pool. When it is exceeded, every job without an
    /// outcome fails with [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled), as with
    /// [`Handle::cancel`](crate::Handle::cancel). Takes one more thread. `None` is no limit. Defaults to `None`.
    pub fn deadline(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.deadline = limit.into();
        self
    }

    /// Sets the constructor of sessions: each worker calls it once, on its own thread. Takes any [`TransportBuilder`].
    ///
    /// Call it before [`initializer`](Self::initializer), [`auth_generator`](Self::auth_generator) and
    /// [`share_session`](Self::share_session): they apply to the sessions of the current constructor. If any of them
    /// was called before `session`, the pool fails to start with [`PoolError::Session`](crate::PoolError::Session),
    /// which names it. Defaults to [`Session::default`].
    pub fn session<C, F>(self, constructor: F) -> PoolBuilder<C>
    where
        C: TransportBuilder + 'static,
        F: Fn() -> Session<C> + Send + Sync + 'static,
    {
        PoolBuilder {
            settings: self.settings,
            sessions: self.sessions.with_constructor(constructor),
        }
    }

    /// Sets the `User-Agent` of all sessions; see [`user_agent`](crate::user_agent) for a good one. Like
    /// [`header`](Self::header) and the credentials below, it changes what the session's constructor sets, and the
    /// [`initializer`](Self::initializer) may change it again. Defaults to that of the session.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        let user_agent = Preset::UserAgent(user_agent.into());
        self.sessions.presets.push(user_agent);
        self
    }

    /// Adds a default header to all sessions, as [`Session::header`] does. Defaults to none.
    pub fn header<V>(mut self, name: impl AsRef<str>, value: V) -> Self
    where
        V: TryInto<HeaderValue>,
        V::Error: Into<http::Error>,
    {
        let header = headers::checked(name.as_ref(), value).map_err(|(message, _)| message);
        self.sessions.presets.push(Preset::Header(header));
        self
    }

    /// Sets the default credentials of all sessions to `Authorization: Basic` (RFC 7617), as [`Session::basic_auth`] does.
    /// Defaults to those of the session.
    pub fn basic_auth<P: fmt::Display>(
        mut self,
        user: impl fmt::Display,
        password: Option<P>,
    ) -> Self {
        let auth = Auth::basic(user, password);
        self.sessions.presets.push(Preset::Auth(auth));
        self
    }

    /// Sets the default credentials of all sessions to `Authorization: Bearer` (RFC 6750), as [`Session::bearer_auth`] does.
    /// Defaults to those of the session. For a token that expires, see [`credentials`](Self::credentials).
    pub fn bearer_auth(mut self, token: impl fmt::Display) -> Self {
        let auth = Auth::bearer(token);
        self.sessions.presets.push(Preset::Auth(auth));
        self
    }

    /// Sets up each session after its construction. Called once for each worker, on its thread; again for each proxy set
    /// by a request of the worker with [`RequestSpec::proxy`], and when a session is replaced after a panic. Defaults to
    /// leaving the session unchanged.
    pub fn initializer<F>(self, initializer: F) -> Self
    where
        F: Fn(Session<B>) -> Session<B> + Send + Sync + 'static,
    {
        self.try_initializer(move |session| Ok(initializer(session)))
    }

    /// An [`initializer`](Self::initializer) that can fail. If it fails for the first worker, building the pool fails;
    /// a later worker takes no jobs then, unless it is the only one left, and counts as
    /// [failed](crate::Stats::failed_workers). Defaults to leaving the session unchanged.
    pub fn try_initializer<F>(mut self, initializer: F) -> Self
    where
        F: Fn(Session<B>) -> Result<Session<B>, BoxError> + Send + Sync + 'static,
    {
        self.sessions.initializer = Some(Arc::new(initializer));
        self
    }

    /// Gives each session its credentials, after the initializer, each time that it runs. Defaults to none.
    pub fn auth_generator<F>(self, auth_generator: F) -> Self
    where
        F: Fn(Session<B>) -> Session<B> + Send + Sync + 'static,
    {
        self.try_auth_generator(move |session| Ok(auth_generator(session)))
    }

    /// An [`auth_generator`](Self::auth_generator) that can fail, with the same consequences as for
    /// [`try_initializer`](Self::try_initializer). Defaults to no credentials.
    pub fn try_auth_generator<F>(mut self, auth_generator: F) -> Self
    where
        F: Fn(Session<B>) -> Result<Session<B>, BoxError> + Send + Sync + 'static,
    {
        self.sessions.auth_generator = Some(Arc::new(auth_generator));
        self
    }

    /// One credential for the whole pool, such as an access token that expires: the closure obtains it, before the first
    /// request, and again when a response is a 401. It is given the one before, if there is one.
    ///
    /// However many workers get a 401 at the same moment, the credential is renewed once: one worker calls the closure, the
    /// others wait, and each repeats its attempt with the new one; again if that has expired meanwhile, up to 10 times, but not
    /// if it was never accepted. A repetition counts as an attempt; rate limits count it without delaying it.
    ///
    /// **It is sent to every origin that the pool is given URLs of**, as that of [`Session::auth`], which it replaces; but not
    /// with requests that have their own, and not to another origin after a redirect. For one origin only, see
    /// [`Session::auth_for`].
    ///
    /// If it cannot be obtained at first, building the pool fails with
    /// [`PoolError::Session`](crate::PoolError::Session). If it cannot be renewed, the jobs that wait for it fail with
    /// [`ErrorKind::Session`](crate::ErrorKind::Session) with the closure's error as the cause, unless
    /// [`retry`](Self::retry) allows more attempts; the next 401 tries again. Defaults to none.
    ///
    /// ```no_run
    /// use threaded::{Auth, Pool};
    ///
    /// let pool = Pool::builder()
    ///     .concurrency(32)
    ///     .credentials(|_| {
    ///         let response = threaded::fetch("https://auth.example.com/token")?.error_for_status()?;
    ///         Ok(Auth::bearer(response.text()))
    ///     })
    ///     .build()?;
    /// # Ok::<(), threaded::PoolError>(())
    /// ```
    pub fn credentials<F>(mut self, renew: F) -> Self
    where
        F: Fn(Option<&Auth>) -> Result<Auth, BoxError> + Send + Sync + 'static,
    {
        self.sessions.credentials = Some(Arc::new(renew));
        self
    }

    /// On a 401, renews the credentials and repeats the attempt at once: the worker calls the session's constructor and the
    /// auth generator again, on the session as the initializer left it, and keeps its connections (changes to the client
    /// builder have no effect). Workers that [share](Self::share_session) a session renew them once for all.
    ///
    /// An attempt is repeated once at most, and only if the credentials for this origin have changed, the request has none of
    /// its own, and no redirect led to another origin. If the auth generator fails, the job ends with the 401. The repetition
    /// counts as an attempt; rate limits count it without delaying it. Defaults to `false`.
    pub fn reauthenticate(mut self, reauthenticate: bool) -> Self {
        self.settings.reauthenticate = reauthenticate;
        self
    }

    /// Makes all workers use clones of one session: constructor, initializer and auth generator are called once for the pool,
    /// and connections (and cookies, if the client stores them) are shared.
    ///
    /// With reqwest this takes one thread for the client and one for each worker, instead of two for each worker; that one
    /// client thread does the I/O of all workers. Defaults to `false`.
    pub fn share_session(mut self, share: bool) -> Self
    where
        B::Transport: Clone,
    {
        self.sessions.share(share);
        self
    }

    /// Sets the time limit of an attempt: all its redirects and its whole body. `None` is no limit. Defaults to 30 s, except
    /// for bodies that go to a file or a handler: see [`stall_timeout`](Self::stall_timeout).
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.attempt_limits.timeout = Some(timeout.into());
        self
    }

    /// Sets the maximum wait for the response head, and then for each further byte of the body, of requests whose body goes
    /// to a file ([`RequestSpec::save_to`]) or a handler ([`RequestSpec::read_with`]). It applies if neither the request nor
    /// the pool sets a `timeout`: a large download may take long, while one that stalls ends. `None` is no limit. Defaults to
    /// 30 s.
    pub fn stall_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.attempt_limits.stall_timeout = timeout.into();
        self
    }

    /// Sets the maximum number of redirects to follow. With 0, a 3xx is the response. Defaults to 10.
    pub fn max_redirects(mut self, max: u32) -> Self {
        self.settings.attempt_limits.max_redirects = max;
        self
    }

    /// Sets the maximum size of a response body, in bytes after decoding. A job whose body is larger fails with
    /// [`ErrorKind::BodyTooLarge`](crate::ErrorKind::BodyTooLarge). `None` lifts the limit. Defaults to 64 MiB in
    /// memory, and to no limit for bodies that go to a file or a handler.
    pub fn max_body(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.settings.attempt_limits.max_body = Some(bytes.into());
        self
    }

    /// Registers a handler under a name, for specs that ask for it with [`RequestSpec::handler`]. Otherwise it is like one of
    /// [`RequestSpec::read_with`]. Replaces one of the same name. Defaults to none.
    ///
    /// ```
    /// use threaded::{Pool, RequestSpec};
    ///
    /// let builder = Pool::builder().handler("count", |head, body| {
    ///     let length = std::io::copy(body, &mut std::io::sink())?;
    ///     println!("{}: {length} bytes", head.url());
    ///     Ok(())
    /// });
    /// let spec = RequestSpec::get("https://example.com/").handler("count");
    /// # let _ = (builder, spec);
    /// ```
    pub fn handler<F>(mut self, name: impl AsRef<str>, handler: F) -> Self
    where
        F: Fn(&ResponseHead, &mut dyn Read) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let name = name.as_ref().into();
        self.settings.handlers.insert(name, Arc::new(handler));
        self
    }

    /// Whether a 4xx or 5xx is an exception, [`ErrorKind::Status`](crate::ErrorKind::Status), instead of a response.
    /// Defaults to `false`.
    pub fn error_for_status(mut self, error_for_status: bool) -> Self {
        self.settings.error_for_status = error_for_status;
        self
    }

    /// SSRF protection, for URLs from untrusted sources: connects only to public addresses. Refuses those of this machine and
    /// of private networks: loopback, private, link-local, shared, multicast, unspecified and reserved addresses, in every
    /// notation and embedded in IPv6 addresses (mapped, NAT64, 6to4). A public address of this machine itself is allowed.
    ///
    /// It applies to addresses in URLs, to the addresses that host names resolve to (connections are made only to the
    /// addresses that were checked, so DNS rebinding has no effect), and to each redirect. A job that is refused fails
    /// with [`ErrorKind::InvalidRequest`](crate::ErrorKind::InvalidRequest), or as
    /// [`ErrorKind::Redirect`](crate::ErrorKind::Redirect). No proxy is used, since a proxy would resolve host names
    /// itself: those of the environment and of the session's client are ignored, and a request that names one is
    /// refused. Defaults to `false`.
    pub fn public_addresses_only(mut self, public_addresses_only: bool) -> Self {
        self.settings.public_addresses_only = public_addresses_only;
        self
    }

    /// Exempts an origin, such as `http://127.0.0.1:8080`, from [`public_addresses_only`](Self::public_addresses_only):
    /// an internal service, or the server of a test. Other schemes and ports of a host name that is named here are
    /// refused. Can be called more than once. With an invalid origin, building fails with
    /// [`PoolError::AllowedOrigin`](crate::PoolError::AllowedOrigin). Defaults to none.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.settings.allowed_origins.push(origin.into());
        self
    }

    /// Sets the policy by which jobs are retried after transient errors. Defaults to one attempt for each job.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.settings.retry = Some(retry);
        self
    }

    /// Sets rate limits, and limits on the number of requests in flight to one origin. Replaces the limits set before.
    /// Defaults to no limit but the number of workers.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = Some(limits);
        self
    }

    /// Whether a worker prefers jobs for origins that it has sent to before, so that connections are reused. A worker never
    /// idles for that. It stays with an origin for at most 64 jobs or 50 ms while others wait, and other workers take over the
    /// origins of a worker that spends more than a second on one job. Jobs for one origin keep their order, jobs for
    /// different origins do not. Defaults to `false`.
    pub fn affinity(mut self, affinity: bool) -> Self {
        self.settings.affinity = affinity;
        self
    }

    /// Sets the observer that receives the events of the workers: an [`Observer`], or a closure that takes an
    /// [`Event`](crate::Event). Replaces the one set before. Defaults to none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.settings.observer = Some(Arc::new(observer));
        self
    }

    /// Short for [`observer`](Self::observer) with a closure, whose argument needs no type then.
    ///
    /// ```
    /// use threaded::{Event, Pool};
    ///
    /// let builder = Pool::builder().on_event(|event| {
    ///     if let Event::Exception(exception) = event {
    ///         eprintln!("{exception}");
    ///     }
    /// });
    /// # let _ = builder;
    /// ```
    pub fn on_event<F>(self, on_event: F) -> Self
    where
        F: Fn(&Event<'_>) + Send + Sync + 'static,
    {
        self.observer(on_event)
    }

    /// Names the worker threads by their number, for debuggers and panic messages. Called on the thread that starts the
    /// worker. If it panics, that worker has its default name. Defaults to `threaded-0`, `threaded-1` …
    pub fn thread_name<F>(mut self, name: F) -> Self
    where
        F: Fn(usize) -> String + Send + Sync + 'static,
    {
        self.settings.thread_name = Arc::new(name);
        self
    }

    /// Sets the stack size of each worker thread, in bytes. The closures of the pool run on it too, on the event-driven engine
    /// all but handlers. Less than 1 MiB counts as 1 MiB: TLS and decoding need between 256 and 512 KiB of it in debug builds.
    /// Defaults to that of [`std::thread`], currently 2 MiB.
    pub fn thread_stack_size(mut self, bytes: usize) -> Self {
        self.settings.thread_stack_size = Some(bytes.max(MIN_STACK_SIZE));
        self
    }
}

/// The least stack of a worker thread.
const MIN_STACK_SIZE: usize = 1 << 20;

impl<B: TransportBuilder> fmt::Debug for PoolBuilder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            settings,
            sessions: _,
        } = self;
        f.debug_struct("PoolBuilder")
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}
