//! Limits that several pools share: rates, requests in flight, and cool-downs, also when pools are killed and the server goes away.

use std::ffi::OsStr;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use threaded::queue::{Queue, RedisQueue};
use threaded::{
    Error, ErrorKind, Exchange, Limits, OriginLimits, Pool, PoolBuilder, RequestSpec, ResponseBody,
    Session, TransportBuilder,
};

use super::TestStore;
use super::each_store::{job, jobs, run};
use crate::support::pools::{gated, respond_ok};
use crate::support::process::{eventually, threads};
use crate::support::recording_server::RecordingServer;
use crate::support::subprocess::{in_subprocess, start_child};

const SITE: &str = "http://test";

fn urls(count: usize) -> Vec<String> {
    (0..count).map(|page| format!("{SITE}/{page}")).collect()
}

/// A pool that notes when each attempt starts.
fn noting(
    workers: usize,
    limits: Limits,
    starts: &Arc<Mutex<Vec<Instant>>>,
) -> PoolBuilder<impl TransportBuilder + 'static> {
    let starts = Arc::clone(starts);
    let transport = move |exchange: Exchange<'_>| {
        starts.lock().unwrap().push(Instant::now());
        respond_ok(exchange)
    };
    Pool::builder()
        .num_threads(workers)
        .limits(limits)
        .session(move || Session::new(transport.clone()))
}

/// No interval has more starts than rate and burst allow, and as many more as there are workers, each of which may have been held up
/// between its turn and its note.
fn assert_within(starts: &Mutex<Vec<Instant>>, per_second: f64, burst: usize, workers: usize) {
    let mut starts = starts.lock().unwrap().clone();
    starts.sort();
    for (first, from) in starts.iter().enumerate() {
        for (last, until) in starts.iter().enumerate().skip(first) {
            let seconds = (*until - *from).as_secs_f64();
            let allowed = per_second * seconds + (burst + workers) as f64;
            let found = last - first + 1;
            assert!(found as f64 <= allowed, "{found} in {seconds} s");
        }
    }
}

/// Opens the queue again, as another process would.
fn another(store: &TestStore) -> Queue {
    store
        .builder()
        .lease(Duration::from_millis(900))
        .build()
        .unwrap()
}

#[test]
fn a_rate_holds_for_all_pools_together() {
    for limits in [
        Limits::new().rate(100.0, 10),
        Limits::new().rate_per_origin(100.0, 10),
    ] {
        let store = TestStore::new();
        let starts = Arc::default();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let shared = limits.clone().shared(&another(&store));
                    let (responses, _) = noting(2, shared, &starts).map(urls(40)).unwrap();
                    assert_eq!(responses.len(), 40);
                });
            }
        });
        assert_eq!(starts.lock().unwrap().len(), 160);
        assert_within(&starts, 100.0, 10, 8);
        // What the burst does not cover takes its time, whatever the machine is busy with.
        assert!(
            begun.elapsed() >= Duration::from_millis(1490),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_slow_rate_is_kept_without_asking_all_the_time() {
    let store = TestStore::new();
    let limits = Limits::new()
        .rate(1000.0, 10)
        .for_origin(SITE, OriginLimits::new().rate(1.0, 1));
    let starts = Arc::default();
    let pool = noting(2, limits.shared(&another(&store)), &starts)
        .build_from_urls(urls(4))
        .unwrap();
    eventually("the first is sent", || !starts.lock().unwrap().is_empty());
    let calls = || {
        let reply = store.0.command("INFO commandstats");
        let (_, rest) = reply.split_once("cmdstat_evalsha:calls=").unwrap();
        rest.split(',').next().unwrap().parse::<usize>().unwrap()
    };
    let before = calls();
    assert_eq!(pool.into_iter().count(), 4);
    let calls = calls() - before;
    assert!(calls < 40, "{calls} calls for 3 requests a second apart");
    assert_within(&starts, 1.0, 2, 1);
}

#[test]
fn a_clock_of_the_server_that_was_set_back_does_not_stop_a_rate() {
    let store = TestStore::new();
    let queue = another(&store);
    // Used up until the next millennium, in microseconds.
    store.0.command("SET {test}:rate: 32503680000000000");
    let limits = Limits::new().rate(100.0, 1).shared(&queue);
    let starts = Arc::default();
    assert_eq!(noting(1, limits, &starts).map(urls(5)).unwrap().0.len(), 5);
}

/// Counts how many requests are in flight at once.
#[derive(Clone, Default)]
struct Counting {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Counting {
    /// One is in flight for this time.
    fn one(&self, time: Duration) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(time);
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn pool(&self, limits: Limits) -> PoolBuilder<impl TransportBuilder + 'static> {
        let counting = self.clone();
        let transport =
            move |exchange: Exchange<'_>| -> Result<http::Response<ResponseBody>, Error> {
                let now = counting.now.fetch_add(1, Ordering::SeqCst) + 1;
                counting.most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                counting.now.fetch_sub(1, Ordering::SeqCst);
                respond_ok(exchange)
            };
        Pool::builder()
            .num_threads(4)
            .limits(limits)
            .session(move || Session::new(transport.clone()))
    }
}

#[test]
fn no_more_requests_are_in_flight_in_all_pools_together_than_may_be() {
    let store = TestStore::new();
    let counting = Counting::default();
    let limits = Limits::new().in_flight_per_origin(3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let shared = limits.clone().shared(&another(&store));
                let (responses, _) = counting.pool(shared).map(urls(60)).unwrap();
                assert_eq!(responses.len(), 60);
            });
        }
    });
    assert_eq!(counting.most.load(Ordering::SeqCst), 3);
    // Each pool has given its places back.
    eventually("no place is held", || keys_of(&store, "places").is_empty());
}

fn keys_of(store: &TestStore, kind: &str) -> Vec<String> {
    let reply = store.0.command(&format!("KEYS *{kind}*"));
    reply
        .lines()
        .filter(|line| line.contains(kind))
        .map(str::to_owned)
        .collect()
}

#[test]
fn pools_that_wait_for_the_same_place_take_turns() {
    let store = TestStore::new();
    let order: Mutex<Vec<usize>> = Mutex::default();
    let begin = Barrier::new(2);
    std::thread::scope(|scope| {
        for number in 0..2 {
            let (store, order, begin) = (&store, &order, &begin);
            scope.spawn(move || {
                let (builder, begun, open) = gated();
                let limits = Limits::new().in_flight_per_origin(1);
                let pool = builder
                    .num_threads(2)
                    .limits(limits.shared(&another(store)))
                    .build()
                    .unwrap();
                open.send(()).unwrap();
                assert_eq!(pool.map(urls(1)).unwrap().0.len(), 1);
                begun.recv().unwrap();
                begin.wait();
                for url in urls(40) {
                    pool.submit(url).unwrap();
                }
                for _ in 0..40 {
                    begun.recv().unwrap();
                    order.lock().unwrap().push(number);
                    open.send(()).unwrap();
                }
                assert_eq!(pool.into_iter().filter(Result::is_ok).count(), 40);
            });
        }
    });
    let order = order.into_inner().unwrap();
    // While both have some left, neither goes more than a few times in a row.
    let is_over_for = |number: usize, end: usize| {
        let jobs = order.iter().take(end).filter(|other| **other == number);
        jobs.count() == 40
    };
    let end = (0..80).find(|end| is_over_for(0, *end) || is_over_for(1, *end));
    let overlap = &order[..end.unwrap()];
    let runs = overlap.chunk_by(|one, other| one == other);
    let longest = runs.map(<[_]>::len).max().unwrap();
    assert!(longest <= 10, "{order:?}");
}

#[test]
fn places_of_a_pool_that_is_killed_are_free_when_the_lease_has_run_out() {
    let name = concat!(
        module_path!(),
        "::places_of_a_pool_that_is_killed_are_free_when_the_lease_has_run_out"
    );
    let limits = Limits::new().in_flight_per_origin(1);
    const URL: &str = "THREADED_TEST_REDIS_OF_LIMITS";
    if let Ok(url) = std::env::var(URL) {
        let queue = RedisQueue::builder(url, "test")
            .lease(Duration::from_millis(900))
            .build()
            .unwrap();
        let (builder, _begun, _open) = gated();
        let pool = builder
            .limits(limits.shared(&queue))
            .build_from_urls(urls(1))
            .unwrap();
        pool.join_all();
        return;
    }
    let store = TestStore::new();
    let mut child = start_child(name, &[(URL, OsStr::new(&store.0.url()))]);
    eventually("the child has the place", || {
        !keys_of(&store, "places").is_empty()
    });
    let starts = Arc::default();
    let pool = noting(2, limits.shared(&another(&store)), &starts)
        .build_from_urls(urls(3))
        .unwrap();
    // Longer than a lease: it is renewed.
    std::thread::sleep(Duration::from_millis(2000));
    assert_eq!(starts.lock().unwrap().len(), 0, "the child has the place");
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(pool.into_iter().filter(Result::is_ok).count(), 3);
}

/// A pool whose first response asks for a pause, of an origin that is not limited otherwise.
#[test]
fn an_origin_that_pauses_one_pool_pauses_all() {
    let store = TestStore::new();
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/busy" => http::Response::builder()
            .status(503)
            .header("retry-after", "2")
            .body("later".into())
            .unwrap(),
        _ => http::Response::new("ok".into()),
    });
    let pool = || {
        crate::pool()
            .num_threads(1)
            .limits(Limits::new().shared(&another(&store)))
    };
    let late = pool().build().unwrap();
    // It has heard of everything before.
    assert_eq!(late.map([server.url("/")]).unwrap().0.len(), 1);
    let paused_at = Instant::now();
    assert_eq!(pool().map([server.url("/busy")]).unwrap().0.len(), 1);
    eventually("the server knows", || {
        !keys_of(&store, "cool-downs").is_empty()
    });
    // One that comes later hears of it, too.
    assert_eq!(pool().map([server.url("/")]).unwrap().0.len(), 1);
    assert!(paused_at.elapsed() >= Duration::from_millis(1900));
    assert_eq!(late.map([server.url("/")]).unwrap().0.len(), 1);
    assert_eq!(pool().map([server.url("/busy")]).unwrap().0.len(), 1);
    let other = RecordingServer::responding_ok();
    assert_eq!(late.map([other.url("/")]).unwrap().0.len(), 1);
    eventually("one that is there hears of it", || {
        let asked_at = Instant::now();
        assert_eq!(late.map([server.url("/")]).unwrap().0.len(), 1);
        asked_at.elapsed() >= Duration::from_millis(500)
    });
}

#[test]
fn while_the_server_is_away_nothing_is_sent_without_a_limit() {
    for limits in [
        Limits::new().rate(50.0, 5),
        Limits::new().in_flight_per_origin(2),
        Limits::new(),
    ] {
        let mut store = TestStore::new();
        let queue = another(&store);
        store.0.kill();
        let starts = Arc::default();
        let pool = noting(2, limits.shared(&queue), &starts)
            .build_from_urls(urls(5))
            .unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(starts.lock().unwrap().len(), 0);
        store.0.run();
        assert_eq!(pool.into_iter().filter(Result::is_ok).count(), 5);
    }
}

#[test]
fn a_pool_whose_limits_are_gone_for_good_ends() {
    let store = TestStore::new();
    let queue = another(&store);
    store.0.command("FLUSHALL");
    let pool = noting(
        2,
        Limits::new().rate(50.0, 5).shared(&queue),
        &Arc::default(),
    )
    .build_from_urls(urls(5))
    .unwrap();
    let outcomes: Vec<_> = pool.into_iter().collect();
    assert_eq!(outcomes.len(), 5);
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn deliveries_of_several_consumers_keep_to_what_they_share() {
    let store = TestStore::new();
    let queue = another(&store);
    queue.submit_all(jobs(120)).unwrap();
    let starts = Arc::default();
    let limits = Limits::new().rate(100.0, 10).in_flight_per_origin(3);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let queue = another(&store);
                run(noting(2, limits.clone().shared(&queue), &starts), &queue)
            });
        }
    });
    assert_eq!(starts.lock().unwrap().len(), 120);
    assert_within(&starts, 100.0, 10, 6);
    assert_eq!(queue.stats().unwrap().recorded(), 120);
}

#[test]
fn processes_keep_to_what_they_share_while_some_are_killed() {
    let name = concat!(
        module_path!(),
        "::processes_keep_to_what_they_share_while_some_are_killed"
    );
    let limits = Limits::new().rate(100.0, 10).in_flight_per_origin(4);
    const URL: &str = "THREADED_TEST_REDIS_OF_PROCESSES";
    if let Ok(url) = std::env::var(URL) {
        let queue = RedisQueue::builder(url, "test")
            .lease(Duration::from_millis(900))
            .max_deliveries(100)
            .build()
            .unwrap();
        let limits = limits.shared(&queue);
        run(crate::pool().num_threads(2).limits(limits), &queue);
        return;
    }
    let starts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let counting = Counting::default();
    let (noted, counted) = (Arc::clone(&starts), counting.clone());
    let server = RecordingServer::start(move |_| {
        noted.lock().unwrap().push(Instant::now());
        counted.one(Duration::from_millis(20));
        http::Response::new("ok".into())
    });
    let store = TestStore::new();
    let queue = another(&store);
    let site = server.url("");
    let jobs = (0..250).map(|number| job(number, RequestSpec::get(format!("{site}/{number}"))));
    queue.submit_all(jobs).unwrap();
    queue.close().unwrap();
    let mut children: Vec<Child> = (0..4)
        .map(|_| start_child(name, &[(URL, OsStr::new(&store.0.url()))]))
        .collect();
    for received in [40, 100] {
        eventually("some are sent", || starts.lock().unwrap().len() > received);
        let mut child = children.remove(0);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(queue.stats().unwrap().recorded(), 250);
    assert!(counting.most.load(Ordering::SeqCst) <= 4);
    assert_within(&starts, 100.0, 10, 8);
}

#[test]
fn a_pool_with_shared_limits_that_is_dropped_leaves_no_thread_and_no_place() {
    let path = concat!(
        module_path!(),
        "::a_pool_with_shared_limits_that_is_dropped_leaves_no_thread_and_no_place"
    );
    in_subprocess(path, &[], || {
        let store = TestStore::new();
        let before = threads();
        let (builder, begun, open) = gated();
        let pool = builder
            .num_threads(2)
            .limits(
                Limits::new()
                    .in_flight_per_origin(1)
                    .shared(&another(&store)),
            )
            .build_from_urls(urls(10))
            .unwrap();
        begun.recv().unwrap();
        drop(pool);
        drop(open);
        eventually("no place is held", || keys_of(&store, "places").is_empty());
        eventually("the threads have ended", || threads() == before);
    });
}

#[test]
fn a_pool_that_is_dropped_while_the_server_is_away_leaves_no_thread() {
    let path = concat!(
        module_path!(),
        "::a_pool_that_is_dropped_while_the_server_is_away_leaves_no_thread"
    );
    in_subprocess(path, &[], || {
        let mut store = TestStore::new();
        let before = threads();
        let (builder, begun, open) = gated();
        let limits = Limits::new().in_flight_per_origin(1);
        let queue = another(&store);
        let pool = builder
            .num_threads(2)
            .limits(limits.shared(&queue))
            .build_from_urls(urls(10))
            .unwrap();
        begun.recv().unwrap();
        store.0.kill();
        eventually("the queue is told", || !queue.is_connected());
        drop(pool);
        drop(open);
        eventually("the threads have ended", || threads() == before);
    });
}
