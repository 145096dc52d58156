//! Resolving host names: many at once, and such as are never resolved.

use std::time::Duration;

use threaded::{ErrorKind, RequestSpec};

use super::pool;
use crate::support::pools::outcome_before_another;
use crate::support::server::Server;

/// The same server, by its name.
fn by_name(server: &Server) -> String {
    format!("http://localhost:{}/", server.address().port())
}

#[test]
fn a_name_that_does_not_exist_is_a_dns_error() {
    for url in [
        "http://no-such-host.invalid/",
        "https://no-such-host.invalid/",
    ] {
        let spec = RequestSpec::post(url).body("content");
        let exception = outcome_before_another(pool(), spec).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Dns, "{exception:?}");
        assert!(!exception.was_sent() && exception.is_retryable());
    }
}

#[test]
fn this_machine_has_a_name() {
    let server = Server::responding("hello");
    for spelling in ["localhost", "LOCALHOST"] {
        let url = by_name(&server).replace("localhost", spelling);
        let response = outcome_before_another(pool(), url).unwrap();
        assert_eq!(response.text(), "hello");
        assert_eq!(response.remote_addr(), Some(server.address()));
    }
}

#[test]
fn many_jobs_at_once_to_the_same_name() {
    const JOBS: usize = 64;

    let all = std::sync::Barrier::new(JOBS);
    let server = Server::start(move |_| {
        all.wait();
        http::Response::new("hello".into())
    });
    let builder = pool().num_threads(2).concurrency(JOBS);
    let (responses, exceptions) = builder.map(vec![by_name(&server); JOBS]).unwrap();
    let exceptions: Vec<_> = exceptions.collect();
    assert!(exceptions.is_empty(), "{exceptions:?}");
    assert_eq!(responses.count(), JOBS);
}

#[test]
fn many_jobs_at_once_to_names_that_do_not_exist() {
    let urls = (0..64).map(|number| format!("http://no-such-host-{}.invalid/", number % 8));
    let builder = pool().num_threads(1).concurrency(64);
    let (responses, exceptions) = builder.map(urls).unwrap();
    assert_eq!(responses.count(), 0);
    assert!(
        exceptions
            .into_iter()
            .all(|exception| exception.kind() == ErrorKind::Dns)
    );
}

/// Makes the resolver use a name server at an address of this network, with the longest timeouts.
#[cfg(target_os = "linux")]
const ONE_NAME_SERVER: [&str; 2] = [
    r"printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:5\n' > $THREADED_TEST_FOLDER/names",
    "mount --bind $THREADED_TEST_FOLDER/names /etc/resolv.conf",
];

#[cfg(target_os = "linux")]
#[test]
fn names_that_never_resolve_do_not_hold_up_one_that_does() {
    use std::net::{TcpListener, UdpSocket};
    use std::time::Instant;

    use crate::support::process::{eventually, threads};
    use crate::support::subprocess::in_subprocess_with_network;

    const UNRESOLVED: usize = 200;

    let path = concat!(
        module_path!(),
        "::names_that_never_resolve_do_not_hold_up_one_that_does"
    );
    in_subprocess_with_network(path, &ONE_NAME_SERVER, || {
        let mute = UdpSocket::bind("127.0.0.1:53").unwrap();
        let _mute_too = TcpListener::bind("127.0.0.1:53").unwrap();
        let server = Server::responding("hello");
        let pool = pool().num_threads(1).concurrency(1_000).build().unwrap();
        let unresolved: Vec<_> = (0..UNRESOLVED)
            .map(|number| {
                let spec = RequestSpec::get(format!("http://name-{number}.test/"));
                pool.spawn(spec.timeout(None)).unwrap()
            })
            .collect();
        // They are under way.
        assert!(mute.recv(&mut [0; 512]).unwrap() > 0);
        eventually("all are in flight", || {
            pool.stats().in_flight() == UNRESOLVED
        });
        for _ in 0..10 {
            let mut job = pool.spawn(by_name(&server)).unwrap();
            let outcome = job.join_timeout(Duration::from_secs(10));
            let outcome = outcome.expect("it is not held up");
            assert_eq!(outcome.unwrap().text(), "hello");
        }
        assert!(threads() < 300, "{} threads", threads());

        // Such names time out, and do not take threads for ever.
        let limit = Duration::from_millis(300);
        let urls = (0..3 * UNRESOLVED).map(|number| format!("http://other-{number}.test/"));
        let specs = urls.map(|url| RequestSpec::get(url).timeout(limit));
        let (responses, exceptions) = pool.map(specs).unwrap();
        assert_eq!(responses.count(), 0);
        for exception in exceptions {
            assert!(
                exception.is_timeout() && !exception.was_sent(),
                "{exception:?}"
            );
        }
        assert!(threads() < 300, "{} threads", threads());

        for job in &unresolved {
            job.cancel();
        }
        let started = Instant::now();
        drop(pool);
        // The names alone would take minutes.
        assert!(started.elapsed() < Duration::from_secs(10));
    });
}
