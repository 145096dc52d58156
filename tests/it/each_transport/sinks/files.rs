//! Bodies that are saved: what stands under the name of the file, and when.

use std::fs;
use std::path::Path;
use std::time::Duration;

use threaded::{ErrorKind, RequestSpec};

use super::{content, dripping, failed, names, outcome, pool};
use crate::support::framing::{FRAMINGS, drip, raw_response};
use crate::support::pools::{outcome_of, outcomes_of};
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess_with_small_disk;

#[cfg(unix)]
#[test]
fn a_saved_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;

    let server = Server::responding("hello");
    let folder = tempfile::tempdir().unwrap();
    let (usual, saved) = (folder.path().join("usual"), folder.path().join("saved"));
    fs::write(&usual, "").unwrap();
    outcome(RequestSpec::get(server.url("/")).save_to(&saved)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&saved), mode(&usual));
}

#[test]
fn only_a_success_is_saved() {
    let server = Server::start(|_| {
        let response = http::Response::builder().status(404);
        response.body("no such page".into()).unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let response = outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
    assert_eq!(
        (response.text().as_ref(), response.saved_to()),
        ("no such page", None)
    );
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["target"]);
}

#[test]
fn a_part_of_a_body_is_not_saved() {
    let server = Server::start(|_| {
        let response = http::Response::builder().status(206);
        let response = response.header("Content-Range", "bytes 0-4/10");
        response.body("01234".into()).unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let get = || RequestSpec::get(server.url("/")).save_to(&target);

    let with_range = pool().initializer(|session| session.header("Range", "bytes=0-4"));
    for exception in [
        outcome(get().header("Range", "bytes=0-4")).unwrap_err(),
        outcome_of(with_range, get()).unwrap_err(),
    ] {
        assert_eq!(exception.kind(), ErrorKind::InvalidRequest, "{exception:?}");
        let message = exception.to_string();
        assert!(
            message.contains("`range`") && message.contains("`save_to`"),
            "{message}"
        );
        assert!(!exception.was_sent());
    }
    assert_eq!(server.requests(), 0);

    let exception = outcome(get()).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Protocol, "{exception:?}");
    assert!(exception.to_string().contains("206"), "{exception}");
    assert_eq!(server.requests(), 1);
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["target"]);

    let part = outcome(RequestSpec::get(server.url("/")).header("Range", "bytes=0-4")).unwrap();
    assert_eq!(
        (part.status().as_u16(), part.text().as_ref()),
        (206, "01234")
    );
}

#[test]
fn a_body_that_fails_leaves_nothing_behind() {
    let cut = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345");
    let exception = failed(RequestSpec::get(cut.url("/")));
    assert_eq!(exception.kind(), ErrorKind::BodyTruncated, "{exception:?}");

    let large = Server::responding(content(1000));
    let exception = failed(RequestSpec::get(large.url("/")).max_body(999));
    assert_eq!(exception.limit(), Some(999), "{exception:?}");

    let undecodable = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    let exception = failed(RequestSpec::get(
        RawServer::responding(undecodable).url("/"),
    ));
    assert_eq!(exception.kind(), ErrorKind::Decode, "{exception:?}");
}

#[test]
fn a_place_that_cannot_be_saved_to_is_named_and_nothing_is_sent() {
    let server = Server::responding("hello");
    let folder = tempfile::tempdir().unwrap();
    let table = [
        (
            folder.path().join("no").join("such"),
            "folder does not exist",
        ),
        (folder.path().to_owned(), "is a directory"),
        #[cfg(unix)]
        ("/dev/null".into(), "not a file"),
    ];
    for (target, reason) in table {
        let exception = outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert_eq!(exception.path(), Some(&*target), "{exception:?}");
        let message = exception.to_string();
        assert!(
            message.contains(reason) && message.contains(target.to_str().unwrap()),
            "{message}"
        );
        assert!(!exception.was_sent() && !exception.is_retryable());
    }
    assert_eq!(server.requests(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_nothing_is_left_on_it() {
    let path = concat!(
        module_path!(),
        "::a_full_disk_is_told_and_nothing_is_left_on_it"
    );
    in_subprocess_with_small_disk(path, |disk| {
        let server = Server::start(|request| {
            let length = match request.uri().path() {
                "/large" => 1 << 20,
                _ => 1 << 10,
            };
            http::Response::new(content(length).into())
        });
        let (large, small) = (disk.join("large"), disk.join("small"));
        let outcomes = outcomes_of(
            pool(),
            [
                RequestSpec::get(server.url("/large")).save_to(&large),
                RequestSpec::get(server.url("/small")).save_to(&small),
            ],
        );
        let exception = outcomes[0].as_ref().unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert_eq!(exception.path(), Some(&*large), "{exception:?}");
        let message = exception.to_string();
        assert!(
            message.contains(large.to_str().unwrap())
                && message.contains("No space left on device"),
            "{message}"
        );
        assert!(outcomes[1].is_ok(), "{:?}", outcomes[1]);
        assert_eq!(names(disk), ["small"]);
    });
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_a_file_keeps_its_permissions() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let server = Server::responding("new");
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    fs::write(&file, "old").unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    symlink("file", &link).unwrap();
    let response = outcome(RequestSpec::get(server.url("/")).save_to(&link)).unwrap();
    assert_eq!(response.saved_to(), Some(&*link));
    assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(names(folder.path()), ["file", "link"]);
}

/// A process that is killed while it saves leaves no part of a file under the final name.
#[cfg(unix)]
#[test]
fn a_process_that_is_killed_leaves_no_part_of_a_file() {
    const TARGET: &str = "THREADED_TEST_TARGET";
    const URL: &str = "THREADED_TEST_URL";

    if let (Ok(url), Ok(target)) = (std::env::var(URL), std::env::var(TARGET)) {
        let _ = outcome(RequestSpec::get(url).save_to(target));
        return;
    }
    let (_, name) = concat!(
        module_path!(),
        "::a_process_that_is_killed_leaves_no_part_of_a_file"
    )
    .split_once("::")
    .unwrap();
    let server = dripping(100_000);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    for round in 0..20 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(URL, server.url("/"))
            .env(TARGET, &target)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Until there is a part of it.
        crate::support::process::eventually("it saves", || names(folder.path()).len() > round);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!target.exists());
    }
}

/// The same with many files, some of which are complete: each of those is whole, and what is not is no more than a
/// temporary one.
#[cfg(unix)]
#[test]
fn a_process_that_is_killed_leaves_files_that_are_whole() {
    const FOLDER: &str = "THREADED_TEST_FOLDER";
    const URL: &str = "THREADED_TEST_URL";
    const LENGTH: usize = 50;

    if let (Ok(url), Ok(folder)) = (std::env::var(URL), std::env::var(FOLDER)) {
        let saved = (0..10_000).map(|number| {
            let target = Path::new(&folder).join(format!("file-{number}"));
            RequestSpec::get(&url).save_to(target)
        });
        for outcome in pool().num_threads(4).imap_unordered(saved).unwrap() {
            outcome.unwrap();
        }
        return;
    }
    let (_, name) = concat!(
        module_path!(),
        "::a_process_that_is_killed_leaves_files_that_are_whole"
    )
    .split_once("::")
    .unwrap();
    // Sends a file in pieces, so that each worker is most of the time in the middle of one.
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let response = raw_response(FRAMINGS[0], "Connection: close\r\n", &content(LENGTH));
        drip(&mut stream, Duration::from_millis(2), response.chunks(5));
    });
    let mut temporary = 0;
    for round in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let is_final = |name: &String| name.starts_with("file-");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(URL, server.url("/"))
            .env(FOLDER, folder.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        crate::support::process::eventually("some files are complete", || {
            names(folder.path())
                .iter()
                .filter(|name| is_final(name))
                .count()
                > 2 * round
        });
        child.kill().unwrap();
        child.wait().unwrap();
        for name in names(folder.path()) {
            if is_final(&name) {
                assert!(
                    fs::read(folder.path().join(&name)).unwrap() == content(LENGTH),
                    "{name}"
                );
            } else {
                assert!(name.ends_with(".part"), "{name}");
                temporary += 1;
            }
        }
    }
    assert!(temporary > 0, "it was never in the middle of a file");
}
