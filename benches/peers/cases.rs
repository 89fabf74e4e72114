//! The cases: short sessions in which a report is expected, or none is.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
};

use watchkeeper_cli::{Output, Status, Styles};
use watchkeeper_core::{Event, Severity};
use watchkeeper_sources::parse_event;

use crate::{
    error::{Error, read},
    page::{GROUPS, Scores},
    reports::Response,
    rules::PEERS,
};

/// Runs every system on every case. Returns the scores of Watchkeeper, and those of [`PEERS`].
///
/// Writes to `err` the cases in which Watchkeeper does not give the expected result, and those in
/// which a guard disagrees with its own tests.
pub(crate) fn compare(
    dir: &Path,
    policy: Option<&Path>,
    err: &mut dyn Write,
) -> Result<(Scores, Vec<Scores>), Error> {
    let mut ours = Scores::default();
    let mut theirs = vec![Scores::default(); PEERS.len()];
    for case in cases(dir)? {
        let severity = check(&case.path, policy)?;
        let is_right = case.expected.allows(severity);
        case.count(&mut ours, is_right);
        if !is_right {
            let _ = writeln!(
                err,
                "watchkeeper: {}: expected {:?}, got {severity:?}",
                case.name, case.expected
            );
        }
        let events = events(&case.path)?;
        for (peer, scores) in PEERS.iter().zip(&mut theirs) {
            let response = peer.reports(&events).strongest();
            let is_right = match case.expected {
                Expected::Quiet => response != Some(Response::Stop),
                Expected::Low | Expected::Medium => response.is_some(),
            };
            case.count(scores, is_right);
            if case.is_of(peer.cases) {
                scores.own.count(case.expected.is_report(), is_right);
                if !is_right {
                    let (Case { name, expected, .. }, peer) = (&case, peer.name);
                    let _ =
                        writeln!(err, "{peer}: {name}: expected {expected:?}, got {response:?}");
                }
            }
        }
    }
    Ok((ours, theirs))
}

struct Case {
    name: String,
    path: PathBuf,
    expected: Expected,
    /// The index of its rule's column in [`GROUPS`].
    group: usize,
}

/// The expected result of a case.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A finding of `medium` or `high`.
    Medium,
    /// Any finding.
    Low,
    /// No finding of `medium` or `high`.
    Quiet,
}

impl Expected {
    fn is_report(self) -> bool {
        !matches!(self, Self::Quiet)
    }

    fn allows(self, highest: Option<Severity>) -> bool {
        match self {
            Self::Medium => Some(Severity::Medium) <= highest,
            Self::Low => highest.is_some(),
            Self::Quiet => highest < Some(Severity::Medium),
        }
    }
}

impl Case {
    fn is_complaint(&self) -> bool {
        self.name.contains("__issue__")
    }

    /// Returns whether the case comes from the tests with this prefix.
    fn is_of(&self, cases: &str) -> bool {
        !self.is_complaint() && self.name.strip_prefix(cases).is_some_and(|it| it.starts_with("__"))
    }

    fn count(&self, scores: &mut Scores, is_right: bool) {
        scores.groups[self.group].count(self.expected.is_report(), is_right);
        scores.all.count(self.expected.is_report(), is_right);
        if self.is_complaint() {
            scores.complaints.count(self.expected.is_report(), is_right);
        }
    }
}

/// Reads `cases.tsv`.
fn cases(dir: &Path) -> Result<Vec<Case>, Error> {
    let path = dir.join("cases.tsv");
    let list = read(&path)?;
    let mut cases = Vec::new();
    for (line, text) in (1..).zip(list.lines()).skip(1) {
        let at_line = |problem| Error::Line { path: path.clone(), line, problem };
        let [name, expected, rule] = text.splitn(4, '\t').take(3).collect::<Vec<_>>()[..] else {
            return Err(at_line("expected a file, a result and a rule".to_owned()));
        };
        let expected = match expected {
            "medium" => Expected::Medium,
            "low" => Expected::Low,
            "quiet" => Expected::Quiet,
            result => return Err(at_line(format!("`{result}` is not medium, low or quiet"))),
        };
        let group = GROUPS.iter().position(|(_, rules)| rules.contains(&rule));
        let group = group.ok_or_else(|| at_line(format!("unknown rule `{rule}`")))?;
        cases.push(Case { name: name.to_owned(), path: dir.join(name), expected, group });
    }
    Ok(cases)
}

/// Runs `watchkeeper check` on a file. Returns the highest severity.
fn check(path: &Path, policy: Option<&Path>) -> Result<Option<Severity>, Error> {
    let words = ["watchkeeper", "check", "--source", "ndjson", "--format", "ndjson"];
    let mut words = words.map(OsString::from).to_vec();
    if let Some(policy) = policy {
        words.extend(["--policy".into(), policy.into()]);
    }
    words.push(path.into());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err, styles: Styles::default() };
    let status = watchkeeper_cli::run(words, &mut output);
    if !matches!(status, Status::Success | Status::Findings) {
        return Err(Error::Check(String::from_utf8_lossy(&err).trim_end().to_owned()));
    }
    let mut highest = None;
    for line in String::from_utf8_lossy(&out).lines() {
        let finding: serde_json::Value = serde_json::from_str(line)
            .map_err(|err| Error::Check(format!("a finding is not valid JSON: {err}")))?;
        let severity = serde_json::from_value(finding["severity"].clone())
            .map_err(|err| Error::Check(format!("a finding has no valid severity: {err}")))?;
        highest = highest.max(Some(severity));
    }
    Ok(highest)
}

fn events(path: &Path) -> Result<Vec<Event>, Error> {
    let text = read(path)?;
    let event = |(line, text)| {
        parse_event(text).map_err(|err| Error::Line {
            path: path.to_owned(),
            line,
            problem: err.to_string(),
        })
    };
    (1..).zip(text.lines()).map(event).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use watchkeeper_testing::Trace;

    use super::compare;
    use crate::page::{Score, Scores};

    #[test]
    fn the_expected_result_decides() {
        let folder = tempfile::tempdir().unwrap();
        let trace: Trace =
            "0s repeat 8 every 1s: call ls src ;; result ok main.rs".parse().unwrap();
        let events: Vec<String> = trace.events().map(watchkeeper_sources::write_event).collect();
        let cases = "file\texpected\trule\tsystem\tcomment\n\
            a.ndjson\tmedium\trepeat-tool-call\tinvented\t\n\
            b.ndjson\tquiet\tcycle\tinvented\t\n";
        for (name, text) in [("cases.tsv", cases), ("a.ndjson", &*events.join("\n"))] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::copy(folder.path().join("a.ndjson"), folder.path().join("b.ndjson")).unwrap();
        let mut err = Vec::new();
        let (ours, theirs) = compare(folder.path(), None, &mut err).unwrap();
        let mut expected = Score::default();
        expected.count(true, true);
        expected.count(false, false);
        assert_eq!(ours.all, expected);
        assert!(theirs.iter().any(|it: &Scores| it.all == expected));
        let err = String::from_utf8(err).unwrap();
        assert_eq!(err, "watchkeeper: b.ndjson: expected Quiet, got Some(High)\n");
    }
}
