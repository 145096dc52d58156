//! Threads, file descriptors and memory of this process, as the operating system reports them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test or benchmark that it cannot serve fails"
)]

use std::time::{Duration, Instant};

/// Threads of this process.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Those of the open file descriptors of this process that are sockets.
pub(crate) fn sockets() -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let is_socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    targets.filter(is_socket).count()
}

/// Open file descriptors of this process.
pub(crate) fn file_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Resident memory of this process, in KiB.
pub(crate) fn resident_kib() -> usize {
    status("VmRSS")
}

/// Peak resident memory of this process, in KiB.
pub(crate) fn peak_kib() -> usize {
    status("VmHWM")
}

fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).unwrap();
    let number = value.trim().strip_suffix(" kB").unwrap();
    number.parse().unwrap()
}

/// Waits up to 30 s for a condition that another thread brings about.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
