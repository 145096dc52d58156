//! What every store of a durable queue does. Included once for each of them.

mod clocks;
mod delivering;
pub(super) mod history;
mod retrying;
mod stopping;
mod submitting;

use std::collections::BTreeMap;

use serde_json::Value;
use threaded::queue::{Job, Queue};
use threaded::{Pool, PoolBuilder, RequestSpec, Session, TransportBuilder};

use super::TestStore;
use crate::support::pools::respond_ok;

/// A pool that responds to everything with `ok`, without a network.
pub(super) fn stub() -> PoolBuilder<impl TransportBuilder + 'static> {
    Pool::builder()
        .concurrency(4)
        .session(|| Session::new(respond_ok))
}

/// Jobs with the ids `job-0`, `job-1` …
pub(super) fn jobs(count: usize) -> impl Iterator<Item = Job> {
    (0..count).map(|number| job(number, RequestSpec::get(format!("http://test/{number}"))))
}

pub(super) fn job(number: usize, request: RequestSpec) -> Job {
    Job::new(format!("job-{number}"), request)
}

/// The recorded outcomes by the ids of their jobs, of which none is there twice.
pub(super) fn recorded(queue: &Queue) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for recorded in queue.outcomes().unwrap() {
        let recorded = recorded.unwrap();
        let id = recorded.job_id().to_owned();
        let before = found.insert(id, recorded.outcome().clone());
        assert_eq!(before, None, "{} is recorded twice", recorded.job_id());
    }
    found
}

/// Runs what is in the queue to its end. Returns the ids of what was delivered.
pub(super) fn run(
    builder: PoolBuilder<impl TransportBuilder + 'static>,
    queue: &Queue,
) -> Vec<String> {
    queue.close().unwrap();
    let mut ids = Vec::new();
    for delivery in builder.deliveries(queue).unwrap() {
        let delivery = delivery.unwrap();
        delivery.ack().unwrap();
        ids.push(delivery.job_id().to_owned());
    }
    ids.sort();
    ids
}
