//! Observers receive what workers do, and statistics add up.

use std::sync::{Arc, Mutex};

use threaded::{
    Attempt, ErrorKind, Event, Observer, Pool, Session, ThreadException, ThreadResponse,
};

use super::pool;
use crate::support::pools::{gated, in_order, respond_ok};
use crate::support::server::Server;

/// Records the events that it receives.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<(usize, &'static str)>>>);

impl Journal {
    fn note(&self, index: usize, what: &'static str) {
        self.0.lock().unwrap().push((index, what));
    }
}

impl Observer for Journal {
    fn attempt_started(&self, attempt: &Attempt<'_>) {
        assert_eq!(attempt.number(), 1);
        assert!(!attempt.request().url().is_empty());
        self.note(attempt.index(), "started");
    }

    fn response(&self, response: &ThreadResponse) {
        self.note(response.index(), "response");
    }

    fn exception(&self, exception: &ThreadException) {
        self.note(exception.index(), "exception");
    }
}

#[test]
fn an_observer_is_told_each_attempt_and_each_outcome_once() {
    let server = Server::responding("hello");
    let journal = Journal::default();
    let urls = (0..20).map(|page| match page % 4 {
        0 => "no URL".to_owned(),
        _ => server.url(&format!("/{page}")),
    });
    let pool = pool()
        .num_threads(4)
        .observer(journal.clone())
        .build_from_urls(urls)
        .unwrap();
    let outcomes = in_order(pool);
    let journal = journal.0.lock().unwrap();
    assert_eq!(journal.len(), 40);
    for (index, outcome) in outcomes.iter().enumerate() {
        let told: Vec<&str> = journal
            .iter()
            .filter(|(of, _)| *of == index)
            .map(|(_, what)| *what)
            .collect();
        let ending = if outcome.is_ok() {
            "response"
        } else {
            "exception"
        };
        assert_eq!(told, ["started", ending]);
    }
}

#[test]
fn a_closure_is_told_everything() {
    let seen = Arc::new(Mutex::new([0; 3]));
    let counted = Arc::clone(&seen);
    let builder = Pool::builder()
        .num_threads(2)
        .observer(move |event: &Event<'_>| {
            let kind = match event {
                Event::AttemptStarted(_) => 0,
                Event::Response(_) => 1,
                _ => 2,
            };
            counted.lock().unwrap()[kind] += 1;
        })
        .session(|| Session::new(respond_ok));
    builder
        .map(["http://stub.test/", "http://stub.test/", "no URL"])
        .unwrap();
    assert_eq!(*seen.lock().unwrap(), [3, 2, 1]);
}

#[test]
fn what_is_called_off_is_told_too() {
    let (builder, begun, open) = gated();
    let journal = Journal::default();
    let pool = builder
        .num_threads(1)
        .observer(journal.clone())
        .build_from_urls(["http://stub.test/"; 3])
        .unwrap();
    begun.recv().unwrap();
    pool.handle().cancel();
    pool.join_all();
    let mut told = journal.0.lock().unwrap().clone();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            (0, "exception"),
            (0, "started"),
            (1, "exception"),
            (2, "exception")
        ]
    );
    drop(open);
}

#[test]
fn statistics_are_printed_as_they_are_documented() {
    let (builder, begun, open) = gated();
    let pool = builder
        .num_threads(1)
        .build_from_urls(["http://stub.test/"; 3])
        .unwrap();
    begun.recv().unwrap();
    let printed = |pool: &Pool| format!("{:?}", pool.stats());
    assert_eq!(
        printed(&pool),
        "Stats { submitted: 3, queued: 2, in_flight: 1, delayed: 0, retries: 0, denied_retries: 0, responses: 0, \
         exceptions: 0, bytes_received: 0, given_back: 0, live_workers: 1, failed_workers: 0 }"
    );
    drop(open);
    pool.join_all();
    let printed = printed(&pool);
    assert!(
        printed.contains("queued: 0, in_flight: 0,") && printed.contains("responses: 3,"),
        "{printed}"
    );
}

#[test]
fn an_observer_that_panics_loses_no_job() {
    let panics_at = |moment: usize| {
        move |event: &Event<'_>| {
            let now = match event {
                Event::AttemptStarted(_) => 0,
                _ => 1,
            };
            assert_ne!(now, moment, "the observer panicked");
        }
    };
    for (moment, with_response) in [(0, 0), (1, 10)] {
        let (responses, exceptions) = Pool::builder()
            .num_threads(2)
            .observer(panics_at(moment))
            .session(|| Session::new(respond_ok))
            .map(["http://stub.test/"; 10])
            .unwrap();
        assert_eq!(
            (responses.len(), exceptions.len()),
            (with_response, 10 - with_response)
        );
        for exception in exceptions {
            assert_eq!(exception.kind(), ErrorKind::Panicked, "{exception:?}");
        }
    }
}
