//! The results of a system in labelled sessions.

use std::ops::AddAssign;

use watchkeeper_testing::labels::LabelledSession;

use super::delay;

/// The kinds of stretches, in the order of the table.
pub(crate) const KINDS: [&str; 7] =
    ["repeated_call", "cycle", "same_error", "no_progress", "stall", "failing", "lost_turn"];

/// The number of steps after the tell step within which a report is in time.
pub(crate) const IN_TIME: u64 = 5;

/// The agents that the sessions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Claude Code, Codex, opencode, and others with models of today.
    Modern,
    /// SWE-agent.
    SweAgent,
}

impl Family {
    /// Returns the family of the sessions that a source reads.
    pub(crate) fn of_source(kind: &str) -> Self {
        if kind == "swe-agent" { Self::SweAgent } else { Self::Modern }
    }
}

/// The results of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    families: [Sessions; 2],
    kinds: [Share; KINDS.len()],
    /// The stretches, including those of other kinds than [`KINDS`].
    stretches: Share,
    /// The delay of each stretch that was found.
    delays: Vec<u64>,
}

/// The results by session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sessions {
    /// The sessions with a due stretch, and those of them with a report.
    pub(crate) due: Share,
    /// The other sessions, and those of them with a report.
    pub(crate) quiet: Share,
}

/// A part of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) n: usize,
    pub(crate) of: usize,
}

impl Share {
    fn count(&mut self, is_counted: bool) {
        self.n += usize::from(is_counted);
        self.of += 1;
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.n += other.n;
        self.of += other.of;
    }
}

impl Sessions {
    /// Returns the share of the due sessions with a report.
    pub(crate) fn recall(self) -> Share {
        self.due
    }

    /// Returns the share of the sessions with a report that are due.
    pub(crate) fn precision(self) -> Share {
        Share { n: self.due.n, of: self.due.n + self.quiet.n }
    }
}

impl Score {
    /// Adds the reports about a session, as the numbers of their steps, in ascending order.
    pub(crate) fn add(&mut self, family: Family, session: &LabelledSession, reports: &[u64]) {
        let sessions = &mut self.families[family as usize];
        let is_due = session.is_due();
        let share = if is_due { &mut sessions.due } else { &mut sessions.quiet };
        share.count(!reports.is_empty());
        for stretch in session.due() {
            let found_at = reports.iter().find(|step| stretch.includes(**step));
            self.stretches.count(found_at.is_some());
            if let Some(kind) = KINDS.iter().position(|kind| *kind == stretch.kind) {
                self.kinds[kind].count(found_at.is_some());
            }
            self.delays.extend(found_at.map(|step| delay(stretch, *step)));
        }
    }

    pub(crate) fn of_family(&self, family: Family) -> Sessions {
        self.families[family as usize]
    }

    /// Returns the results in the sessions of all agents.
    pub(crate) fn all(&self) -> Sessions {
        let mut all = Sessions::default();
        for sessions in self.families {
            all.due += sessions.due;
            all.quiet += sessions.quiet;
        }
        all
    }

    /// Returns the number of due stretches of each of [`KINDS`], and of the found ones.
    pub(crate) fn kinds(&self) -> [Share; KINDS.len()] {
        self.kinds
    }

    /// Returns the number of due stretches of all kinds, and of the found ones.
    pub(crate) fn stretches(&self) -> Share {
        self.stretches
    }

    /// Returns the stretches that were found, and those of them that were found in time.
    pub(crate) fn in_time(&self) -> Share {
        let n = self.delays.iter().filter(|delay| **delay <= IN_TIME).count();
        Share { n, of: self.delays.len() }
    }

    /// Returns the median of the delays; of an even number, the greater of the two in the middle.
    pub(crate) fn median_delay(&self) -> Option<u64> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        delays.get(delays.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use watchkeeper_testing::labels::Labels;

    use super::{Family, Score, Share};

    const LABELS: &str = "\
file\tverdict\tkind\tfrom_step\tto_step\ttell_step\twhy
a\tmedium\tcycle\t10\t20\t14\t
a\tlow\tstall\t30\t31\t30\t
a\thigh\tno_progress\t40\t60\t45\t
b\tquiet\t\t\t\t\t
c\tlow\tsame_error\t3\t9\t5\t
";

    #[test]
    fn counts_sessions_and_stretches() {
        let labels: Labels = LABELS.parse().unwrap();
        let [a, b, c] = labels.sessions() else { panic!("{labels:?}") };
        let mut score = Score::default();
        score.add(Family::Modern, a, &[12, 66]);
        score.add(Family::Modern, b, &[]);
        score.add(Family::SweAgent, c, &[4]);
        let modern = score.of_family(Family::Modern);
        assert_eq!((modern.due, modern.quiet), (share(1, 1), share(0, 1)));
        let all = score.all();
        assert_eq!((all.recall(), all.precision()), (share(1, 1), share(1, 2)));
        assert_eq!(score.stretches(), share(1, 2));
        assert_eq!(score.kinds()[1], share(1, 1));
        assert_eq!(score.kinds()[3], share(0, 1));
    }

    #[test]
    fn a_report_counts_from_the_first_step_of_a_stretch_to_five_steps_after_the_last() {
        let labels: Labels = LABELS.parse().unwrap();
        for (step, is_found) in [(9, false), (10, true), (25, true), (26, false), (65, true)] {
            let mut score = Score::default();
            score.add(Family::Modern, &labels.sessions()[0], &[step]);
            assert_eq!(score.stretches(), share(usize::from(is_found), 2), "{step}");
        }
    }

    #[test]
    fn the_first_report_in_a_stretch_sets_the_delay() {
        let labels: Labels = LABELS.parse().unwrap();
        let mut score = Score::default();
        score.add(Family::Modern, &labels.sessions()[0], &[1, 11, 19, 55]);
        assert_eq!((score.in_time(), score.median_delay()), (share(1, 2), Some(10)));
        assert_eq!(Score::default().median_delay(), None);
    }

    fn share(n: usize, of: usize) -> Share {
        Share { n, of }
    }
}
