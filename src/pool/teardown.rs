//! Dropping what may take its time: a client may wait for a name server while it is torn down, measured 9 s.

use crate::sync::thread;

/// Drops a value on another thread.
pub(super) fn elsewhere(value: impl Send + 'static) {
    let name = "threaded-teardown".to_owned();
    // Without a thread it is dropped here and now.
    let _ = thread::Builder::new().name(name).spawn(move || drop(value));
}
