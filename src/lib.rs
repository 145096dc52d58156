//! Fetch any number of URLs on plain threads.

mod auth;
mod error;
mod exception;
mod fetch;
mod headers;
mod history;
mod observe;
mod outcome;
mod panics;
mod pool;
mod redact;
mod request;
mod response;
mod session;
mod transport;
mod user_agent;

pub use auth::Auth;
pub use error::{BoxError, Error, PoolError, SubmitError};
pub use exception::ThreadException;
pub use history::RedirectHop;
pub use observe::Stats;
pub use pool::{Exceptions, Outcomes, Pool, PoolBuilder, Responses};
#[cfg(feature = "multipart")]
pub use request::multipart;
pub use request::{RequestBody, RequestSpec};
pub use response::{Response, ThreadResponse};
pub use session::Session;
pub use transport::reqwest::ReqwestTransport;
pub use transport::{Exchange, ResponseBody, Transport, TransportBuilder};
pub use user_agent::user_agent;

// Their types are part of this crate's own interface.
pub use {::reqwest, bytes, crossbeam_channel, http, url};

/// Sends all these requests with the default settings and waits until each has its outcome.
pub fn map<I>(requests: I) -> Result<(Responses, Exceptions), PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().map(requests)
}
