//! Continuing a part: what is asked for, and whether a response is the rest of it (RFC 9110, sections 13.1.5 and 15.3.7).

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, CONTENT_TYPE};

use super::segments::{self, MAX_MISSING};
use super::validators::{Record, Validator};
use crate::headers;

/// What is asked for to continue a part.
pub(super) struct Continuation {
    /// All before is there.
    pub(super) from: u64,
    /// What is missing, in order, if it is known; that is so for parts that are received in segments.
    pub(super) missing: Option<Vec<Range<u64>>>,
    pub(super) validator: Validator,
    /// What is known of the whole.
    pub(super) record: Record,
    /// What the response consists of, once there is one.
    pub(super) rest: Option<Rest>,
}

/// The part of a body that completes another one.
pub(super) struct Rest {
    /// Exclusive.
    pub(super) end: u64,
    pub(super) whole: u64,
}

impl Continuation {
    /// What continues a part of this length. `None` if it is not one of this request, or cannot be continued.
    pub(super) fn of(record: Record, request: &str, length: u64) -> Option<Self> {
        let validator = record.validator()?;
        let whole = record.length;
        if record.request != request || whole.is_some_and(|whole| length > whole) {
            return None;
        }
        // Of a part that may be whole, the last byte is asked for again: so the server confirms that it has not changed.
        let (from, missing) = match &record.missing {
            Some(missing) => {
                let whole = whole?;
                let mut missing = missing.clone();
                missing.push(length..whole);
                let mut missing = segments::in_order(missing);
                if missing.is_empty() {
                    missing.push(whole.checked_sub(1)?..whole);
                }
                let is_valid = missing.last()?.end <= whole && missing.len() <= MAX_MISSING;
                if !is_valid || *missing.first()? == (0..whole) {
                    return None;
                }
                (missing.first()?.start, Some(missing))
            }
            None => {
                let is_known_to_be_short = whole.is_some_and(|whole| length < whole);
                let from = length.checked_sub(u64::from(!is_known_to_be_short))?;
                if from == 0 {
                    return None;
                }
                (from, None)
            }
        };
        Some(Self {
            from,
            missing,
            validator,
            record,
            rest: None,
        })
    }

    /// The first of what is missing; without an end if that is the end of the whole.
    pub(super) fn first_missing(&self) -> (u64, Option<u64>) {
        let first = self.missing.as_ref().and_then(|missing| missing.first());
        let end = first.map(|first| first.end);
        (
            self.from,
            end.filter(|end| self.record.length != Some(*end)),
        )
    }

    /// How much of the whole is there.
    pub(super) fn there(&self) -> u64 {
        match (&self.missing, self.record.length) {
            (Some(missing), Some(whole)) => whole - length_of(missing),
            _ => self.from,
        }
    }

    /// What a 206 of this resource continues the part with; `None` if it may be of anything else.
    pub(super) fn fitting_rest(&self, fields: &HeaderMap, resource: &str) -> Option<Rest> {
        if self.record.resource != resource {
            return None;
        }
        Rest::fitting(fields, &self.validator, self.from, self.record.length)
    }
}

/// All of these ranges together.
pub(super) fn length_of(missing: &[Range<u64>]) -> u64 {
    missing.iter().map(|range| range.end - range.start).sum()
}

impl Rest {
    /// What a 206 consists of if it begins here, and belongs to the content with this validator and this length, if that is known (RFC
    /// 9110, section 15.3.7); `None` if it may be of anything else.
    pub(super) fn fitting(
        fields: &HeaderMap,
        validator: &Validator,
        from: u64,
        length: Option<u64>,
    ) -> Option<Self> {
        let is_multipart = fields.get(CONTENT_TYPE).is_some_and(|value| {
            let start = value.as_bytes().get(.."multipart/byteranges".len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/byteranges"))
        });
        if is_multipart || headers::has_encoding(fields) || !validator.is_that_of(fields) {
            return None;
        }
        let mut ranges = fields.get_all(CONTENT_RANGE).iter();
        let ContentRange { start, end, whole } =
            ContentRange::parse(ranges.next()?.to_str().ok()?)?;
        if ranges.next().is_some() || start != from {
            return None;
        }
        let whole = match (whole, length) {
            (Some(told), Some(known)) if told != known => return None,
            (told, known) => told.or(known)?,
        };
        let announced = headers::content_length(fields);
        let fits = end <= whole && announced.is_none_or(|length| length == end - start);
        fits.then_some(Self { end, whole })
    }
}

/// What a part consists of, in bytes of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    /// Exclusive.
    end: u64,
    whole: Option<u64>,
}

impl ContentRange {
    /// Parses the value of a `Content-Range` header (RFC 9110, section 14.4).
    fn parse(value: &str) -> Option<Self> {
        let (unit, value) = value.trim().split_once(' ')?;
        let (range, whole) = value.trim().split_once('/')?;
        let (start, last) = range.split_once('-')?;
        let (start, last) = (headers::parse_length(start)?, headers::parse_length(last)?);
        let whole = match whole {
            "*" => None,
            whole => Some(headers::parse_length(whole)?),
        };
        let is_valid = unit.eq_ignore_ascii_case("bytes") && start <= last;
        is_valid.then_some(Self {
            start,
            end: last.checked_add(1)?,
            whole,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with these ranges missing, of the content of a file of this length.
    fn segmented(missing: Vec<Range<u64>>, length: u64) -> Option<(Vec<Range<u64>>, u64)> {
        let mut record = Record {
            length: Some(100),
            missing: Some(missing),
            ..Record::default()
        };
        record.set_validator(Validator::ETag(http::HeaderValue::from_static("\"a\"")));
        let continuation = Continuation::of(record, "", length)?;
        let there = continuation.there();
        Some((continuation.missing?, there))
    }

    #[test]
    #[expect(
        clippy::single_range_in_vec_init,
        reason = "one range may be all that is missing"
    )]
    fn what_is_missing_of_a_segmented_part_is_what_record_and_file_lack() {
        for (missing, length, expected) in [
            (vec![10..20, 40..50], 100, Some((vec![10..20, 40..50], 80))),
            // It was not yet made as long as the whole, or cut off already.
            (vec![10..20], 60, Some((vec![10..20, 60..100], 50))),
            (vec![10..20], 15, Some((vec![10..100], 10))),
            (vec![0..5], 100, Some((vec![0..5], 95))),
            // It is complete; the server is asked whether it still has the same.
            (vec![], 100, Some((vec![99..100], 99))),
            (
                vec![Range { start: 20, end: 10 }, 7..7],
                100,
                Some((vec![99..100], 99)),
            ),
            // Nothing is there, or it cannot be of this whole.
            (vec![0..50, 50..100], 100, None),
            (vec![], 0, None),
            (vec![10..101], 100, None),
            (vec![], 101, None),
            (vec![0..u64::MAX], 100, None),
            ((0..40).map(|n| 2 * n..2 * n + 1).collect(), 100, None),
        ] {
            let case = format!("{missing:?} of {length}");
            assert_eq!(segmented(missing, length), expected, "{case}");
        }
    }

    #[test]
    fn only_ranges_of_bytes_are_understood() {
        let range = |start, end, whole| Some(ContentRange { start, end, whole });
        for (value, expected) in [
            ("bytes 0-0/1", range(0, 1, Some(1))),
            ("Bytes 5-9/*", range(5, 10, None)),
            ("  bytes 5-9/10 ", range(5, 10, Some(10))),
            ("bytes */10", None),
            ("bytes 9-5/10", None),
            ("bytes 5-9", None),
            ("bytes=5-9/10", None),
            ("lines 5-9/10", None),
            ("bytes -5-9/10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-18446744073709551615/*", None),
            ("bytes 5-9/99999999999999999999", None),
            ("", None),
        ] {
            assert_eq!(ContentRange::parse(value), expected, "{value}");
        }
    }
}
