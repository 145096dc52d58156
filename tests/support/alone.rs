//! Tests that need a process of their own: to count its threads, to set its environment, to run inside limits.

use std::path::Path;
use std::process::Command;

const MARK: &str = "THREADED_TEST_ALONE";
const FOLDER: &str = "THREADED_TEST_FOLDER";
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
    let mount = format!("mount -t tmpfs -o size=64k none \"${SMALL_DISK}\"");
    let environment = [(SMALL_DISK, folder.path())];
    if !run_in_namespaces(path, &["--mount"], &mount, &environment) {
        eprintln!("skipped {path}: no small disk can be mounted here");
    }
}

/// The same, with a network of its own: a loopback interface, and what these commands make of it. Files can be mounted
/// over others too: in `$THREADED_TEST_FOLDER`, there is room for them. Where no such network can be made, the test is skipped and says so.
pub(crate) fn alone_in_a_network(path: &str, commands: &[&str], body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let commands = [&["ip link set lo up"], commands].concat().join(" && ");
    let folder = tempfile::tempdir().unwrap();
    let environment = [(FOLDER, folder.path())];
    if !run_in_namespaces(path, &["--net", "--mount"], &commands, &environment) {
        eprintln!("skipped {path}: no such network can be made here");
    }
}

/// Runs the test in a child with namespaces of its own, so that nothing is left of these preparations when it ends.
/// `false` if they cannot be made.
fn run_in_namespaces(
    path: &str,
    namespaces: &[&str],
    preparations: &str,
    environment: &[(&str, &Path)],
) -> bool {
    let prepared = |command: &str| {
        let script = format!("{preparations} && {command}");
        let mut unshare = Command::new("unshare");
        unshare.arg("--map-root-user").args(namespaces);
        unshare.args(["sh", "-c", &script, "sh"]);
        unshare.envs(environment.iter().copied());
        unshare
    };
    run_prepared(path, prepared)
}

/// Runs the test in a child that a shell starts after preparations. `false` if they cannot be made.
fn run_prepared(path: &str, prepared: impl Fn(&str) -> Command) -> bool {
    let possible = prepared("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let mut command = prepared("exec \"$@\"");
    command.arg(std::env::current_exe().unwrap());
    run_alone(command, path);
    true
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
    if !run_prepared(path, limited) {
        eprintln!("skipped {path}: no limit of file descriptors can be set here");
    }
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
