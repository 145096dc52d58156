//! Promise 9: redirects leak nothing.

use std::sync::mpsc;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use threaded::{Exchange, Pool, RequestSpec, ResponseBody, Session};

use super::{PoolBuilder, outcome, pool};
use crate::support::pools::outcomes_of;
use crate::support::recording_server::{RecordingServer, redirect, values};

/// The secret of these tests.
const SECRET: &str = "s3cr3t";

/// `/start` → the other server's `/1` → its `/2` → back to the first server's `/end`.
fn round_trip() -> (RecordingServer, RecordingServer) {
    let other = RecordingServer::start(|request| match request.uri().path() {
        "/1" => redirect(307, "/2"),
        _ => redirect(307, request.headers()["x-way-back"].as_bytes()),
    });
    let away = other.url("/1");
    let first = RecordingServer::start(move |request| match request.uri().path() {
        "/start" => redirect(307, &away),
        "/near" => redirect(307, "/end"),
        _ => Response::new(Bytes::from_static(b"end")),
    });
    (first, other)
}

fn marked(value: &'static str) -> HeaderValue {
    let mut value = HeaderValue::from_static(value);
    value.set_sensitive(true);
    value
}

type Row = (
    &'static str,
    fn() -> PoolBuilder,
    fn(RequestSpec) -> RequestSpec,
);

/// Every way to add a secret to a request, by the header that carries it.
const WAYS: [Row; 10] = [
    ("authorization", pool, |spec| spec.bearer_auth(SECRET)),
    ("authorization", pool, |spec| {
        spec.basic_auth(SECRET, Some(SECRET))
    }),
    ("authorization", pool, |spec| {
        spec.header("Authorization", SECRET)
    }),
    ("cookie", pool, |spec| spec.cookie("id", SECRET)),
    ("proxy-authorization", pool, |spec| {
        spec.header("Proxy-Authorization", SECRET)
    }),
    ("x-api-key", pool, |spec| spec.header("X-Api-Key", SECRET)),
    ("x-own", pool, |spec| spec.header("X-Own", marked(SECRET))),
    (
        "authorization",
        || pool().auth_generator(|session| session.bearer_auth(SECRET)),
        |spec| spec,
    ),
    (
        "cookie",
        || pool().initializer(|session| session.header("Cookie", SECRET)),
        |spec| spec,
    ),
    (
        "x-own",
        || pool().initializer(|session| session.header("X-Own", marked(SECRET))),
        |spec| spec,
    ),
];

fn has(request: &Request<Bytes>, name: &str) -> bool {
    request.headers().contains_key(name)
}

/// Whether each request carried the header, in the order in which they came.
fn carried(server: &RecordingServer, name: &str) -> Vec<bool> {
    let received = server.received();
    received.iter().map(|request| has(request, name)).collect()
}

#[test]
fn secrets_end_where_another_origin_begins_and_stay_gone() {
    for (row, (name, builder, dress)) in WAYS.into_iter().enumerate() {
        let (first, other) = round_trip();
        let spec = RequestSpec::post(first.url("/start"))
            .body("content")
            .header("X-Way-Back", first.url("/end"))
            .header("X-Plain", "1");
        let response = outcomes_of(builder(), [dress(spec)]).remove(0).unwrap();
        assert_eq!(response.text(), "end");
        assert_eq!(
            carried(&first, name),
            [true, false],
            "row {row}, {name}: first origin"
        );
        assert_eq!(
            carried(&other, name),
            [false, false],
            "row {row}, {name}: other origin"
        );
        // What is no secret goes along, and nothing holds the secret under another name.
        assert_eq!(carried(&other, "x-plain"), [true, true]);
        for request in other.received() {
            assert!(
                !format!("{:?}", request.headers()).contains(SECRET),
                "row {row}"
            );
            assert_eq!(request.body(), "content");
        }
    }
}

#[test]
fn secrets_go_along_within_an_origin() {
    for (row, (name, builder, dress)) in WAYS.into_iter().enumerate() {
        let (first, _other) = round_trip();
        let spec = RequestSpec::get(first.url("/near"));
        outcomes_of(builder(), [dress(spec)]).remove(0).unwrap();
        assert_eq!(carried(&first, name), [true, true], "row {row}, {name}");
        let received = first.received();
        assert_eq!(values(&received[0], name), values(&received[1], name));
    }
}

#[test]
fn the_user_info_of_a_url_is_a_secret_too() {
    let with_user = |url: String| url.replace("http://", "http://user:s3cr3t@");
    let (first, other) = round_trip();
    let spec = RequestSpec::get(with_user(first.url("/start")));
    let response = outcome(spec.header("X-Way-Back", first.url("/end"))).unwrap();
    assert_eq!(carried(&first, "authorization"), [true, false]);
    assert_eq!(carried(&other, "authorization"), [false, false]);
    for url in response.history().iter().map(|hop| hop.url()) {
        assert_eq!((url.username(), url.password()), ("", None));
    }

    let (first, _other) = round_trip();
    outcome(with_user(first.url("/near"))).unwrap();
    assert_eq!(carried(&first, "authorization"), [true, true]);
}

#[test]
fn the_same_secret_serves_the_next_job_again() {
    let (first, _other) = round_trip();
    let builder = pool().initializer(|session| session.bearer_auth(SECRET));
    let start = RequestSpec::get(first.url("/start")).header("X-Way-Back", first.url("/end"));
    let outcomes = outcomes_of(builder, [start, first.url("/end").into()]);
    assert!(outcomes.iter().all(|outcome| outcome.is_ok()));
    assert_eq!(carried(&first, "authorization"), [true, false, true]);
}

#[test]
fn the_user_info_of_a_location_is_not_sent() {
    let target = RecordingServer::responding_ok();
    let location = target.url("/to").replace("http://", "http://user:pass@");
    let server = RecordingServer::start(move |_| redirect(302, &location));
    let response = outcome(server.url("/")).unwrap();
    assert!(!has(&target.only(), "authorization"));
    assert_eq!(response.url().as_str(), target.url("/to"));

    // Nor does it replace what the request brings along.
    let server = RecordingServer::start(move |request| match request.uri().path() {
        "/end" => Response::new(Bytes::new()),
        _ => {
            let host = request.headers()["host"].to_str().unwrap();
            redirect(302, format!("http://user:pass@{host}/end"))
        }
    });
    outcome(RequestSpec::get(server.url("/")).bearer_auth(SECRET)).unwrap();
    let expected = [format!("Bearer {SECRET}")];
    assert_eq!(values(&server.received()[1], "authorization"), expected);
}

#[test]
fn a_host_of_the_users_choice_is_for_the_first_origin_only() {
    let (first, other) = round_trip();
    let spec = RequestSpec::get(first.url("/start"))
        .header("Host", "virtual.test")
        .header("X-Way-Back", first.url("/end"));
    outcome(spec).unwrap();
    assert_eq!(values(&first.received()[0], "host"), ["virtual.test"]);
    let own = format!("127.0.0.1:{}", other.port());
    assert_eq!(values(&other.received()[0], "host"), [own]);
}

#[test]
fn no_referer_is_sent() {
    let (first, other) = round_trip();
    let spec = RequestSpec::get(first.url("/start")).header("X-Way-Back", first.url("/end"));
    outcome(spec).unwrap();
    for server in [&first, &other] {
        assert_eq!(carried(server, "referer"), [false, false]);
    }
}

#[cfg(any(feature = "default-tls", feature = "native-tls"))]
#[test]
fn https_to_http_is_another_origin() {
    use super::trusting_pool;
    use crate::support::tls::certificate_for;

    let certificate = certificate_for(&["localhost"]);
    let plain = RecordingServer::responding_ok();
    // Only the scheme and the port differ.
    let location = plain.url("/to").replace("127.0.0.1", "localhost");
    let secure =
        RecordingServer::start_tls(certificate.config.clone(), move |request| {
            match request.uri().path() {
                "/start" => redirect(302, "/near"),
                "/near" => redirect(302, &location),
                _ => Response::new(Bytes::new()),
            }
        });
    let builder =
        trusting_pool(&certificate.pem).initializer(|session| session.header("Cookie", SECRET));
    let spec = RequestSpec::get(secure.url("/start"))
        .bearer_auth(SECRET)
        .header("X-Api-Key", SECRET);
    let response = outcomes_of(builder, [spec]).remove(0).unwrap();
    assert_eq!(response.text(), "ok");
    for name in ["authorization", "cookie", "x-api-key"] {
        assert_eq!(carried(&secure, name), [true, true], "{name}");
        assert!(!has(&plain.only(), name), "{name}");
    }
}

#[test]
fn an_origin_is_scheme_host_and_port() {
    let rows = [
        ("http://test/", "http://test/to", true),
        ("http://test/", "http://test:80/to", true),
        ("https://test:443/", "https://TEST/to", true),
        ("http://test:81/", "http://test:81/to", true),
        ("http://test:81/", "http://test:82/to", false),
        ("http://test/", "http://a.test/to", false),
        ("http://a.test/", "http://test/to", false),
        ("http://test:81/", "https://test:81/to", false),
        ("https://test:81/", "http://test:81/to", false),
        ("http://127.0.0.1/", "http://localhost/to", false),
    ];
    for (from, to, is_same) in rows {
        let (tell, told) = mpsc::channel();
        let stub = move |exchange: Exchange<'_>| {
            tell.send(exchange.headers().contains_key("authorization"))
                .unwrap();
            let response = http::Response::builder();
            let response = match exchange.url().path() {
                "/" => response.status(302).header("location", to),
                _ => response,
            };
            Ok(response.body(ResponseBody::empty()).unwrap())
        };
        let builder = Pool::builder().session(move || Session::new(stub.clone()));
        let spec = RequestSpec::get(from).bearer_auth(SECRET);
        outcomes_of(builder, [spec]).remove(0).unwrap();
        let told: Vec<bool> = told.try_iter().collect();
        assert_eq!(told, [true, is_same], "{from} to {to}");
    }
}
