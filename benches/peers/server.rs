//! The server, in a process of its own. It does as little as possible, so that the differences between contenders show.
//!
//! Each kind of response has a port of its own. A loop on non-blocking sockets (`responder`) serves plain HTTP/1.1; a
//! Tokio runtime serves TLS, with hyper for HTTP/2. Both are single-threaded: contenders share the CPUs with the server.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::responder;
use super::workloads::{Kind, Task, Workload};

const KINDS: [Kind; 6] = [
    Kind::Small,
    Kind::Large,
    Kind::Slow,
    Kind::Slower,
    Kind::Secure,
    Kind::Http2,
];
/// Connections that the operating system keeps until the server accepts them.
const BACKLOG: i32 = 4096;

/// Ends with the process that started it.
pub(crate) struct ServerProcess {
    process: Child,
    ports: Vec<u16>,
    folder: tempfile::TempDir,
}

impl ServerProcess {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let names = vec!["127.0.0.1".to_owned()];
        let signed = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let certificate = certificate(folder.path());
        let key = folder.path().join("key.pem");
        std::fs::write(&certificate, signed.cert.pem()).expect("room for a file");
        std::fs::write(&key, signed.signing_key.serialize_pem()).expect("room for a file");
        let mut process = Command::new(std::env::current_exe().expect("this program"))
            .arg("serve")
            .args([&certificate, &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let stdout = process.stdout.take().expect("it is piped");
        let lines = BufReader::new(stdout).lines().take(KINDS.len());
        let ports = lines.map(|line| line.expect("a line").parse().expect("a port"));
        Self {
            ports: ports.collect(),
            process,
            folder,
        }
    }

    pub(crate) fn task(&self, workload: &Workload, is_test: bool) -> Task {
        let position = KINDS.iter().position(|kind| *kind == workload.kind);
        let port = self.ports[position.expect("every kind is served")];
        workload.task(port, certificate(self.folder.path()), is_test)
    }
}

fn certificate(folder: &Path) -> PathBuf {
    folder.join("certificate.pem")
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The server's process: prints its ports, and serves until its standard input is closed.
pub(crate) fn serve(certificate: &str, key: &str) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().lines().count();
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for kind in KINDS {
            let listener = listen();
            println!("{}", listener.local_addr().expect("it is bound").port());
            if kind.has_tls() {
                tokio::spawn(accept(listener, kind, tls(kind, certificate, key)));
            } else {
                let response = response(kind);
                std::thread::spawn(move || responder::serve(listener, &response, kind.delay()));
            }
        }
        std::io::stdout()
            .flush()
            .expect("the parent reads its output");
        std::future::pending::<()>().await;
    });
}

/// A non-blocking listener with a free port and room for many connections at once.
fn listen() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any_port.into()).expect("a port");
    socket.listen(BACKLOG).expect("it is bound");
    socket.set_nonblocking(true).expect("a setting");
    socket.into()
}

/// The response of HTTP/1.1: head and body.
fn response(kind: Kind) -> Vec<u8> {
    let length = kind.body_length();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

fn tls(kind: Kind, certificate: &str, key: &str) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("they fit together");
    if kind == Kind::Http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    TlsAcceptor::from(Arc::new(config))
}

async fn accept(listener: TcpListener, kind: Kind, tls: TlsAcceptor) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("it is non-blocking");
    let response: Arc<[u8]> = response(kind).into();
    let body = Bytes::from(vec![b'x'; kind.body_length()]);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (response, body, tls) = (Arc::clone(&response), body.clone(), tls.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else {
                return;
            };
            if kind == Kind::Http2 {
                respond_http2(stream, body).await;
            } else {
                respond(stream, &response).await;
            }
        });
    }
}

async fn respond(mut stream: impl AsyncRead + AsyncWrite + Unpin, response: &[u8]) {
    let mut received = Vec::with_capacity(4096);
    loop {
        match stream.read_buf(&mut received).await {
            Ok(1..) => {}
            _ => return,
        }
        // No contender pipelines its requests.
        if !received.ends_with(b"\r\n\r\n") {
            continue;
        }
        received.clear();
        let written = stream.write_all(response).await;
        if written.and(stream.flush().await).is_err() {
            return;
        }
    }
}

async fn respond_http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, body: Bytes) {
    let respond = service_fn(move |_| {
        let response = http::Response::new(Full::new(body.clone()));
        async { Ok::<_, Infallible>(response) }
    });
    // A client that is done just closes the connection.
    let _ = http2::Builder::new(TokioExecutor::new())
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
}
