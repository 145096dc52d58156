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
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
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
    // A date in the past means no delay.
    Some(date(value)?.duration_since(now).unwrap_or_default())
}

/// A date in one of the three formats of section 5.6.7, or in one that servers send instead: with another name of the zone or
/// its offset (RFC 5322, section 3.3), and with a day or an hour of one digit.
fn date(value: &str) -> Option<SystemTime> {
    if let Ok(date) = httpdate::parse_http_date(value) {
        return Some(date);
    }
    let (date, zone) = value.rsplit_once(' ')?;
    let offset = match zone {
        "GMT" | "UTC" | "UT" | "Z" => 0,
        _ => offset(zone)?,
    };
    let is_one_digit = |word: &str| {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        digits == 1 && matches!(word.as_bytes().get(1), None | Some(b':' | b'-'))
    };
    let words = date.split_whitespace().map(|word| {
        let zero = if is_one_digit(word) { "0" } else { "" };
        format!("{zero}{word} ")
    });
    let date = words.collect::<String>() + "GMT";
    let local = httpdate::parse_http_date(&date).ok()?;
    let distance = Duration::from_secs(60 * u64::from(offset.unsigned_abs()));
    if offset < 0 {
        local.checked_add(distance)
    } else {
        local.checked_sub(distance)
    }
}

/// Minutes east of UTC, written as `+hhmm` or `-hhmm`.
fn offset(zone: &str) -> Option<i16> {
    let (sign, digits) = match (zone.strip_prefix('+'), zone.strip_prefix('-')) {
        (Some(digits), _) => (1, digits),
        (_, digits) => (-1, digits?),
    };
    let is_offset = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: i16 = digits.parse().ok().filter(|_| is_offset)?;
    (number % 100 < 60).then_some(sign * (number / 100 * 60 + number % 100))
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
    fn dates_are_read_as_what_they_mean() {
        for (value, seconds) in [
            ("Sun, 06 Nov 1994 08:49:47 UTC", 10),
            ("Sun, 06 Nov 1994 08:49:47 +0000", 10),
            ("Sun, 06 Nov 1994 08:49:47 -0000", 10),
            ("Sun, 6 Nov 1994 08:49:47 GMT", 10),
            ("Sun, 6 Nov 1994 8:49:47 UTC", 10),
            ("Sunday, 6-Nov-94 08:49:47 UTC", 10),
            ("Sun, 06 Nov 1994 09:49:47 +0100", 10),
            ("Sun, 06 Nov 1994 03:19:47 -0530", 10),
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
            "Sun, 06 Nov 1994 08:49:47",
            "Sun, 06 Nov 1994 08:49:47 CET",
            "Sun, 06 Nov 1994 08:49:47 +01:00",
            "Sun, 06 Nov 1994 08:49:47 +0199",
            "Sun, 06 Nov 1994 08:49:47 ++100",
            "UTC",
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
