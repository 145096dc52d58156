//! Cool-downs: a `Retry-After` holds up all jobs for that origin, and no others.

use std::time::Duration;

use threaded::{Limits, Retry};

use super::{asking_for_patience, only_the_other_is_held_up, pages, pool};

#[test]
fn an_origin_that_asks_for_patience_is_left_alone_and_no_other() {
    let (server, _) = asking_for_patience("60");
    only_the_other_is_held_up(Limits::new(), &server);
}

#[test]
fn without_a_cool_down_the_others_jobs_are_sent() {
    let (server, _) = asking_for_patience("3600");
    let (responses, _) = pool()
        .concurrency(1)
        .limits(Limits::new().cool_down(None))
        .map(pages(&server, 10))
        .unwrap();
    let statuses: Vec<u16> = responses
        .map(|response| response.status().as_u16())
        .collect();
    assert_eq!(statuses, [&[429][..], &[200; 9]].concat());
}

#[test]
fn after_a_cool_down_the_origin_is_sent_to_again() {
    let (server, seen) = asking_for_patience("1");
    let (responses, _) = pool()
        .concurrency(1)
        .limits(Limits::new())
        .map(pages(&server, 5))
        .unwrap();
    assert_eq!(responses.count(), 5);
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 5);
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
}

#[test]
fn a_cool_down_is_never_longer_than_it_may_be() {
    let (server, seen) = asking_for_patience("3600");
    let longest = Duration::from_millis(200);
    let (responses, _) = pool()
        .concurrency(3)
        .limits(Limits::new().in_flight_per_origin(1).cool_down(longest))
        .map(pages(&server, 5))
        .unwrap();
    assert_eq!(responses.count(), 5);
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= longest);
}

#[test]
fn an_overloaded_server_is_left_alone_by_the_job_that_is_repeated_too() {
    let (server, seen) = asking_for_patience("1");
    let (responses, _) = pool()
        .concurrency(1)
        .limits(Limits::new())
        .retry(Retry::new(1).backoff(Duration::ZERO, Duration::ZERO))
        .map(pages(&server, 3))
        .unwrap();
    let mut attempts: Vec<(usize, u32, u16)> = responses
        .map(|response| {
            let status = response.status().as_u16();
            (response.index(), response.attempts(), status)
        })
        .collect();
    attempts.sort_unstable();
    assert_eq!(attempts, [(0, 2, 200), (1, 1, 200), (2, 1, 200)]);
    let seen = seen.lock().unwrap();
    assert!(seen[1] - seen[0] >= Duration::from_secs(1));
}
