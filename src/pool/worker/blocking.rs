//! The blocking engine: it takes a job, makes an attempt, and finishes it, on one thread.

use std::pin::pin;

use super::Worker;
use crate::error::Error;
use crate::fetch::complete;
use crate::panics;
use crate::pool::core::Next;
use crate::pool::job::{Job, RunningJob};
use crate::sync::Parker;

pub(super) fn serve(worker: &Worker) {
    let parker = Parker::new();
    while let Some(job) = next(worker, &parker) {
        if let Some(running) = worker.threads.core.start(worker.number, job) {
            attempt(worker, running);
        }
        if worker.should_retire() {
            break;
        }
    }
    worker.close_sessions();
}

/// The next job; blocks until there is one. `None` when the work is over.
pub(super) fn next(worker: &Worker, parker: &Parker) -> Option<Job> {
    loop {
        match worker.threads.core.poll_next(worker.number, parker.waker()) {
            Next::Start(job) => return Some(job),
            Next::Wait(until) => parker.park(until),
            Next::Exit => return None,
        }
    }
}

fn attempt(worker: &Worker, mut running: RunningJob) {
    let result = panics::caught(|| complete(pin!(worker.attempt(&mut running))));
    let result = result.unwrap_or_else(|message| {
        worker.close_sessions();
        Err(Error::panicked(message))
    });
    worker.threads.core.finish(running, result, None);
}
