//! The threads of a process that consumes a queue: one takes jobs and blocks for them, one keeps the leases.

use std::time::{Duration, Instant};

use redis::{Connection, RedisError, RedisResult};

use super::scripts::{self, GROUP};
use super::{DelayData, Ending, Fields, Held, Shared, StreamEntry, field};
use crate::error::Error;
use crate::queue::{Entry, TakenJob, outcome_of_dead};
use crate::request::RequestSpec;

/// For how long the server is asked to wait for a job. An idle consumer asks twice in that time, and ends so long after the
/// last job of another one.
const BLOCK: Duration = Duration::from_secs(3);

/// The most jobs that are taken, or leases that are renewed, at once.
const MAX_AT_ONCE: usize = 500;

/// A job that was taken: its entry, and how often it was delivered before.
struct Arrival {
    entry: String,
    fields: Fields,
    deliveries: u32,
}

impl Shared {
    // ---- taking ----------------------------------------------------------------------------------------------------

    /// Takes jobs as long as there is room for them.
    pub(super) fn take_jobs(&self) {
        // A connection of its own: others would wait for what blocks it.
        let mut connection = None;
        let mut delay = Duration::from_millis(20);
        loop {
            let wanted = self.reader.wait(None, || {
                let state = self.state.lock();
                let wanted = state.wanted.saturating_sub(state.ready.len());
                (wanted > 0 || state.is_dropped).then_some(wanted)
            });
            let mut state = self.state.lock();
            if state.is_dropped {
                state.takes_jobs = false;
                drop(state);
                self.keeper.notify_one();
                return;
            }
            drop(state);
            let taken = self.read(&mut connection, wanted.unwrap_or(0).min(MAX_AT_ONCE));
            match taken {
                Ok(()) => delay = Duration::from_millis(20),
                Err(error) => {
                    connection = None;
                    self.endure(&error, &mut delay);
                }
            }
        }
    }

    /// Waits if the server is away. Otherwise, tells the deliveries why there are no more.
    fn endure(&self, error: &RedisError, delay: &mut Duration) {
        match self.server.check_outage(error) {
            Ok(()) => {
                log::warn!(
                    "the queue `{}` is not available: {error}",
                    self.settings.name
                );
                self.server.pause(delay, || self.state.lock().is_dropped);
            }
            Err(failure) => {
                let mut state = self.state.lock();
                state.failure = Some(failure);
                state.wanted = 0;
                drop(state);
                self.wake_watchers();
            }
        }
    }

    /// Takes jobs that wait, at most so many; blocks for a while if there are none.
    fn read(&self, connection: &mut Option<Connection>, max: usize) -> RedisResult<()> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.server.connect(BLOCK)?),
        };
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer);
        command.arg("COUNT").arg(max);
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command.arg("STREAMS").arg(&self.server.keys.jobs).arg(">");
        let streams: Option<Vec<(String, Vec<StreamEntry>)>> = command.query(open)?;
        let entries: Vec<StreamEntry> = streams
            .into_iter()
            .flatten()
            .flat_map(|(_, entries)| entries)
            .collect();
        if entries.is_empty() {
            let is_over = self
                .server
                .keys
                .call(&scripts::IS_OVER)
                .invoke::<bool>(open)?;
            self.set_over(is_over);
            return Ok(());
        }
        let arrivals = entries.into_iter().map(|(entry, fields)| Arrival {
            entry,
            fields,
            deliveries: 0,
        });
        self.accept(open, arrivals.collect())
    }

    /// Makes jobs of what was taken, and marks those that must not be sent twice.
    fn accept(&self, connection: &mut Connection, arrivals: Vec<Arrival>) -> RedisResult<()> {
        let mut jobs = Vec::new();
        for arrival in arrivals {
            match self.understand(&arrival) {
                Ok(job) => jobs.push((arrival.entry, job)),
                Err((id, request, error)) => {
                    let spec = field(&arrival.fields, "spec").unwrap_or_default();
                    let outcome = outcome_of_dead(&id, request, error);
                    let mut call = self.server.keys.call(&scripts::BURY);
                    call.arg(&arrival.entry).arg(&id).arg(spec).arg(outcome);
                    let is_over = call.invoke::<bool>(connection)?;
                    self.set_over(is_over);
                }
            }
        }
        if jobs.is_empty() {
            return Ok(());
        }
        self.mark(connection, &mut jobs)?;
        let mut state = self.state.lock();
        state.is_over = false;
        for (entry, mut job) in jobs {
            let held = Held {
                entry,
                starts: job.entry.starts,
                is_started: false,
            };
            if state.watchers.is_empty() || state.is_dropped {
                // The pool has gone meanwhile.
                state.endings.push(Ending::Release(held));
                continue;
            }
            job.entry.place = state.hold(held);
            state.ready.push_back(job);
        }
        drop(state);
        self.keeper.notify_one();
        self.wake_watchers();
        Ok(())
    }

    /// Marks jobs that are not idempotent. One that was marked before may have been sent.
    fn mark(
        &self,
        connection: &mut Connection,
        jobs: &mut [(String, TakenJob)],
    ) -> RedisResult<()> {
        let mut call = self.server.keys.call(&scripts::MARK);
        let mut marked = Vec::new();
        for (entry, job) in jobs {
            if !job.request.is_idempotent() {
                call.arg(&*job.entry.job_id);
                call.arg(format!("{} {entry}", self.consumer));
                marked.push(job);
            }
        }
        if marked.is_empty() {
            return Ok(());
        }
        let were_marked: Vec<bool> = call.invoke(connection)?;
        for (job, was_marked) in marked.into_iter().zip(were_marked) {
            if was_marked {
                job.entry.starts = job.entry.starts.max(1);
            }
        }
        Ok(())
    }

    /// The job of an entry; or its id, request, and why it is dead.
    fn understand(&self, arrival: &Arrival) -> Result<TakenJob, (String, RequestSpec, Error)> {
        let text = |name| field(&arrival.fields, name).map(String::from_utf8_lossy);
        let none = || RequestSpec::get("");
        let (Some(id), Some(spec)) = (text("id"), field(&arrival.fields, "spec")) else {
            let error = Error::invalid_request("the entry is no job: it has no `id` or no `spec`");
            return Err((arrival.entry.clone(), none(), error));
        };
        let id = id.into_owned();
        let request = match self.settings.secrets.read(&id, spec) {
            Ok(request) => request,
            Err(reason) => return Err((id, none(), Error::invalid_request(reason))),
        };
        let before = text("starts").and_then(|starts| starts.parse::<u32>().ok());
        let starts = before
            .unwrap_or_default()
            .saturating_add(arrival.deliveries);
        if starts >= self.settings.max_deliveries {
            return Err((id, request, Error::interrupted(starts)));
        }
        let delay = text("delay").filter(|delay| !delay.is_empty());
        let delay = delay.and_then(|delay| serde_json::from_str::<DelayData>(&delay).ok());
        Ok(TakenJob {
            entry: Entry {
                job_id: id.into(),
                place: usize::MAX,
                starts,
            },
            request,
            delay: delay.map(DelayData::into_delay),
        })
    }

    // ---- keeping ---------------------------------------------------------------------------------------------------

    /// Renews leases, takes over those that have run out, ends those that are given back, and looks after delayed jobs.
    pub(super) fn keep_leases(&self) {
        let interval = self.settings.lease / 3;
        let mut delay = Duration::from_millis(20);
        let mut next_renewal = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_renewal {
                match self.renew_and_reclaim() {
                    Ok(next_due) => {
                        delay = Duration::from_millis(20);
                        let due = next_due.and_then(|due| now.checked_add(due));
                        next_renewal = (now + interval).min(due.unwrap_or(now + interval));
                    }
                    Err(error) => self.endure(&error, &mut delay),
                }
            }
            match self.end_leases() {
                Ok(Some(due)) => next_renewal = next_renewal.min(due),
                Ok(None) => {}
                // The leases run out by themselves.
                Err(_) if self.state.lock().is_dropped => return,
                Err(error) => self.endure(&error, &mut delay),
            }
            let state = self.state.lock();
            // What the server gives the other thread until that ends is given back too.
            let is_done = state.is_dropped && !state.takes_jobs;
            if is_done && state.endings.is_empty() {
                return;
            }
            drop(state);
            self.keeper.wait(Some(next_renewal), || {
                let state = self.state.lock();
                let is_done = state.is_dropped && !state.takes_jobs;
                (is_done || !state.endings.is_empty()).then_some(())
            });
        }
    }

    /// Returns when the next delayed job is due.
    fn renew_and_reclaim(&self) -> RedisResult<Option<Duration>> {
        let state = self.state.lock();
        let held: Vec<String> = (state.held.iter().flatten())
            .map(|held| held.entry.clone())
            .collect();
        let room = state.wanted.saturating_sub(state.ready.len());
        drop(state);
        for entries in held.chunks(MAX_AT_ONCE) {
            self.server.call_once(|connection, keys| {
                let mut call = keys.call(&scripts::RENEW);
                call.arg(&self.consumer);
                for entry in entries {
                    call.arg(entry);
                }
                call.invoke::<()>(connection)
            })?;
        }
        if room > 0 {
            self.server.call_once(|connection, keys| {
                let mut call = keys.call(&scripts::RECLAIM);
                call.arg(&self.consumer);
                call.arg(self.settings.lease.as_millis() as u64);
                call.arg(room.min(MAX_AT_ONCE));
                let taken: Vec<(String, Fields, u32)> = call.invoke(connection)?;
                let arrivals = taken
                    .into_iter()
                    .map(|(entry, fields, deliveries)| Arrival {
                        entry,
                        fields,
                        deliveries: deliveries.saturating_sub(1),
                    });
                self.accept(connection, arrivals.collect())
            })?;
        }
        let next_due: i64 = self
            .server
            .call_once(|connection, keys| keys.call(&scripts::MOVE_DUE).invoke(connection))?;
        Ok(u64::try_from(next_due).ok().map(Duration::from_millis))
    }

    /// Ends the leases that are to be ended. Returns when the first of those jobs is due that wait for a retry.
    fn end_leases(&self) -> RedisResult<Option<Instant>> {
        let mut next_due: Option<Instant> = None;
        loop {
            let Some(ending) = self.state.lock().endings.pop() else {
                return Ok(next_due);
            };
            let ended = self.server.call_once(|connection, keys| match &ending {
                Ending::Release(held) => {
                    let starts = held.starts + u32::from(held.is_started);
                    let mut call = keys.call(&scripts::RELEASE);
                    call.arg(&held.entry)
                        .arg(i32::from(held.is_started))
                        .arg(starts);
                    call.invoke::<()>(connection)
                }
                Ending::Postpone(held, due, data) => {
                    let now = Instant::now();
                    let left = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
                    // The server counts in numbers of 53 bits.
                    let millis = u64::try_from(left.as_millis())
                        .unwrap_or(u64::MAX)
                        .min(1 << 50);
                    let mut call = keys.call(&scripts::POSTPONE);
                    call.arg(&held.entry).arg(millis).arg(data);
                    call.invoke::<()>(connection)
                }
            });
            match (ended, ending) {
                (Ok(()), Ending::Postpone(_, due, _)) => {
                    next_due = [next_due, due].into_iter().flatten().min();
                }
                (Ok(()), Ending::Release(_)) => {}
                (Err(error), ending) => {
                    self.state.lock().endings.push(ending);
                    return Err(error);
                }
            }
        }
    }
}
