//! The settings of a pool that do not depend on what its sessions are made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::addresses::AddressFilter;
use crate::fetch::AttemptLimits;
use crate::limits::Limits;
use crate::observe::Observer;
use crate::origin::Origin;
use crate::pool::PoolError;
use crate::pool::threads::ThreadSettings;
use crate::request::{Handlers, RequestSpec};
use crate::retry::Retry;
use crate::sync::channel::Receiver;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) num_threads: Option<usize>,
    pub(super) concurrency: Option<usize>,
    pub(super) job_queue: Option<Receiver<RequestSpec>>,
    pub(super) window: Option<usize>,
    pub(super) max_unread: Option<usize>,
    pub(super) discard_outcomes: bool,
    pub(super) deadline: Option<Duration>,
    pub(super) attempt_limits: AttemptLimits,
    pub(super) handlers: Handlers,
    pub(super) error_for_status: bool,
    pub(super) retry: Option<Retry>,
    pub(super) limits: Option<Limits>,
    pub(super) affinity: bool,
    pub(super) reauthenticate: bool,
    pub(super) public_addresses_only: bool,
    pub(super) allowed_origins: Vec<String>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) thread_name: Arc<dyn Fn(usize) -> String + Send + Sync>,
    pub(super) thread_stack_size: Option<usize>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            num_threads: None,
            concurrency: None,
            job_queue: None,
            window: None,
            max_unread: None,
            discard_outcomes: false,
            deadline: None,
            attempt_limits: AttemptLimits::default(),
            handlers: Handlers::new(),
            error_for_status: false,
            retry: None,
            limits: None,
            affinity: false,
            reauthenticate: false,
            public_addresses_only: false,
            allowed_origins: Vec::new(),
            observer: None,
            thread_name: Arc::new(ThreadSettings::default_name),
            thread_stack_size: None,
        }
    }
}

/// How many requests an event-driven worker has in flight by default.
const IN_FLIGHT_PER_THREAD: usize = 64;

/// With fewer requests in flight for each of them, one event loop less does the same work at less cost: it finds more to do
/// each time it asks the system.
const MIN_IN_FLIGHT_PER_THREAD: usize = 16;

/// The default window, for each request that may be in flight: one job in flight, one queued, and two whose outcomes are unread.
const JOBS_PER_WORKER: usize = 4;

/// The least default window with event loops: so many jobs are queued while outcomes are held back from the reader for a
/// moment that no request waits for it.
const MIN_EVENT_DRIVEN_WINDOW: usize = 128;

/// Enough to find jobs for other origins while some are limited, or while many jobs wait for a retry.
const JOBS_TO_LOOK_AHEAD: usize = 1_000;

impl Settings {
    /// The number of workers, and the maximum number of requests in flight over all of them.
    pub(super) fn workers(&self, is_event_driven: bool) -> (usize, usize) {
        if !is_event_driven {
            let set = self.concurrency.or(self.num_threads);
            let workers = set.unwrap_or_else(num_cpus::get);
            return (workers, workers);
        }
        match (self.num_threads, self.concurrency) {
            (Some(threads), Some(concurrency)) => (threads.min(concurrency), concurrency),
            (None, Some(concurrency)) => {
                let useful = concurrency.div_ceil(MIN_IN_FLIGHT_PER_THREAD);
                (useful.min(num_cpus::get()), concurrency)
            }
            (threads, None) => {
                let threads = threads.unwrap_or_else(num_cpus::get);
                (threads, threads.saturating_mul(IN_FLIGHT_PER_THREAD))
            }
        }
    }

    /// The maximum number of jobs that are taken out of the user's channel ahead of time.
    pub(super) fn room(&self) -> usize {
        self.window.unwrap_or(JOBS_TO_LOOK_AHEAD).max(1)
    }

    /// The addresses that may be connected to; `None` if all may.
    pub(super) fn address_filter(&self) -> Result<Option<AddressFilter>, PoolError> {
        let allowed = self
            .allowed_origins
            .iter()
            .map(|origin| Origin::parse(origin));
        let allowed = allowed
            .collect::<Result<Vec<Origin>, String>>()
            .map_err(PoolError::AllowedOrigin)?;
        Ok(self
            .public_addresses_only
            .then(|| AddressFilter::new(allowed)))
    }

    pub(super) fn window(&self, concurrency: usize, is_event_driven: bool) -> usize {
        let min = if is_event_driven {
            MIN_EVENT_DRIVEN_WINDOW
        } else {
            0
        };
        self.window
            .unwrap_or_else(|| concurrency.saturating_mul(JOBS_PER_WORKER).max(min))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            num_threads,
            concurrency,
            job_queue,
            window,
            max_unread,
            discard_outcomes,
            deadline,
            attempt_limits,
            handlers,
            error_for_status,
            retry,
            limits,
            affinity,
            reauthenticate,
            public_addresses_only,
            allowed_origins,
            observer,
            thread_name: _,
            thread_stack_size,
        } = self;
        f.debug_struct("Settings")
            .field("num_threads", num_threads)
            .field("concurrency", concurrency)
            .field("job_queue", &job_queue.is_some())
            .field("window", window)
            .field("max_unread", max_unread)
            .field("discard_outcomes", discard_outcomes)
            .field("deadline", deadline)
            .field("attempt_limits", attempt_limits)
            .field("handlers", &handlers.len())
            .field("error_for_status", error_for_status)
            .field("retry", retry)
            .field("limits", limits)
            .field("affinity", affinity)
            .field("reauthenticate", reauthenticate)
            .field("public_addresses_only", public_addresses_only)
            .field("allowed_origins", &allowed_origins.len())
            .field("observer", &observer.is_some())
            .field("thread_stack_size", thread_stack_size)
            .finish_non_exhaustive()
    }
}
