//! Bodies that are requested only if they are not the ones that were saved before.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use threaded::{ErrorKind, RequestSpec};

use super::super::outcome;
use super::{content, names};
use crate::support::server::Server;

const DATE: &str = "Thu, 26 Nov 2020 11:00:00 GMT";

/// A server with these validators, and the conditions that it was sent. What was modified no later than the date that is sent
/// counts as unmodified, as with most servers.
fn server(validators: &[(&'static str, &'static str)]) -> (Server, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let validators = validators.to_vec();
    let server = {
        let asked = Arc::clone(&asked);
        Server::start(move |request| {
            let value = |name: &str| {
                let value = request.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            let (etag, date) = (value("if-none-match"), value("if-modified-since"));
            let is_unmodified = validators.iter().any(|(name, value)| match *name {
                "etag" => etag.as_deref() == Some(value),
                _ => etag.is_none() && date.as_deref().is_some_and(|date| is_after(date, value)),
            });
            asked.lock().unwrap().push(format!("{etag:?} {date:?}"));
            let mut response = http::Response::builder();
            for (name, value) in &validators {
                response = response.header(*name, *value);
            }
            if is_unmodified {
                return response.status(304).body(Bytes::new()).unwrap();
            }
            response.body("new".into()).unwrap()
        })
    };
    (server, asked)
}

fn is_after(date: &str, modified: &str) -> bool {
    let parsed = |date| httpdate::parse_http_date(date).unwrap();
    parsed(date) >= parsed(modified)
}

#[test]
fn a_file_that_is_that_of_today_is_not_requested_again() {
    for validators in [
        &[("etag", "W/\"v1\"")][..],
        &[("last-modified", DATE)],
        &[("etag", "\"v1\""), ("last-modified", DATE)],
    ] {
        let (server, asked) = server(validators);
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let get = || {
            let spec = RequestSpec::get(server.url("/"));
            spec.save_to(&target).if_modified(&target)
        };
        let first = outcome(get()).unwrap();
        assert_eq!(first.status().as_u16(), 200);
        assert_eq!(asked.lock().unwrap()[0], "None None");
        for _ in 0..2 {
            let response = outcome(get()).unwrap();
            assert_eq!(response.status().as_u16(), 304);
            assert_eq!(response.saved_to(), Some(&*target));
            assert_eq!(fs::read(&target).unwrap(), b"new");
        }
        // Another URL is another body, though it is older than the file.
        let other = RequestSpec::get(server.url("/other")).save_to(&target);
        let response = outcome(other.if_modified(&target)).unwrap();
        assert_eq!(response.status().as_u16(), 200, "{validators:?}");
        assert_eq!(
            names(folder.path()).len(),
            2,
            "the file, and what is known of it"
        );
    }
}

#[test]
fn a_file_that_was_changed_since_is_requested_unconditionally() {
    let (server, asked) = server(&[("etag", "\"v1\""), ("last-modified", DATE)]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || {
        let spec = RequestSpec::get(server.url("/"));
        spec.save_to(&target).if_modified(&target)
    };
    outcome(get()).unwrap();
    let saved = fs::metadata(&target).unwrap().modified().unwrap();
    let second = Duration::from_secs(1);
    // Of another length, at another time.
    for (content, time) in [("changed", saved), ("old", saved + second)] {
        fs::write(&target, content).unwrap();
        let file = fs::File::options().write(true).open(&target).unwrap();
        file.set_modified(time).unwrap();
        assert_eq!(outcome(get()).unwrap().status().as_u16(), 200);
        assert_eq!(asked.lock().unwrap().last().unwrap(), "None None");
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }
}

#[test]
fn a_file_of_unknown_origin_is_asked_for_by_its_time() {
    let (server, asked) = server(&[("last-modified", DATE)]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || {
        let spec = RequestSpec::get(server.url("/"));
        spec.save_to(&target).if_modified(&target)
    };
    let epoch = SystemTime::UNIX_EPOCH;
    let seconds = Duration::from_secs;
    for (time, date) in [
        (
            epoch + seconds(1_000_000_000),
            Some("Sun, 09 Sep 2001 01:46:40 GMT"),
        ),
        (
            epoch + seconds(1_700_000_000),
            Some("Tue, 14 Nov 2023 22:13:20 GMT"),
        ),
        // Dates of HTTP begin in 1970.
        (epoch - seconds(1_000_000), None),
    ] {
        for name in super::names(folder.path()) {
            fs::remove_file(folder.path().join(name)).unwrap();
        }
        fs::write(&target, "old").unwrap();
        let file = fs::File::options().write(true).open(&target).unwrap();
        file.set_modified(time).unwrap();
        let response = outcome(get()).unwrap();
        let expected = if date == Some("Tue, 14 Nov 2023 22:13:20 GMT") {
            304
        } else {
            200
        };
        assert_eq!(response.status().as_u16(), expected);
        assert_eq!(
            *asked.lock().unwrap().last().unwrap(),
            format!("None {date:?}")
        );
    }
}

#[test]
fn the_body_may_go_elsewhere() {
    let (server, _) = server(&[("last-modified", DATE)]);
    let folder = tempfile::tempdir().unwrap();
    let cached = folder.path().join("cached");
    let get = || RequestSpec::get(server.url("/")).if_modified(&cached);
    let response = outcome(get()).unwrap();
    assert_eq!(
        (response.text().as_ref(), response.saved_to()),
        ("new", None)
    );
    assert!(names(folder.path()).is_empty());
    outcome(get().save_to(&cached).remote_time(true)).unwrap();
    let response = outcome(get()).unwrap();
    assert_eq!(response.saved_to(), Some(&*cached));
    let other = folder.path().join("other");
    let response = outcome(get().save_to(&other)).unwrap();
    assert_eq!(response.saved_to(), Some(&*cached));
    assert!(!other.exists());
}

#[test]
fn a_file_without_the_right_digest_is_requested_unconditionally() {
    // Of `new`.
    const SHA256: &str = "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437";

    let (dated, _) = server(&[("last-modified", DATE)]);
    let (server, asked) = server(&[("etag", "\"v1\"")]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || {
        let spec = RequestSpec::get(server.url("/")).save_to(&target);
        spec.if_modified(&target).sha256(SHA256)
    };
    outcome(get()).unwrap();
    assert_eq!(outcome(get()).unwrap().status().as_u16(), 304);
    // A file with the right digest is the right one, wherever it is from.
    let mirror = RequestSpec::get(dated.url("/mirror")).save_to(&target);
    let mirror = mirror.if_modified(&target).sha256(SHA256);
    assert_eq!(outcome(mirror).unwrap().status().as_u16(), 304);
    let saved = fs::metadata(&target).unwrap().modified().unwrap();
    fs::write(&target, "old").unwrap();
    let file = fs::File::options().write(true).open(&target).unwrap();
    file.set_modified(saved).unwrap();
    assert_eq!(outcome(get()).unwrap().status().as_u16(), 200);
    assert_eq!(asked.lock().unwrap().last().unwrap(), "None None");
    assert_eq!(fs::read(&target).unwrap(), b"new");
}

#[test]
fn conditions_of_the_request_are_its_own() {
    let (server, asked) = server(&[("etag", "\"v1\"")]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || {
        let spec = RequestSpec::get(server.url("/"));
        spec.save_to(&target).if_modified(&target)
    };
    outcome(get()).unwrap();
    let response = outcome(get().header("If-None-Match", "\"v1\"")).unwrap();
    assert_eq!(
        (response.status().as_u16(), response.saved_to()),
        (304, None)
    );
    // Nothing is known of a file that was not asked about.
    let strange = Server::start(|_| {
        let response = http::Response::builder().status(304);
        response.body(Bytes::new()).unwrap()
    });
    let unasked = RequestSpec::get(strange.url("/")).if_modified(folder.path().join("none"));
    let response = outcome(unasked).unwrap();
    assert_eq!(
        (response.status().as_u16(), response.saved_to()),
        (304, None)
    );
    let response = outcome(RequestSpec::head(server.url("/")).if_modified(&target)).unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(
        asked.lock().unwrap()[1..],
        ["Some(\"\\\"v1\\\"\") None", "None None"]
    );
}

#[test]
fn a_saved_file_has_the_time_of_the_server_if_that_is_asked_for() {
    let (server, _) = server(&[("last-modified", DATE)]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || {
        RequestSpec::get(server.url("/"))
            .save_to(&target)
            .sync(true)
    };
    let time = || fs::metadata(&target).unwrap().modified().unwrap();
    let before = SystemTime::now() - Duration::from_secs(60);
    outcome(get()).unwrap();
    assert!(time() > before);
    outcome(get().remote_time(true)).unwrap();
    let stated = SystemTime::UNIX_EPOCH + Duration::from_secs(1_606_388_400);
    assert_eq!(time(), stated);

    let garbage = Server::start(|_| {
        let response = http::Response::builder().header("last-modified", "yesterday");
        response.body(content(10).into()).unwrap()
    });
    outcome(
        RequestSpec::get(garbage.url("/"))
            .save_to(&target)
            .remote_time(true),
    )
    .unwrap();
    assert!(time() > before);
}

#[test]
fn a_file_is_only_replaced_if_it_may_be() {
    let (server, asked) = server(&[]);
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let get = || RequestSpec::get(server.url("/")).save_to(&target);
    outcome(get().overwrite(false)).unwrap();
    for resume in [true, false] {
        let exception = outcome(get().overwrite(false).resume(resume)).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert!(!exception.was_sent() && exception.to_string().contains("`overwrite(false)`"));
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
    fs::write(&target, "old").unwrap();
    outcome(get().overwrite(true)).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
}
