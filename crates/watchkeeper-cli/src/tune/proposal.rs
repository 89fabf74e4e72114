//! The rules by which levels are proposed.

use std::cmp::{Ordering, Reverse};

/// The largest factor by which a wanted number of findings raises a level. Above it, the
/// detector would find next to nothing.
pub(super) const MAX_RAISE: u64 = 5;

/// The levels of `medium` of one detector, of which one is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The present level, which is one of the candidates.
    pub(crate) present: u64,
    /// In ascending order.
    pub(crate) candidates: Vec<u64>,
}

/// The proposed level of `medium` of each detector; `None` leaves its levels unchanged.
pub(crate) type Proposal = Vec<Option<u64>>;

/// Labelled sessions by whether a finding of `medium` or above is due and is reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    /// Sessions with a finding that is due.
    pub(crate) found: u64,
    /// Sessions without the finding that is due.
    pub(crate) missed: u64,
    /// Sessions with a finding of which none is due.
    pub(crate) false_alarms: u64,
}

/// Proposes levels for a wanted number of findings.
///
/// While there are more, the detector with the most findings gets its next higher level
/// with fewer, up to [`MAX_RAISE`] times its present level. More findings than wanted can
/// therefore be left. If there are fewer and `may_lower` is set, the detector whose next lower
/// level adds the fewest findings gets that level, as long as the number is not exceeded.
/// `count` returns the number of findings of each detector for some levels.
pub(crate) fn wanted_rate(
    choices: &[Option<Choice>],
    wanted: f64,
    may_lower: bool,
    mut count: impl FnMut(&[Option<u64>]) -> Vec<u64>,
) -> Proposal {
    let mut levels: Proposal = present(choices);
    let mut counts = count(&levels);
    while wanted < total(choices, &counts) {
        let mut order: Vec<usize> = (0..choices.len()).filter(|idx| counts[*idx] != 0).collect();
        order.sort_by_key(|idx| Reverse(counts[*idx]));
        let higher = order.into_iter().find_map(|idx| {
            let (present, n) = (levels[idx]?, counts[idx]);
            let choice = choices[idx].as_ref()?;
            let candidates = choice.candidates.iter().copied();
            candidates.filter(|at| present < *at && *at <= choice.limit()).find_map(|at| {
                let raised = with_level(&levels, idx, at);
                let counts = count(&raised);
                (counts[idx] < n).then_some((raised, counts))
            })
        });
        match higher {
            Some(raised) => (levels, counts) = raised,
            None => return changes(choices, levels),
        }
    }
    if !may_lower || levels != present(choices) {
        return changes(choices, levels);
    }
    loop {
        let before = total(choices, &counts);
        let lower = (0..choices.len()).filter_map(|idx| {
            let present = levels[idx]?;
            let candidates = choices[idx].as_ref()?.candidates.iter().rev().copied();
            candidates.filter(|at| *at < present).find_map(|at| {
                let lowered = with_level(&levels, idx, at);
                let counts = count(&lowered);
                (before < total(choices, &counts)).then_some((lowered, counts))
            })
        });
        let fewest = lower.min_by(|(_, a), (_, b)| total(choices, a).total_cmp(&total(choices, b)));
        match fewest {
            Some(lowered) if total(choices, &lowered.1) <= wanted => (levels, counts) = lowered,
            _ => return changes(choices, levels),
        }
    }
}

/// Proposes levels for labelled sessions: of all levels with at least `min_precision`,
/// those with the highest recall, then with the highest precision, then with the fewest
/// changes. If no levels reach this precision, those with the highest.
///
/// `peaks` has the highest measure of each detector in each session, and `is_due` whether
/// a finding of `medium` or above is due in it. A session has a finding if one of these
/// measures reaches its level: a detector that is suppressed there leaves a finding of
/// another.
pub(crate) fn best_balance(
    choices: &[Option<Choice>],
    peaks: &[Vec<u64>],
    is_due: &[bool],
    min_precision: f64,
) -> Proposal {
    let score = |levels: &Proposal| Score {
        balance: balance(levels, peaks, is_due),
        min_precision,
        n_changes: changes(choices, levels.clone()).iter().flatten().count(),
        distance: distance(choices, levels),
    };
    // Of the present levels and of silence, the better start wins.
    let silence: Proposal = choices.iter().map(|choice| Some(choice.as_ref()?.highest())).collect();
    let best = [present(choices), silence].map(|mut levels| {
        let mut best = score(&levels);
        loop {
            let mut better = None;
            for (idx, choice) in choices.iter().enumerate() {
                for at in choice.iter().flat_map(|choice| &choice.candidates) {
                    let changed = with_level(&levels, idx, *at);
                    let score = score(&changed);
                    if score.compare(&best).is_gt() {
                        best = score;
                        better = Some(changed);
                    }
                }
            }
            match better {
                Some(better) => levels = better,
                None => return (best, levels),
            }
        }
    });
    let [from_present, from_silence] = best;
    let (_, levels) =
        if from_silence.0.compare(&from_present.0).is_gt() { from_silence } else { from_present };
    changes(choices, levels)
}

/// Returns the balance of levels that are proposed for the other sessions: each group of
/// sessions is left out in turn.
pub(crate) fn held_out(
    choices: &[Option<Choice>],
    peaks: &[Vec<u64>],
    is_due: &[bool],
    groups: &[usize],
    min_precision: f64,
) -> Balance {
    let n_groups = groups.iter().max().map_or(0, |group| group + 1);
    let mut sum = Balance::default();
    for left_out in 0..n_groups {
        let part = |is_left_out: bool| {
            let is_part = |idx: &usize| (groups[*idx] == left_out) == is_left_out;
            let part: Vec<usize> = (0..groups.len()).filter(is_part).collect();
            let own_peaks: Vec<Vec<u64>> = part.iter().map(|idx| peaks[*idx].clone()).collect();
            (own_peaks, part.iter().map(|idx| is_due[*idx]).collect::<Vec<bool>>())
        };
        let ((fit_peaks, fit_due), (own_peaks, own_due)) = (part(false), part(true));
        let proposal = best_balance(choices, &fit_peaks, &fit_due, min_precision);
        let levels = present(choices).into_iter().zip(proposal);
        let levels = levels.map(|(present, proposed)| proposed.or(present)).collect();
        sum.add(balance(&levels, &own_peaks, &own_due));
    }
    sum
}

/// Returns the balance of some levels, by the highest measures of each session.
fn balance(levels: &Proposal, peaks: &[Vec<u64>], is_due: &[bool]) -> Balance {
    let mut balance = Balance::default();
    for (peaks, is_due) in peaks.iter().zip(is_due) {
        let mut measured = levels.iter().zip(peaks);
        let has_finding = measured.any(|(level, peak)| level.is_some_and(|level| level <= *peak));
        balance.count(*is_due, has_finding);
    }
    balance
}

fn present(choices: &[Option<Choice>]) -> Proposal {
    choices.iter().map(|choice| Some(choice.as_ref()?.present)).collect()
}

fn with_level(levels: &Proposal, idx: usize, at: u64) -> Proposal {
    let mut changed = levels.clone();
    changed[idx] = Some(at);
    changed
}

/// Returns only the levels that differ from the present ones.
fn changes(choices: &[Option<Choice>], levels: Proposal) -> Proposal {
    let changed = levels.into_iter().zip(present(choices));
    changed.map(|(level, present)| level.filter(|_| level != present)).collect()
}

/// Returns the number of candidates between the present levels and these.
fn distance(choices: &[Option<Choice>], levels: &Proposal) -> usize {
    let between = |(choice, level): (&Option<Choice>, &Option<u64>)| {
        let choice = choice.as_ref()?;
        let position = |at: u64| choice.candidates.iter().position(|other| *other == at);
        Some(position(choice.present)?.abs_diff(position((*level)?)?))
    };
    choices.iter().zip(levels).filter_map(between).sum()
}

/// Returns the number of findings of the detectors that have a choice.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn total(choices: &[Option<Choice>], counts: &[u64]) -> f64 {
    let tuned = choices.iter().zip(counts).filter(|(choice, _)| choice.is_some());
    tuned.map(|(_, n)| *n).sum::<u64>() as f64
}

impl Choice {
    /// Returns the highest level that a wanted number of findings may propose.
    fn limit(&self) -> u64 {
        self.present.saturating_mul(MAX_RAISE)
    }

    fn highest(&self) -> u64 {
        self.candidates.last().copied().unwrap_or(self.present)
    }
}

impl Balance {
    /// Counts a session.
    pub(crate) fn count(&mut self, is_due: bool, has_finding: bool) {
        match (is_due, has_finding) {
            (true, true) => self.found += 1,
            (true, false) => self.missed += 1,
            (false, true) => self.false_alarms += 1,
            (false, false) => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.found += other.found;
        self.missed += other.missed;
        self.false_alarms += other.false_alarms;
    }

    /// Returns the share of the due sessions that have a finding; 1 if none is due.
    pub(crate) fn recall(self) -> f64 {
        share(self.found, self.found + self.missed)
    }

    /// Returns the share of the sessions with a finding in which one is due; 1 if no
    /// session has a finding.
    pub(crate) fn precision(self) -> f64 {
        share(self.found, self.found + self.false_alarms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn share(n: u64, of: u64) -> f64 {
    if of == 0 { 1.0 } else { n as f64 / of as f64 }
}

/// The value of some levels for labelled sessions.
#[derive(Clone, Copy)]
struct Score {
    balance: Balance,
    min_precision: f64,
    n_changes: usize,
    distance: usize,
}

impl Score {
    /// Compares two scores; the greater one is better.
    fn compare(&self, other: &Self) -> Ordering {
        let [own, others] = [self, other].map(|score| {
            let (recall, precision) = (score.balance.recall(), score.balance.precision());
            let is_precise = score.min_precision <= precision;
            let ranked = if is_precise { [recall, precision] } else { [precision, recall] };
            (is_precise, ranked, Reverse((score.n_changes, score.distance)))
        });
        own.0
            .cmp(&others.0)
            .then(own.1[0].total_cmp(&others.1[0]))
            .then(own.1[1].total_cmp(&others.1[1]))
            .then(own.2.cmp(&others.2))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::{
        Balance, Choice, MAX_RAISE, balance, best_balance, held_out, present, wanted_rate,
    };

    fn choice(present: u64) -> Choice {
        Choice { present, candidates: (2..=10).collect() }
    }

    /// Counts the measures that reach the level of each detector.
    fn counts(measures: &[Vec<u64>], levels: &[Option<u64>]) -> Vec<u64> {
        let count = |(measures, level): (&Vec<u64>, &Option<u64>)| {
            measures.iter().filter(|measure| level.is_some_and(|at| at <= **measure)).count() as u64
        };
        measures.iter().zip(levels).map(count).collect()
    }

    #[test]
    fn raises_the_detector_with_the_most_findings_until_the_number_is_reached() {
        let measures = [vec![4, 4, 5, 5, 6, 9], vec![4, 9]];
        let choices = [Some(choice(4)), Some(choice(4))];
        let propose = |wanted, may_lower| {
            wanted_rate(&choices, wanted, may_lower, |levels| counts(&measures, levels))
        };
        assert_eq!(propose(8.0, false), [None, None]);
        assert_eq!(propose(7.0, false), [Some(5), None]);
        assert_eq!(propose(4.0, false), [Some(6), None]);
        // With as many findings, the first detector is raised.
        assert_eq!(propose(3.0, true), [Some(7), None]);
        assert_eq!(propose(0.0, false), [Some(10), Some(10)]);
        // Two measures of 5 go together.
        assert_eq!(propose(5.0, true), [Some(6), None]);
    }

    #[test]
    fn raises_no_level_above_the_limit() {
        let measures = [vec![4, 15, 25], vec![2, 3]];
        let candidates: Vec<u64> = (2..=30).collect();
        let choices =
            [4, 2].map(|present| Some(Choice { present, candidates: candidates.clone() }));
        let count = |levels: &[Option<u64>]| counts(&measures, levels);
        assert_eq!(wanted_rate(&choices, 0.0, false, count), [Some(16), Some(4)]);
        assert_eq!(wanted_rate(&choices, 4.0, false, count), [Some(5), None]);
    }

    #[test]
    fn lowers_levels_that_add_the_fewest_findings_if_allowed() {
        let measures = [vec![2, 3, 3, 5], vec![3, 6]];
        let choices = [Some(choice(5)), Some(choice(5))];
        let propose = |wanted, may_lower| {
            wanted_rate(&choices, wanted, may_lower, |levels| counts(&measures, levels))
        };
        assert_eq!(propose(6.0, false), [None, None]);
        assert_eq!(propose(3.0, true), [None, Some(3)]);
        assert_eq!(propose(4.0, true), [None, Some(3)]);
        assert_eq!(propose(5.0, true), [Some(3), Some(3)]);
        assert_eq!(propose(99.0, true), [Some(2), Some(3)]);
    }

    #[test]
    fn budgets_and_detectors_without_a_choice_keep_their_levels() {
        let measures = [vec![9; 5], vec![9]];
        let choices = [None, Some(choice(4))];
        let count = |levels: &[Option<u64>]| counts(&measures, levels);
        assert_eq!(wanted_rate(&choices, 1.0, true, count), [None, None]);
        assert_eq!(wanted_rate(&choices, 0.0, true, count), [None, Some(10)]);
        assert_eq!(best_balance(&choices, &[vec![9, 9]], &[false], 0.9), [None, Some(10)]);
    }

    #[test]
    fn proposes_the_highest_recall_with_the_precision() {
        // The first detector separates the sessions at 6, the second does not.
        let peaks = [vec![7, 3], vec![6, 5], vec![5, 9], vec![2, 5], vec![0, 4]];
        let is_due = [true, true, false, false, true];
        let choices = [Some(choice(4)), Some(choice(4))];
        let proposal = best_balance(&choices, &peaks, &is_due, 0.9);
        assert_eq!(proposal, [Some(6), Some(10)]);
        // Of 5 sessions 3 are due.
        let proposal = best_balance(&choices, &peaks, &is_due, 0.6);
        assert_eq!(proposal, [None, None]);
    }

    #[test]
    fn keeps_the_present_levels_if_others_are_not_better() {
        let peaks = [vec![4], vec![3], vec![9]];
        let is_due = [true, false, true];
        assert_eq!(best_balance(&[Some(choice(4))], &peaks, &is_due, 0.9), [None]);
        assert_eq!(best_balance(&[Some(choice(5))], &peaks, &is_due, 0.9), [Some(4)]);
        assert_eq!(best_balance(&[Some(choice(4))], &[], &[], 0.9), [None]);
    }

    #[test]
    fn sessions_that_are_left_out_do_not_choose_their_levels() {
        // Every other session would choose 4, which is wrong for the last one.
        let peaks = [vec![4], vec![4], vec![3], vec![3], vec![4]];
        let is_due = [true, true, false, false, false];
        let balance = held_out(&[Some(choice(5))], &peaks, &is_due, &[0, 1, 0, 1, 2], 0.5);
        assert_eq!(balance, Balance { found: 2, missed: 0, false_alarms: 1 });
        assert_eq!(held_out(&[Some(choice(5))], &[], &[], &[], 0.5), Balance::default());
    }

    proptest! {
        #[test]
        fn proposals_keep_their_promise(
            measures in vec(vec(1..60_u64, 0..20), 3),
            levels in vec(2..10_u64, 3),
            wanted in 0..30_u32,
            may_lower in any::<bool>(),
        ) {
            let choice = |present: &u64| Some(Choice { present: *present, candidates: (2..=60).collect() });
            let choices: Vec<_> = levels.iter().map(choice).collect();
            let count = |levels: &[Option<u64>]| counts(&measures, levels);
            let sum = |levels: &[Option<u64>]| count(levels).iter().sum::<u64>();
            let before = sum(&present(&choices));
            let proposal = wanted_rate(&choices, f64::from(wanted), may_lower, count);
            let pairs = present(&choices).into_iter().zip(&proposal);
            let proposed: Vec<_> = pairs.map(|(present, level)| level.or(present)).collect();
            let limits: Vec<_> = levels.iter().map(|level| Some(level * MAX_RAISE)).collect();
            prop_assert!(proposed.iter().zip(&limits).all(|(level, limit)| level <= limit));
            // More findings are left only if the highest permitted levels leave as many.
            prop_assert!(sum(&proposed) <= u64::from(wanted).max(sum(&limits)));
            if before <= u64::from(wanted) {
                prop_assert!(before <= sum(&proposed));
                prop_assert!(may_lower || proposal.iter().all(Option::is_none));
            }
        }

        #[test]
        fn the_balance_is_never_worse_than_the_present_one(
            sessions in vec((vec(0..10_u64, 3), any::<bool>()), 0..20),
            levels in vec(2..10_u64, 3),
        ) {
            let (peaks, is_due): (Vec<_>, Vec<_>) = sessions.into_iter().unzip();
            let choices: Vec<_> = levels.iter().map(|level| Some(choice(*level))).collect();
            let proposal = best_balance(&choices, &peaks, &is_due, 0.8);
            let pairs = present(&choices).into_iter().zip(proposal);
            let proposed = pairs.map(|(present, level)| level.or(present)).collect();
            let [before, after] =
                [present(&choices), proposed].map(|levels| balance(&levels, &peaks, &is_due));
            // Silence is precise.
            prop_assert!(0.8 <= after.precision());
            if 0.8 <= before.precision() {
                prop_assert!(before.recall() <= after.recall());
            }
        }
    }
}
