//! The scripts that change a queue on the server: each is one atomic step. They use only commands of Redis 7.0 and older.

use std::sync::LazyLock;

use redis::Script;

use crate::origin::Origin;

/// The keys of a queue. Their common part in braces keeps them in one slot of a cluster.
pub(super) struct Keys {
    /// A hash: the version of the format, and an id, by which a queue is told from one that has taken its place.
    pub(super) meta: String,
    /// The id in `meta`.
    pub(super) id: String,
    /// A stream, with the group [`GROUP`]: jobs that wait or are leased. Fields: `id`, `spec`, `starts`, `delay`.
    pub(super) jobs: String,
    /// A sorted set of ids by the time at which they are due, in milliseconds since the epoch.
    pub(super) delayed: String,
    /// A hash: the fields of delayed jobs, as JSON.
    pub(super) delayed_jobs: String,
    /// A stream: recorded outcomes. Fields: `id`, `outcome`.
    pub(super) outcomes: String,
    /// A hash: the specs of dead jobs.
    pub(super) dead: String,
    /// A hash: their outcomes.
    pub(super) dead_outcomes: String,
    /// A set: the ids that are known.
    pub(super) ids: String,
    /// A hash: jobs that are not idempotent and may have been sent.
    pub(super) marks: String,
    /// Exists if there will be no more jobs.
    pub(super) closed: String,
    /// A sorted set: origins that are paused for all consumers, by the time until when, in milliseconds since the epoch.
    pub(super) cool_downs: String,
    /// The channel of what is new about shared limits.
    pub(super) news: String,
    /// What all keys begin with.
    prefix: String,
}

/// The consumer group.
pub(super) const GROUP: &str = "w";

impl Keys {
    pub(super) fn new(name: &str) -> Self {
        let key = |suffix: &str| format!("{{{name}}}:{suffix}");
        Self {
            meta: key("meta"),
            id: String::new(),
            jobs: key("jobs"),
            delayed: key("delayed"),
            delayed_jobs: key("delayed-jobs"),
            outcomes: key("outcomes"),
            dead: key("dead"),
            dead_outcomes: key("dead-outcomes"),
            ids: key("ids"),
            marks: key("marks"),
            closed: key("closed"),
            cool_downs: key("cool-downs"),
            news: key("news"),
            prefix: key(""),
        }
    }

    /// The key of the rate of an origin, and of the places for its requests in flight; without an origin, of all together.
    pub(super) fn of_origin(&self, origin: Option<&Origin>) -> [String; 2] {
        let origin = origin.map_or_else(String::new, Origin::to_string);
        ["rate", "places"].map(|kind| format!("{}{kind}:{origin}", self.prefix))
    }

    fn all(&self) -> [&str; 11] {
        let Self {
            meta,
            id: _,
            jobs,
            delayed,
            delayed_jobs,
            outcomes,
            dead,
            dead_outcomes,
            ids,
            marks,
            closed,
            cool_downs,
            news: _,
            prefix: _,
        } = self;
        [
            meta,
            jobs,
            delayed,
            delayed_jobs,
            outcomes,
            dead,
            dead_outcomes,
            ids,
            marks,
            closed,
            cool_downs,
        ]
    }

    /// A call of this script with all keys.
    pub(super) fn call<'a>(&self, script: &'a Script) -> redis::ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in self.all() {
            invocation.key(key);
        }
        invocation.arg(&self.id);
        invocation
    }
}

/// What all of them begin with: names for the keys, and a look whether the queue is still there.
const PREAMBLE: &str = r"
local meta, jobs, delayed, delayed_jobs, outcomes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local dead, dead_outcomes, ids, marks, closed, cool_downs = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
if redis.call('HGET', meta, 'id') ~= table.remove(ARGV, 1) then return redis.error_reply('LOST the queue is gone') end
local function fields_of(entry)
  local found = {}
  for i = 1, #entry, 2 do found[entry[i]] = entry[i + 1] end
  return found
end
local function add(fields)
  redis.call('XADD', jobs, '*', 'id', fields.id, 'spec', fields.spec, 'starts', fields.starts or '0', 'delay', fields.delay or '')
end
local function remove_leased(entry)
  local found = redis.call('XRANGE', jobs, entry, entry)[1]
  if redis.call('XACK', jobs, 'w', entry) == 0 or not found then return nil end
  redis.call('XDEL', jobs, entry)
  return found[2]
end
local function is_over()
  if redis.call('EXISTS', closed) == 1 and redis.call('XLEN', jobs) == 0 and redis.call('ZCARD', delayed) == 0 then
    return 1
  end
  return 0
end
local function now_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function now_ms()
  return math.floor(now_us() / 1000)
end
";

pub(super) fn script(body: &str) -> Script {
    Script::new(&format!("{PREAMBLE}{body}"))
}

/// Arguments: id and spec of each job. Returns how many were accepted.
pub(super) static SUBMIT: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local accepted = 0
for i = 1, #ARGV, 2 do
  if redis.call('SADD', ids, ARGV[i]) == 1 then
    add({ id = ARGV[i], spec = ARGV[i + 1] })
    accepted = accepted + 1
  end
end
if accepted > 0 then redis.call('DEL', closed) end
return accepted
",
    )
});

/// Arguments: whether ids stay known, then entry, job id and outcome of each. Returns whether each was recorded, and whether the
/// work is over. The first call for a job wins, whichever consumer makes it: only one acknowledges the entry.
pub(super) static RECORD: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local recorded = {}
for i = 2, #ARGV, 3 do
  local entry, id = ARGV[i], ARGV[i + 1]
  local is_first = entry ~= '' and redis.call('XACK', jobs, 'w', entry) == 1
  if is_first then
    redis.call('XDEL', jobs, entry)
    redis.call('XADD', outcomes, '*', 'id', id, 'outcome', ARGV[i + 2])
    redis.call('HDEL', marks, id)
    if ARGV[1] == '0' then redis.call('SREM', ids, id) end
  end
  table.insert(recorded, is_first and 1 or 0)
end
return { recorded, is_over() }
",
    )
});

/// Arguments: entry, job id, spec, outcome. Returns whether the work is over.
pub(super) static BURY: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
if redis.call('XACK', jobs, 'w', ARGV[1]) == 1 then
  redis.call('XDEL', jobs, ARGV[1])
  redis.call('HSET', dead, ARGV[2], ARGV[3])
  redis.call('HSET', dead_outcomes, ARGV[2], ARGV[4])
  redis.call('HDEL', marks, ARGV[2])
end
return is_over()
",
    )
});

/// Arguments: entry, whether the job was started, and how often in all, of each. Makes them the last ones that wait, at once.
pub(super) static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
for i = 1, #ARGV, 3 do
  local fields = remove_leased(ARGV[i])
  if fields then
    for j = 1, #fields, 2 do
      if fields[j] == 'starts' then fields[j + 1] = ARGV[i + 2] end
      if fields[j] == 'id' and ARGV[i + 1] == '0' then redis.call('HDEL', marks, fields[j + 1]) end
    end
    redis.call('XADD', jobs, '*', unpack(fields))
  end
end
return 1
",
    )
});

/// Arguments: entry, milliseconds until it is due, and what is known of its attempts, of each.
pub(super) static POSTPONE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local now = now_ms()
for i = 1, #ARGV, 3 do
  local removed = remove_leased(ARGV[i])
  if removed then
    local fields = fields_of(removed)
    redis.call('HDEL', marks, fields.id)
    redis.call('ZADD', delayed, string.format('%.0f', now + tonumber(ARGV[i + 1])), fields.id)
    redis.call('HSET', delayed_jobs, fields.id, cjson.encode({ spec = fields.spec, delay = ARGV[i + 2] }))
  end
end
return 1
",
    )
});

/// Moves delayed jobs that are due to those that wait. Returns the milliseconds until the next one is due; -1 if there is none.
pub(super) static MOVE_DUE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local now = now_ms()
local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', string.format('%.0f', now), 'LIMIT', 0, 500)
for _, id in ipairs(due) do
  local job = redis.call('HGET', delayed_jobs, id)
  redis.call('ZREM', delayed, id)
  redis.call('HDEL', delayed_jobs, id)
  if job then
    local fields = cjson.decode(job)
    add({ id = id, spec = fields.spec, delay = fields.delay })
  end
end
local next_one = redis.call('ZRANGE', delayed, 0, 0, 'WITHSCORES')
if next_one[2] then return math.max(0, math.ceil(tonumber(next_one[2]) - now)) end
return -1
",
    )
});

/// Arguments: consumer, then entries. Renews their leases; those that another consumer has taken stay its own.
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
for i = 2, #ARGV do
  local pending = redis.call('XPENDING', jobs, 'w', ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == ARGV[1] then
    redis.call('XCLAIM', jobs, 'w', ARGV[1], 0, ARGV[i], 'IDLE', 0, 'JUSTID')
  end
end
return 1
",
    )
});

/// Arguments: consumer, lease in milliseconds, maximum, maximum of deliveries, whether one may be taken that has its last
/// chance. Takes jobs over whose leases have run out. Returns entry, fields, and how often it was delivered before, of each.
///
/// A consumer that dies takes all jobs with it that it has had, and one of them may be the reason. So a job with its last chance
/// is taken alone, and the innocent ones get through.
pub(super) static RECLAIM: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local taken = {}
local max, takes_last = tonumber(ARGV[4]), ARGV[5] == '1'
for _, pending in ipairs(redis.call('XPENDING', jobs, 'w', 'IDLE', ARGV[2], '-', '+', ARGV[3])) do
  local entry = redis.call('XRANGE', jobs, pending[1], pending[1])[1]
  if entry then
    local starts = (tonumber(fields_of(entry[2]).starts) or 0) + pending[4]
    local is_last = starts == max - 1
    if takes_last or not is_last then
      redis.call('XCLAIM', jobs, 'w', ARGV[1], ARGV[2], pending[1], 'JUSTID', 'RETRYCOUNT', pending[4] + 1)
      table.insert(taken, { entry[1], entry[2], pending[4] })
      if is_last then takes_last = false end
    end
  else
    redis.call('XACK', jobs, 'w', pending[1])
  end
end
return taken
",
    )
});

/// Arguments: entry, job id and token of each. Marks jobs that may be sent from now on. Returns 1 for each that had another mark,
/// and 2 for each that has been recorded meanwhile.
pub(super) static MARK: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local found = {}
for i = 1, #ARGV, 3 do
  if #redis.call('XRANGE', jobs, ARGV[i], ARGV[i]) == 0 then
    table.insert(found, 2)
  else
    local is_new = redis.call('HSETNX', marks, ARGV[i + 1], ARGV[i + 2]) == 1
    local is_own = is_new or redis.call('HGET', marks, ARGV[i + 1]) == ARGV[i + 2]
    table.insert(found, is_own and 0 or 1)
  end
end
return found
",
    )
});

/// Argument: job id. Returns whether it was dead.
pub(super) static REQUEUE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local spec = redis.call('HGET', dead, ARGV[1])
if not spec then return 0 end
redis.call('HDEL', dead, ARGV[1])
redis.call('HDEL', dead_outcomes, ARGV[1])
add({ id = ARGV[1], spec = spec })
return 1
",
    )
});

/// Argument: job id. Returns whether it was dead.
pub(super) static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local outcome = redis.call('HGET', dead_outcomes, ARGV[1])
if not outcome then return 0 end
redis.call('HDEL', dead, ARGV[1])
redis.call('HDEL', dead_outcomes, ARGV[1])
redis.call('XADD', outcomes, '*', 'id', ARGV[1], 'outcome', outcome)
return 1
",
    )
});

/// Tells that there will be no more jobs. Returns whether the work is over.
pub(super) static CLOSE: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
redis.call('SET', closed, '1')
return is_over()
",
    )
});

/// Whether the work is over.
pub(super) static IS_OVER: LazyLock<Script> = LazyLock::new(|| script("return is_over()"));

/// Returns the numbers of jobs in the stream, leased, delayed, dead and recorded, and whether the queue is closed.
pub(super) static STATS: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local leased = redis.call('XPENDING', jobs, 'w')[1]
return {
  redis.call('XLEN', jobs), leased, redis.call('ZCARD', delayed), redis.call('HLEN', dead),
  redis.call('XLEN', outcomes), redis.call('EXISTS', closed)
}
",
    )
});
