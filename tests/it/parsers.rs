//! Property tests of the headers that the crate acts on: whatever bytes a server puts there, the job has one outcome, in
//! time, and nothing panics.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderValue;
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use proptest::prelude::*;
use threaded::{Error, ErrorKind, Event, Exchange, Limits, Pool, ResponseBody, Retry, Session};

use crate::support::pools::{in_order, outcome_of, respond_ok};

/// Longer than these runs take, and far shorter than most of the values.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes that a header may hold.
fn header_bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_map(|byte| match byte {
        0..=8 | 10..=31 | 127 => b' ',
        other => other,
    });
    prop::collection::vec(byte, 0..most)
}

fn value(bytes: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(bytes).unwrap()
}

fn response_with(
    status: u16,
    name: http::HeaderName,
    bytes: &[u8],
) -> http::Response<ResponseBody> {
    let mut answer = http::Response::new(ResponseBody::from("look elsewhere"));
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
    answer.headers_mut().insert(name, value(bytes));
    answer
}

/// Responds to the first exchange with 503 and this `Retry-After`, and to all others with 200.
fn busy_once(
    retry_after: Vec<u8>,
) -> impl Fn(Exchange<'_>) -> Result<http::Response<ResponseBody>, Error> + Send + Clone {
    let left = Arc::new(Mutex::new(Some(retry_after)));
    move |exchange| match left.lock().unwrap().take() {
        Some(bytes) => Ok(response_with(503, RETRY_AFTER, &bytes)),
        None => respond_ok(exchange),
    }
}

fn retry_after() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        header_bytes(40),
        "[0-9]{1,30}".prop_map(String::into_bytes),
        "[-+ 0-9.,eEx]{0,12}".prop_map(String::into_bytes),
        "(Sun|Mon|Sunday|Monday), ?[0-9]{1,2}[- ](Nov|Feb|Foo)[- ][0-9]{2,4} [0-9]{2}:[0-9]{2}:[0-9]{2}( GMT)?"
            .prop_map(String::into_bytes),
        "(Sun|Thu) (Jan|Dec) [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2} [0-9]{4}"
            .prop_map(String::into_bytes),
    ]
}

/// What is without doubt a number of seconds above 0.
fn asks_for_seconds(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_digit) && bytes.iter().any(|digit| *digit != b'0')
}

/// What is neither a number nor a date.
fn asks_for_nothing(bytes: &[u8]) -> bool {
    !bytes.iter().any(u8::is_ascii_digit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_retry_after_is_a_wait_within_its_bound_or_none(bytes in retry_after()) {
        const LONGEST: Duration = Duration::from_millis(20);

        let waits = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&waits);
        let transport = busy_once(bytes.clone());
        let builder = Pool::builder()
            .session(move || Session::new(transport.clone()))
            .retry(Retry::new(1).backoff(LONGEST, LONGEST).retry_after_max(LONGEST))
            .limits(Limits::new().cool_down(None))
            .observer(move |event: &Event<'_>| {
                if let Event::Retry(retry) = event {
                    noted.lock().unwrap().push(retry.delay());
                }
            })
            .deadline(PATIENCE);
        let response = outcome_of(builder, "http://stub.test/").unwrap();
        let waits = waits.lock().unwrap();
        prop_assert!(waits.iter().all(|wait| *wait <= LONGEST), "{:?}", waits);
        let is_repeated = response.status() == 200;
        prop_assert_eq!(response.attempts(), 1 + u32::from(is_repeated));
        prop_assert_eq!(waits.len(), usize::from(is_repeated));
        if asks_for_seconds(&bytes) {
            prop_assert!(!is_repeated);
        }
        if asks_for_nothing(&bytes) {
            prop_assert!(is_repeated);
        }
    }

    #[test]
    fn any_retry_after_keeps_others_from_an_origin_for_a_bounded_time(bytes in retry_after()) {
        let transport = busy_once(bytes);
        let pool = Pool::builder()
            .num_threads(1)
            .session(move || Session::new(transport.clone()))
            .limits(Limits::new().cool_down(Duration::from_millis(20)))
            // Would cancel what waits longer.
            .deadline(PATIENCE)
            .build_from_urls(["http://stub.test/"; 3])
            .unwrap();
        let statuses: Vec<u16> = in_order(pool)
            .into_iter()
            .map(|outcome| outcome.unwrap().status().as_u16())
            .collect();
        prop_assert_eq!(statuses, [503, 200, 200]);
    }

    #[test]
    fn any_body_of_any_content_type_is_text(
        content_type in prop_oneof![
            header_bytes(60),
            "[a-z]{1,8}/[a-z+]{1,8} ?; ?[Cc]harset=\"?[ -~]{0,20}\"?".prop_map(String::into_bytes),
            prop::sample::select(&ENCODINGS[..])
                .prop_map(|label| format!("text/plain; charset={label}").into_bytes()),
        ],
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let sent = body.clone();
        let transport = move |_: Exchange<'_>| {
            let mut answer = http::Response::new(ResponseBody::from(sent.clone()));
            answer.headers_mut().insert(CONTENT_TYPE, value(&content_type));
            Ok::<_, Error>(answer)
        };
        let builder = Pool::builder().session(move || Session::new(transport.clone()));
        let response = outcome_of(builder, "http://stub.test/").unwrap();
        let text = response.text().into_owned();
        // Reading takes nothing away.
        prop_assert_eq!(response.text(), text);
        prop_assert_eq!(response.bytes(), &body);
        #[cfg(feature = "json")]
        {
            let read = response.json::<serde_json::Value>().is_ok();
            prop_assert_eq!(read, serde_json::from_slice::<serde_json::Value>(&body).is_ok());
        }
    }

    #[test]
    fn any_location_leads_to_one_outcome_and_nowhere_but_to_http(location in location()) {
        let visited = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&visited);
        let sent = location.clone();
        let transport = move |exchange: Exchange<'_>| {
            let mut visited = noted.lock().unwrap();
            visited.push(exchange.url().clone());
            match visited.len() {
                1 => Ok(response_with(302, LOCATION, &sent)),
                _ => respond_ok(exchange),
            }
        };
        let builder = Pool::builder()
            .session(move || Session::new(transport.clone()))
            .deadline(PATIENCE);
        // One that takes part in the outcome, and one job after it on the same worker.
        let pool = builder
            .num_threads(1)
            .build_from_urls(["http://stub.test/dir/start", "http://stub.test/next"])
            .unwrap();
        let outcomes = in_order(pool);
        let visited = visited.lock().unwrap();
        prop_assert!(visited.iter().all(|url| matches!(url.scheme(), "http" | "https")));
        prop_assert_eq!(outcomes.len(), 2);
        prop_assert!(outcomes[1].is_ok());
        match &outcomes[0] {
            Ok(response) => {
                prop_assert_eq!(response.status(), 200);
                prop_assert_eq!(response.history().len(), 1);
                // What the URL parser resolves it to, without what is not sent.
                let mut expected = visited[0].join(std::str::from_utf8(&location).unwrap()).unwrap();
                let _ = (expected.set_username(""), expected.set_password(None));
                expected.set_fragment(None);
                let mut reached = visited[1].clone();
                reached.set_fragment(None);
                prop_assert_eq!(reached, expected);
            }
            Err(exception) => {
                let is_expected = exception.kind() == ErrorKind::Redirect;
                prop_assert!(is_expected, "{:?}", exception);
                prop_assert!(exception.to_string().len() < 1000);
                prop_assert_eq!(visited.len(), 2);
            }
        }
        let elsewhere = [&b"file:"[..], b"data:", b"javascript:", b"ftp:", b"about:"];
        if elsewhere.iter().any(|scheme| location.starts_with(scheme)) {
            prop_assert!(outcomes[0].is_err());
        }
    }
}

const ENCODINGS: [&str; 12] = [
    "utf-8",
    "utf-16",
    "utf-16le",
    "utf-16be",
    "iso-8859-1",
    "iso-2022-jp",
    "shift_jis",
    "euc-kr",
    "gb18030",
    "big5",
    "x-user-defined",
    "replacement",
];

fn location() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "(file|data|javascript|ftp|about|http|https|HTTP|ws|blob|[a-z]{1,6}):/{0,3}[ -~]{0,30}",
        "/{0,3}[ -~]{0,30}",
        "https?://([a-z]{1,8}(:[a-z]{1,8})?@)?(stub\\.test|[0-9.]{1,15}|\\[[0-9a-f:]{2,12}\\]|xn--[a-z]{1,8})(:[0-9]{1,6})?/[ -~]{0,20}",
        "\\PC{0,20}".prop_map(|text| text.replace(|c: char| c.is_control(), "")),
        Just("a".repeat(100_000)),
    ];
    prop_oneof![
        4 => text.prop_map(String::into_bytes),
        1 => header_bytes(60),
    ]
}
