//! Faults of TLS handshakes, and the ways in which a TLS connection ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::date_time_ymd;
use rustls::{ServerConnection, StreamOwned};
use threaded::{Outcome, RequestSpec, Retry, ThreadException};

use super::faults::{assert_kind, exception, outcome_before_another};
use super::{TRANSPORT, trusting_pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request, reset};
use crate::support::server::Server;
use crate::support::tls::{TestCertificate, certificate_for, certificate_with};

type Secured = StreamOwned<ServerConnection, TcpStream>;

fn https(address: SocketAddr) -> String {
    format!("https://localhost:{}/", address.port())
}

/// The exception of a pool that trusts this certificate and retries, which must not retry this fault.
fn exception_after_one_attempt(certificate: &TestCertificate, url: String) -> ThreadException {
    let retry = Retry::new(3).backoff(Duration::ZERO, Duration::ZERO);
    let builder = trusting_pool(&certificate.pem).retry(retry);
    let exception = outcome_before_another(builder, url).unwrap_err();
    assert_eq!(exception.attempts(), 1, "{exception:?}");
    assert!(
        exception.is_connect() && !exception.is_retryable(),
        "{exception:?}"
    );
    exception
}

#[test]
fn a_certificate_that_is_out_of_date_or_for_another_host() {
    let certificates = [
        certificate_with(&["localhost"], |params| {
            params.not_after = date_time_ymd(2020, 1, 1);
        }),
        certificate_with(&["localhost"], |params| {
            params.not_before = date_time_ymd(3000, 1, 1);
        }),
        certificate_for(&["other.test"]),
    ];
    for certificate in certificates {
        let server = Server::responding_over_tls(Arc::clone(&certificate.config), "never");
        let exception = exception_after_one_attempt(&certificate, server.url("/"));
        assert_kind!(exception, Tls, sent: false);
        assert_eq!((server.connections(), server.requests()), (1, 0));
    }
}

#[test]
fn a_server_that_wants_a_certificate_of_the_client() {
    let certificate = certificate_for(&["localhost"]);
    // With version 1.3, clients learn of it only when they have sent their request.
    for (version, sent) in [
        (&rustls::version::TLS12, false),
        (&rustls::version::TLS13, true),
    ] {
        for protocol in ["http/1.1", "h2"] {
            let mut config = (*certificate.requiring_client_certificate(version)).clone();
            config.alpn_protocols = vec![protocol.into(), b"http/1.1".to_vec()];
            let config = Arc::new(config);
            let server = RawServer::start(move |mut stream, _| {
                let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                let refused = connection.complete_io(&mut stream).unwrap_err();
                assert!(refused.to_string().contains("certificate"), "{refused}");
                while connection.wants_write() {
                    connection.write_tls(&mut stream).unwrap();
                }
                // What the client has sent is read, so that no reset overtakes the refusal.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            let exception = exception_after_one_attempt(&certificate, https(server.address()));
            assert_kind!(exception, Tls, sent: sent);
            assert_eq!(server.connections(), 1);
        }
    }
}

#[test]
fn a_handshake_that_the_server_refuses() {
    let (handshake_failure, protocol_version, unknown_name) = (40, 70, 112);
    for reason in [handshake_failure, protocol_version, unknown_name] {
        let server = RawServer::start(move |mut stream, _| {
            let _ = stream.read(&mut [0; 4096]);
            let fatal = 2;
            let _ = stream.write_all(&[21, 3, 1, 0, 2, fatal, reason]);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let exception = exception(https(server.address()));
        assert!(exception.is_connect() && !exception.is_retryable());
        assert_kind!(exception, Tls, sent: false);
    }
}

/// A server that speaks TLS 1.1 and nothing newer.
struct OldServer {
    process: Child,
    /// Held open, since it would end if its output could not be written.
    _output: BufReader<ChildStdout>,
    address: SocketAddr,
}

const OLD: [&str; 3] = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];

impl OldServer {
    /// `None` where there is no library that old, or none that still speaks it.
    fn start(certificate: &TestCertificate) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("certificate and key");
        std::fs::write(&path, certificate.key_pem.clone() + &certificate.pem).unwrap();
        let mut process = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(&path)
            .args(OLD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let address = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("ACCEPT ")?.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = process.wait();
            return None;
        };
        let server = Self {
            process,
            _output: output,
            address,
        };
        let client = Command::new("openssl")
            .args(["s_client", "-connect", &server.address.to_string()])
            .args(OLD)
            .stdin(Stdio::null())
            .output();
        client.ok()?.status.success().then_some(server)
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_that_speaks_only_an_old_version() {
    let certificate = certificate_for(&["localhost"]);
    let Some(server) = OldServer::start(&certificate) else {
        eprintln!(
            "skipped {}: no server here speaks TLS 1.1",
            concat!(module_path!(), "::a_server_that_speaks_only_an_old_version")
        );
        return;
    };
    let exception = exception_after_one_attempt(&certificate, https(server.address));
    assert_kind!(exception, Tls, sent: false);
}

/// How the server ends a connection after its response, or the part of one.
#[derive(Clone, Copy, Debug)]
enum End {
    /// With a `close_notify` alert, as TLS requires.
    Announced,
    /// By closing the TCP connection, as any machine in between could.
    Cut,
    Reset,
}

/// The outcome of a request whose response is these bytes, after which the connection ends like that.
fn outcome_of(response: &'static str, end: End) -> Outcome {
    let certificate = certificate_for(&["localhost"]);
    let builder = trusting_pool(&certificate.pem);
    let server = RawServer::start(move |stream, _| {
        let mut secured: Secured = certificate.serve(stream);
        read_request(&mut secured);
        secured.write_all(response.as_bytes()).unwrap();
        if let End::Announced = end {
            secured.conn.send_close_notify();
        }
        secured.flush().unwrap();
        match end {
            End::Reset => reset(secured.sock),
            End::Announced | End::Cut => drop(secured),
        }
    });
    outcome_before_another(builder, RequestSpec::get(https(server.address())))
}

#[test]
fn a_connection_that_ends_unannounced_cuts_a_body_that_nothing_else_ends() {
    let until_close = "HTTP/1.1 200 OK\r\n\r\nall there is";
    let exception = outcome_of(until_close, End::Cut).unwrap_err();
    assert!(exception.is_retryable());
    assert_kind!(exception, BodyTruncated, sent: true);
    let response = outcome_of(until_close, End::Announced).unwrap();
    assert_eq!(response.text(), "all there is");
    assert_kind!(
        outcome_of(until_close, End::Reset).unwrap_err(),
        Closed,
        sent: true
    );
}

#[test]
fn a_connection_that_ends_inside_an_announced_body_cuts_it() {
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
    ];
    for response in responses {
        for end in [End::Announced, End::Cut] {
            let exception = outcome_of(response, end).unwrap_err();
            assert_kind!(exception, BodyTruncated, sent: true);
        }
        let exception = outcome_of(response, End::Reset).unwrap_err();
        assert_kind!(exception, Closed, sent: true);
    }
}

#[test]
fn a_body_that_is_whole_is_not_cut_by_what_comes_after_it() {
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12345",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n",
    ];
    for response in responses {
        for end in [End::Announced, End::Cut] {
            assert_eq!(outcome_of(response, end).unwrap().text(), "12345");
        }
    }
}

#[test]
fn a_secure_connection_that_ends_inside_the_head() {
    for response in ["", "HTTP/1.1 200 OK\r\nContent-Le"] {
        for end in [End::Announced, End::Cut, End::Reset] {
            let exception = outcome_of(response, end).unwrap_err();
            assert!(exception.is_retryable(), "{end:?}");
            assert_kind!(exception, Closed, sent: true);
        }
    }
}

/// RFC 8446, section 6.1: nothing can come after `close_notify`, whatever becomes of the TCP connection.
#[test]
fn a_connection_whose_tls_has_ended_is_not_used_again() {
    let certificate = certificate_for(&["localhost"]);
    let builder = trusting_pool(&certificate.pem);
    let server = RawServer::start(move |stream, _| {
        let mut secured: Secured = certificate.serve(stream);
        read_request(&mut secured);
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        secured.conn.writer().write_all(response).unwrap();
        // In one segment.
        secured.conn.send_close_notify();
        secured.flush().unwrap();
        let _ = std::io::copy(&mut secured.sock, &mut std::io::sink());
    });
    let urls = [(); 4].map(|()| https(server.address()));
    let outcomes = outcomes_of(builder, urls);
    if TRANSPORT == "ureq" {
        assert!(outcomes.iter().any(Result::is_err), "{outcomes:?}");
        return;
    }
    for outcome in outcomes {
        assert_eq!(outcome.unwrap().text(), "ok");
    }
    assert_eq!(server.connections(), 4);
}
