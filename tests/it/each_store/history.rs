//! Jobs of which each third one is not idempotent, and what must hold of them in the end, whatever has happened meanwhile.

use std::ops::Range;

use threaded::RequestSpec;
use threaded::queue::{Job, Queue};

use super::{job, recorded};
use crate::support::recording_server::RecordingServer;

/// The jobs with these numbers, which are the paths of their URLs.
pub(crate) fn mixed_jobs(site: &str, numbers: Range<usize>) -> impl Iterator<Item = Job> {
    numbers.map(move |number| {
        let url = format!("{site}/{number}");
        let request = match number % 3 {
            0 => RequestSpec::post(url).body("content"),
            _ => RequestSpec::get(url),
        };
        job(number, request)
    })
}

/// How often a server got a request for each of the first numbers.
pub(crate) fn hits(server: &RecordingServer, numbers: usize) -> Vec<usize> {
    let mut hits = vec![0; numbers];
    for request in server.received() {
        hits[request.uri().path()[1..].parse::<usize>().unwrap()] += 1;
    }
    hits
}

/// Compares what was submitted, what the server saw, and what is recorded.
pub(crate) fn assert_consistent(queue: &Queue, hits: &[usize], context: &str) {
    let outcomes = recorded(queue);
    assert_eq!(outcomes.len(), hits.len(), "{context}");
    for (number, times) in hits.iter().enumerate() {
        let outcome = &outcomes[&format!("job-{number}")];
        let is_idempotent = number % 3 != 0;
        let is_response = outcome["response"]["status"] == 200;
        assert!(
            *times >= 1 || !is_response,
            "{context}: {number} has a response, and was not sent"
        );
        assert!(
            *times <= 1 || is_idempotent,
            "{context}: {number} was sent {times} times"
        );
        let kind = outcome["error"]["kind"].as_str();
        assert!(
            is_response || kind == Some("Interrupted"),
            "{context}: {number}: {outcome}"
        );
    }
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.waiting(), stats.delayed(), stats.leased()),
        (0, 0, 0),
        "{context}"
    );
}
