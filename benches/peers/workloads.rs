//! The workloads: kind of response, number of requests, concurrency.

use std::path::PathBuf;

/// `requests` requests of one kind, `workers` at a time.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) workers: usize,
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

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// 1 KiB, at once.
    Small,
    /// 1 MiB, at once.
    Large,
    /// 1 KiB, after 50 ms.
    Slow,
    /// 1 KiB, at once, over TLS.
    Secure,
}

pub(crate) const WORKLOADS: &[Workload] = &[
    workload("1 KiB, 2 workers", Kind::Small, 2, 20_000),
    workload("1 KiB, 8 workers", Kind::Small, 8, 30_000),
    workload("1 KiB, 32 workers", Kind::Small, 32, 40_000),
    workload("1 KiB, 128 workers", Kind::Small, 128, 40_000),
    workload("1 KiB over HTTPS, 32 workers", Kind::Secure, 32, 30_000),
    workload("1 MiB, 8 workers", Kind::Large, 8, 1_500),
    workload("1 KiB after 50 ms, 500 workers", Kind::Slow, 500, 40_000),
    Workload {
        metric: Metric::FirstResponse,
        ..workload("first response, 256 workers", Kind::Small, 256, 256)
    },
];

const fn workload(name: &'static str, kind: Kind, workers: usize, requests: usize) -> Workload {
    Workload {
        name,
        kind,
        workers,
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
}

/// A workload against a server, for one contender.
pub(crate) struct Task {
    pub(crate) base: String,
    pub(crate) workers: usize,
    pub(crate) requests: usize,
    pub(crate) body_length: usize,
    /// The certificate (PEM) to trust, for HTTPS.
    pub(crate) certificate: PathBuf,
}

impl Task {
    pub(crate) fn url(&self, number: usize) -> String {
        format!("{}/{number}", self.base)
    }

    pub(crate) fn urls(&self) -> impl Iterator<Item = String> + '_ {
        (0..self.requests).map(|number| self.url(number))
    }

    pub(crate) fn pem(&self) -> Vec<u8> {
        std::fs::read(&self.certificate).expect("the server's certificate")
    }

    pub(crate) fn to_arguments(&self) -> [String; 5] {
        [
            self.base.clone(),
            self.workers.to_string(),
            self.requests.to_string(),
            self.body_length.to_string(),
            self.certificate.display().to_string(),
        ]
    }

    pub(crate) fn from_arguments(arguments: &[&str]) -> Option<Self> {
        let [base, workers, requests, body_length, certificate] = arguments else {
            return None;
        };
        Some(Self {
            base: (*base).to_owned(),
            workers: workers.parse().ok()?,
            requests: requests.parse().ok()?,
            body_length: body_length.parse().ok()?,
            certificate: PathBuf::from(certificate),
        })
    }
}
