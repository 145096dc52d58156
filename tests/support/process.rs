//! What this process holds, as the operating system tells it.

use std::time::{Duration, Instant};

/// Threads of this process.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Open file descriptors of this process.
pub(crate) fn file_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What of this process is in memory, in KiB.
pub(crate) fn resident_kib() -> usize {
    status("VmRSS")
}

/// The most of this process that ever was in memory, in KiB.
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

/// Waits for something that another thread is about to bring about.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
