use std::io;

use http::{HeaderMap, Version};
use proptest::prelude::*;
use url::Url;

use super::*;
use crate::error::BoxError;
use crate::request::RequestSpec;
use crate::response::ResponseHead;

fn answer(status: u16, retry_after: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert("retry-after", value.parse().expect("it is a value"));
    }
    Response {
        head: ResponseHead {
            status: StatusCode::from_u16(status).expect("it is a status"),
            version: Version::HTTP_11,
            headers,
            url: Url::parse("http://test/").expect("it is a URL"),
            history: Vec::new(),
            remote_addr: None,
            content_length: None,
        },
        body: "body".into(),
        saved_to: None,
    }
}

fn request(method: &str) -> RequestSpec {
    RequestSpec::new(method, "http://test/")
}

fn source() -> BoxError {
    io::Error::other("as the table has it").into()
}

fn tried<'a>(
    request: &'a RequestSpec,
    retries: u32,
    outcome: Result<&'a Response, &'a Error>,
) -> Tried<'a> {
    Tried {
        request,
        index: 0,
        attempts: retries + 1,
        retries,
        outcome,
        backoff: Duration::ZERO,
        proposal: None,
    }
}

/// What a policy makes of the first attempt; half of the ceiling is always drawn.
fn delay(
    retry: &Retry,
    request: &RequestSpec,
    outcome: Result<&Response, &Error>,
) -> Option<Duration> {
    let mut tried = tried(request, 0, outcome);
    retry.delay(&mut tried, SystemTime::UNIX_EPOCH, 0.5)
}

fn is_repeated(request: &RequestSpec, outcome: Result<&Response, &Error>) -> bool {
    delay(&Retry::new(1), request, outcome).is_some()
}

const HARMLESS: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];
const HARMFUL: [&str; 3] = ["POST", "PATCH", "REPORT"];

/// Requests that may be sent again, though a server may have seen them.
fn repeatable() -> Vec<RequestSpec> {
    let mut requests: Vec<_> = HARMLESS.map(request).into();
    requests.push(request("POST").header("Idempotency-Key", "4711"));
    requests.push(request("PATCH").idempotent(true));
    requests
}

fn not_repeatable() -> Vec<RequestSpec> {
    let mut requests: Vec<_> = HARMFUL.map(request).into();
    requests.push(request("GET").idempotent(false));
    requests
}

#[test]
fn statuses_are_repeated_where_that_may_help_and_does_no_harm() {
    for status in 200..600 {
        let answer = answer(status, None);
        let may_help = [408, 429, 500, 502, 503, 504].contains(&status);
        for request in repeatable() {
            assert_eq!(
                is_repeated(&request, Ok(&answer)),
                may_help,
                "{status} {request:?}"
            );
        }
        for request in not_repeatable() {
            assert!(!is_repeated(&request, Ok(&answer)), "{status} {request:?}");
        }
    }
}

#[test]
fn errors_are_repeated_where_that_may_help_and_does_no_harm() {
    let transient = |sent| {
        [
            Error::dns(source()),
            Error::connect(source()),
            Error::proxy(source()),
            Error::timeout(),
            Error::closed(source()),
            Error::local_resource(source()),
        ]
        .map(|error| error.sent(sent))
    };
    let cut = Error::body_truncated(source());
    for error in transient(true).iter().chain([&cut]) {
        for request in repeatable() {
            assert!(is_repeated(&request, Err(error)), "{error:?} {request:?}");
        }
        for request in not_repeatable() {
            assert!(!is_repeated(&request, Err(error)), "{error:?} {request:?}");
        }
    }
    for error in transient(false) {
        for request in repeatable().into_iter().chain(not_repeatable()) {
            assert!(is_repeated(&request, Err(&error)), "{error:?} {request:?}");
        }
    }
}

fn final_errors() -> [Error; 6] {
    [
        Error::invalid_request("no URL"),
        Error::tls(source()),
        Error::redirect("too many".to_owned(), Vec::new()),
        Error::body_too_large(1),
        Error::panicked("oh".to_owned()),
        Error::cancelled(),
    ]
}

#[test]
fn what_would_end_the_same_way_is_not_repeated_whatever_anybody_says() {
    let always = Retry::new(5).decide(|_| Some(Duration::ZERO));
    for error in final_errors() {
        assert!(!is_repeated(&request("GET"), Err(&error)), "{error:?}");
        assert_eq!(
            delay(&always, &request("GET"), Err(&error)),
            None,
            "{error:?}"
        );
    }
    let doubtful = [
        Error::protocol(source()),
        Error::decode(source()),
        Error::session(source()),
    ];
    for error in doubtful {
        assert!(!is_repeated(&request("GET"), Err(&error)), "{error:?}");
        assert!(delay(&always, &request("GET"), Err(&error)).is_some());
    }
}

#[test]
fn files_and_handlers_that_fail_are_repeated_only_if_it_is_said() {
    let error = Error::handler(source());
    assert!(!is_repeated(&request("GET"), Err(&error)));
    let retry = Retry::new(1).sink_errors(true);
    assert!(delay(&retry, &request("GET"), Err(&error)).is_some());
    assert_eq!(delay(&retry, &request("POST"), Err(&error)), None);
}

#[test]
fn statuses_can_be_chosen() {
    let retry = Retry::new(1).statuses([StatusCode::NOT_FOUND]);
    assert!(delay(&retry, &request("GET"), Ok(&answer(404, None))).is_some());
    assert_eq!(delay(&retry, &request("GET"), Ok(&answer(503, None))), None);
}

#[test]
fn retry_after_is_a_lower_bound_and_ends_the_job_if_it_is_too_long() {
    let ms = Duration::from_millis;
    let retry = Retry::new(1).backoff(ms(400), ms(400));
    for (value, expected) in [
        (None, Some(ms(200))),
        (Some("0"), Some(ms(200))),
        (Some("-7"), Some(ms(200))),
        (Some("7"), Some(ms(7_000))),
        (Some("60"), Some(ms(60_000))),
        (Some("61"), None),
        (Some("99999999999999999999999"), None),
        (Some("Thu, 01 Jan 1970 00:00:10 GMT"), Some(ms(10_000))),
    ] {
        let answer = answer(503, value);
        assert_eq!(
            delay(&retry, &request("GET"), Ok(&answer)),
            expected,
            "{value:?}"
        );
    }
    let patient = retry.retry_after_max(Duration::from_secs(3600));
    assert_eq!(
        delay(&patient, &request("GET"), Ok(&answer(429, Some("3600")))),
        Some(Duration::from_secs(3600))
    );
}

#[test]
fn a_closure_decides_instead_and_knows_the_proposal() {
    let ms = Duration::from_millis;
    let retry = Retry::new(2).backoff(ms(100), ms(100)).decide(|tried| {
        match tried.response()?.status().as_u16() {
            202 => Some(Duration::from_secs(7)),
            _ => tried.proposal(),
        }
    });
    let get = request("GET");
    assert_eq!(delay(&retry, &get, Ok(&answer(202, None))), Some(ms(7_000)));
    assert_eq!(delay(&retry, &get, Ok(&answer(503, None))), Some(ms(50)));
    assert_eq!(delay(&retry, &get, Ok(&answer(200, None))), None);
    let closed = Error::closed(source());
    assert_eq!(delay(&retry, &get, Err(&closed)), None);
}

proptest! {
    #[test]
    fn attempts_and_waits_are_bounded(
        most in 0..6u32,
        attempts in 1..u32::MAX,
        chance in 0.0..1.0f64,
        (base, cap) in (0..u64::MAX, 0..u64::MAX),
        retry_after in prop::option::of(0..200u64),
    ) {
        let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
        let retry = Retry::new(most).backoff(base, cap);
        let value = retry_after.map(|seconds| seconds.to_string());
        let answer = answer(503, value.as_deref());
        for attempts in [attempts, attempts % 8 + 1] {
            let get = request("GET");
            let mut tried = tried(&get, attempts - 1, Ok(&answer));
            match retry.delay(&mut tried, SystemTime::UNIX_EPOCH, chance) {
                None => prop_assert!(attempts > most || retry_after.is_some_and(|seconds| seconds > 60)),
                Some(delay) => {
                    let floor = Duration::from_secs(retry_after.unwrap_or(0));
                    prop_assert!(attempts <= most);
                    prop_assert!(delay >= floor && delay <= cap.max(floor));
                }
            }
        }
    }

    #[test]
    fn no_header_makes_it_panic(value in "\\PC*", now in 0..u32::MAX) {
        if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
            let _ = retry_after(&headers, now);
        }
    }
}
