//! The tests that run on every transport. They are ordinary tests: `pool` and the other names imported below are those of
//! the transport's own file (`on_reqwest.rs`, `on_ureq.rs`), which includes this module, so that it is compiled once for
//! each of them.

mod affinity;
mod bodies;
#[cfg(all(feature = "gzip", target_os = "linux"))]
mod bombs;
mod cancelling;
#[cfg(feature = "gzip")]
mod compressing;
mod connections;
mod corpus;
mod deadlines;
mod decoding;
mod dropping;
mod faults;
mod faults_bodies;
mod faults_heads;
#[cfg(target_os = "linux")]
mod faults_network;
#[cfg(feature = "default-tls")]
mod faults_tls;
mod faults_uploads;
mod fresh_credentials;
mod injection;
mod invalid_requests;
mod limits;
mod multipart;
mod plain_data;
mod proxies;
mod public_addresses;
mod redirect_secrets;
mod redirects;
mod regressions;
mod requests;
#[cfg(target_os = "linux")]
mod resources;
mod retrying;
mod secrets;
mod secrets_of_sessions;
mod sharing;
pub(super) mod sinks;
mod specs;
mod statuses;
mod whole_runs;

use super::{
    PoolBuilder, REPORTS_EARLY_RESPONSES, Session, THREADS_PER_CLIENT, TRANSPORT, outcome, pool,
    trusting_pool,
};
