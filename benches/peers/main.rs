//! Compares the built-in policy with the loop guards of agents.
//!
//! ```text
//! cargo run -p watchkeeper-benches --example peers -- DIR > docs/comparison.md
//! cargo run -p watchkeeper-benches --example peers -- DIR --policy FILE
//! ```
//!
//! `DIR` contains the cases: files of events in Watchkeeper's own format, and `cases.tsv` with one
//! line per case. Its columns are the file, the expected result (`medium`, `low` or `quiet`), the
//! rule, the system that the case comes from, and a comment. Arguments after `DIR` are passed to
//! `watchkeeper check`.
//!
//! Standard error lists the cases in which Watchkeeper does not give the expected result, and those
//! in which a guard disagrees with its own tests.

mod page;
mod repeated_text;
mod rules;
mod session;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use watchkeeper_cli::{Output, Status, Styles};
use watchkeeper_core::{Event, Severity};
use watchkeeper_detector_error_loop as _;
use watchkeeper_detector_full_context as _;
use watchkeeper_detector_pattern as _;
use watchkeeper_detector_repeat_text as _;
use watchkeeper_detector_repeat_tool_call as _;
use watchkeeper_detector_runaway_loop as _;
use watchkeeper_detector_timeout as _;
use watchkeeper_detector_token_burn as _;
use watchkeeper_sources::parse_event;

use crate::{
    page::{GROUPS, Scores, render},
    rules::{PEERS, Response},
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let page = match args.next() {
        Some(dir) => compare(Path::new(&dir), &args.collect::<Vec<_>>(), &mut io::stderr()),
        None => Err("missing the folder of cases; use `-- DIR`".to_owned()),
    };
    let written = page.and_then(|page| {
        let written = io::stdout().write_all(page.as_bytes());
        written.map_err(|err| format!("cannot write: {err}"))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every system on every case, and renders the page.
fn compare(dir: &Path, check_args: &[OsString], err: &mut dyn Write) -> Result<String, String> {
    let mut ours = Scores::default();
    let mut theirs = vec![Scores::default(); PEERS.len()];
    for case in cases(dir)? {
        let severity = check(&case.path, check_args)?;
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
        let steps = session::steps(&events);
        for (peer, scores) in PEERS.iter().zip(&mut theirs) {
            let response = (peer.evaluate)(&steps);
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
    Ok(render(&ours, &theirs))
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
fn cases(dir: &Path) -> Result<Vec<Case>, String> {
    let path = dir.join("cases.tsv");
    let list = read(&path)?;
    let mut cases = Vec::new();
    for (line, text) in (1..).zip(list.lines()).skip(1) {
        let at = || format!("{}:{line}", path.display());
        let [name, expected, rule] = text.splitn(4, '\t').take(3).collect::<Vec<_>>()[..] else {
            return Err(format!("{}: expected a file, a result and a rule", at()));
        };
        let expected = match expected {
            "medium" => Expected::Medium,
            "low" => Expected::Low,
            "quiet" => Expected::Quiet,
            result => return Err(format!("{}: `{result}` is not medium, low or quiet", at())),
        };
        let group = GROUPS.iter().position(|(_, rules)| rules.contains(&rule));
        let group = group.ok_or_else(|| format!("{}: unknown rule `{rule}`", at()))?;
        cases.push(Case { name: name.to_owned(), path: dir.join(name), expected, group });
    }
    Ok(cases)
}

/// Runs `watchkeeper check` on a file. Returns the highest severity.
fn check(path: &Path, args: &[OsString]) -> Result<Option<Severity>, String> {
    let words = ["watchkeeper", "check", "--quiet", "--source", "ndjson", "--format", "ndjson"];
    let words = words.map(OsString::from).into_iter().chain(args.iter().cloned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err, styles: Styles::default() };
    let status = watchkeeper_cli::run(words.chain([path.into()]), &mut output);
    if !matches!(status, Status::Success | Status::Findings) {
        return Err(String::from_utf8_lossy(&err).trim_end().to_owned());
    }
    let mut highest = None;
    for line in String::from_utf8_lossy(&out).lines() {
        let finding: serde_json::Value = serde_json::from_str(line)
            .map_err(|err| format!("a finding is not valid JSON: {err}"))?;
        let severity = serde_json::from_value(finding["severity"].clone())
            .map_err(|err| format!("a finding has no valid severity: {err}"))?;
        highest = highest.max(Some(severity));
    }
    Ok(highest)
}

fn events(path: &Path) -> Result<Vec<Event>, String> {
    let text = read(path)?;
    let event =
        |(line, text)| parse_event(text).map_err(|err| format!("{}:{line}: {err}", path.display()));
    (1..).zip(text.lines()).map(event).collect()
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|err| format!("cannot read {}: {err}", path.display()))
}
