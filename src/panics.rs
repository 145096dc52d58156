//! Panics of other people's code as data.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs a closure; if it panics, returns the panic's message.
///
/// What the closure has borrowed may be left half changed: callers throw it away or make it anew.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let message = message(&*payload);
        // It is somebody else's too, and may panic while it is dropped, with another payload that may.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(another);
        }
        message
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
