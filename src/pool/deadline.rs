//! The time limit of a whole run.

use std::sync::{Arc, Weak};
use std::time::Instant;

use super::crew::Crew;
use crate::pool::PoolError;
use crate::sync::channel::{Receiver, RecvTimeoutError};
use crate::sync::thread;

/// Calls all jobs off when the time is over, unless the work is over before. Waits on a thread of its own.
pub(super) fn watch<T>(
    crew: &Arc<Crew>,
    over: Receiver<T>,
    deadline: Instant,
) -> Result<(), PoolError>
where
    T: Send + 'static,
{
    let crew: Weak<Crew> = Arc::downgrade(crew);
    thread::Builder::new()
        .name("threaded-deadline".to_owned())
        .spawn(move || {
            if let Err(RecvTimeoutError::Timeout) = over.recv_deadline(deadline) {
                if let Some(crew) = crew.upgrade() {
                    crew.call_off();
                }
            }
        })
        .map(drop)
        .map_err(PoolError::spawn)
}
