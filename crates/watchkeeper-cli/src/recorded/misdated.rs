//! Corrects times that are far from the times of the lines around them.

use std::collections::VecDeque;

use watchkeeper_core::{Event, SignedDuration, Timestamp, author::untimed};

/// The difference from both neighbours above which a time is wrong. Clocks of one machine
/// are set back by hours at most, and a person may continue a session after days.
const FAR: SignedDuration = SignedDuration::from_hours(24);
/// The same for a time at the start of a file that is before both later times. A person
/// may begin a session months before the next prompt.
const FAR_BEFORE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// The largest number of events that wait for a decision. Of more, the first is correct.
const MAX_WAITING: usize = 256;

/// Passes the events of a file on, and corrects their times.
///
/// A time is wrong if it is more than [`FAR`] later than the time before it and the next
/// different time: the session would keep the wrong time until the others reach it. A time
/// that is too early is wrong only at the start of a file, since the time of a session
/// never moves back. A wrong time becomes the time before it, or after it at the start.
///
/// Events without a time decide nothing, and are passed on unchanged.
#[derive(Debug, Default)]
pub(super) struct TimeCorrection {
    /// The latest time that is correct.
    latest: Option<Timestamp>,
    /// Events whose time may be wrong, and the events after them.
    waiting: VecDeque<Event>,
    corrected: MisdatedLines,
    /// The number of the latest line with a wrong time.
    latest_line: Option<u64>,
}

/// The lines with a wrong time in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MisdatedLines {
    pub(crate) n_lines: u64,
    /// The number of the first line and its time.
    pub(crate) first: Option<(u64, Timestamp)>,
}

enum Verdict {
    Correct,
    /// The time is wrong. Contains the correct one.
    Wrong(Timestamp),
    /// Later events decide.
    Open,
}

impl TimeCorrection {
    /// Adds the next event of the file. Appends the events that are decided to `decided`.
    pub(super) fn push(&mut self, event: Event, decided: &mut VecDeque<Event>) {
        // Most times are close to the latest, and nothing waits.
        let is_close = self.latest.is_some_and(|latest| !is_far_after(event.at, latest));
        if is_close && self.waiting.is_empty() {
            self.latest = self.latest.max(Some(event.at));
            decided.push_back(event);
            return;
        }
        if self.waiting.is_empty() && is_untimed(event.at) {
            decided.push_back(event);
            return;
        }
        self.waiting.push_back(event);
        self.decide(false, decided);
    }

    /// Appends all remaining events to `decided`, at the end of the file.
    pub(super) fn finish(&mut self, decided: &mut VecDeque<Event>) {
        self.decide(true, decided);
    }

    /// Returns the lines whose time was wrong.
    pub(super) fn corrected(&self) -> MisdatedLines {
        self.corrected
    }

    fn decide(&mut self, is_end: bool, decided: &mut VecDeque<Event>) {
        while let Some(first) = self.waiting.front() {
            let at = first.at;
            let verdict = match self.verdict(at) {
                Verdict::Open if is_end || MAX_WAITING <= self.waiting.len() => Verdict::Correct,
                verdict => verdict,
            };
            let correct = match verdict {
                Verdict::Open => return,
                Verdict::Correct => at,
                Verdict::Wrong(correct) => correct,
            };
            self.latest = self.latest.max(Some(correct));
            let Some(mut event) = self.waiting.pop_front() else { return };
            if at != correct {
                self.count(&event);
                event.at = correct;
            }
            decided.push_back(event);
        }
    }

    /// Counts the line of an event with a wrong time. A line can have several events.
    fn count(&mut self, event: &Event) {
        let line = event.origin.as_ref().map_or(0, |origin| origin.line);
        if self.latest_line.replace(line) != Some(line) {
            self.corrected.n_lines += 1;
            self.corrected.first.get_or_insert((line, event.at));
        }
    }

    /// Decides about the time `at` of the first waiting event.
    fn verdict(&self, at: Timestamp) -> Verdict {
        let later = self.waiting.iter().map(|event| event.at);
        let mut later = later.filter(|later| *later != at && !is_untimed(*later));
        match self.latest {
            Some(latest) if is_far_after(at, latest) => {
                // A time that is too early itself proves nothing.
                match later.find(|later| !is_far_after(latest, *later)) {
                    None => Verdict::Open,
                    Some(next) if is_far_after(at, next) => Verdict::Wrong(latest),
                    Some(_) => Verdict::Correct,
                }
            }
            Some(_) => Verdict::Correct,
            // At the start, one later time does not show which of the two is wrong.
            None => {
                let Some(next) = later.next() else { return Verdict::Open };
                let is_close = !is_far_after(at, next) && next.duration_since(at) <= FAR_BEFORE;
                if is_close {
                    return Verdict::Correct;
                }
                let Some(after) = later.find(|after| *after != next) else {
                    return Verdict::Open;
                };
                let is_after_both = is_far_after(at, next) && is_far_after(at, after);
                let is_before_both = FAR_BEFORE < next.duration_since(at)
                    && FAR_BEFORE < after.duration_since(at)
                    && !is_far_after(next, after);
                if is_after_both || is_before_both {
                    Verdict::Wrong(next.min(after))
                } else {
                    Verdict::Correct
                }
            }
        }
    }
}

/// Returns true if a time is more than [`FAR`] after another one.
fn is_far_after(at: Timestamp, other: Timestamp) -> bool {
    FAR < at.duration_since(other)
}

/// Returns whether a source gave an event this time because the file contains none.
fn is_untimed(at: Timestamp) -> bool {
    (untimed(0)..=untimed(u32::MAX)).contains(&at)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::{collection::vec, prelude::*, sample::Index};
    use watchkeeper_core::{
        Event, EventKind, SignedDuration, Timestamp,
        author::{Origin, untimed},
    };

    use super::{FAR, TimeCorrection};

    const DAY: i64 = 24 * 60 * 60;
    const YEAR: i64 = 365 * DAY;

    fn time(secs: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + secs).unwrap()
    }

    /// Returns the times of a file after the correction, and the number of corrected lines.
    fn corrected(times: &[Timestamp]) -> (Vec<Timestamp>, u64) {
        let (mut correction, mut decided) = (TimeCorrection::default(), VecDeque::new());
        for (line, at) in (1..).zip(times) {
            let mut event = Event::new(*at, "s", EventKind::TurnEnd);
            event.origin = Some(Origin { source: "x", file: "a".into(), line });
            correction.push(event, &mut decided);
        }
        correction.finish(&mut decided);
        let lines: Vec<u64> =
            decided.iter().map(|event| event.origin.as_ref().unwrap().line).collect();
        assert!(lines.iter().copied().eq(1..=times.len() as u64), "{lines:?}");
        (decided.iter().map(|event| event.at).collect(), correction.corrected().n_lines)
    }

    #[track_caller]
    fn check(secs: &[i64], expected: &[i64]) {
        let times: Vec<Timestamp> = secs.iter().copied().map(time).collect();
        let n_changed = secs.iter().zip(expected).filter(|(a, b)| a != b).count() as u64;
        let expected: Vec<Timestamp> = expected.iter().copied().map(time).collect();
        assert_eq!(corrected(&times), (expected, n_changed), "{secs:?}");
    }

    #[test]
    fn corrects_one_time_that_is_far_from_both_neighbours() {
        check(&[0, 5, 9 * YEAR, 10, 15], &[0, 5, 5, 10, 15]);
        check(&[0, 2 * DAY, 10, 15], &[0, 0, 10, 15]);
        // Lines without a time have the latest time of the file.
        check(&[0, 9 * YEAR, 9 * YEAR, 10, 9 * YEAR, 20], &[0, 0, 0, 10, 10, 20]);
        check(&[0, 9 * YEAR, -9 * YEAR, 10, 15], &[0, 0, -9 * YEAR, 10, 15]);
        check(&[9 * YEAR, 0, 5], &[0, 0, 5]);
        check(&[9 * YEAR, 9 * YEAR, 0, 5], &[0, 0, 0, 5]);
        check(&[-9 * YEAR, 0, 5], &[0, 0, 5]);
    }

    #[test]
    fn leaves_times_that_may_be_right() {
        for secs in [
            &[][..],
            &[0],
            &[0, 9 * YEAR],
            &[9 * YEAR, 0],
            // A session that continues after days, months or years.
            &[0, 5, 3 * DAY, 3 * DAY + 5],
            &[0, 60 * DAY, 60 * DAY + 5],
            &[0, 5, 2 * YEAR, 2 * YEAR + 5],
            // The last line decides nothing.
            &[0, 5, 9 * YEAR],
            // A clock that was set back by hours.
            &[0, 20_000, 5, 10],
            // The time of a session does not move back.
            &[0, 5, -9 * YEAR, 10],
            &[0, -9 * YEAR, 5],
        ] {
            check(secs, secs);
        }
    }

    #[test]
    fn corrects_the_first_time_of_year_one() {
        let year_one: Timestamp = "0001-01-01T00:00:00Z".parse().unwrap();
        let times = [year_one, time(0), time(5)];
        assert_eq!(corrected(&times), (vec![time(0), time(0), time(5)], 1));
    }

    #[test]
    fn events_without_a_time_decide_nothing() {
        let times = [untimed(0), untimed(1), time(0), time(5)];
        assert_eq!(corrected(&times), (times.to_vec(), 0));
        let times = [untimed(0), time(9 * YEAR), untimed(1), time(0), time(5)];
        let expected = vec![untimed(0), time(0), untimed(1), time(0), time(5)];
        assert_eq!(corrected(&times), (expected, 1));
    }

    #[test]
    fn passes_files_without_times_on_and_stores_few_events() {
        let times: Vec<Timestamp> = (0..2_000).map(untimed).collect();
        assert_eq!(corrected(&times), (times.clone(), 0));
        let same = vec![time(0); 2_000];
        assert_eq!(corrected(&same), (same.clone(), 0));
        let mut decided = VecDeque::new();
        let mut correction = TimeCorrection::default();
        for n in 0..2_000 {
            correction.push(Event::new(time(0), "s", EventKind::TurnEnd), &mut decided);
            assert!(n < decided.len() + super::MAX_WAITING);
        }
    }

    /// The rule, applied to all times at once.
    fn naive(times: &[Timestamp]) -> Vec<Timestamp> {
        let mut result: Vec<Timestamp> = Vec::new();
        for (idx, at) in times.iter().enumerate() {
            let Some(latest) = result.iter().max().copied() else {
                result.push(*at);
                continue;
            };
            let is_far = |a: Timestamp, b: Timestamp| FAR < a.duration_since(b);
            let next = times[idx..].iter().find(|next| *next != at && !is_far(latest, **next));
            let is_wrong = is_far(*at, latest) && next.is_some_and(|next| is_far(*at, *next));
            result.push(if is_wrong { latest } else { *at });
        }
        result
    }

    proptest! {
        #[test]
        fn corrects_the_same_times_as_a_naive_search(
            gaps in vec(prop_oneof![6 => 0..100_i64, 1 => -2 * DAY..2 * DAY, 1 => -YEAR..YEAR], 0..60),
        ) {
            // The rule for the first time is a different one.
            let mut times = vec![time(0), time(1)];
            let mut at = 1;
            for gap in gaps {
                // Some gaps last, others are of one line.
                at += gap % 5_000;
                times.push(time(at + gap));
            }
            prop_assert_eq!(corrected(&times).0, naive(&times));
        }

        #[test]
        fn one_wrong_time_changes_no_other(
            gaps in vec(1..20 * 60 * 60_i64, 3..40),
            at in any::<Index>(),
            ahead in 2 * DAY..100 * YEAR,
        ) {
            let mut secs = 0;
            let times: Vec<Timestamp> = gaps.iter().map(|gap| { secs += gap; time(secs) }).collect();
            let mut wrong = times.clone();
            let at = at.index(times.len() - 2);
            wrong[at] = times[at + 1].max(times[at + 2]) + SignedDuration::from_secs(ahead);
            let (corrected, n_lines) = corrected(&wrong);
            prop_assert_eq!(n_lines, 1);
            let before = at.checked_sub(1).map_or(times[at + 1], |before| times[before]);
            let mut expected = times;
            expected[at] = before;
            prop_assert_eq!(corrected, expected);
        }
    }
}
