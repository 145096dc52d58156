//! Which connections are kept, and for how long.

use std::time::Duration;

use bytes::Bytes;

use super::{Session, isolated, pool};
use crate::support::pools::outcomes_of;
use crate::support::server::Server;

fn ask(servers: &[Server], session: fn() -> Session) {
    let urls: Vec<String> = servers.iter().map(|server| server.url("/")).collect();
    let asked = urls.iter().chain(urls.iter().rev());
    let builder = threaded::Pool::builder().session(session);
    for outcome in outcomes_of(builder, asked) {
        assert_eq!(outcome.unwrap().text(), "hello");
    }
}

#[test]
fn a_connection_to_each_of_many_servers_is_kept() {
    let servers: Vec<Server> = (0..40).map(|_| Server::responding("hello")).collect();
    ask(&servers, || isolated(&[]));
    for server in &servers {
        assert_eq!((server.requests(), server.connections()), (2, 1));
    }
}

#[test]
fn of_too_many_connections_those_are_closed_that_were_used_longest_ago() {
    let servers: Vec<Server> = (0..80).map(|_| Server::responding("hello")).collect();
    ask(&servers, || isolated(&[]));
    let connections: Vec<usize> = servers.iter().map(Server::connections).collect();
    // Asked first, and again last.
    assert_eq!(connections[0], 2);
    assert_eq!(connections[79], 1);
    let kept = connections.iter().filter(|connections| **connections == 1);
    assert!((64..80).contains(&kept.count()), "{connections:?}");
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_not_used_again() {
    let servers = [Server::responding("hello")];
    let session = || isolated(&[]).client(|config| config.max_idle_age(Duration::ZERO));
    ask(&servers, session);
    assert_eq!(servers[0].connections(), 2);
}

#[test]
fn workers_that_share_an_agent_keep_a_connection_each() {
    const WORKERS: usize = 100;
    let all = std::sync::Barrier::new(WORKERS);
    let server = Server::start(move |_| {
        all.wait();
        http::Response::new(Bytes::from_static(b"hello"))
    });
    let pool = pool()
        .num_threads(WORKERS)
        .share_session(true)
        .build_from_urls(vec![server.url("/"); 3 * WORKERS])
        .unwrap();
    assert_eq!(pool.into_iter().filter(Result::is_ok).count(), 3 * WORKERS);
    assert_eq!(server.connections(), WORKERS);
}
