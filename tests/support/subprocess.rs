//! Runs tests in a subprocess: to count its threads, to set its environment, or under limits and in namespaces.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const IN_SUBPROCESS: &str = "THREADED_TEST_SUBPROCESS";
const FOLDER: &str = "THREADED_TEST_FOLDER";
const SMALL_DISK: &str = "THREADED_TEST_SMALL_DISK";

/// Runs the body in a subprocess in which no other test runs. `path` is that of the calling test, crate name included. A
/// variable of the environment whose value is empty is not set.
pub(crate) fn in_subprocess(path: &str, environment: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(IN_SUBPROCESS).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, value) in environment {
        match *value {
            "" => command.env_remove(name),
            value => command.env(name, value),
        };
    }
    run_in_subprocess(command, path);
}

/// The same, with a folder on a disk of 64 KiB. Where no such disk can be mounted, the test is skipped and prints that.
pub(crate) fn in_subprocess_with_small_disk(path: &str, body: impl FnOnce(&Path)) {
    if std::env::var_os(IN_SUBPROCESS).is_some() {
        return body(Path::new(&std::env::var_os(SMALL_DISK).unwrap()));
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=64k none \"${SMALL_DISK}\"");
    let environment = [(SMALL_DISK, folder.path())];
    if !run_in_namespaces(path, &["--mount"], &mount, &environment) {
        eprintln!("skipped {path}: no small disk can be mounted here");
    }
}

/// The same, in a network namespace: it has a loopback interface, which these commands configure. They can also mount
/// files of the folder `$THREADED_TEST_FOLDER` over others. Where no such namespace can be made, the test is skipped and
/// prints that.
pub(crate) fn in_subprocess_with_network(path: &str, commands: &[&str], body: impl FnOnce()) {
    if std::env::var_os(IN_SUBPROCESS).is_some() {
        return body();
    }
    let commands = [&["ip link set lo up"], commands].concat().join(" && ");
    let folder = tempfile::tempdir().unwrap();
    let environment = [(FOLDER, folder.path())];
    if !run_in_namespaces(path, &["--net", "--mount"], &commands, &environment) {
        eprintln!("skipped {path}: no network namespace can be made here");
    }
}

/// Runs the test in a subprocess with its own namespaces, so that these preparations are undone when it ends. `false` if
/// they fail.
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

/// Runs the test in a subprocess that a shell starts after preparations. `false` if they fail.
fn run_prepared(path: &str, prepared: impl Fn(&str) -> Command) -> bool {
    let possible = prepared("true").output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return false;
    }
    let mut command = prepared("exec \"$@\"");
    command.arg(std::env::current_exe().unwrap());
    run_in_subprocess(command, path);
    true
}

/// The same, with a limit on the number of file descriptors. Where it cannot be set, the test is skipped and prints that.
pub(crate) fn in_subprocess_with_file_limit(path: &str, limit: usize, body: impl FnOnce()) {
    in_subprocess_with_file_limit_and(path, limit, &[], body);
}

/// The same, with the addresses of servers, which run in the process of the test and have descriptors of their own.
pub(crate) fn in_subprocess_with_file_limit_beside<const N: usize>(
    path: &str,
    limit: usize,
    servers: [SocketAddr; N],
    body: impl FnOnce([SocketAddr; N]),
) {
    let names: [String; N] = std::array::from_fn(|number| format!("THREADED_TEST_SERVER_{number}"));
    let values = servers.map(|server| server.to_string());
    let named = names.iter().zip(&values);
    let environment: Vec<(&str, &str)> = named.map(|(name, value)| (&**name, &**value)).collect();
    in_subprocess_with_file_limit_and(path, limit, &environment, || {
        let address = |name: &String| std::env::var(name).unwrap().parse().unwrap();
        body(names.each_ref().map(address));
    });
}

fn in_subprocess_with_file_limit_and(
    path: &str,
    limit: usize,
    environment: &[(&str, &str)],
    body: impl FnOnce(),
) {
    in_subprocess_with_limit(path, &format!("-n {limit}"), environment, body);
}

/// The same, with a limit on the address space, in KiB. Where it cannot be set, the test is skipped and prints that.
pub(crate) fn in_subprocess_with_memory_limit(path: &str, kib: usize, body: impl FnOnce()) {
    // Each of the allocator's arenas would reserve a part of it.
    let environment = [("MALLOC_ARENA_MAX", "2")];
    in_subprocess_with_limit(path, &format!("-v {kib}"), &environment, body);
}

fn in_subprocess_with_limit(
    path: &str,
    limit: &str,
    environment: &[(&str, &str)],
    body: impl FnOnce(),
) {
    if std::env::var_os(IN_SUBPROCESS).is_some() {
        return body();
    }
    let limited = |command: &str| {
        let script = format!("ulimit {limit} && {command}");
        let mut sh = Command::new("sh");
        sh.args(["-c", &script, "sh"]);
        sh.envs(environment.iter().copied());
        sh
    };
    if !run_prepared(path, limited) {
        eprintln!("skipped {path}: `ulimit {limit}` is not possible here");
    }
}

fn run_in_subprocess(mut command: Command, path: &str) {
    let (_, name) = path.split_once("::").unwrap();
    let output = command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(IN_SUBPROCESS, "1")
        .output()
        .unwrap();
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success(),
        "the test failed in its subprocess:\n{printed}"
    );
    assert!(
        printed.contains("1 passed"),
        "there is no test {name}:\n{printed}"
    );
}

/// Starts a subprocess that runs the test at this path, in which these variables are set, and does not wait for it.
pub(crate) fn start_child(path: &str, environment: &[(&str, &OsStr)]) -> Child {
    let (_, name) = path.split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1"])
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}
