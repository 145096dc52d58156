//! The server, in a process of its own. It does as little as possible, so that the differences between contenders show.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::workloads::{Kind, Task, Workload};

const KINDS: [Kind; 4] = [Kind::Small, Kind::Large, Kind::Slow, Kind::Secure];

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
        let scheme = match workload.kind {
            Kind::Secure => "https",
            _ => "http",
        };
        Task {
            base: format!("{scheme}://127.0.0.1:{port}"),
            workers: if is_test { 2 } else { workload.workers },
            requests: if is_test { 20 } else { workload.requests },
            body_length: workload.kind.body_length(),
            certificate: certificate(self.folder.path()),
        }
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
    let chain = vec![CertificateDer::from_pem_file(certificate).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .expect("they fit together");
    let tls = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        for kind in KINDS {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            println!("{}", listener.local_addr().expect("it is bound").port());
            tokio::spawn(accept(listener, kind, tls.clone()));
        }
        std::io::stdout()
            .flush()
            .expect("the parent reads its output");
        std::future::pending::<()>().await;
    });
}

async fn accept(listener: TcpListener, kind: Kind, tls: TlsAcceptor) {
    let length = kind.body_length();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
    let response: Arc<[u8]> = [head.as_bytes(), &vec![b'x'; length]].concat().into();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (response, tls) = (Arc::clone(&response), tls.clone());
        tokio::spawn(async move {
            if kind == Kind::Secure {
                if let Ok(stream) = tls.accept(stream).await {
                    respond_all(stream, kind, &response).await;
                }
            } else {
                respond_all(stream, kind, &response).await;
            }
        });
    }
}

async fn respond_all(mut stream: impl AsyncRead + AsyncWrite + Unpin, kind: Kind, response: &[u8]) {
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
        if kind == Kind::Slow {
            // Timers fire up to 1 ms late, half of that on average.
            tokio::time::sleep(Duration::from_micros(49_500)).await;
        }
        let written = stream.write_all(response).await;
        if written.and(stream.flush().await).is_err() {
            return;
        }
    }
}
