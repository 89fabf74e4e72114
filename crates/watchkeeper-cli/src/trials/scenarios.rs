//! Scenarios: Markdown that tells of a policy, a trace, and the findings that
//! the one makes of the other, each in a block of its own.

use std::{fs, io, ops::Range, path::Path, rc::Rc};

use watchkeeper_core::{Finding, Status, Timestamp, make_safe};
use watchkeeper_policy::{
    Diagnostic, DiagnosticLevel, Loaded, Loader, Policy, SourceFile, render_diagnostics,
};
use watchkeeper_testing::Trace;

use super::{
    NotRun, Outcome, Played, Ran, Setup, Trial,
    difference::{Difference, Edit, Mark, align},
    line_span, offset, play,
};
use crate::{loading, output::quoted_path};

/// Runs the scenarios of one file, and writes what came out into it if asked to.
pub(crate) fn run_scenarios(path: &Path, setup: &Setup<'_>) -> Result<Ran, NotRun> {
    let text = loading::read_text(path).map_err(|err| unreadable(path, &err))?;
    let mut reader =
        Reader { path, text: &text, setup, diagnostics: Vec::new(), others: Vec::new() };
    let mut scenarios = reader.scenarios();
    scenarios.retain(|it| setup.takes(&it.name));
    let mut files = vec![SourceFile::new(path, text.clone())];
    files.append(&mut reader.others);
    let shown = render_diagnostics(&reader.diagnostics, &files, setup.styled);
    if reader.diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error) {
        return Err(NotRun::Wrong(shown));
    }
    let mut trials = Vec::new();
    let mut new = text.clone();
    // From the end, so that what is written moves nothing that is yet to be.
    for it in scenarios.into_iter().rev() {
        let Played { findings, .. } = play(&it.policy, it.trace.steps().iter().cloned());
        let found: String = findings.iter().map(line).collect();
        let expected = text[it.findings.clone()].replace("\r\n", "\n");
        let outcome = if found == expected {
            Outcome::Passed
        } else if setup.update {
            let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
            new.replace_range(it.findings, &found.replace('\n', line_end));
            Outcome::Updated
        } else {
            Outcome::Failed(difference(&expected, &found, setup.styled))
        };
        trials.push(Trial { name: it.name, outcome });
    }
    trials.reverse();
    if new != text {
        fs::write(path, new).map_err(|err| unreadable(path, &err))?;
    }
    Ok(Ran { trials, doubts: shown })
}

fn unreadable(path: &Path, err: &io::Error) -> NotRun {
    NotRun::Unreadable(format!("{}: {err}", quoted_path(path)))
}

struct Scenario {
    name: String,
    policy: Rc<Policy>,
    trace: Trace,
    /// Where the findings stand in the file.
    findings: Range<usize>,
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    setup: &'a Setup<'a>,
    diagnostics: Vec<Diagnostic>,
    /// Files that the policies extend; they follow that of the scenarios.
    others: Vec<SourceFile>,
}

impl Reader<'_> {
    /// Reads every scenario: a trace and the findings after it, under the policy
    /// and the title before them.
    fn scenarios(&mut self) -> Vec<Scenario> {
        let mut res = Vec::new();
        let file_name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut name = file_name.into_owned();
        // A policy that is wrong is `Some(None)`: it has been told of.
        let mut policy = None;
        let mut trace: Option<(Range<usize>, Option<Trace>)> = None;
        let mut n_traces = 0;
        for part in parts(self.text) {
            match part {
                Part::Title(it) => it.clone_into(&mut name),
                Part::Block { language: "toml", body } => {
                    policy = Some(self.policy(&body).map(Rc::new));
                }
                Part::Block { language: "trace", body } => {
                    if let Some((span, _)) = trace.take() {
                        self.without_findings(span);
                    }
                    n_traces += 1;
                    let parsed = self.trace(&body);
                    trace = Some((body, parsed));
                }
                Part::Block { language: "findings", body } => {
                    let Some((span, trace)) = trace.take() else {
                        self.wrong(body, "there is no block of `trace` before these findings");
                        continue;
                    };
                    let Some(policy) = &policy else {
                        self.wrong(span, "there is no block of `toml` before, with a policy");
                        continue;
                    };
                    let Some((policy, trace)) = policy.clone().zip(trace) else { continue };
                    res.push(Scenario { name: name.clone(), policy, trace, findings: body });
                }
                Part::Block { .. } => {}
            }
        }
        if let Some((span, _)) = trace {
            self.without_findings(span);
        }
        if n_traces == 0 && self.diagnostics.is_empty() {
            let message = "there is no scenario: no block of `trace`";
            let note = "a scenario has three blocks in fences: `toml`, `trace` and `findings`";
            self.diagnostics.push(Diagnostic::error(0..0, message).note(note));
        }
        res
    }

    fn wrong(&mut self, span: Range<usize>, message: &str) {
        self.diagnostics.push(Diagnostic::error(span, message));
    }

    fn without_findings(&mut self, span: Range<usize>) {
        let message = "there is no block of `findings` after this trace";
        let note = "write an empty one, and have it filled in with `--update`";
        self.diagnostics.push(Diagnostic::error(span, message).note(note));
    }

    fn trace(&mut self, body: &Range<usize>) -> Option<Trace> {
        match self.text[body.clone()].parse() {
            Ok(it) => Some(it),
            Err(err) => {
                let err: watchkeeper_testing::TraceError = err;
                let span = line_span(self.text, body, err.line());
                self.diagnostics.push(Diagnostic::error(span, err.message()));
                None
            }
        }
    }

    /// Reads a policy that stands in a block, so that what is wrong with it is
    /// shown where it stands.
    fn policy(&mut self, body: &Range<usize>) -> Option<Policy> {
        let alone = blanked(self.text, body);
        let read_file = |path: &Path| {
            if path == self.path { Ok(alone.clone()) } else { loading::read_text(path) }
        };
        let loader = Loader::new(self.setup.registry, &read_file);
        let Loaded { policy, diagnostics, files, .. } = loader.load(self.path);
        // The first file is that of the scenarios.
        let n_before = self.others.len();
        self.others.extend(files.into_iter().skip(1));
        self.diagnostics.extend(diagnostics.into_iter().map(|mut it| {
            if it.file == 0 {
                // What is missing is missing from the block.
                let into_block = |span: &mut Range<usize>| {
                    span.start = span.start.max(body.start);
                    span.end = span.end.max(span.start);
                };
                into_block(&mut it.span);
                it.fix.iter_mut().for_each(|fix| into_block(&mut fix.span));
            } else {
                it.file += n_before;
            }
            it
        }));
        policy
    }
}

/// A text in which all but a part is blank, and every line where it was.
fn blanked(text: &str, part: &Range<usize>) -> String {
    let blank = |text: &str| -> String {
        text.bytes().map(|it| if it == b'\n' { '\n' } else { ' ' }).collect()
    };
    let (before, after) = (blank(&text[..part.start]), blank(&text[part.end..]));
    [&before, &text[part.clone()], &after].concat()
}

/// What there is to see in Markdown.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Title(&'a str),
    Block {
        language: &'a str,
        /// Where the lines between its fences stand.
        body: Range<usize>,
    },
}

/// The titles and blocks of a Markdown text, in order. A block that is not closed
/// ends with the text.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut res = Vec::new();
    // The fence of the block that is open, its language, and where it begins.
    let mut open: Option<(&str, &str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (at, line.trim_end());
        at += line.len();
        let after_fence = trimmed.trim_start_matches('`');
        let fence = &trimmed[..trimmed.len() - after_fence.len()];
        match open {
            Some((opening, language, from))
                if opening.len() <= fence.len() && after_fence.is_empty() =>
            {
                res.push(Part::Block { language, body: from..start });
                open = None;
            }
            None if 3 <= fence.len() => {
                let language = after_fence.split_whitespace().next().unwrap_or_default();
                open = Some((fence, language, at));
            }
            None if trimmed.starts_with('#') => {
                let title = trimmed.trim_start_matches('#');
                // `#!` and `#tag` are no titles.
                if let Some(title) = title.strip_prefix(' ') {
                    res.push(Part::Title(title.trim()));
                }
            }
            Some(_) | None => {}
        }
    }
    if let Some((_, language, from)) = open {
        res.push(Part::Block { language, body: from..text.len() });
    }
    res
}

/// When, how grave, by which detector, and what.
fn line(finding: &Finding) -> String {
    let at = offset(finding.at.duration_since(Timestamp::UNIX_EPOCH));
    let what = match finding.status {
        Status::Open => finding.severity.name(),
        Status::Resolved => "resolved",
    };
    format!("{at:<8}{what:<9}{}: {}\n", finding.detector, finding.message)
}

fn difference(expected: &str, found: &str, styled: bool) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), found.lines().collect());
    let mut res = Difference::default();
    for edit in align(expected.len(), found.len(), |i, j| expected[i] == found[j]) {
        match edit {
            Edit::Match(_, j) => res.push(Mark::Both, make_safe(found[j])),
            Edit::Missing(i) => res.push(Mark::Expected, make_safe(expected[i])),
            Edit::Extra(j) => res.push(Mark::Found, make_safe(found[j])),
        }
    }
    res.render(styled)
}

#[cfg(test)]
mod tests {
    use super::{Part, blanked, parts};

    #[test]
    fn blocks_are_those_between_fences() {
        let text = "# One\n\n```toml policy\na = 1\n```\n## Two two\n````md\n```trace\n```\n````\n\
                    #tag\n```trace\n0s x\n";
        let seen: Vec<String> = parts(text)
            .into_iter()
            .map(|it| match it {
                Part::Title(it) => it.to_owned(),
                Part::Block { language, body } => format!("{language}: {:?}", &text[body]),
            })
            .collect();
        assert_eq!(
            seen,
            [
                "One",
                r#"toml: "a = 1\n""#,
                "Two two",
                r#"md: "```trace\n```\n""#,
                r#"trace: "0s x\n""#
            ]
        );
    }

    #[test]
    fn what_is_blank_keeps_its_place() {
        assert_eq!(blanked("é\nab\nc\n", &(3..6)), "  \nab\n \n");
    }
}
