//! Cookies belong to a session: to its worker, or to all of them.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::pool;
use crate::support::server::Server;

const WORKERS: usize = 4;

/// Sets one cookie per client and echoes the cookies that it receives.
fn cookie_server() -> Server {
    let all = Barrier::new(WORKERS);
    let given = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.uri().path() == "/all" {
            all.wait();
        }
        let mut response = http::Response::new(Bytes::new());
        match request.headers().get("cookie") {
            Some(cookie) => *response.body_mut() = Bytes::copy_from_slice(cookie.as_bytes()),
            None => {
                let number = given.fetch_add(1, Ordering::SeqCst);
                let cookie = format!("client={number}").parse().unwrap();
                response.headers_mut().insert("set-cookie", cookie);
            }
        }
        response
    })
}

fn cookies_seen(share: bool) -> BTreeSet<String> {
    let server = cookie_server();
    let pool = pool()
        .num_threads(WORKERS)
        .share_session(share)
        .initializer(|session| session.client(|client| client.cookie_store(true)))
        .build()
        .unwrap();
    if share {
        // Sent all at once, none of them would carry a cookie.
        pool.submit(server.url("/one")).unwrap();
        pool.response_channel().recv().unwrap();
    }
    for _ in 0..3 * WORKERS {
        pool.submit(server.url("/all")).unwrap();
    }
    pool.join_all();
    let texts = pool
        .responses()
        .map(|response| response.text().into_owned());
    texts.filter(|text| !text.is_empty()).collect()
}

#[test]
fn cookies_stay_with_their_worker() {
    assert_eq!(cookies_seen(false).len(), WORKERS);
}

#[test]
fn shared_sessions_share_their_cookies() {
    assert_eq!(Vec::from_iter(cookies_seen(true)), ["client=0"]);
}
