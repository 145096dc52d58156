//! Bodies that were cut and are continued: by a retry, by a later job, after a killed process. Whatever the server responds, the file
//! is whole and right, or there is an error.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use threaded::{ErrorKind, Outcome, RequestSpec, crossbeam_channel};

use super::super::{outcome, pool};
use super::{content, names};
use crate::support::pools::{at_once, outcome_of};
use crate::support::raw::{RawServer, read_request};
#[cfg(target_os = "linux")]
use crate::support::server::Server;
#[cfg(target_os = "linux")]
use crate::support::subprocess::in_subprocess_with_small_disk;

const LENGTH: usize = 200_000;
const CUT: usize = 120_000;
const ETAG: &str = "ETag: \"v1\"\r\n";

/// The version that follows on `content`.
fn changed() -> Vec<u8> {
    content(LENGTH).iter().map(|byte| byte ^ 0xff).collect()
}

fn response(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// The beginning of a body whose connection ends.
fn cut(headers: &str) -> Vec<u8> {
    response("200 OK", headers, LENGTH, &content(LENGTH)[..CUT])
}

fn whole(headers: &str, body: &[u8]) -> Vec<u8> {
    response("200 OK", headers, body.len(), body)
}

fn rest(headers: &str, body: &[u8]) -> Vec<u8> {
    response("206 Partial Content", headers, body.len(), body)
}

/// A server with a response for each request, and the heads of these.
struct Scripted {
    server: RawServer,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    fn new(responses: Vec<Vec<u8>>) -> Self {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let script = {
            let heads = Arc::clone(&heads);
            move |mut stream: std::net::TcpStream, _| {
                let head = read_request(&mut stream).to_ascii_lowercase();
                // Sent by a pool that is dropped.
                if head.is_empty() {
                    return;
                }
                let mut heads = heads.lock().unwrap();
                let response = responses.get(heads.len()).cloned();
                heads.push(head);
                drop(heads);
                let _ = stream.write_all(&response.expect("another request was not expected"));
            }
        };
        let server = RawServer::start(script);
        Self { server, heads }
    }

    fn url(&self) -> String {
        self.server.url("/file")
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// The values of `Range` and `If-Range`.
fn asked(head: &str) -> (Option<&str>, Option<&str>) {
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    (value("range: "), value("if-range: "))
}

struct Target {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Target {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("target");
        Self { folder, path }
    }

    fn get(&self, url: &str) -> Outcome {
        outcome(RequestSpec::get(url).save_to(&self.path).resume(true))
    }

    /// Saves a body that is cut, so that a part of it is kept.
    fn cut(&self, url: &str) {
        let exception = self.get(url).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::BodyTruncated, "{exception:?}");
        assert!(!self.path.exists());
    }

    fn assert_is(&self, body: &[u8]) {
        assert!(fs::read(&self.path).unwrap() == body);
        assert_eq!(names(self.folder.path()), ["target"]);
    }

    fn part(&self) -> PathBuf {
        let names = names(self.folder.path());
        let part = names.iter().find(|name| name.ends_with(".part"));
        self.folder.path().join(part.expect("a part is kept"))
    }
}

#[test]
fn the_next_job_continues_where_a_body_was_cut() {
    let body = content(LENGTH);
    let range = format!("Content-Range: bytes {CUT}-{}/{LENGTH}\r\n", LENGTH - 1);
    for range in [range.clone(), range.replace("/200000", "/*")] {
        let headers = format!("{ETAG}{range}");
        let server = Scripted::new(vec![cut(ETAG), rest(&headers, &body[CUT..])]);
        let target = Target::new();
        target.cut(&server.url());
        assert_eq!(fs::read(target.part()).unwrap(), body[..CUT]);
        let response = target.get(&server.url()).unwrap();
        assert_eq!(response.status().as_u16(), 206);
        assert_eq!(response.saved_to(), Some(&*target.path));
        target.assert_is(&body);
        let heads = server.heads();
        assert_eq!(asked(&heads[0]), (None, None));
        assert_eq!(asked(&heads[1]), (Some("bytes=120000-"), Some("\"v1\"")));
        assert!(
            heads
                .iter()
                .all(|head| head.contains("accept-encoding: identity"))
        );
    }
}

#[test]
fn what_does_not_fit_is_received_from_its_beginning() {
    let (body, changed) = (content(LENGTH), changed());
    let end = LENGTH - 1;
    let range = |start: usize, whole: usize| {
        format!("Content-Range: bytes {start}-{}/{whole}\r\n", whole - 1)
    };
    let right = range(CUT, LENGTH);
    let table = [
        (
            "another start",
            rest(
                &format!("{ETAG}{}", range(CUT - 1, LENGTH)),
                &body[CUT - 1..],
            ),
        ),
        (
            "another total",
            rest(&format!("{ETAG}{}", range(CUT, LENGTH + 1)), &[0; 80_001]),
        ),
        (
            "another version",
            rest(&format!("ETag: \"v2\"\r\n{right}"), &changed[CUT..]),
        ),
        (
            "a weak validator",
            rest(&format!("ETag: W/\"v1\"\r\n{right}"), &changed[CUT..]),
        ),
        ("no validator", rest(&right, &changed[CUT..])),
        (
            "an encoding",
            rest(
                &format!("{ETAG}{right}Content-Encoding: gzip\r\n"),
                &changed[CUT..],
            ),
        ),
        (
            "several parts",
            rest(
                &format!("{ETAG}{right}Content-Type: multipart/byteranges; boundary=x\r\n"),
                &changed[CUT..],
            ),
        ),
        ("no range", rest(ETAG, &body[CUT..])),
        (
            "two ranges",
            rest(&format!("{ETAG}{right}{right}"), &body[CUT..]),
        ),
        (
            "another unit",
            rest(
                &format!("{ETAG}{}", right.replace("bytes", "lines")),
                &body[CUT..],
            ),
        ),
        (
            "another length",
            rest(&format!("{ETAG}{right}"), &body[CUT + 1..]),
        ),
        (
            "beyond the end",
            rest(
                &format!("{ETAG}Content-Range: bytes {CUT}-{LENGTH}/{LENGTH}\r\n"),
                &[0; 80_001],
            ),
        ),
        (
            "not satisfiable",
            response(
                "416 Range Not Satisfiable",
                &format!("Content-Range: bytes */{end}\r\n"),
                0,
                b"",
            ),
        ),
    ];
    for (what, second) in table {
        let headers = "ETag: \"v2\"\r\n";
        let server = Scripted::new(vec![cut(ETAG), second, whole(headers, &changed)]);
        let target = Target::new();
        target.cut(&server.url());
        let response = target
            .get(&server.url())
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(response.status().as_u16(), 200, "{what}");
        target.assert_is(&changed);
        let heads = server.heads();
        assert_eq!(heads.len(), 3, "{what}");
        assert_eq!(asked(&heads[1]).0, Some("bytes=120000-"), "{what}");
        assert_eq!(asked(&heads[2]), (None, None), "{what}");
    }
}

#[test]
fn a_whole_body_replaces_the_part_of_another_version() {
    let server = Scripted::new(vec![cut(ETAG), whole("ETag: \"v2\"\r\n", &changed())]);
    let target = Target::new();
    target.cut(&server.url());
    target.get(&server.url()).unwrap();
    target.assert_is(&changed());

    // The part of the new version is continued as one of it.
    let half = response("200 OK", "ETag: \"v2\"\r\n", LENGTH, &changed()[..70_000]);
    let headers = "ETag: \"v2\"\r\nContent-Range: bytes 70000-199999/200000\r\n";
    let server = Scripted::new(vec![cut(ETAG), half, rest(headers, &changed()[70_000..])]);
    let target = Target::new();
    target.cut(&server.url());
    target.cut(&server.url());
    target.get(&server.url()).unwrap();
    target.assert_is(&changed());
    assert_eq!(
        asked(&server.heads()[2]),
        (Some("bytes=70000-"), Some("\"v2\""))
    );
}

#[test]
fn a_rest_may_come_in_several_pieces() {
    let body = content(LENGTH);
    let first = format!("{ETAG}Content-Range: bytes 120000-149999/200000\r\n");
    let second = format!("{ETAG}Content-Range: bytes 150000-199999/200000\r\n");
    let server = Scripted::new(vec![
        cut(ETAG),
        rest(&first, &body[CUT..150_000]),
        rest(&second, &body[150_000..]),
    ]);
    let target = Target::new();
    target.cut(&server.url());
    target.cut(&server.url());
    target.get(&server.url()).unwrap();
    target.assert_is(&body);
    assert_eq!(asked(&server.heads()[2]).0, Some("bytes=150000-"));
}

#[test]
fn a_rest_that_is_too_long_is_an_error_and_nothing_is_kept() {
    let headers = format!(
        "HTTP/1.1 206 Partial Content\r\n{ETAG}Content-Range: bytes 120000-199999/200000\r\n\r\n"
    );
    let too_long = [headers.as_bytes(), &content(LENGTH)[CUT..], b"x"].concat();
    let server = Scripted::new(vec![cut(ETAG), too_long, whole(ETAG, &content(LENGTH))]);
    let target = Target::new();
    target.cut(&server.url());
    let exception = target.get(&server.url()).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Protocol, "{exception:?}");
    assert!(names(target.folder.path()).is_empty());
    target.get(&server.url()).unwrap();
    target.assert_is(&content(LENGTH));
}

#[test]
fn an_error_page_leaves_the_part_as_it_is() {
    let headers = format!("{ETAG}Content-Range: bytes 120000-199999/200000\r\n");
    let server = Scripted::new(vec![
        cut(ETAG),
        response("503 Service Unavailable", "", 4, b"busy"),
        rest(&headers, &content(LENGTH)[CUT..]),
    ]);
    let target = Target::new();
    target.cut(&server.url());
    let response = target.get(&server.url()).unwrap();
    assert_eq!(
        (response.text().as_ref(), response.saved_to()),
        ("busy", None)
    );
    target.get(&server.url()).unwrap();
    target.assert_is(&content(LENGTH));
}

#[test]
fn retries_continue_where_the_last_attempt_was_cut() {
    let body = content(LENGTH);
    let mut responses = vec![response("200 OK", ETAG, LENGTH, &body[..50_000])];
    for start in [50_000, 100_000, 150_000] {
        let headers = format!("{ETAG}Content-Range: bytes {start}-199999/200000\r\n");
        responses.push(response(
            "206 Partial Content",
            &headers,
            LENGTH - start,
            &body[start..start + 50_000],
        ));
    }
    let server = Scripted::new(responses);
    let target = Target::new();
    let spec = RequestSpec::get(server.url())
        .save_to(&target.path)
        .resume(true);
    let response = outcome_of(pool().retry(at_once(3)), spec).unwrap();
    assert_eq!(response.attempts(), 4);
    target.assert_is(&body);
    let heads = server.heads();
    let asked: Vec<_> = heads.iter().map(|head| asked(head).0).collect();
    let expected = [
        None,
        Some("bytes=50000-"),
        Some("bytes=100000-"),
        Some("bytes=150000-"),
    ];
    assert_eq!(asked, expected);
}

/// A part that has all of the body, of which the name is missing: its last byte is asked for.
#[test]
fn a_part_that_is_complete_is_confirmed() {
    let body = content(LENGTH);
    let headers = format!("{ETAG}Content-Range: bytes 199999-199999/200000\r\n");
    let server = Scripted::new(vec![cut(ETAG), rest(&headers, &body[LENGTH - 1..])]);
    let target = Target::new();
    target.cut(&server.url());
    fs::write(target.part(), &body).unwrap();
    target.get(&server.url()).unwrap();
    target.assert_is(&body);
    assert_eq!(asked(&server.heads()[1]).0, Some("bytes=199999-"));
}

#[test]
fn without_a_strong_validator_nothing_is_kept() {
    let old = "Last-Modified: Thu, 26 Nov 2020 11:00:00 GMT\r\n";
    let young = "Last-Modified: Thu, 26 Nov 2020 11:59:30 GMT\r\n";
    let date = "Date: Thu, 26 Nov 2020 12:00:00 GMT\r\n";
    for (headers, is_kept) in [
        (String::new(), false),
        ("ETag: W/\"v1\"\r\n".to_owned(), false),
        (old.to_owned(), false),
        (format!("{young}{date}"), false),
        (format!("{old}{date}"), true),
        (format!("{ETAG}Content-Encoding: unknown\r\n"), false),
    ] {
        let server = Scripted::new(vec![cut(&headers), whole("", &changed())]);
        let target = Target::new();
        target.cut(&server.url());
        assert_eq!(
            !names(target.folder.path()).is_empty(),
            is_kept,
            "{headers}"
        );
        target.get(&server.url()).unwrap();
        target.assert_is(&changed());
        let heads = server.heads();
        let expected = is_kept.then_some("thu, 26 nov 2020 11:00:00 gmt");
        assert_eq!(asked(&heads[1]).1, expected, "{headers}");
    }
}

#[test]
fn the_part_of_another_request_is_not_continued() {
    let target = Target::new();
    let get = |url: &str| RequestSpec::get(url).save_to(&target.path).resume(true);
    let server = Scripted::new(vec![
        cut(ETAG),
        cut(ETAG),
        cut(ETAG),
        cut(ETAG),
        whole(ETAG, &content(LENGTH)),
    ]);
    for spec in [
        get(&server.url()),
        get(&format!("{}?other", server.url())),
        get(&format!("{}?other", server.url())).header("Accept", "text/html"),
        get(&server.url()).header("Accept-Language", "de"),
    ] {
        outcome(spec).unwrap_err();
    }
    // Nor with a method that has no ranges.
    let post = RequestSpec::post(server.url()).header("Accept-Language", "de");
    let post = post.save_to(&target.path).resume(true);
    outcome(post).unwrap();
    target.assert_is(&content(LENGTH));
    for head in server.heads() {
        assert_eq!(asked(&head), (None, None));
    }
}

#[test]
fn what_cannot_be_a_part_is_not_continued() {
    type Spoil = fn(&Path);

    let spoil: [(&str, Spoil); 5] = [
        ("longer than the whole", |part| {
            fs::write(part, vec![0; LENGTH + 1]).unwrap()
        }),
        ("empty", |part| fs::write(part, "").unwrap()),
        ("no record", |part| {
            fs::remove_file(part.with_extension("part.info")).unwrap()
        }),
        ("a cut record", |part| {
            let path = part.with_extension("part.info");
            let record = fs::read(&path).unwrap();
            fs::write(&path, &record[..record.len() - 3]).unwrap();
        }),
        ("another format", |part| {
            fs::write(
                part.with_extension("part.info"),
                "reqwest-threaded 2\nend: \n",
            )
            .unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let server = Scripted::new(vec![cut(ETAG), whole(ETAG, &content(LENGTH))]);
        let target = Target::new();
        target.cut(&server.url());
        spoil(&target.part());
        target.get(&server.url()).unwrap();
        target.assert_is(&content(LENGTH));
        assert_eq!(asked(&server.heads()[1]), (None, None), "{what}");
    }
}

#[cfg(unix)]
#[test]
fn what_has_the_name_of_a_part_and_is_none_is_left_alone() {
    type Link = fn(&Path, &Path) -> std::io::Result<()>;

    let links: [Link; 2] = [
        |precious, part| std::os::unix::fs::symlink(precious, part),
        |precious, part| fs::hard_link(precious, part),
    ];
    for link in links {
        let server = Scripted::new(vec![cut(ETAG), whole(ETAG, &content(LENGTH))]);
        let target = Target::new();
        target.cut(&server.url());
        let part = target.part();
        let precious = target.folder.path().join("precious");
        fs::rename(&part, &precious).unwrap();
        link(&precious, &part).unwrap();
        target.get(&server.url()).unwrap();
        assert!(fs::read(&target.path).unwrap() == content(LENGTH));
        assert_eq!(fs::read(&precious).unwrap(), content(LENGTH)[..CUT]);
        assert_eq!(asked(&server.heads()[1]), (None, None));
    }
}

/// The validator is that of what a redirect has led to.
#[test]
fn the_part_of_what_another_redirect_led_to_is_not_continued() {
    let headers = format!("{ETAG}Content-Range: bytes 120000-199999/200000\r\n");
    let moved = |path: &str| response("302 Found", &format!("Location: {path}\r\n"), 0, b"");
    for (second, requests) in [("/v1?token=2", 4), ("/v2", 6)] {
        let server = Scripted::new(vec![
            moved("/v1?token=1"),
            cut(ETAG),
            moved(second),
            rest(&headers, &content(LENGTH)[CUT..]),
            // The request is sent again to where it was redirected.
            whole(ETAG, &changed()),
            whole(ETAG, &changed()),
        ]);
        let target = Target::new();
        target.cut(&server.url());
        target.get(&server.url()).unwrap();
        if requests == 4 {
            target.assert_is(&content(LENGTH));
        } else {
            target.assert_is(&changed());
        }
    }
}

#[test]
fn a_default_header_makes_another_request_too() {
    let server = Scripted::new(vec![cut(ETAG), whole(ETAG, &content(LENGTH))]);
    let target = Target::new();
    target.cut(&server.url());
    let spec = RequestSpec::get(server.url())
        .save_to(&target.path)
        .resume(true);
    let pool = pool().initializer(|session| session.header("Accept", "text/html"));
    outcome_of(pool, spec).unwrap();
    target.assert_is(&content(LENGTH));
    assert_eq!(asked(&server.heads()[1]), (None, None));
}

#[cfg(unix)]
#[test]
fn a_part_that_cannot_be_written_to_is_left_and_the_body_saved() {
    use std::os::unix::fs::PermissionsExt;

    let server = Scripted::new(vec![cut(ETAG), whole(ETAG, &content(LENGTH))]);
    let target = Target::new();
    target.cut(&server.url());
    let part = target.part();
    // Root can write to it all the same.
    fs::set_permissions(&part, fs::Permissions::from_mode(0o400)).unwrap();
    let is_writable = fs::File::options().write(true).open(&part).is_ok();
    if is_writable {
        fs::remove_file(&part).unwrap();
        fs::create_dir(&part).unwrap();
    }
    target.get(&server.url()).unwrap();
    assert!(fs::read(&target.path).unwrap() == content(LENGTH));
}

#[test]
fn a_second_request_counts_as_sent_after_a_first() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        stream.write_all(&cut(ETAG)).unwrap();
        drop(stream);
        let (mut stream, _) = listener.accept().unwrap();
        read_request(&mut stream);
        // The request is sent again, and there is no server any more.
        drop(listener);
        stream
            .write_all(&rest("", &content(LENGTH)[CUT..]))
            .unwrap();
    });
    let target = Target::new();
    target.cut(&url);
    let exception = target.get(&url).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::Connect, "{exception:?}");
    assert!(exception.was_sent());
    server.join().unwrap();
}

#[test]
fn what_another_job_has_kept_meanwhile_stays_for_it() {
    let (go_on_tx, go_on) = crossbeam_channel::unbounded::<()>();
    let (asked_tx, asked) = crossbeam_channel::unbounded();
    let server = RawServer::start(move |mut stream, number| {
        read_request(&mut stream);
        if number == 0 {
            asked_tx.send(()).unwrap();
            let _ = go_on.recv();
            let _ = stream.write_all(&whole(ETAG, &content(LENGTH)));
        } else {
            let _ = stream.write_all(&cut(ETAG));
        }
    });
    let target = Target::new();
    let pool = pool().build().unwrap();
    let spec = RequestSpec::get(server.url("/"))
        .save_to(&target.path)
        .resume(true);
    let slow = pool.spawn(spec).unwrap();
    asked.recv().unwrap();
    target.cut(&server.url("/"));
    let part = target.part();
    go_on_tx.send(()).unwrap();
    slow.join().unwrap();
    assert!(fs::read(&target.path).unwrap() == content(LENGTH));
    assert_eq!(fs::read(part).unwrap(), content(LENGTH)[..CUT]);
}

#[test]
fn digests_and_limits_are_those_of_the_whole() {
    // Of `content(LENGTH)`.
    const SHA512: &str = "7222ef0f625f9d6a509127fbe9fa39cf3364511205a59ac7faab9c5baa28f79ffe2eff60dea7a0774691b5877827f2006b19d8635459c4c7fa2b23333a389f9b";
    const SHA256: &str = "fb1d8fabac622cd16fe7b9fb8bc6100515dc417bd56d036e496a49d4c20f63b8";

    let body = content(LENGTH);
    let headers = format!("{ETAG}Content-Range: bytes 120000-199999/200000\r\n");
    let responses = || vec![cut(ETAG), rest(&headers, &body[CUT..])];
    let get = |server: &Scripted, target: &Target| {
        let spec = RequestSpec::get(server.url()).save_to(&target.path);
        spec.resume(true).sha256(SHA256)
    };
    let (server, target) = (Scripted::new(responses()), Target::new());
    outcome(get(&server, &target)).unwrap_err();
    outcome(get(&server, &target).max_body(LENGTH as u64)).unwrap();
    target.assert_is(&body);

    // What the server says of the whole is compared with the whole.
    for (digest, is_right) in [
        ("+x2Pq6xiLNFv57n7i8YQBRXcQXvVbQNuSWpJ1MIPY7g=", true),
        ("S4QvuQ4SyONPZIR0jy5n4TjsnHxT9yqRn5kZwYDG+NQ=", false),
    ] {
        let headers = format!("{headers}Repr-Digest: sha-256=:{digest}:\r\n");
        // Beside one that was computed before the request was sent, or alone.
        for sha512 in [Some(SHA512), None] {
            let server = Scripted::new(vec![cut(ETAG), rest(&headers, &body[CUT..])]);
            let target = Target::new();
            let get = || {
                let spec = RequestSpec::get(server.url())
                    .save_to(&target.path)
                    .resume(true);
                let spec = spec.verify_digest_headers(true);
                outcome(match sha512 {
                    Some(digest) => spec.sha512(digest),
                    None => spec,
                })
            };
            get().unwrap_err();
            let result = get();
            assert_eq!(result.is_ok(), is_right, "{result:?}");
        }
    }

    let (server, target) = (Scripted::new(responses()), Target::new());
    outcome(get(&server, &target)).unwrap_err();
    let part = target.part();
    let mut spoilt = fs::read(&part).unwrap();
    spoilt[5] ^= 1;
    fs::write(&part, spoilt).unwrap();
    let exception = outcome(get(&server, &target)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::DigestMismatch, "{exception:?}");
    assert!(names(target.folder.path()).is_empty());
    // The next attempt gets all of it.
    assert!(exception.is_retryable());

    let (server, target) = (Scripted::new(responses()), Target::new());
    outcome(get(&server, &target)).unwrap_err();
    let exception = outcome(get(&server, &target).max_body(LENGTH as u64 - 1)).unwrap_err();
    assert_eq!(exception.limit(), Some(LENGTH as u64 - 1), "{exception:?}");
    assert!(names(target.folder.path()).is_empty());
}

#[test]
fn saving_without_it_deletes_the_part() {
    let server = Scripted::new(vec![cut(ETAG), whole(ETAG, &content(LENGTH))]);
    let target = Target::new();
    target.cut(&server.url());
    outcome(RequestSpec::get(server.url()).save_to(&target.path)).unwrap();
    target.assert_is(&content(LENGTH));
    assert_eq!(asked(&server.heads()[1]), (None, None));
}

#[test]
fn two_jobs_for_one_file_do_not_share_a_part() {
    let body = content(LENGTH);
    let both = Arc::new(std::sync::Barrier::new(2));
    let server = {
        let body = body.clone();
        RawServer::start(move |mut stream, _| {
            read_request(&mut stream);
            let response = whole(ETAG, &body);
            let (start, end) = response.split_at(response.len() / 2);
            stream.write_all(start).unwrap();
            both.wait();
            stream.write_all(end).unwrap();
        })
    };
    let target = Target::new();
    let get = || {
        RequestSpec::get(server.url("/"))
            .save_to(&target.path)
            .resume(true)
    };
    let pool = pool()
        .concurrency(2)
        .build_from_requests([get(), get()])
        .unwrap();
    for outcome in pool {
        outcome.unwrap();
    }
    target.assert_is(&body);
}

#[cfg(target_os = "linux")]
#[test]
fn what_fits_on_a_full_disk_is_kept_and_continued_when_there_is_room() {
    let path = concat!(
        module_path!(),
        "::what_fits_on_a_full_disk_is_kept_and_continued_when_there_is_room"
    );
    in_subprocess_with_small_disk(path, |disk| {
        const LENGTH: usize = 40_000;

        let server = Server::start(|request| {
            let body = content(LENGTH);
            let range = request
                .headers()
                .get("range")
                .map(|range| range.to_str().unwrap());
            let from = range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
            let response = http::Response::builder().header("etag", "\"v1\"");
            let Some(from) = from.map(|from| from.parse::<usize>().unwrap()) else {
                return response.body(body.into()).unwrap();
            };
            let range = format!("bytes {from}-{}/{LENGTH}", LENGTH - 1);
            let response = response.status(206).header("content-range", range);
            response.body(body[from..].to_vec().into()).unwrap()
        });
        let (filler, target) = (disk.join("filler"), disk.join("target"));
        fs::write(&filler, vec![0; 40_000]).unwrap();
        let get = || {
            RequestSpec::get(server.url("/"))
                .save_to(&target)
                .resume(true)
        };
        let exception = outcome(get()).unwrap_err();
        assert_eq!(exception.kind(), ErrorKind::Sink, "{exception:?}");
        assert_eq!(names(disk).len(), 3, "{:?}", names(disk));
        fs::remove_file(&filler).unwrap();
        let response = outcome(get()).unwrap();
        assert_eq!(response.status().as_u16(), 206);
        assert!(fs::read(&target).unwrap() == content(LENGTH));
        assert_eq!(names(disk), ["target"]);
    });
}
