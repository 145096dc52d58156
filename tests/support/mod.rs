//! Servers and probes for the tests. All of them listen on a free port of the loopback interface.

pub(crate) mod alone;
#[cfg(feature = "gzip")]
pub(crate) mod codings;
pub(crate) mod framing;
pub(crate) mod keeper;
pub(crate) mod pools;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod server;
pub(crate) mod tls;
