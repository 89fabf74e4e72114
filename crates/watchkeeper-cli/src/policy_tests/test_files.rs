//! Policy tests in TOML.

use std::{collections::BTreeSet, ops::Range, path::Path};

use watchkeeper_core::{
    Action, Event, EventKind, Finding, Severity, SignedDuration, Status, Timestamp,
    author::{DedupCache, Origin, SessionStart, make_safe},
    embed::Registry,
};
use watchkeeper_policy::{
    Diagnostic, ExpectedFinding, LoadedTests, Loader, Policy, PolicyTest, TestInput, TestSession,
    builtin, render_diagnostics,
};
use watchkeeper_testing::{Step, Trace};

use super::{
    difference::{Difference, Edit, Mark, align},
    outcome::{SessionError, Setup, TestOutcome, TestResult, TestResults, TestsError},
    playing::{Played, line_span, offset, play},
};
use crate::recorded;

/// Session id of traces and generated events.
const SESSION: &str = "s1";

/// Runs the tests of a file.
pub(crate) fn run_test_file(path: &Path, setup: &Setup<'_>) -> Result<TestResults, TestsError> {
    let loader = Loader::of_files(setup.registry).home(setup.home);
    let LoadedTests { tests, mut diagnostics, files, .. } = loader.load_tests(path, setup.policy);
    let policy = files.get(1).map(|file| file.path.as_path());
    if let Some(policy) = policy.filter(|it| builtin(it).is_none() && !it.exists()) {
        let (policy, tests) = (policy.to_owned(), path.to_owned());
        return Err(TestsError::MissingPolicy { policy, tests });
    }
    let mut runs = Vec::new();
    let mut unreadable = None;
    let mut is_valid = true;
    for test in tests.iter().flat_map(|it| &it.tests).filter(|it| setup.includes(&it.name)) {
        match read_steps(test, path, &files[0].text, setup.registry) {
            Ok(steps) => runs.push((test, steps)),
            Err(StepsError::Trace(diagnostic)) => {
                is_valid = false;
                diagnostics.push(*diagnostic);
            }
            Err(StepsError::Session(err)) => _ = unreadable.get_or_insert(*err),
        }
    }
    let rendered = render_diagnostics(&diagnostics, &files, setup.styled);
    let Some(tests) = tests.as_ref().filter(|_| is_valid) else {
        return Err(TestsError::Invalid { rendered });
    };
    if let Some(err) = unreadable {
        return Err(err);
    }
    let result = |(test, steps): (&PolicyTest, Vec<Step>)| TestResult {
        name: test.name.clone(),
        outcome: run_test(test, steps, &tests.policy, setup.styled),
    };
    Ok(TestResults { results: runs.into_iter().map(result).collect(), warnings: rendered })
}

/// The steps of a test cannot be read.
enum StepsError {
    Trace(Box<Diagnostic>),
    Session(Box<TestsError>),
}

/// Reads the steps of a test's session.
fn read_steps(
    test: &PolicyTest,
    file: &Path,
    text: &str,
    registry: &Registry,
) -> Result<Vec<Step>, StepsError> {
    let mut steps: Vec<Step> = match &test.input {
        TestInput::Events { path, span } => {
            let events = read_events(path, &test.start, registry).map_err(|source| {
                StepsError::Session(Box::new(TestsError::Session {
                    tests: file.to_owned(),
                    line: text[..span.start].lines().count().max(1),
                    session: path.clone(),
                    source,
                }))
            })?;
            events.into_iter().map(Step::Event).collect()
        }
        TestInput::Trace { text: trace, span } => match trace.parse::<Trace>() {
            Ok(trace) => trace.steps().to_vec(),
            Err(err) => {
                let span = line_span(text, &inside(text, span), err.line());
                return Err(StepsError::Trace(Box::new(Diagnostic::error(span, err.message()))));
            }
        },
        TestInput::Generated(rounds) => {
            let events = rounds.events(&SESSION.into(), Timestamp::UNIX_EPOCH);
            events.into_iter().map(Step::Event).collect()
        }
    };
    if let (Some(source), TestInput::Trace { .. } | TestInput::Generated(_)) =
        (test.start.source, &test.input)
    {
        let origin = Origin { source, file: file.display().to_string().into(), line: 1 };
        for step in &mut steps {
            if let Step::Event(event) = step {
                event.origin = Some(origin.clone());
            }
        }
    }
    if let Some(start) = session_start(&test.start, &steps) {
        steps.insert(0, start);
    }
    if let Some(advance) = test.advance {
        let last = steps.last().map_or(Timestamp::UNIX_EPOCH, time_of);
        let until = last.checked_add(advance.get()).unwrap_or(Timestamp::MAX);
        steps.push(Step::Advance(until));
    }
    Ok(steps)
}

/// Returns the span between the quotation marks of a TOML string.
fn inside(text: &str, span: &Range<usize>) -> Range<usize> {
    let written = &text[span.clone()];
    let Some(rest) = ["\"\"\"", "'''"].iter().find_map(|quote| written.strip_prefix(quote)) else {
        return span.clone();
    };
    // TOML removes a line break after the opening quotation marks.
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    span.end - rest.len()..span.end
}

fn time_of(step: &Step) -> Timestamp {
    match step {
        Step::Event(event) => event.at,
        Step::Advance(at) => *at,
    }
}

/// Reads the events of a recorded session, in order of time.
fn read_events(
    path: &Path,
    start: &TestSession,
    registry: &Registry,
) -> Result<Vec<Event>, SessionError> {
    if !path.exists() {
        return Err(SessionError::Missing);
    }
    let only = start.source.map(|kind| registry.sources.get(kind)).transpose();
    let only = only.map_err(SessionError::UnknownSource)?;
    let (groups, without) = recorded::group(vec![path.to_owned()], only, &registry.sources);
    if let Some(unread) = without.into_iter().next() {
        return Err(unread.error.into());
    }
    let mut events = Vec::new();
    for group in groups {
        let on_event = &mut |event| events.push(event);
        let read =
            recorded::read_group(&group, &registry.sources, &mut DedupCache::default(), on_event);
        let skipped = read.complete().map_err(|unread| unread.error)?;
        if 0 < skipped.total() {
            return Err(SessionError::SkippedLines(skipped.total()));
        }
    }
    Ok(events)
}

/// Returns a start event with the facts of the first session, unless there are
/// none.
fn session_start(facts: &TestSession, steps: &[Step]) -> Option<Step> {
    if facts.cwd.is_none() && facts.labels.is_empty() {
        return None;
    }
    let first = steps.iter().find_map(|step| match step {
        Step::Event(event) => Some(event),
        Step::Advance(_) => None,
    })?;
    let labels = facts.labels.iter();
    let start = SessionStart {
        cwd: facts.cwd.as_deref().map(Into::into),
        labels: labels.map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
        ..SessionStart::default()
    };
    let kind = EventKind::SessionStart(start);
    Some(Step::Event(Event { agent: None, kind, ..first.clone() }))
}

fn run_test(test: &PolicyTest, steps: Vec<Step>, policy: &Policy, styled: bool) -> TestOutcome {
    // Generated events and traces start at the epoch.
    let start = match &test.input {
        TestInput::Events { .. } => steps.first().map_or(Timestamp::UNIX_EPOCH, time_of),
        TestInput::Trace { .. } | TestInput::Generated(_) => Timestamp::UNIX_EPOCH,
    };
    let Played { findings, sinks } = play(policy, steps);
    let mut difference = Difference::default();
    let mut passes = true;
    if let Some(expected) = &test.expect {
        passes &= compare(expected, test.expect_no_others, &findings, start, &mut difference);
    }
    if let Some(expected) = &test.expect_sinks {
        let expected: BTreeSet<String> = expected.iter().cloned().collect();
        passes &= compare_sinks(&expected, &sinks, &mut difference);
    }
    if passes { TestOutcome::Passed } else { TestOutcome::Failed(difference.render(styled)) }
}

/// Compares findings with the expected ones. Adds the difference and returns
/// `false` if they differ.
fn compare(
    expected: &[ExpectedFinding],
    no_others: bool,
    actual: &[Finding],
    start: Timestamp,
    difference: &mut Difference,
) -> bool {
    let edits =
        align(expected.len(), actual.len(), |i, j| is_match(&expected[i], &actual[j], start));
    // Every finding can be resolved; only unexpected open findings are an error.
    let is_unexpected = |finding: &Finding| no_others && finding.status == Status::Open;
    let is_error = |edit: &Edit| match edit {
        Edit::Match(..) => false,
        Edit::Missing(_) => true,
        Edit::Extra(j) => is_unexpected(&actual[*j]),
    };
    if !edits.iter().any(is_error) {
        return true;
    }
    let title = ["at", "status", "detector", "count", "message"].map(str::to_owned);
    let mut rows = vec![(Mark::Title, title)];
    for edit in edits {
        match edit {
            Edit::Missing(i) => rows.push((Mark::Expected, expected_row(&expected[i]))),
            Edit::Extra(j) if is_unexpected(&actual[j]) => {
                rows.push((Mark::Actual, actual_row(&actual[j], start)));
            }
            Edit::Match(_, j) | Edit::Extra(j) => {
                rows.push((Mark::Both, actual_row(&actual[j], start)));
            }
        }
    }
    difference.push_table(rows);
    false
}

fn is_match(expected: &ExpectedFinding, actual: &Finding, start: Timestamp) -> bool {
    let ExpectedFinding { detector, severity, action, status, count, at, message, .. } = expected;
    *detector == *actual.detector
        && *status == actual.status
        && severity.is_none_or(|severity| severity == actual.severity)
        && action.is_none_or(|action| Some(action) == actual.action)
        && count.is_none_or(|count| count == actual.count)
        && at.is_none_or(|at| at == since(actual, start))
        && message.as_ref().is_none_or(|pattern| pattern.matches(&actual.message))
}

fn since(finding: &Finding, start: Timestamp) -> SignedDuration {
    finding.at.duration_since(start)
}

fn actual_row(finding: &Finding, start: Timestamp) -> [String; 5] {
    let status = match finding.status {
        Status::Open => with_action(finding.severity.name(), finding.action),
        Status::Resolved => "resolved".to_owned(),
    };
    let (at, count) = (offset(since(finding, start)), finding.count.to_string());
    let (detector, message) = (make_safe(&finding.detector), make_safe(&finding.message));
    [at, status, detector, count, message]
}

fn with_action(severity: &str, action: Option<Action>) -> String {
    action.map_or(severity.to_owned(), |action| format!("{severity}, {action}"))
}

/// Formats an expected finding, with `*` for omitted properties.
fn expected_row(expected: &ExpectedFinding) -> [String; 5] {
    const ANY: &str = "*";
    let status = match expected.status {
        Status::Resolved => "resolved".to_owned(),
        Status::Open => with_action(expected.severity.map_or(ANY, Severity::name), expected.action),
    };
    [
        expected.at.map_or(ANY.to_owned(), offset),
        status,
        make_safe(&expected.detector),
        expected.count.map_or(ANY.to_owned(), |count| count.to_string()),
        expected.message.as_ref().map_or(ANY.to_owned(), |pattern| make_safe(pattern.as_str())),
    ]
}

/// Compares the ids of the notified sinks with the expected ones. Adds the
/// difference and returns `false` if they differ.
fn compare_sinks(
    expected: &BTreeSet<String>,
    actual: &BTreeSet<String>,
    difference: &mut Difference,
) -> bool {
    if expected == actual {
        return true;
    }
    difference.push(Mark::Title, "notified sinks");
    for id in expected.union(actual) {
        let mark = match (expected.contains(id), actual.contains(id)) {
            (true, false) => Mark::Expected,
            (false, true) => Mark::Actual,
            _ => Mark::Both,
        };
        difference.push(mark, make_safe(id));
    }
    false
}
