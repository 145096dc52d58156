//! Bodies that are saved into a folder, with the name that the server gives them.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use threaded::{ErrorKind, RequestSpec};

use super::super::{outcome, pool};
use super::{content, names};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::server::Server;

/// A server that sends this header, with the path as the body.
fn naming(disposition: &'static str) -> Server {
    Server::start(move |request| {
        let response = http::Response::builder();
        let response = match request.uri().path() {
            "/moved" => response.status(302).header("location", "/there/file.txt"),
            _ => response.header("content-disposition", disposition),
        };
        let path = request.uri().path().to_owned();
        response.body(Bytes::from(path)).unwrap()
    })
}

fn saved_name(url: &str, folder: &Path) -> String {
    let response = outcome(RequestSpec::get(url).save_into(folder)).unwrap();
    let path = response.saved_to().unwrap();
    assert_eq!(path.parent(), Some(folder));
    assert!(path.is_file());
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn the_server_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let name = |disposition, path: &str| saved_name(&naming(disposition).url(path), folder.path());
    assert_eq!(name("attachment; filename=\"r 1.pdf\"", "/x"), "r 1.pdf");
    let both = "attachment; filename=\"rates.txt\"; filename*=UTF-8''%e2%82%ac%20rates.txt";
    assert_eq!(name(both, "/x"), "€ rates.txt");
    assert_eq!(name("inline", "/a/b%20c.txt?d=/e"), "b c.txt");
    assert_eq!(name("inline", "/moved"), "file.txt");
    assert_eq!(name("inline", "/"), "download");
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let long = format!("attachment; filename=\"{}\"", "x".repeat(300));
    for (disposition, expected) in [
        ("attachment; filename=\"../../x\"", "x"),
        ("attachment; filename=\"..\\\\..\\\\y\"", "y"),
        ("attachment; filename=\"/etc/passwd\"", "passwd"),
        ("attachment; filename=\"CON\"", "_CON"),
        ("attachment; filename=\"nul.txt\"", "_nul.txt"),
        ("attachment; filename=\".bashrc\"", "bashrc"),
        ("attachment; filename=\"..\"", "page"),
        ("attachment; filename*=UTF-8''..%2F..%2Fz", "z"),
        ("attachment; filename*=UTF-8''a%00b", "ab"),
        (
            "attachment; filename*=UTF-8''exe%E2%80%AEtxt.gpj",
            "exetxt.gpj",
        ),
        (&*long.leak(), &*"x".repeat(240).leak()),
    ] {
        let server = naming(disposition);
        assert_eq!(
            saved_name(&server.url("/page"), &folder),
            expected,
            "{disposition}"
        );
    }
    assert_eq!(names(root.path()), ["folder"]);
}

#[test]
fn a_name_that_is_taken_gets_a_number() {
    let server = naming("attachment; filename=\"data.tar.gz\"");
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("data.tar.gz"), "precious").unwrap();
    let requests = (0..20)
        .map(|page| RequestSpec::get(server.url(&format!("/{page}"))).save_into(folder.path()));
    let mut bodies = HashSet::new();
    for outcome in outcomes_of(pool().concurrency(8), requests) {
        let response = outcome.unwrap();
        bodies.insert(fs::read(response.saved_to().unwrap()).unwrap());
    }
    assert_eq!(bodies.len(), 20);
    let mut expected: Vec<_> = (1..=20).map(|n| format!("data ({n}).tar.gz")).collect();
    expected.push("data.tar.gz".to_owned());
    expected.sort();
    assert_eq!(names(folder.path()), expected);
    assert_eq!(
        fs::read(folder.path().join("data.tar.gz")).unwrap(),
        b"precious"
    );
}

#[test]
fn it_replaces_a_file_only_if_it_may() {
    let server = naming("attachment; filename=\"name\"");
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("name");
    let get = || RequestSpec::get(server.url("/new")).save_into(folder.path());
    outcome(get().overwrite(false)).unwrap();
    fs::write(&target, "old").unwrap();
    let exception = outcome(get().overwrite(false)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
    assert!(
        exception.to_string().contains("`overwrite(false)`"),
        "{exception}"
    );
    assert_eq!(exception.path(), Some(&*target));
    assert_eq!(fs::read(&target).unwrap(), b"old");
    let response = outcome(get().overwrite(true)).unwrap();
    assert_eq!(response.saved_to(), Some(&*target));
    assert_eq!(fs::read(&target).unwrap(), b"/new");
    assert_eq!(names(folder.path()), ["name"]);
}

#[cfg(unix)]
#[test]
fn a_link_in_the_folder_is_not_followed() {
    use std::os::unix::fs::symlink;

    let server = naming("attachment; filename=\"name\"");
    let root = tempfile::tempdir().unwrap();
    let (folder, precious) = (root.path().join("folder"), root.path().join("precious"));
    fs::create_dir(&folder).unwrap();
    fs::write(&precious, "precious").unwrap();
    symlink(&precious, folder.join("name")).unwrap();
    symlink(root.path().join("nowhere"), folder.join("name (1)")).unwrap();
    let get = || RequestSpec::get(server.url("/new")).save_into(&folder);
    let response = outcome(get()).unwrap();
    assert_eq!(response.saved_to(), Some(&*folder.join("name (2)")));
    outcome(get().overwrite(false)).unwrap_err();
    outcome(get().overwrite(true)).unwrap();
    assert!(
        !fs::symlink_metadata(folder.join("name"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    assert_eq!(names(root.path()), ["folder", "precious"]);
}

#[test]
fn a_folder_that_is_missing_is_created_if_that_is_asked_for() {
    let server = naming("inline");
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("a").join("b");
    let get = || RequestSpec::get(server.url("/page")).save_into(&folder);
    let exception = outcome(get()).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
    assert!(
        exception.to_string().contains("`create_dirs`"),
        "{exception}"
    );
    assert_eq!(server.requests(), 0);
    let response = outcome(get().create_dirs(true)).unwrap();
    assert_eq!(response.saved_to(), Some(&*folder.join("page")));

    let file = folder.join("page");
    let exception = outcome(RequestSpec::get(server.url("/")).save_into(&file)).unwrap_err();
    assert!(
        exception.to_string().contains("a file, not a folder"),
        "{exception}"
    );
    assert_eq!(server.requests(), 1);
}

/// The name is that of the first response: a part need not say it.
#[test]
fn a_body_that_was_cut_is_continued_under_its_name() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        let body = content(100_000);
        let (head, body) = match number {
            0 => (
                "200 OK\r\nContent-Disposition: attachment; filename=\"a\"\r\nContent-Length: 100000",
                &body[..70_000],
            ),
            _ => (
                "206 Partial Content\r\nContent-Range: bytes 70000-99999/100000\r\nContent-Length: 30000",
                &body[70_000..],
            ),
        };
        let head = format!("HTTP/1.1 {head}\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let get = || {
        RequestSpec::get(server.url("/b"))
            .save_into(folder.path())
            .resume(true)
    };
    outcome(get()).unwrap_err();
    let response = outcome(get()).unwrap();
    assert_eq!(response.saved_to(), Some(&*folder.path().join("a")));
    assert!(fs::read(folder.path().join("a")).unwrap() == content(100_000));
    assert_eq!(names(folder.path()), ["a"]);
}

/// What others could have written beside a part is not trusted.
#[test]
fn the_name_of_a_part_is_made_safe_again() {
    let server = RawServer::start(|mut stream, number| {
        read_request(&mut stream);
        let body = content(100_000);
        let etag = "ETag: \"v1\"\r\nConnection: close";
        let (head, body) = match number {
            0 => (
                "200 OK\r\nContent-Length: 100000".to_owned(),
                &body[..70_000],
            ),
            _ => {
                let range = "Content-Range: bytes 70000-99999/100000";
                (format!("206 Partial Content\r\n{range}"), &body[70_000..])
            }
        };
        let head = format!("HTTP/1.1 {head}\r\n{etag}\r\n\r\n");
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    });
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let get = || {
        RequestSpec::get(server.url("/b"))
            .save_into(&folder)
            .resume(true)
    };
    outcome(get()).unwrap_err();
    let names_there = names(&folder);
    let record = names_there
        .iter()
        .find(|name| name.ends_with(".info"))
        .unwrap();
    let record = folder.join(record);
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains("name: b\n"), "{text}");
    fs::write(&record, text.replace("name: b\n", "name: ../../attack\n")).unwrap();
    let response = outcome(get()).unwrap();
    assert_eq!(response.saved_to(), Some(&*folder.join("attack")));
    assert_eq!(names(root.path()), ["folder"]);
}
