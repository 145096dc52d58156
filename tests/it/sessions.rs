//! Promise 14: each worker builds its own session on its own thread, and `build` returns the error of the first one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use threaded::crossbeam_channel::{bounded, unbounded};
use threaded::{
    BoxError, Error, ErrorKind, Exchange, Pool, PoolError, Session, TransportBuilder,
    TransportOptions,
};

use crate::support::pools::{outcomes_of, respond_ok};
use crate::support::process::eventually;
use crate::support::raw::refused_address;
use crate::support::recording_server::{RecordingServer, values};
use crate::support::server::Server;

type Journal = Arc<Mutex<Vec<(&'static str, ThreadId)>>>;

fn note(journal: &Journal, what: &'static str) {
    journal.lock().unwrap().push((what, thread::current().id()));
}

/// Records in a journal when it is built and when it is used.
struct Journaling(Journal);

impl TransportBuilder for Journaling {
    type Transport = Box<dyn FnMut(Exchange<'_>) -> ExchangeResult + Send>;

    fn build(self, _: &TransportOptions) -> Result<Self::Transport, BoxError> {
        note(&self.0, "transport");
        Ok(Box::new(move |exchange| {
            note(&self.0, "exchange");
            respond_ok(exchange)
        }))
    }
}

type ExchangeResult = Result<http::Response<threaded::ResponseBody>, Error>;

#[test]
fn each_worker_builds_one_session_on_its_own_thread_in_the_documented_order() {
    const WORKERS: usize = 5;

    let journal = Journal::default();
    let of = || Arc::clone(&journal);
    let (first, second, third) = (of(), of(), of());
    let pool = Pool::builder()
        .num_threads(WORKERS)
        .session(move || {
            note(&first, "constructor");
            Session::new(Journaling(Arc::clone(&first)))
        })
        .auth_generator(move |session| {
            note(&third, "auth");
            session
        })
        .initializer(move |session| {
            note(&second, "initializer");
            session
        })
        .build()
        .unwrap();
    eventually("all workers are up", || {
        pool.stats().live_workers() == WORKERS
    });
    for page in 0..200 {
        pool.submit(format!("http://stub.test/{page}")).unwrap();
    }
    pool.join_all();
    assert_eq!(pool.responses().count(), 200);

    let journal = journal.lock().unwrap();
    let mut threads: Vec<ThreadId> = Vec::new();
    for (what, thread) in journal.iter() {
        if *what == "constructor" {
            threads.push(*thread);
        }
    }
    assert_eq!(threads.len(), WORKERS, "sessions built = workers");
    assert!(!threads.contains(&thread::current().id()));
    for thread in threads {
        let steps: Vec<&str> = journal
            .iter()
            .filter(|(_, other)| *other == thread)
            .map(|(what, _)| *what)
            .collect();
        assert_eq!(
            steps[..4],
            ["constructor", "initializer", "auth", "transport"]
        );
        assert!(
            steps[4..].iter().all(|step| *step == "exchange"),
            "built once: {steps:?}"
        );
    }
}

/// The error of `build` when a step fails.
fn build_error(builder: threaded::PoolBuilder) -> String {
    let started = builder
        .num_threads(3)
        .build_from_urls([format!("http://{}/", refused_address())]);
    match started {
        Err(PoolError::Session(source)) => PoolError::Session(source).to_string(),
        other => panic!("not a session error: {other:?}"),
    }
}

#[test]
fn build_returns_the_first_workers_error_and_names_the_step() {
    let table: Vec<(threaded::PoolBuilder, [&str; 2])> = vec![
        (
            Pool::builder().try_initializer(|_| Err("no such profile".into())),
            ["initializer", "no such profile"],
        ),
        (
            Pool::builder()
                .try_auth_generator(|_| Err(std::io::Error::other("vault is sealed").into())),
            ["auth generator", "vault is sealed"],
        ),
        (
            Pool::builder().initializer(|_| panic!("out of ideas")),
            ["initializer", "out of ideas"],
        ),
        (
            Pool::builder().auth_generator(|_| panic!("out of keys")),
            ["auth generator", "out of keys"],
        ),
        (
            Pool::builder().session(|| -> Session { panic!("out of clients") }),
            ["session constructor", "out of clients"],
        ),
        (
            Pool::builder().initializer(|session| session.header("bad name", "x")),
            ["bad name", "not a valid header name"],
        ),
        (
            Pool::builder().initializer(|session| session.user_agent("a\nb")),
            ["user agent", "line breaks"],
        ),
        (
            Pool::builder().initializer(|session| session.client(|c| c.user_agent("a\nb"))),
            ["transport", "header"],
        ),
    ];
    for (builder, named) in table {
        let message = build_error(builder);
        for part in named {
            assert!(message.contains(part), "`{part}` is not named: {message}");
        }
    }
}

#[test]
fn hooks_that_were_set_before_the_session_are_refused_by_name_whatever_its_type() {
    let refusal = |started: Result<Pool, PoolError>| match started {
        Err(PoolError::Session(source)) => PoolError::Session(source).to_string(),
        other => panic!("not a session error: {other:?}"),
    };
    let initializer = || Pool::builder().initializer(|session| session);
    let auth_generator = || Pool::builder().auth_generator(|session| session);
    let share_session = || Pool::builder().share_session(true);
    let table = [
        (
            "`initializer`",
            initializer as fn() -> threaded::PoolBuilder,
        ),
        ("`auth_generator`", auth_generator),
        ("`share_session`", share_session),
    ];
    for (setter, builder) in table {
        for message in [
            refusal(builder().session(|| Session::new(respond_ok)).build()),
            refusal(builder().session(Session::default).build()),
            // Setting it again does not bring back what it was to do before.
            refusal(
                builder()
                    .session(Session::default)
                    .session(Session::default)
                    .initializer(|session| session)
                    .build(),
            ),
        ] {
            assert!(message.contains(setter), "{message}");
            assert!(message.contains("call `session` first"), "{message}");
        }
    }

    // Hooks that were not set, or were set after it, are none to refuse.
    let builder = Pool::builder()
        .share_session(true)
        .share_session(false)
        .session(|| Session::new(respond_ok))
        .initializer(|session| session);
    assert!(outcomes_of(builder, ["http://stub.test/"])[0].is_ok());
}

#[test]
fn a_later_worker_without_a_session_takes_no_jobs_and_the_statistics_say_so() {
    let sessions = AtomicUsize::new(0);
    let pool = Pool::builder()
        .num_threads(4)
        .session(|| Session::new(respond_ok))
        .try_initializer(
            move |session| match sessions.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(session),
                _ => Err("only one licence".into()),
            },
        )
        .build_from_urls(["http://stub.test/"; 100])
        .unwrap();
    eventually("three workers have given up", || {
        pool.stats().failed_workers() == 3
    });
    assert_eq!(pool.stats().live_workers(), 1);
    pool.join_all();
    assert_eq!(pool.responses().count(), 100);
    assert_eq!(pool.exceptions().count(), 0);
}

#[test]
fn jobs_are_not_lost_when_the_last_session_cannot_be_replaced() {
    let sessions = AtomicUsize::new(0);
    let panics_once = |exchange: Exchange<'_>| match exchange.url().path() {
        "/panic" => panic!("the transport panicked"),
        _ => respond_ok(exchange),
    };
    let builder = Pool::builder()
        .session(move || Session::new(panics_once))
        .try_initializer(
            move |session| match sessions.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(session),
                _ => Err("only one licence".into()),
            },
        );
    let urls = ["/", "/panic", "/", "/"].map(|path| format!("http://stub.test{path}"));
    let outcomes = outcomes_of(builder, urls);
    assert!(outcomes[0].is_ok());
    assert_eq!(
        outcomes[1].as_ref().unwrap_err().kind(),
        ErrorKind::Panicked
    );
    for outcome in &outcomes[2..] {
        let exception = outcome.as_ref().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Session, "{exception:?}");
        assert!(
            exception.to_string().contains("only one licence"),
            "{exception}"
        );
        assert!(!exception.was_sent());
    }
}

#[test]
fn build_waits_for_the_first_session_only() {
    let (open, opened) = bounded::<()>(0);
    let sessions = AtomicUsize::new(0);
    let (tried_tx, tried) = unbounded();
    let pool = Pool::builder()
        .num_threads(3)
        .session(|| Session::new(respond_ok))
        .initializer(move |session| {
            let _ = tried_tx.send(());
            if sessions.fetch_add(1, Ordering::SeqCst) > 0 {
                let _ = opened.recv();
            }
            session
        })
        .build_from_urls(["http://stub.test/"; 50])
        .unwrap();
    for _ in 0..3 {
        tried.recv().unwrap();
    }
    // The other two are still being built: they delay neither the jobs nor the end.
    pool.join_all();
    assert_eq!(pool.responses().count(), 50);
    drop(open);
}

#[test]
fn a_transport_that_was_built_elsewhere_can_be_used() {
    let server = Server::responding("hello");
    let builder = Pool::builder().session(|| {
        let client = reqwest::blocking::Client::builder().no_proxy();
        Session::new(TransportBuilder::build(client, &TransportOptions::default()).unwrap())
    });
    let outcomes = outcomes_of(builder, [server.url("/")]);
    assert_eq!(outcomes[0].as_ref().unwrap().text(), "hello");
}

#[test]
fn a_session_cannot_say_how_bodies_are_framed() {
    for (name, value) in [("Content-Length", "5"), ("Transfer-Encoding", "chunked")] {
        let message = build_error(Pool::builder().initializer(move |s| s.header(name, value)));
        let name = name.to_lowercase();
        assert!(
            message.contains(&name) && message.contains("cannot be set"),
            "{message}"
        );
    }
}

#[test]
fn a_worker_alone_tries_once_for_each_job_to_open_its_session_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let panics = |exchange: Exchange<'_>| match exchange.url().path() {
        "/panic" => panic!("the transport panicked"),
        _ => respond_ok(exchange),
    };
    let builder = Pool::builder()
        .session(move || Session::new(panics))
        .try_initializer(
            move |session| match counted.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(session),
                _ => Err("the account is locked".into()),
            },
        );
    let urls = ["/panic", "/", "/", "/"].map(|path| format!("http://stub.test{path}"));
    assert_eq!(outcomes_of(builder, urls).len(), 4);
    assert_eq!(tries.load(Ordering::SeqCst), 1 + 3);
}

#[test]
fn what_the_builder_sets_for_all_sessions_holds_in_any_order() {
    let server = RecordingServer::responding_ok();
    let direct = || Session::new(reqwest::blocking::Client::builder().no_proxy());
    let builders = [
        Pool::builder()
            .user_agent("checker/1.0")
            .header("X-Team", "blue")
            .bearer_auth("t0k3n")
            .session(direct),
        Pool::builder()
            .session(move || {
                direct()
                    .user_agent("overridden")
                    .header("Accept", "text/plain")
            })
            .bearer_auth("overridden")
            .header("X-Team", "blue")
            .user_agent("checker/1.0")
            .bearer_auth("t0k3n"),
    ];
    for builder in builders {
        // A clone starts a pool of its own.
        for builder in [builder.clone(), builder] {
            outcomes_of(builder, [server.url("/")])[0].as_ref().unwrap();
        }
    }
    for request in server.received() {
        assert_eq!(values(&request, "user-agent"), ["checker/1.0"]);
        assert_eq!(values(&request, "x-team"), ["blue"]);
        assert_eq!(values(&request, "authorization"), ["Bearer t0k3n"]);
    }
    let basic = Pool::builder()
        .session(direct)
        .basic_auth("Aladdin", Some("open sesame"))
        .initializer(|session| session.user_agent("the initializer's"));
    outcomes_of(basic, [server.url("/")])[0].as_ref().unwrap();
    let last = server.received().pop().unwrap();
    assert_eq!(
        values(&last, "authorization"),
        ["Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]
    );
    assert_eq!(values(&last, "user-agent"), ["the initializer's"]);
    for invalid in [
        Pool::builder().header("X-Team", "blue\nred"),
        Pool::builder().header("not a name", "blue"),
        Pool::builder().user_agent("line\nbreak"),
        Pool::builder().bearer_auth("line\nbreak"),
        Pool::builder().basic_auth("a:b", None::<&str>),
    ] {
        build_error(invalid);
    }
}

#[test]
fn concurrency_is_the_number_of_workers_of_a_blocking_session() {
    let stub = || Pool::builder().session(|| Session::new(respond_ok));
    assert_eq!(stub().concurrency(5).build().unwrap().num_threads(), 5);
    let both = stub().concurrency(5).num_threads(2);
    assert_eq!(both.build().unwrap().num_threads(), 5);
    let error = stub().concurrency(0).build().unwrap_err();
    assert!(matches!(error, PoolError::NoConcurrency));
    assert!(
        error.to_string().contains("concurrency was 0"),
        "{error} names what was asked for"
    );
}
