//! Fetch any number of URLs on plain threads, without going async.
//!
//! A [`Pool`] is a number of workers, each on a thread and with a blocking HTTP client of its own. It turns requests
//! ([`RequestSpec`]) into outcomes: a [`ThreadResponse`] is what a server has answered, whatever its status; a
//! [`ThreadException`] is an [`Error`] and the request that it happened to. **Every job that is handed over ends in exactly
//! one outcome, and an outcome is plain data.**
//!
//! # Get every answer
//!
//! [`map`] sends all requests, waits, and returns the responses and the exceptions:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let urls = [format!("{base}/a"), format!("{base}/missing"), "http://no-such-host.invalid/".to_owned()];
//! let (responses, exceptions) = threaded::map(&urls)?;
//!
//! for response in responses {
//!     println!("{} {} {} bytes", response.status(), response.request().url(), response.bytes().len());
//! }
//! for exception in exceptions {
//!     eprintln!("{exception}");
//! #   assert_eq!(exception.index(), 2);
//! }
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! [`Pool::builder`] has the settings, [`RequestSpec`] those of one request:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use std::time::Duration;
//! use threaded::{Pool, RequestSpec};
//!
//! let (responses, exceptions) = Pool::builder()
//!     .num_threads(32)
//!     .timeout(Duration::from_secs(10))
//!     .map([
//!         RequestSpec::get(format!("{base}/search")).query(&[("q", "fork"), ("page", "2")]),
//!         RequestSpec::post(format!("{base}/items")).form(&[("name", "fork")]).bearer_auth("s3cr3t"),
//!         RequestSpec::head(format!("{base}/large")).redirects(0),
//!     ])?;
//! assert_eq!((responses.count(), exceptions.count()), (3, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Take each outcome as it comes
//!
//! A pool is iterated over in the order in which its jobs are done:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::Pool;
//!
//! let urls = (0..20).map(|page| format!("{base}/{page}"));
//! for outcome in Pool::from_urls(urls)? {
//!     match outcome {
//!         Ok(response) => println!("{} {}", response.status(), response.request().url()),
//!         Err(exception) => eprintln!("{exception}"),
//!     }
//! }
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Any number of jobs in constant memory
//!
//! [`imap_unordered`] draws requests from any iterator as there is room for them, [`imap`] also keeps their order:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let endless = (1..).map(|page| format!("{base}/{page}"));
//! let answered = threaded::imap_unordered(endless)?.take(100).filter(Result::is_ok).count();
//! assert_eq!(answered, 100);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Large bodies
//!
//! [`RequestSpec::save_to`] writes a body to a file, [`RequestSpec::read_with`] hands it to a closure on the worker:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("hello.txt");
//! use threaded::RequestSpec;
//!
//! let (mut responses, _) = threaded::map([RequestSpec::get(base).save_to(&path)])?;
//! assert_eq!(responses.next().unwrap().saved_to(), Some(&*path));
//! assert_eq!(std::fs::read_to_string(&path)?, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Jobs that lead to jobs, and changing one's mind
//!
//! A [`Handle`] submits from anywhere, and [cancels](Handle::cancel); a pool can be [shut down](Pool::shutdown) and have a
//! [deadline](PoolBuilder::deadline):
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::Pool;
//!
//! let pool = Pool::from_urls([format!("{base}/1")])?;
//! let handle = pool.handle();
//! let mut pages = 0;
//! for response in pool.into_iter().flatten() {
//!     pages += 1;
//!     if pages < 10 {
//!         handle.submit(response.url())?;
//!     }
//! }
//! assert_eq!(pages, 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Try again, and don't overrun a host
//!
//! [`Retry`] says which attempts are repeated, [`Limits`] how fast to send and how many at a time. A job that has to wait for
//! either waits in the queue, and the workers go on with the others:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::{Limits, Pool, Retry};
//!
//! let (responses, exceptions) = Pool::builder()
//!     .retry(Retry::new(3))
//!     .limits(Limits::new().rate_per_origin(100.0, 10).in_flight_per_origin(2))
//!     .map((0..20).map(|page| format!("{base}/{page}")))?;
//! assert_eq!((responses.count(), exceptions.count()), (20, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! With [`PoolBuilder::affinity`], workers go back to where they have warm connections.
//!
//! # Send again what failed
//!
//! An exception is a request again, with [`Pool::from_exceptions`] for all of them. [`Error::is_retryable`] says whether
//! repeating may help, [`Error::was_sent`] and [`RequestSpec::is_idempotent`] whether it may harm:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::Pool;
//!
//! let mut pool = Pool::from_urls([format!("{base}/a"), "http://no-such-host.invalid/".to_owned()])?;
//! pool.join_all();
//! let again = pool.exceptions().filter(|exception| {
//!     exception.is_retryable() && (!exception.was_sent() || exception.request().is_idempotent())
//! });
//! let mut second = Pool::from_exceptions(again)?;
//! second.join_all();
//! # assert_eq!(second.exceptions().count(), 1);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Set up each worker
//!
//! The [`initializer`](PoolBuilder::initializer) sets up each worker's [`Session`], then the
//! [`auth_generator`](PoolBuilder::auth_generator) gives it its credentials:
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::{Pool, user_agent};
//!
//! # fn read_token() -> std::io::Result<String> { Ok("s3cr3t".to_owned()) }
//! let (responses, exceptions) = Pool::builder()
//!     .initializer(|session| session.user_agent(user_agent("my-scraper", "0.1")).header("Accept", "text/html"))
//!     .try_auth_generator(|session| Ok::<_, std::io::Error>(session.bearer_auth(read_token()?)))
//!     .map([format!("{base}/private")])?;
//! # assert_eq!((responses.count(), exceptions.count()), (1, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Feed it from your own channel
//!
//! ```
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::{Pool, RequestSpec};
//!
//! let (jobs, receiver) = threaded::crossbeam_channel::bounded::<RequestSpec>(10);
//! std::thread::spawn(move || {
//!     for page in 0..50 {
//!         // Waits while 10 jobs are waiting; fails once the pool is gone.
//!         if jobs.send(format!("{base}/{page}").into()).is_err() {
//!             break;
//!         }
//!     }
//! });
//! let answered = Pool::new(receiver)?.into_iter().filter(Result::is_ok).count();
//! assert_eq!(answered, 50);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Go faster
//!
//! With the feature `ureq`, [`Session::ureq`](Session#method.ureq) is a session on a ureq agent, which does all the work on
//! the worker's own thread: HTTP/1.1 only, about twice as fast on small answers.
//!
#![cfg_attr(feature = "ureq", doc = "```")]
#![cfg_attr(not(feature = "ureq"), doc = "```ignore")]
//! # let base = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! use threaded::{Pool, Session};
//!
//! let (responses, exceptions) = Pool::builder()
//!     .num_threads(32)
//!     .session(Session::ureq)
//!     .map((0..100).map(|page| format!("{base}/{page}")))?;
//! assert_eq!((responses.count(), exceptions.count()), (100, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! Where the transports differ, beyond what either has and the other lacks:
//!
//! | | reqwest | ureq |
//! |---|---|---|
//! | HTTP | 1.1 and 2 | 1.1 |
//! | proxies of the environment | by the scheme of the URL | the first of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, for everything |
//! | a proxy of the environment that cannot be connected to | [`ErrorKind::Connect`] | [`ErrorKind::Proxy`] |
//! | a server that answers and closes while the body of the request is still being sent | may be [`ErrorKind::Closed`] | the answer |
//! | the size of a chunk with a sign or a space before it | [`ErrorKind::Protocol`] | is read |
//! | a chunked body that is cut within its last, empty chunk | [`ErrorKind::BodyTruncated`] | the answer, which is whole |
//! | a proxy that answers CONNECT with a body | [`ErrorKind::Timeout`] | [`ErrorKind::Tls`] |
//! | largest head of an answer | about 400 KiB | 64 KiB |
//! | longest line of a request's head | 64 KiB | 16 KiB, unless `output_buffer_size` is set |
//!
//! # Fetch what strangers ask for
//!
//! [`PoolBuilder::public_addresses_only`] refuses URLs, host names and redirects that lead to this machine or to the networks
//! that it is in:
//!
//! ```
//! use threaded::Pool;
//!
//! let urls_of_strangers = ["http://169.254.169.254/", "http://0x7f.1/", "http://localhost/"];
//! let (_, exceptions) = Pool::builder().public_addresses_only(true).map(urls_of_strangers)?;
//! assert!(exceptions.map(|exception| exception.was_sent()).eq([false; 3]));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Test without a network
//!
//! What performs the HTTP exchanges is a [`Transport`]: [`ReqwestTransport`] by default, and any closure will do:
//!
//! ```
//! use threaded::{Exchange, Pool, ResponseBody, Session, http};
//!
//! let answer = |exchange: Exchange<'_>| {
//!     let page = format!("this is {}", exchange.url().path());
//!     Ok(http::Response::new(ResponseBody::from(page)))
//! };
//! let (mut responses, _) = Pool::builder()
//!     .session(move || Session::new(answer))
//!     .map(["http://stub.test/page"])?;
//! assert_eq!(responses.next().unwrap().text(), "this is /page");
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Coming from Python
//!
//! The crate implements `requests_toolbelt.threaded`:
//!
//! | there | here |
//! |---|---|
//! | `threaded.map(requests, num_processes=10, initializer=f)` | `Pool::builder().num_threads(10).initializer(f).map(requests)?` |
//! | `Pool(job_queue=q)` | [`Pool::new`]`(receiver)?` |
//! | `Pool.from_urls(urls, request_kwargs)` | [`Pool::from_urls`]`(urls)?`, [`Pool::from_urls_with`]`(urls, &template)?` |
//! | `Pool.from_exceptions(p.exceptions())` | [`Pool::from_exceptions`]`(pool.exceptions())?` |
//! | `initializer(session)`, then `auth_generator(session)` | the same, once for each worker |
//! | `session=` any callable that returns a session | [`PoolBuilder::session`]`(\|\| Session::new(…))` |
//! | `num_processes=None`: the number of processors; 0: `ValueError` | the same; 0: [`PoolError::NoThreads`] |
//! | `response.request_kwargs`, `exc.request_kwargs` | [`ThreadResponse::request`], [`ThreadException::request`] |
//! | `response.<anything>`, `exc.<anything>` | the same: they deref to [`Response`] and [`Error`] |
//!
//! # Cargo features
//!
//! | feature | by default | what it does |
//! |---|---|---|
//! | `default-tls` | yes | HTTPS by reqwest's default, rustls |
//! | `native-tls` | | HTTPS by the system's library |
//! | `ureq` | | the transport on ureq |
//! | `http2` | yes | HTTP/2, where a server offers it over TLS |
//! | `system-proxy` | yes | the proxies of the environment (`HTTP_PROXY` …) |
//! | `socks` | | SOCKS proxies |
//! | `cookies` | | a cookie store: `session.client(\|client\| client.cookie_store(true))` |
//! | `hickory-dns` | | name resolution in Rust: `session.client(\|client\| client.hickory_dns(true))` |
//! | `gzip` | yes | decodes gzip and deflate |
//! | `brotli`, `zstd` | | decode those |
//! | `charset` | yes | [`Response::text`] in other encodings than UTF-8 |
//! | `json` | yes | [`RequestSpec::json`], [`Response::json`] |
//! | `multipart` | | [`RequestSpec::multipart`](RequestSpec#method.multipart): forms with files |

mod addresses;
mod error;
mod fetch;
mod headers;
mod history;
mod limits;
mod observe;
mod origin;
mod outcome;
mod panics;
mod pool;
mod proxy;
mod redact;
mod request;
mod response;
mod retry;
mod schedule;
mod session;
mod sync;
mod transport;

pub use addresses::AddressFilter;
pub use error::{BoxError, Error, ErrorKind};
pub use headers::Auth;
pub use history::RedirectHop;
pub use limits::{Limits, OriginLimits};
pub use observe::{Attempt, Event, Observer, Stats};
pub use outcome::{ThreadException, ThreadResponse};
pub use pool::{
    Exceptions, Handle, Imap, ImapUnordered, Outcomes, Pool, PoolBuilder, PoolError, Responses,
    SubmitError,
};
#[cfg(feature = "multipart")]
pub use request::multipart;
pub use request::{RequestBody, RequestSpec};
pub use response::{Response, ResponseHead};
pub use retry::{Retry, Tried};
pub use session::{Session, user_agent};
pub use transport::reqwest::ReqwestTransport;
#[cfg(feature = "ureq")]
pub use transport::ureq::{UreqConfigBuilder, UreqTransport};
pub use transport::{Exchange, ResponseBody, Transport, TransportBuilder, TransportOptions};

// Their types are part of this crate's own interface.
#[cfg(feature = "ureq")]
pub use ::ureq;
#[cfg(not(shuttle))]
pub use crossbeam_channel;
#[cfg(shuttle)]
pub use sync::channel as crossbeam_channel;
pub use {::reqwest, bytes, http, url};

/// Sends all these requests and waits until each has its outcome, as many at a time as there are processors.
///
/// Takes whatever iterates over URLs or [`RequestSpec`]s. The responses and the exceptions come in the order in which the
/// jobs were done; [`index`](ThreadResponse::index) is the place of the request in what was handed over. Short for
/// [`Pool::builder`]`().`[`map`](PoolBuilder::map)`(requests)`, which takes settings too.
///
/// # Errors
///
/// If no worker can be started: as [`PoolError`] lists them. What goes wrong with a request is an exception.
pub fn map<I>(requests: I) -> Result<(Responses, Exceptions), PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().map(requests)
}

/// Sends the requests that an iterator yields, and yields their outcomes in the order of the requests: a lazy [`map`] that
/// holds few jobs at a time, however many there are.
///
/// See [`PoolBuilder::imap`], which takes settings too.
///
/// # Errors
///
/// As [`PoolError`] lists them.
pub fn imap<I>(requests: I) -> Result<Imap<I::IntoIter>, PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().imap(requests)
}

/// Sends the requests that an iterator yields, and yields their outcomes as they come.
///
/// See [`PoolBuilder::imap_unordered`], which takes settings too.
///
/// # Errors
///
/// As [`PoolError`] lists them.
pub fn imap_unordered<I>(requests: I) -> Result<ImapUnordered<I::IntoIter>, PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().imap_unordered(requests)
}
