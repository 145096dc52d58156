//! Building: from a [`PoolBuilder`] to a pool, or to outcomes.

use std::sync::Arc;
use std::time::Instant;

use super::PoolBuilder;
use crate::limits::{CheckedLimits, Limits};
use crate::outcome::ThreadException;
use crate::pool::core::Core;
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::pool::deliveries::Deliveries;
use crate::pool::imap::{Imap, ImapUnordered, RunningPool, WindowedInput};
use crate::pool::policy::Policy;
use crate::pool::queue::JobQueue;
use crate::pool::results::{self, Exceptions, Responses, UnreadLimit};
#[cfg(feature = "redis")]
use crate::pool::shared_limits;
use crate::pool::threads::{ThreadSettings, Threads};
use crate::pool::user_channel::UserChannel;
use crate::pool::{Pool, PoolError, PoolGuard};
#[cfg(any(feature = "journal", feature = "redis"))]
use crate::queue::Queue;
use crate::request::RequestSpec;
use crate::retry::Retry;
use crate::schedule::Schedule;
use crate::transport::{AnyTransport, TransportBuilder};

impl<B: TransportBuilder + 'static> PoolBuilder<B> {
    /// Starts a pool without jobs, which come from [`Pool::submit`] or the [`job_queue`](Self::job_queue).
    ///
    /// Blocks until the first worker has opened its session; the others follow.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn build(self) -> Result<Pool, PoolError> {
        self.start(Vec::new(), None)
    }

    /// Starts a pool that sends a GET request to each of these URLs, as [`Pool::from_urls`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn build_from_urls<I>(self, urls: I) -> Result<Pool, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.build_from_requests(urls.into_iter().map(|url| RequestSpec::get(url.as_ref())))
    }

    /// Starts a pool that sends the template to each of these URLs, as [`Pool::from_urls_with`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn build_from_urls_with<I>(self, urls: I, template: &RequestSpec) -> Result<Pool, PoolError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.build_from_requests(
            urls.into_iter()
                .map(|url| template.clone().with_url(url.as_ref())),
        )
    }

    /// Starts a pool that sends these requests, as [`Pool::from_requests`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn build_from_requests<I>(self, requests: I) -> Result<Pool, PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        let requests: Vec<RequestSpec> = requests.into_iter().map(Into::into).collect();
        let known = requests.len();
        self.start(requests, Some(known))
    }

    /// Starts a pool that sends the requests of these exceptions again, as [`Pool::from_exceptions`] does.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn build_from_exceptions<I>(self, exceptions: I) -> Result<Pool, PoolError>
    where
        I: IntoIterator<Item = ThreadException>,
    {
        self.build_from_requests(exceptions)
    }

    /// Sends all these requests and waits until each has its outcome.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started. Without requests no worker is started.
    pub fn map<I>(self, requests: I) -> Result<(Responses, Exceptions), PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        let pool = self.build_from_requests(requests)?;
        pool.join_all();
        Ok((pool.responses(), pool.exceptions()))
    }

    /// Sends the requests of an iterator, and yields their outcomes in the order of the requests.
    ///
    /// Otherwise like [`imap_unordered`](Self::imap_unordered). A slow job holds back the outcomes of later ones, and once
    /// the [`window`](Self::window) is full of them, the input too.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn imap<I>(self, requests: I) -> Result<Imap<'static, I::IntoIter>, PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        Ok(Imap::new(self.start_windowed(requests.into_iter())?))
    }

    /// Sends the requests of an iterator, and yields their outcomes in completion order.
    ///
    /// The input is pulled only inside `next`, on the caller's thread, and only while fewer jobs than the
    /// [`window`](Self::window) are held. So it may borrow, be endless, and depend on earlier outcomes.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    pub fn imap_unordered<I>(
        self,
        requests: I,
    ) -> Result<ImapUnordered<'static, I::IntoIter>, PoolError>
    where
        I: IntoIterator,
        I::Item: Into<RequestSpec>,
    {
        Ok(ImapUnordered::new(
            self.start_windowed(requests.into_iter())?,
        ))
    }

    /// Starts a pool that takes its jobs from a durable queue, and yields their outcomes to be recorded: see the
    /// [`queue`](crate::queue) module.
    ///
    /// At most [`window`](Self::window) jobs are taken at a time. A retry waits in the queue.
    ///
    /// # Errors
    ///
    /// Returns an error if a setting is invalid or the first worker cannot be started: there is no thread for it, or its
    /// session cannot be opened.
    #[cfg(any(feature = "journal", feature = "redis"))]
    pub fn deliveries(mut self, queue: &Queue) -> Result<Deliveries, PoolError> {
        self.settings.job_queue = None;
        let pool = self.start(Vec::new(), Some(1))?;
        Ok(Deliveries::new(pool, queue))
    }

    fn start_windowed<I: Iterator>(
        mut self,
        requests: I,
    ) -> Result<WindowedInput<'static, I>, PoolError> {
        self.settings.job_queue = None;
        // Each submitted job starts one more worker, up to the maximum.
        let first = usize::from(requests.size_hint().1 != Some(0));
        let has_deadline = self.settings.deadline.is_some();
        let pool = self.start(Vec::new(), Some(first))?;
        let window = pool.window;
        let pool = RunningPool::Own { pool, has_deadline };
        Ok(WindowedInput::new(pool, requests, window))
    }

    /// `known_jobs` is how many jobs there will be, unless more are submitted.
    fn start(
        self,
        requests: Vec<RequestSpec>,
        known_jobs: Option<usize>,
    ) -> Result<Pool, PoolError> {
        let Self { settings, sessions } = self;
        if settings.num_threads == Some(0) {
            return Err(PoolError::NoThreads);
        }
        let is_event_driven = B::Transport::is_event_driven();
        let (max, concurrency) = settings.workers(is_event_driven);
        if max == 0 {
            return Err(PoolError::NoConcurrency);
        }
        if settings.max_unread == Some(0) {
            return Err(PoolError::NoUnread);
        }
        let window = settings.window(concurrency, is_event_driven);
        if window == 0 {
            return Err(PoolError::NoWindow);
        }
        let workers = match known_jobs {
            Some(jobs) if settings.job_queue.is_none() => max.min(jobs),
            _ => max,
        };
        let room = match settings.job_queue {
            Some(_) => settings.room(),
            None => usize::MAX,
        };
        let filter = settings.address_filter()?;
        let limits = settings
            .limits
            .map(Limits::check)
            .transpose()
            .map_err(PoolError::Limits)?;
        #[cfg(feature = "redis")]
        let limit_server = limits.as_ref().and_then(|limits| limits.server.clone());
        let bandwidths = limits.as_ref().and_then(CheckedLimits::bandwidths);
        let max_cool_down = limits.as_ref().and_then(|limits| limits.max_cool_down);
        let needs_origins = limits.is_some() || settings.affinity;
        let sessions = sessions
            .into_factory(
                settings.attempt_limits.stall_timeout,
                settings.reauthenticate,
                filter,
            )
            .map_err(PoolError::session)?;
        // A time that the clock cannot express is no limit.
        let deadline = settings
            .deadline
            .and_then(|limit| Instant::now().checked_add(limit));
        let policy = Policy {
            attempt_limits: settings.attempt_limits,
            handlers: settings.handlers,
            error_for_status: settings.error_for_status,
            reauthenticate: settings.reauthenticate,
            observer: settings.observer,
            counters: Arc::default(),
            retry_budget: settings.retry.as_ref().and_then(Retry::token_bucket),
            retry: settings.retry,
            max_cool_down,
            bandwidths,
            deadline,
        };
        let (user_channel, watcher) = settings.job_queue.map(UserChannel::new).unzip();
        let queue = Arc::new(JobQueue::new(
            Schedule::new(limits, settings.affinity),
            needs_origins,
            room,
        ));
        let max_unread = settings.max_unread.map(|max| UnreadLimit::new(max, &queue));
        let (sender, results) = results::channel(max_unread);
        let core = Core::new(
            policy,
            queue,
            user_channel,
            needs_origins,
            settings.discard_outcomes,
            sender,
        );
        let threads = Threads::new(
            core,
            sessions,
            ThreadSettings {
                max,
                concurrency,
                name: settings.thread_name,
                stack_size: settings.thread_stack_size,
            },
        );
        let pool = Pool {
            guard: PoolGuard { threads, results },
            window,
        };
        let PoolGuard { threads, results } = &pool.guard;
        if let Some(watcher) = watcher {
            let threads = Arc::downgrade(threads);
            let wake = move || {
                if let Some(threads) = threads.upgrade() {
                    threads.core.user_channel_is_ready();
                }
            };
            watcher.start(wake).map_err(PoolError::spawn)?;
        }
        #[cfg(feature = "redis")]
        if let Some(server) = limit_server {
            shared_limits::start(server, threads)?;
        }
        for request in requests {
            // The intake is open, and the run cannot have been cancelled yet.
            let _ = threads.core.submit(request, None);
        }
        if let Some(deadline) = deadline {
            threads.watch_deadline(results, deadline)?;
        }
        threads.start(workers)?;
        Ok(pool)
    }
}
