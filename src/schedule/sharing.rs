//! Limits that are shared with other pools: what this pool has been given of them, and what it is to ask for.
//!
//! An origin whose limits are shared waits for two things that a server gives out: slots, the times at which attempts may start,
//! and places for attempts in flight. Both are asked for in advance, as many as are likely to be used. A slot that is not used in
//! time is given up. A place stays with this pool for the next job of the origin, as long as no other pool waits for it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Schedule;
use super::origins::{OriginKey, OriginQueue, Turn};
use super::timers::TimerEvent;
use crate::limits::shared::{Ask, Given, LimitNews, LimitServer};
use crate::limits::{CheckedLimits, Quota};
use crate::origin::Origin;

/// After what time a pool that waits for a place asks again, if it hears of none that was freed.
const ASK_PLACES_AGAIN: Duration = Duration::from_secs(1);

/// From how many cool-downs on those that are over are forgotten.
const MIN_FORGET_AT: usize = 1024;

/// What all origins of a schedule have in common.
pub(super) struct Sharing {
    /// The rate of all origins together.
    pub(super) pool: Share,
    /// Origins that have something to ask for.
    listed: Vec<OriginKey>,
    /// Cool-downs that other pools are to be told.
    untold: HashMap<Origin, Instant>,
    /// Those that other pools have told.
    cool_downs: HashMap<Origin, Instant>,
    forget_at: usize,
    max_cool_down: Option<Duration>,
    /// For how long a place is kept for a pool that does not ask again.
    lease: Duration,
    /// Whether all cool-downs are known. Until then, nothing is sent.
    is_complete: bool,
}

/// What this pool has of the limits of one origin, or of all together.
pub(super) struct Share {
    origin: Option<Origin>,
    quota: Option<Quota>,
    /// When attempts may start, and until when.
    slots: VecDeque<(Instant, Instant)>,
    /// For how many slots it asks at once. More each time, until one is not used in time.
    batch: usize,
    /// Attempts that were made without a slot.
    owed: usize,
    max_in_flight: Option<usize>,
    /// For attempts in flight, those that are included.
    places: usize,
    /// How many places the server counts for this pool: those, and others that were given up meanwhile.
    counted: usize,
    /// Until when no other pool gets them.
    places_until: Option<Instant>,
    /// Whether more attempts are in flight than there are places.
    has_surplus: bool,
    /// Whether other pools wait for a place: then each that becomes free goes back.
    is_contended: bool,
    /// Whether the server counts this pool among those that wait for a place.
    is_waiting: bool,
    /// Whether it is time to tell the server that the places are still in use.
    is_renewed: bool,
    /// Since when the server is being asked.
    asking_since: Option<Instant>,
    /// What was heard meanwhile: that a place was freed, and that one is wanted.
    heard_freed: bool,
    heard_wanted: bool,
    is_listed: bool,
    ask_slots_at: Option<Instant>,
    ask_places_at: Option<Instant>,
}

impl Sharing {
    pub(super) fn new(limits: &CheckedLimits, server: &dyn LimitServer) -> Self {
        Self {
            lease: server.lease(),
            pool: Share::new(None, limits.rate, None),
            listed: Vec::new(),
            untold: HashMap::new(),
            cool_downs: HashMap::new(),
            forget_at: MIN_FORGET_AT,
            max_cool_down: limits.max_cool_down,
            is_complete: false,
        }
    }

    pub(super) fn cool_until(&self, origin: &Origin) -> Option<Instant> {
        self.cool_downs.get(origin).copied()
    }

    fn remember(&mut self, origin: Origin, until: Instant, now: Instant) {
        if self.cool_downs.len() >= self.forget_at {
            self.cool_downs.retain(|_, until| *until > now);
            self.forget_at = MIN_FORGET_AT.max(2 * self.cool_downs.len());
        }
        keep_later(&mut self.cool_downs, origin, until);
    }
}

/// Notes until when an origin is paused.
fn keep_later(times: &mut HashMap<Origin, Instant>, origin: Origin, until: Instant) {
    let known = times.entry(origin).or_insert(until);
    *known = until.max(*known);
}

impl Share {
    pub(super) fn new(
        origin: Option<Origin>,
        quota: Option<Quota>,
        max_in_flight: Option<usize>,
    ) -> Self {
        Self {
            origin,
            quota,
            slots: VecDeque::new(),
            batch: 1,
            owed: 0,
            max_in_flight,
            places: 0,
            counted: 0,
            places_until: None,
            has_surplus: false,
            is_contended: false,
            is_waiting: false,
            is_renewed: false,
            asking_since: None,
            heard_freed: false,
            heard_wanted: false,
            is_listed: false,
            ask_slots_at: None,
            ask_places_at: None,
        }
    }

    /// When the next attempt may start, with so many in flight.
    pub(super) fn turn(&self, now: Instant, in_flight: usize) -> Turn {
        let is_over = self.places_until.is_none_or(|until| until <= now);
        if self.max_in_flight.is_some() && (in_flight >= self.places || is_over) {
            return Turn::Later;
        }
        match (self.quota, self.usable_slots(now).next()) {
            (None, _) => Turn::Now,
            (Some(_), None) => Turn::Later,
            (Some(_), Some(at)) if at > now => Turn::At(at),
            (Some(_), Some(_)) => Turn::Now,
        }
    }

    /// How many attempts may start with what there is, at their times.
    fn room(&self, now: Instant, in_flight: usize) -> usize {
        let places = (self.max_in_flight).map(|_| self.places.saturating_sub(in_flight));
        let slots = self.quota.map(|_| self.usable_slots(now).count());
        let room = [places, slots].into_iter().flatten().min();
        room.unwrap_or(usize::MAX)
    }

    fn max_batch(&self) -> usize {
        self.quota.map_or(0, |quota| quota.max_batch())
    }

    /// An attempt starts.
    pub(super) fn take(&mut self, now: Instant) {
        if self.quota.is_none() {
            return;
        }
        self.give_up_slots(now);
        match self.slots.front() {
            Some((at, _)) if *at <= now => {
                self.slots.pop_front();
            }
            _ => self.owed += 1,
        }
    }

    /// An attempt is over.
    pub(super) fn free_place(&mut self) {
        if self.is_contended {
            self.places = self.places.saturating_sub(1);
        }
    }

    /// Whether nothing would be lost without it.
    pub(super) fn is_as_new(&self) -> bool {
        self.counted == 0
            && self.owed == 0
            && self.asking_since.is_none()
            && !self.is_listed
            && !self.is_waiting
    }

    fn usable_slots(&self, now: Instant) -> impl Iterator<Item = Instant> {
        let usable = self.slots.iter().skip_while(move |(_, until)| *until < now);
        usable.map(|(at, _)| *at)
    }

    fn give_up_slots(&mut self, now: Instant) {
        let unusable = self.slots.len() - self.usable_slots(now).count();
        if unusable > 0 {
            self.slots.drain(..unusable);
            self.batch = 1;
        }
    }

    /// How many slots to ask for, with so many jobs that wait.
    fn wanted_slots(&self, now: Instant, waiting: usize) -> usize {
        if self.quota.is_none() || self.ask_slots_at.is_some_and(|at| at > now) {
            return 0;
        }
        let usable = self.usable_slots(now).count();
        if usable >= waiting || usable > self.batch / 2 {
            return self.owed;
        }
        self.batch.min(waiting - usable) + self.owed
    }

    /// How many of its places this pool keeps.
    fn kept_places(&self, waiting: usize, in_flight: usize) -> usize {
        let kept = self.places.min(in_flight + waiting);
        // There are more in flight if others have got places of this pool.
        self.max_in_flight.map_or(0, |_| kept.max(in_flight))
    }

    fn lacking_places(&self, waiting: usize, in_flight: usize) -> usize {
        let wanted = in_flight + waiting;
        self.max_in_flight.map_or(0, |max| {
            wanted
                .min(max)
                .saturating_sub(self.kept_places(waiting, in_flight))
        })
    }

    fn has_to_ask(&self, now: Instant, waiting: usize, in_flight: usize) -> bool {
        if self.asking_since.is_some() {
            return false;
        }
        let kept = self.kept_places(waiting, in_flight);
        let lacking = self.lacking_places(waiting, in_flight);
        let may_ask_for_places = self.ask_places_at.is_none_or(|at| at <= now);
        let gives_places_up = self.is_contended && kept < self.counted;
        self.wanted_slots(now, waiting) > 0
            || (lacking > 0 && may_ask_for_places)
            || (lacking == 0 && self.is_waiting)
            || gives_places_up
            || (self.has_surplus && in_flight < self.counted)
            || self.is_renewed
    }

    fn ask(&mut self, now: Instant, waiting: usize, in_flight: usize) -> Ask {
        self.give_up_slots(now);
        let lacking = self.lacking_places(waiting, in_flight);
        self.places = self.kept_places(waiting, in_flight);
        self.counted = self.places;
        self.has_surplus = false;
        self.heard_freed = false;
        self.heard_wanted = false;
        self.asking_since = Some(now);
        self.is_renewed = false;
        Ask {
            origin: self.origin.clone(),
            quota: self.quota,
            slots: self.wanted_slots(now, waiting),
            max_in_flight: self.max_in_flight,
            held: self.places,
            places: lacking,
        }
    }

    /// Returns when to look again whether there is something to ask for.
    fn give(
        &mut self,
        asked: &Ask,
        given: Given,
        lease: Duration,
        now: Instant,
    ) -> Option<Instant> {
        // The server has answered at some time since then.
        let asked_at = self.asking_since.take().unwrap_or(now);
        if let (Some(quota), true) = (self.quota, asked.slots > 0) {
            let slots = given.slots.iter().filter_map(|after| {
                let until = asked_at.checked_add(*after)?;
                Some((
                    now.checked_add(*after)?,
                    until.checked_add(quota.max_lateness())?,
                ))
            });
            let mut slots: VecDeque<_> = slots.collect();
            if !slots.is_empty() {
                self.batch = (2 * self.batch).min(quota.max_batch());
            }
            let paid = self.owed.min(slots.len());
            self.owed -= paid;
            slots.drain(..paid);
            self.slots.append(&mut slots);
            self.ask_slots_at = given.ask_again.and_then(|after| now.checked_add(after));
        }
        self.places = (self.places + given.places).saturating_sub(given.surplus);
        self.places_until = asked_at.checked_add(lease);
        self.counted += given.places;
        self.has_surplus = given.surplus > 0;
        self.is_contended = given.is_contended || self.heard_wanted;
        self.is_waiting = given.places < asked.places;
        let asks_again = self.is_waiting && !self.heard_freed;
        self.ask_places_at = asks_again.then(|| now + ASK_PLACES_AGAIN);
        let times = [self.ask_slots_at, self.ask_places_at];
        times.into_iter().flatten().min()
    }
}

#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "for limits on a server")
)]
impl<J> Schedule<J> {
    /// Whether the server is to be asked for something now.
    pub(crate) fn has_to_ask(&self) -> bool {
        let Some(sharing) = &self.sharing else {
            return false;
        };
        let has_listed = !sharing.listed.is_empty() || !sharing.untold.is_empty();
        has_listed || {
            let now = Instant::now();
            sharing.pool.has_to_ask(now, self.startable(now), 0)
        }
    }

    /// What the server is to be asked for now.
    pub(crate) fn take_asks(&mut self, now: Instant) -> Vec<(OriginKey, Ask)> {
        let startable = self.startable(now);
        let Some(sharing) = &mut self.sharing else {
            return Vec::new();
        };
        let mut asks = Vec::new();
        for key in sharing.listed.drain(..) {
            let queue = self.origins.get_mut(key);
            let (waiting, in_flight) = (queue.startable(now), queue.in_flight);
            if let Some(share) = &mut queue.share {
                share.is_listed = false;
                if share.has_to_ask(now, waiting, in_flight) {
                    asks.push((key, share.ask(now, waiting, in_flight)));
                }
            }
        }
        // Together with a slot of its origin, an attempt needs one of the pool.
        let soon: usize = asks.iter().map(|(_, ask): &(_, Ask)| ask.slots).sum();
        let startable = startable.max(soon);
        if sharing.pool.has_to_ask(now, startable, 0) {
            asks.push((OriginKey::NONE, sharing.pool.ask(now, startable, 0)));
        }
        asks
    }

    /// Which cool-downs the server is to be told now.
    pub(crate) fn take_untold(&mut self, now: Instant) -> Vec<(Origin, Instant)> {
        let untold = self
            .sharing
            .as_mut()
            .map(|sharing| std::mem::take(&mut sharing.untold));
        let untold = untold.into_iter().flatten();
        untold.filter(|(_, until)| *until > now).collect()
    }

    /// The origins of which the server counts this pool among those that have a place, or wait for one.
    pub(crate) fn held_origins(&self) -> Vec<Origin> {
        let shares = self.origins.all().filter_map(|queue| queue.share.as_ref());
        let held = shares.filter(|share| share.counted > 0 || share.is_waiting);
        held.filter_map(|share| share.origin.clone()).collect()
    }

    /// The server has answered.
    pub(crate) fn give(&mut self, key: OriginKey, asked: &Ask, given: Given, now: Instant) {
        let lease = self.sharing.as_ref().map(|sharing| sharing.lease);
        let (Some(lease), Some(share)) = (lease, self.share_mut(key)) else {
            return;
        };
        let ask_again_at = share.give(asked, given, lease, now);
        if let Some(at) = ask_again_at {
            self.timers.push(at, TimerEvent::Ask(key));
        }
        self.reschedule(key, now);
    }

    /// The server could not be asked.
    pub(crate) fn ask_again(&mut self, key: OriginKey) {
        if let Some(share) = self.share_mut(key) {
            share.asking_since = None;
            // What the server made of it is not known.
            share.is_renewed = true;
        }
        self.list(key);
    }

    /// The server is to be told of a cool-down.
    pub(crate) fn tell(&mut self, origin: Origin, until: Instant) {
        if let Some(sharing) = &mut self.sharing {
            keep_later(&mut sharing.untold, origin, until);
        }
    }

    /// It is time to tell the server that places are still in use.
    pub(crate) fn renew(&mut self) {
        if self.sharing.is_none() {
            return;
        }
        for key in self.origins.known() {
            let share = &mut self.origins.get_mut(key).share;
            if let Some(share) = share.as_mut().filter(|share| share.counted > 0) {
                share.is_renewed = true;
                self.list(key);
            }
        }
    }

    /// Another pool has told something.
    pub(crate) fn hear(&mut self, news: LimitNews, now: Instant) {
        let Some(sharing) = &mut self.sharing else {
            return;
        };
        match news {
            LimitNews::Complete => {
                if !std::mem::replace(&mut sharing.is_complete, true) {
                    for key in self.origins.known() {
                        self.reschedule(key, now);
                    }
                }
            }
            LimitNews::Interrupted => sharing.is_complete = false,
            LimitNews::CoolDown(origin, time) => {
                let time = sharing.max_cool_down.map(|max| time.min(max));
                let Some(until) = time.and_then(|time| now.checked_add(time)) else {
                    return;
                };
                if let Some(key) = self.origins.find(&origin) {
                    self.origins.get_mut(key).pause(until);
                }
                sharing.remember(origin, until, now);
            }
            LimitNews::Wanted(origin) => {
                if let Some((key, share)) = self.share_of(&origin) {
                    share.is_contended = true;
                    share.heard_wanted = true;
                    self.list_if_needed(key, now);
                }
            }
            LimitNews::Freed(origin) => {
                if let Some((key, share)) = self.share_of(&origin) {
                    share.ask_places_at = None;
                    share.heard_freed = true;
                    self.list_if_needed(key, now);
                }
            }
        }
    }

    /// Tells the other pools that an origin is paused.
    pub(super) fn share_cool_down(&mut self, key: OriginKey, until: Instant) {
        let share = self.origins.get(key).share.as_ref();
        if let Some(origin) = share.and_then(|share| share.origin.clone()) {
            self.tell(origin, until);
        }
    }

    /// Whether nothing is held or asked for that no job needs.
    pub(crate) fn has_given_back(&self) -> bool {
        self.origins.all().all(|queue| {
            let share = queue.share.as_ref();
            queue.in_flight > 0 || share.is_none_or(|share| share.is_as_new())
        })
    }

    /// Whether the server of shared limits has told all that has to be known.
    pub(super) fn is_complete(&self) -> bool {
        self.sharing
            .as_ref()
            .is_none_or(|sharing| sharing.is_complete)
    }

    /// Puts an origin on the list of those that have something to ask for.
    pub(super) fn list_if_needed(&mut self, key: OriginKey, now: Instant) {
        let queue = self.origins.get(key);
        let share = queue.share.as_ref();
        if share.is_some_and(|share| share.has_to_ask(now, queue.startable(now), queue.in_flight)) {
            self.list(key);
        }
    }

    fn list(&mut self, key: OriginKey) {
        let share = self.origins.get_mut(key).share.as_mut();
        if let (Some(sharing), Some(share)) = (&mut self.sharing, share) {
            if !std::mem::replace(&mut share.is_listed, true) {
                sharing.listed.push(key);
            }
        }
    }

    /// How many jobs could start if there were no limit for all together, as far as that matters.
    fn startable(&self, now: Instant) -> usize {
        let max = self
            .sharing
            .as_ref()
            .map_or(0, |sharing| sharing.pool.max_batch());
        let mut startable = 0;
        for key in self.ready.origins() {
            if startable >= max {
                break;
            }
            let queue = self.origins.get(key);
            let room = queue
                .share
                .as_ref()
                .map_or(usize::MAX, |share| share.room(now, queue.in_flight));
            startable += queue.startable(now).min(room);
        }
        startable
    }

    fn share_mut(&mut self, key: OriginKey) -> Option<&mut Share> {
        if key == OriginKey::NONE {
            return self.sharing.as_mut().map(|sharing| &mut sharing.pool);
        }
        self.origins.get_mut(key).share.as_deref_mut()
    }

    fn share_of(&mut self, origin: &Origin) -> Option<(OriginKey, &mut Share)> {
        let key = self.origins.find(origin)?;
        let queue: &mut OriginQueue<J> = self.origins.get_mut(key);
        Some((key, queue.share.as_deref_mut()?))
    }
}
