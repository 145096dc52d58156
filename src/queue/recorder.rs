//! Recording the outcomes of a pool: one at once, or in the background, several at a time.

use std::borrow::Borrow;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::store::{Lease, MAX_SETTLING};
use super::{Acked, QueueError};
use crate::observe::{self, Observer, Superseded};
use crate::outcome::Outcome;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Mutex, WaitList, thread};

/// How many outcomes are recorded at once, at most.
const MAX_AT_ONCE: usize = 100;

/// From how many bytes on no more are recorded at once.
const MAX_BYTES: usize = 1 << 20;

/// How many outcomes can wait, at most.
const MAX_ROOM: usize = 1_000;

/// Records outcomes. Takes those that can wait, as many as there is room for, and records them on a thread of its own.
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    spool: Sender<Spooled>,
    /// What the thread receives, which is started when the first outcome comes.
    spooled: Mutex<Option<Receiver<Spooled>>>,
}

/// An outcome that is to be recorded, in its JSON form.
type Spooled = (Arc<Lease>, Vec<u8>);

struct Shared {
    /// How many are not recorded yet.
    unrecorded: AtomicUsize,
    settled: WaitList,
    failure: Mutex<Option<QueueError>>,
    /// Called when there is a failure.
    waker: Waker,
    /// Told of outcomes that are not recorded, since their jobs were before.
    observer: Option<Arc<dyn Observer>>,
}

impl Recorder {
    pub(crate) fn new(room: usize, waker: Waker, observer: Option<Arc<dyn Observer>>) -> Self {
        let (spool, spooled) = bounded(room.min(MAX_ROOM));
        Self {
            shared: Arc::new(Shared {
                unrecorded: AtomicUsize::new(0),
                settled: WaitList::default(),
                failure: Mutex::default(),
                waker,
                observer,
            }),
            spool,
            spooled: Mutex::new(Some(spooled)),
        }
    }

    /// Records an outcome before it returns.
    pub(crate) fn record(
        &self,
        lease: &Lease,
        outcome: &Outcome,
        with_body: bool,
    ) -> Result<Acked, QueueError> {
        let json = lease.describe(outcome, with_body)?;
        let acked = self.shared.record_all(&[(lease, json)])?;
        Ok(acked.first().copied().unwrap_or(Acked::Superseded))
    }

    /// Records an outcome soon. Blocks while there is no room.
    pub(crate) fn push(&self, lease: Arc<Lease>, outcome: &Outcome, with_body: bool) {
        let json = match lease.describe(outcome, with_body) {
            Ok(json) => json,
            Err(error) => return self.shared.fail(error),
        };
        self.shared.unrecorded.fetch_add(1, Ordering::SeqCst);
        let first = self.spooled.lock().take();
        if let Some(spooled) = first {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("threaded-record".to_owned());
            if let Err(error) = thread.spawn(move || shared.record_until_over(&spooled)) {
                // Then the channel is disconnected.
                log::warn!("the thread that records outcomes could not be started: {error}");
            }
        }
        if let Err(refused) = self.spool.send((lease, json)) {
            self.shared.record_spooled(vec![refused.into_inner()]);
        }
    }

    pub(crate) fn take_failure(&self) -> Option<QueueError> {
        self.shared.failure.lock().take()
    }

    /// Waits until all is recorded, but not for long.
    pub(crate) fn settle(&self) {
        let until = Instant::now().checked_add(MAX_SETTLING);
        self.shared.settled.wait(until, || {
            let unrecorded = self.shared.unrecorded.load(Ordering::SeqCst);
            (unrecorded == 0).then_some(())
        });
    }
}

impl Shared {
    fn record_until_over(&self, outcomes: &Receiver<Spooled>) {
        while let Ok(first) = outcomes.recv() {
            let mut bytes = first.1.len();
            let mut batch = vec![first];
            while batch.len() < MAX_AT_ONCE && bytes < MAX_BYTES {
                let Ok(next) = outcomes.try_recv() else {
                    break;
                };
                bytes += next.1.len();
                batch.push(next);
            }
            self.record_spooled(batch);
        }
    }

    fn record_all<L: Borrow<Lease>>(
        &self,
        outcomes: &[(L, Vec<u8>)],
    ) -> Result<Vec<Acked>, QueueError> {
        let acked = Lease::record_all(outcomes)?;
        for ((lease, _), acked) in outcomes.iter().zip(&acked) {
            if *acked == Acked::Superseded {
                let job_id = &lease.borrow().entry().job_id;
                let superseded = Superseded { job_id };
                observe::notify(self.observer.as_ref(), |observer| {
                    observer.superseded(&superseded);
                });
            }
        }
        Ok(acked)
    }

    fn record_spooled(&self, batch: Vec<Spooled>) {
        let len = batch.len();
        if let Err(error) = self.record_all(&batch) {
            log::error!("{len} outcomes could not be recorded: {error}");
            self.fail(error);
        }
        // What is not recorded is given back by that.
        drop(batch);
        self.unrecorded.fetch_sub(len, Ordering::SeqCst);
        self.settled.notify_all();
    }

    fn fail(&self, error: QueueError) {
        *self.failure.lock() = Some(error);
        self.waker.wake_by_ref();
    }
}
