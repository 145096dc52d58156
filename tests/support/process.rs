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

/// The most memory that this process has held at once, in bytes.
pub(crate) fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    most.unwrap().trim().parse::<usize>().unwrap() * 1024
}

/// Waits for something that another thread is about to bring about.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < patience, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
