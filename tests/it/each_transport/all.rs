//! What must hold on each transport. Included once for each of them, in a module that has `pool` and its like.

mod affinity;
mod bodies;
#[cfg(all(feature = "gzip", target_os = "linux"))]
mod bombs;
mod connections;
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
mod sinks;
mod specs;
mod statuses;
mod whole_runs;

use super::{
    ANSWERS_OUTLIVE_HALF_SENT_BODIES, ODD_CHUNK_SIZES_ARE_READ, PoolBuilder, Session,
    THREADS_OF_A_CLIENT, outcome, pool, trusting_pool,
};
