//! Promises 18 and 20: a pool keeps to its file descriptors. The servers run in the process of the test, and the pools in a
//! subprocess with few descriptors.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::time::Duration;

use threaded::{Pool, RequestSpec};

use super::{PoolBuilder, isolated};
use crate::support::framing::{Framing, raw_response};
use crate::support::holding_server::HoldingServer;
use crate::support::pools::assert_all_respond;
use crate::support::process::{eventually, file_descriptors};
use crate::support::raw::RawServer;
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess_with_file_limit_beside;

const LIMIT: usize = 256;

fn with_few_descriptors<const N: usize>(
    test: &str,
    servers: [SocketAddr; N],
    body: impl FnOnce([SocketAddr; N]),
) {
    let path = format!("{}::{test}", module_path!());
    in_subprocess_with_file_limit_beside(&path, LIMIT, servers, body);
}

fn name(site: usize) -> String {
    format!("site-{site}.test")
}

/// A pool for this many origins, which are all the same server.
fn pool_of(sites: usize, server: SocketAddr) -> PoolBuilder {
    let session = move || {
        isolated(&[]).client(|client| {
            // None gives way because its time is over.
            let client = client.pool_idle_timeout(None);
            (0..sites).fold(client, |client, site| client.resolve(name(site), server))
        })
    };
    Pool::builder()
        .session(session)
        .timeout(Duration::from_secs(60))
}

fn urls(sites: usize) -> impl Iterator<Item = String> {
    (0..sites).map(|site| format!("http://{}/", name(site)))
}

#[test]
fn idle_connections_to_many_origins_give_way() {
    const SITES: usize = 600;

    let server = Server::responding("hello");
    let test = "idle_connections_to_many_origins_give_way";
    with_few_descriptors(test, [server.address()], |[server]| {
        let pool = pool_of(SITES, server)
            .num_threads(2)
            .concurrency(32)
            .build()
            .unwrap();
        let none = file_descriptors();
        assert_all_respond(&pool, urls(SITES));
        // Connections are kept, as many as there is room for.
        assert!(file_descriptors() > none + 50, "{}", file_descriptors());
        assert_all_respond(&pool, urls(SITES).chain(urls(SITES)));
    });
}

#[test]
fn thousands_of_origins_are_reached_with_few_descriptors() {
    const SITES: usize = 3_000;

    let server = Server::responding("hello");
    let test = "thousands_of_origins_are_reached_with_few_descriptors";
    with_few_descriptors(test, [server.address()], |[server]| {
        let pool = pool_of(SITES, server)
            .num_threads(1)
            .concurrency(32)
            .build()
            .unwrap();
        assert_all_respond(&pool, urls(SITES));
    });
}

#[test]
fn connections_that_exceed_the_descriptors_wait_for_a_place() {
    const SITES: usize = 1_000;

    let server = Server::responding("hello");
    let test = "connections_that_exceed_the_descriptors_wait_for_a_place";
    with_few_descriptors(test, [server.address()], |[server]| {
        // More than there are descriptors.
        let pool = pool_of(SITES, server)
            .num_threads(1)
            .concurrency(500)
            .build()
            .unwrap();
        assert_all_respond(&pool, urls(SITES));
    });
}

#[test]
fn connections_that_are_not_kept_free_their_descriptors() {
    let server = RawServer::responding(raw_response(Framing::CloseDelimited, "", b"hello"));
    let test = "connections_that_are_not_kept_free_their_descriptors";
    with_few_descriptors(test, [server.address()], |[server]| {
        let pool = pool_of(0, server)
            .num_threads(1)
            .concurrency(100)
            .build()
            .unwrap();
        assert_all_respond(&pool, vec![format!("http://{server}/"); 1_000]);
    });
}

#[test]
fn the_idle_connections_of_one_pool_give_way_to_those_of_another() {
    const IN_FLIGHT: usize = 150;

    let idle = Server::responding("hello");
    // Responds when all of them are connected at the same time.
    let holding = HoldingServer::releasing_at(IN_FLIGHT);
    let test = "the_idle_connections_of_one_pool_give_way_to_those_of_another";
    let servers = [idle.address(), holding.address()];
    with_few_descriptors(test, servers, |[idle, holding]| {
        let build = |server, in_flight| {
            let builder = pool_of(200, server).num_threads(1);
            builder.concurrency(in_flight).build().unwrap()
        };
        let first = build(idle, 32);
        let none = file_descriptors();
        assert_all_respond(&first, urls(200));
        // Together with these, there is no room for the others.
        let kept = file_descriptors() - none;
        assert!(kept > LIMIT - IN_FLIGHT - none - 50, "{kept} of {none}");
        let second = build(holding, IN_FLIGHT);
        assert_all_respond(&second, vec![format!("http://{holding}/"); IN_FLIGHT]);
        assert_all_respond(&first, urls(200));
    });
}

#[test]
fn files_take_descriptors_too() {
    const FILES: usize = 400;

    let server = Server::responding(vec![b'x'; 500_000]);
    let test = "files_take_descriptors_too";
    with_few_descriptors(test, [server.address()], |[server]| {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool_of(FILES, server)
            .num_threads(1)
            .concurrency(100)
            .build()
            .unwrap();
        let saved = urls(FILES).enumerate().map(|(number, url)| {
            RequestSpec::get(url).save_to(folder.path().join(number.to_string()))
        });
        assert_all_respond(&pool, saved);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), FILES);
        eventually("the files are closed", || file_descriptors() < LIMIT - 50);
    });
}
