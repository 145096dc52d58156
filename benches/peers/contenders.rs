//! The contenders: ways to fetch many URLs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use futures_util::StreamExt;
use rayon::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::reqwest;
use threaded::ureq::tls::{Certificate, RootCerts, TlsConfig};
use threaded::{HyperBuilder, Pool, PoolBuilder, Session, TransportBuilder, ureq};
use tokio::task::JoinSet;

use super::epoll::raw_epoll_loop;
use super::workloads::{Kind, Task, Workload};

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// What it can do beyond plain HTTP/1.1 with some hundred requests in flight.
    abilities: &'static [Ability],
    /// Runs a task. Returns when the first response was complete.
    pub(crate) run: fn(&Task) -> Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ability {
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS, with all requests on one connection.
    Http2,
    /// Thousands of requests in flight: not a thread for each.
    Thousands,
}

use Ability::{Http2, Https, Thousands};

impl Contender {
    pub(crate) fn takes(&self, workload: &Workload) -> bool {
        let needed = match workload.kind {
            Kind::Secure => Https,
            Kind::Http2 => Http2,
            Kind::Slower => Thousands,
            Kind::Small | Kind::Large | Kind::Slow => return true,
        };
        self.abilities.contains(&needed)
    }
}

pub(crate) const POOL_ON_REQWEST: &str = "pool on reqwest";
pub(crate) const POOL_ON_SHARED: &str = "pool on reqwest, one session";
pub(crate) const POOL_ON_HYPER: &str = "pool, event-driven";
pub(crate) const POOL_ON_UREQ: &str = "pool on ureq";
pub(crate) const THREADS_ON_REQWEST: &str = "threads on reqwest";
pub(crate) const THREADS_ON_UREQ: &str = "threads on ureq";
pub(crate) const RAYON: &str = "rayon on one reqwest client";
pub(crate) const ASYNC_MULTI: &str = "async reqwest, multi-thread";
pub(crate) const ASYNC_CURRENT: &str = "async reqwest, current-thread";
pub(crate) const RAW: &str = "raw sockets";
pub(crate) const RAW_EPOLL: &str = "raw epoll loop";

/// The contender that all others are compared with.
pub(crate) const REFERENCE: &str = ASYNC_CURRENT;

/// Worker threads of async reqwest on a multi-threaded runtime.
const ASYNC_THREADS: usize = 2;

pub(crate) const CONTENDERS: &[Contender] = &[
    contender(POOL_ON_REQWEST, &[Https], |task| {
        let (pem, http2) = (task.pem(), task.http2);
        let builder = Pool::builder().session(move || reqwest_session(&pem, http2));
        pool(task, builder.num_threads(task.in_flight))
    }),
    contender(POOL_ON_SHARED, &[Https, Http2], |task| {
        let (pem, http2) = (task.pem(), task.http2);
        let builder = Pool::builder().session(move || reqwest_session(&pem, http2));
        pool(
            task,
            builder.num_threads(task.in_flight).share_session(true),
        )
    }),
    contender(POOL_ON_HYPER, &[Https, Http2, Thousands], |task| {
        let (pem, http2) = (task.pem(), task.http2);
        let builder = Pool::builder().session(move || hyper_session(&pem, http2));
        pool(task, builder.concurrency(task.in_flight))
    }),
    contender(POOL_ON_UREQ, &[Https], |task| {
        let tls = ureq_tls(task);
        let session = move || Session::ureq().client(|config| config.tls_config(tls.clone()));
        let builder = Pool::builder().session(session);
        pool(task, builder.num_threads(task.in_flight))
    }),
    contender(THREADS_ON_REQWEST, &[Https], threads_on_reqwest),
    contender(THREADS_ON_UREQ, &[Https], threads_on_ureq),
    contender(RAYON, &[Https, Http2], rayon_on_reqwest),
    contender(ASYNC_MULTI, &[Https, Http2, Thousands], async_multi),
    contender(ASYNC_CURRENT, &[Https, Http2, Thousands], async_current),
    contender(RAW, &[], raw_sockets),
    contender(RAW_EPOLL, &[Thousands], raw_epoll_loop),
];

const fn contender(
    name: &'static str,
    abilities: &'static [Ability],
    run: fn(&Task) -> Instant,
) -> Contender {
    Contender {
        name,
        abilities,
        run,
    }
}

/// Counts responses, and remembers when the first one arrived.
pub(crate) struct Responses {
    body_length: usize,
    expected: usize,
    count: usize,
    first: Instant,
}

impl Responses {
    pub(crate) fn to(task: &Task) -> Self {
        Self {
            body_length: task.body_length,
            expected: task.requests,
            count: 0,
            first: Instant::now(),
        }
    }

    pub(crate) fn add(&mut self, length: usize) {
        assert_eq!(length, self.body_length);
        if self.count == 0 {
            self.first = Instant::now();
        }
        self.count += 1;
    }

    pub(crate) fn are_complete(&self) -> bool {
        self.count >= self.expected
    }

    pub(crate) fn finish(self) -> Instant {
        assert_eq!(self.count, self.expected);
        self.first
    }
}

fn pool<B: TransportBuilder + 'static>(task: &Task, builder: PoolBuilder<B>) -> Instant {
    let mut responses = Responses::to(task);
    let outcomes = builder
        .imap_unordered(task.urls())
        .expect("a session can be made");
    for outcome in outcomes {
        responses.add(outcome.expect("a response").bytes().len());
    }
    responses.finish()
}

fn reqwest_session(pem: &[u8], http2: bool) -> Session {
    let trusted = reqwest::Certificate::from_pem(pem).expect("a certificate");
    Session::default().client(move |client| {
        let client = client.add_root_certificate(trusted);
        if http2 {
            client.http2_prior_knowledge()
        } else {
            client
        }
    })
}

fn hyper_session(pem: &[u8], http2: bool) -> Session<HyperBuilder> {
    Session::hyper().client(|client| {
        let client = client.tls_certs_merge([pem]);
        if http2 {
            client.http2_prior_knowledge()
        } else {
            client.http1_only()
        }
    })
}

fn reqwest_client(task: &Task) -> reqwest::blocking::Client {
    let trusted = reqwest::Certificate::from_pem(&task.pem()).expect("a certificate");
    let mut builder = reqwest::blocking::Client::builder().add_root_certificate(trusted);
    if task.http2 {
        builder = builder.http2_prior_knowledge();
    }
    builder.build().expect("a client")
}

fn ureq_tls(task: &Task) -> TlsConfig {
    let trusted = Certificate::from_pem(&task.pem()).expect("a certificate");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(provider))
        .root_certs(RootCerts::new_with_certs(&[trusted]))
        .build()
}

/// The usual hand-written solution: threads that receive URLs from a channel and send bodies into another one.
fn threads<C: 'static>(
    task: &Task,
    client: impl Fn() -> C + Clone + Send + 'static,
    get: fn(&C, &str) -> bytes::Bytes,
) -> Instant {
    let (job_sender, jobs) = unbounded::<String>();
    let (body_sender, bodies) = unbounded();
    for _ in 0..task.in_flight {
        let (jobs, body_sender, client) = (jobs.clone(), body_sender.clone(), client.clone());
        thread::spawn(move || {
            let client = client();
            for url in jobs {
                let body = get(&client, &url);
                if body_sender.send((url, body)).is_err() {
                    break;
                }
            }
        });
    }
    drop(body_sender);
    for url in task.urls() {
        job_sender.send(url).expect("the threads are alive");
    }
    drop(job_sender);
    let mut responses = Responses::to(task);
    for (_, body) in bodies {
        responses.add(body.len());
    }
    responses.finish()
}

fn threads_on_reqwest(task: &Task) -> Instant {
    let pem = task.pem();
    let client = move || {
        let trusted = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let builder = reqwest::blocking::Client::builder().add_root_certificate(trusted);
        builder.build().expect("a client")
    };
    threads(task, client, |client, url| {
        let response = client.get(url).send().expect("a response");
        response.bytes().expect("a body")
    })
}

fn threads_on_ureq(task: &Task) -> Instant {
    let tls = ureq_tls(task);
    let agent = move || {
        let config = ureq::Agent::config_builder().tls_config(tls.clone());
        ureq::Agent::new_with_config(config.build())
    };
    threads(task, agent, |agent, url| {
        let mut response = agent.get(url).call().expect("a response");
        let body = response.body_mut().with_config().limit(u64::MAX);
        body.read_to_vec().expect("a body").into()
    })
}

fn rayon_on_reqwest(task: &Task) -> Instant {
    let client = reqwest_client(task);
    let (body_sender, bodies) = unbounded();
    let threads = rayon::ThreadPoolBuilder::new().num_threads(task.in_flight);
    let threads = threads.build().expect("threads");
    let urls: Vec<String> = task.urls().collect();
    thread::scope(|scope| {
        scope.spawn(move || {
            threads.install(|| {
                urls.into_par_iter()
                    .for_each_with(body_sender, |bodies, url| {
                        let response = client.get(&url).send().expect("a response");
                        let body = response.bytes().expect("a body");
                        bodies.send((url, body)).expect("the receiver is alive");
                    });
            });
        });
        let mut responses = Responses::to(task);
        for (_, body) in bodies {
            responses.add(body.len());
        }
        responses.finish()
    })
}

fn async_client(task: &Task) -> reqwest::Client {
    let trusted = reqwest::Certificate::from_pem(&task.pem()).expect("a certificate");
    let mut builder = reqwest::Client::builder().add_root_certificate(trusted);
    if task.http2 {
        builder = builder.http2_prior_knowledge();
    }
    builder.build().expect("a client")
}

async fn get(client: &reqwest::Client, url: String) -> (bytes::Bytes, String) {
    let response = client.get(&url).send().await.expect("a response");
    (response.bytes().await.expect("a body"), url)
}

/// Futures that a single thread polls.
fn async_current(task: &Task) -> Instant {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let client = async_client(task);
    runtime.block_on(async {
        let mut responses = Responses::to(task);
        let mut bodies = futures_util::stream::iter(task.urls())
            .map(|url| get(&client, url))
            .buffer_unordered(task.in_flight);
        while let Some((body, _)) = bodies.next().await {
            responses.add(body.len());
        }
        responses.finish()
    })
}

/// A spawned task for each request. Tasks that send one request after the other open more connections than that.
fn async_multi(task: &Task) -> Instant {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .enable_all()
        .build()
        .expect("a runtime");
    let client = async_client(task);
    let task = task.clone();
    // Spawned as well, so that a worker thread runs it.
    let all = runtime.spawn(async move {
        let mut responses = Responses::to(&task);
        let start = |bodies: &mut JoinSet<_>, url| {
            let client = client.clone();
            bodies.spawn(async move { get(&client, url).await });
        };
        let mut urls = task.urls();
        let mut bodies = JoinSet::new();
        for url in urls.by_ref().take(task.in_flight) {
            start(&mut bodies, url);
        }
        while let Some(body) = bodies.join_next().await {
            let (body, _) = body.expect("a task that does not panic");
            responses.add(body.len());
            if let Some(url) = urls.next() {
                start(&mut bodies, url);
            }
        }
        responses.finish()
    });
    runtime.block_on(all).expect("a task that does not panic")
}

/// The bare minimum on blocking sockets.
fn raw_sockets(task: &Task) -> Instant {
    let next = AtomicUsize::new(0);
    let authority = task.authority();
    let (body_sender, bodies) = unbounded();
    thread::scope(|scope| {
        for _ in 0..task.in_flight {
            let (next, body_sender) = (&next, body_sender.clone());
            scope.spawn(move || {
                let mut stream = TcpStream::connect(authority).expect("a connection");
                stream.set_nodelay(true).expect("a setting");
                let mut received = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= task.requests {
                        break;
                    }
                    let request = format!("GET /{number} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
                    stream.write_all(request.as_bytes()).expect("it is taken");
                    let body = read_body(&mut stream, &mut received, task.body_length);
                    body_sender
                        .send((number, body))
                        .expect("the receiver is alive");
                }
            });
        }
        drop(body_sender);
        let mut responses = Responses::to(task);
        for (_, body) in bodies {
            responses.add(body.len());
        }
        responses.finish()
    })
}

fn read_body(stream: &mut TcpStream, received: &mut Vec<u8>, length: usize) -> Vec<u8> {
    received.resize(64 << 10, 0);
    let mut filled = 0;
    let body_start = loop {
        let read = stream.read(&mut received[filled..]).expect("a response");
        assert!(read > 0, "the server closed the connection");
        filled += read;
        let head = received[..filled]
            .windows(4)
            .position(|end| end == b"\r\n\r\n");
        if let Some(end) = head {
            break end + 4;
        }
    };
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(&received[body_start..filled]);
    let left = (length - body.len()) as u64;
    stream.take(left).read_to_end(&mut body).expect("a body");
    body
}
