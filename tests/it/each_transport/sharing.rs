//! Promise 16: sessions are independent, unless they are asked to be shared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{THREADS_PER_CLIENT, pool};
#[cfg(all(feature = "http2", feature = "default-tls"))]
use super::{TRANSPORT, trusting_pool};
use crate::support::pools::in_order;
use crate::support::process::{eventually, threads};
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess;

const WORKERS: usize = 4;

/// Responds once there are as many requests as workers, so that each worker has one of them.
fn server_that_needs_all() -> Server {
    let all = std::sync::Barrier::new(WORKERS);
    Server::start(move |_| {
        all.wait();
        http::Response::new(Bytes::from("hello"))
    })
}

#[test]
fn each_worker_has_connections_of_its_own_and_reuses_them() {
    let server = server_that_needs_all();
    let urls: Vec<String> = (0..WORKERS * 25)
        .map(|page| server.url(&format!("/{page}")))
        .collect();
    let outcomes = in_order(pool().concurrency(WORKERS).build_from_urls(&urls).unwrap());
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(server.requests(), urls.len());
    assert_eq!(server.connections(), WORKERS);
}

#[test]
fn with_share_session_everything_is_made_once() {
    let server = server_that_needs_all();
    let sessions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sessions);
    let pool = pool()
        .concurrency(WORKERS)
        .share_session(true)
        .initializer(move |session: super::Session| {
            let number = counted.fetch_add(1, Ordering::SeqCst);
            session.header("x-session", number.to_string())
        })
        .build_from_urls((0..WORKERS * 5).map(|page| server.url(&format!("/{page}"))))
        .unwrap();
    assert!(in_order(pool).iter().all(Result::is_ok));
    assert_eq!(sessions.load(Ordering::SeqCst), 1);
}

#[test]
fn sharing_can_be_taken_back() {
    let sessions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sessions);
    let pool = pool()
        .num_threads(3)
        .concurrency(3)
        .share_session(true)
        .share_session(false)
        .initializer(move |session| {
            counted.fetch_add(1, Ordering::SeqCst);
            session
        })
        .build()
        .unwrap();
    eventually("all are up", || pool.stats().live_workers() == 3);
    assert_eq!(sessions.load(Ordering::SeqCst), 3);
}

#[test]
fn shared_sessions_take_the_threads_of_one_client_beside_the_workers() {
    in_subprocess(
        concat!(
            module_path!(),
            "::shared_sessions_take_the_threads_of_one_client_beside_the_workers"
        ),
        &[],
        || {
            let before = threads();
            let shared = pool()
                .num_threads(7)
                .concurrency(7)
                .share_session(true)
                .build()
                .unwrap();
            eventually("all are up", || shared.stats().live_workers() == 7);
            assert_eq!(threads(), before + 7 + THREADS_PER_CLIENT);
            drop(shared);
            eventually("all are gone", || threads() == before);
        },
    );
}

#[test]
fn sessions_are_made_once_when_workers_start_all_at_once_and_for_each_proxy() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let pool = pool()
        .num_threads(8)
        .concurrency(8)
        .share_session(true)
        .initializer(move |session| {
            counted.fetch_add(1, Ordering::SeqCst);
            session
        })
        .build_from_urls([""; 0])
        .unwrap();
    let refused = format!("http://{}/", crate::support::raw::refused_address());
    for _ in 0..40 {
        pool.submit(&refused).unwrap();
        pool.submit(threaded::RequestSpec::get(&refused).proxy(&refused))
            .unwrap();
    }
    assert_eq!(pool.into_iter().count(), 80);
    assert_eq!(made.load(Ordering::SeqCst), 2);
}

#[test]
fn of_shared_sessions_with_proxies_only_the_last_ones_stay_open() {
    let name = concat!(
        module_path!(),
        "::of_shared_sessions_with_proxies_only_the_last_ones_stay_open"
    );
    in_subprocess(name, &[], || {
        let before = threads();
        let pool = pool().concurrency(1).share_session(true).build().unwrap();
        let refused = format!("http://{}/", crate::support::raw::refused_address());
        for number in 0..30 {
            let proxy = format!(
                "http://user{number}@{}",
                refused.trim_start_matches("http://")
            );
            pool.submit(threaded::RequestSpec::get(&refused).proxy(proxy))
                .unwrap();
        }
        pool.join_all();
        assert_eq!(pool.exceptions().count(), 30);
        // The session of its own, and eight.
        eventually("the others are closed", || threads() <= before + 9);
    });
}

/// Of several bodies on one connection, those that are read slowly take windows of their own.
#[cfg(all(feature = "http2", feature = "default-tls"))]
#[test]
fn handlers_that_leave_much_unread_do_not_hold_up_the_connection() {
    use std::time::Duration;

    use threaded::RequestSpec;
    use threaded::crossbeam_channel::{bounded, unbounded};

    use crate::support::tls::certificate_for;

    const LARGE: usize = 8 << 20;

    if TRANSPORT == "ureq" {
        return;
    }

    let certificate = certificate_for(&["localhost"]);
    let server = Server::start_tls(Arc::clone(&certificate.config), |request| {
        let body = match request.uri().path() {
            "/large" => Bytes::from(vec![b'x'; LARGE]),
            _ => Bytes::from_static(b"small"),
        };
        http::Response::new(body)
    });
    let pool = trusting_pool(&certificate.pem)
        .concurrency(8)
        .share_session(true)
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    // It makes the connection that all share.
    let first = pool.spawn(server.url("/small")).unwrap().join();
    assert_eq!(first.unwrap().text(), "small");
    let (begun_tx, begun) = unbounded();
    let (release, released) = bounded::<()>(0);
    let large = RequestSpec::get(server.url("/large")).read_with(move |_, body| {
        body.read_exact(&mut [0; 100])?;
        begun_tx.send(())?;
        let _ = released.recv();
        let rest = std::io::copy(body, &mut std::io::sink())?;
        assert_eq!(rest, LARGE as u64 - 100);
        Ok(())
    });
    let slow: Vec<_> = (0..3).map(|_| pool.spawn(large.clone()).unwrap()).collect();
    for _ in &slow {
        begun.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    for _ in 0..20 {
        let outcome = pool.spawn(server.url("/small")).unwrap().join();
        assert_eq!(outcome.unwrap().text(), "small");
    }
    assert_eq!(server.connections(), 1);
    drop(release);
    for job in slow {
        job.join().unwrap();
    }
}
