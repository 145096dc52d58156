//! Whole runs of pools over real connections. The promises are tested in detail, and on stubs, in
//! `feeding`, `handles`, `imap`, `joining`, `observing`, `sessions`, `stopping` and `workers`.

use std::cell::Cell;
use std::io::Read;
use std::time::{Duration, Instant};

use threaded::ErrorKind;

use super::{THREADS_PER_CLIENT, pool};
use crate::support::pools::{in_order, outcomes_of};
use crate::support::process::{eventually, threads};
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess;

#[test]
fn a_crawl_over_real_connections_ends_by_itself() {
    let server = Server::start(|request| {
        let page: usize = request.uri().path()[1..].parse().unwrap();
        let links = [2 * page, 2 * page + 1];
        let links = links.iter().filter(|link| **link <= 300);
        let links: Vec<String> = links.map(usize::to_string).collect();
        http::Response::new(links.join(" ").into())
    });
    let pool = pool()
        .concurrency(8)
        .build_from_urls([server.url("/1")])
        .unwrap();
    let handle = pool.handle();
    let mut pages = 0;
    for outcome in pool {
        pages += 1;
        for link in outcome.unwrap().text().split_whitespace() {
            handle.submit(server.url(&format!("/{link}"))).unwrap();
        }
    }
    assert_eq!((pages, server.requests()), (300, 300));
}

#[test]
fn outcomes_can_lead_to_further_jobs() {
    let server = Server::responding("hello");
    let pool = pool()
        .concurrency(2)
        .build_from_urls([server.url("/0")])
        .unwrap();
    for page in 1..20 {
        let response = pool.response_channel().recv().unwrap();
        assert_eq!(response.text(), "hello");
        pool.submit(server.url(&format!("/{page}"))).unwrap();
    }
    assert_eq!(in_order(pool).len(), 1);
    assert_eq!(server.requests(), 20);
}

#[test]
fn a_handle_counts_along() {
    let server = Server::responding("hello");
    let pool = pool().concurrency(2).build().unwrap();
    let handle = pool.handle();
    handle.submit(server.url("/")).unwrap();
    handle.submit("").unwrap();
    eventually("both are done", || {
        handle.stats().queued() + handle.stats().in_flight() == 0
    });
    assert_eq!(
        (handle.stats().responses(), handle.stats().exceptions()),
        (1, 1)
    );
    assert_eq!(handle.stats(), pool.stats());
}

#[test]
fn each_request_has_its_outcome_over_real_connections() {
    let server =
        Server::start(|request| http::Response::new(request.uri().path().to_owned().into()));
    let urls: Vec<String> = (0..300)
        .map(|page| server.url(&format!("/{page}")))
        .collect();
    // It borrows, and it is not `Send`.
    let drawn = std::rc::Rc::new(Cell::new(0));
    let input = urls.iter().inspect(|_| drawn.set(drawn.get() + 1));
    for (page, outcome) in pool().concurrency(4).imap(input).unwrap().enumerate() {
        assert_eq!(outcome.unwrap().text(), format!("/{page}"));
    }
    assert_eq!(drawn.get(), 300);
    assert_eq!(server.requests(), 300);
}

#[test]
fn after_join_all_every_job_has_its_outcome() {
    let server = Server::responding("hello");
    let urls: Vec<String> = (0..100)
        .map(|page| server.url(&format!("/{page}")))
        .collect();
    let pool = pool().concurrency(4).build_from_urls(&urls).unwrap();
    pool.join_all();
    let stats = pool.stats();
    assert_eq!((stats.submitted(), stats.responses()), (100, 100));
    assert_eq!((stats.queued(), stats.in_flight()), (0, 0));
    assert_eq!(pool.responses().count(), 100);
    assert_eq!(server.requests(), 100);
}

#[test]
fn the_bytes_received_are_counted() {
    let server = Server::responding(vec![b'x'; 1000]);
    let pool = pool()
        .concurrency(3)
        .build_from_urls((0..7).map(|page| server.url(&format!("/{page}"))))
        .unwrap();
    pool.join_all();
    assert_eq!(pool.stats().bytes_received(), 7000);
}

#[test]
fn what_initializer_and_auth_generator_set_is_sent() {
    let server = Server::start(|request| {
        let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
        let body = ["user-agent", "accept", "authorization"]
            .map(header)
            .join("|");
        http::Response::new(body.into())
    });
    let builder = pool()
        .initializer(|session| {
            session
                .user_agent("my-scraper/0.1")
                .header("Accept", "application/json")
        })
        .auth_generator(|session| session.basic_auth("Aladdin", Some("open sesame")));
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(
        outcomes[0].as_ref().unwrap().text(),
        "my-scraper/0.1|application/json|Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    );
}

#[test]
fn a_deadline_ends_what_is_left_and_the_wait_for_it() {
    let server = RawServer::start(|mut stream, _| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let limit = Duration::from_millis(200);
    let started = Instant::now();
    let pool = pool()
        .concurrency(2)
        .deadline(limit)
        .build_from_urls((0..20).map(|page| server.url(&format!("/{page}"))))
        .unwrap();
    pool.join_all();
    // The requests' own limit is 30 s.
    assert!(started.elapsed() >= limit && started.elapsed() < 10 * limit);
    let (mut in_flight, mut queued) = (0, 0);
    for exception in pool.exceptions() {
        match (exception.kind(), exception.was_sent()) {
            (ErrorKind::Cancelled, true) => in_flight += 1,
            (ErrorKind::Cancelled, false) => queued += 1,
            _ => panic!("{exception:?}"),
        }
    }
    assert_eq!((in_flight, queued), (2, 18));
}

#[test]
fn each_worker_takes_a_thread_and_those_of_its_client() {
    let name = concat!(
        module_path!(),
        "::each_worker_takes_a_thread_and_those_of_its_client"
    );
    in_subprocess(name, &[], || {
        let before = threads();
        let clients = pool().num_threads(7).concurrency(7).build().unwrap();
        eventually("all are up", || clients.stats().live_workers() == 7);
        assert_eq!(threads(), before + 7 * (1 + THREADS_PER_CLIENT));
    });
}

#[test]
fn a_pool_that_was_made_without_jobs_takes_them_later() {
    let server = Server::responding("late");
    let pool = pool().build_from_urls([""; 0]).unwrap();
    let job = pool.spawn(server.url("/")).unwrap();
    assert_eq!(job.join().unwrap().text(), "late");
}

/// A stack that overflows ends the process.
#[cfg(all(feature = "gzip", feature = "default-tls"))]
#[test]
fn the_smallest_stack_is_large_enough() {
    use threaded::RequestSpec;

    use super::trusting_pool;
    use crate::support::encodings::{TEXT, encodings};
    use crate::support::tls::certificate_for;

    let name = concat!(module_path!(), "::the_smallest_stack_is_large_enough");
    in_subprocess(name, &[], || {
        let certificate = certificate_for(&["localhost"]);
        let server = Server::start_tls(certificate.config, |request| {
            let response = http::Response::builder();
            let path = &request.uri().path()[1..];
            let Ok(number) = path.parse::<usize>() else {
                let moved = response.status(307).header("location", "/0");
                return moved.body(bytes::Bytes::new()).unwrap();
            };
            let (encoding, body) = encodings().swap_remove(number);
            let response = response.header("content-encoding", encoding);
            response.body(body.into()).unwrap()
        });
        let folder = tempfile::tempdir().unwrap();
        let post = |path: String| RequestSpec::post(server.url(&path)).body("x".repeat(100_000));
        let pages = (0..encodings().len()).map(|number| post(format!("/{number}")));
        let specs = pages.chain([
            post("/moved".into()).gzip(6),
            post("/0".into()).save_to(folder.path().join("target")),
            post("/0".into()).read_with(|_, body| {
                body.read_to_end(&mut Vec::new())?;
                Ok(())
            }),
        ]);
        let builder = trusting_pool(&certificate.pem).thread_stack_size(0);
        for outcome in outcomes_of(builder, specs) {
            let response = outcome.unwrap();
            let text = response.text();
            assert!(text == TEXT || text.is_empty(), "{response:?}");
        }
    });
}
