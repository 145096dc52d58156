//! Jobs and outcomes as data: JSON forms that travel, and what is refused.
#![cfg(feature = "serde")]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use threaded::{
    Auth, ErrorKind, Exchange, Outcome, Pool, RequestSpec, ResponseBody, Session, jsonl,
};

use super::pool;
use crate::support::pools::{outcome_of, outcomes_of, respond_ok};
use crate::support::recording_server::{RecordingServer, redirect, values};

fn to_json(spec: &RequestSpec) -> Value {
    serde_json::to_value(spec).unwrap()
}

fn from_json(value: Value) -> Result<RequestSpec, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn a_spec_has_a_json_form_that_says_only_what_is_set() {
    let plain = RequestSpec::get("https://example.com/");
    let form = json!({"v": 1, "method": "GET", "url": "https://example.com/"});
    assert_eq!(to_json(&plain), form);

    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    let full = RequestSpec::post("https://example.com/items?a=1#top")
        .header("Accept", "text/plain")
        .header("Accept", "text/html")
        .header(
            "X-Latin",
            http::HeaderValue::from_bytes(b"caf\xe9").unwrap(),
        )
        .body("content")
        .timeout(Duration::from_micros(1_500_250))
        .max_redirects(3)
        .proxy("http://proxy.test:8080/")
        .max_body(1000)
        .decode(false)
        .idempotent(true)
        .save_to(&target)
        .create_dirs(true)
        .overwrite(false)
        .resume(true)
        .segments(4)
        .if_modified(&target)
        .remote_time(true)
        .sync(true)
        .verify_digest_headers(true)
        .sha256("AB".repeat(32))
        .sha512("cd".repeat(64))
        .md5("ef".repeat(16))
        .auth_named("billing")
        .tag(json!({"row": 17}));
    let form = json!({
        "v": 1,
        "method": "POST",
        "url": "https://example.com/items?a=1#top",
        "headers": [
            ["accept", "text/plain"],
            ["accept", "text/html"],
            ["x-latin", {"base64": "Y2Fm6Q=="}],
        ],
        "body": {"utf8": "content"},
        "timeout_ms": 1500.25,
        "max_redirects": 3,
        "proxy": "http://proxy.test:8080/",
        "max_body": 1000,
        "decode": false,
        "idempotent": true,
        "save_to": target.to_str().unwrap(),
        "create_dirs": true,
        "overwrite": false,
        "resume": true,
        "segments": 4,
        "if_modified": target.to_str().unwrap(),
        "remote_time": true,
        "sync": true,
        "verify_digest_headers": true,
        "sha256": "ab".repeat(32),
        "sha512": "cd".repeat(64),
        "md5": "ef".repeat(16),
        "auth": "billing",
        "tag": {"row": 17},
    });
    assert_eq!(to_json(&full), form);

    let again = from_json(form).unwrap();
    assert_eq!(format!("{again:?}"), format!("{full:?}"));
    assert_eq!(again.time_limit(), full.time_limit());
    assert_eq!(again.tag_value(), full.tag_value());
    assert_eq!(again.auth_name(), Some("billing"));
    assert!(again.creates_dirs() && again.resumes() && again.keeps_remote_time());
    assert!(again.syncs() && again.verifies_digest_headers());
    assert_eq!(again.max_segments(), 4);
    assert_eq!(again.overwrites(), Some(false));
    assert_eq!(again.if_modified_path(), Some(&*target));
    assert_eq!(again.expected_sha256(), Some("ab".repeat(32)));
}

#[test]
fn a_folder_to_save_into_has_a_json_form() {
    let spec = RequestSpec::get("https://example.com/").save_into("folder");
    assert_eq!(spec.save_folder(), Some(Path::new("folder")));
    let form = json!({"v": 1, "method": "GET", "url": spec.url(), "save_into": "folder"});
    assert_eq!(to_json(&spec), form);
    let again = from_json(form).unwrap();
    assert_eq!(again.save_folder(), spec.save_folder());
    assert_eq!(again.save_to("file").save_folder(), None);
}

#[test]
fn a_limit_that_is_lifted_is_told_from_one_that_is_not_set() {
    let lifted = RequestSpec::get("http://a.test/")
        .timeout(None)
        .max_body(None);
    let form = to_json(&lifted);
    assert_eq!(
        (&form["timeout_ms"], &form["max_body"]),
        (&Value::Null, &Value::Null)
    );
    let again = from_json(form).unwrap();
    assert_eq!(
        (again.time_limit(), again.body_limit()),
        (Some(None), Some(None))
    );
    let unset = from_json(json!({"url": "http://a.test/"})).unwrap();
    assert_eq!((unset.time_limit(), unset.body_limit()), (None, None));
}

#[test]
fn what_is_no_data_and_what_is_secret_is_refused_by_its_name() {
    let get = || RequestSpec::get("http://a.test/");
    let mut sensitive = http::HeaderValue::from_static("s3cr3t");
    sensitive.set_sensitive(true);
    let rows = [
        (get().read_with(|_, _| Ok(())), "read_with"),
        (get().extension(7_u32), "extension"),
        (get().bearer_auth("s3cr3t"), "authorization"),
        (get().header("X-Api-Key", "s3cr3t"), "x-api-key"),
        (get().cookie("id", "s3cr3t"), "cookie"),
        (get().header("X-Plain", sensitive), "x-plain"),
        (
            RequestSpec::get("http://user:s3cr3t@a.test/"),
            "user info of the URL",
        ),
        (
            get().proxy("http://user:s3cr3t@a.test/"),
            "user info of the proxy",
        ),
        (
            get().proxy("user:s3cr3t@a.test:80"),
            "user info of the proxy",
        ),
        (get().header("bad name", "x"), "header"),
    ];
    for (spec, what) in rows {
        let message = serde_json::to_string(&spec).unwrap_err().to_string();
        assert!(message.contains(what), "{what}: {message}");
        assert!(!message.contains("s3cr3t"), "{message}");
    }
}

#[test]
fn a_form_that_cannot_be_read_is_an_error_that_names_what_is_wrong() {
    let url = "http://a.test/";
    let rows = [
        (json!({"url": url, "ulr": 1}), "unknown field `ulr`"),
        (json!({"v": 2, "url": url}), "`v` is 2"),
        (json!({"v": 1}), "url"),
        (json!({"url": url, "method": "G T"}), "`G T`"),
        (json!({"url": url, "headers": [["a b", "x"]]}), "header"),
        (json!({"url": url, "headers": [["a", "x\r\ny"]]}), "header"),
        (
            json!({"url": url, "headers": [["a", {"base64": "%"}]]}),
            "base64",
        ),
        (json!({"url": url, "headers": [["a"]]}), "tuple"),
        (json!({"url": url, "body": {}}), "`body`"),
        (
            json!({"url": url, "body": {"utf8": "a", "file": "b"}}),
            "`body`",
        ),
        (
            json!({"url": url, "body": {"text": "a"}}),
            "unknown field `text`",
        ),
        (
            json!({"url": url, "body": {"utf8": "a", "content_type": "a\nb"}}),
            "content_type",
        ),
        (json!({"url": url, "timeout_ms": -1}), "timeout_ms"),
        (json!({"url": url, "timeout_ms": "1"}), "invalid type"),
        (json!({"url": url, "sha256": "12"}), "`sha256`"),
        (
            json!({"url": url, "save_to": "a", "handler": "b"}),
            "`save_to` and `handler`",
        ),
        (
            json!({"url": url, "save_to": "a", "save_into": "b"}),
            "`save_to` and `save_into`",
        ),
        (json!({"url": url, "gzip": 12}), "gzip"),
        (json!(7), "a URL"),
        (json!([url]), "a URL"),
    ];
    for (form, what) in rows {
        let message = from_json(form.clone()).unwrap_err();
        assert!(message.contains(what), "{form}: {message}");
    }
    // As ever, a URL is checked when the job is due.
    let spec = from_json(json!("no URL")).unwrap();
    assert_eq!(
        outcome_of(pool(), spec).unwrap_err().kind(),
        ErrorKind::InvalidRequest
    );
}

fn specs() -> impl Strategy<Value = RequestSpec> {
    let method = prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"]);
    let names = prop::sample::select(vec!["X-One", "X-Two", "Accept", "Content-Type"]);
    let values = prop::collection::vec(0x20_u8..=0xff, 0..20).prop_map(|bytes| {
        let printable = bytes.into_iter().filter(|byte| *byte != 0x7f);
        printable.collect::<Vec<u8>>()
    });
    let headers = prop::collection::vec((names, values), 0..5);
    let body = prop::option::of(prop::collection::vec(any::<u8>(), 0..200));
    let flags = (any::<Option<bool>>(), any::<bool>(), any::<bool>());
    (method, "[a-z/?=&%]{0,20}", headers, body, flags).prop_map(
        |(method, path, headers, body, (decode, is_form, is_compressed))| {
            let mut spec = RequestSpec::new(method, format!("http://stub.test/{path}"));
            for (name, value) in headers {
                spec = spec.header(name, value);
            }
            if let Some(body) = body {
                spec = spec.body(body);
            }
            if is_form {
                spec = spec.form(&[("a", "b c")]);
            }
            if let Some(decode) = decode {
                spec = spec.decode(decode);
            }
            if is_compressed {
                spec = spec.gzip(6);
            }
            spec
        },
    )
}

/// What a transport would send: method, URL, headers and body.
fn sent(spec: RequestSpec) -> Option<(String, String, http::HeaderMap, Vec<u8>)> {
    let transport = |exchange: Exchange<'_>| {
        let mut body = Vec::new();
        if let Some(content) = exchange.body() {
            std::io::Read::read_to_end(&mut content.reader().unwrap(), &mut body).unwrap();
        }
        let mut response = http::Response::new(ResponseBody::from(body));
        *response.headers_mut() = exchange.headers().clone();
        Ok(response)
    };
    let (method, url) = (spec.method().to_string(), spec.url().to_owned());
    let builder = Pool::builder().session(move || Session::new(transport));
    let response = outcome_of(builder, spec.decode(false)).ok()?;
    Some((
        method,
        url,
        response.headers().clone(),
        response.bytes().to_vec(),
    ))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_spec_that_was_data_sends_the_same_bytes(spec in specs()) {
        let text = serde_json::to_string(&spec).unwrap();
        let again: RequestSpec = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(format!("{again:?}"), format!("{spec:?}"));
        prop_assert_eq!(sent(again), sent(spec));
    }
}

#[cfg(feature = "multipart")]
#[test]
fn a_form_with_files_travels_with_the_names_of_its_files() {
    use threaded::multipart::Form;

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"\0\xff").unwrap();
    let form = Form::new()
        .text("title", "Söhne")
        .file("photo", file.path());
    let spec = RequestSpec::post("http://stub.test/").multipart(form);
    let again = from_json(to_json(&spec)).unwrap();
    let bytes = sent(spec).unwrap();
    assert!(bytes.3.windows(2).any(|pair| pair == b"\0\xff"));
    assert_eq!(sent(again).unwrap(), bytes);
}

#[test]
fn a_handler_is_found_by_its_name() {
    let server = RecordingServer::responding_ok();
    let (seen_tx, seen) = threaded::crossbeam_channel::unbounded();
    let builder = pool().handler("collect", move |head, body| {
        let mut text = String::new();
        body.read_to_string(&mut text)?;
        seen_tx.send((head.status().as_u16(), text))?;
        Ok(())
    });
    let spec = from_json(json!({"url": server.url("/"), "handler": "collect"})).unwrap();
    assert_eq!(spec.handler_name(), Some("collect"));
    let unknown = RequestSpec::get(server.url("/")).handler("other");
    let mut outcomes = outcomes_of(builder, [spec, unknown]);
    let exception = outcomes.remove(1).unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest);
    assert!(exception.to_string().contains("`other`"), "{exception}");
    assert!(outcomes.remove(0).unwrap().bytes().is_empty());
    assert_eq!(
        seen.try_iter().collect::<Vec<_>>(),
        [(200, "ok".to_owned())]
    );
    assert_eq!(server.received().len(), 1);
}

#[test]
fn credentials_are_found_by_their_name_and_stay_with_their_origin() {
    let other = RecordingServer::responding_ok();
    let elsewhere = other.url("/");
    let server = RecordingServer::start(move |request| match request.uri().path() {
        "/away" => redirect(302, &elsewhere),
        _ => http::Response::new(Bytes::from_static(b"ok")),
    });
    let builder = pool().initializer(|session| {
        let session = session.bearer_auth("general");
        session.auth_named("billing", Auth::bearer("special"))
    });
    let get = |path| RequestSpec::get(server.url(path));
    let specs = [
        get("/"),
        get("/").auth_named("billing"),
        get("/").auth_named("billing").bearer_auth("own"),
        get("/away").auth_named("billing"),
        get("/").auth_named("unknown"),
    ];
    let mut outcomes = outcomes_of(builder, specs);
    let exception = outcomes.pop().unwrap().unwrap_err();
    assert_eq!(exception.kind(), ErrorKind::InvalidRequest);
    assert!(exception.to_string().contains("`unknown`"), "{exception}");
    outcomes
        .into_iter()
        .for_each(|outcome| drop(outcome.unwrap()));
    let sent = server.received();
    let sent: Vec<_> = sent
        .iter()
        .map(|request| values(request, "authorization").concat())
        .collect();
    assert_eq!(
        sent,
        [
            "Bearer general",
            "Bearer special",
            "Bearer own",
            "Bearer special"
        ]
    );
    assert_eq!(values(&other.only(), "authorization"), [""; 0]);
}

fn line(outcome: &Outcome) -> Value {
    let mut line = Vec::new();
    jsonl::write(&mut line, outcome).unwrap();
    assert_eq!(line.pop(), Some(b'\n'));
    assert!(!line.contains(&b'\n'));
    serde_json::from_slice(&line).unwrap()
}

#[test]
fn an_outcome_has_a_json_form_without_secrets() {
    let server = RecordingServer::start(|request| match request.uri().path() {
        "/moved" => redirect(302, "/to"),
        _ => http::Response::builder()
            .header("content-type", "text/plain")
            .header("set-cookie", "id=s3cr3t")
            .body(Bytes::from_static(b"\xff"))
            .unwrap(),
    });
    let secret_url = server.url("/moved").replace("//", "//user:s3cr3t@");
    let spec = RequestSpec::get(secret_url)
        .header("X-Api-Key", "s3cr3t")
        .tag("row");
    let outcome = outcome_of(pool(), spec.read_with(|_, _| Ok(())));
    let data = line(&outcome);
    assert!(!data.to_string().contains("s3cr3t"), "{data}");

    let data = line(&outcome_of(
        pool(),
        RequestSpec::get(server.url("/moved")).tag("row"),
    ));
    assert_eq!(
        (&data["v"], &data["index"], &data["attempts"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert!(data["elapsed_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(data["request"]["tag"], "row");
    let response = &data["response"];
    assert_eq!(
        (&response["status"], &response["version"]),
        (&json!(200), &json!("HTTP/1.1"))
    );
    assert_eq!(response["url"], server.url("/to"));
    assert_eq!(
        response["history"],
        json!([{"status": 302, "url": server.url("/moved")}])
    );
    assert_eq!(response["body"], json!({"base64": "/w=="}));
    assert!(
        response["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["content-type", "text/plain"]))
    );
    assert_eq!(data.get("error"), None);
}

#[test]
fn an_exception_has_the_kind_and_the_message_of_its_error() {
    let data = line(&outcome_of(pool(), "http://no-such-host.invalid/"));
    assert_eq!(
        (&data["error"]["kind"], &data["error"]["was_sent"]),
        (&json!("Dns"), &json!(false))
    );
    let message = data["error"]["message"].as_str().unwrap();
    assert!(message.contains("could not resolve"), "{message}");
    assert_eq!(data.get("response"), None);

    let server = RecordingServer::start(|_| {
        let response = http::Response::builder().status(503);
        response.body(Bytes::from_static(b"busy")).unwrap()
    });
    let data = line(&outcome_of(pool().error_for_status(true), server.url("/")));
    assert_eq!(data["error"]["kind"], "Status");
    assert_eq!(data["response"]["body"], json!({"utf8": "busy"}));
}

#[test]
fn lines_are_read_one_by_one_and_a_bad_one_is_passed_over() {
    let input = [
        &b"{\"url\": \"http://a.test/1\"}\n\n  \r\n\"http://a.test/2\"\r\n"[..],
        b"{\"url\": \"http://a.test/3\"\n{\"url\": 7}\n\xff\n",
        b"{\"url\": \"http://a.test/4\", \"v\": 3}\n\"http://a.test/5\"",
    ];
    let specs: Vec<_> = jsonl::read(&*input.concat()).collect();
    let read: Vec<_> = specs
        .iter()
        .map(|spec| match spec {
            Ok(spec) => spec.url().to_owned(),
            Err(error) => error.line().to_string(),
        })
        .collect();
    assert_eq!(
        read,
        [
            "http://a.test/1",
            "http://a.test/2",
            "5",
            "6",
            "7",
            "8",
            "http://a.test/5"
        ]
    );
    let message = specs[5].as_ref().unwrap_err().to_string();
    assert!(
        message.starts_with("line 8, column") && message.contains("`v` is 3"),
        "{message}"
    );
    assert_eq!(message.matches("line").count(), 1, "{message}");
}

#[test]
fn a_reader_that_fails_is_the_last_item() {
    struct Failing;

    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }

    let mut specs = jsonl::read(std::io::BufReader::new(Failing));
    let message = specs.next().unwrap().unwrap_err().to_string();
    assert_eq!(message, "line 1: the disk is gone");
    assert!(specs.next().is_none());
}

#[test]
fn lines_in_are_lines_out() {
    let lines = std::io::Cursor::new(b"\"http://stub.test/\"\n".repeat(20_000));
    let specs = jsonl::read(std::io::BufReader::new(lines)).map(Result::unwrap);
    let builder = Pool::builder().session(|| Session::new(respond_ok));
    let mut written = 0;
    for outcome in builder.imap_unordered(specs).unwrap() {
        jsonl::write_without_body(std::io::sink(), &outcome).unwrap();
        let data = serde_json::to_value(outcome.as_ref().unwrap()).unwrap();
        assert_eq!(data["response"]["body"], json!({"utf8": "ok"}));
        written += 1;
    }
    assert_eq!(written, 20_000);
}
