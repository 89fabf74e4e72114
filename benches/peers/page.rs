//! What each system made of the cases, as a page.

use std::fmt::Write as _;

use crate::rules::PEERS;

/// The day on which the rules were read.
const DAY: &str = "2026-11-22";

/// What the rules of the cases are about, and what a column calls that.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    ("same call", &["repeat-tool-call"]),
    ("two in turns", &["alternating"]),
    ("longer cycles", &["cycle"]),
    ("errors", &["error-loop"]),
    ("text", &["chanting", "repeated_message"]),
    ("other", &["stagnation", "read-loop", "compaction-loop"]),
];

/// How many of the cases that are due something a system reports, and how many
/// of the quiet ones it leaves alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    due: Share,
    quiet: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    right: usize,
    of: usize,
}

impl Score {
    pub(crate) fn count(&mut self, is_due: bool, is_right: bool) {
        let share = if is_due { &mut self.due } else { &mut self.quiet };
        share.of += 1;
        share.right += usize::from(is_right);
    }

    fn cell(self) -> String {
        let Self { due, quiet } = self;
        format!("{}/{} · {}/{}", due.right, due.of, quiet.right, quiet.of)
    }

    fn both(self) -> String {
        let Self { due, quiet } = self;
        match due.of + quiet.of {
            0 => "none here".to_owned(),
            of => format!("{}/{of}", due.right + quiet.right),
        }
    }
}

/// What a system scores.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    pub(crate) groups: [Score; GROUPS.len()],
    pub(crate) all: Score,
    /// Cases that come from a complaint of a user, and not from a test.
    pub(crate) complaints: Score,
    /// Cases that come from the system's own tests.
    pub(crate) own: Score,
}

/// Writes the page. `peers` are the scores of [`PEERS`].
pub(crate) fn render(ours: &Scores, peers: &[Scores]) -> String {
    let n_cases = ours.all.due.of + ours.all.quiet.of;
    let n_complaints = ours.complaints.due.of + ours.complaints.quiet.of;
    let mut res = format!(
        "# Watchkeeper and the guards that agents have\n\n\
Many agents have a guard of their own against going round in circles. This page
says what the built-in policy finds in {n_cases} cases, and what these guards find
in the same ones. `cargo run -p watchkeeper-benches --example peers -- DIR >
docs/comparison.md` makes it, from a folder of cases, which are not part of this
repository.

A case is a session, as events, that says whether something is due or whether it
should be left alone. {n_complaints} are made of what users complained of: loops that were
missed, and work that was stopped for no reason. The others are tests of the
guards. Cases in which the guards contradict one another are left out. The
defaults of Watchkeeper were chosen with the rules of all these guards in view,
so the table says how far one policy does what the guards' own tests and users
ask for, and not how it does on sessions that nobody has seen: a full row is a
test that passes, and no more.

A cell has two shares: how many of the cases that are due something are reported,
and how many of the quiet ones are left alone. A guard that never says anything
has 0 of the first and all of the second; both count. `own tests` is a check of
the model: how many of the tests that come from that system it passes.

| system | rules of |"
    );
    for (name, _) in GROUPS {
        let _ = write!(res, " {name} |");
    }
    res.push_str(" all | complaints | own tests |\n");
    let columns = GROUPS.len() + 5;
    res.push_str(&"| --- ".repeat(columns));
    res.push_str("|\n");
    row(&mut res, "**Watchkeeper**", env!("CARGO_PKG_VERSION"), ours, "");
    let with_scores = || PEERS.iter().zip(peers);
    for (peer, scores) in with_scores().filter(|(it, _)| it.switch.is_none()) {
        row(&mut res, peer.name, peer.of, scores, &scores.own.both());
    }
    res.push_str(
        "\nThese do nothing until somebody switches them on, so by default they report none
of the cases. Switched on, they make this of them:\n\n| system | rules of |",
    );
    for (name, _) in GROUPS {
        let _ = write!(res, " {name} |");
    }
    res.push_str(" all | complaints | own tests |\n");
    res.push_str(&"| --- ".repeat(columns));
    res.push_str("|\n");
    for (peer, scores) in with_scores() {
        if let Some(switch) = peer.switch {
            let name = format!("{}: {switch}", peer.name);
            row(&mut res, &name, peer.of, scores, &scores.own.both());
        }
    }
    let _ = write!(
        res,
        "
## How it is counted

* Watchkeeper's row is `watchkeeper check` with the built-in policy. A case is due
  a finding of `medium` or more, or of any severity if the test that it comes
  from is of a guard that acts on less than most; a quiet case must have no
  finding of `medium` or more.
* The other rows are models: the published rule, read on {DAY}, in a few lines of
  our own (`benches/peers/rules.rs`). Guards with a ladder get the benefit of the
  doubt: its first step, which stops nothing, counts where something is due and
  is forgiven where nothing is.
* A guard sees the session of another agent as its own: tools have other names,
  and what its host would have told it besides is not there. It is judged on work
  that it was not made for, as we are.

## What the models leave out

* What events do not show: gemini-cli asks a model, after 30 turns, whether there
  is progress; OpenHands V0 compares only the first lines of some notebook cells.
* What is no loop: budgets, time limits, and caps on turns, but for qwen-code's.
* A quirk of forge: a block that has just begun counts as one more repetition.
* openclaw's breaker, which stops a run that has gone nowhere for 30 calls.
* How a guard goes on after its first word. A case is over then.

## What the numbers do not say

A guard sits inside its agent. It can refuse a call before it is made, tell the
model what it does, or ask a person; that is why it must be sure. Watchkeeper
stands beside the agent and reports: it is later by the time that a line takes to
be written, it stops nothing, and a finding too many costs a glance and not a
session. What it finds besides is not in these cases: silence, cost, and what
many sessions do together.
"
    );
    res
}

fn row(res: &mut String, name: &str, of: &str, scores: &Scores, own: &str) {
    let _ = write!(res, "| {name} | {of} |");
    let cells = scores.groups.iter().chain([&scores.all, &scores.complaints]);
    for score in cells {
        let _ = write!(res, " {} |", score.cell());
    }
    let _ = writeln!(res, " {own} |");
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, PEERS, Score, Scores, render};

    #[test]
    fn a_score_has_both_sides() {
        let mut score = Score::default();
        for (is_due, is_right) in [(true, true), (true, false), (false, true)] {
            score.count(is_due, is_right);
        }
        assert_eq!(score.cell(), "1/2 · 1/1");
        assert_eq!(score.both(), "2/3");
    }

    #[test]
    fn the_page_is_what_is_written_but_for_its_numbers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/comparison.md");
        let there = std::fs::read_to_string(path).unwrap();
        let made = render(&Scores::default(), &vec![some(); PEERS.len()]);
        assert_eq!(without_numbers(&there), without_numbers(&made));
    }

    #[test]
    fn shares_of_the_page_are_no_more_than_there_is() {
        let there = include_str!("../../docs/comparison.md");
        let rows: Vec<&str> = there.lines().filter(|it| it.contains(" · ")).collect();
        assert_eq!(rows.len(), 1 + PEERS.len());
        let wholes = |row: &str| {
            let shares = row.split([' ', '|']).filter_map(|it| it.split_once('/'));
            let numbers = shares.filter_map(|(right, of)| {
                Some((right.parse::<usize>().ok()?, of.parse::<usize>().ok()?))
            });
            numbers.inspect(|(right, of)| assert!(right <= of, "{row}")).map(|(_, of)| of).collect()
        };
        let ours: Vec<usize> = wholes(rows[0]);
        let groups = 2 * GROUPS.len();
        for parity in [0, 1] {
            let sum: usize = ours[..groups].iter().skip(parity).step_by(2).sum();
            assert_eq!(sum, ours[groups + parity]);
        }
        for row in &rows {
            assert_eq!(wholes(row)[..groups + 4], ours[..], "{row}");
        }
    }

    fn some() -> Scores {
        let mut scores = Scores::default();
        scores.own.count(true, true);
        scores
    }

    fn without_numbers(page: &str) -> String {
        let mut res = String::new();
        for it in page.chars() {
            if !it.is_ascii_digit() {
                res.push(it);
            } else if !res.ends_with('0') {
                res.push('0');
            }
        }
        res
    }
}
