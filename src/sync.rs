//! What threads share and wait on. Under `--cfg shuttle` it is all the model checker's, which tries out schedules: see
//! `tests/model`.

#[cfg(not(shuttle))]
pub(crate) use {
    crossbeam_channel as channel,
    std::sync::{Mutex, MutexGuard, atomic},
    std::thread,
};

#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard, atomic},
    thread,
};

#[cfg(shuttle)]
#[path = "../tests/model/channel.rs"]
#[allow(
    missing_docs,
    missing_debug_implementations,
    reason = "nobody sees it but the models"
)]
pub mod channel;
