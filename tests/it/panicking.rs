//! Promise 1 when user code panics, more often than there are workers: each job has its outcome, and the pool keeps
//! working.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use threaded::{
    BoxError, Error, ErrorKind, Event, Exchange, Outcome, OutcomeExt, Pool, PoolBuilder,
    RequestSpec, ResponseBody, Retry, RetryContext, Session, Transport, TransportBuilder,
    TransportOptions,
};

use crate::support::pools::{in_order, respond_ok};
use crate::support::process::eventually;

const WORKERS: usize = 3;
const PANICS: usize = 30;

const BAD: &str = "http://stub.test/bad";
const GOOD: &str = "http://stub.test/good";

struct PanickingReader;

impl io::Read for PanickingReader {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the body panicked")
    }
}

/// A pool whose workers have all started.
fn started<B: TransportBuilder + 'static>(builder: PoolBuilder<B>) -> Pool {
    let pool = builder.num_threads(WORKERS).build().unwrap();
    eventually("all workers are up", || {
        pool.stats().live_workers() == WORKERS
    });
    pool
}

/// Submits jobs that panic, repairs what panics, and submits as many good ones. Returns the outcomes of the first batch.
fn served(pool: Pool, bad: impl Into<RequestSpec>, repair: impl FnOnce()) -> Vec<Outcome> {
    let bad = bad.into();
    for _ in 0..PANICS {
        pool.submit(bad.clone()).unwrap();
    }
    eventually("the jobs that panic are over", || {
        pool.stats().responses() + pool.stats().exceptions() == PANICS
    });
    repair();
    for _ in 0..PANICS {
        pool.submit(GOOD).unwrap();
    }
    pool.join_all();

    let stats = pool.stats();
    let mut outcomes = in_order(pool.responses().map(Ok).chain(pool.exceptions().map(Err)));
    let indices: Vec<usize> = outcomes.iter().map(OutcomeExt::index).collect();
    assert_eq!(indices, (0..2 * PANICS).collect::<Vec<_>>());
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(stats.submitted(), 2 * PANICS);
    assert_eq!(stats.responses(), succeeded);
    assert_eq!(stats.exceptions(), 2 * PANICS - succeeded);
    assert_eq!(
        [
            stats.queued(),
            stats.in_flight(),
            stats.delayed(),
            stats.given_back()
        ],
        [0; 4]
    );
    assert_eq!(stats.retries(), 0);
    for outcome in outcomes.split_off(PANICS) {
        assert_eq!(outcome.unwrap().text(), "ok");
    }
    outcomes
}

fn assert_each_panicked(outcomes: &[Outcome], message: &str) {
    for outcome in outcomes {
        let error = outcome.as_ref().unwrap_err().error();
        assert_eq!(error.kind(), ErrorKind::Panicked, "{error:?}");
        assert_eq!(error.to_string(), format!("panicked: {message}"));
    }
}

fn stub() -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder().session(|| Session::new(respond_ok))
}

#[test]
fn a_transport_may_panic_more_often_than_there_are_workers() {
    let transport = |exchange: Exchange<'_>| match exchange.url().path() {
        "/bad" => panic!("the exchange panicked"),
        _ => respond_ok(exchange),
    };
    let builder = Pool::builder().session(move || Session::new(transport));
    let outcomes = served(started(builder), BAD, || {});
    assert_each_panicked(&outcomes, "the exchange panicked");
}

#[test]
fn a_body_may_panic_more_often_than_there_are_workers() {
    let transport = |exchange: Exchange<'_>| match exchange.url().path() {
        "/bad" => Ok(http::Response::new(ResponseBody::from_reader(
            PanickingReader,
        ))),
        _ => respond_ok(exchange),
    };
    let builder = || Pool::builder().session(move || Session::new(transport));
    let outcomes = served(started(builder()), BAD, || {});
    assert_each_panicked(&outcomes, "the body panicked");

    let folder = tempfile::tempdir().unwrap();
    let saved = RequestSpec::get(BAD).save_to(folder.path().join("target"));
    let outcomes = served(started(builder()), saved, || {});
    assert_each_panicked(&outcomes, "the body panicked");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_handler_may_panic_more_often_than_there_are_workers() {
    let bad = RequestSpec::get(BAD).read_with(|_, _| panic!("the handler panicked"));
    let outcomes = served(started(stub()), bad, || {});
    assert_each_panicked(&outcomes, "the handler panicked");
}

#[test]
fn an_observer_may_panic_more_often_than_there_are_workers() {
    let at_the_start = |event: &Event<'_>| match event {
        Event::AttemptStarted(attempt) if attempt.request().url() == BAD => {
            panic!("the observer panicked")
        }
        _ => {}
    };
    let outcomes = served(started(stub().observer(at_the_start)), BAD, || {});
    assert_each_panicked(&outcomes, "the observer panicked");

    // The events at the end are complete.
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let at_the_end = move |event: &Event<'_>| match event {
        Event::Response(response) if response.request().url() == BAD => {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("the observer panicked")
        }
        _ => {}
    };
    let outcomes = served(started(stub().observer(at_the_end)), BAD, || {});
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(panics.load(Ordering::SeqCst), PANICS);
}

#[test]
fn a_retry_policy_may_panic_more_often_than_there_are_workers() {
    let retry = Retry::new(5).decide(|context: &RetryContext<'_>| match context.request().url() {
        BAD => panic!("the policy panicked"),
        _ => None,
    });
    let outcomes = served(started(stub().retry(retry)), BAD, || {});
    assert_each_panicked(&outcomes, "the policy panicked");
}

#[test]
fn a_name_for_threads_may_panic_for_each_worker() {
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let name = move |_| -> String {
        counted.fetch_add(1, Ordering::SeqCst);
        panic!("no name")
    };
    let outcomes = served(started(stub().thread_name(name)), GOOD, || {});
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(panics.load(Ordering::SeqCst), WORKERS);
}

/// Panics when it is called while it is broken, and counts how often.
#[derive(Clone, Default)]
struct Hook {
    is_broken: Arc<AtomicBool>,
    panics: Arc<AtomicUsize>,
}

impl Hook {
    fn call(&self) {
        if self.is_broken.load(Ordering::SeqCst) {
            self.panics.fetch_add(1, Ordering::SeqCst);
            panic!("the hook panicked");
        }
    }
}

/// Panics at bad requests, which costs the worker its session.
struct Fragile;

impl Transport for Fragile {
    fn exchange(&mut self, exchange: Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> {
        match exchange.url().path() {
            "/bad" => panic!("the exchange panicked"),
            _ => respond_ok(exchange),
        }
    }
}

/// Panics while it is built, as far as the hook says so.
struct FragileBuilder(Hook);

impl TransportBuilder for FragileBuilder {
    type Transport = Fragile;

    fn build(self, _: &TransportOptions) -> Result<Fragile, BoxError> {
        self.0.call();
        Ok(Fragile)
    }
}

/// Each panic of the transport takes a session along, and for the next one all hooks are called again.
#[test]
fn what_sets_up_sessions_may_panic_more_often_than_there_are_workers() {
    let (constructor, initializer, auth, build) = (
        Hook::default(),
        Hook::default(),
        Hook::default(),
        Hook::default(),
    );
    for broken in [&constructor, &initializer, &auth, &build] {
        let (constructor, initializer, auth, build) = (
            constructor.clone(),
            initializer.clone(),
            auth.clone(),
            build.clone(),
        );
        let builder = Pool::builder()
            .session(move || {
                constructor.call();
                Session::new(FragileBuilder(build.clone()))
            })
            .initializer(move |session| {
                initializer.call();
                session
            })
            .auth_generator(move |session| {
                auth.call();
                session
            });
        let pool = started(builder);
        broken.is_broken.store(true, Ordering::SeqCst);
        let outcomes = served(pool, BAD, || {
            broken.is_broken.store(false, Ordering::SeqCst);
        });
        let panics = broken.panics.load(Ordering::SeqCst);
        assert!(panics > WORKERS, "{panics} panics");
        let mut lost_sessions = 0;
        for outcome in &outcomes {
            let exception = outcome.as_ref().unwrap_err();
            match exception.kind() {
                ErrorKind::Panicked => {
                    let told = exception.error().to_string();
                    assert_eq!(told, "panicked: the exchange panicked");
                    lost_sessions += 1;
                }
                ErrorKind::Session => {
                    let told = exception.source().unwrap().to_string();
                    assert!(told.contains("the hook panicked"), "{told}");
                    assert!(!exception.was_sent());
                }
                _ => panic!("{exception:?}"),
            }
        }
        // Each worker had one session to lose.
        assert!((1..=WORKERS).contains(&lost_sessions), "{lost_sessions}");
    }
}
