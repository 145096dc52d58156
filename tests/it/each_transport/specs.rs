//! Specs as data: conversions, specs that come back with an outcome, and the errors of invalid ones.

use std::error::Error as _;

use bytes::Bytes;
use http::{Method, Request};
use threaded::{ErrorKind, Pool, RequestSpec, Session};
use url::Url;

use super::{outcome, pool};
use crate::support::pools::{in_order, outcomes_of, respond_ok};
use crate::support::raw::refused_address;
use crate::support::recording_server::{RecordingServer, values};

#[test]
fn an_extension_comes_back_with_the_outcome() {
    #[derive(Clone, Debug, PartialEq)]
    struct Row(u64);

    let server = RecordingServer::responding_ok();
    let refused = format!("http://{}/", refused_address());
    let specs = [server.url("/"), refused, "no url".to_owned()]
        .map(|url| RequestSpec::get(url).extension(Row(7)));
    for outcome in outcomes_of(pool(), specs) {
        let request = match &outcome {
            Ok(response) => response.request(),
            Err(exception) => exception.request(),
        };
        assert_eq!(
            request.extensions().get::<Row>(),
            Some(&Row(7)),
            "{outcome:?}"
        );
    }
}

#[test]
fn all_sorts_of_things_convert_into_a_spec() {
    let server = RecordingServer::responding_ok();
    let url = server.url("/p");
    let http = Request::post(&url)
        .header("X-A", "1")
        .extension(7_u8)
        .body(Bytes::from("text"))
        .unwrap();
    let get = RequestSpec::get(&url).header("X-A", "2");
    let failed = outcome(
        RequestSpec::put(&url)
            .body("again")
            .max_redirects(0)
            .proxy("ftp://test/"),
    )
    .unwrap_err();
    assert_eq!(RequestSpec::from(failed).method(), "PUT");
    let refused = RequestSpec::put(format!("http://{}/", refused_address())).body("again");
    let failed = outcome(refused).unwrap_err();
    assert!(failed.source().is_some());

    let specs: [RequestSpec; 7] = [
        url.as_str().into(),
        url.clone().into(),
        (&url).into(),
        Url::parse(&url).unwrap().into(),
        http.into(),
        (&get).into(),
        RequestSpec::from(failed).with_url(&url),
    ];
    let outcomes = outcomes_of(pool(), specs);
    let http_outcome = outcomes[4].as_ref().unwrap();
    assert_eq!(http_outcome.request().extensions().get::<u8>(), Some(&7));
    let expected = [
        ("GET", "", ""),
        ("GET", "", ""),
        ("GET", "", ""),
        ("GET", "", ""),
        ("POST", "1", "text"),
        ("GET", "2", ""),
        ("PUT", "", "again"),
    ];
    let received = server.received();
    assert_eq!(received.len(), expected.len());
    for (request, (method, header, body)) in received.iter().zip(expected) {
        assert_eq!(request.method(), method);
        assert_eq!(request.uri(), "/p");
        assert_eq!(values(request, "x-a").concat(), header);
        assert_eq!(request.body(), body);
    }
}

#[test]
fn a_template_is_sent_to_each_url() {
    let server = RecordingServer::responding_ok();
    let template = RequestSpec::post("http://nobody.test/")
        .header("X-A", "1")
        .body("text");
    let urls = ["/1", "/2"].map(|path| server.url(path));
    let built = pool()
        .concurrency(1)
        .build_from_urls_with(&urls, &template)
        .unwrap();
    let outcomes = in_order(built);
    for (outcome, url) in outcomes.iter().zip(&urls) {
        assert_eq!(outcome.as_ref().unwrap().request().url(), url);
    }
    let received = server.received();
    assert_eq!(received.len(), 2);
    for (request, path) in received.iter().zip(["/1", "/2"]) {
        assert_eq!(
            (request.method(), request.uri().path()),
            (&Method::POST, path)
        );
        assert_eq!(values(request, "x-a"), ["1"]);
        assert_eq!(request.body(), "text");
    }
}

#[test]
fn idempotent_is_what_the_user_says_or_the_method_or_a_key() {
    let rows = [
        ("GET", true),
        ("HEAD", true),
        ("PUT", true),
        ("DELETE", true),
        ("OPTIONS", true),
        ("TRACE", true),
        ("POST", false),
        ("PATCH", false),
        ("PROPFIND", false),
    ];
    for (method, expected) in rows {
        let spec = RequestSpec::new(method, "http://test/");
        assert_eq!(spec.is_idempotent(), expected, "{method}");
        assert!(spec.clone().idempotent(true).is_idempotent());
        assert!(!spec.clone().idempotent(false).is_idempotent());
        let keyed = spec.header("Idempotency-Key", "7");
        assert!(keyed.is_idempotent(), "{method}");
        assert!(!keyed.idempotent(false).is_idempotent());
    }
}

#[test]
fn a_bad_spec_harms_no_other_job() {
    let bad = [
        "",
        "no url",
        "/relative",
        "file:///etc/passwd",
        "http:///x",
        "http://",
        "http://h:99999/",
        "http://a b/",
    ];
    let specs = bad.into_iter().chain(["http://test/"]);
    let mut outcomes = outcomes_of(Pool::builder().session(|| Session::new(respond_ok)), specs);
    assert_eq!(outcomes.pop().unwrap().unwrap().text(), "ok");
    for (url, outcome) in bad.into_iter().zip(outcomes) {
        let exception = outcome.expect_err(url);
        assert_eq!(exception.request().url(), url);
        assert_eq!(
            exception.kind(),
            ErrorKind::InvalidRequest,
            "{url}: {exception:?}"
        );
    }
}
