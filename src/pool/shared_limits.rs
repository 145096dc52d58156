//! Limits that are shared with other pools: the threads that ask their server and listen to it, so that no worker waits for it.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::error::PoolError;
use super::queue::{Asking, JobQueue};
use super::threads::Threads;
use crate::limits::shared::{Ask, Given, LimitError, LimitServer, News};
use crate::origin::Origin;
use crate::schedule::OriginKey;
use crate::sync::thread;

/// The first delay between two attempts to reach the server.
const DELAY: Duration = Duration::from_millis(20);

/// For how many origins the server is asked at once, at most.
const MAX_AT_ONCE: usize = 100;

/// What both threads have. They end when the pool has.
#[derive(Clone)]
struct Client {
    server: Arc<dyn LimitServer>,
    /// Tells this pool from others.
    pool: Arc<str>,
    threads: Weak<Threads>,
    queue: Weak<JobQueue>,
    asking: Arc<Asking>,
}

/// Starts both threads.
pub(super) fn start(
    server: Arc<dyn LimitServer>,
    threads: &Arc<Threads>,
    queue: &Arc<JobQueue>,
) -> Result<(), PoolError> {
    let client = Client {
        server,
        pool: format!("{:032x}", fastrand::u128(..)).into(),
        threads: Arc::downgrade(threads),
        queue: Arc::downgrade(queue),
        asking: Arc::clone(&queue.asking),
    };
    for (name, run) in [
        ("threaded-limits", Client::ask_until_over as fn(&Client)),
        ("threaded-news", Client::listen_until_over),
    ] {
        let client = client.clone();
        let thread = thread::Builder::new().name(name.to_owned());
        thread
            .spawn(move || run(&client))
            .map_err(PoolError::spawn)?;
    }
    Ok(())
}

impl Client {
    fn ask_until_over(&self) {
        let renewal = self.server.lease() / 3;
        let mut next_renewal = Instant::now() + renewal;
        let mut delay = DELAY;
        // The origins that the server keeps places of.
        let mut held = HashSet::new();
        while !self.is_over() {
            self.asking.waiting.wait(Some(next_renewal), || {
                let queue = self.queue.upgrade();
                queue.is_none_or(|queue| queue.has_to_ask()).then_some(())
            });
            let Some(queue) = self.queue.upgrade() else {
                break;
            };
            if Instant::now() >= next_renewal {
                queue.with_schedule(|schedule, _| schedule.renew());
                next_renewal = Instant::now() + renewal;
            }
            let asked = self.ask_once(&queue, &mut held);
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
        let untold = std::mem::take(&mut *self.asking.untold.lock());
        if !untold.is_empty() {
            let _ = self.server.cool_down(&self.pool, &untold);
        }
        // The places that are left are for others now. What this does not give back, the end of the lease does.
        let asks: Vec<Ask> = held.into_iter().map(Ask::for_nothing).collect();
        for asks in asks.chunks(MAX_AT_ONCE) {
            if self.server.ask(&self.pool, asks).is_err() {
                return;
            }
        }
    }

    fn ask_once(&self, queue: &JobQueue, held: &mut HashSet<Origin>) -> Result<(), LimitError> {
        let (mut asks, cool_downs) = queue.with_schedule(|schedule, now| schedule.take_asks(now));
        let began = Instant::now();
        let mut result = Ok(());
        if !cool_downs.is_empty() {
            result = self.server.cool_down(&self.pool, &cool_downs);
            if result.is_err() {
                queue.with_schedule(|schedule, _| {
                    for (origin, time) in cool_downs {
                        if let Some(until) = began.checked_add(time) {
                            schedule.tell(origin, until);
                        }
                    }
                });
            }
        }
        while !asks.is_empty() {
            let rest = asks.split_off(asks.len().min(MAX_AT_ONCE));
            let (keys, asks_now): (Vec<OriginKey>, Vec<Ask>) = asks.into_iter().unzip();
            asks = rest;
            let given = match &result {
                Ok(()) => self.server.ask(&self.pool, &asks_now),
                Err(_) => Ok(Vec::new()),
            };
            let given = given.unwrap_or_else(|error| {
                result = Err(error);
                Vec::new()
            });
            queue.with_schedule(|schedule, now| {
                let mut given = given.into_iter();
                for (key, ask) in keys.into_iter().zip(asks_now) {
                    match given.next() {
                        Some(given) => {
                            note_places(held, &ask, &given);
                            schedule.give(key, &ask, given, now);
                        }
                        None => schedule.ask_again(key),
                    }
                }
            });
        }
        result
    }

    fn listen_until_over(&self) {
        let mut delay = DELAY;
        while !self.is_over() {
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
            if let Err(error) = result {
                if let Some(queue) = self.queue.upgrade() {
                    queue.with_schedule(|schedule, now| schedule.hear(News::Interrupted, now));
                }
                if self.is_final(&error) {
                    return;
                }
                self.asking.waiting.back_off(&mut delay, || self.is_over());
            }
        }
    }

    fn is_over(&self) -> bool {
        self.queue.strong_count() == 0
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

/// Keeps account of the origins that the server keeps places of.
fn note_places(held: &mut HashSet<Origin>, asked: &Ask, given: &Given) {
    let Some(origin) = &asked.origin else {
        return;
    };
    if asked.held + given.places > 0 || given.places < asked.places {
        held.insert(origin.clone());
    } else {
        held.remove(origin);
    }
}
