//! Limits that consumers share through the server: rates, places for requests in flight, and cool-downs.
//!
//! A rate is a key with the time up to which it is used up, by the generic cell rate algorithm on the server's clock. The places
//! of an origin are a hash with what each pool holds and waits for; what a pool holds expires like a lease. Cool-downs are told to
//! all pools over a channel, as is that a pool waits for a place, and that one was freed.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use redis::{RedisError, RedisResult, Script};

use super::scripts::script;
use super::store::Shared;
use crate::limits::shared::{Ask, Given, LimitError, LimitNews, LimitServer};
use crate::origin::Origin;

/// For how long to wait for news, before it is looked whether the pool is there still.
const PATIENCE: Duration = Duration::from_secs(3);

/// After how many times it is looked whether the connection is there still.
const MAX_SILENCE: u32 = 5;

pub(super) struct RedisLimits(pub(super) Arc<Shared>);

impl fmt::Debug for RedisLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.0.settings.name;
        f.debug_struct("RedisLimits")
            .field("name", name)
            .finish_non_exhaustive()
    }
}

impl RedisLimits {
    fn error(&self, error: &RedisError) -> LimitError {
        // What can be waited for is told by the same errors as for jobs.
        match self.0.server.check_outage(error) {
            Ok(_) => LimitError {
                message: error.to_string(),
                is_final: false,
            },
            Err(error) => LimitError {
                message: error.to_string(),
                is_final: true,
            },
        }
    }
}

impl LimitServer for RedisLimits {
    fn ask(&self, pool: &str, asks: &[Ask]) -> Result<Vec<Given>, LimitError> {
        let replies = self.0.server.call_once(|connection, keys| {
            let mut call = keys.call(&ASK);
            call.arg(pool).arg(millis(self.lease())).arg(&keys.news);
            for ask in asks {
                for key in keys.of_origin(ask.origin.as_ref()) {
                    call.key(key);
                }
                let interval = ask.quota.map(|quota| quota.interval());
                // A rate beyond what the clock can express is no limit, and has no interval.
                let micros = interval.map_or(0.0, |interval| interval.as_secs_f64() * 1e6);
                call.arg(
                    ask.origin
                        .as_ref()
                        .map(Origin::to_string)
                        .unwrap_or_default(),
                );
                call.arg(micros);
                call.arg(ask.quota.map_or(1, |quota| quota.shared_burst()));
                call.arg(ask.slots);
                call.arg(ask.max_in_flight.unwrap_or(0));
                call.arg(ask.held);
                call.arg(ask.places);
            }
            call.invoke::<Vec<(Vec<u64>, u64, usize, usize, bool)>>(connection)
        });
        let replies = replies.map_err(|error| self.error(&error))?;
        let given = replies
            .into_iter()
            .map(|(slots, again, places, surplus, is_contended)| Given {
                slots: slots.into_iter().map(Duration::from_micros).collect(),
                // Pools that come back at different times take turns.
                ask_again: (again > 0)
                    .then(|| Duration::from_micros(again).mul_f64(1.0 - 0.3 * fastrand::f64())),
                places,
                surplus,
                is_contended,
            });
        Ok(given.collect())
    }

    fn cool_down(&self, pool: &str, origins: &[(Origin, Instant)]) -> Result<(), LimitError> {
        let result = self.0.server.call_once(|connection, keys| {
            let mut call = keys.call(&COOL_DOWN);
            call.arg(&keys.news).arg(pool);
            for (origin, until) in origins {
                let left = until.saturating_duration_since(Instant::now());
                call.arg(origin.to_string()).arg(millis(left));
            }
            call.invoke::<()>(connection)
        });
        result.map_err(|error| self.error(&error))
    }

    fn listen(
        &self,
        pool: &str,
        hear: &mut dyn FnMut(Option<LimitNews>) -> bool,
    ) -> Result<(), LimitError> {
        let server = &self.0.server;
        let mut listen = || -> RedisResult<()> {
            let mut connection = server.connect(PATIENCE)?;
            let mut channel = connection.as_pubsub();
            channel.subscribe(&server.keys.news)?;
            let known: Vec<(String, u64)> =
                server.call_once(|connection, keys| keys.call(&COOL_DOWNS).invoke(connection))?;
            let known = known
                .into_iter()
                .filter_map(|(origin, left)| cool_down(&origin, left));
            for news in known.chain([LimitNews::Complete]) {
                if !hear(Some(news)) {
                    return Ok(());
                }
            }
            channel.set_read_timeout(Some(PATIENCE))?;
            let mut silence = 0;
            loop {
                let news = match channel.get_message() {
                    Ok(message) => {
                        silence = 0;
                        understand(&message.get_payload::<String>()?, pool)
                    }
                    Err(error) if error.is_timeout() && silence < MAX_SILENCE => {
                        silence += 1;
                        None
                    }
                    Err(error) if error.is_timeout() => {
                        silence = 0;
                        // The server answers that, if it is there.
                        channel.subscribe(&server.keys.news)?;
                        None
                    }
                    Err(error) => return Err(error),
                };
                if !hear(news) {
                    return Ok(());
                }
            }
        };
        let listened = listen();
        server.note(&listened);
        listened.map_err(|error| self.error(&error))
    }

    fn lease(&self) -> Duration {
        self.0.settings.lease
    }
}

/// What the channel says: a word, the pool that it comes from, an origin, and for a cool-down its milliseconds. What this pool has
/// said, and what a newer version may say, is ignored.
fn understand(message: &str, own: &str) -> Option<LimitNews> {
    let mut words = message.split(' ');
    let (word, pool, origin) = (words.next()?, words.next()?, words.next()?);
    match word {
        _ if pool == own => None,
        "wanted" => Some(LimitNews::Wanted(Origin::parse(origin).ok()?)),
        "freed" => Some(LimitNews::Freed(Origin::parse(origin).ok()?)),
        "cool-down" => cool_down(origin, words.next()?.parse().ok()?),
        _ => None,
    }
}

fn cool_down(origin: &str, millis: u64) -> Option<LimitNews> {
    let origin = Origin::parse(origin).ok()?;
    Some(LimitNews::CoolDown(origin, Duration::from_millis(millis)))
}

fn millis(time: Duration) -> u64 {
    // The server counts in numbers of 53 bits.
    u64::try_from(time.as_millis())
        .unwrap_or(u64::MAX)
        .min(1 << 50)
}

/// Arguments: pool, lease in milliseconds, channel, then of each origin: its name, the interval of its rate in microseconds, the
/// burst, how many slots, the maximum in flight (0 if there is none), how many places the pool holds and how many more it wants.
/// Further keys: rate and places of each. Returns of each: when attempts may start, in microseconds from now, after how many to ask
/// again, how many places more, how many of those that it holds others have, and whether others wait for one.
///
/// Slots are given out up to half a second ahead. Places go to the pool that waits longest; one that gets some, but not all, goes to
/// the end. A pool that waits and has not asked for 3 s is gone.
static ASK: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local pool, lease, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now = now_us()
local ahead, patience = 500000, 3000000
local function slots_of(rate, interval, burst, count)
  local slots, due = {}, tonumber(redis.call('GET', rate) or 0)
  local again, max = 0, now + ahead + burst * interval
  -- A clock that was set back must not stop everything.
  local is_set = due > max
  due = math.min(due, max)
  while #slots < count do
    local at = math.max(now, due - (burst - 1) * interval)
    if at - now > ahead then
      if #slots == 0 then again = math.ceil(at - now - ahead / 2) end
      break
    end
    table.insert(slots, math.ceil(at - now))
    due = math.max(due, at) + interval
    is_set = true
  end
  if is_set and due > now then
    redis.call('SET', rate, string.format('%.3f', due), 'PX', string.format('%.0f', math.ceil((due - now) / 1000) + 1))
  end
  return slots, again
end
local function places_of(places, origin, max, held, wanted)
  local others, before, others_wait, since, had, has_waited = 0, 0, false, now, 0, false
  local waiting = {}
  local all = redis.call('HGETALL', places)
  for j = 1, #all, 2 do
    local holds, expires, wants, from, seen = string.match(all[j + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
    holds, expires, wants, from, seen = tonumber(holds), tonumber(expires), tonumber(wants), tonumber(from), tonumber(seen)
    if all[j] == pool then
      had = holds
      if wants > 0 then
        since = from
        has_waited = seen + 900000 > now
      end
    elseif (expires < now and seen + patience < now) or seen > now + patience then
      -- It has gone, or the clock was set back.
      redis.call('HDEL', places, all[j])
    else
      if expires >= now then others = others + holds end
      if wants > 0 and seen + patience >= now then table.insert(waiting, { from, wants }) end
    end
  end
  for _, other in ipairs(waiting) do
    others_wait = true
    if other[1] < since then before = before + other[2] end
  end
  local surplus = math.min(held, math.max(0, held + others - max))
  local given = math.max(0, math.min(wanted, max - others - held - before))
  local left = wanted - given
  if given > 0 then since = now end
  if held + given + left == 0 then
    redis.call('HDEL', places, pool)
  else
    local entry = string.format('%.0f %.0f %.0f %.0f %.0f', held + given, now + lease * 1000, left, since, now)
    redis.call('HSET', places, pool, entry)
    local kept = math.max(lease, 5000)
    if redis.call('PTTL', places) < kept then redis.call('PEXPIRE', places, string.format('%.0f', kept)) end
  end
  if left > 0 and not has_waited then redis.call('PUBLISH', channel, 'wanted ' .. pool .. ' ' .. origin) end
  if others_wait and (held < had or (given > 0 and others + held + given < max)) then
    redis.call('PUBLISH', channel, 'freed ' .. pool .. ' ' .. origin)
  end
  return given, surplus, others_wait and 1 or 0
end
local given = {}
for i = 4, #ARGV, 7 do
  local key = 12 + 2 * (i - 4) / 7
  local slots, again = slots_of(KEYS[key], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]))
  local places, surplus, contended, max = 0, 0, 0, tonumber(ARGV[i + 4])
  if max > 0 then
    places, surplus, contended = places_of(KEYS[key + 1], ARGV[i], max, tonumber(ARGV[i + 5]), tonumber(ARGV[i + 6]))
  end
  table.insert(given, { slots, again, places, surplus, contended })
end
return given
",
    )
});

/// Arguments: channel, pool, then origin and milliseconds of each.
static COOL_DOWN: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', cool_downs, '-inf', string.format('%.0f', now))
for i = 3, #ARGV, 2 do
  redis.call('ZADD', cool_downs, 'GT', string.format('%.0f', now + tonumber(ARGV[i + 1])), ARGV[i])
  redis.call('PUBLISH', ARGV[1], 'cool-down ' .. ARGV[2] .. ' ' .. ARGV[i] .. ' ' .. ARGV[i + 1])
end
return 1
",
    )
});

/// Returns the origins that are paused, and for how many milliseconds more, of each.
static COOL_DOWNS: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
local now = now_ms()
local found, paused = {}, redis.call('ZRANGEBYSCORE', cool_downs, string.format('%.0f', now), '+inf', 'WITHSCORES')
for i = 1, #paused, 2 do
  table.insert(found, { paused[i], math.max(0, math.ceil(tonumber(paused[i + 1]) - now)) })
end
return found
",
    )
});
