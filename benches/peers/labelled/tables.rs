//! The section of the page about labelled sessions.

use std::fmt::Write as _;

use watchkeeper_testing::labels::GRACE;

use super::{
    Scores,
    score::{Family, IN_TIME, KINDS, Score, Share},
};
use crate::rules::PEERS;

/// The cell of a share of nothing.
const NONE: &str = "–";
const FAMILIES: [(Family, &str); 2] = [(Family::Modern, "modern"), (Family::SweAgent, "SWE-agent")];

/// Renders the section.
pub(crate) fn render(scores: &Scores) -> String {
    let (all, n_stretches) = (scores.ours.all(), scores.ours.stretches().of);
    let n_sessions = all.due.of + all.quiet.of;
    let (n_due, n_quiet) = (all.due.of, all.quiet.of);
    let mut page = format!(
        "## Labelled sessions

A person read {n_sessions} recorded sessions of Claude Code, Codex, opencode and SWE-agent, without the
findings of any program, and labelled the stretches in which the agent was stuck or wasted work.
In {n_due} of the sessions, a report is due: the owner of the session should be notified of a stretch.
The other {n_quiet} sessions are quiet, although some of them contain trouble that is worth a line in a log.

The first table counts sessions: the due sessions that were reported (`due`), and the quiet
sessions that were reported (`alarms`). Recall is the share of the due sessions that were
reported. Precision is the share of the reported sessions that are due. The modern agents are
Claude Code, Codex and opencode. A guard with an asterisk is off by default, and has the setting
of the table above.

| system | due | alarms | recall | precision |"
    );
    for (_, name) in FAMILIES {
        let _ = write!(page, " {name}: due | {name}: alarms |");
    }
    page.push('\n');
    end_header(&mut page, 5 + 2 * FAMILIES.len());
    for (name, score) in systems(scores) {
        let all = score.all();
        let (due, alarms) = (cell(all.due), cell(all.quiet));
        let (recall, precision) = (ratio(all.recall()), ratio(all.precision()));
        let _ = write!(page, "| {name} | {due} | {alarms} | {recall} | {precision} |");
        for (family, _) in FAMILIES {
            let sessions = score.of_family(family);
            let _ = write!(page, " {} | {} |", cell(sessions.due), cell(sessions.quiet));
        }
        page.push('\n');
    }
    let _ = write!(
        page,
        "
The second table counts the {n_stretches} stretches of which the owner should be notified, by kind. A
stretch is found if a report comes between its first step and {GRACE} steps after its last. An earlier
report does not count for the stretch. A step is a tool call, in the order of the session file.
Each label contains the step at which the owner would first want to be notified. The column
`in time` contains the stretches with a report at most {IN_TIME} steps after that step, of those that were
found, and `delay` the median number of steps from that step to the first report in the stretch.
A report before that step has no delay.

| system |"
    );
    for kind in KINDS {
        let _ = write!(page, " {} |", kind.replace('_', " "));
    }
    page.push_str(" all | in time | delay |\n");
    end_header(&mut page, KINDS.len() + 4);
    for (name, score) in systems(scores) {
        let _ = write!(page, "| {name} |");
        for share in score.kinds().into_iter().chain([score.stretches(), score.in_time()]) {
            let _ = write!(page, " {} |", cell(share));
        }
        let delay = score.median_delay().map_or(NONE.to_owned(), |delay| delay.to_string());
        let _ = writeln!(page, " {delay} |");
    }
    page
}

/// Returns the names of all systems, and their scores.
fn systems(scores: &Scores) -> impl Iterator<Item = (String, &Score)> {
    let peers = PEERS.iter().zip(&scores.peers).map(|(peer, score)| {
        let mark = if peer.switch.is_some() { " \\*" } else { "" };
        (format!("{}{mark}", peer.name), score)
    });
    std::iter::once(("**Watchkeeper**".to_owned(), &scores.ours)).chain(peers)
}

fn end_header(page: &mut String, n_columns: usize) {
    page.push_str(&"| --- ".repeat(n_columns));
    page.push_str("|\n");
}

fn cell(Share { n, of }: Share) -> String {
    if of == 0 { NONE.to_owned() } else { format!("{n}/{of}") }
}

/// Returns a share with two decimals.
fn ratio(Share { n, of }: Share) -> String {
    if of == 0 {
        return NONE.to_owned();
    }
    let hundredths = (200 * n + of) / (2 * of);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::{NONE, Share, ratio};

    #[test]
    fn rounds_to_two_decimals() {
        for (n, of, expected) in
            [(0, 3, "0.00"), (1, 3, "0.33"), (2, 3, "0.67"), (1, 200, "0.01"), (7, 7, "1.00")]
        {
            assert_eq!(ratio(Share { n, of }), expected);
        }
        assert_eq!(ratio(Share::default()), NONE);
    }
}
