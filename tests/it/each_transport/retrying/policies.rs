//! The retry budget, and closures that decide about retries.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use threaded::{ErrorKind, Event, OutcomeExt, Retry, RetryBudget, RetryContext};

use super::{assert_recovered, flaky, pool, status};
use crate::support::pools::{at_once, outcomes_of};
use crate::support::recording_server::RecordingServer;
use crate::support::server::Server;

/// The number of requests that a server which always responds with 503 gets from 1,000 jobs.
fn requests_of_a_thousand_jobs(retry: Retry) -> usize {
    let server = Server::start(|_| status(503));
    let urls = (0..1000).map(|page| server.url(&format!("/{page}")));
    let pool = pool().concurrency(4).retry(retry).build().unwrap();
    let (responses, exceptions) = pool.map(urls).unwrap();
    assert_eq!((responses.len(), exceptions.len()), (1000, 0));
    let attempts: Vec<u32> = responses.map(|response| response.attempts()).collect();
    let requests = attempts.iter().sum::<u32>() as usize;
    assert_eq!(requests, server.requests());
    let stats = pool.stats();
    assert_eq!(stats.retries(), requests - 1000);
    // Each job would have had 4 attempts, unless the budget had denied one.
    let cut_short = attempts.iter().filter(|attempts| **attempts < 4).count();
    assert_eq!(stats.denied_retries(), cut_short);
    requests
}

#[test]
fn the_budget_bounds_the_load_on_a_server_that_breaks_down() {
    let retry = Retry::new(3).backoff(Duration::ZERO, Duration::ZERO);
    let requests =
        requests_of_a_thousand_jobs(retry.budget(RetryBudget::new().percent(20).reserve(10)));
    // The reserve, and 20 % of the jobs, but for what the first ones could not add to a full reserve.
    assert!((1200..=1210).contains(&requests), "{requests}");
}

#[test]
fn without_a_budget_each_job_has_all_its_attempts() {
    assert_eq!(requests_of_a_thousand_jobs(at_once(3)), 4000);
}

#[test]
fn a_closure_can_wait_for_a_result_that_is_not_there_yet() {
    let server = RecordingServer::start({
        let asked = Mutex::new(HashMap::<String, usize>::new());
        move |request| {
            let mut asked = asked.lock().unwrap();
            let times = asked.entry(request.uri().path().to_owned()).or_default();
            *times += 1;
            match (request.uri().path(), *times) {
                ("/ready", _) | (_, 4..) => status(200),
                ("/flaky", _) => status(503),
                _ => status(202),
            }
        }
    });
    let retry = at_once(10).decide(|context: &RetryContext<'_>| match context.response() {
        Some(response) if response.status() == 202 => Some(Duration::ZERO),
        _ => context.default_delay(),
    });
    let paths = ["/ready", "/slow", "/flaky"];
    let outcomes = outcomes_of(
        pool().concurrency(1).retry(retry),
        paths.map(|path| server.url(path)),
    );
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| {
            (
                outcome.as_ref().unwrap().status().as_u16(),
                outcome.attempts(),
            )
        })
        .collect();
    assert_eq!(told, [(200, 1), (200, 4), (200, 4)]);
}

#[test]
fn a_closure_that_panics_costs_its_own_job_only() {
    let server = Server::responding("fine");
    let retry = at_once(3).decide(|context: &RetryContext<'_>| {
        assert!(!context.request().url().ends_with("/bad"), "cannot decide");
        context.default_delay()
    });
    let paths = ["/good", "/bad", "/better"];
    let outcomes = outcomes_of(pool().retry(retry), paths.map(|path| server.url(path)));
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let exception = outcomes[1].as_ref().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Panicked, "{exception:?}");
    assert_eq!(exception.error().to_string(), "panicked: cannot decide");
    assert_eq!((exception.attempts(), server.requests()), (1, 3));
}

#[test]
fn an_observer_that_panics_when_it_is_told_of_a_retry_changes_nothing() {
    let server = flaky();
    let builder = pool().retry(at_once(1)).observer(|event: &Event<'_>| {
        assert!(!matches!(event, Event::Retry(_)), "the observer panicked");
    });
    let outcomes = outcomes_of(builder, [server.url("/1"), server.url("/2")]);
    assert_recovered(&outcomes, 2);
}
