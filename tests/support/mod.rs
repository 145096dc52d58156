//! Support for the tests: servers, each on a free port of the loopback interface, certificates, subprocesses, and figures
//! of this process.

#[cfg(feature = "gzip")]
pub(crate) mod encodings;
pub(crate) mod framing;
#[cfg(feature = "hyper")]
pub(crate) mod holding_server;
#[cfg(feature = "http2")]
pub(crate) mod http2_frames;
pub(crate) mod pools;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod recording_server;
#[cfg(feature = "redis")]
pub(crate) mod redis_server;
pub(crate) mod server;
#[cfg(all(feature = "hyper", feature = "socks"))]
pub(crate) mod socks;
pub(crate) mod subprocess;
pub(crate) mod tls;
