//! A part that is received in segments, over several connections: which ranges of the whole are missing.

use std::io;
use std::ops::Range;

use super::validators::OpenRecord;

/// How many ranges can be missing at once: those that are being received, and those that were given up.
pub(super) const MAX_MISSING: usize = 32;

/// No segment is shorter, in bytes, unless the whole is.
pub(super) const MIN_SEGMENT: u64 = 1 << 20;

/// What is missing of a part, and which of it is being received.
pub(crate) struct Segments {
    whole: u64,
    /// One that is empty and not taken can be replaced by another.
    missing: Box<[Missing; MAX_MISSING]>,
    /// Says the same, for a later attempt. `None` if the part is not kept.
    record: Option<OpenRecord>,
}

#[derive(Debug, Default)]
struct Missing {
    range: Range<u64>,
    is_taken: bool,
    /// Whether the end of it was claimed.
    is_being_split: bool,
}

impl Missing {
    fn is_unused(&self) -> bool {
        self.range.is_empty() && !self.is_taken
    }
}

/// A range that was chosen to be requested. It is only received, or split off from another one, once the server has agreed.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) range: Range<u64>,
    index: usize,
    splits: bool,
}

impl Segments {
    /// The first of the missing ranges is being received already.
    pub(super) fn new(
        whole: u64,
        missing: impl IntoIterator<Item = Range<u64>>,
        record: Option<OpenRecord>,
    ) -> Self {
        let mut segments = Self {
            whole,
            missing: Default::default(),
            record,
        };
        for (slot, range) in segments.missing.iter_mut().zip(missing) {
            slot.range = range;
        }
        if let Some(first) = segments.missing.first_mut() {
            first.is_taken = true;
        }
        segments
    }

    pub(crate) fn whole(&self) -> u64 {
        self.whole
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.missing.iter().all(|missing| missing.range.is_empty())
    }

    /// What is missing of this segment.
    pub(crate) fn range(&self, index: usize) -> Range<u64> {
        let missing = self.missing.get(index);
        missing.map_or(0..0, |missing| missing.range.clone())
    }

    /// Chooses what one more connection should receive: what no other receives, or else the second half of the longest range, if
    /// both halves have this length then.
    pub(crate) fn claim(&mut self, min: u64) -> Option<Claim> {
        let is_free = |missing: &&(usize, &mut Missing)| {
            let (_, missing) = missing;
            !missing.range.is_empty() && !missing.is_taken
        };
        let free = self.missing.iter_mut().enumerate();
        let free = free
            .filter(|missing| is_free(&missing))
            .min_by_key(|(_, missing)| missing.range.start);
        if let Some((index, missing)) = free {
            missing.is_taken = true;
            return Some(Claim {
                range: missing.range.clone(),
                index,
                splits: false,
            });
        }
        self.missing.iter().position(Missing::is_unused)?;
        let length = |missing: &Missing| missing.range.end - missing.range.start;
        let (index, longest) = (self.missing.iter_mut().enumerate())
            .filter(|(_, missing)| !missing.is_being_split)
            .max_by_key(|(_, missing)| length(missing))?;
        let half = length(longest) / 2;
        if half < min.max(MIN_SEGMENT) {
            return None;
        }
        longest.is_being_split = true;
        Some(Claim {
            range: longest.range.end - half..longest.range.end,
            index,
            splits: true,
        })
    }

    /// The server sends what was claimed. Returns the segment that it is from now on; `None` if it has been received meanwhile.
    pub(super) fn confirm(&mut self, claim: &Claim) -> io::Result<Option<usize>> {
        if !claim.splits {
            return Ok(Some(claim.index));
        }
        let (Some(index), Some(split)) = (
            self.missing.iter().position(Missing::is_unused),
            self.split_by(claim)
                .filter(|split| split.range.start < claim.range.start),
        ) else {
            self.refuse(claim);
            return Ok(None);
        };
        split.is_being_split = false;
        split.range.end = claim.range.start;
        if let Some(missing) = self.missing.get_mut(index) {
            *missing = Missing {
                range: claim.range.clone(),
                is_taken: true,
                is_being_split: false,
            };
        }
        // In this order, so that nothing that is missing is ever left out.
        self.note(index)?;
        self.note(claim.index)?;
        Ok(Some(index))
    }

    /// The server does not send what was claimed.
    pub(crate) fn refuse(&mut self, claim: &Claim) {
        if !claim.splits {
            self.release(claim.index);
        } else if let Some(split) = self.split_by(claim) {
            split.is_being_split = false;
        }
    }

    /// The range whose end was claimed, unless it has been received meanwhile.
    fn split_by(&mut self, claim: &Claim) -> Option<&mut Missing> {
        let split = self.missing.get_mut(claim.index)?;
        let is_it = split.is_being_split && split.range.end == claim.range.end;
        is_it.then_some(split)
    }

    /// Whether the end of a range is claimed, so that more can be claimed once the server has agreed or not.
    pub(crate) fn is_being_split(&self) -> bool {
        self.missing.iter().any(|missing| missing.is_being_split)
    }

    /// So many bytes more of a segment are in the file.
    pub(super) fn advance(&mut self, index: usize, bytes: u64) -> io::Result<()> {
        if let Some(missing) = self.missing.get_mut(index) {
            missing.range.start += bytes;
        }
        self.note(index)
    }

    /// What is missing of a segment is no longer received, if anything is. It must not be written to from now on.
    pub(crate) fn release(&mut self, index: usize) {
        if let Some(missing) = self.missing.get_mut(index) {
            missing.is_taken = false;
        }
    }

    fn note(&mut self, index: usize) -> io::Result<()> {
        let range = self.range(index);
        match &mut self.record {
            Some(record) => record.set_missing(index, &range),
            None => Ok(()),
        }
    }
}

/// Puts ranges that are missing in order. An overlap is what is left if a process is killed while it splits one.
pub(super) fn in_order(mut missing: Vec<Range<u64>>) -> Vec<Range<u64>> {
    missing.sort_by_key(|range| range.start);
    let mut ordered: Vec<Range<u64>> = Vec::new();
    for range in missing.into_iter().filter(|range| !range.is_empty()) {
        match ordered.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ordered.push(range),
        }
    }
    ordered
}

#[cfg(test)]
#[expect(
    clippy::single_range_in_vec_init,
    reason = "one range may be all that is missing"
)]
mod tests {
    use proptest::prelude::*;

    use super::super::validators::Record;
    use super::*;

    const WHOLE: u64 = 40 * MIN_SEGMENT;

    /// What may be done next: `.0` says what, `.1` to which one.
    fn steps() -> impl Strategy<Value = Vec<(u8, usize, u64)>> {
        prop::collection::vec((0..5_u8, 0..MAX_MISSING, 1..3 * MIN_SEGMENT), 1..200)
    }

    fn missing_of(record: &std::path::Path) -> Vec<Range<u64>> {
        let record = Record::read(record).expect("there are resources");
        let record = record.expect("it can be read at any time");
        in_order(record.missing.expect("it has ranges"))
    }

    /// Takes what is there out of what is missing.
    fn remove(missing: &mut Vec<Range<u64>>, there: Range<u64>) {
        let parts = missing.iter().flat_map(|range| {
            let before = range.start..range.end.min(there.start);
            let after = range.start.max(there.end)..range.end;
            [before, after]
        });
        *missing = parts.filter(|range| !range.is_empty()).collect();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever is requested, refused, received and given up: what was not received is missing, in memory and in the record, and
        /// no two connections receive the same.
        #[test]
        fn what_is_missing_is_what_was_not_received(steps in steps()) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("record");
            let record = Record { missing: Some(vec![0..WHOLE]), ..Record::default() };
            let record = record.write(&path).expect("it is written");
            let mut segments = Segments::new(WHOLE, [0..WHOLE], Some(record));
            let mut expected = vec![0..WHOLE];
            let (mut claims, mut open) = (Vec::new(), vec![0]);
            for (step, which, amount) in steps {
                match step {
                    0 => claims.extend(segments.claim(amount)),
                    1 if !claims.is_empty() => {
                        let claim = claims.swap_remove(which % claims.len());
                        if let Some(index) = segments.confirm(&claim).expect("it is written") {
                            prop_assert!(!open.contains(&index), "{index} is received twice");
                            open.push(index);
                        }
                    }
                    2 if !claims.is_empty() => {
                        segments.refuse(&claims.swap_remove(which % claims.len()));
                    }
                    3 if !open.is_empty() => {
                        let index = open[which % open.len()];
                        let range = segments.range(index);
                        // Often exactly up to where another connection is to begin.
                        let claimed = claims.iter().map(|claim: &Claim| claim.range.start);
                        let claimed = claimed.filter(|start| range.contains(start)).min();
                        let up_to = match claimed.filter(|_| amount % 2 == 0) {
                            Some(start) => start - range.start,
                            None => amount,
                        };
                        let length = up_to.min(range.end - range.start);
                        segments.advance(index, length).expect("it is written");
                        remove(&mut expected, range.start..range.start + length);
                    }
                    4 if !open.is_empty() => {
                        segments.release(open.swap_remove(which % open.len()));
                    }
                    _ => {}
                }
                let missing = segments.missing.iter().map(|missing| missing.range.clone());
                let mut missing: Vec<_> = missing.filter(|range| !range.is_empty()).collect();
                missing.sort_by_key(|range| range.start);
                for pair in missing.windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start, "{missing:?}");
                }
                prop_assert_eq!(in_order(missing), in_order(expected.clone()));
                prop_assert_eq!(missing_of(&path), in_order(expected.clone()));
                prop_assert_eq!(segments.is_complete(), expected.is_empty());
            }
            // What is left can be received: by these, and by others after them.
            claims.iter().for_each(|claim| segments.refuse(claim));
            for index in open {
                segments.release(index);
            }
            while let Some(claim) = segments.claim(u64::MAX) {
                let index = segments.confirm(&claim).expect("it is written");
                let length = claim.range.end - claim.range.start;
                segments.advance(index.expect("it is free"), length).expect("it is written");
            }
            prop_assert!(segments.is_complete());
        }
    }

    #[test]
    fn what_was_refused_can_be_claimed_again() {
        let mut segments = Segments::new(WHOLE, [0..WHOLE], None);
        for _ in 0..2 {
            let claim = segments.claim(1).expect("it is long");
            assert_eq!(claim.range, WHOLE / 2..WHOLE);
            // It is split by one at a time.
            assert!(segments.claim(1).is_none());
            segments.refuse(&claim);
        }
        let claim = segments.claim(1).expect("it is long");
        segments.confirm(&claim).expect("it has no record");
        segments.release(0);
        assert_eq!(
            segments.claim(u64::MAX).expect("it is free").range,
            0..WHOLE / 2
        );
    }

    #[test]
    fn a_range_that_was_reached_meanwhile_is_not_split_off() {
        let mut segments = Segments::new(WHOLE, [0..WHOLE], None);
        let claim = segments.claim(1).expect("it is long");
        segments.advance(0, WHOLE / 2).expect("it has no record");
        assert_eq!(segments.confirm(&claim).expect("it has no record"), None);
        assert_eq!(segments.range(0), WHOLE / 2..WHOLE);
    }

    #[test]
    fn what_a_killed_process_leaves_is_put_in_order() {
        for (missing, ordered) in [
            (vec![], vec![]),
            (vec![5..9, 0..0, 1..2], vec![1..2, 5..9]),
            // Killed while the first was split.
            (vec![0..10, 5..10], vec![0..10]),
            (vec![0..10, 2..3], vec![0..10]),
            (vec![5..10, 0..5], vec![0..10]),
        ] {
            assert_eq!(in_order(missing), ordered);
        }
    }
}
