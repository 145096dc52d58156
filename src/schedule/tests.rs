use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::shared::{Ask, Given, LimitError, LimitNews, LimitServer};
use crate::limits::{Limits, OriginLimits};

const MS: Duration = Duration::from_millis(1);

/// A schedule of numbered jobs and a clock that stands still until it is told to go on.
struct Simulation {
    schedule: Schedule<usize>,
    now: Instant,
    start: Instant,
}

impl Simulation {
    fn new(limits: Limits) -> Self {
        let limits = limits.check().expect("they can be kept to");
        let start = Instant::now();
        Self {
            schedule: Schedule::new(Some(limits), false),
            now: start,
            start,
        }
    }

    fn push(&mut self, job: usize, origin: &str) {
        let origin = Origin::parse(&format!("http://{origin}")).ok();
        self.schedule.push(job, origin, self.now);
    }

    fn next(&mut self) -> Decision<usize> {
        self.schedule.next(self.now, 0)
    }

    fn run(&mut self) -> (usize, OriginKey) {
        match self.next() {
            Decision::Run(job, id) => (job, id),
            other => panic!("a job may go, but {other:?}"),
        }
    }

    /// All that may go now, in this order; they stay in flight.
    fn burst(&mut self) -> Vec<usize> {
        let mut jobs = Vec::new();
        while let Decision::Run(job, _) = self.next() {
            jobs.push(job);
        }
        jobs
    }

    /// Lets all jobs go as soon as they may, each taking no time: when each went, in ms.
    fn simulation(&mut self) -> Vec<(u128, usize)> {
        let mut went = Vec::new();
        loop {
            match self.next() {
                Decision::Run(job, id) => {
                    went.push(((self.now - self.start).as_millis(), job));
                    self.schedule.release(id, self.now);
                }
                Decision::WaitUntil(at) => {
                    assert!(at > self.now, "there is something to wait for");
                    self.now = at;
                }
                Decision::Wait => return went,
            }
        }
    }
}

#[test]
fn origins_take_turns_and_their_jobs_keep_their_order() {
    let mut simulation = Simulation::new(Limits::new());
    for job in 0..4 {
        simulation.push(job, "a");
    }
    simulation.push(4, "b");
    simulation.push(5, "c");
    simulation.push(6, "c");
    assert_eq!(simulation.burst(), [0, 4, 5, 1, 6, 2, 3]);
    assert_eq!(simulation.next(), Decision::Wait);
}

#[test]
fn a_limited_origin_delays_nobody_else() {
    let mut simulation =
        Simulation::new(Limits::new().for_origin("http://slow", OriginLimits::new().rate(10.0, 1)));
    for job in 0..3 {
        simulation.push(job, "slow");
    }
    for job in 10..15 {
        simulation.push(job, "fast");
    }
    let went = simulation.simulation();
    assert_eq!(
        went,
        [
            (0, 0),
            (0, 10),
            (0, 11),
            (0, 12),
            (0, 13),
            (0, 14),
            (100, 1),
            (200, 2)
        ]
    );
}

#[test]
fn the_pools_rate_holds_over_all_origins() {
    let mut simulation = Simulation::new(Limits::new().rate(100.0, 2));
    for (job, origin) in ["a", "b", "a", "c", "a"].into_iter().enumerate() {
        simulation.push(job, origin);
    }
    let times: Vec<u128> = simulation
        .simulation()
        .into_iter()
        .map(|(at, _)| at)
        .collect();
    assert_eq!(times, [0, 0, 10, 20, 30]);
}

#[test]
fn the_stricter_of_two_rates_holds() {
    let mut simulation = Simulation::new(Limits::new().rate(100.0, 1).rate_per_origin(10.0, 1));
    for job in 0..2 {
        simulation.push(job, "a");
        simulation.push(10 + job, "b");
    }
    assert_eq!(
        simulation.simulation(),
        [(0, 0), (10, 10), (100, 1), (110, 11)]
    );
}

#[test]
fn no_more_jobs_of_an_origin_are_in_flight_than_may_be() {
    let mut simulation = Simulation::new(Limits::new().in_flight_per_origin(2));
    for job in 0..5 {
        simulation.push(job, "a");
    }
    simulation.push(10, "b");
    let (_, a) = simulation.run();
    assert_eq!(simulation.burst(), [10, 1]);
    assert_eq!(simulation.next(), Decision::Wait);
    simulation.schedule.release(a, simulation.now);
    assert_eq!(simulation.burst(), [2]);
    simulation.schedule.release(a, simulation.now);
    simulation.schedule.release(a, simulation.now);
    assert_eq!(simulation.burst(), [3, 4]);
}

#[test]
fn a_job_to_be_tried_again_waits_by_itself_and_then_goes_first() {
    let mut simulation = Simulation::new(Limits::new());
    simulation.push(0, "a");
    let (job, a) = simulation.run();
    simulation.push(1, "a");
    simulation.push(2, "a");
    simulation
        .schedule
        .delay(job, a, simulation.now, simulation.now + 60_000 * MS);
    assert_eq!(simulation.schedule.len(), 3);
    assert_eq!(simulation.burst(), [1, 2]);
    simulation.push(3, "a");
    simulation.now += 60_000 * MS;
    assert_eq!(simulation.burst(), [0, 3]);
}

#[test]
fn jobs_to_be_tried_again_go_in_the_order_of_their_times() {
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(1000.0, 100));
    for job in 0..4 {
        simulation.push(job, "a");
    }
    simulation.push(9, "a");
    for wait in [20, 10, 10, 30] {
        let (job, a) = simulation.run();
        simulation
            .schedule
            .delay(job, a, simulation.now, simulation.now + wait * MS);
    }
    simulation.now += 60 * MS;
    assert_eq!(simulation.burst(), [1, 2, 0, 3, 9]);
}

#[test]
fn jobs_to_be_tried_again_at_the_same_time_keep_their_order() {
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(1000.0, 100));
    for job in 0..9 {
        simulation.push(job, "a");
    }
    let until = simulation.now + 10 * MS;
    for _ in 0..9 {
        let (job, a) = simulation.run();
        simulation.schedule.delay(job, a, simulation.now, until);
    }
    simulation.now = until;
    assert_eq!(simulation.burst(), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_repetition_counts_as_any_other_attempt() {
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(10.0, 1));
    simulation.push(0, "a");
    simulation.push(1, "a");
    let (job, a) = simulation.run();
    simulation
        .schedule
        .delay(job, a, simulation.now, simulation.now + 20 * MS);
    assert_eq!(simulation.simulation(), [(100, 0), (200, 1)]);

    let mut simulation = Simulation::new(Limits::new().rate(10.0, 1));
    simulation.push(0, "a");
    simulation.push(1, "b");
    let (_, a) = simulation.run();
    simulation.schedule.count_attempt(a, simulation.now);
    assert_eq!(simulation.simulation(), [(200, 1)]);
}

#[test]
fn a_cool_down_holds_for_the_whole_origin_and_only_for_it() {
    let mut simulation = Simulation::new(Limits::new());
    for job in 0..3 {
        simulation.push(job, "a");
    }
    simulation.push(10, "b");
    let (_, a) = simulation.run();
    simulation.schedule.cool_down(a, simulation.now + 500 * MS);
    simulation.schedule.cool_down(a, simulation.now + 300 * MS);
    simulation.schedule.release(a, simulation.now);
    assert_eq!(simulation.simulation(), [(0, 10), (500, 1), (500, 2)]);
}

#[test]
fn what_has_no_origin_has_no_limits() {
    let limits = Limits::new().rate(1.0, 1).rate_per_origin(1.0, 1);
    let mut simulation = Simulation::new(limits.in_flight_per_origin(1));
    simulation.push(10, "a");
    for job in 0..3 {
        simulation.schedule.push(job, None, simulation.now);
    }
    assert_eq!(simulation.burst(), [0, 1, 2, 10]);
}

#[test]
fn all_that_wait_can_be_taken_out() {
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(10.0, 1));
    for job in 0..4 {
        simulation.push(job, "a");
    }
    let (job, a) = simulation.run();
    simulation
        .schedule
        .delay(job, a, simulation.now, simulation.now + 60_000 * MS);
    let mut jobs = simulation.schedule.drain();
    jobs.sort_unstable();
    assert_eq!(jobs, [0, 1, 2, 3]);
    assert_eq!(
        (simulation.schedule.len(), simulation.next()),
        (0, Decision::Wait)
    );
    simulation.push(9, "a");
    assert_eq!(simulation.simulation(), [(100, 9)]);
}

#[test]
fn origins_at_rest_are_forgotten() {
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(1000.0, 1));
    for job in 0..100_000 {
        simulation.push(job, &format!("host-{job}"));
        simulation.simulation();
        simulation.now += MS;
    }
    assert!(simulation.schedule.origins.len() < 5_000);

    // Those that are not at rest are kept.
    let mut simulation = Simulation::new(Limits::new().rate_per_origin(0.001, 1));
    for job in 0..3_000 {
        simulation.push(job, &format!("host-{job}"));
        let (_, id) = simulation.run();
        simulation.schedule.release(id, simulation.now);
    }
    simulation.push(0, "host-0");
    assert!(matches!(simulation.next(), Decision::WaitUntil(_)));
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Admit(usize),
    Next(usize),
    Finish(usize),
    Again(usize, u64),
    CoolDown(usize, u64),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6usize).prop_map(Act::Admit),
        6 => (0..4usize).prop_map(Act::Next),
        3 => (0..9usize).prop_map(Act::Finish),
        1 => (0..9usize, 0..200u64).prop_map(|(job, ms)| Act::Again(job, ms)),
        1 => (0..9usize, 0..200u64).prop_map(|(job, ms)| Act::CoolDown(job, ms)),
        2 => (0..100u64).prop_map(Act::Pass),
    ]
}

proptest! {
    /// Whatever happens, every job goes as often as it is to, no limit is broken, and nothing waits for ever.
    #[test]
    fn nothing_is_lost_and_no_limit_is_broken(
        acts in prop::collection::vec(act(), 0..300),
        affinity in any::<bool>(),
    ) {
        let limits = Limits::new()
            .rate(1000.0, 5)
            .rate_per_origin(100.0, 2)
            .in_flight_per_origin(2)
            .for_origin("http://host-0", OriginLimits::new());
        let checked = limits.check().expect("they can be kept to");
        let start = Instant::now();
        let mut now = start;
        let mut schedule = Schedule::new(Some(checked), affinity);
        let mut admitted = 0;
        let (mut in_flight, mut done) = (Vec::<(usize, OriginKey)>::new(), Vec::new());
        let host = |job: usize| job % 6;
        let mut last_ends = acts.into_iter();
        loop {
            let act = match last_ends.next() {
                Some(act) => act,
                // Then all that is left is played to its end.
                None if !in_flight.is_empty() => Act::Finish(0),
                None if schedule.len() > 0 => match schedule.next(now, 0) {
                    Decision::Run(job, id) => { in_flight.push((job, id)); continue; }
                    Decision::WaitUntil(at) => { prop_assert!(at > now); now = at; continue; }
                    Decision::Wait => { prop_assert!(false, "{} wait for nothing", schedule.len()); break; }
                },
                None => break,
            };
            match act {
                Act::Admit(wanted) => {
                    // Its number tells its host.
                    let job = admitted * 6 + wanted;
                    admitted += 1;
                    let origin = Origin::parse(&format!("http://host-{}", host(job))).ok();
                    schedule.push(job, origin, now);
                }
                Act::Next(worker) => match schedule.next(now, worker) {
                    Decision::Run(job, id) => {
                        in_flight.push((job, id));
                        let same = in_flight.iter().filter(|(other, _)| host(*other) == host(job)).count();
                        prop_assert!(same <= 2 || host(job) == 0);
                    }
                    Decision::WaitUntil(at) => prop_assert!(at > now),
                    Decision::Wait => {}
                },
                Act::Finish(which) if !in_flight.is_empty() => {
                    let (job, id) = in_flight.swap_remove(which % in_flight.len());
                    schedule.release(id, now);
                    done.push(job);
                }
                Act::Again(which, ms) if !in_flight.is_empty() => {
                    let (job, id) = in_flight.swap_remove(which % in_flight.len());
                    schedule.delay(job, id, now, now + Duration::from_millis(ms));
                }
                Act::CoolDown(which, ms) if !in_flight.is_empty() => {
                    let (_, id) = in_flight[which % in_flight.len()];
                    schedule.cool_down(id, now + Duration::from_millis(ms));
                }
                Act::Pass(ms) => now += Duration::from_millis(ms),
                _ => {}
            }
        }
        done.sort_unstable();
        done.dedup();
        prop_assert_eq!(done.len(), admitted);
    }
}

/// Simulations a crawl of 64 origins with 100 interleaved jobs each by 8 workers whose requests take a random time: how many
/// connections all workers have opened in the end.
fn connections_of_a_crawl(affinity: bool, seed: u64) -> usize {
    const ORIGINS: usize = 64;
    let mut random = fastrand::Rng::with_seed(seed);
    let start = Instant::now();
    let mut schedule = Schedule::new(None, affinity);
    for job in 0..ORIGINS * 100 {
        let origin = Origin::parse(&format!("http://host-{}", job % ORIGINS)).ok();
        schedule.push(job % ORIGINS, origin, start);
    }
    let mut warm = std::collections::HashSet::new();
    // When each worker is free again.
    let mut free_at = [start; 8];
    loop {
        let (worker, now) = (0..8)
            .map(|worker| (worker, free_at[worker]))
            .min_by_key(|(_, at)| *at)
            .expect("there are workers");
        match schedule.next(now, worker) {
            Decision::Run(origin, id) => {
                let is_cold = warm.insert((worker, origin));
                // Some requests take ten times as long as others, and so does a new connection.
                let took = random.u64(50..150) * if random.u8(0..20) == 0 { 10 } else { 1 };
                let connecting = if is_cold { 1_000 } else { 0 };
                schedule.release(id, now);
                free_at[worker] = now + Duration::from_micros(took + connecting);
            }
            Decision::WaitUntil(_) => unreachable!("nothing is limited"),
            Decision::Wait => return warm.len(),
        }
    }
}

#[test]
fn with_affinity_few_connections_are_opened() {
    for seed in 0..10 {
        let connections = connections_of_a_crawl(true, seed);
        assert!(connections <= 64 * 3 / 2, "{connections}");
        assert_eq!(connections_of_a_crawl(false, seed), 64 * 8);
    }
}

// ---- limits that are shared --------------------------------------------------------------------------------------------

/// Gives whatever it is told to.
#[derive(Debug)]
struct NoServer;

impl LimitServer for NoServer {
    fn ask(&self, _: &str, _: &[Ask]) -> Result<Vec<Given>, LimitError> {
        unreachable!("the simulation answers")
    }

    fn cool_down(&self, _: &str, _: &[(Origin, Instant)]) -> Result<(), LimitError> {
        unreachable!("the simulation answers")
    }

    fn listen(
        &self,
        _: &str,
        _: &mut dyn FnMut(Option<LimitNews>) -> bool,
    ) -> Result<(), LimitError> {
        unreachable!("the simulation answers")
    }

    fn lease(&self) -> Duration {
        60_000 * MS
    }
}

impl Simulation {
    /// With limits that are shared, once it has heard of all cool-downs.
    fn shared(mut limits: Limits) -> Self {
        limits.server = Some(Arc::new(NoServer));
        let mut simulation = Self::new(limits);
        simulation.hear(LimitNews::Complete);
        simulation
    }

    fn hear(&mut self, news: LimitNews) {
        self.schedule.hear(news, self.now);
    }

    /// What it asks for: the only thing.
    fn ask(&mut self) -> (OriginKey, Ask) {
        let mut asks = self.schedule.take_asks(self.now);
        assert_eq!(asks.len(), 1, "{asks:?}");
        asks.remove(0)
    }

    fn give(&mut self, (key, ask): (OriginKey, Ask), given: Given) {
        self.schedule.give(key, &ask, given, self.now);
    }
}

fn slots(millis: impl IntoIterator<Item = u32>) -> Given {
    Given {
        slots: millis.into_iter().map(|at| at * MS).collect(),
        ..Given::default()
    }
}

fn places(places: usize, is_contended: bool) -> Given {
    Given {
        places,
        is_contended,
        ..Given::default()
    }
}

fn origin(name: &str) -> Origin {
    Origin::parse(&format!("http://{name}")).expect("it is an origin")
}

#[test]
fn a_job_waits_for_a_slot_and_starts_at_its_time() {
    let mut simulation = Simulation::shared(Limits::new().rate_per_origin(10.0, 2));
    simulation.push(0, "a");
    simulation.push(1, "a");
    assert_eq!(simulation.next(), Decision::Wait);
    let ask = simulation.ask();
    assert_eq!(ask.1.slots, 1);
    assert!(!simulation.schedule.has_to_ask(), "it is asking");
    simulation.give(ask, slots([50]));
    assert_eq!(
        simulation.next(),
        Decision::WaitUntil(simulation.start + 50 * MS)
    );
    simulation.now += 50 * MS;
    assert_eq!(simulation.burst(), [0]);
    // The other one needs another slot.
    assert_eq!(simulation.ask().1.slots, 1);
}

#[test]
fn more_slots_are_asked_for_each_time_until_one_is_not_used() {
    let mut simulation = Simulation::shared(Limits::new().rate(1000.0, 10));
    for job in 0..100 {
        simulation.push(job, "a");
    }
    for expected in [1, 2, 4, 8] {
        let ask = simulation.ask();
        assert_eq!((ask.1.origin.is_none(), ask.1.slots), (true, expected));
        simulation.give(ask, slots(vec![0; expected]));
        assert_eq!(simulation.burst().len(), expected);
    }
    let ask = simulation.ask();
    assert_eq!(ask.1.slots, 16);
    simulation.give(ask, slots([0; 16]));
    simulation.now += 51 * MS;
    assert_eq!(simulation.next(), Decision::Wait);
    assert_eq!(simulation.ask().1.slots, 1);
}

#[test]
fn a_slot_that_is_a_little_late_is_used() {
    let mut simulation = Simulation::shared(Limits::new().rate_per_origin(1000.0, 10));
    simulation.push(0, "a");
    let ask = simulation.ask();
    simulation.give(ask, slots([1]));
    simulation.now += 51 * MS;
    assert_eq!(simulation.burst(), [0]);
}

#[test]
fn an_attempt_without_a_slot_is_paid_with_the_next_one() {
    let mut simulation = Simulation::shared(Limits::new().rate_per_origin(1000.0, 10));
    simulation.push(0, "a");
    simulation.push(1, "a");
    let ask = simulation.ask();
    simulation.give(ask, slots([0]));
    let (_, key) = simulation.run();
    simulation.schedule.count_attempt(key, simulation.now);
    simulation.schedule.release(key, simulation.now);
    let ask = simulation.ask();
    assert_eq!(ask.1.slots, 2);
    simulation.give(ask, slots([0, 3]));
    assert_eq!(
        simulation.next(),
        Decision::WaitUntil(simulation.start + 3 * MS)
    );
}

#[test]
fn places_stay_for_the_next_jobs_until_another_pool_wants_them() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(4));
    for job in 0..6 {
        simulation.push(job, "a");
    }
    let ask = simulation.ask();
    assert_eq!((ask.1.held, ask.1.places), (0, 4));
    simulation.give(ask, places(4, false));
    assert_eq!(simulation.burst(), [0, 1, 2, 3]);
    let key = simulation
        .schedule
        .origins
        .find(&origin("a"))
        .expect("it is known");
    simulation.schedule.release(key, simulation.now);
    assert_eq!(simulation.burst(), [4]);
    assert!(!simulation.schedule.has_to_ask());
    // Now each place that becomes free goes back.
    simulation.hear(LimitNews::Wanted(origin("a")));
    simulation.schedule.release(key, simulation.now);
    let ask = simulation.ask();
    assert_eq!((ask.1.held, ask.1.places), (3, 1));
    simulation.give(ask, places(0, true));
    assert_eq!(simulation.next_without_time(), Decision::Wait);
    assert!(!simulation.schedule.has_to_ask(), "it waits for news");
    simulation.hear(LimitNews::Freed(origin("a")));
    let ask = simulation.ask();
    simulation.give(ask, places(1, false));
    assert_eq!(simulation.burst(), [5]);
}

impl Simulation {
    /// What may go now, whatever there is to wait for.
    fn next_without_time(&mut self) -> Decision<usize> {
        match self.next() {
            Decision::WaitUntil(_) => Decision::Wait,
            other => other,
        }
    }
}

#[test]
fn a_pool_that_waits_for_a_place_asks_again_by_itself() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(1));
    simulation.push(0, "a");
    let ask = simulation.ask();
    simulation.give(ask, places(0, true));
    let Decision::WaitUntil(at) = simulation.next() else {
        panic!("it has a time to ask again");
    };
    simulation.now = at;
    assert_eq!(simulation.next_without_time(), Decision::Wait);
    assert_eq!(simulation.ask().1.places, 1);
}

#[test]
fn places_are_renewed_and_given_up_when_they_are_not_needed() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(2));
    simulation.push(0, "a");
    let ask = simulation.ask();
    simulation.give(ask, places(1, false));
    let (_, key) = simulation.run();
    simulation.schedule.renew();
    let ask = simulation.ask();
    assert_eq!((ask.1.held, ask.1.places), (1, 0));
    simulation.give(ask, places(0, false));
    simulation.schedule.release(key, simulation.now);
    assert!(
        !simulation.schedule.has_to_ask(),
        "another job may come soon"
    );
    simulation.schedule.renew();
    assert_eq!(simulation.ask().1.held, 0);
}

#[test]
fn what_the_server_did_not_get_is_asked_again() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(2));
    simulation.push(0, "a");
    let (key, _) = simulation.ask();
    simulation.schedule.ask_again(key);
    assert_eq!(simulation.ask().1.places, 1);
}

#[test]
fn cool_downs_are_told_and_heard() {
    let mut simulation = Simulation::shared(Limits::new());
    simulation.push(0, "a");
    let (_, key) = simulation.run();
    simulation
        .schedule
        .cool_down(key, simulation.now + 500 * MS);
    let asks = simulation.schedule.take_asks(simulation.now);
    assert!(asks.is_empty());
    let told = simulation.schedule.take_untold(simulation.now);
    assert_eq!(told, [(origin("a"), simulation.now + 500 * MS)]);
    // Of an origin that has jobs, and of one that is not known yet.
    simulation.push(1, "b");
    simulation.hear(LimitNews::CoolDown(origin("b"), 700 * MS));
    simulation.hear(LimitNews::CoolDown(origin("c"), 800 * MS));
    simulation.push(2, "c");
    let went = simulation.simulation();
    assert_eq!(went, [(700, 1), (800, 2)]);
}

#[test]
fn nothing_goes_before_all_cool_downs_are_known() {
    let mut limits = Limits::new();
    limits.server = Some(Arc::new(NoServer));
    let mut simulation = Simulation::new(limits);
    simulation.push(0, "a");
    assert_eq!(simulation.next(), Decision::Wait);
    simulation.hear(LimitNews::Complete);
    assert_eq!(simulation.burst(), [0]);
}

/// A cool-down is over while nothing is given: then it is asked for.
#[test]
fn what_waits_for_a_cool_down_is_asked_for_when_that_is_over() {
    for limits in [
        Limits::new().rate_per_origin(10.0, 2),
        Limits::new().in_flight_per_origin(1),
    ] {
        // Before the job is known, and while it waits for what was asked for.
        let mut before = Simulation::shared(limits.clone());
        before.hear(LimitNews::CoolDown(origin("a"), 700 * MS));
        before.push(0, "a");
        let mut meanwhile = Simulation::shared(limits);
        meanwhile.push(0, "a");
        let (key, asked) = meanwhile.ask();
        meanwhile.hear(LimitNews::CoolDown(origin("a"), 700 * MS));
        let nothing = Given {
            ask_again: Some(300 * MS),
            ..Given::default()
        };
        meanwhile.give((key, asked), nothing);
        for mut simulation in [before, meanwhile] {
            let end = simulation.start + 700 * MS;
            while simulation.now < end {
                for asked in simulation.schedule.take_asks(simulation.now) {
                    simulation.give(asked, Given::default());
                }
                match simulation.next() {
                    Decision::WaitUntil(at) => simulation.now = at,
                    other => panic!("there is a time to wait for: {other:?}"),
                }
            }
            assert_eq!(simulation.next_without_time(), Decision::Wait);
            let ask = simulation.ask().1;
            assert_eq!(ask.slots + ask.places, 1);
        }
    }
}

#[test]
fn a_pool_whose_places_others_have_got_starts_nothing_until_it_has_some() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(2));
    for job in 0..4 {
        simulation.push(job, "a");
    }
    let ask = simulation.ask();
    simulation.give(ask, places(2, false));
    assert_eq!(simulation.burst(), [0, 1]);
    let key = simulation
        .schedule
        .origins
        .find(&origin("a"))
        .expect("it is known");
    simulation.schedule.renew();
    let ask = simulation.ask();
    assert_eq!(ask.1.held, 2);
    let surplus = Given {
        surplus: 2,
        ..Given::default()
    };
    simulation.give(ask, surplus);
    simulation.schedule.release(key, simulation.now);
    assert_eq!(simulation.next_without_time(), Decision::Wait);
    let ask = simulation.ask();
    // What is in flight is told as it is.
    assert_eq!((ask.1.held, ask.1.places), (1, 1));
    simulation.give(ask, places(1, false));
    assert_eq!(simulation.burst(), [2]);
}

#[test]
fn places_are_not_used_beyond_their_lease() {
    let mut simulation = Simulation::shared(Limits::new().in_flight_per_origin(1));
    simulation.push(0, "a");
    simulation.push(1, "a");
    let ask = simulation.ask();
    simulation.give(ask, places(1, false));
    let (_, key) = simulation.run();
    simulation.now += 60_000 * MS;
    simulation.schedule.release(key, simulation.now);
    assert_eq!(simulation.next_without_time(), Decision::Wait);
}

#[test]
fn nothing_goes_while_news_may_be_missed() {
    let mut simulation = Simulation::shared(Limits::new());
    simulation.push(0, "a");
    simulation.push(1, "b");
    simulation.run();
    simulation.hear(LimitNews::Interrupted);
    simulation.push(2, "c");
    assert_eq!(simulation.next(), Decision::Wait);
    simulation.hear(LimitNews::Complete);
    assert_eq!(simulation.burst(), [1, 2]);
}

/// Slots of the pool that no place is there for would be lost for all pools.
#[test]
fn no_more_slots_of_the_pool_are_asked_for_than_jobs_could_use() {
    let limits = Limits::new().rate(1000.0, 100).in_flight_per_origin(2);
    let mut simulation = Simulation::shared(limits);
    for job in 0..100 {
        simulation.push(job, "a");
    }
    for _ in 0..5 {
        let asks = simulation.schedule.take_asks(simulation.now);
        for (key, ask) in asks {
            assert!(ask.slots <= 2, "{ask:?}");
            let given = Given {
                places: ask.places,
                ..slots(vec![0; ask.slots])
            };
            simulation.give((key, ask), given);
        }
        simulation.burst();
    }
    let key = simulation
        .schedule
        .origins
        .find(&origin("a"))
        .expect("it is known");
    assert_eq!(simulation.schedule.origins.get(key).in_flight, 2);
    assert!(!simulation.schedule.has_to_ask());
}
