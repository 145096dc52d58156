//! Bodies that are saved: what stands under the name of the file, and when.

use std::fs;
use std::path::Path;

use threaded::{ErrorKind, RequestSpec};

use super::{content, failed, names, outcome, pool};
use crate::support::pools::{outcome_of, outcomes_of};
use crate::support::raw::RawServer;
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
        (folder.path().join(".."), "names no file"),
        (folder.path().join("new/"), "names a folder"),
        (folder.path().join("x".repeat(256)), "longer than 255"),
        #[cfg(unix)]
        ("/dev/null".into(), "not a file"),
    ];
    for (target, reason) in table {
        let exception = outcome(RequestSpec::get(server.url("/")).save_to(&target)).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert_eq!(exception.path(), Some(&*target), "{exception:?}");
        let message = exception.to_string();
        // A long one is cut.
        let named: String = target.to_str().unwrap().chars().take(50).collect();
        assert!(
            message.contains(reason) && message.contains(&named),
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

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_yet_stays_and_its_target_is_made() {
    use std::os::unix::fs::symlink;

    let server = Server::responding("new");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("other")).unwrap();
    symlink("target", path("relative")).unwrap();
    symlink(path("other/target"), path("absolute")).unwrap();
    symlink("relative", path("of a link")).unwrap();
    for (link, target) in [
        ("relative", "target"),
        ("absolute", "other/target"),
        ("of a link", "target"),
    ] {
        let link = path(link);
        let response = outcome(RequestSpec::get(server.url("/")).save_to(&link)).unwrap();
        assert_eq!(response.saved_to(), Some(&*link));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let target = path(target);
        assert!(fs::symlink_metadata(&target).unwrap().is_file());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        fs::remove_file(&target).unwrap();
    }
    assert_eq!(names(&path("other")), [""; 0]);
}

#[cfg(unix)]
#[test]
fn a_link_that_can_lead_nowhere_is_refused_before_anything_is_sent() {
    use std::os::unix::fs::symlink;

    let server = Server::responding("never sent");
    let folder = tempfile::tempdir().unwrap();
    let (missing, itself) = (folder.path().join("missing"), folder.path().join("itself"));
    symlink("no-such-folder/target", &missing).unwrap();
    symlink("itself", &itself).unwrap();
    for link in [missing, itself] {
        let exception = outcome(RequestSpec::get(server.url("/")).save_to(&link)).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert_eq!(exception.path(), Some(&*link));
        assert!(!exception.was_sent());
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn missing_folders_are_created_if_that_is_asked_for() {
    let server = Server::responding("hello");
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("a/b/target");
    let get = || RequestSpec::get(server.url("/")).save_to(&target);
    let exception = outcome(get()).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Sink);
    assert!(!exception.was_sent());
    assert!(
        exception.error().to_string().contains("create_dirs"),
        "{exception}"
    );
    assert_eq!(names(folder.path()), [""; 0]);
    outcome(get().create_dirs(true)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    // They are there now.
    outcome(get().create_dirs(true)).unwrap();
    outcome(get()).unwrap();

    // An error page needs none.
    let missing = Server::start(|_| {
        let response = http::Response::builder().status(404);
        response.body("no such page".into()).unwrap()
    });
    let other = folder.path().join("c/target");
    let spec = RequestSpec::get(missing.url("/"))
        .save_to(&other)
        .create_dirs(true);
    assert_eq!(outcome(spec).unwrap().status(), 404);
    assert_eq!(names(folder.path()), ["a"]);

    // A file is no folder.
    let below = target.join("b/target");
    let spec = RequestSpec::get(server.url("/"))
        .save_to(&below)
        .create_dirs(true);
    let exception = outcome(spec).unwrap_err();
    assert_eq!(
        (exception.kind(), exception.was_sent()),
        (ErrorKind::Sink, false)
    );
}
