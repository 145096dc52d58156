//! Runs in which each job takes more than one attempt.

use std::cell::Cell;

use threaded::crossbeam_channel::unbounded;
use threaded::{Outcome, RequestSpec};

use super::{assert_recovered, flaky, pool};
use crate::support::pools::{at_once, in_order};

#[test]
fn a_lazy_run_retries_and_keeps_its_order_and_its_window() {
    for is_ordered in [true, false] {
        let server = flaky();
        let drawn = Cell::new(0);
        let urls = (0..60).map(|page| {
            drawn.set(page + 1);
            server.url(&format!("/{page}"))
        });
        let builder = pool().concurrency(4).window(6).retry(at_once(1));
        let run: Box<dyn Iterator<Item = Outcome>> = if is_ordered {
            Box::new(builder.imap(urls).unwrap())
        } else {
            Box::new(builder.imap_unordered(urls).unwrap())
        };
        let mut outcomes = Vec::new();
        for outcome in run {
            assert!(drawn.get() - outcomes.len() <= 6);
            outcomes.push(outcome);
        }
        if !is_ordered {
            outcomes = in_order(outcomes);
        }
        assert_recovered(&outcomes, 60);
    }
}

#[test]
fn iterating_over_a_pool_on_a_channel_waits_for_what_is_tried_again() {
    let server = flaky();
    let (jobs, receiver) = unbounded::<RequestSpec>();
    let builder = pool().concurrency(3).retry(at_once(1));
    let pool = builder.job_queue(receiver).build().unwrap();
    for page in 0..60 {
        jobs.send(server.url(&format!("/{page}")).into()).unwrap();
    }
    drop(jobs);
    assert_recovered(&in_order(pool), 60);
}

#[test]
fn what_a_retried_job_leads_to_is_done_and_the_iteration_ends() {
    let server = flaky();
    let pool = pool()
        .concurrency(2)
        .retry(at_once(1))
        .build_from_urls([server.url("/0")])
        .unwrap();
    let handle = pool.handle();
    let mut outcomes = Vec::new();
    for outcome in pool {
        outcomes.push(outcome);
        if outcomes.len() < 20 {
            let page = server.url(&format!("/{}", outcomes.len()));
            handle.submit(page).unwrap();
        }
    }
    assert_recovered(&outcomes, 20);
    assert!(handle.submit(server.url("/late")).is_err());
}
