//! Promise 18 on reqwest: idle connections do not take all file descriptors. The server runs in the process of the test, and
//! the pool in a subprocess with few descriptors.
#![cfg(target_os = "linux")]

use std::time::Duration;

use threaded::Pool;

use super::isolated;
use crate::support::pools::assert_all_respond;
use crate::support::process::file_descriptors;
use crate::support::raw::refused_address;
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess_with_file_limit_beside;

#[test]
fn connections_to_many_origins_are_not_all_kept() {
    const SITES: usize = 1_500;

    let name = |site: usize| format!("site-{site}.test");
    let urls = || (0..SITES).map(|site| format!("http://{}/", name(site)));
    let server = Server::responding("hello");
    let path = concat!(
        module_path!(),
        "::connections_to_many_origins_are_not_all_kept"
    );
    in_subprocess_with_file_limit_beside(path, 256, [server.address()], |[server]| {
        let session = move || {
            isolated([]).client(|client| {
                // None gives way because its time is over.
                let client = client.pool_idle_timeout(None);
                (0..SITES).fold(client, |client, site| client.resolve(&name(site), server))
            })
        };
        let builder = Pool::builder().session(session).concurrency(8);
        let pool = builder.timeout(Duration::from_secs(60)).build().unwrap();
        assert_all_respond(&pool, urls());
        // Some are kept, as many as may be.
        assert!(file_descriptors() > 80, "{}", file_descriptors());
        assert_all_respond(&pool, urls());
    });
}

#[test]
fn origins_that_cannot_be_reached_leave_room_for_others() {
    const DEAD: usize = 300;
    const SITES: usize = 60;

    let server = Server::responding("hello");
    let path = concat!(
        module_path!(),
        "::origins_that_cannot_be_reached_leave_room_for_others"
    );
    in_subprocess_with_file_limit_beside(path, 256, [server.address()], |[server]| {
        let dead = refused_address();
        let session = move || {
            isolated([]).client(|client| {
                let client = (0..DEAD).fold(client, |client, site| {
                    client.resolve(&format!("dead-{site}.test"), dead)
                });
                (0..SITES).fold(client, |client, site| {
                    client.resolve(&format!("site-{site}.test"), server)
                })
            })
        };
        let pool = Pool::builder().session(session).concurrency(1);
        let pool = pool.timeout(Duration::from_secs(60)).build().unwrap();
        let dead = (0..DEAD).map(|site| format!("http://dead-{site}.test/"));
        let (responses, exceptions) = pool.map(dead).unwrap();
        assert_eq!((responses.count(), exceptions.count()), (0, DEAD));
        let before = file_descriptors();
        assert_all_respond(
            &pool,
            (0..SITES).map(|site| format!("http://site-{site}.test/")),
        );
        let kept = file_descriptors() - before;
        assert!(kept >= SITES - 5, "{kept} connections were kept");
    });
}
