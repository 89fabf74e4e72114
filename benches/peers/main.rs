//! Compares the built-in policy with the guards that agents have.
//!
//! ```text
//! cargo run -p watchkeeper-benches --example peers -- DIR > docs/comparison.md
//! cargo run -p watchkeeper-benches --example peers -- DIR --policy FILE
//! ```
//!
//! `DIR` holds cases: files of events in watchkeeper's own form, and
//! `cases.tsv`, a line of which is a file, what it wants (`medium`, `low` or
//! `quiet`), the rule it is about, the system it was taken from, and a note.
//! What follows `DIR` is given to `watchkeeper check`. Standard error tells of
//! each case in which a system does not do what the case wants, if that is us,
//! or if the case was taken from its own tests.

mod chanting;
mod page;
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
    rules::{PEERS, Word},
};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let page = match args.next() {
        Some(dir) => compare(Path::new(&dir), &args.collect::<Vec<_>>(), &mut io::stderr()),
        None => Err("no folder of cases; say `-- DIR`".to_owned()),
    };
    let written = page.and_then(|it| {
        io::stdout().write_all(it.as_bytes()).map_err(|err| format!("cannot write: {err}"))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Gives every case to every system, and makes the page.
fn compare(dir: &Path, check_args: &[OsString], err: &mut dyn Write) -> Result<String, String> {
    let mut ours = Scores::default();
    let mut theirs = vec![Scores::default(); PEERS.len()];
    for case in cases(dir)? {
        let severity = check(&case.path, check_args)?;
        let is_right = case.want.allows(severity);
        case.count(&mut ours, is_right);
        if !is_right {
            let _ = writeln!(err, "we: {} wants {:?}, has {severity:?}", case.name, case.want);
        }
        let events = events(&case.path)?;
        let steps = session::steps(&events);
        for (peer, scores) in PEERS.iter().zip(&mut theirs) {
            let word = (peer.says)(&steps);
            let is_right = match case.want {
                Want::Quiet => word != Some(Word::Verdict),
                Want::Low | Want::Medium => word.is_some(),
            };
            case.count(scores, is_right);
            if case.is_of(peer.cases) {
                scores.own.count(case.want.is_due(), is_right);
                if !is_right {
                    let (Case { name, want, .. }, peer) = (&case, peer.name);
                    let _ = writeln!(err, "{peer}: {name} wants {want:?}, has {word:?}");
                }
            }
        }
    }
    Ok(render(&ours, &theirs))
}

struct Case {
    name: String,
    path: PathBuf,
    want: Want,
    /// Where its rule stands in [`GROUPS`].
    group: usize,
}

/// What is due for a case.
#[derive(Clone, Copy, Debug)]
enum Want {
    /// A finding of `medium` or `high`.
    Medium,
    /// Any finding.
    Low,
    /// No finding of `medium` or `high`.
    Quiet,
}

impl Want {
    fn is_due(self) -> bool {
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

    /// Whether it comes from the tests that are named like this.
    fn is_of(&self, cases: &str) -> bool {
        !self.is_complaint() && self.name.strip_prefix(cases).is_some_and(|it| it.starts_with("__"))
    }

    fn count(&self, scores: &mut Scores, is_right: bool) {
        scores.groups[self.group].count(self.want.is_due(), is_right);
        scores.all.count(self.want.is_due(), is_right);
        if self.is_complaint() {
            scores.complaints.count(self.want.is_due(), is_right);
        }
    }
}

/// Reads the list of cases.
fn cases(dir: &Path) -> Result<Vec<Case>, String> {
    let path = dir.join("cases.tsv");
    let list = read(&path)?;
    let mut res = Vec::new();
    for (line, text) in (1..).zip(list.lines()).skip(1) {
        let at = || format!("{}:{line}", path.display());
        let [name, want, rule] = text.splitn(4, '\t').take(3).collect::<Vec<_>>()[..] else {
            return Err(format!("{}: expected a file, what it wants and a rule", at()));
        };
        let want = match want {
            "medium" => Want::Medium,
            "low" => Want::Low,
            "quiet" => Want::Quiet,
            _ => return Err(format!("{}: `{want}` is not medium, low or quiet", at())),
        };
        let group = GROUPS.iter().position(|(_, rules)| rules.contains(&rule));
        let group = group.ok_or_else(|| format!("{}: no column has the rule `{rule}`", at()))?;
        res.push(Case { name: name.to_owned(), path: dir.join(name), want, group });
    }
    Ok(res)
}

/// Checks a file with the real program, and gives the highest severity.
fn check(path: &Path, args: &[OsString]) -> Result<Option<Severity>, String> {
    let words = ["watchkeeper", "check", "--quiet", "--source", "ndjson", "--format", "ndjson"];
    let words = words.map(OsString::from).into_iter().chain(args.iter().cloned());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut output = Output { out: &mut out, err: &mut err, styles: Styles::default() };
    let status = watchkeeper_cli::run(words.chain([path.into()]), &mut output);
    if !matches!(status, Status::Success | Status::Findings) {
        return Err(String::from_utf8_lossy(&err).trim_end().to_owned());
    }
    let mut res = None;
    for line in String::from_utf8_lossy(&out).lines() {
        let finding: serde_json::Value =
            serde_json::from_str(line).map_err(|err| format!("a finding is no JSON: {err}"))?;
        let severity = serde_json::from_value(finding["severity"].clone())
            .map_err(|err| format!("a finding without a severity: {err}"))?;
        res = res.max(Some(severity));
    }
    Ok(res)
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
