//! Parsing of the `Retry-After` header (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};

use crate::response::Response;

/// The pause that an overloaded server asks for in a 429 or 503 (RFC 6585, section 4, and RFC 9110, section 15.6.4).
/// `None` if redirects have led to another origin: the response says nothing about the requested one then.
pub(crate) fn cool_down(response: &Response, now: SystemTime) -> Option<Duration> {
    let is_overloaded = matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    if !is_overloaded || !response.never_left_origin() {
        return None;
    }
    retry_after(response.headers(), now)
}

/// The delay that the header asks for, counted from now. Of several values, the longest; invalid ones are ignored.
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    headers
        .get_all(RETRY_AFTER)
        .iter()
        .filter_map(|value| parse(value.to_str().ok()?, now))
        .max()
}

fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for a u64 is still valid.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    // All three date formats of section 5.6.7; a date in the past means no delay.
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

    fn delay(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_bytes(value.as_bytes()).expect("the table holds values");
            headers.append(RETRY_AFTER, value);
        }
        retry_after(&headers, now()).map(|delay| delay.as_secs())
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
            assert_eq!(delay(&[value]), Some(seconds), "{value}");
        }
    }

    #[test]
    fn a_date_in_the_past_means_no_delay() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
        ] {
            assert_eq!(delay(&[value]), Some(0), "{value}");
        }
    }

    #[test]
    fn invalid_values_are_ignored() {
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
            assert_eq!(delay(&[value]), None, "{value:?}");
        }
        assert_eq!(delay(&[]), None);
    }

    #[test]
    fn the_longest_of_several_values_applies() {
        assert_eq!(delay(&["5", "30"]), Some(30));
        assert_eq!(delay(&["30", "soon"]), Some(30));
        assert_eq!(delay(&["-1", "soon"]), None);
        assert_eq!(delay(&["5", "Sun, 06 Nov 1994 08:49:47 GMT"]), Some(10));
    }

    #[test]
    fn a_number_too_large_is_the_maximum() {
        for value in [
            "18446744073709551615",
            "18446744073709551616",
            &"9".repeat(400),
        ] {
            assert_eq!(delay(&[value]), Some(u64::MAX), "{value}");
        }
        assert!(delay(&["Fri, 31 Dec 9999 23:59:59 GMT"]) > Some(200_000_000_000));
    }
}
