//! What a server asks for: `Retry-After` (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::response::Response;

/// How long a server that is overloaded asks to be left alone (RFC 9110, section 15.6.4, and RFC 6585, section 4), if the
/// response is that of the origin that was asked.
pub(crate) fn cool_down(response: &Response, now: SystemTime) -> Option<Duration> {
    let is_overloaded = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    if !is_overloaded || !response.is_of_one_origin() {
        return None;
    }
    wait(response.headers(), now)
}

/// How long the server asks to be left alone, counted from now. Of several values, the longest; what is no value is ignored.
pub(super) fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?, now))
        .max()
}

fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than a number holds is still a number.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    // All three forms of section 5.6.7; what is past by now asks for no wait.
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the date that the RFC itself uses.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn waits(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("the table holds values");
            headers.append(RETRY_AFTER, value);
        }
        wait(&headers, now()).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_the_three_forms_of_dates_are_read() {
        for (value, seconds) in [
            ("0", 0),
            ("120", 120),
            (" 7 ", 7),
            ("007", 7),
            ("Sun, 06 Nov 1994 08:49:47 GMT", 10),
            ("Sunday, 06-Nov-94 08:49:47 GMT", 10),
            ("Sun Nov  6 08:49:47 1994", 10),
            ("Mon, 07 Nov 1994 08:49:37 GMT", 86_400),
        ] {
            assert_eq!(waits(&[value]), Some(seconds), "{value}");
        }
    }

    #[test]
    fn what_is_past_asks_for_no_wait() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            assert_eq!(waits(&[value]), Some(0), "{value}");
        }
    }

    #[test]
    fn what_is_no_value_is_ignored() {
        for value in [
            "",
            " ",
            "-5",
            "+5",
            "1.5",
            "1e3",
            "5 seconds",
            "0x10",
            "soon",
            "Wed, 32 Dec 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:60:61 GMT",
            "Sun, 06 Nov 1994",
            "\u{661}\u{662}",
            "5, 6",
        ] {
            assert_eq!(waits(&[value]), None, "{value:?}");
        }
        assert_eq!(waits(&[]), None);
    }

    #[test]
    fn of_several_the_longest_counts() {
        assert_eq!(waits(&["5", "30"]), Some(30));
        assert_eq!(waits(&["30", "soon"]), Some(30));
        assert_eq!(waits(&["-1", "soon"]), None);
        assert_eq!(waits(&["5", "Sun, 06 Nov 1994 08:49:47 GMT"]), Some(10));
    }

    #[test]
    fn too_large_is_as_long_as_can_be() {
        for value in [
            "18446744073709551615",
            "18446744073709551616",
            &"9".repeat(400),
        ] {
            assert_eq!(waits(&[value]), Some(u64::MAX), "{value}");
        }
        assert!(waits(&["Fri, 31 Dec 9999 23:59:59 GMT"]) > Some(200_000_000_000));
    }
}
