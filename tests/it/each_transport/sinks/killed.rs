//! Files that several threads or processes save at once, and processes that are killed while they do.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use threaded::RequestSpec;
use threaded::crossbeam_channel::unbounded;

use super::{content, dripping, names, outcome, pool};
use crate::support::framing::{FRAMINGS, drip, raw_response};
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;
use crate::support::subprocess::start_child;

const URL: &str = "THREADED_TEST_URL";
const PLACE: &str = "THREADED_TEST_PLACE";

/// Starts a subprocess that runs this test, in which [`as_child`] returns these values.
fn start(test: &str, url: &str, place: &Path) -> Child {
    start_child(test, &[(URL, url.as_ref()), (PLACE, place.as_ref())])
}

fn as_child() -> Option<(String, PathBuf)> {
    Some((std::env::var(URL).ok()?, std::env::var_os(PLACE)?.into()))
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Saves the same file twice at once.
fn save_twice(url: &str, target: &Path) {
    let save = || RequestSpec::get(url).save_to(target);
    let pool = pool()
        .concurrency(2)
        .build_from_requests([save(), save()])
        .unwrap();
    pool.into_iter().for_each(|outcome| drop(outcome.unwrap()));
}

/// Kills a child that runs this test and saves the target twice. Returns the names of the two parts that it leaves.
fn leave_parts(test: &str, target: &Path) -> Vec<String> {
    let folder = target.parent().unwrap();
    let server = dripping(100_000);
    let child = start(test, &server.url("/"), target);
    eventually("it saves", || names(folder).len() == 2);
    kill(child);
    let left = names(folder);
    assert_eq!(left.len(), 2, "{left:?}");
    left
}

#[test]
fn what_a_killed_process_leaves_is_deleted_when_the_same_file_is_saved() {
    if let Some((url, target)) = as_child() {
        return save_twice(&url, &target);
    }
    let test = concat!(
        module_path!(),
        "::what_a_killed_process_leaves_is_deleted_when_the_same_file_is_saved"
    );
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let left = leave_parts(test, &target);
    assert!(
        left.iter()
            .all(|name| name.starts_with(".threaded-") && name.ends_with(".part"))
    );

    let server = Server::responding("hello");
    let save = |target: &Path| outcome(RequestSpec::get(server.url("/")).save_to(target)).unwrap();
    // Another file is none of its business.
    save(&folder.path().join("other"));
    assert_eq!(names(folder.path()).len(), 3);
    save(&target);
    assert_eq!(names(folder.path()), ["other", "target"]);
    assert_eq!(fs::read(&target).unwrap(), b"hello");

    // Those that could have been continued are others.
    fs::remove_file(folder.path().join("other")).unwrap();
    fs::remove_file(&target).unwrap();
    leave_parts(test, &target);
    let response = raw_response(FRAMINGS[0], "ETag: \"v1\"\r\n", b"hello");
    let server = RawServer::responding(response);
    let get = RequestSpec::get(server.url("/")).resume(true);
    outcome(get.save_to(&target)).unwrap();
    assert_eq!(names(folder.path()), ["target"]);
}

#[test]
fn what_has_the_name_of_a_part_and_is_none_is_not_written_to() {
    if let Some((url, target)) = as_child() {
        return save_twice(&url, &target);
    }
    let test = concat!(
        module_path!(),
        "::what_has_the_name_of_a_part_and_is_none_is_not_written_to"
    );
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let [first, second] = leave_parts(test, &target).try_into().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "precious").unwrap();
    fs::remove_file(folder.path().join(&first)).unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join(&first)).unwrap();
    fs::remove_file(folder.path().join(&second)).unwrap();
    fs::create_dir(folder.path().join(&second)).unwrap();

    let server = Server::responding("hello");
    outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(
        names(folder.path()),
        [&*first, &*second, "precious", "target"]
    );
}

/// A server that sends the first half of a body, tells so, and sends the rest when it may.
fn pausing() -> (RawServer, impl Fn(), impl FnOnce()) {
    let (half_tx, half) = unbounded();
    let (open, opened) = unbounded::<()>();
    let server = RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234";
        stream.write_all(head.as_bytes()).unwrap();
        half_tx.send(()).unwrap();
        let _ = opened.recv();
        stream.write_all(b"56789").unwrap();
    });
    (server, move || half.recv().unwrap(), move || drop(open))
}

#[test]
fn what_another_process_is_saving_is_left_alone() {
    if let Some((url, target)) = as_child() {
        outcome(RequestSpec::get(url).save_to(target)).unwrap();
        return;
    }
    let test = concat!(
        module_path!(),
        "::what_another_process_is_saving_is_left_alone"
    );
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let (slow, wait_for_half, go_on) = pausing();
    let mut child = start(test, &slow.url("/"), &target);
    wait_for_half();
    eventually("it saves", || names(folder.path()).len() == 1);
    let part = names(folder.path()).remove(0);

    let server = Server::responding("hello");
    for _ in 0..3 {
        outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
        assert_eq!(names(folder.path()), [&*part, "target"]);
    }
    go_on();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(&target).unwrap(), b"0123456789");
    assert_eq!(names(folder.path()), ["target"]);
}

#[test]
fn threads_that_save_the_same_file_leave_each_others_part_alone() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let (slow, wait_for_half, go_on) = pausing();
    std::thread::scope(|scope| {
        let saving = scope.spawn(|| save_twice(&slow.url("/"), &target));
        wait_for_half();
        wait_for_half();
        eventually("both are saved", || names(folder.path()).len() == 2);
        go_on();
        saving.join().unwrap();
    });
    assert_eq!(fs::read(&target).unwrap(), b"0123456789");
    assert_eq!(names(folder.path()), ["target"]);
}

/// A process that is killed while it saves many files, some of which are complete: each of those is whole, and what is not
/// is no more than a part.
#[test]
fn a_process_that_is_killed_leaves_files_that_are_whole() {
    const LENGTH: usize = 50;

    if let Some((url, folder)) = as_child() {
        let saved = (0..10_000).map(|number| {
            let target = folder.join(format!("file-{number}"));
            RequestSpec::get(&url).save_to(target)
        });
        for outcome in pool().concurrency(4).imap_unordered(saved).unwrap() {
            outcome.unwrap();
        }
        return;
    }
    let test = concat!(
        module_path!(),
        "::a_process_that_is_killed_leaves_files_that_are_whole"
    );
    // Sends a file in pieces, so that each worker is most of the time in the middle of one.
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let response = raw_response(FRAMINGS[0], "Connection: close\r\n", &content(LENGTH));
        drip(&mut stream, Duration::from_millis(2), response.chunks(5));
    });
    let mut parts = 0;
    for round in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let is_final = |name: &String| name.starts_with("file-");
        let child = start(test, &server.url("/"), folder.path());
        eventually("some files are complete", || {
            names(folder.path())
                .iter()
                .filter(|name| is_final(name))
                .count()
                > 2 * round
        });
        kill(child);
        for name in names(folder.path()) {
            if is_final(&name) {
                let saved = fs::read(folder.path().join(&name)).unwrap();
                assert!(saved == content(LENGTH), "{name}");
            } else {
                assert!(name.ends_with(".part"), "{name}");
                parts += 1;
            }
        }
    }
    assert!(parts > 0, "it was never in the middle of a file");
}

/// Processes that are killed in the middle of downloads, each at a random point, and started again: all files are whole in the end,
/// and little is sent twice.
#[test]
fn downloads_of_killed_processes_are_continued() {
    const FILES: usize = 20;
    const KILLS: usize = 200;
    const LENGTH: usize = 16 << 20;

    if let Some((url, folder)) = as_child() {
        let files = (0..FILES).map(|file| {
            let spec = RequestSpec::get(format!("{url}{file}"));
            let target = folder.join(file.to_string());
            spec.save_to(&target).resume(true).if_modified(target)
        });
        for outcome in pool().concurrency(1).build_from_requests(files).unwrap() {
            outcome.unwrap();
        }
        return;
    }
    let test = concat!(
        module_path!(),
        "::downloads_of_killed_processes_are_continued"
    );
    let body = |file: usize| {
        let mut body = content(LENGTH);
        body.iter_mut().for_each(|byte| *byte ^= file as u8);
        body
    };
    let bodies: Arc<[_]> = (0..FILES).map(body).collect();
    // How much is sent until the process is to be killed.
    let until_kill = Arc::new(Mutex::new(None::<usize>));
    let sent = Arc::new(AtomicUsize::new(0));
    let (killing_tx, killing) = unbounded();
    let server = {
        let (bodies, until_kill, sent) = (
            Arc::clone(&bodies),
            Arc::clone(&until_kill),
            Arc::clone(&sent),
        );
        RawServer::start(move |mut stream, _| {
            let head = read_request(&mut stream).to_ascii_lowercase();
            let Some(file) = head
                .strip_prefix("get /")
                .and_then(|rest| rest.split(' ').next())
            else {
                return;
            };
            // The file is complete.
            if head.contains("if-none-match: ") {
                let _ = stream.write_all(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
                return;
            }
            let body = &bodies[file.parse::<usize>().unwrap()];
            let range = head.split("range: bytes=").nth(1);
            let from = range.and_then(|range| range.split('-').next());
            let from: usize = from.map_or(0, |from| from.parse().unwrap());
            let headers = format!(
                "ETag: \"{file}\"\r\nConnection: close\r\nContent-Length: {}\r\n",
                body.len() - from
            );
            let head = match from {
                0 => format!("HTTP/1.1 200 OK\r\n{headers}\r\n"),
                from => format!(
                    "HTTP/1.1 206 Partial Content\r\n{headers}Content-Range: bytes {from}-{}/{}\r\n\r\n",
                    body.len() - 1,
                    body.len()
                ),
            };
            let _ = stream.write_all(head.as_bytes());
            let mut rest = &body[from..];
            while !rest.is_empty() {
                let mut until_kill = until_kill.lock().unwrap();
                let max = until_kill.map_or(rest.len(), |left| left.min(rest.len()));
                let (piece, after) = rest.split_at(max.min(16 << 10));
                if let Some(left) = until_kill.as_mut() {
                    *left -= piece.len();
                }
                let is_last = *until_kill == Some(0);
                drop(until_kill);
                if stream.write_all(piece).is_err() {
                    return;
                }
                sent.fetch_add(piece.len(), Ordering::SeqCst);
                rest = after;
                if is_last {
                    killing_tx
                        .send((file.to_owned(), body.len() - rest.len()))
                        .unwrap();
                    // Until the process is killed.
                    let _ = stream.read(&mut [0]);
                    return;
                }
            }
        })
    };
    let folder = tempfile::tempdir().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..KILLS {
        // Such that the downloads last until the end.
        let left = random.usize(1..2 * FILES * LENGTH / KILLS * 9 / 10);
        *until_kill.lock().unwrap() = Some(left);
        let child = start(test, &server.url("/"), folder.path());
        // What is between server and process when it is killed is lost, and is not to be counted here.
        let (file, sent) = killing.recv().unwrap();
        eventually("most of it is written", || {
            let is_it = |name: &&String| **name == file || name.ends_with(".part");
            let names = names(folder.path());
            let metadata = |name: &String| fs::metadata(folder.path().join(name)).ok();
            let there = names.iter().find(is_it).and_then(metadata);
            there.map_or(0, |there| there.len() as usize) + (100 << 10) >= sent
        });
        kill(child);
    }
    *until_kill.lock().unwrap() = None;
    let mut child = start(test, &server.url("/"), folder.path());
    assert!(child.wait().unwrap().success());
    for (file, body) in bodies.iter().enumerate() {
        assert!(fs::read(folder.path().join(file.to_string())).unwrap() == *body);
    }
    let is_part = |name: &String| name.contains(".part");
    assert!(!names(folder.path()).iter().any(is_part));
    let again = sent.load(Ordering::SeqCst) - FILES * LENGTH;
    assert!(again * 20 < FILES * LENGTH, "{again} bytes were sent again");
}
