//! Cookies belong to a session: to its worker, or to all of them.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use threaded::{Pool, RequestSpec};

use super::{isolated, pool};
use crate::support::pools::outcomes_of;
use crate::support::recording_server::{RecordingServer, redirect, values};
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
        .concurrency(WORKERS)
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

#[test]
fn no_cookie_is_stored_unless_that_is_asked_for() {
    let server = RecordingServer::start(|_| {
        let response = http::Response::builder().header("set-cookie", "id=1");
        response.body(Bytes::new()).unwrap()
    });
    for outcome in outcomes_of(pool(), vec![server.url("/"); 3]) {
        assert!(outcome.is_ok());
    }
    for request in server.received() {
        assert_eq!(values(&request, "cookie"), [""; 0]);
    }
}

#[test]
fn a_cookie_of_a_redirect_is_sent_to_its_target_and_to_no_other_host() {
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/login" => {
            let mut response = redirect(302, "/home");
            let cookie = "id=1; Path=/home".parse().unwrap();
            response.headers_mut().insert("set-cookie", cookie);
            response
        }
        _ => http::Response::new(Bytes::new()),
    });
    let address = ([127, 0, 0, 1], server.port()).into();
    let session = move || {
        isolated(&[]).client(|client| client.cookie_store(true).resolve("other.test", address))
    };
    let own = RequestSpec::get(server.url("/home")).cookie("own", "2");
    let specs = [
        RequestSpec::get(server.url("/login")),
        RequestSpec::get(server.url("/elsewhere")),
        RequestSpec::get("http://other.test/home"),
        own,
    ];
    for outcome in outcomes_of(Pool::builder().session(session), specs) {
        assert!(outcome.is_ok());
    }
    let sent: Vec<_> = server
        .received()
        .iter()
        .map(|request| (request.uri().path().to_owned(), values(request, "cookie")))
        .collect();
    let expected = [
        ("/login", vec![]),
        ("/home", vec!["id=1"]),
        ("/elsewhere", vec![]),
        ("/home", vec![]),
        // What a request brings takes the place of what is stored.
        ("/home", vec!["own=2"]),
    ];
    let expected = expected.map(|(path, cookies)| {
        let cookies: Vec<String> = cookies.into_iter().map(str::to_owned).collect();
        (path.to_owned(), cookies)
    });
    assert_eq!(sent, expected);
}
