//! The workloads: kind of response, number of requests, requests in flight.

use std::path::PathBuf;
use std::time::Duration;

/// `requests` requests of one kind, `in_flight` at a time.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) in_flight: usize,
    pub(crate) requests: usize,
    pub(crate) metric: Metric,
}

/// The measured quantity that is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Metric {
    Speed,
    /// The time until the first response is complete.
    FirstResponse,
}

/// What the server responds with, and over which protocol: HTTP/1.1 without TLS unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// 1 KiB, at once.
    Small,
    /// 1 MiB, at once.
    Large,
    /// 1 KiB, after 50 ms.
    Slow,
    /// 1 KiB, after 1 s.
    Slower,
    /// 1 KiB, at once, over TLS.
    Secure,
    /// 1 KiB, at once, as HTTP/2 over TLS.
    Http2,
}

pub(crate) const WORKLOADS: &[Workload] = &[
    workload("1 KiB, 2 in flight", Kind::Small, 2, 20_000),
    workload("1 KiB, 8 in flight", Kind::Small, 8, 30_000),
    workload("1 KiB, 32 in flight", Kind::Small, 32, 40_000),
    workload("1 KiB, 128 in flight", Kind::Small, 128, 40_000),
    workload("1 KiB over HTTPS, 32 in flight", Kind::Secure, 32, 30_000),
    workload("1 KiB over HTTP/2, 100 streams", Kind::Http2, 100, 30_000),
    workload("1 MiB, 8 in flight", Kind::Large, 8, 1_500),
    workload("1 KiB after 50 ms, 500 in flight", Kind::Slow, 500, 40_000),
    workload(
        "1 KiB after 1 s, 10,000 in flight",
        Kind::Slower,
        10_000,
        30_000,
    ),
    Workload {
        metric: Metric::FirstResponse,
        ..workload("first response, 256 in flight", Kind::Small, 256, 256)
    },
];

const fn workload(name: &'static str, kind: Kind, in_flight: usize, requests: usize) -> Workload {
    Workload {
        name,
        kind,
        in_flight,
        requests,
        metric: Metric::Speed,
    }
}

impl Kind {
    pub(crate) fn body_length(self) -> usize {
        match self {
            Self::Large => 1 << 20,
            _ => 1 << 10,
        }
    }

    pub(crate) fn delay(self) -> Duration {
        match self {
            Self::Slow => Duration::from_millis(50),
            Self::Slower => Duration::from_secs(1),
            _ => Duration::ZERO,
        }
    }

    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Secure | Self::Http2)
    }
}

impl Workload {
    /// Requests in flight and requests altogether: fewer of both for a test.
    fn extent(&self, is_test: bool) -> (usize, usize) {
        match (is_test, self.kind) {
            (false, _) => (self.in_flight, self.requests),
            (true, Kind::Slower) => (500, 500),
            (true, _) => (2, 20),
        }
    }

    pub(crate) fn task(&self, port: u16, certificate: PathBuf, is_test: bool) -> Task {
        let scheme = if self.kind.has_tls() { "https" } else { "http" };
        let (in_flight, requests) = self.extent(is_test);
        Task {
            base: format!("{scheme}://127.0.0.1:{port}"),
            in_flight,
            requests,
            body_length: self.kind.body_length(),
            http2: self.kind == Kind::Http2,
            certificate,
        }
    }
}

/// A workload against a server, for one contender.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) base: String,
    pub(crate) in_flight: usize,
    pub(crate) requests: usize,
    pub(crate) body_length: usize,
    /// Whether to use HTTP/2, with all requests on one connection.
    pub(crate) http2: bool,
    /// The certificate (PEM) to trust, for HTTPS.
    pub(crate) certificate: PathBuf,
}

impl Task {
    /// The server's address and port.
    pub(crate) fn authority(&self) -> &str {
        let (_, authority) = self.base.split_once("://").expect("a scheme");
        authority
    }

    pub(crate) fn url(&self, number: usize) -> String {
        format!("{}/{number}", self.base)
    }

    pub(crate) fn urls(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.requests).map(|number| self.url(number))
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        std::fs::read(&self.certificate).expect("the server's certificate")
    }

    pub(crate) fn to_arguments(&self) -> [String; 6] {
        [
            self.base.clone(),
            self.in_flight.to_string(),
            self.requests.to_string(),
            self.body_length.to_string(),
            self.http2.to_string(),
            self.certificate.display().to_string(),
        ]
    }

    pub(crate) fn from_arguments(arguments: &[&str]) -> Option<Self> {
        let [base, in_flight, requests, body_length, http2, certificate] = arguments else {
            return None;
        };
        Some(Self {
            base: (*base).to_owned(),
            in_flight: in_flight.parse().ok()?,
            requests: requests.parse().ok()?,
            body_length: body_length.parse().ok()?,
            http2: http2.parse().ok()?,
            certificate: PathBuf::from(certificate),
        })
    }
}
