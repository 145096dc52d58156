//! The contenders: ways to fetch many URLs.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use futures_util::StreamExt;
use rayon::prelude::*;
use threaded::crossbeam_channel::unbounded;
use threaded::reqwest;
use threaded::ureq::tls::{Certificate, RootCerts, TlsConfig};
use threaded::{Pool, PoolBuilder, Session, TransportBuilder, ureq};

use super::workloads::{Kind, Task, Workload};

pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// Runs a task. Returns when the first response was complete.
    pub(crate) run: fn(&Task) -> Instant,
}

impl Contender {
    pub(crate) fn takes(&self, workload: &Workload) -> bool {
        self.name != RAW || workload.kind != Kind::Secure
    }
}

pub(crate) const POOL_ON_REQWEST: &str = "pool on reqwest";
pub(crate) const POOL_ON_SHARED: &str = "pool on reqwest, one session";
pub(crate) const POOL_ON_UREQ: &str = "pool on ureq";
pub(crate) const THREADS_ON_REQWEST: &str = "threads on reqwest";
pub(crate) const THREADS_ON_UREQ: &str = "threads on ureq";
pub(crate) const RAYON: &str = "rayon on one reqwest client";
pub(crate) const ASYNC_MULTI: &str = "async reqwest, multi-thread";
pub(crate) const ASYNC_CURRENT: &str = "async reqwest, current-thread";
pub(crate) const RAW: &str = "raw sockets";

pub(crate) const CONTENDERS: &[Contender] = &[
    contender(POOL_ON_REQWEST, |task| {
        let pem = task.pem();
        pool(task, Pool::builder().session(move || reqwest_session(&pem)))
    }),
    contender(POOL_ON_SHARED, |task| {
        let pem = task.pem();
        let builder = Pool::builder().session(move || reqwest_session(&pem));
        pool(task, builder.share_session(true))
    }),
    contender(POOL_ON_UREQ, |task| {
        let tls = ureq_tls(task);
        let session = move || Session::ureq().client(|config| config.tls_config(tls.clone()));
        pool(task, Pool::builder().session(session))
    }),
    contender(THREADS_ON_REQWEST, threads_on_reqwest),
    contender(THREADS_ON_UREQ, threads_on_ureq),
    contender(RAYON, rayon_on_reqwest),
    contender(ASYNC_MULTI, |task| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        async_reqwest(task, &mut runtime)
    }),
    contender(ASYNC_CURRENT, |task| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        async_reqwest(task, &mut runtime)
    }),
    contender(RAW, raw_sockets),
];

const fn contender(name: &'static str, run: fn(&Task) -> Instant) -> Contender {
    Contender { name, run }
}

/// Counts responses, and remembers when the first one arrived.
struct Responses<'a> {
    task: &'a Task,
    count: usize,
    first: Instant,
}

impl<'a> Responses<'a> {
    fn to(task: &'a Task) -> Self {
        Self {
            task,
            count: 0,
            first: Instant::now(),
        }
    }

    fn add(&mut self, length: usize) {
        assert_eq!(length, self.task.body_length);
        if self.count == 0 {
            self.first = Instant::now();
        }
        self.count += 1;
    }

    fn finish(self) -> Instant {
        assert_eq!(self.count, self.task.requests);
        self.first
    }
}

fn pool<B: TransportBuilder + 'static>(task: &Task, builder: PoolBuilder<B>) -> Instant {
    let mut responses = Responses::to(task);
    let outcomes = builder
        .num_threads(task.workers)
        .imap_unordered(task.urls())
        .expect("a session can be made");
    for outcome in outcomes {
        responses.add(outcome.expect("a response").bytes().len());
    }
    responses.finish()
}

fn reqwest_session(pem: &[u8]) -> Session {
    let trusted = reqwest::Certificate::from_pem(pem).expect("a certificate");
    Session::default().client(|client| client.add_root_certificate(trusted))
}

fn reqwest_client(task: &Task) -> reqwest::blocking::Client {
    let trusted = reqwest::Certificate::from_pem(&task.pem()).expect("a certificate");
    let builder = reqwest::blocking::Client::builder().add_root_certificate(trusted);
    builder.build().expect("a client")
}

fn ureq_tls(task: &Task) -> TlsConfig {
    let trusted = Certificate::from_pem(&task.pem()).expect("a certificate");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(std::sync::Arc::new(provider))
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
    for _ in 0..task.workers {
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
    let threads = rayon::ThreadPoolBuilder::new().num_threads(task.workers);
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

fn async_reqwest(task: &Task, runtime: &mut tokio::runtime::Builder) -> Instant {
    let runtime = runtime.enable_all().build().expect("a runtime");
    let trusted = reqwest::Certificate::from_pem(&task.pem()).expect("a certificate");
    let client = reqwest::Client::builder().add_root_certificate(trusted);
    let client = client.build().expect("a client");
    runtime.block_on(async {
        let mut responses = Responses::to(task);
        let get = |url: String| async {
            let response = client.get(&url).send().await.expect("a response");
            (response.bytes().await.expect("a body"), url)
        };
        let mut bodies = futures_util::stream::iter(task.urls())
            .map(get)
            .buffer_unordered(task.workers);
        while let Some((body, _)) = bodies.next().await {
            responses.add(body.len());
        }
        responses.finish()
    })
}

/// The bare minimum on blocking sockets: the upper bound.
fn raw_sockets(task: &Task) -> Instant {
    let next = AtomicUsize::new(0);
    let authority = task.base.trim_start_matches("http://");
    let (body_sender, bodies) = unbounded();
    thread::scope(|scope| {
        for _ in 0..task.workers {
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
