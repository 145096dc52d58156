//! Expired credentials are renewed, and those for one origin are sent to no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use threaded::{Auth, Event, PoolError, RequestSpec, Session};

use super::pool;
use crate::support::pools::{at_once, in_order, outcomes_of};
use crate::support::process::eventually;
use crate::support::server::Server;

/// Accepts the token with this number and later ones, and echoes it; responds to all others with 401.
fn server_that_wants(least: usize) -> Server {
    Server::start(move |request| {
        let shown = token(&request);
        let response = match shown {
            Some(number) if number >= least => Response::builder(),
            _ => Response::builder().status(401),
        };
        response.body(format!("{shown:?}").into()).unwrap()
    })
}

fn token(request: &Request<Bytes>) -> Option<usize> {
    let value = request.headers().get("authorization")?.to_str().unwrap();
    value.strip_prefix("Bearer token-")?.parse().ok()
}

/// An auth generator that hands out token-0, token-1 …, and how many it has handed out.
fn tokens() -> (
    impl Fn(super::Session) -> super::Session + Send + Sync + 'static,
    Arc<AtomicUsize>,
) {
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let generator = move |session: super::Session| {
        session.bearer_auth(format!("token-{}", counter.fetch_add(1, Ordering::SeqCst)))
    };
    (generator, issued)
}

#[test]
fn a_401_leads_to_fresh_credentials_that_last() {
    let server = server_that_wants(1);
    let (generator, issued) = tokens();
    let numbers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&numbers);
    let builder = pool()
        .auth_generator(generator)
        .reauthenticate(true)
        .observer(move |event: &Event<'_>| {
            if let Event::AttemptStarted(attempt) = event {
                noted
                    .lock()
                    .unwrap()
                    .push((attempt.index(), attempt.number()));
            }
        });
    let post = RequestSpec::post(server.url("/")).body("a body that is sent twice");
    let outcomes = outcomes_of(builder, [post, RequestSpec::get(server.url("/"))]);
    let attempts: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap())
        .map(|response| (response.status().as_u16(), response.attempts()))
        .collect();
    assert_eq!(attempts, [(200, 2), (200, 1)]);
    assert_eq!(*numbers.lock().unwrap(), [(0, 1), (0, 2), (1, 1)]);
    assert_eq!((server.requests(), issued.load(Ordering::SeqCst)), (3, 2));
}

#[test]
fn a_401_stands_unless_renewing_is_asked_for() {
    let server = server_that_wants(1);
    let (generator, issued) = tokens();
    let outcomes = outcomes_of(pool().auth_generator(generator), [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().status(), 401);
    assert_eq!((server.requests(), issued.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn a_401_is_repeated_once_and_not_for_ever() {
    let server = server_that_wants(usize::MAX);
    let (generator, _) = tokens();
    let builder = pool().auth_generator(generator).reauthenticate(true);
    let outcomes = outcomes_of(builder, [server.url("/")]);
    let response = outcomes[0].as_ref().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (401, 2));
    assert_eq!(server.requests(), 2);
}

#[test]
fn nothing_is_repeated_with_the_same_credentials_or_with_those_of_the_request() {
    let server = server_that_wants(usize::MAX);
    let the_same = pool()
        .auth_generator(|session| session.bearer_auth("token-7"))
        .reauthenticate(true);
    let none = pool().reauthenticate(true);
    let failing = {
        let calls = AtomicUsize::new(0);
        pool()
            .try_auth_generator(move |session| match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(session.bearer_auth("token-0")),
                _ => Err("the authorization server is down".into()),
            })
            .reauthenticate(true)
    };
    for builder in [the_same, none, failing] {
        let before = server.requests();
        let outcomes = outcomes_of(builder, [server.url("/")]);
        assert_eq!(outcomes[0].as_ref().unwrap().attempts(), 1);
        assert_eq!(server.requests(), before + 1);
    }
    let (generator, issued) = tokens();
    let builder = pool().auth_generator(generator).reauthenticate(true);
    let with_user_info = server.url("/").replace("://", "://me:secret@");
    let requests = [
        RequestSpec::get(server.url("/")).bearer_auth("token-3"),
        RequestSpec::get(with_user_info),
    ];
    for outcome in outcomes_of(builder, requests) {
        assert_eq!(outcome.unwrap().attempts(), 1);
    }
    assert_eq!(issued.load(Ordering::SeqCst), 1);
}

#[test]
fn a_401_of_another_origin_renews_nothing() {
    let other = server_that_wants(usize::MAX);
    let location = other.url("/");
    let server = Server::start(move |_| {
        let moved = Response::builder()
            .status(302)
            .header("location", &location);
        moved.body(Bytes::new()).unwrap()
    });
    let (generator, issued) = tokens();
    let builder = pool().auth_generator(generator).reauthenticate(true);
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().status(), 401);
    assert_eq!(issued.load(Ordering::SeqCst), 1);
}

#[test]
fn the_initializer_is_not_called_again_and_what_it_set_stays() {
    let server = Server::start(|request| {
        let is_known = token(&request) == Some(1);
        assert_eq!(request.headers()["x-mine"], "kept");
        assert_eq!(request.headers().get_all("authorization").iter().count(), 1);
        let status = if is_known { 200 } else { 401 };
        Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap()
    });
    let initialized = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&initialized);
    let (generator, _) = tokens();
    let builder = pool()
        .initializer(move |session| {
            counter.fetch_add(1, Ordering::SeqCst);
            session.header("x-mine", "kept")
        })
        .auth_generator(generator)
        .reauthenticate(true);
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().status(), 200);
    assert_eq!(initialized.load(Ordering::SeqCst), 1);
}

#[test]
fn workers_that_share_a_session_renew_it_once() {
    const WORKERS: usize = 4;
    let all = std::sync::Barrier::new(WORKERS);
    let server = Server::start(move |request| {
        let is_known = token(&request) == Some(1);
        if !is_known {
            // Each of them has been turned away before any can come back.
            all.wait();
        }
        let status = if is_known { 200 } else { 401 };
        Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap()
    });
    let (generator, issued) = tokens();
    let pool = pool()
        .concurrency(WORKERS)
        .share_session(true)
        .auth_generator(generator)
        .reauthenticate(true)
        .build_from_urls(vec![server.url("/"); WORKERS])
        .unwrap();
    for outcome in in_order(pool) {
        assert_eq!(outcome.unwrap().status(), 200);
    }
    assert_eq!(issued.load(Ordering::SeqCst), 2);
}

#[test]
fn credentials_for_an_origin_are_sent_there_only() {
    let echo = || {
        Server::start(|request: Request<Bytes>| {
            let value = request.headers().get("authorization");
            Response::new(value.map_or("none".into(), |value| {
                Bytes::copy_from_slice(value.as_bytes())
            }))
        })
    };
    let (one, other, third) = (echo(), echo(), echo());
    let origins = (one.url(""), other.url("/"));
    let builder = pool().auth_generator(move |session| {
        session
            .auth_for(&origins.0, Auth::bearer("replaced"))
            .auth_for(&origins.0, Auth::bearer("for-one"))
            .auth_for(&origins.1, Auth::bearer("for-other"))
            .bearer_auth("for-all")
    });
    let requests = [
        RequestSpec::get(one.url("/page")),
        RequestSpec::get(other.url("/page")),
        RequestSpec::get(third.url("/page")),
        RequestSpec::get(one.url("/page")).bearer_auth("its-own"),
    ];
    let outcomes = outcomes_of(builder, requests);
    let shown: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().text())
        .collect();
    assert_eq!(
        shown,
        [
            "Bearer for-one",
            "Bearer for-other",
            "Bearer for-all",
            "Bearer its-own"
        ]
    );
}

#[test]
fn a_redirect_does_not_fetch_the_credentials_of_where_it_leads() {
    let target = server_that_wants(0);
    let location = target.url("/");
    let server = Server::start(move |_| {
        let moved = Response::builder()
            .status(302)
            .header("location", &location);
        moved.body(Bytes::new()).unwrap()
    });
    let origin = target.url("");
    let builder =
        pool().auth_generator(move |session| session.auth_for(&origin, Auth::bearer("token-1")));
    let outcomes = outcomes_of(builder, [server.url("/"), target.url("/")]);
    let statuses: Vec<u16> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().status().as_u16())
        .collect();
    assert_eq!(statuses, [401, 200]);
}

#[test]
fn fresh_credentials_may_be_those_for_an_origin() {
    let server = server_that_wants(1);
    let origin = server.url("");
    let issued = AtomicUsize::new(0);
    let builder = pool()
        .auth_generator(move |session| {
            let token = format!("token-{}", issued.fetch_add(1, Ordering::SeqCst));
            session.auth_for(&origin, Auth::bearer(token))
        })
        .reauthenticate(true);
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().status(), 200);
}

#[test]
fn what_is_no_origin_is_an_error_of_build() {
    for (origin, reason) in [
        ("example.com", "is not an origin"),
        (
            "https://me:s3cr3t@example.com",
            "more than scheme, host and port",
        ),
    ] {
        let result = pool()
            .auth_generator(move |session| session.auth_for(origin, Auth::bearer("t0ken")))
            .build();
        let Err(error @ PoolError::Session(_)) = result else {
            panic!("{origin} was accepted");
        };
        let message = format!("{error} {error:?}");
        assert!(message.contains(reason), "{message}");
        assert!(
            !message.contains("s3cr3t") && !message.contains("t0ken"),
            "{message}"
        );
    }
}

#[test]
fn nothing_is_renewed_once_no_request_is_pending() {
    let (begun_tx, begun) = std::sync::mpsc::channel();
    let (go_on, waiting) = std::sync::mpsc::channel::<()>();
    let (begun_tx, waiting) = (
        std::sync::Mutex::new(begun_tx),
        std::sync::Mutex::new(waiting),
    );
    let server = Server::start(move |_| {
        begun_tx.lock().unwrap().send(()).unwrap();
        let _ = waiting.lock().unwrap().recv();
        Response::builder().status(401).body(Bytes::new()).unwrap()
    });
    let (generator, issued) = tokens();
    let pool = pool()
        .concurrency(1)
        .auth_generator(generator)
        .reauthenticate(true)
        .build_from_urls([server.url("/"), server.url("/never")])
        .unwrap();
    begun.recv().unwrap();
    std::thread::scope(|scope| {
        let handle = pool.handle();
        let stopping = scope.spawn(|| pool.shutdown());
        eventually("the other one is given back", || {
            handle.stats().given_back() == 1
        });
        drop(go_on);
        assert_eq!(stopping.join().unwrap().len(), 1);
    });
    assert_eq!(pool.get_response().unwrap().attempts(), 1);
    assert_eq!((server.requests(), issued.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn what_the_first_request_has_sent_counts_after_the_second() {
    let refuses = AtomicUsize::new(0);
    let transport =
        Arc::new(
            move |_: threaded::Exchange<'_>| match refuses.fetch_add(1, Ordering::SeqCst) {
                0 => {
                    let response = http::Response::builder().status(401);
                    Ok(response.body(threaded::ResponseBody::empty()).unwrap())
                }
                _ => Err(threaded::Error::connect("refused")),
            },
        );
    let issued = AtomicUsize::new(0);
    let outcomes = outcomes_of(
        threaded::Pool::builder()
            .session(move || {
                let transport = Arc::clone(&transport);
                Session::new(move |exchange: threaded::Exchange<'_>| transport(exchange))
            })
            .auth_generator(move |session| {
                session.bearer_auth(issued.fetch_add(1, Ordering::SeqCst))
            })
            .reauthenticate(true),
        [RequestSpec::post("http://stub.test/")],
    );
    let exception = outcomes[0].as_ref().unwrap_err();
    assert!(exception.was_sent(), "{exception:?}");
    assert_eq!(exception.attempts(), 2);
}

#[test]
fn credentials_may_be_in_any_header_and_the_repetition_is_no_retry() {
    let refusals = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let status = match request.headers()["x-api-key"].to_str().unwrap() {
            "key-0" => 401,
            _ if refusals.fetch_add(1, Ordering::SeqCst) == 0 => 503,
            _ => 200,
        };
        Response::builder()
            .status(status)
            .body(Bytes::new())
            .unwrap()
    });
    let issued = AtomicUsize::new(0);
    let pool = pool()
        .concurrency(1)
        .auth_generator(move |session| {
            session.header(
                "X-Api-Key",
                format!("key-{}", issued.fetch_add(1, Ordering::SeqCst)),
            )
        })
        .reauthenticate(true)
        .retry(threaded::Retry::new(1).backoff(Default::default(), Default::default()))
        .build_from_urls([server.url("/")])
        .unwrap();
    let handle = pool.handle();
    let response = in_order(pool).remove(0).unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 3));
    assert_eq!(handle.stats().retries(), 1);
}

#[test]
fn the_credential_of_a_pool_is_renewed_once_however_many_workers_see_the_401() {
    const LIFE: usize = 100;

    // Each token is good for that many requests: then the server wants the next one.
    let used = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let number = token(&request);
        let current = used.load(Ordering::SeqCst) / LIFE;
        let status = if number == Some(current) {
            used.fetch_add(1, Ordering::SeqCst);
            200
        } else {
            401
        };
        let response = Response::builder().status(status);
        response.body(Bytes::new()).unwrap()
    });
    let issued = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&issued);
    let pool = pool()
        .concurrency(32)
        .credentials(move |old| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            assert_eq!(old.is_some(), number > 0);
            Ok(Auth::bearer(format!("token-{number}")))
        })
        .build_from_urls((0..2_000).map(|page| server.url(&format!("/{page}"))))
        .unwrap();
    pool.join_all();
    assert_eq!(
        pool.responses()
            .filter(|response| response.status() == 200)
            .count(),
        2_000
    );
    let issued = issued.load(Ordering::SeqCst);
    // The last one may be used up by the last page.
    assert!((20..=21).contains(&issued), "{issued} tokens");
}

#[test]
fn a_credential_that_cannot_be_renewed_ends_the_job_with_the_cause() {
    #[derive(Debug, thiserror::Error)]
    #[error("the authorization server is down")]
    struct Down;

    let server = server_that_wants(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let pool = pool()
        .concurrency(4)
        .credentials(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(Auth::bearer("token-0")),
            1 => Err(Down.into()),
            number => Ok(Auth::bearer(format!("token-{number}"))),
        })
        .build()
        .unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1, "before the first request");
    let exception = pool.spawn(server.url("/")).unwrap().join().unwrap_err();
    assert_eq!(exception.kind(), threaded::ErrorKind::Session);
    assert!(exception.was_sent(), "the request was");
    let message = exception.to_string();
    assert!(
        message.contains("credentials") && message.contains("is down"),
        "{message}"
    );
    let source = std::error::Error::source(&exception).unwrap();
    let cause = std::iter::successors(Some(source), |error| error.source());
    assert!(cause.into_iter().any(|error| error.is::<Down>()));
    // The next 401 tries again.
    let response = pool.spawn(server.url("/")).unwrap().join().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (200, 2));
    // Requests with credentials of their own have nothing to do with it.
    let own = RequestSpec::get(server.url("/")).bearer_auth("token-1");
    assert_eq!(pool.spawn(own).unwrap().join().unwrap().status(), 401);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn a_credential_that_cannot_be_obtained_at_first_is_an_error_of_build() {
    let unavailable = pool().credentials(|_| Err("no network".into()));
    let invalid = pool().credentials(|_| Ok(Auth::bearer("line\nbreak")));
    let panicking = pool().credentials(|_| panic!("out of order"));
    let builders = [
        (unavailable, "no network"),
        (invalid, "line breaks"),
        (panicking, "out of order"),
    ];
    for (builder, expected) in builders {
        let error = builder.concurrency(2).build().unwrap_err();
        assert!(matches!(error, PoolError::Session(_)), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains("credentials") && message.contains(expected),
            "{message}"
        );
    }
}

#[test]
fn a_new_credential_that_is_refused_is_not_renewed_again() {
    let server = server_that_wants(usize::MAX);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let pool = pool()
        .concurrency(1)
        .credentials(move |_| {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            Ok(Auth::bearer(format!("token-{number}")))
        })
        .build()
        .unwrap();
    let response = pool.spawn(server.url("/")).unwrap().join().unwrap();
    assert_eq!((response.status().as_u16(), response.attempts()), (401, 2));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn a_retry_may_renew_a_credential_that_could_not_be_renewed() {
    let server = server_that_wants(3);
    let calls = AtomicUsize::new(0);
    let pool = pool()
        .concurrency(1)
        .retry(at_once(3))
        .credentials(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(Auth::bearer("token-0")),
            1 | 2 => Err("the authorization server is down".into()),
            number => Ok(Auth::bearer(format!("token-{number}"))),
        })
        .build()
        .unwrap();
    let response = pool.spawn(server.url("/")).unwrap().join().unwrap();
    assert_eq!(response.status(), 200);
    // The first one, two that could not be repeated, and the third with its repetition.
    assert_eq!(response.attempts(), 4);
    assert_eq!(pool.stats().retries(), 2);
}
