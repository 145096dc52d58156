//! Promise 9: redirects are followed hop by hop, within a limit, according to RFC 9110.

use std::io::Write;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use threaded::{ErrorKind, RequestSpec};

use super::{outcome, pool};
use crate::support::framing::drip;
use crate::support::pools::outcomes_of;
use crate::support::process::eventually;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, redirect, values};

/// Redirects `/<status>` to `/to`, which responds with `done`.
fn crossroads() -> RecordingServer {
    RecordingServer::start(|request| match request.uri().path()[1..].parse() {
        Ok(status) => redirect(status, "/to"),
        Err(_) => Response::new(Bytes::from_static(b"done")),
    })
}

/// `/n` redirects n times.
fn staircase() -> RecordingServer {
    RecordingServer::start(|request| match request.uri().path()[1..].parse().unwrap() {
        0 => Response::new(Bytes::from_static(b"down")),
        left => redirect(302, format!("/{}", left - 1)),
    })
}

#[test]
fn method_and_body_change_as_the_status_says() {
    // Rows: what was sent. Columns: 301, 302, 303, 307, 308. Cells: what the target receives.
    let table = [
        ("GET", ["GET", "GET", "GET", "GET", "GET"]),
        ("POST", ["GET", "GET", "GET", "POST", "POST"]),
        ("PUT", ["PUT", "PUT", "GET", "PUT", "PUT"]),
        ("HEAD", ["HEAD", "HEAD", "HEAD", "HEAD", "HEAD"]),
        ("DELETE", ["DELETE", "DELETE", "GET", "DELETE", "DELETE"]),
    ];
    for (method, row) in table {
        for (status, expected) in [301, 302, 303, 307, 308].into_iter().zip(row) {
            let what = format!("{method}, {status}");
            let server = crossroads();
            let from = server.url(&format!("/{status}"));
            let mut spec = RequestSpec::new(method, &from);
            if matches!(method, "POST" | "PUT") {
                spec = spec.body("content");
            }
            let response = outcome(spec).unwrap();

            let received = server.received();
            let methods: Vec<_> = received.iter().map(|r| r.method().as_str()).collect();
            assert_eq!(methods, [method, expected], "{what}");
            let expected_body = match expected {
                "POST" | "PUT" => "content",
                _ => "",
            };
            assert_eq!(received[1].body(), expected_body, "{what}");
            assert_eq!(received[1].uri().path(), "/to", "{what}");

            assert_eq!(response.status(), 200, "{what}");
            let expected_text = if method == "HEAD" { "" } else { "done" };
            assert_eq!(response.text(), expected_text, "{what}");
            assert_eq!(response.url().as_str(), server.url("/to"), "{what}");
            let history: Vec<_> = response.history().iter().collect();
            assert_eq!(history.len(), 1, "{what}");
            assert_eq!(history[0].url().as_str(), from, "{what}");
            assert_eq!(history[0].status(), status, "{what}");
            assert_eq!(response.request().url(), from, "{what}");
        }
    }
}

#[test]
fn history_tells_all_hops_in_order() {
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/a" => redirect(301, "/b"),
        "/b" => redirect(307, "/c"),
        "/c" => redirect(303, "/d"),
        _ => Response::new(Bytes::new()),
    });
    let response = outcome(server.url("/a")).unwrap();
    let history: Vec<_> = response
        .history()
        .iter()
        .map(|hop| (hop.url().path(), hop.status().as_u16()))
        .collect();
    assert_eq!(history, [("/a", 301), ("/b", 307), ("/c", 303)]);
    assert_eq!(response.url().path(), "/d");
}

#[test]
fn what_described_a_body_goes_with_it() {
    let describing = [
        ("content-type", "text/plain"),
        ("content-encoding", "x-own"),
        ("content-language", "en"),
        ("content-location", "/doc"),
    ];
    let server = crossroads();
    let mut spec = RequestSpec::post(server.url("/302"))
        .body("content")
        .header("x-kept", "1");
    for (name, value) in describing {
        spec = spec.header(name, value);
    }
    outcome(spec).unwrap();
    outcome(RequestSpec::post(server.url("/303")).form(&[("a", "1")])).unwrap();

    let received = server.received();
    for (name, value) in describing {
        assert_eq!(values(&received[0], name), [value]);
        assert_eq!(values(&received[1], name), [""; 0]);
        assert_eq!(values(&received[3], name), [""; 0]);
    }
    assert_eq!(values(&received[1], "content-length"), [""; 0]);
    assert_eq!(values(&received[1], "x-kept"), ["1"]);
}

#[test]
fn bodies_are_sent_again_in_full() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(file.path(), &content).unwrap();
    for status in [307, 308] {
        let server = crossroads();
        let post =
            RequestSpec::post(server.url(&format!("/{status}"))).header("content-type", "x/y");
        for spec in [
            post.clone().body(content.clone()),
            post.clone().body_from_file(file.path()),
        ] {
            outcome(spec).unwrap();
        }
        let received = server.received();
        assert_eq!(received.len(), 4);
        for request in received {
            assert_eq!(request.method(), "POST");
            assert!(*request.body() == content, "{status}: another body");
            assert_eq!(values(&request, "content-length"), ["300000"]);
            assert_eq!(values(&request, "content-type"), ["x/y"]);
        }
    }
}

#[test]
fn a_limit_of_0_hands_back_the_redirect_itself() {
    let server = crossroads();
    let url = server.url("/302");
    let rows = [
        (pool(), RequestSpec::get(&url).max_redirects(0), 302),
        (pool().max_redirects(0), RequestSpec::get(&url), 302),
        (
            pool().max_redirects(0),
            RequestSpec::get(&url).max_redirects(1),
            200,
        ),
        (
            pool().max_redirects(3),
            RequestSpec::get(&url).max_redirects(0),
            302,
        ),
    ];
    for (row, (builder, spec, status)) in rows.into_iter().enumerate() {
        let response = outcomes_of(builder, [spec]).remove(0).unwrap();
        assert_eq!(response.status(), status, "row {row}");
        if status == 302 {
            assert_eq!(response.headers()["location"], "/to");
            assert_eq!(response.text(), "look elsewhere");
            assert_eq!(response.url().as_str(), url);
            assert!(response.history().is_empty());
        }
    }
}

#[test]
fn ten_redirects_are_followed_unless_told_otherwise() {
    for limit in [None, Some(2), Some(20)] {
        let most = limit.unwrap_or(10) as usize;
        let server = staircase();
        let builder = || match limit {
            None => pool(),
            Some(limit) => pool().max_redirects(limit),
        };
        let specs = [most, most + 1].map(|hops| server.url(&format!("/{hops}")));
        let mut outcomes = outcomes_of(builder(), specs);

        let exception = outcomes.remove(1).unwrap_err();
        assert!(exception.was_sent());
        match exception.kind() {
            ErrorKind::Redirect => {
                let hops = exception.hops();
                assert_eq!(hops.len(), most + 1, "limit {limit:?}");
                assert_eq!(hops[0].url().path(), format!("/{}", most + 1));
                assert_eq!(hops[most].url().path(), "/1");
            }
            other => panic!("{other:?}"),
        }
        let response = outcomes.remove(0).unwrap();
        assert_eq!(response.text(), "down");
        assert_eq!(response.history().len(), most);
    }
}

#[test]
fn a_loop_ends_at_the_limit() {
    let server = RecordingServer::start(|_| redirect(307, "/"));
    let error = outcome(RequestSpec::post(server.url("/")).body("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect, "{error:?}");
    assert_eq!(error.hops().len(), 11);
    assert_eq!(server.received().len(), 11);
}

#[test]
fn a_relative_location_counts_from_the_url_that_was_asked() {
    let rows = [
        ("c", "/a/c"),
        ("../c", "/c"),
        ("/c?y=2", "/c?y=2"),
        ("?y=2", "/a/b?y=2"),
        ("./c/../d", "/a/d"),
        ("/with space", "/with%20space"),
        ("/ä", "/%C3%A4"),
    ];
    for (location, expected) in rows {
        let server = RecordingServer::start(move |request| match request.uri().query() {
            Some("x=1") => redirect(302, location),
            _ => Response::new(Bytes::new()),
        });
        let response = outcome(server.url("/a/b?x=1")).unwrap();
        assert_eq!(response.url().as_str(), server.url(expected), "{location}");
        assert_eq!(server.received()[1].uri(), expected, "{location}");
    }
}

#[test]
fn a_location_without_a_scheme_keeps_that_of_the_request() {
    let target = RecordingServer::responding_ok();
    let location = target.url("/to").replace("http:", "");
    let server = RecordingServer::start(move |_| redirect(302, &location));
    let response = outcome(server.url("/")).unwrap();
    assert_eq!(response.url().as_str(), target.url("/to"));
}

#[test]
fn the_fragment_holds_on_until_a_location_has_its_own() {
    let rows = [
        ("/#top", "/to", "/to#top"),
        ("/#top", "/to#other", "/to#other"),
        ("/", "/to#other", "/to#other"),
        ("/", "/to", "/to"),
    ];
    for (asked, location, expected) in rows {
        let server = RecordingServer::start(move |request| match request.uri().path() {
            "/" => redirect(302, location),
            "/to" => redirect(302, "/end"),
            _ => Response::new(Bytes::new()),
        });
        let response = outcome(server.url(asked)).unwrap();
        assert_eq!(
            response.url().as_str(),
            server.url(expected).replace("/to", "/end")
        );
        assert_eq!(response.history()[1].url().as_str(), server.url(expected));
        assert_eq!(server.received()[1].uri(), "/to");
    }
}

#[test]
fn a_body_that_has_gone_when_a_redirect_asks_for_it_again_was_sent_before() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let file = std::sync::Mutex::new(Some(file));
    let server = RecordingServer::start(move |_| {
        drop(file.lock().unwrap().take());
        redirect(307, "/again")
    });
    let exception = outcome(RequestSpec::post(server.url("/")).body_from_file(path)).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::LocalResource, "{exception:?}");
    assert!(exception.was_sent());
}

/// Much longer than any of these tests takes, so that what is followed at once is told from what is waited for.
const DEADLINE: Duration = Duration::from_secs(100);

#[test]
fn a_redirect_is_followed_although_its_body_never_ends() {
    let bodies = [
        "\r\n",
        "Content-Length: 20\r\n\r\n",
        "Content-Length: 20\r\n\r\nsome",
        "Transfer-Encoding: chunked\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
    ];
    let target = RecordingServer::responding_ok();
    for body in bodies {
        for drips in [false, true] {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {}\r\n", target.url("/"));
            let server = RawServer::start(move |mut stream, _| {
                read_request(&mut stream);
                stream.write_all([&head, body].concat().as_bytes()).unwrap();
                let piece = if body.contains("chunked") {
                    "1\r\nx\r\n"
                } else {
                    "x"
                };
                if drips {
                    let pieces = (0..10_000).map(|_| piece.as_bytes());
                    drip(&mut stream, Duration::from_millis(10), pieces);
                }
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
            let response = outcome(RequestSpec::get(server.url("/")).timeout(DEADLINE));
            let response = response.unwrap();
            assert_eq!(response.text(), "ok");
            let taken = response.elapsed();
            assert!(taken < Duration::from_secs(10), "{body:?}: {taken:?}");
        }
    }
}

fn redirect_after(retry_after: &'static str) -> RecordingServer {
    RecordingServer::start(move |request| match request.uri().path() {
        "/to" => Response::new(Bytes::from_static(b"there")),
        _ => {
            let mut response = redirect(302, "/to");
            let value = retry_after.parse().unwrap();
            response.headers_mut().insert("retry-after", value);
            response
        }
    })
}

/// RFC 9110, section 10.2.3: the time that a client is asked to wait before it follows.
#[test]
fn a_redirect_is_followed_after_the_time_that_it_asks_for() {
    let pause = Duration::from_secs(1);
    let server = redirect_after("1");
    let response = outcome(server.url("/")).unwrap();
    assert_eq!(response.text(), "there");
    assert!(response.elapsed() >= pause, "{response:?}");
}

#[test]
fn a_wait_that_the_attempt_has_no_time_for_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let server = redirect_after("50");
    let limit = Duration::from_secs(40);
    let get = || RequestSpec::get(server.url("/"));
    for spec in [
        get().timeout(limit),
        // Of a download, each wait is limited, to 30 s by default.
        get().save_to(folder.path().join("target")),
        RequestSpec::get(redirect_after("Sun, 06 Nov 1994 08:49:37 GMT").url("/")),
    ] {
        let response = outcome(spec).unwrap();
        assert!(response.elapsed() < Duration::from_secs(10), "{response:?}");
    }
}

#[test]
fn a_job_that_waits_for_a_redirect_can_be_cancelled() {
    let server = redirect_after("90");
    let spec = RequestSpec::get(server.url("/")).timeout(DEADLINE);
    let pool = pool().concurrency(1).build().unwrap();
    let job = pool.spawn(spec).unwrap();
    eventually("the redirect was sent", || server.received().len() == 1);
    let started = Instant::now();
    job.cancel();
    assert_eq!(job.join().unwrap_err().kind(), ErrorKind::Cancelled);
    // The worker is free for another one.
    let next = pool.spawn(server.url("/to")).unwrap().join();
    assert_eq!(next.unwrap().text(), "there");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(server.received().len(), 2);
}
