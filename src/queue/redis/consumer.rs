//! The threads of a process that consumes a queue: one takes jobs and blocks for them, one keeps the leases.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use redis::{Connection, RedisError, RedisResult};

use super::scripts::{self, GROUP};
use super::store::{Ending, Fields, Held, Shared, StreamEntry, field};
use crate::error::Error;
use crate::queue::{Entry, Made, TakenJob, outcome_of_dead};
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

impl Arrival {
    /// How often it counts as started before.
    fn starts(&self) -> u32 {
        let before = field(&self.fields, "starts").map(String::from_utf8_lossy);
        let before = before.and_then(|starts| starts.parse::<u32>().ok());
        before.unwrap_or_default().saturating_add(self.deliveries)
    }
}

/// A job that was taken, and how often that was counted before.
struct Understood {
    job: TakenJob,
    starts: u32,
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
                (wanted > 0 || state.has_unknown || state.is_dropped).then_some(wanted)
            });
            let mut state = self.state.lock();
            if state.is_dropped {
                state.takes_jobs = false;
                drop(state);
                self.keeper.notify_one();
                return;
            }
            let has_unknown = state.has_unknown;
            drop(state);
            let wanted = wanted.unwrap_or(0).min(MAX_AT_ONCE);
            let taken = if has_unknown {
                self.adopt(&mut connection)
            } else {
                self.read(&mut connection, wanted)
            };
            self.server.note(&taken);
            match taken {
                Ok(()) => delay = Duration::from_millis(20),
                Err(error) => {
                    connection = None;
                    self.state.lock().has_unknown = true;
                    self.endure(&error, &mut delay);
                }
            }
        }
    }

    /// Waits if the server is away. Otherwise, tells the deliveries why there are no more.
    fn endure(&self, error: &RedisError, delay: &mut Duration) {
        match self.server.check_outage(error) {
            Ok(_) => log::warn!(
                "the queue `{}` is not available: {error}",
                self.settings.name
            ),
            Err(failure) => {
                let mut state = self.state.lock();
                state.failure = Some(failure);
                state.wanted = 0;
                drop(state);
                self.wake_watchers();
            }
        }
        self.server
            .waiting
            .back_off(delay, || self.state.lock().is_dropped);
    }

    /// Takes in the jobs that the server holds to be this consumer's, of which a reply has not arrived.
    fn adopt(&self, connection: &mut Option<Connection>) -> RedisResult<()> {
        let mut after = "0".to_owned();
        loop {
            let mut arrivals = self.ask(connection, MAX_AT_ONCE, &after)?;
            let Some(last) = arrivals.last() else {
                break;
            };
            after.clone_from(&last.entry);
            // Without those that were deleted.
            arrivals.retain(|arrival| !arrival.fields.is_empty());
            if let Some(open) = connection {
                self.accept(open, arrivals)?;
            }
        }
        self.state.lock().has_unknown = false;
        Ok(())
    }

    /// Takes jobs that wait, at most so many; blocks for a while if there are none.
    fn read(&self, connection: &mut Option<Connection>, max: usize) -> RedisResult<()> {
        let arrivals = self.ask(connection, max, ">")?;
        let Some(open) = connection else {
            return Ok(());
        };
        if arrivals.is_empty() {
            let keys = &self.server.keys;
            let is_over = keys.call(&scripts::IS_OVER).invoke::<bool>(open)?;
            self.set_over(is_over);
            return Ok(());
        }
        self.accept(open, arrivals)
    }

    /// Asks for entries: those that wait, or those of this consumer after this one.
    fn ask(
        &self,
        connection: &mut Option<Connection>,
        max: usize,
        after: &str,
    ) -> RedisResult<Vec<Arrival>> {
        let open = match connection {
            Some(open) => open,
            None => connection.insert(self.server.connect(BLOCK)?),
        };
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(&self.consumer);
        command.arg("COUNT").arg(max);
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
        command
            .arg("STREAMS")
            .arg(&self.server.keys.jobs)
            .arg(after);
        let streams: Option<Vec<(String, Vec<StreamEntry>)>> = command.query(open)?;
        let entries = streams.into_iter().flatten();
        let entries = entries.flat_map(|(_, entries)| entries);
        let arrivals = entries.map(|(entry, fields)| Arrival {
            entry,
            fields: fields.unwrap_or_default(),
            deliveries: 0,
        });
        Ok(arrivals.collect())
    }

    /// Makes jobs of what was taken, and marks those that must not be sent twice.
    fn accept(&self, connection: &mut Connection, arrivals: Vec<Arrival>) -> RedisResult<()> {
        let mut jobs = Vec::new();
        let mut state = self.state.lock();
        if state.watchers.is_empty() || state.is_dropped {
            // The pool has gone meanwhile.
            let held = arrivals.into_iter().map(|arrival| Held {
                starts: arrival.starts(),
                entry: arrival.entry,
                is_started: false,
                is_last_chance: false,
            });
            state.endings.extend(held.map(Ending::Release));
            drop(state);
            self.keeper.notify_one();
            return Ok(());
        }
        let known = state.leased_entries();
        drop(state);
        for arrival in arrivals {
            if known.contains(&arrival.entry) {
                // The group was made again, and begins with what this process is at.
                continue;
            }
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
        let known = state.leased_entries();
        for (entry, job) in jobs {
            if known.contains(&entry) {
                // The other thread has taken it in meanwhile.
                continue;
            }
            let held = Held {
                entry,
                starts: job.starts,
                is_started: false,
                is_last_chance: job.starts + 1 == self.settings.max_deliveries,
            };
            let mut job = job.job;
            if state.watchers.is_empty() || state.is_dropped {
                // The pool has gone meanwhile.
                state.endings.push_back(Ending::Release(held));
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
        jobs: &mut Vec<(String, Understood)>,
    ) -> RedisResult<()> {
        let mut call = self.server.keys.call(&scripts::MARK);
        let mut marked = Vec::new();
        let mut state = self.state.lock();
        for (entry, job) in &mut *jobs {
            if !job.job.request.is_idempotent() {
                let token = state.marks_in_doubt.entry(entry.clone());
                let token = token.or_insert_with(|| format!("{:032x}", fastrand::u128(..)));
                call.arg(&*entry).arg(&*job.job.entry.job_id).arg(&*token);
                marked.push((entry, job));
            }
        }
        drop(state);
        // It also looks whether this is the same queue still, so it is called in any case.
        let found: Vec<u8> = call.invoke(connection)?;
        let mut state = self.state.lock();
        let mut gone = HashSet::new();
        for ((entry, job), found) in marked.into_iter().zip(found) {
            state.marks_in_doubt.remove(entry);
            // What was not marked cannot have been sent, however often it was taken.
            let starts = &mut job.job.entry.starts;
            *starts = if found == 0 { 0 } else { (*starts).max(1) };
            if found == 2 {
                gone.insert(entry.clone());
            }
        }
        drop(state);
        jobs.retain(|(entry, _)| !gone.contains(entry));
        Ok(())
    }

    /// The job of an entry; or its id, request, and why it is dead.
    fn understand(&self, arrival: &Arrival) -> Result<Understood, (String, RequestSpec, Error)> {
        let text = |name| field(&arrival.fields, name).map(String::from_utf8_lossy);
        let none = || RequestSpec::get("");
        let (Some(id), Some(spec)) = (text("id"), field(&arrival.fields, "spec")) else {
            let error = Error::invalid_request("the entry is no job: it has no `id` or no `spec`");
            return Err((arrival.entry.clone(), none(), error));
        };
        let id = id.into_owned();
        let request = self.settings.secrets.read(&id, spec);
        let request =
            request.and_then(|request| request.with_paths(|path| self.settings.resolve(path)));
        let request = match request {
            Ok(request) => request,
            Err(reason) => return Err((id, none(), Error::invalid_request(reason))),
        };
        let starts = arrival.starts();
        if starts >= self.settings.max_deliveries {
            return Err((id, request, Error::interrupted(starts)));
        }
        let delay = text("delay").filter(|delay| !delay.is_empty());
        let made = delay.and_then(|delay| serde_json::from_str::<Made>(&delay).ok());
        let job = TakenJob {
            entry: Entry {
                job_id: id.into(),
                place: usize::MAX,
                starts,
            },
            request,
            made,
        };
        Ok(Understood { job, starts })
    }

    // ---- keeping ---------------------------------------------------------------------------------------------------

    /// Renews leases, takes over those that have run out, ends those that are given back, and looks after delayed jobs.
    pub(super) fn keep_leases(&self) {
        let interval = self.settings.lease / 3;
        let mut delay = Duration::from_millis(20);
        let mut next_renewal = Instant::now();
        let mut next_due = Some(Instant::now());
        loop {
            let result = self.keep_once(interval, &mut next_renewal, &mut next_due);
            let state = self.state.lock();
            // What the server gives the other thread until that ends is given back too. What an error has kept from being given
            // back then, the end of its lease does.
            let is_done = state.is_dropped && !state.takes_jobs;
            if is_done && (state.endings.is_empty() || result.is_err()) {
                drop(state);
                self.settled.notify_all();
                return;
            }
            drop(state);
            match result {
                Ok(()) => delay = Duration::from_millis(20),
                Err(error) => {
                    self.endure(&error, &mut delay);
                    continue;
                }
            }
            let until = next_due.map_or(next_renewal, |due| due.min(next_renewal));
            self.keeper.wait(Some(until), || {
                let state = self.state.lock();
                let is_done = state.is_dropped && !state.takes_jobs;
                let has_more = !state.endings.is_empty() || state.reclaims_now;
                (is_done || has_more).then_some(())
            });
        }
    }

    fn keep_once(
        &self,
        interval: Duration,
        next_renewal: &mut Instant,
        next_due: &mut Option<Instant>,
    ) -> RedisResult<()> {
        let is_due = Instant::now() >= *next_renewal;
        if is_due {
            self.renew()?;
            *next_renewal = Instant::now() + interval;
        }
        let reclaims_now = std::mem::take(&mut self.state.lock().reclaims_now);
        if is_due || reclaims_now {
            self.reclaim()?;
        }
        if let Some(due) = self.end_some_leases()? {
            *next_due = Some(next_due.map_or(due, |next| next.min(due)));
        }
        if is_due || next_due.is_some_and(|due| Instant::now() >= due) {
            let next: i64 = self
                .server
                .call_once(|connection, keys| keys.call(&scripts::MOVE_DUE).invoke(connection))?;
            let next = u64::try_from(next).ok().map(Duration::from_millis);
            *next_due = next.and_then(|next| Instant::now().checked_add(next));
        }
        Ok(())
    }

    fn renew(&self) -> RedisResult<()> {
        let state = self.state.lock();
        let leased: Vec<String> = state.leased().map(|held| held.entry.clone()).collect();
        drop(state);
        for entries in leased.chunks(MAX_AT_ONCE) {
            self.server.call_once(|connection, keys| {
                let mut call = keys.call(&scripts::RENEW);
                call.arg(&self.consumer);
                for entry in entries {
                    call.arg(entry);
                }
                call.invoke::<()>(connection)
            })?;
        }
        Ok(())
    }

    /// Takes over jobs whose leases have run out, if there is room for them.
    fn reclaim(&self) -> RedisResult<()> {
        let state = self.state.lock();
        let room = state.wanted.saturating_sub(state.ready.len());
        let has_last_chance = state.leased().any(|held| held.is_last_chance);
        drop(state);
        if room == 0 {
            return Ok(());
        }
        let result = self.server.call_once(|connection, keys| {
            let mut call = keys.call(&scripts::RECLAIM);
            call.arg(&self.consumer);
            call.arg(self.settings.lease.as_millis() as u64);
            call.arg(room.min(MAX_AT_ONCE));
            call.arg(self.settings.max_deliveries);
            call.arg(i32::from(!has_last_chance));
            let taken: Vec<(String, Fields, u32)> = call.invoke(connection)?;
            let arrivals = taken
                .into_iter()
                .map(|(entry, fields, deliveries)| Arrival {
                    entry,
                    fields,
                    deliveries,
                });
            self.accept(connection, arrivals.collect())
        });
        if result.is_err() {
            self.state.lock().has_unknown = true;
            self.reader.notify_one();
        }
        result
    }

    /// Ends some of the leases that are to be ended, the oldest first. Returns when the first of those jobs is due that wait for a
    /// retry.
    fn end_some_leases(&self) -> RedisResult<Option<Instant>> {
        let now = Instant::now();
        let (mut released, mut postponed, mut next_due) = (Vec::new(), Vec::new(), None);
        let state = self.state.lock();
        let count = state.endings.len().min(MAX_AT_ONCE);
        for ending in state.endings.iter().take(count) {
            match ending {
                Ending::Release(held) => {
                    let starts = held.starts + u32::from(held.is_started);
                    released.push((held.entry.clone(), i32::from(held.is_started), starts));
                }
                Ending::Postpone(held, due, data) => {
                    let left = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
                    // The server counts in numbers of 53 bits.
                    let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                    postponed.push((held.entry.clone(), millis.min(1 << 50), data.clone()));
                    next_due = [next_due, *due].into_iter().flatten().min();
                }
            }
        }
        drop(state);
        if count == 0 {
            return Ok(None);
        }
        self.server.call_once(|connection, keys| {
            if !released.is_empty() {
                let mut call = keys.call(&scripts::RELEASE);
                for (entry, is_started, starts) in &released {
                    call.arg(entry).arg(is_started).arg(starts);
                }
                call.invoke::<()>(connection)?;
            }
            if !postponed.is_empty() {
                let mut call = keys.call(&scripts::POSTPONE);
                for (entry, millis, data) in &postponed {
                    call.arg(entry).arg(millis).arg(data);
                }
                call.invoke::<()>(connection)?;
            }
            Ok(())
        })?;
        // Only this thread removes any.
        let mut state = self.state.lock();
        state.endings.drain(..count);
        let is_settled = state.endings.is_empty();
        drop(state);
        if is_settled {
            self.settled.notify_all();
        }
        Ok(next_due)
    }
}
