//! The page with the results.

use std::fmt::Write as _;

use crate::{labelled, rules::PEERS};

/// The date of the published rules.
const DAY: &str = "2026-11-22";

/// The columns of the table, with the rules of the cases that belong to each.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    ("same call", &["repeat-tool-call"]),
    ("two in turns", &["alternating"]),
    ("longer cycles", &["cycle"]),
    ("errors", &["error-loop"]),
    ("text", &["chanting", "monologue"]),
    ("other", &["stagnation", "read-loop", "compaction-loop"]),
];

/// The results of a system: its share of the cases with an expected report that it reported, and
/// of the quiet cases that it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    expected: Share,
    quiet: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    right: usize,
    of: usize,
}

impl Score {
    pub(crate) fn count(&mut self, is_expected: bool, is_right: bool) {
        let share = if is_expected { &mut self.expected } else { &mut self.quiet };
        share.of += 1;
        share.right += usize::from(is_right);
    }

    fn cell(self) -> String {
        let Self { expected, quiet } = self;
        format!("{}/{} · {}/{}", expected.right, expected.of, quiet.right, quiet.of)
    }

    fn both(self) -> String {
        let Self { expected, quiet } = self;
        match expected.of + quiet.of {
            0 => "none".to_owned(),
            of => format!("{}/{of}", expected.right + quiet.right),
        }
    }
}

/// The scores of a system.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scores {
    pub(crate) groups: [Score; GROUPS.len()],
    pub(crate) all: Score,
    /// Cases that come from complaints of users.
    pub(crate) complaints: Score,
    /// Cases that come from the system's own tests.
    pub(crate) own: Score,
}

/// Renders the page. `peers` are the scores of [`PEERS`] in the cases, in the same order.
pub(crate) fn render(
    ours: &Scores,
    peers: &[Scores],
    labelled: Option<&labelled::Scores>,
) -> String {
    let mut page = format!(
        "# Watchkeeper compared with the guards of agents

Many agents contain a guard against loops. This page compares the findings of the built-in
policy with the reports of these guards. It is the output of
`cargo run -p watchkeeper-benches --example peers -- CASES --labelled DIR --labels FILE`. The
cases, the sessions and their labels are not part of this repository.

The defaults of Watchkeeper were chosen with the rules of the guards, the cases and the labelled
sessions in view. The tables therefore show what one policy can satisfy. They do not predict
results on new sessions.

{}",
        cases(ours, peers)
    );
    if let Some(scores) = labelled {
        let _ = write!(page, "\n{}", labelled::render(scores));
    }
    let _ = write!(
        page,
        "
## Method

* Of Watchkeeper, findings of severity `medium` or higher count, in the cases and in the
  sessions. If a case comes from a test of a guard that is stricter than most, and a report is
  expected, a finding of any severity counts. In sessions, findings about budgets are left out.
* The row of Watchkeeper shows `watchkeeper check` for the cases, and the engine with the same
  policy for the sessions, with the number of tool calls at which each finding was emitted.
* The other rows are models: a few lines of our own for each published rule, as of {DAY}
  (`benches/peers/rules.rs`). Some guards escalate in steps. Their first step, which stops
  nothing, counts as a report where one is expected or due, and is ignored in quiet cases and
  sessions.
* Each guard processes sessions of other agents. Their tools have other names, and the guard
  lacks information that its own host would provide. The same holds for Watchkeeper. Each
  sub-agent has a guard of its own.

## Limits of the models

* Some rules need more than events: gemini-cli asks a model about progress after 30 turns, and
  OpenHands V0 compares only the first lines of some notebook cells.
* Rules that are not about loops are left out: budgets, time limits, and limits on turns, except
  those of qwen-code.
* A command that fails counts as a failure of its tool, except for Roo-Code. The shell tool of
  some guards, such as forge, returns it as an ordinary result.
* Left out are a quirk of forge, which counts a block that has just begun as one more
  repetition, and the circuit breaker of openclaw, which stops a run after 30 calls without
  progress.
* A case ends with the first report of a guard. A labelled session goes on, as it was recorded: a
  guard reports at each step at which its rule applies. What its report would have changed is not
  modeled.

## Limits of the comparison

A guard runs inside its agent. It can refuse a call before it is made, warn the model, or ask a
person. A false report stops work, so a guard must be certain. Watchkeeper runs beside the agent
and reports. It learns of a call only when the agent writes it to its session file, it stops
nothing, and a false finding costs a look instead of a session. The guards do not look for
silence or slow tools, which are stretches of kind `stall`. Findings about cost, and about many
sessions at once, are not part of this comparison.
"
    );
    page
}

/// Renders the section about the cases.
fn cases(ours: &Scores, peers: &[Scores]) -> String {
    let n_cases = ours.all.expected.of + ours.all.quiet.of;
    let n_complaints = ours.complaints.expected.of + ours.complaints.quiet.of;
    let mut page = format!(
        "## Cases

A case is a session, in the form of events, in which either a report is expected or none is.
{n_complaints} of the {n_cases} cases come from complaints of users, about missed loops and about work that
was stopped without reason. The other cases are tests of the guards. Cases on which the guards
contradict each other are left out.

Each cell contains two shares: the cases with an expected report that were reported, and the
quiet cases that were not. A guard that never reports has 0 in the first and all in the second,
so both matter. The column `own tests` validates the model of a guard: it counts the cases from
that guard's own tests on which the model agrees with them.

| system | rules of |"
    );
    end_header(&mut page);
    row(&mut page, "**Watchkeeper**", env!("CARGO_PKG_VERSION"), ours, "");
    let with_scores = || PEERS.iter().zip(peers);
    for (peer, scores) in with_scores().filter(|(it, _)| it.switch.is_none()) {
        row(&mut page, peer.name, peer.of, scores, &scores.own.both());
    }
    page.push_str(
        "\nThe following guards are off by default, and then report none of the cases. With the
settings shown, they report:\n\n| system | rules of |",
    );
    end_header(&mut page);
    for (peer, scores) in with_scores() {
        if let Some(switch) = peer.switch {
            let name = format!("{}: {switch}", peer.name);
            row(&mut page, &name, peer.of, scores, &scores.own.both());
        }
    }
    page
}

/// Ends the header of a table of cases.
fn end_header(page: &mut String) {
    for (name, _) in GROUPS {
        let _ = write!(page, " {name} |");
    }
    page.push_str(" all | complaints | own tests |\n");
    page.push_str(&"| --- ".repeat(GROUPS.len() + 5));
    page.push_str("|\n");
}

fn row(page: &mut String, name: &str, of: &str, scores: &Scores, own: &str) {
    let _ = write!(page, "| {name} | {of} |");
    let cells = scores.groups.iter().chain([&scores.all, &scores.complaints]);
    for score in cells {
        let _ = write!(page, " {} |", score.cell());
    }
    let _ = writeln!(page, " {own} |");
}

#[cfg(test)]
mod tests {
    use super::{GROUPS, PEERS, Score, Scores, render};
    use crate::labelled;

    #[test]
    fn counts_expected_and_quiet_cases_separately() {
        let mut score = Score::default();
        for (is_expected, is_right) in [(true, true), (true, false), (false, true)] {
            score.count(is_expected, is_right);
        }
        assert_eq!(score.cell(), "1/2 · 1/1");
        assert_eq!(score.both(), "2/3");
    }

    #[test]
    fn the_document_is_current_except_for_its_numbers() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/comparison.md");
        let document = std::fs::read_to_string(path).unwrap();
        let peers = vec![one_own_case(); PEERS.len()];
        let rendered = render(&Scores::default(), &peers, Some(&labelled::Scores::default()));
        assert_eq!(without_numbers(&document), without_numbers(&rendered));
    }

    #[test]
    fn shares_add_up() {
        let document = include_str!("../../docs/comparison.md");
        let rows: Vec<&str> = document.lines().filter(|it| it.contains(" · ")).collect();
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

    #[test]
    fn families_and_kinds_add_up() {
        let document = include_str!("../../docs/comparison.md");
        let (_, section) = document.split_once("## Labelled sessions").unwrap();
        let rows: Vec<Vec<&str>> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
            .map(|row| row.split(" | ").collect())
            .collect();
        let n_systems = 1 + PEERS.len();
        // Each table also has a header of two lines.
        assert_eq!(rows.len(), 2 * (n_systems + 2));
        for row in &rows[2..][..n_systems] {
            let [_, due, alarms, _, _, families @ ..] = &row[..] else { panic!("{row:?}") };
            for (all, first) in [(due, 0), (alarms, 1)] {
                let of_families = families.iter().skip(first).step_by(2);
                assert_eq!(share(all), sum(of_families), "{row:?}");
            }
        }
        for row in &rows[n_systems + 4..] {
            let [_, kinds @ .., all, in_time, _] = &row[..] else { panic!("{row:?}") };
            assert_eq!(share(all), sum(kinds), "{row:?}");
            assert_eq!(share(all).0, share(in_time).1, "{row:?}");
        }
    }

    /// Parses a cell with a share, or with a dash.
    fn share(cell: &str) -> (usize, usize) {
        let (n, of) = cell.split_once('/').unwrap_or(("0", "0"));
        (n.parse().unwrap(), of.parse().unwrap())
    }

    fn sum<'a>(cells: impl IntoIterator<Item = &'a &'a str>) -> (usize, usize) {
        let shares = cells.into_iter().map(|cell| share(cell));
        shares.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1))
    }

    fn one_own_case() -> Scores {
        let mut scores = Scores::default();
        scores.own.count(true, true);
        scores
    }

    /// Replaces each number, each share, and each share of nothing, by `0`.
    fn without_numbers(page: &str) -> String {
        let mut text = String::new();
        for c in page.chars() {
            if !c.is_ascii_digit() {
                text.push(c);
            } else if !text.ends_with('0') {
                text.push('0');
            }
        }
        text.replace("0/0", "0").replace("0.0", "0").replace('–', "0")
    }
}
