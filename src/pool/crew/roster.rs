//! How many workers there are to be, and when the next one may come up.

/// Counts workers from when they are asked for to when they are up.
///
/// A reqwest client takes 2.4 ms of a processor to make, measured: 256 at once would take all of them for a third of a second, and
/// nobody would be answered meanwhile. So no more workers come up at a time than are up already. That doubles their number
/// with each step, so sessions that take long for another reason, such as a log-in, do not come up one after the other either.
#[derive(Debug)]
pub(super) struct Roster {
    most: usize,
    /// As many are to be started in the end.
    wanted: usize,
    started: usize,
    /// Of those started, the ones that have tried to open their sessions, with or without success.
    up: usize,
}

/// So many come up at a time from the beginning, lest one that hangs keep all others waiting.
const AT_FIRST: usize = 2;

impl Roster {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            wanted: 0,
            started: 0,
            up: 0,
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    pub(super) fn want(&mut self, workers: usize) {
        self.wanted = self.wanted.max(workers.min(self.most));
    }

    /// One more, if there may be one. Whether any is still to be started.
    pub(super) fn want_another(&mut self) -> bool {
        self.want(self.wanted + 1);
        self.started < self.wanted
    }

    /// The number of the worker that is to be started now, if one is.
    pub(super) fn next(&mut self) -> Option<usize> {
        let coming_up = self.started - self.up;
        if self.started >= self.wanted || coming_up >= self.up.max(AT_FIRST) {
            return None;
        }
        self.started += 1;
        Some(self.started - 1)
    }

    pub(super) fn came_up(&mut self) {
        self.up = (self.up + 1).min(self.started);
    }

    /// The one that was to be started last was not: there are no threads left, so nobody waits for any more.
    pub(super) fn was_not_started(&mut self) {
        self.started = self.started.saturating_sub(1).max(self.up);
        self.wanted = self.started;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_all(roster: &mut Roster) -> Vec<usize> {
        std::iter::from_fn(|| roster.next()).collect()
    }

    #[test]
    fn as_many_come_up_at_a_time_as_are_up() {
        let mut roster = Roster::new(20);
        roster.want(20);
        let mut coming_up = 0;
        let waves: Vec<usize> = std::iter::from_fn(|| {
            (0..coming_up).for_each(|_| roster.came_up());
            coming_up = start_all(&mut roster).len();
            (coming_up > 0).then_some(coming_up)
        })
        .collect();
        assert_eq!(waves, [2, 2, 4, 8, 4]);
    }

    #[test]
    fn one_that_hangs_keeps_no_others_waiting() {
        let mut roster = Roster::new(20);
        roster.want(20);
        assert_eq!(start_all(&mut roster), [0, 1]);
        for _ in 0..19 {
            roster.came_up();
            start_all(&mut roster);
        }
        assert_eq!(roster.started, 20);
    }

    #[test]
    fn numbers_are_given_once_and_not_beyond_what_is_wanted() {
        let mut roster = Roster::new(20);
        assert_eq!(roster.next(), None);
        roster.want(2);
        roster.want(1);
        assert_eq!(start_all(&mut roster), [0, 1]);
        roster.want(3);
        roster.came_up();
        assert_eq!(start_all(&mut roster), [2]);
    }

    #[test]
    fn after_a_failure_nobody_is_started_until_another_one_is_wanted() {
        let mut roster = Roster::new(20);
        roster.want(8);
        assert_eq!(roster.next(), Some(0));
        roster.came_up();
        assert_eq!(roster.next(), Some(1));
        roster.was_not_started();
        assert_eq!((roster.next(), roster.wanted()), (None, 1));
        assert!(roster.want_another());
        assert_eq!(roster.next(), Some(1));
    }

    #[test]
    fn there_are_never_more_than_there_may_be() {
        let mut roster = Roster::new(2);
        roster.want(9);
        assert_eq!(start_all(&mut roster), [0, 1]);
        assert!(!roster.want_another());
        assert_eq!((roster.next(), roster.wanted()), (None, 2));
    }
}
