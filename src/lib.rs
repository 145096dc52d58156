//! Concurrent HTTP requests on plain threads, without async.
//!
//! A [`Pool`] runs a number of workers, each on its own thread and with its own blocking HTTP client. It turns requests
//! ([`RequestSpec`]) into outcomes: a [`ThreadResponse`] is any HTTP response, whatever its status; a
//! [`ThreadException`] is an [`Error`] together with the request that failed. **Every accepted job ends in exactly one
//! outcome, and an outcome is plain data.**
//!
//! # Get a single response
//!
//! [`fetch`](fetch()) sends one request, and waits for its response:
//!
//! ```
//! let url = "https://example.com/";
//! # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let response = threaded::fetch(url)?;
//! println!("{response}"); // GET https://example.com/: 200 OK, 5 bytes in 53.1ms
//! # assert_eq!(response.bytes().len(), 5);
//! # Ok::<(), threaded::FetchError>(())
//! ```
//!
//! # Get all responses
//!
//! [`map`] sends all requests, waits, and returns the responses and the exceptions:
//!
//! ```
//! let urls = ["https://example.com/a", "https://example.com/missing", "http://no-such-host.invalid/"];
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! # let urls = urls.map(|url| url.replace("https://example.com", &site));
//! let (responses, exceptions) = threaded::map(urls)?;
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
//! [`PoolBuilder`] configures the pool, [`RequestSpec`] a single request:
//!
//! ```
//! use std::time::Duration;
//! use threaded::{Pool, RequestSpec};
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let (responses, exceptions) = Pool::builder()
//!     .concurrency(32)
//!     .timeout(Duration::from_secs(10))
//!     .map([
//!         RequestSpec::get(format!("{site}/search")).query(&[("q", "fork"), ("page", "2")]),
//!         RequestSpec::post(format!("{site}/items")).form(&[("name", "fork")]).bearer_auth("s3cr3t"),
//!         RequestSpec::head(format!("{site}/large")),
//!     ])?;
//! assert_eq!((responses.count(), exceptions.count()), (3, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Process outcomes as they arrive
//!
//! Iterating over a pool yields its outcomes in completion order. [`OutcomeExt`] has what both kinds of them have, the
//! request and the index for example:
//!
//! ```
//! use threaded::Pool;
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let urls = (0..20).map(|page| format!("{site}/{page}"));
//! for outcome in Pool::from_urls(urls)? {
//!     match outcome {
//!         Ok(response) => println!("{} {}", response.status(), response.request().url()),
//!         Err(exception) => eprintln!("{exception}"),
//!     }
//! }
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Any number of requests in constant memory
//!
//! [`imap_unordered`] pulls requests from an iterator as there is room for them; [`imap`] also keeps their order:
//!
//! ```
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let endless = (1..).map(|page| format!("{site}/{page}"));
//! let pages = threaded::imap_unordered(endless)?.take(100).filter(Result::is_ok).count();
//! assert_eq!(pages, 100);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! The input is asked again after it has returned `None`, as long as there are jobs: so a work list that grows from the
//! outcomes is a crawl. The input and the loop share it:
//!
//! ```
//! use std::cell::RefCell;
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let to_visit = RefCell::new(vec![format!("{site}/1")]);
//! let mut pages = 0;
//! for response in threaded::imap_unordered(std::iter::from_fn(|| to_visit.borrow_mut().pop()))?.flatten() {
//!     pages += 1;
//!     if pages < 10 {
//!         to_visit.borrow_mut().push(format!("{site}/{}", pages + 1));
//!     }
//! }
//! assert_eq!(pages, 10);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # A pool for a whole program
//!
//! All of [`Pool`] works through `&self`, so an `Arc<Pool>` serves any number of threads. [`Pool::spawn`] returns a
//! [`JobHandle`], through which the outcome of one job comes back; [`Pool::map`], [`Pool::imap`] and
//! [`Pool::imap_unordered`] send a round of requests; [`Pool::submit`] leaves the outcome in the pool, for
//! [`Pool::recv`] and its like:
//!
//! ```
//! use threaded::Pool;
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let pool = Pool::builder().concurrency(8).build()?;
//! let job = pool.spawn(format!("{site}/item"))?;
//! let (responses, exceptions) = pool.map([format!("{site}/1"), format!("{site}/2")])?;
//! assert_eq!((responses.len(), exceptions.len()), (2, 0));
//! println!("{}", job.join()?.text());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # In an async runtime
//!
//! [`map`] and its like block the calling thread, which a task must not do. A [`JobHandle`] is a future that works on
//! any executor, so a handler awaits the response to its own request: `pool.spawn(request)?.await`. Building a pool
//! waits for its first worker: do it before the runtime starts, or in `spawn_blocking`, as all that blocks.
//!
//! # Streaming large bodies
//!
//! [`RequestSpec::save_to`] writes the body to a file, [`RequestSpec::read_with`] passes it to a closure on the worker:
//!
//! ```
//! use std::path::Path;
//! use threaded::RequestSpec;
//!
//! let url = "https://example.com/";
//! let file = Path::new("example.html");
//! # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join(file);
//! # let file = file.as_path();
//! let (responses, _) = threaded::map([RequestSpec::get(url).save_to(file)])?;
//! for response in responses {
//!     assert_eq!(response.saved_to(), Some(file));
//! }
//! # assert_eq!(std::fs::read_to_string(file)?, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`RequestSpec::save_into`] takes the server's name for the file, [`RequestSpec::resume`] goes on where a body was cut,
//! [`RequestSpec::if_modified`] asks only for what is newer, [`RequestSpec::sha256`] verifies, [`RequestSpec::segments`] receives a
//! file over several connections, and [`Limits::bandwidth`] leaves some of the line to others. [`Observer::progress`] tells of bodies as they arrive.
//!
//! # Submitting jobs from anywhere
//!
//! A [`Handle`] submits jobs from any thread, or from the loop over the outcomes, as a crawler does. The loop ends when
//! nothing is left to do:
//!
//! ```
//! use threaded::Pool;
//!
//! let first = "https://example.com/";
//! # let first = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let pool = Pool::from_urls([first])?;
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
//! A pool also takes jobs from a channel; a bounded one applies backpressure to the producer:
//!
//! ```
//! use threaded::{Pool, RequestSpec};
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let (jobs, receiver) = threaded::crossbeam_channel::bounded::<RequestSpec>(10);
//! std::thread::spawn(move || {
//!     for page in 0..50 {
//!         // Blocks while the channel is full; fails once the pool is gone.
//!         if jobs.send(format!("{site}/{page}").into()).is_err() {
//!             break;
//!         }
//!     }
//! });
//! let pages = Pool::new(receiver)?.into_iter().filter(Result::is_ok).count();
//! assert_eq!(pages, 50);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Cancellation and deadlines
//!
//! [`Handle::cancel`] ends every job at once, and [`PoolBuilder::deadline`] does so when the time for the whole run is
//! up. [`Pool::shutdown`] waits for the jobs in flight and returns the requests that were not sent:
//!
//! ```
//! use threaded::Pool;
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let pool = Pool::from_urls((0..100).map(|page| format!("{site}/{page}")))?;
//! let unsent = pool.shutdown();
//! assert_eq!(unsent.len() + pool.responses().count() + pool.exceptions().count(), 100);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Retries, rate limiting and connection reuse
//!
//! [`Retry`] repeats attempts, [`Limits`] bounds rates and requests in flight, and [`PoolBuilder::affinity`] makes
//! workers prefer origins that they have an open connection to. A job waiting for a retry or a rate limit does not
//! occupy a worker:
//!
//! ```
//! use threaded::{Limits, Pool, Retry};
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let (responses, exceptions) = Pool::builder()
//!     .retry(Retry::new(3))
//!     .limits(Limits::new().rate_per_origin(100.0, 10).in_flight_per_origin(2))
//!     .affinity(true)
//!     .map((0..20).map(|page| format!("{site}/{page}")))?;
//! assert_eq!((responses.count(), exceptions.count()), (20, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Resubmitting failed requests
//!
//! An exception holds its request, and [`Pool::from_exceptions`] sends them again, later or with other settings.
//! [`Error::is_retryable`] says whether that may help, [`Error::was_sent`] and [`RequestSpec::is_idempotent`] whether
//! it is safe:
//!
//! ```
//! use threaded::Pool;
//!
//! let urls = ["https://example.com/a", "http://no-such-host.invalid/"];
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! # let urls = urls.map(|url| url.replace("https://example.com", &site));
//! let pool = Pool::from_urls(urls)?;
//! pool.join_all();
//! let failed = pool.exceptions().filter(|exception| {
//!     exception.is_retryable() && (!exception.was_sent() || exception.request().is_idempotent())
//! });
//! let second = Pool::from_exceptions(failed)?;
//! second.join_all();
//! # assert_eq!(second.exceptions().count(), 1);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Headers and credentials
//!
//! The [`initializer`](PoolBuilder::initializer) sets up each worker's [`Session`], then the
//! [`auth_generator`](PoolBuilder::auth_generator) adds its credentials. Each is called once per worker, on its thread;
//! both have a form that may fail, such as [`try_auth_generator`](PoolBuilder::try_auth_generator):
//!
//! ```
//! use threaded::{Pool, user_agent};
//!
//! let url = "https://example.com/private";
//! # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let (responses, exceptions) = Pool::builder()
//!     .initializer(|session| session.user_agent(user_agent("my-scraper", "0.1")).header("Accept", "text/html"))
//!     .auth_generator(|session| session.bearer_auth("s3cr3t"))
//!     .map([url])?;
//! # assert_eq!((responses.count(), exceptions.count()), (1, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! For all sessions alike, the builder has [`user_agent`](PoolBuilder::user_agent), [`header`](PoolBuilder::header),
//! [`basic_auth`](PoolBuilder::basic_auth) and [`bearer_auth`](PoolBuilder::bearer_auth) themselves. A token that
//! expires is best left to [`credentials`](PoolBuilder::credentials): it is renewed once for the pool, however many
//! workers see the 401. [`Session::auth_for`] limits credentials to one origin, [`PoolBuilder::reauthenticate`] renews
//! those of the auth generator after a 401, and [`Session::client`] reaches the settings of the HTTP client itself:
//! certificates, proxies, DNS.
//!
//! # SSRF protection
//!
//! [`PoolBuilder::public_addresses_only`] refuses URLs, host names and redirects that lead to this machine or to
//! private networks:
//!
//! ```
//! use threaded::Pool;
//!
//! let untrusted = ["http://169.254.169.254/", "http://0x7f.1/", "http://localhost/"];
//! let (_, exceptions) = Pool::builder().public_addresses_only(true).map(untrusted)?;
//! assert!(exceptions.map(|exception| exception.was_sent()).eq([false; 3]));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Testing without a network
//!
//! A [`Transport`] performs the HTTP exchanges: [`ReqwestTransport`] by default. A closure is one too:
//!
//! ```
//! use threaded::{Exchange, Pool, ResponseBody, Session, http};
//!
//! let stub = |exchange: Exchange<'_>| {
//!     let page = format!("this is {}", exchange.url().path());
//!     Ok(http::Response::new(ResponseBody::from(page)))
//! };
//! let (responses, _) = Pool::builder()
//!     .session(move || Session::new(stub))
//!     .map(["http://stub.test/page"])?;
//! let pages: Vec<String> = responses.map(|response| response.text().into_owned()).collect();
//! assert_eq!(pages, ["this is /page"]);
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! # Thousands of requests at the same time
//!
//! With [`Session::hyper`](Session#method.hyper), a worker is an event loop: it has many requests in flight on one thread.
//! [`concurrency`](PoolBuilder::concurrency) says how many, over all workers; the workers are as many as the machine has
//! CPU cores, or one for each 16 requests if those are fewer, unless [`num_threads`](PoolBuilder::num_threads) is set.
//! Everything else stays the same: attempts, retries, limits, outcomes and errors are this crate's own on each transport.
//!
#![cfg_attr(feature = "hyper", doc = "```")]
#![cfg_attr(not(feature = "hyper"), doc = "```ignore")]
//! use threaded::{Pool, Session};
//!
//! let site = "https://example.com";
//! # let site = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
//! let (responses, exceptions) = Pool::builder()
//!     .concurrency(1_000)
//!     .session(Session::hyper)
//!     .map((0..3_000).map(|page| format!("{site}/{page}")))?;
//! assert_eq!((responses.count(), exceptions.count()), (3_000, 0));
//! # Ok::<(), threaded::PoolError>(())
//! ```
//!
//! The session type is part of the builder's type. To choose a transport at run time, write a function that is generic
//! over the builder's session type, such as `fn run<B: TransportBuilder + 'static>(builder: PoolBuilder<B>)`, and call it
//! from each branch.
//!
//! | | reqwest (default) | reqwest, [`share_session`](PoolBuilder::share_session) | [`Session::hyper`](Session#method.hyper) |
//! |---|---|---|---|
//! | choose it when | the settings of reqwest or a transport of your own are needed | there are hundreds of workers on reqwest | requests are many, or CPU time or memory is scarce |
//! | requests in flight | 1 per worker | 1 per worker | `concurrency` ÷ `num_threads` per worker, 64 by default |
//! | threads | 2 per worker | 1 per worker, plus 1 | 1 per worker; more while handlers run, files are written or names are resolved |
//! | settings | those of `reqwest::blocking::ClientBuilder` | the same | [`HyperBuilder`] |
//! | a cancelled job | ends at once; its attempt goes on until the response or the next bytes of its body arrive, up to the timeout | the same | ends at once, and its connection is closed |
//! | idle connections | closed after 15 s; beyond three eighths of the descriptors, with their request | the same | the same, and the oldest ones whenever a descriptor is needed |
//! | a host with several addresses | one after the other, within 10 s; the two families 300 ms apart | the same | raced, 250 ms apart (RFC 8305) |
//! | DNS resolution | on the client's threads | the same | on at most 256 threads of the process; results are kept for 5 s |
//! | handlers ([`read_with`](RequestSpec::read_with)) | on the worker | the same | on other threads, at most 512 of the process |
//! | largest response head | 100 fields, about 400 KiB; 16 KiB over HTTP/2 | the same | 100 fields, 128 KiB |
//! | what it cannot do | see [`Session::default`] | the same | |
//! | a proxy of the environment cannot be reached | `ErrorKind::Connect` | the same | `ErrorKind::Proxy` |
//!
//! A third transport comes with the feature `ureq`: [`Session::ureq`](Session#method.ureq) builds a session on a ureq agent,
//! which does all its work but DNS resolution on the worker's own thread, over HTTP/1.1. With two requests in flight and
//! small responses it is the fastest of the three. It differs from the others as follows:
//!
//! | | on ureq |
//! |---|---|
//! | proxies of the environment | the first of `ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, for every URL |
//! | cookie store, DNS resolution in Rust | no |
//! | DNS resolution | on a new thread for each new connection |
//! | largest response head; longest URL | 100 fields, 64 KiB; 16 KiB, or `output_buffer_size` |
//! | the server responds and closes before the request body is sent | the response; on the others, it may be `ErrorKind::Closed` |
//! | a chunk size with a sign or a space before it | is accepted; on the others, `ErrorKind::Protocol` |
//! | a chunked body of HTTP/1.0 | comes with its framing; on the others, `ErrorKind::Protocol` |
//! | folded header lines; interim responses with fields; a chunk size with more than 20 bytes of padding or extensions | `ErrorKind::Protocol`; the others read them |
//! | `NO_PROXY` | exact names and addresses, and `*` |
//! | an address of several that is silent | shares the time of the attempt |
//! | an idle connection on which the server has announced the end of TLS alone | is used again: `ErrorKind::Closed` |
//! | a chunked body cut within its last, empty chunk | the response, which is complete; on the others, `ErrorKind::BodyTruncated` |
//! | a proxy's response to CONNECT has a body | `ErrorKind::Tls`; on reqwest, `ErrorKind::Timeout` |
//!
//! # Coming from Python
//!
//! The crate implements `requests_toolbelt.threaded`. The [README] puts the two side by side.
//!
//! [README]: https://crates.io/crates/reqwest-threaded#coming-from-python
//!
//! # Cargo features
//!
//! | feature | default | enables |
//! |---|---|---|
//! | `default-tls` | yes | HTTPS with reqwest's default TLS library, rustls |
//! | `native-tls` | | HTTPS with the system's TLS library |
//! | `hyper` | yes | the event-driven engine, [`Session::hyper`](Session#method.hyper); brings `http2` |
//! | `ureq` | | a blocking transport on ureq, [`Session::ureq`](Session#method.ureq) |
//! | `http2` | yes | HTTP/2, where a server offers it over TLS |
//! | `system-proxy` | yes | proxies of the environment (`HTTP_PROXY` …); an invalid one is an error of `build` |
//! | `socks` | | SOCKS proxies |
//! | `cookies` | | a cookie store: `session.client(\|client\| client.cookie_store(true))` |
//! | `hickory-dns` | | DNS resolution in Rust, unless `session.client(\|client\| client.hickory_dns(false))` or `public_addresses_only` |
//! | `gzip` | yes | decoding of gzip and deflate, [`RequestSpec::gzip`](RequestSpec#method.gzip) |
//! | `brotli`, `zstd` | | decoding of these content encodings |
//! | `charset` | yes | [`Response::text`] in encodings other than UTF-8 |
//! | `json` | yes | [`RequestSpec::json`], [`Response::json`] |
//! | `multipart` | | [`RequestSpec::multipart`](RequestSpec#method.multipart): forms with files |
//! | `serde` | | `Serialize` and `Deserialize` of [`RequestSpec`], `Serialize` of outcomes, JSON lines: `threaded::jsonl` |
//! | `journal` | | runs that survive a crash, in a file: `threaded::queue`; brings `serde` |
//! | `redis` | | runs on any number of machines, on a Redis server: `threaded::queue`; brings `serde` |

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(docsrs, doc(auto_cfg(hide(shuttle))))]

// The samples of the README are documentation tests.
#[cfg(all(doctest, feature = "json"))]
#[doc = include_str!("../README.md")]
struct Readme;

mod addresses;
mod blocking_threads;
#[cfg(feature = "charset")]
mod charset;
#[cfg(feature = "serde")]
mod data;
mod digest;
mod download;
mod error;
mod fetch;
mod headers;
mod history;
#[cfg(feature = "serde")]
pub mod jsonl;
mod limits;
mod observe;
mod origin;
mod outcome;
mod panics;
mod pool;
mod proxy;
#[cfg(any(feature = "journal", feature = "redis"))]
pub mod queue;
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
pub use observe::{Attempt, Event, Observer, Progress, RetryEvent, Stats};
#[cfg(any(feature = "journal", feature = "redis"))]
pub use observe::{QueueDown, QueueUp, Superseded};
pub use outcome::{Outcome, OutcomeExt, ThreadException, ThreadResponse};
#[cfg(any(feature = "journal", feature = "redis"))]
pub use pool::{Deliveries, Delivery};
pub use pool::{
    Exceptions, FetchError, Handle, Imap, ImapUnordered, Incoming, JobHandle, Outcomes, Pool,
    PoolBuilder, PoolError, Responses, SubmitError,
};
#[cfg(feature = "multipart")]
pub use request::multipart;
pub use request::{IntoUrl, RequestBody, RequestSpec};
pub use response::{Response, ResponseHead};
pub use retry::{Retry, RetryBudget, RetryContext};
pub use session::{Session, user_agent};
#[cfg(feature = "hyper")]
pub use transport::hyper::{HyperBuilder, HyperTransport};
pub use transport::reqwest::ReqwestTransport;
#[cfg(feature = "ureq")]
pub use transport::ureq::{UreqConfigBuilder, UreqTransport};
pub use transport::{
    AnyTransport, Exchange, ResponseBody, Transport, TransportBuilder, TransportOptions,
};

// Public dependencies: their types appear in this crate's own interface.
#[cfg(feature = "ureq")]
pub use ::ureq;
#[cfg(not(shuttle))]
pub use crossbeam_channel;
#[cfg(shuttle)]
pub use sync::channel as crossbeam_channel;
pub use {::reqwest, bytes, http, url};

/// Sends one request, and waits for its response.
///
/// Takes a URL or a [`RequestSpec`]. The request has a pool of its own, with one worker: to send several, a pool that
/// runs them all is faster, since it reuses connections.
///
/// ```
/// let url = "https://example.com/";
/// # let url = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/hello_server.rs"));
/// let response = threaded::fetch(url)?;
/// assert_eq!(response.text(), "hello");
/// # Ok::<(), threaded::FetchError>(())
/// ```
///
/// # Errors
///
/// Returns an error if the worker cannot be started ([`FetchError::Pool`]), or if the request fails
/// ([`FetchError::Exception`]). As in a pool, a response of any status is none, 404 and 500 included;
/// [`ThreadResponse::error_for_status`] makes these an error.
pub fn fetch(request: impl Into<RequestSpec>) -> Result<ThreadResponse, FetchError> {
    let pool = Pool::builder()
        .num_threads(1)
        .build_from_requests([request])?;
    #[expect(clippy::expect_used, reason = "every job has an outcome")]
    let outcome = pool.into_iter().next().expect("every job has an outcome");
    Ok(outcome?)
}

/// Sends all the requests and waits until each has its outcome, with one worker per CPU.
///
/// Takes anything that iterates over URLs or [`RequestSpec`]s. The responses and the exceptions come in completion
/// order; [`index`](ThreadResponse::index) is the position of the request in the input. Short for
/// [`Pool::builder`]`().`[`map`](PoolBuilder::map)`(requests)`, which takes settings too.
///
/// # Errors
///
/// Returns an error if no worker can be started: its thread cannot be spawned, or its session cannot be built. A
/// request that fails is an exception.
pub fn map<I>(requests: I) -> Result<(Responses, Exceptions), PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().map(requests)
}

/// Sends the requests that an iterator yields, and yields their outcomes in the order of the requests: a lazy [`map`]
/// in constant memory.
///
/// Short for [`Pool::builder`]`().`[`imap`](PoolBuilder::imap)`(requests)`, which takes settings too.
///
/// # Errors
///
/// Returns an error if no worker can be started: its thread cannot be spawned, or its session cannot be built.
pub fn imap<I>(requests: I) -> Result<Imap<'static, I::IntoIter>, PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().imap(requests)
}

/// Sends the requests that an iterator yields, and yields their outcomes in completion order.
///
/// Short for [`Pool::builder`]`().`[`imap_unordered`](PoolBuilder::imap_unordered)`(requests)`, which takes settings
/// too.
///
/// # Errors
///
/// Returns an error if no worker can be started: its thread cannot be spawned, or its session cannot be built.
pub fn imap_unordered<I>(requests: I) -> Result<ImapUnordered<'static, I::IntoIter>, PoolError>
where
    I: IntoIterator,
    I::Item: Into<RequestSpec>,
{
    Pool::builder().imap_unordered(requests)
}
