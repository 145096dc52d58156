//! Limits that are shared with other pools: the threads that ask their server and listen to it, so that no worker waits for it.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::error::PoolError;
use super::queue::{Asking, JobQueue};
use super::threads::Threads;
use crate::limits::shared::{Ask, LimitError, LimitNews, LimitServer};
use crate::schedule::OriginKey;
use crate::sync::thread;

/// The first delay between two attempts to reach the server.
const DELAY: Duration = Duration::from_millis(20);

/// For how many origins the server is asked at once, at most.
const MAX_AT_ONCE: usize = 100;

/// What both threads have. They end when the pool has.
#[derive(Clone)]
struct LimitClient {
    server: Arc<dyn LimitServer>,
    /// Tells this pool from others.
    pool: Arc<str>,
    threads: Weak<Threads>,
    queue: Weak<JobQueue>,
    asking: Arc<Asking>,
}

/// Starts both threads.
pub(super) fn start(server: Arc<dyn LimitServer>, threads: &Arc<Threads>) -> Result<(), PoolError> {
    let queue = &threads.core.queue;
    let client = LimitClient {
        server,
        pool: format!("{:032x}", fastrand::u128(..)).into(),
        threads: Arc::downgrade(threads),
        queue: Arc::downgrade(queue),
        asking: Arc::clone(&queue.asking),
    };
    for (name, run) in [
        (
            "threaded-limits",
            LimitClient::ask_until_over as fn(&LimitClient),
        ),
        ("threaded-news", LimitClient::listen_until_over),
    ] {
        let client = client.clone();
        let thread = thread::Builder::new().name(name.to_owned());
        thread
            .spawn(move || run(&client))
            .map_err(PoolError::spawn)?;
    }
    Ok(())
}

impl LimitClient {
    fn ask_until_over(&self) {
        let renewal = self.server.lease() / 3;
        let mut next_renewal = Instant::now() + renewal;
        let mut delay = DELAY;
        while !self.is_over() {
            self.asking.waiting.wait(Some(next_renewal), || {
                let queue = self.queue.upgrade();
                let has_work = queue.map_or_else(|| self.is_over(), |queue| queue.has_to_ask());
                has_work.then_some(())
            });
            let Some(queue) = self.queue.upgrade() else {
                continue;
            };
            if Instant::now() >= next_renewal {
                queue.with_schedule(|schedule, _| schedule.renew());
                next_renewal = Instant::now() + renewal;
            }
            let asked = self.ask_once(&queue);
            self.asking.settled.notify_all();
            match asked {
                Ok(()) => delay = DELAY,
                Err(error) => {
                    drop(queue);
                    if self.is_final(&error) {
                        return;
                    }
                    self.asking.waiting.back_off(&mut delay, || self.is_over());
                }
            }
        }
        // That there was something stays known: the other thread ends by it.
        let left = self.asking.left.lock().as_mut().map(std::mem::take);
        let left = left.unwrap_or_default();
        if !left.untold.is_empty() {
            let _ = self.server.cool_down(&self.pool, &left.untold);
        }
        // The places that are left are for others now. What this does not give back, the end of the lease does.
        let asks: Vec<Ask> = left.held.into_iter().map(Ask::for_nothing).collect();
        for asks in asks.chunks(MAX_AT_ONCE) {
            if self.server.ask(&self.pool, asks).is_err() {
                return;
            }
        }
    }

    fn ask_once(&self, queue: &JobQueue) -> Result<(), LimitError> {
        let untold = queue.with_schedule(|schedule, now| schedule.take_untold(now));
        if !untold.is_empty() {
            self.server
                .cool_down(&self.pool, &untold)
                .inspect_err(|_| {
                    queue.with_schedule(|schedule, _| {
                        for (origin, until) in untold {
                            schedule.tell(origin, until);
                        }
                    });
                })?;
        }
        let mut asks = queue.with_schedule(|schedule, now| schedule.take_asks(now));
        while !asks.is_empty() {
            let rest = asks.split_off(asks.len().min(MAX_AT_ONCE));
            let (keys, asked): (Vec<OriginKey>, Vec<Ask>) = asks.into_iter().unzip();
            match self.server.ask(&self.pool, &asked) {
                Ok(given) => queue.with_schedule(|schedule, now| {
                    for ((key, asked), given) in keys.into_iter().zip(asked).zip(given) {
                        schedule.give(key, &asked, given, now);
                    }
                }),
                Err(error) => {
                    let rest = rest.into_iter().map(|(key, _)| key);
                    queue.with_schedule(|schedule, _| {
                        keys.into_iter()
                            .chain(rest)
                            .for_each(|key| schedule.ask_again(key));
                    });
                    return Err(error);
                }
            }
            asks = rest;
        }
        Ok(())
    }

    fn listen_until_over(&self) {
        let mut delay = DELAY;
        loop {
            let result = self.server.listen(&self.pool, &mut |news| {
                let Some(queue) = self.queue.upgrade() else {
                    return false;
                };
                delay = DELAY;
                if let Some(news) = news {
                    queue.with_schedule(|schedule, now| schedule.hear(news, now));
                }
                true
            });
            // Otherwise the queue has gone.
            let Err(error) = result else {
                return;
            };
            if let Some(queue) = self.queue.upgrade() {
                queue.with_schedule(|schedule, now| schedule.hear(LimitNews::Interrupted, now));
            }
            if self.is_final(&error) {
                return;
            }
            self.asking.waiting.back_off(&mut delay, || self.is_over());
            if self.is_over() {
                return;
            }
        }
    }

    /// Whether the queue has gone, and left what there is left to do.
    fn is_over(&self) -> bool {
        self.asking.left.lock().is_some()
    }

    /// Whether nothing more can be had of the server: then the jobs that wait for it end.
    fn is_final(&self, error: &LimitError) -> bool {
        if error.is_final {
            log::error!(
                "no more limits to share, so the pool is cancelled: {}",
                error.message
            );
            if let Some(threads) = self.threads.upgrade() {
                threads.core.cancel();
            }
        } else {
            log::warn!(
                "the server of shared limits is not available: {}",
                error.message
            );
        }
        error.is_final
    }
}
