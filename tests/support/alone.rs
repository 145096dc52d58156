//! Tests that need a process of their own: to count its threads, to set its environment, to run inside limits.

use std::path::Path;
use std::process::Command;

const MARK: &str = "THREADED_TEST_ALONE";
const SMALL_DISK: &str = "THREADED_TEST_SMALL_DISK";

/// Runs the body in a child process in which no other test runs. `path` is that of the calling test, crate name included.
pub(crate) fn alone(path: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.envs(environment.iter().copied());
    run_alone(command, path);
}

/// The same, with a folder on a disk of 64 KiB. Where no such disk can be made, the test is skipped and says so.
pub(crate) fn alone_on_a_small_disk(path: &str, body: impl FnOnce(&Path)) {
    if std::env::var_os(MARK).is_some() {
        return body(Path::new(&std::env::var_os(SMALL_DISK).unwrap()));
    }
    let folder = tempfile::tempdir().unwrap();
    // A mount namespace of the child's own, so nothing is left of the disk when it ends.
    let in_namespace = |command: &str| {
        let mount = format!("mount -t tmpfs -o size=64k none \"${SMALL_DISK}\" && {command}");
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
        unshare.env(SMALL_DISK, folder.path());
        unshare
    };
    let possible = in_namespace("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped {path}: no small disk can be mounted here");
        return;
    }
    let mut command = in_namespace("exec \"$@\"");
    command.arg(std::env::current_exe().unwrap());
    run_alone(command, path);
}

/// The same, where the process may have so many file descriptors at most. Where no such limit can be set, the test is
/// skipped and says so.
pub(crate) fn alone_with_few_files(path: &str, most: usize, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let limited = |command: &str| {
        let limit = format!("ulimit -n {most} && {command}");
        let mut sh = Command::new("sh");
        sh.args(["-c", &limit, "sh"]);
        sh
    };
    let possible = limited("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped {path}: no limit of file descriptors can be set here");
        return;
    }
    let mut command = limited("exec \"$@\"");
    command.arg(std::env::current_exe().unwrap());
    run_alone(command, path);
}

fn run_alone(mut command: Command, path: &str) {
    let (_, name) = path.split_once("::").unwrap();
    let output = command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
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
