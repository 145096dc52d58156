//! Tests that need a process of their own: to count its threads, to set its environment, to run inside limits.

use std::process::Command;

const MARK: &str = "THREADED_TEST_ALONE";

/// Runs the body in a child process in which no other test runs. `path` is that of the calling test, crate name included.
pub(crate) fn alone(path: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let (_, name) = path.split_once("::").unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "the test failed in its own process:\n{printed}"
    );
    assert!(
        printed.contains("1 passed"),
        "no test is called {name}:\n{printed}"
    );
}
