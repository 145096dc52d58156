//! Servers that forget, vanish, come back, or are told nonsense; consumers that die, hang, or share the work.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use threaded::queue::{Acked, Job, Queue, QueueError, RedisQueue};
use threaded::{
    Event, Exchange, Pool, PoolBuilder, RequestBody, RequestSpec, ResponseBody, Session,
    TransportBuilder,
};

use super::TestStore;
use super::each_store::history::{assert_consistent, hits, mixed_jobs};
use super::each_store::{job, jobs, recorded, run, stub};
use crate::support::pools::respond_ok;
use crate::support::process::eventually;
use crate::support::recording_server::RecordingServer;
use crate::support::redis_server::{Network, RedisServer, Relay};
use crate::support::subprocess::start_child;

#[test]
fn a_server_that_may_forget_is_refused() {
    for (arguments, expected) in [
        (&["--appendonly", "no"][..], "--appendonly yes"),
        (
            &["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"],
            "noeviction",
        ),
    ] {
        let server = RedisServer::start_with(arguments);
        let error = RedisQueue::open(server.url(), "test").unwrap_err();
        assert!(matches!(error, QueueError::NotDurable { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        let queue = RedisQueue::builder(server.url(), "test")
            .allow_volatile(true)
            .build()
            .unwrap();
        queue.submit_all(jobs(3)).unwrap();
        assert_eq!(run(stub(), &queue).len(), 3);
    }
}

#[test]
fn what_keeps_a_queue_from_being_opened_is_told_without_the_password() {
    const PASSWORD: &str = "canary-77";
    let server = RedisServer::start_with(&["--appendonly", "yes", "--requirepass", PASSWORD]);
    let open = |url: String, name: &str| RedisQueue::open(url, name);
    let socket = server.socket();
    let cases = [
        ("nonsense".to_owned(), "queue", ""),
        ("redis://127.0.0.1:1/".to_owned(), "queue", "refused"),
        (
            format!("redis://:{PASSWORD}@127.0.0.1:1/"),
            "queue",
            "127.0.0.1:1",
        ),
        ("unix:///none.sock".to_owned(), "queue", "none.sock"),
        (server.url(), "queue", "NOAUTH"),
        (
            format!("unix://{}?pass={PASSWORD}-wrong", socket.display()),
            "queue",
            "assword",
        ),
        (
            format!("unix://{}?pass={PASSWORD}", socket.display()),
            "",
            "empty",
        ),
        (
            format!("unix://{}?pass={PASSWORD}", socket.display()),
            "a{b}",
            "braces",
        ),
    ];
    for (url, name, expected) in cases {
        let error = open(url.clone(), name).unwrap_err();
        assert!(
            matches!(error, QueueError::Server { .. }),
            "{url}: {error:?}"
        );
        assert!(error.to_string().contains(expected), "{url}: {error}");
        assert!(
            !format!("{error} {error:?}").contains(PASSWORD),
            "{url}: {error:?}"
        );
    }
    let url = format!("unix://{}?pass={PASSWORD}", socket.display());
    let queue = open(url, "queue").unwrap();
    queue.submit_all(jobs(2)).unwrap();
    assert_eq!(run(stub(), &queue).len(), 2);
    assert!(!format!("{queue:?}").contains(PASSWORD));
}

#[test]
fn queues_of_different_names_are_different_queues() {
    let server = RedisServer::start();
    let [one, other] = ["one", "other"].map(|name| RedisQueue::open(server.url(), name).unwrap());
    one.submit_all(jobs(3)).unwrap();
    assert_eq!(other.stats().unwrap().waiting(), 0);
    assert_eq!(other.submit_all(jobs(2)).unwrap(), 2);
    assert_eq!(run(stub(), &one).len(), 3);
    assert_eq!(run(stub(), &other).len(), 2);
}

#[test]
fn a_queue_of_another_version_is_refused() {
    let store = TestStore::new();
    store.open();
    store.0.command("HSET {test}:meta version 2");
    let error = store.builder().build().unwrap_err();
    assert!(error.to_string().contains("version `2`"), "{error}");
}

#[test]
fn a_lease_is_renewed_as_long_as_the_job_takes() {
    let store = TestStore::new();
    let open = || {
        store
            .builder()
            .lease(Duration::from_secs(1))
            .build()
            .unwrap()
    };
    let queue = open();
    queue.submit_all(jobs(4)).unwrap();
    queue.close().unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let builder = || {
        let sent = Arc::clone(&sent);
        Pool::builder().concurrency(2).session(move || {
            let sent = Arc::clone(&sent);
            Session::new(move |exchange: Exchange<'_>| {
                sent.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_secs(3));
                respond_ok(exchange)
            })
        })
    };
    let delivered: usize = std::thread::scope(|scope| {
        let consumers = [(); 2].map(|()| scope.spawn(|| run(builder(), &open()).len()));
        consumers
            .map(|consumer| consumer.join().unwrap())
            .iter()
            .sum()
    });
    assert_eq!((delivered, sent.load(Ordering::SeqCst)), (4, 4));
}

const URL: &str = "THREADED_TEST_REDIS";
const SITE: &str = "THREADED_TEST_SITE";

fn start(name: &str, store: &TestStore, site: &str) -> Child {
    let url = store.0.url();
    start_child(name, &[(URL, OsStr::new(&url)), (SITE, OsStr::new(site))])
}

/// In a subprocess, what it is to do: the queue, and where the server is.
fn in_child() -> Option<(String, String)> {
    Some((std::env::var(URL).ok()?, std::env::var(SITE).ok()?))
}

#[test]
fn whatever_consumers_are_killed_every_job_is_recorded_once() {
    const JOBS: usize = 600;
    let name = concat!(
        module_path!(),
        "::whatever_consumers_are_killed_every_job_is_recorded_once"
    );
    if let Some((url, _)) = in_child() {
        let queue = RedisQueue::builder(url, "test")
            .lease(Duration::from_millis(1500))
            .max_deliveries(1000)
            .build()
            .unwrap();
        run(crate::pool().concurrency(4).window(8), &queue);
        return;
    }
    let server = RecordingServer::start(|_| {
        std::thread::sleep(Duration::from_millis(5));
        http::Response::new("ok".into())
    });
    let store = TestStore::new();
    let queue = store.open();
    queue
        .submit_all(mixed_jobs(&server.url(""), 0..JOBS))
        .unwrap();
    queue.close().unwrap();
    let mut consumers: Vec<Child> = (0..3).map(|_| start(name, &store, "")).collect();
    let mut kills = 0;
    while queue.stats().unwrap().recorded() < JOBS && kills < 12 {
        std::thread::sleep(Duration::from_millis(120));
        let mut killed = std::mem::replace(&mut consumers[kills % 3], start(name, &store, ""));
        let _ = killed.kill();
        killed.wait().unwrap();
        kills += 1;
    }
    for mut consumer in consumers {
        assert!(consumer.wait().unwrap().success());
    }
    assert!(kills > 2, "{kills}");
    assert_consistent(&queue, &hits(&server, JOBS), "kills");
    assert_eq!(queue.stats().unwrap().dead(), 0);
}

#[test]
fn a_consumer_that_was_stopped_longer_than_its_lease_is_superseded() {
    let name = concat!(
        module_path!(),
        "::a_consumer_that_was_stopped_longer_than_its_lease_is_superseded"
    );
    let lease = Duration::from_millis(500);
    let consume = |url: &str| {
        let queue = RedisQueue::builder(url, "test")
            .lease(lease)
            .build()
            .unwrap();
        let told = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&told);
        let builder = crate::pool().concurrency(1).on_event(move |event| {
            if matches!(event, Event::Superseded(_)) {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut acks = Vec::new();
        for delivery in builder.deliveries(&queue).unwrap() {
            acks.push(delivery.unwrap().ack().unwrap());
        }
        let superseded = acks.iter().filter(|acked| **acked == Acked::Superseded);
        assert_eq!(superseded.count(), told.load(Ordering::SeqCst));
        acks
    };
    if let Some((url, _)) = in_child() {
        let is_superseded = consume(&url).contains(&Acked::Superseded);
        std::process::exit(if is_superseded { 42 } else { 1 });
    }
    let (begun_tx, begun) = threaded::crossbeam_channel::unbounded();
    let (open, opened) = threaded::crossbeam_channel::unbounded::<()>();
    let server = RecordingServer::start(move |_| {
        let _ = begun_tx.send(());
        let _ = opened.recv();
        http::Response::new("ok".into())
    });
    let store = TestStore::new();
    let queue = store.builder().lease(lease).build().unwrap();
    queue
        .submit(job(0, RequestSpec::get(server.url("/"))))
        .unwrap();
    queue.close().unwrap();
    let mut stopped = start(name, &store, "");
    begun.recv().unwrap();
    let signal = |signal: &str| {
        let status = std::process::Command::new("kill")
            .args([signal, &stopped.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    };
    signal("-STOP");
    // The signal reaches its threads one after the other.
    let tasks = format!("/proc/{}/task", stopped.id());
    eventually("all of its threads are stopped", || {
        std::fs::read_dir(&tasks).unwrap().all(|task| {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat"));
            stat.is_ok_and(|stat| stat.contains(") T "))
        })
    });
    drop(open);
    // Another one takes the job over, and records it.
    assert_eq!(consume(&store.0.url()), [Acked::Recorded]);
    signal("-CONT");
    assert_eq!(stopped.wait().unwrap().code(), Some(42));
    assert_eq!(recorded(&queue).len(), 1);
    assert_eq!(server.received().len(), 2);
}

/// What happens to the server in the middle of a run of 300 jobs, by two consumers. Each third request is not idempotent.
fn survives(happens: impl FnOnce(&mut TestStore)) {
    survives_behind(|store| store.0.url(), happens);
}

/// The same, where the consumers reach the server at this URL.
fn survives_behind(url: impl FnOnce(&TestStore) -> String, happens: impl FnOnce(&mut TestStore)) {
    const JOBS: usize = 300;
    let mut store = TestStore::new();
    let url = url(&store);
    let open = |url: &str| {
        let builder = RedisQueue::builder(url, "test").lease(Duration::from_secs(2));
        builder.build().unwrap()
    };
    let queue = store.open();
    // Some come when it has happened.
    let all = |numbers| mixed_jobs("http://test", numbers);
    queue.submit_all(all(0..JOBS - 10)).unwrap();
    let sent = Arc::new(Mutex::new(vec![0; JOBS]));
    let consumers = [(); 2].map(|()| {
        let queue = open(&url);
        let sent = Arc::clone(&sent);
        let builder = Pool::builder().concurrency(4).session(move || {
            let sent = Arc::clone(&sent);
            Session::new(move |exchange: Exchange<'_>| {
                let number: usize = exchange.url().path()[1..].parse().unwrap();
                sent.lock().unwrap()[number] += 1;
                std::thread::sleep(Duration::from_millis(10));
                respond_ok(exchange)
            })
        });
        std::thread::spawn(move || {
            for delivery in builder.deliveries(&queue).unwrap() {
                delivery.unwrap().ack().unwrap();
            }
        })
    });
    eventually("the run is in its middle", || {
        queue.stats().unwrap().recorded() > 30
    });
    happens(&mut store);
    assert_eq!(queue.submit_all(all(0..JOBS)).unwrap(), 10);
    queue.close().unwrap();
    for consumer in consumers {
        consumer.join().unwrap();
    }
    assert_consistent(&queue, &sent.lock().unwrap(), "survived");
    assert_eq!(queue.stats().unwrap().dead(), 0);
}

/// What the network between the consumers and the server does, for this time.
fn survives_network(network: Network, time: Duration) {
    let relay = OnceLock::new();
    survives_behind(
        |store| relay.get_or_init(|| Relay::start(&store.0)).url(),
        |_| {
            let relay = relay.get().unwrap();
            relay.set(network);
            std::thread::sleep(time);
            relay.set(Network::Whole);
        },
    );
}

#[test]
fn a_network_that_is_cut_for_less_than_a_lease() {
    survives_network(Network::Cut, Duration::from_millis(300));
}

#[test]
fn a_network_that_is_cut_for_more_than_a_lease() {
    survives_network(Network::Cut, Duration::from_millis(3_000));
}

#[test]
fn a_network_that_is_silent_for_a_while() {
    survives_network(Network::Silent, Duration::from_millis(3_000));
}

#[test]
fn a_network_that_loses_replies() {
    survives_network(Network::LosesReplies, Duration::from_millis(500));
}

#[test]
fn a_network_that_passes_on_one_byte_at_a_time() {
    survives_network(Network::OneByteAtATime, Duration::from_millis(500));
}

#[test]
fn a_server_that_is_killed_and_comes_back_has_lost_nothing() {
    survives(|store| {
        store.0.kill();
        store.0.run();
    });
}

/// Records what it is told of the server, and panics.
fn watching(
    queue: &Queue,
) -> (
    PoolBuilder<impl TransportBuilder + 'static>,
    Arc<Mutex<Vec<&'static str>>>,
) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (noted, queue) = (Arc::clone(&told), queue.clone());
    let builder = stub().on_event(move |event| {
        let what = match event {
            Event::QueueDown(outage) => {
                assert_eq!(outage.queue(), "test");
                assert_ne!(outage.reason(), "");
                "down"
            }
            Event::QueueUp(up) => {
                assert_eq!(up.queue(), "test");
                "up"
            }
            _ => return,
        };
        noted.lock().unwrap().push(what);
        assert_eq!(queue.is_connected(), what == "up");
        panic!("is logged");
    });
    (builder, told)
}

#[test]
fn an_observer_is_told_when_the_server_goes_away_and_when_it_is_back() {
    let mut store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(3)).unwrap();
    let (builder, told) = watching(&queue);
    let mut deliveries = builder.deliveries(&queue).unwrap();
    let handle = deliveries.handle();
    let (delivered, ids) = threaded::crossbeam_channel::unbounded();
    let consumer = std::thread::spawn(move || {
        for delivery in deliveries.by_ref() {
            delivery.unwrap().ack().unwrap();
            delivered.send(()).unwrap();
        }
        deliveries
    });
    ids.iter().take(3).for_each(drop);
    for times in 1..=2 {
        store.0.kill();
        eventually("it is away", || told.lock().unwrap().len() == 2 * times - 1);
        store.0.run();
        eventually("it is back", || told.lock().unwrap().len() == 2 * times);
        queue
            .submit(job(10 + times, "http://test/".into()))
            .unwrap();
        ids.recv().unwrap();
    }
    assert_eq!(*told.lock().unwrap(), ["down", "up", "down", "up"]);
    handle.shutdown();
    drop(consumer.join().unwrap());
    store.0.kill();
    let _ = store.builder().build();
    assert_eq!(told.lock().unwrap().len(), 4);
}

#[test]
fn a_pool_that_starts_while_the_server_is_away_tells_its_observer() {
    let mut store = TestStore::new();
    let limited = store.builder().max_outage(Duration::from_millis(100));
    let queue = limited.build().unwrap();
    store.0.kill();
    queue.stats().unwrap_err();
    let (builder, told) = watching(&queue);
    let deliveries = builder.deliveries(&queue).unwrap();
    assert_eq!(*told.lock().unwrap(), ["down"]);
    store.0.run();
    eventually("it is back", || *told.lock().unwrap() == ["down", "up"]);
    drop(deliveries);
}

#[test]
fn connections_that_are_killed_are_made_again() {
    survives(|store| {
        for _ in 0..5 {
            store.0.command("CLIENT KILL TYPE normal SKIPME yes");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn scripts_that_are_flushed_are_loaded_again() {
    survives(|store| assert!(store.0.command("SCRIPT FLUSH").contains("OK")));
}

#[test]
fn a_group_that_is_destroyed_is_made_again() {
    survives(|store| {
        assert!(
            store
                .0
                .command("XGROUP DESTROY {test}:jobs w")
                .contains('1')
        )
    });
}

#[test]
fn a_server_that_stops_for_a_while_is_waited_for() {
    survives(|store| {
        // The reply comes when it is over.
        assert!(store.0.command("DEBUG SLEEP 1").contains("OK"));
        assert!(store.0.command("CLIENT PAUSE 500 ALL").contains("OK"));
    });
}

#[test]
fn a_server_that_is_full_is_waited_for() {
    survives(|store| {
        let limited = store.builder().max_outage(Duration::from_millis(200));
        let limited = limited.build().unwrap();
        assert!(store.0.command("CONFIG SET maxmemory 1").contains("OK"));
        let error = limited
            .submit(job(9999, "http://test/".into()))
            .unwrap_err();
        assert!(error.to_string().contains("maxmemory"), "{error}");
        assert!(store.0.command("CONFIG SET maxmemory 0").contains("OK"));
    });
}

#[test]
fn a_server_that_is_read_only_is_waited_for() {
    survives(|store| {
        assert!(store.0.command("REPLICAOF 127.0.0.1 1").contains("OK"));
        std::thread::sleep(Duration::from_millis(300));
        assert!(store.0.command("REPLICAOF NO ONE").contains("OK"));
    });
}

#[test]
fn an_idle_consumer_goes_on_when_its_server_was_a_replica_for_a_while() {
    let store = TestStore::new();
    let queue = store.open();
    let consumer = queue.clone();
    let thread = std::thread::spawn(move || {
        let mut deliveries = stub().deliveries(&consumer).unwrap();
        let delivered = deliveries.next().unwrap().unwrap();
        delivered.ack().unwrap()
    });
    eventually("a consumer is blocked", || {
        store
            .0
            .command("INFO clients")
            .contains("blocked_clients:1")
    });
    assert!(store.0.command("REPLICAOF 127.0.0.1 1").contains("OK"));
    eventually("it is not blocked any more", || {
        store
            .0
            .command("INFO clients")
            .contains("blocked_clients:0")
    });
    assert!(store.0.command("REPLICAOF NO ONE").contains("OK"));
    queue.submit_all(jobs(1)).unwrap();
    assert_eq!(thread.join().unwrap(), Acked::Recorded);
}

#[test]
fn an_idle_consumer_is_told_that_the_queue_was_flushed() {
    let store = TestStore::new();
    let queue = store.open();
    let consumer = queue.clone();
    let thread = std::thread::spawn(move || {
        let mut deliveries = stub().deliveries(&consumer).unwrap();
        deliveries.next().unwrap().unwrap_err()
    });
    eventually("a consumer is blocked", || {
        store
            .0
            .command("INFO clients")
            .contains("blocked_clients:1")
    });
    assert!(store.0.command("FLUSHALL").contains("OK"));
    // Another process makes a queue of the same name.
    store.open().submit_all(jobs(1)).unwrap();
    let error = thread.join().unwrap();
    assert!(matches!(error, QueueError::Lost { .. }), "{error:?}");
    assert!(matches!(queue.stats(), Err(QueueError::Lost { .. })));
}

#[test]
fn jobs_of_a_process_that_has_come_to_its_end_are_given_back_by_then() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(50)).unwrap();
    let (builder, begun, open) = crate::support::pools::gated();
    let mut deliveries = builder
        .num_threads(1)
        .window(20)
        .deliveries(&queue)
        .unwrap();
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || deliveries.by_ref().map(Result::unwrap).count());
    begun.recv().unwrap();
    let shutdown = std::thread::spawn(move || handle.shutdown());
    drop(open);
    shutdown.join().unwrap();
    // Those in flight were delivered and dropped.
    thread.join().unwrap();
    let stats = queue.stats().unwrap();
    assert_eq!((stats.waiting(), stats.leased()), (50, 0));
}

#[test]
fn a_job_that_ends_its_processes_is_dead_and_takes_no_other_with_it() {
    const JOBS: usize = 40;
    let name = concat!(
        module_path!(),
        "::a_job_that_ends_its_processes_is_dead_and_takes_no_other_with_it"
    );
    let lease = Duration::from_millis(500);
    if let Some((url, _)) = in_child() {
        let queue = RedisQueue::builder(url, "test")
            .lease(lease)
            .build()
            .unwrap();
        let builder = crate::pool()
            .concurrency(4)
            .window(16)
            .handler("abort", |head, body| {
                if head.url().path() == "/4" {
                    std::process::abort();
                }
                body.read_to_end(&mut Vec::new())?;
                Ok(())
            });
        run(builder, &queue);
        return;
    }
    let server = RecordingServer::start(|_| {
        std::thread::sleep(Duration::from_millis(20));
        http::Response::new("ok".into())
    });
    let store = TestStore::new();
    let queue = store.open();
    let all = (0..JOBS).map(|number| {
        let request = RequestSpec::get(server.url(&format!("/{number}")));
        Job::new(number.to_string(), request.handler("abort"))
    });
    queue.submit_all(all).unwrap();
    queue.close().unwrap();
    let mut died = 0;
    while !start(name, &store, "").wait().unwrap().success() {
        died += 1;
        assert!(died <= 3, "it is dead after three times");
    }
    assert_eq!(died, 3);
    let dead = queue.dead().unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].job_id(), Some("4"));
    assert_eq!(queue.stats().unwrap().recorded(), JOBS - 1);
    assert_eq!(recorded(&queue).len(), JOBS);
}

#[test]
fn a_queue_that_was_flushed_is_an_error() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(50)).unwrap();
    let mut deliveries = stub().window(4).deliveries(&queue).unwrap();
    let delivery = deliveries.next().unwrap().unwrap();
    assert!(store.0.command("FLUSHALL").contains("OK"));
    let error = delivery.ack().unwrap_err();
    assert!(matches!(error, QueueError::Lost { .. }), "{error:?}");
    assert!(error.to_string().contains("`test`"), "{error}");
    let error = deliveries.find_map(Result::err).unwrap();
    assert!(matches!(error, QueueError::Lost { .. }), "{error:?}");
    assert!(matches!(
        queue.submit_all(jobs(1)),
        Err(QueueError::Lost { .. })
    ));
    assert!(matches!(queue.stats(), Err(QueueError::Lost { .. })));
}

#[test]
fn a_server_that_is_away_is_an_error_after_a_while_if_that_is_asked_for() {
    let mut store = TestStore::new();
    let limit = Duration::from_millis(300);
    let queue = store.builder().max_outage(limit).build().unwrap();
    store.0.kill();
    let started = Instant::now();
    let error = queue.submit_all(jobs(1)).unwrap_err();
    assert!(matches!(error, QueueError::Server { .. }), "{error:?}");
    assert!(started.elapsed() >= limit);
    store.0.run();
    assert_eq!(queue.submit_all(jobs(1)).unwrap(), 1);
}

#[test]
fn an_outage_does_not_keep_deliveries_from_being_stopped() {
    let mut store = TestStore::new();
    let queue = store.open();
    let mut deliveries = stub().deliveries(&queue).unwrap();
    let handle = deliveries.handle();
    store.0.kill();
    let thread = std::thread::spawn(move || deliveries.next().is_none());
    handle.shutdown();
    assert!(thread.join().unwrap());
}

#[test]
fn entries_that_are_no_jobs_are_set_aside() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(2)).unwrap();
    store
        .0
        .command("XADD {test}:jobs 9999999999999-1 nonsense 1");
    store
        .0
        .command("XADD {test}:jobs 9999999999999-2 id bad spec no-json");
    let add = |id: &str, fields: &str| {
        let reply = store
            .0
            .command(&format!("XADD {{test}}:jobs {id} {fields}"));
        assert!(!reply.starts_with('-'), "{reply}");
    };
    add("9999999999999-3", r#"id newer spec "{\"v\":2}""#);
    add(
        "9999999999999-4",
        r#"id odd spec "\"http://test/\"" starts x delay y"#,
    );
    let ran = run(stub(), &queue);
    let dead = queue.dead().unwrap();
    let mut ids: Vec<_> = dead.iter().filter_map(|dead| dead.job_id()).collect();
    ids.sort_unstable();
    assert_eq!(ids[0], "9999999999999-1");
    assert!(ids.contains(&"bad"), "{dead:?}");
    assert!(
        dead.iter().any(|dead| dead.reason().contains("no `id`")),
        "{dead:?}"
    );
    assert!(ran.len() + dead.len() == 6, "{ran:?} {dead:?}");
    assert_eq!(recorded(&queue).len(), 6);
}

#[test]
fn files_of_jobs_are_below_the_root_of_the_consumer() {
    let server = RecordingServer::responding_ok();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("content"), "from a file").unwrap();
    let store = TestStore::new();
    let queue = store.builder().root(folder.path()).build().unwrap();
    let saving = |path: &str| RequestSpec::get(server.url("/")).save_to(path);
    for path in ["/etc/target", "../target", "a/../../target"] {
        let error = queue.submit(job(0, saving(path))).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`save_to`") && text.contains(path), "{text}");
        let get = || RequestSpec::get(server.url("/"));
        for (name, spec) in [
            ("`save_into`", get().save_into(path)),
            ("`if_modified`", get().if_modified(path)),
        ] {
            let text = queue.submit(job(0, spec)).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains(path), "{text}");
        }
    }
    queue.submit(job(1, saving("target"))).unwrap();
    let sent = RequestSpec::post(server.url("/")).body(RequestBody::from_file("content"));
    queue.submit(job(2, sent)).unwrap();
    let into = RequestSpec::get(server.url("/named"))
        .save_into("")
        .create_dirs(true);
    queue.submit(job(4, into)).unwrap();
    let attack = r#"id attack spec "{\"url\":\"http://test/\",\"save_to\":\"/etc/target\"}""#;
    store.0.command(&format!("XADD {{test}}:jobs * {attack}"));
    assert_eq!(run(crate::pool(), &queue), ["job-1", "job-2", "job-4"]);
    for name in ["target", "named"] {
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"ok");
    }
    assert!(
        server
            .received()
            .iter()
            .any(|request| request.body() == "from a file")
    );
    let dead = queue.dead().unwrap();
    assert_eq!(dead[0].job_id(), Some("attack"));
    assert!(dead[0].reason().contains("leads out of it"), "{dead:?}");

    // Without a root, there is no place for files.
    let queue = store.open();
    queue.submit(job(3, saving("target"))).unwrap();
    assert_eq!(run(crate::pool(), &queue).len(), 0);
    let reason = |id: &str| {
        let dead = queue.dead().unwrap();
        let found = dead.iter().find(|job| job.job_id() == Some(id));
        found.unwrap().reason().to_owned()
    };
    assert!(
        reason("job-3").contains("RedisQueue::root"),
        "{}",
        reason("job-3")
    );
}

#[test]
fn an_idle_consumer_seldom_asks() {
    let store = TestStore::new();
    let queue = store.open();
    let commands = || {
        let info = store.0.command("INFO stats");
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("total_commands_processed:"));
        line.unwrap().trim().parse::<f64>().unwrap()
    };
    let mut deliveries = stub().deliveries(&queue).unwrap();
    let handle = deliveries.handle();
    let thread = std::thread::spawn(move || deliveries.next().is_none());
    std::thread::sleep(Duration::from_millis(500));
    let (before, started) = (commands(), Instant::now());
    std::thread::sleep(Duration::from_secs(7));
    // The command that asks counts too.
    let rate = (commands() - before - 1.0) / started.elapsed().as_secs_f64();
    // A script counts with its commands.
    assert!(rate < 3.0, "{rate}");
    handle.shutdown();
    assert!(thread.join().unwrap());
}

#[test]
fn a_large_number_of_delayed_jobs_runs_once_each() {
    let store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(2_000)).unwrap();
    queue.close().unwrap();
    let sent = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let noted = Arc::clone(&sent);
    let builder = Pool::builder()
        .concurrency(4)
        .retry(crate::support::pools::at_once(1).retry_after_max(Duration::from_secs(60)))
        .session(move || {
            let sent = Arc::clone(&noted);
            Session::new(move |exchange: Exchange<'_>| {
                let mut sent = sent.lock().unwrap();
                let times = sent.entry(exchange.url().to_string()).or_default();
                *times += 1;
                let status = if *times == 1 { 503 } else { 200 };
                let response = http::Response::builder()
                    .status(status)
                    .header("Retry-After", "1");
                Ok(response.body(ResponseBody::from("ok")).unwrap())
            })
        });
    let mut delivered = 0;
    for delivery in builder.deliveries(&queue).unwrap() {
        delivery.unwrap().ack().unwrap();
        delivered += 1;
    }
    assert_eq!(delivered, 2_000);
    let sent = sent.lock().unwrap();
    assert!(sent.values().all(|times| *times == 2), "{sent:?}");
    assert_eq!((sent.len(), recorded(&queue).len()), (2_000, 2_000));
}

/// Outcomes wait for the server, and then workers do.
#[test]
fn outcomes_that_are_acknowledged_soon_wait_while_the_server_is_away() {
    let mut store = TestStore::new();
    let queue = store.open();
    queue.submit_all(jobs(200)).unwrap();
    queue.close().unwrap();
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut deliveries = stub().window(16).deliveries(&queue).unwrap();
    let first = deliveries.next().unwrap().unwrap();
    store.0.kill();
    first.ack_soon();
    let counted = Arc::clone(&acknowledged);
    let consumer = std::thread::spawn(move || {
        for delivery in deliveries {
            delivery.unwrap().ack_soon();
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("what was taken is acknowledged", || {
        acknowledged.load(Ordering::SeqCst) >= 8
    });
    assert!(acknowledged.load(Ordering::SeqCst) <= 64, "it is bounded");
    assert!(!queue.is_connected());
    store.0.run();
    consumer.join().unwrap();
    assert!(queue.is_connected());
    assert_eq!(recorded(&queue).len(), 200);
}

#[test]
fn what_could_not_be_recorded_is_told_by_the_iteration_and_sent_again() {
    let mut store = TestStore::new();
    let queue = store
        .builder()
        .max_outage(Duration::from_millis(100))
        .lease(Duration::from_secs(1))
        .build()
        .unwrap();
    queue.submit_all(jobs(3)).unwrap();
    queue.close().unwrap();
    let mut deliveries = stub().deliveries(&queue).unwrap();
    let first = deliveries.next().unwrap().unwrap();
    store.0.kill();
    first.ack_soon();
    let failed = deliveries.find_map(Result::err);
    assert!(
        matches!(failed, Some(QueueError::Server { .. })),
        "{failed:?}"
    );
    drop(deliveries);
    store.0.run();
    assert_eq!(run(stub(), &store.open()).len(), 3);
}
