use std::io;

use http::{HeaderMap, Version};
use proptest::prelude::*;
use url::Url;

use super::*;
use crate::error::BoxError;
use crate::request::RequestSpec;
use crate::response::ResponseHead;

fn response(status: u16, retry_after: Option<&str>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(value) = retry_after {
        headers.insert("retry-after", value.parse().expect("it is a value"));
    }
    Response {
        head: Box::new(ResponseHead {
            status: StatusCode::from_u16(status).expect("it is a status"),
            version: Version::HTTP_11,
            headers,
            url: Url::parse("http://test/").expect("it is a URL"),
            history: Vec::new(),
            remote_addr: None,
            content_length: None,
        }),
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

fn context<'a>(
    request: &'a RequestSpec,
    retries: u32,
    result: Result<&'a Response, &'a Error>,
) -> RetryContext<'a> {
    RetryContext {
        request,
        index: 0,
        attempts: retries + 1,
        retries,
        result,
        backoff: Duration::ZERO,
        default_delay: None,
    }
}

/// The decision of a policy after the first attempt, with half of the ceiling as the random delay.
fn delay(
    retry: &Retry,
    request: &RequestSpec,
    result: Result<&Response, &Error>,
) -> Option<Duration> {
    let mut context = context(request, 0, result);
    retry.delay(&mut context, SystemTime::UNIX_EPOCH, 0.5)
}

fn is_retried(request: &RequestSpec, result: Result<&Response, &Error>) -> bool {
    delay(&Retry::new(1), request, result).is_some()
}

const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"];
const NOT_IDEMPOTENT: [&str; 3] = ["POST", "PATCH", "REPORT"];

/// Requests that can be sent again even if a server may have seen them.
fn safe_to_retry() -> Vec<RequestSpec> {
    let mut requests: Vec<_> = IDEMPOTENT.map(request).into();
    requests.push(request("POST").header("Idempotency-Key", "4711"));
    requests.push(request("PATCH").idempotent(true));
    requests
}

fn unsafe_to_retry() -> Vec<RequestSpec> {
    let mut requests: Vec<_> = NOT_IDEMPOTENT.map(request).into();
    requests.push(request("GET").idempotent(false));
    let keyed = request("POST").header("Idempotency-Key", "4711");
    requests.push(keyed.idempotent(false));
    requests
}

#[test]
fn statuses_are_retried_where_that_may_help_and_is_safe() {
    for status in 200..600 {
        let response = response(status, None);
        let may_help = [408, 429, 500, 502, 503, 504].contains(&status);
        for request in safe_to_retry() {
            assert_eq!(
                is_retried(&request, Ok(&response)),
                may_help,
                "{status} {request:?}"
            );
        }
        for request in unsafe_to_retry() {
            assert!(!is_retried(&request, Ok(&response)), "{status} {request:?}");
        }
    }
}

#[test]
fn errors_are_retried_where_that_may_help_and_is_safe() {
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
        for request in safe_to_retry() {
            assert!(is_retried(&request, Err(error)), "{error:?} {request:?}");
        }
        for request in unsafe_to_retry() {
            assert!(!is_retried(&request, Err(error)), "{error:?} {request:?}");
        }
    }
    for error in transient(false) {
        for request in safe_to_retry().into_iter().chain(unsafe_to_retry()) {
            assert!(is_retried(&request, Err(&error)), "{error:?} {request:?}");
        }
    }
}

fn permanent_errors() -> [Error; 6] {
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
fn permanent_errors_are_never_retried() {
    let always = Retry::new(5).decide(|_| Some(Duration::ZERO));
    for error in permanent_errors() {
        assert!(!is_retried(&request("GET"), Err(&error)), "{error:?}");
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
        assert!(!is_retried(&request("GET"), Err(&error)), "{error:?}");
        assert!(delay(&always, &request("GET"), Err(&error)).is_some());
    }
}

#[test]
fn failures_of_files_and_handlers_are_retried_only_on_request() {
    let error = Error::handler(source());
    assert!(!is_retried(&request("GET"), Err(&error)));
    let retry = Retry::new(1).sink_errors(true);
    assert!(delay(&retry, &request("GET"), Err(&error)).is_some());
    assert_eq!(delay(&retry, &request("POST"), Err(&error)), None);
}

#[test]
fn statuses_can_be_chosen() {
    let retry = Retry::new(1).statuses([StatusCode::NOT_FOUND]);
    assert!(delay(&retry, &request("GET"), Ok(&response(404, None))).is_some());
    assert_eq!(
        delay(&retry, &request("GET"), Ok(&response(503, None))),
        None
    );
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
        let response = response(503, value);
        assert_eq!(
            delay(&retry, &request("GET"), Ok(&response)),
            expected,
            "{value:?}"
        );
    }
    let patient = retry.retry_after_max(Duration::from_secs(3600));
    assert_eq!(
        delay(&patient, &request("GET"), Ok(&response(429, Some("3600")))),
        Some(Duration::from_secs(3600))
    );
}

#[test]
fn a_closure_decides_instead_and_knows_the_default_delay() {
    let ms = Duration::from_millis;
    let retry = Retry::new(2).backoff(ms(100), ms(100)).decide(|context| {
        match context.response()?.status().as_u16() {
            202 => Some(Duration::from_secs(7)),
            _ => context.default_delay(),
        }
    });
    let get = request("GET");
    assert_eq!(
        delay(&retry, &get, Ok(&response(202, None))),
        Some(ms(7_000))
    );
    assert_eq!(delay(&retry, &get, Ok(&response(503, None))), Some(ms(50)));
    assert_eq!(delay(&retry, &get, Ok(&response(200, None))), None);
    let closed = Error::closed(source());
    assert_eq!(delay(&retry, &get, Err(&closed)), None);
}

proptest! {
    #[test]
    fn attempts_and_delays_are_bounded(
        max_retries in 0..6u32,
        attempts in 1..u32::MAX,
        random in 0.0..1.0f64,
        (base, cap) in (0..u64::MAX, 0..u64::MAX),
        retry_after in prop::option::of(0..200u64),
    ) {
        let (base, cap) = (Duration::from_millis(base), Duration::from_millis(cap));
        let retry = Retry::new(max_retries).backoff(base, cap);
        let value = retry_after.map(|seconds| seconds.to_string());
        let response = response(503, value.as_deref());
        for attempts in [attempts, attempts % 8 + 1] {
            let get = request("GET");
            let mut context = context(&get, attempts - 1, Ok(&response));
            match retry.delay(&mut context, SystemTime::UNIX_EPOCH, random) {
                None => prop_assert!(attempts > max_retries || retry_after.is_some_and(|seconds| seconds > 60)),
                Some(delay) => {
                    let floor = Duration::from_secs(retry_after.unwrap_or(0));
                    prop_assert!(attempts <= max_retries);
                    prop_assert!(delay >= floor && delay <= cap.max(floor));
                }
            }
        }
    }

    #[test]
    fn no_header_causes_a_panic(value in "\\PC*", now in 0..u32::MAX) {
        if let Ok(value) = http::HeaderValue::from_bytes(value.as_bytes()) {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", value);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
            let _ = retry_after(&headers, now);
        }
    }
}
