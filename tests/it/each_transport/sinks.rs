//! Promise 8: bodies go where the spec says, and nothing stands under a file's name unless it is complete.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use threaded::{ErrorKind, RequestSpec, ThreadException};

use super::{outcome, pool};
use crate::support::framing::{FRAMINGS, drip, raw_response};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;
use crate::support::subprocess::in_subprocess_with_small_disk;

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Records what it reads.
fn noting(
    into: &Arc<Mutex<Vec<u8>>>,
) -> impl Fn(&threaded::ResponseHead, &mut dyn Read) -> io::Result<()> + use<> {
    let into = Arc::clone(into);
    move |_, body| body.read_to_end(&mut into.lock().unwrap()).map(drop)
}

#[test]
fn a_body_is_saved_whole_in_every_framing() {
    let folder = tempfile::tempdir().unwrap();
    for length in [0, 1, 300_000] {
        for framing in FRAMINGS {
            let server = RawServer::responding(raw_response(framing, "", &content(length)));
            let target = folder.path().join("target");
            fs::write(&target, "what was there before").unwrap();
            let response = outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
            assert_eq!(response.saved_to(), Some(&*target));
            assert!(response.bytes().is_empty());
            assert!(
                fs::read(&target).unwrap() == content(length),
                "{length}, {framing:?}"
            );
            assert_eq!(names(folder.path()), ["target"]);
        }
    }
}

#[test]
fn a_body_larger_than_memory_may_hold_goes_to_a_file_or_a_handler() {
    let server = Server::responding(vec![0; 65 << 20]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("large");
    let get = || RequestSpec::get(server.url("/"));
    let in_memory = outcome(get()).unwrap_err();
    assert_eq!(in_memory.kind(), ErrorKind::BodyTooLarge);
    outcome(get().save_to(&target)).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().len(), 65 << 20);
    outcome(get().read_with(|_, body| io::copy(body, &mut io::sink()).map(drop))).unwrap();
}

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

/// The outcome of saving a body that fails; the folder must be as before.
fn failed(spec: RequestSpec) -> ThreadException {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let exception = outcome(spec.save_to(&target)).unwrap_err();
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    assert_eq!(names(folder.path()), ["target"]);
    exception
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

/// Sends `bytes` bytes, one every 20 ms.
fn dripping(bytes: usize) -> RawServer {
    RawServer::start(move |mut stream, _| {
        read_request(&mut stream);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        drip(
            &mut stream,
            Duration::from_millis(20),
            content(bytes).chunks(1),
        );
    })
}

#[test]
fn a_deadline_holds_for_files_and_handlers_if_it_is_set() {
    let server = dripping(10_000);
    let limit = Duration::from_millis(200);
    let get = || RequestSpec::get(server.url("/"));
    let exception = failed(get().timeout(limit));
    assert_eq!(exception.time_limit(), Some(limit));
    let handled = get().timeout(limit).read_with(noting(&Arc::default()));
    let exception = outcome(handled).unwrap_err();
    assert_eq!(exception.time_limit(), Some(limit));
    let builder = pool().timeout(limit);
    let specs = [get().read_with(noting(&Arc::default()))];
    assert!(
        outcomes_of(builder, specs)[0]
            .as_ref()
            .unwrap_err()
            .is_timeout()
    );
}

#[test]
fn without_a_deadline_a_slow_download_lives_and_a_dead_one_ends() {
    let stall = Duration::from_millis(400);
    let builder = || pool().stall_timeout(stall);
    let noted = Arc::default();
    // Takes longer in all than it may stall.
    let slow = dripping(40);
    let spec = RequestSpec::get(slow.url("/")).read_with(noting(&noted));
    let outcomes = outcomes_of(builder(), [spec]);
    assert!(outcomes[0].as_ref().unwrap().elapsed() > stall);
    assert!(*noted.lock().unwrap() == content(40));

    for said in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345"] {
        let dead = RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            stream.write_all(said.as_bytes()).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        let spec = RequestSpec::get(dead.url("/")).read_with(noting(&Arc::default()));
        let exception = outcomes_of(builder(), [spec]).remove(0).unwrap_err();
        assert!(exception.is_timeout(), "{exception:?}");
        assert!(exception.elapsed() >= stall && exception.elapsed() < 10 * stall);
    }
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

#[test]
fn a_handler_gets_the_head_and_the_decoded_body() {
    let server = Server::start(|request| {
        let mut response = http::Response::new(bytes::Bytes::from("line 1\nline 2\n"));
        match request.uri().path() {
            "/moved" => {
                *response.status_mut() = http::StatusCode::FOUND;
                response
                    .headers_mut()
                    .insert("location", "/".parse().unwrap());
            }
            _ => *response.status_mut() = http::StatusCode::IM_A_TEAPOT,
        }
        response
    });
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let spec = RequestSpec::get(server.url("/moved")).read_with(move |head, body| {
        let mut notes = notes.lock().unwrap();
        notes.push(format!("{} after {}", head.status(), head.history().len()));
        for line in BufReader::new(body).lines() {
            notes.push(line?);
        }
        io::Result::Ok(())
    });
    let response = outcome(spec).unwrap();
    assert_eq!(
        *noted.lock().unwrap(),
        ["418 I'm a teapot after 1", "line 1", "line 2"]
    );
    assert!(response.bytes().is_empty());
    assert_eq!(response.status(), 418);
}

#[cfg(feature = "gzip")]
#[test]
fn files_and_handlers_get_what_is_decoded() {
    use crate::support::encodings::{TEXT, gzip_text};

    let gzipped = raw_response(
        FRAMINGS[0],
        "Content-Encoding: gzip\r\nConnection: close\r\n",
        &gzip_text(),
    );
    let server = RawServer::responding(gzipped);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), TEXT);
    let noted = Arc::default();
    outcome(RequestSpec::get(server.url("/")).read_with(noting(&noted))).unwrap();
    assert_eq!(*noted.lock().unwrap(), TEXT.as_bytes());
}

#[test]
fn a_handlers_error_is_the_source_and_its_panic_an_outcome() {
    #[derive(Debug, thiserror::Error)]
    #[error("line {0} is no number")]
    struct NoNumber(u32);

    let server = Server::responding("hello");
    let get = || RequestSpec::get(server.url("/"));
    let specs = [
        get().read_with(|_, _| Err(NoNumber(7))),
        get().read_with(|_, _| -> io::Result<()> { panic!("the handler panicked") }),
        get(),
    ];
    let outcomes = outcomes_of(pool(), specs);
    let exception = outcomes[0].as_ref().unwrap_err();
    assert!(
        exception
            .to_string()
            .ends_with("the handler of the body failed: line 7 is no number")
    );
    let source = std::error::Error::source(exception.error()).unwrap();
    assert_eq!(source.downcast_ref::<NoNumber>().unwrap().0, 7);
    assert!(exception.was_sent() && !exception.is_retryable());
    assert_eq!(
        outcomes[1].as_ref().unwrap_err().kind(),
        ErrorKind::Panicked
    );
    assert_eq!(outcomes[2].as_ref().unwrap().text(), "hello");
}

#[test]
fn a_body_that_fails_is_told_as_that_whatever_the_handler_makes_of_it() {
    let server = RawServer::responding("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n12345");
    let spec = RequestSpec::get(server.url("/")).read_with(|_, body| {
        let mut all = Vec::new();
        let _ = body.read_to_end(&mut all);
        io::Result::Ok(())
    });
    let exception = outcome(spec).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::BodyTruncated, "{exception:?}");
}

#[test]
fn a_handler_need_not_read_to_the_end() {
    let server = Server::responding(content(1 << 20));
    let first_byte =
        RequestSpec::get(server.url("/")).read_with(|_, body| body.read_exact(&mut [0]));
    let outcomes = outcomes_of(pool(), [first_byte, RequestSpec::get(server.url("/"))]);
    assert!(outcomes[0].is_ok());
    assert_eq!(outcomes[1].as_ref().unwrap().bytes().len(), 1 << 20);
}

#[test]
fn a_handler_that_has_enough_is_not_kept_waiting_for_the_rest() {
    // It sends a line, and no more until the client has gone.
    let server = RawServer::start(|mut stream, _| {
        read_request(&mut stream);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let _ = stream.write_all(format!("{head}5\r\nline\n\r\n").as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for succeeds in [true, false] {
        let spec = RequestSpec::get(server.url("/"))
            .timeout(Duration::from_secs(120))
            .read_with(move |_, body| {
                body.read_exact(&mut [0; 5])?;
                match succeeds {
                    true => Ok(()),
                    false => Err(io::Error::other("no")),
                }
            });
        let started = Instant::now();
        assert_eq!(outcome(spec).is_ok(), succeeds);
        assert!(started.elapsed() < Duration::from_secs(60));
    }
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

#[test]
fn a_response_without_a_body_gives_a_handler_an_empty_one_and_saves_no_file() {
    let server = Server::responding("hello");
    let noted = Arc::default();
    outcome(RequestSpec::head(server.url("/")).read_with(noting(&noted))).unwrap();
    assert!(noted.lock().unwrap().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let response = outcome(RequestSpec::head(server.url("/")).save_to(&target)).unwrap();
    assert_eq!((response.saved_to(), names(folder.path()).len()), (None, 0));
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
