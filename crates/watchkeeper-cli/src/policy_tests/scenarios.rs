//! Scenarios: Markdown with a policy, a trace, and the findings of that policy in
//! that trace, each in a fenced block.

use std::{fs, ops::Range, path::Path, rc::Rc};

use watchkeeper_core::{Finding, Status, Timestamp, author::make_safe};
use watchkeeper_policy::{
    Diagnostic, DiagnosticLevel, Loaded, Loader, Policy, SourceFile, render_diagnostics,
};
use watchkeeper_testing::{Trace, TraceError};

use super::{
    difference::{Difference, Edit, Mark, align},
    outcome::{Setup, TestOutcome, TestResult, TestResults, TestsError},
    playing::{Played, line_span, offset, play},
};

/// Runs the scenarios of a file. With `update`, writes the actual findings into the
/// file.
pub(crate) fn run_scenarios(path: &Path, setup: &Setup<'_>) -> Result<TestResults, TestsError> {
    let text = watchkeeper_policy::read_file(path)
        .map_err(|source| TestsError::Read { path: path.to_owned(), source })?;
    let mut parser =
        Parser { path, text: &text, setup, diagnostics: Vec::new(), extended: Vec::new() };
    let mut scenarios = parser.scenarios();
    scenarios.retain(|scenario| setup.includes(&scenario.name));
    let mut files = vec![SourceFile::new(path, text.clone())];
    files.append(&mut parser.extended);
    let rendered = render_diagnostics(&parser.diagnostics, &files, setup.styled);
    if parser.diagnostics.iter().any(|it| it.level == DiagnosticLevel::Error) {
        return Err(TestsError::Invalid { rendered });
    }
    let mut results = Vec::new();
    let mut updated = text.clone();
    // From the end of the file, so that a replacement moves no earlier span.
    for scenario in scenarios.into_iter().rev() {
        let Played { findings, .. } =
            play(&scenario.policy, scenario.trace.steps().iter().cloned());
        let actual: String = findings.iter().map(finding_line).collect();
        let expected = text[scenario.findings.clone()].replace("\r\n", "\n");
        let outcome = if actual == expected {
            TestOutcome::Passed
        } else if setup.update {
            let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
            updated.replace_range(scenario.findings, &actual.replace('\n', line_end));
            TestOutcome::Updated
        } else {
            TestOutcome::Failed(difference(&expected, &actual, setup.styled))
        };
        results.push(TestResult { name: scenario.name, outcome });
    }
    results.reverse();
    if updated != text {
        fs::write(path, updated)
            .map_err(|source| TestsError::Write { path: path.to_owned(), source })?;
    }
    Ok(TestResults { results, warnings: rendered })
}

struct Scenario {
    name: String,
    policy: Rc<Policy>,
    trace: Trace,
    /// Span of the findings in the file.
    findings: Range<usize>,
}

struct Parser<'a> {
    path: &'a Path,
    text: &'a str,
    setup: &'a Setup<'a>,
    diagnostics: Vec<Diagnostic>,
    /// Files that the policies extend. In diagnostics, they follow the scenario file.
    extended: Vec<SourceFile>,
}

impl Parser<'_> {
    /// Parses all scenarios. A scenario is a trace and the next findings, with the
    /// latest title and policy before them.
    fn scenarios(&mut self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        let file_name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let mut name = file_name.into_owned();
        // `Some(None)` is an invalid policy, which has its diagnostics already.
        let mut policy = None;
        let mut trace: Option<(Range<usize>, Option<Trace>)> = None;
        let mut n_traces = 0;
        for part in parts(self.text) {
            match part {
                Part::Title(title) => title.clone_into(&mut name),
                Part::Block { language: "toml", body } => {
                    policy = Some(self.policy(&body).map(Rc::new));
                }
                Part::Block { language: "trace", body } => {
                    if let Some((span, _)) = trace.take() {
                        self.missing_findings(span);
                    }
                    n_traces += 1;
                    let parsed = self.trace(&body);
                    trace = Some((body, parsed));
                }
                Part::Block { language: "findings", body } => {
                    let Some((span, trace)) = trace.take() else {
                        self.error(body, "no `trace` block before these findings");
                        continue;
                    };
                    let Some(policy) = &policy else {
                        self.error(span, "no `toml` block with a policy before this trace");
                        continue;
                    };
                    let Some((policy, trace)) = policy.clone().zip(trace) else { continue };
                    scenarios.push(Scenario { name: name.clone(), policy, trace, findings: body });
                }
                Part::Block { .. } => {}
            }
        }
        if let Some((span, _)) = trace {
            self.missing_findings(span);
        }
        if n_traces == 0 && self.diagnostics.is_empty() {
            let message = "no scenario found: the file has no `trace` block";
            let note = "a scenario has three fenced blocks: `toml`, `trace` and `findings`";
            self.diagnostics.push(Diagnostic::error(0..0, message).note(note));
        }
        scenarios
    }

    fn error(&mut self, span: Range<usize>, message: &str) {
        self.diagnostics.push(Diagnostic::error(span, message));
    }

    fn missing_findings(&mut self, span: Range<usize>) {
        let message = "no `findings` block after this trace";
        let note = "add an empty block and fill it with `--update`";
        self.diagnostics.push(Diagnostic::error(span, message).note(note));
    }

    fn trace(&mut self, body: &Range<usize>) -> Option<Trace> {
        match self.text[body.clone()].parse() {
            Ok(trace) => Some(trace),
            Err(err) => {
                let err: TraceError = err;
                let span = line_span(self.text, body, err.line());
                self.diagnostics.push(Diagnostic::error(span, err.message()));
                None
            }
        }
    }

    /// Loads the policy of a block, with diagnostics at their location in the file.
    fn policy(&mut self, body: &Range<usize>) -> Option<Policy> {
        let block_only = blanked(self.text, body);
        let read_file = |path: &Path| {
            if path == self.path {
                Ok(block_only.clone())
            } else {
                watchkeeper_policy::read_file(path)
            }
        };
        let loader = Loader::new(self.setup.registry, &read_file).home(self.setup.home);
        let Loaded { policy, diagnostics, files, .. } = loader.load(self.path);
        // The first file is the scenario file.
        let n_before = self.extended.len();
        self.extended.extend(files.into_iter().skip(1));
        self.diagnostics.extend(diagnostics.into_iter().map(|mut diagnostic| {
            if diagnostic.file == 0 {
                // The location of a missing key is the start of the file.
                let into_block = |span: &mut Range<usize>| {
                    span.start = span.start.max(body.start);
                    span.end = span.end.max(span.start);
                };
                into_block(&mut diagnostic.span);
                diagnostic.fix.iter_mut().for_each(|fix| into_block(&mut fix.span));
            } else {
                diagnostic.file += n_before;
            }
            diagnostic
        }));
        policy
    }
}

/// Returns `text` with blanks outside of `part`, and the same lines.
fn blanked(text: &str, part: &Range<usize>) -> String {
    let blank = |text: &str| -> String {
        text.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect()
    };
    let (before, after) = (blank(&text[..part.start]), blank(&text[part.end..]));
    [&before, &text[part.clone()], &after].concat()
}

/// Part of a Markdown file that matters for scenarios.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Title(&'a str),
    Block {
        language: &'a str,
        /// Span of the lines between the fences.
        body: Range<usize>,
    },
}

/// Returns the titles and fenced blocks of a Markdown text, in order. An unclosed
/// block ends with the text.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    // Fence, language and start of the open block.
    let mut open: Option<(&str, &str, usize)> = None;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let (start, trimmed) = (end, line.trim_end());
        end += line.len();
        let after_fence = trimmed.trim_start_matches('`');
        let fence = &trimmed[..trimmed.len() - after_fence.len()];
        match open {
            Some((opening, language, from))
                if opening.len() <= fence.len() && after_fence.is_empty() =>
            {
                parts.push(Part::Block { language, body: from..start });
                open = None;
            }
            None if 3 <= fence.len() => {
                let language = after_fence.split_whitespace().next().unwrap_or_default();
                open = Some((fence, language, end));
            }
            None if trimmed.starts_with('#') => {
                let title = trimmed.trim_start_matches('#');
                // `#!` and `#tag` are not titles.
                if let Some(title) = title.strip_prefix(' ') {
                    parts.push(Part::Title(title.trim()));
                }
            }
            Some(_) | None => {}
        }
    }
    if let Some((_, language, from)) = open {
        parts.push(Part::Block { language, body: from..text.len() });
    }
    parts
}

/// Formats a finding: time, severity, detector, message.
fn finding_line(finding: &Finding) -> String {
    let at = offset(finding.at.duration_since(Timestamp::UNIX_EPOCH));
    let status = match finding.status {
        Status::Open => finding.severity.name(),
        Status::Resolved => "resolved",
    };
    let replaces = finding.replaces.as_ref();
    let replaces = replaces.map_or_else(String::new, |detector| format!(" replaces {detector}"));
    format!("{at:<8}{status:<9}{}{replaces}: {}\n", finding.detector, finding.message)
}

fn difference(expected: &str, actual: &str, styled: bool) -> String {
    let (expected, actual): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), actual.lines().collect());
    let mut difference = Difference::default();
    for edit in align(expected.len(), actual.len(), |i, j| expected[i] == actual[j]) {
        match edit {
            Edit::Match(_, j) => difference.push(Mark::Both, make_safe(actual[j])),
            Edit::Missing(i) => difference.push(Mark::Expected, make_safe(expected[i])),
            Edit::Extra(j) => difference.push(Mark::Actual, make_safe(actual[j])),
        }
    }
    difference.render(styled)
}

#[cfg(test)]
mod tests {
    use super::{Part, blanked, parts};

    #[test]
    fn parses_titles_and_fenced_blocks() {
        let text = "# One\n\n```toml policy\na = 1\n```\n## Two two\n````md\n```trace\n```\n````\n\
                    #tag\n```trace\n0s x\n";
        let seen: Vec<String> = parts(text)
            .into_iter()
            .map(|part| match part {
                Part::Title(title) => title.to_owned(),
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
    fn blanks_keep_the_position_of_the_block() {
        assert_eq!(blanked("é\nab\nc\n", &(3..6)), "  \nab\n \n");
    }
}
