//! What a server receives of a spec.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use threaded::{ErrorKind, Pool, RequestSpec, Session};

use super::{outcome, pool};
use crate::support::pools::outcomes_of;
use crate::support::raw::{RawServer, read_request};
use crate::support::recording_server::{RecordingServer, values};

/// The request that a server receives when this spec, made from the server's URL, is sent.
fn received<S: Into<RequestSpec>>(path: &str, make: impl FnOnce(String) -> S) -> Request<Bytes> {
    let server = RecordingServer::responding_ok();
    outcome(make(server.url(path))).unwrap();
    server.only()
}

fn assert_refused(spec: RequestSpec, what: &str) {
    let exception = outcome(spec).expect_err(what);
    let is_expected = exception.kind() == ErrorKind::InvalidRequest;
    assert!(is_expected, "{what}: {exception:?}");
    assert!(!exception.was_sent(), "{what}");
}

#[test]
fn each_method_is_sent() {
    let server = RecordingServer::responding_ok();
    let url = server.url("/");
    let specs = [
        RequestSpec::get(&url),
        RequestSpec::post(&url),
        RequestSpec::put(&url),
        RequestSpec::patch(&url),
        RequestSpec::delete(&url),
        RequestSpec::head(&url),
        RequestSpec::options(&url),
        RequestSpec::new("PROPFIND", &url),
        RequestSpec::new(Method::TRACE, &url),
    ];
    outcomes_of(pool(), specs);
    let methods: Vec<_> = server
        .received()
        .iter()
        .map(|r| r.method().to_string())
        .collect();
    let expected = [
        "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND", "TRACE",
    ];
    assert_eq!(methods, expected);
    assert_refused(RequestSpec::new("NO METHOD", &url), "a bad method");
    assert_refused(RequestSpec::new(Method::CONNECT, &url), "CONNECT");
}

#[test]
fn headers_are_added_and_replaced() {
    let mut replacing = HeaderMap::new();
    replacing.append("x-b", HeaderValue::from_static("3"));
    replacing.append("x-b", HeaderValue::from_static("4"));
    let request = received("/", |url| {
        RequestSpec::get(url)
            .header("X-A", "1")
            .header("x-a", "2")
            .header("X-B", "1")
            .headers(replacing)
            .header("X-Latin", HeaderValue::from_bytes(b"caf\xe9").unwrap())
    });
    assert_eq!(values(&request, "x-a"), ["1", "2"]);
    assert_eq!(values(&request, "x-b"), ["3", "4"]);
    assert_eq!(request.headers()["x-latin"].as_bytes(), b"caf\xe9");
}

#[test]
fn the_query_is_appended_and_the_fragment_stays_here() {
    let rows = [
        ("/p", "/p?a=b%26c&d=%C3%A4+e"),
        ("/p?x=1", "/p?x=1&a=b%26c&d=%C3%A4+e"),
        ("/p?x=1#top", "/p?x=1&a=b%26c&d=%C3%A4+e"),
    ];
    for (path, expected) in rows {
        let query = [("a", "b&c"), ("d", "ä e")];
        let request = received(path, |url| RequestSpec::get(url).query(&query));
        assert_eq!(request.uri(), expected);
    }
    assert_eq!(received("/p#top", RequestSpec::get).uri(), "/p");
    let no_pairs: [(&str, &str); 0] = [];
    assert_eq!(
        received("/p", |url| RequestSpec::get(url).query(&no_pairs)).uri(),
        "/p"
    );
}

#[test]
fn bodies_come_with_their_length_and_type() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 100_000]).unwrap();
    type Dress<'a> = &'a dyn Fn(RequestSpec) -> RequestSpec;
    let rows: [(Dress<'_>, &[u8], &str); 6] = [
        (&|spec| spec.body("text"), b"text", ""),
        (&|spec| spec.body(vec![0, 255]), b"\0\xff", ""),
        (
            &|spec| spec.form(&[("a", "1 2"), ("b", "&")]),
            b"a=1+2&b=%26",
            "application/x-www-form-urlencoded",
        ),
        (
            &|spec| spec.header("Content-Type", "x/y").form(&[("a", 1)]),
            b"a=1",
            "x/y",
        ),
        (&|spec| spec.body_from_file(file.path()), &[7; 100_000], ""),
        (&|spec| spec.body("first").body("last"), b"last", ""),
    ];
    for (row, (dress, body, content_type)) in rows.into_iter().enumerate() {
        let request = received("/", |url| dress(RequestSpec::post(url)));
        assert!(request.body() == body, "row {row}: another body");
        assert_eq!(
            values(&request, "content-length"),
            [body.len().to_string()],
            "row {row}"
        );
        assert_eq!(
            values(&request, "content-type").concat(),
            content_type,
            "row {row}"
        );
        assert_eq!(values(&request, "transfer-encoding"), [""; 0]);
    }
}

#[cfg(feature = "json")]
#[test]
fn json_is_sent_with_its_type() {
    let request = received("/", |url| RequestSpec::post(url).json(&[1, 2]));
    assert_eq!(request.body(), "[1,2]");
    assert_eq!(values(&request, "content-type"), ["application/json"]);
}

const METHODS_WITH_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

#[test]
fn a_post_of_an_empty_body_says_so() {
    for method in METHODS_WITH_BODY {
        let request = received("/", |url| RequestSpec::new(method, url).body(""));
        assert_eq!(values(&request, "content-length"), ["0"], "{method}");
    }
}

/// RFC 9110, section 8.6: a user agent should say so, and servers respond with 411 to one that does not.
#[test]
fn a_post_without_a_body_says_so() {
    for method in METHODS_WITH_BODY {
        let request = received("/", |url| RequestSpec::new(method, url));
        assert_eq!(values(&request, "content-length"), ["0"], "{method}");
    }
    let request = received("/", RequestSpec::get);
    assert_eq!(values(&request, "content-length"), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_invalid_request() {
    let server = RecordingServer::responding_ok();
    let directory = tempfile::tempdir().unwrap();
    for path in [
        directory.path().to_owned(),
        directory.path().join("missing"),
    ] {
        let what = path.display().to_string();
        assert_refused(
            RequestSpec::post(server.url("/")).body_from_file(path),
            &what,
        );
    }
    assert!(server.received().is_empty());
}

#[test]
fn credentials_are_sent() {
    let with =
        |user_info: &'static str| move |url: String| url.replace("//", &format!("//{user_info}@"));
    let rows = [
        (
            received("/", |url| {
                RequestSpec::get(url).basic_auth("user", Some("pass"))
            }),
            "Basic dXNlcjpwYXNz",
        ),
        (
            received("/", |url| {
                RequestSpec::get(url).basic_auth("user", None::<&str>)
            }),
            "Basic dXNlcjo=",
        ),
        (
            received("/", |url| RequestSpec::get(url).bearer_auth("t")),
            "Bearer t",
        ),
        (
            received("/", |url| {
                RequestSpec::get(url)
                    .basic_auth("user", Some("pass"))
                    .bearer_auth("t")
            }),
            "Bearer t",
        ),
        (received("/", with("user:pass")), "Basic dXNlcjpwYXNz"),
        (received("/", with("user")), "Basic dXNlcjo="),
        // `us@er` and `p:ä`, decoded.
        (
            received("/", with("us%40er:p%3A%C3%A4")),
            "Basic dXNAZXI6cDrDpA==",
        ),
        (
            received("/", |url| {
                RequestSpec::get(with("user:pass")(url)).bearer_auth("t")
            }),
            "Bearer t",
        ),
    ];
    for (row, (request, expected)) in rows.into_iter().enumerate() {
        assert_eq!(values(&request, "authorization"), [expected], "row {row}");
    }
}

#[test]
fn cookies_are_joined() {
    let request = received("/", |url| {
        RequestSpec::get(url).cookie("a", "1").cookie("b", "2=3")
    });
    assert_eq!(values(&request, "cookie"), ["a=1; b=2=3"]);
    assert_refused(
        RequestSpec::get("http://test/").cookie("a", "1; b=2"),
        "a semicolon",
    );
    assert_refused(
        RequestSpec::get("http://test/").cookie("a", "1\r\nX: 2"),
        "a line break",
    );
}

#[test]
fn the_session_fills_in_what_the_spec_leaves_open() {
    let server = RecordingServer::responding_ok();
    let builder = pool()
        .initializer(|session| {
            session
                .header("X-A", "1")
                .header("X-A", "2")
                .header("Cookie", "s=1")
        })
        .auth_generator(|session| session.basic_auth("user", Some("pass")));
    let get = || RequestSpec::get(server.url("/"));
    let user_info = server.url("/").replace("//", "//own@");
    let own = get()
        .header("x-a", "3")
        .cookie("own", "1")
        .bearer_auth("own");
    outcomes_of(builder, [get(), own, RequestSpec::get(user_info)]);
    let received = server.received();
    let all = |name| -> Vec<_> {
        received
            .iter()
            .map(|request| values(request, name))
            .collect()
    };
    assert_eq!(all("x-a"), [vec!["1", "2"], vec!["3"], vec!["1", "2"]]);
    assert_eq!(all("cookie"), [["s=1"], ["own=1"], ["s=1"]]);
    let expected = [["Basic dXNlcjpwYXNz"], ["Bearer own"], ["Basic b3duOg=="]];
    assert_eq!(all("authorization"), expected);
}

#[test]
fn the_user_agent_is_the_crates_unless_another_one_is_set() {
    let server = RecordingServer::responding_ok();
    let get = || RequestSpec::get(server.url("/"));
    outcomes_of(pool(), [get(), get().header("User-Agent", "spec/1")]);
    let builder = || pool().initializer(|session| session.user_agent("session/1"));
    outcomes_of(builder(), [get(), get().header("User-Agent", "spec/1")]);
    let session = || Session::default().client(|client| client.no_proxy().user_agent("client/1"));
    outcomes_of(Pool::builder().session(session), [get()]);
    let named = move || session().user_agent("session/1");
    outcomes_of(Pool::builder().session(named), [get()]);

    let received = server.received();
    let sent: Vec<_> = received
        .iter()
        .map(|request| values(request, "user-agent").concat())
        .collect();
    let own = concat!("reqwest-threaded/", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        sent,
        [
            own,
            "spec/1",
            "session/1",
            "spec/1",
            "client/1",
            "session/1"
        ]
    );
}

#[test]
fn host_and_length_may_be_set_rightly() {
    let request = received("/", |url| {
        let spec = RequestSpec::post(url).header("Host", "virtual.test");
        spec.header("Content-Length", "4").body("text")
    });
    assert_eq!(values(&request, "host"), ["virtual.test"]);
    assert_eq!(values(&request, "content-length"), ["4"]);
    let request = received("/", |url| {
        RequestSpec::get(url).header("Content-Length", "0")
    });
    assert!(request.body().is_empty());

    let server = RecordingServer::responding_ok();
    let post = || RequestSpec::post(server.url("/")).body("text");
    assert_refused(post().header("Content-Length", "3"), "a wrong length");
    assert_refused(post().header("Content-Length", "4, 4"), "two lengths");
    assert_refused(post().header("Transfer-Encoding", "chunked"), "a framing");
    assert_refused(post().header("X", "a\r\nY: b"), "a line break in a value");
    assert_refused(post().header("X\r\nY", "a"), "a line break in a name");
    assert_refused(post().header("Host", "a").header("Host", "b"), "two hosts");
    assert!(server.received().is_empty());
}

#[test]
fn host_is_that_of_the_url() {
    let server = RecordingServer::responding_ok();
    outcome(server.url("/")).unwrap();
    let expected = format!("127.0.0.1:{}", server.port());
    assert_eq!(values(&server.only(), "host"), [expected]);
}

#[test]
fn an_international_host_is_sent_in_ascii() {
    // A proxy gets the whole URL, so that no name has to be resolved.
    let (tell, told) = crossbeam_channel::unbounded();
    let proxy = RawServer::start(move |mut stream, _| {
        tell.send(read_request(&mut stream)).unwrap();
        let _ =
            std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let spec = RequestSpec::get("http://bücher.test/ä?ö").proxy(proxy.url("/"));
    let response = outcome(spec).unwrap();
    let head = told.recv().unwrap();
    assert!(
        head.starts_with("GET http://xn--bcher-kva.test/%C3%A4?%C3%B6 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains("\r\nhost: xn--bcher-kva.test\r\n"),
        "{head}"
    );
    assert_eq!(response.url().host_str(), Some("xn--bcher-kva.test"));
}

#[test]
fn a_cookie_joins_those_that_headers_have_set() {
    let request = received("/", |url| {
        let spec = RequestSpec::get(url)
            .header("Cookie", "a=1")
            .header("Cookie", "b=2");
        spec.cookie("c", "3")
    });
    assert_eq!(values(&request, "cookie"), ["a=1; b=2; c=3"]);
}

#[test]
fn expect_100_continue_is_not_sent_since_it_is_not_waited_for() {
    let request = received("/", |url| {
        let spec = RequestSpec::post(url).header("Expect", "100-continue");
        spec.body("content")
    });
    assert_eq!(values(&request, "expect"), [""; 0]);
    assert_eq!(request.body(), "content");
}
