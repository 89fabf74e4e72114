//! Tests of a policy in TOML.

use std::{collections::BTreeSet, ops::Range, path::Path};

use watchkeeper_core::{
    DedupCache, Event, EventKind, Finding, Origin, Registry, SessionStart, SignedDuration, Status,
    Timestamp, make_safe,
};
use watchkeeper_policy::{
    Diagnostic, ExpectedFinding, LoadedTests, Loader, Policy, PolicyTest, TestInput, TestSession,
    builtin, render_diagnostics,
};
use watchkeeper_testing::{Step, Trace};

use super::{
    NotRun, Outcome, Played, Ran, Setup, Trial,
    difference::{Difference, Edit, Mark, align},
    line_span, offset, play,
};
use crate::{loading, output::quoted_path, recorded};

/// The session of a test that reads none from a file.
const SESSION: &str = "s1";

/// Runs the tests of one file.
pub(crate) fn run_test_file(path: &Path, setup: &Setup<'_>) -> Result<Ran, NotRun> {
    let loader = Loader::new(setup.registry, &loading::read_text);
    let LoadedTests { tests, mut diagnostics, files, .. } = loader.load_tests(path, setup.policy);
    let policy = files.get(1).map(|it| it.path.as_path());
    if let Some(missing) = policy.filter(|it| builtin(it).is_none() && !it.exists()) {
        let (missing, path) = (quoted_path(missing), quoted_path(path));
        let message = format!("{missing} does not exist; {path} tests it");
        return Err(NotRun::Unreadable(message));
    }
    let mut runs = Vec::new();
    let mut unreadable = Vec::new();
    let mut is_sound = true;
    for test in tests.iter().flat_map(|it| &it.tests).filter(|it| setup.takes(&it.name)) {
        match read(test, path, &files[0].text, setup.registry) {
            Ok(steps) => runs.push((test, steps)),
            Err(NoStory::Trace(it)) => {
                is_sound = false;
                diagnostics.push(*it);
            }
            Err(NoStory::File(reason)) => unreadable.push(reason),
        }
    }
    let shown = render_diagnostics(&diagnostics, &files, setup.styled);
    let Some(tests) = tests.as_ref().filter(|_| is_sound) else {
        return Err(NotRun::Wrong(shown));
    };
    if !unreadable.is_empty() {
        return Err(NotRun::Unreadable(unreadable.join("\n")));
    }
    let trial = |(test, steps): (&PolicyTest, Vec<Step>)| Trial {
        name: test.name.clone(),
        outcome: try_out(test, steps, &tests.policy, setup.styled),
    };
    Ok(Ran { trials: runs.into_iter().map(trial).collect(), doubts: shown })
}

/// Why nobody knows what happens in a test.
enum NoStory {
    Trace(Box<Diagnostic>),
    File(String),
}

/// Reads what happens in a test.
fn read(
    test: &PolicyTest,
    file: &Path,
    text: &str,
    registry: &Registry,
) -> Result<Vec<Step>, NoStory> {
    let mut steps: Vec<Step> = match &test.input {
        TestInput::Events { path, span } => {
            let events = read_events(path, &test.start, registry).map_err(|reason| {
                let line = text[..span.start].lines().count().max(1);
                let file = make_safe(&file.display().to_string());
                let path = quoted_path(path);
                NoStory::File(format!("{file}:{line}: {path}: {}", make_safe(&reason)))
            })?;
            events.into_iter().map(Step::Event).collect()
        }
        TestInput::Trace { text: trace, span } => match trace.parse::<Trace>() {
            Ok(it) => it.steps().to_vec(),
            Err(err) => {
                let span = line_span(text, &inside(text, span), err.line());
                return Err(NoStory::Trace(Box::new(Diagnostic::error(span, err.message()))));
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

/// What is between the quotation marks of a TOML string.
fn inside(text: &str, span: &Range<usize>) -> Range<usize> {
    let written = &text[span.clone()];
    let Some(rest) = ["\"\"\"", "'''"].iter().find_map(|it| written.strip_prefix(it)) else {
        return span.clone();
    };
    // A line break right behind them is none of the text's.
    let rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    span.end - rest.len()..span.end
}

fn time_of(step: &Step) -> Timestamp {
    match step {
        Step::Event(event) => event.at,
        Step::Advance(at) => *at,
    }
}

/// Reads a recorded session, of whatever agent, in order of time.
fn read_events(
    path: &Path,
    start: &TestSession,
    registry: &Registry,
) -> Result<Vec<Event>, String> {
    if !path.exists() {
        return Err("it does not exist".to_owned());
    }
    let only = start.source.map(|it| registry.sources.get(it)).transpose();
    let only = only.map_err(|err| err.to_string())?;
    let (groups, without) = recorded::group(vec![path.to_owned()], only, &registry.sources);
    if let Some((_, reason)) = without.into_iter().next() {
        return Err(reason);
    }
    let mut events = Vec::new();
    for group in groups {
        let on_event = &mut |it| events.push(it);
        let unread = group.read(only, &registry.sources, &mut DedupCache::default(), on_event);
        let n_unread = unread.map_err(|err| err.to_string())?.total();
        if 0 < n_unread {
            return Err(format!("{n_unread} of its lines cannot be read"));
        }
    }
    Ok(events)
}

/// The event that tells what is known of the first session, if anything is.
fn session_start(facts: &TestSession, steps: &[Step]) -> Option<Step> {
    if facts.cwd.is_none() && facts.labels.is_empty() {
        return None;
    }
    let first = steps.iter().find_map(|it| match it {
        Step::Event(event) => Some(event),
        Step::Advance(_) => None,
    })?;
    let labels = facts.labels.iter();
    let start = SessionStart {
        cwd: facts.cwd.as_deref().map(Into::into),
        labels: labels.map(|(key, it)| (key.as_str().into(), it.as_str().into())).collect(),
        ..SessionStart::default()
    };
    let kind = EventKind::SessionStart(start);
    Some(Step::Event(Event { agent: None, kind, ..first.clone() }))
}

fn try_out(test: &PolicyTest, steps: Vec<Step>, policy: &Policy, styled: bool) -> Outcome {
    // Generated events and traces begin at the epoch, recorded ones when they do.
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
    if passes { Outcome::Passed } else { Outcome::Failed(difference.render(styled)) }
}

/// Whether what was found is what is expected. If not, says how it differs.
fn compare(
    expected: &[ExpectedFinding],
    no_others: bool,
    found: &[Finding],
    start: Timestamp,
    difference: &mut Difference,
) -> bool {
    let edits = align(expected.len(), found.len(), |i, j| is_met(&expected[i], &found[j], start));
    // Whatever opens may end; a test says so only if it matters.
    let is_other = |it: &Finding| no_others && it.status == Status::Open;
    let is_wrong = |it: &Edit| match it {
        Edit::Match(..) => false,
        Edit::Missing(_) => true,
        Edit::Extra(j) => is_other(&found[*j]),
    };
    if !edits.iter().any(is_wrong) {
        return true;
    }
    let title = ["at", "what", "detector", "count", "message"].map(str::to_owned);
    let mut rows = vec![(Mark::Title, title)];
    for edit in edits {
        match edit {
            Edit::Missing(i) => rows.push((Mark::Expected, expected_row(&expected[i]))),
            Edit::Extra(j) if is_other(&found[j]) => {
                rows.push((Mark::Found, found_row(&found[j], start)));
            }
            Edit::Match(_, j) | Edit::Extra(j) => {
                rows.push((Mark::Both, found_row(&found[j], start)));
            }
        }
    }
    difference.push_table(rows);
    false
}

fn is_met(expected: &ExpectedFinding, found: &Finding, start: Timestamp) -> bool {
    let ExpectedFinding { detector, severity, status, count, at, message, .. } = expected;
    *detector == *found.detector
        && *status == found.status
        && severity.is_none_or(|it| it == found.severity)
        && count.is_none_or(|it| it == found.count)
        && at.is_none_or(|it| it == since(found, start))
        && message.as_ref().is_none_or(|it| it.matches(&found.message))
}

fn since(found: &Finding, start: Timestamp) -> SignedDuration {
    found.at.duration_since(start)
}

fn found_row(it: &Finding, start: Timestamp) -> [String; 5] {
    let what = match it.status {
        Status::Open => it.severity.name(),
        Status::Resolved => "resolved",
    };
    let (at, count) = (offset(since(it, start)), it.count.to_string());
    [at, what.to_owned(), make_safe(&it.detector), count, make_safe(&it.message)]
}

/// `*` stands for what the test does not say.
fn expected_row(it: &ExpectedFinding) -> [String; 5] {
    const ANY: &str = "*";
    let what = match (it.status, it.severity) {
        (Status::Resolved, _) => "resolved",
        (Status::Open, Some(it)) => it.name(),
        (Status::Open, None) => ANY,
    };
    [
        it.at.map_or(ANY.to_owned(), offset),
        what.to_owned(),
        make_safe(&it.detector),
        it.count.map_or(ANY.to_owned(), |it| it.to_string()),
        it.message.as_ref().map_or(ANY.to_owned(), |it| make_safe(it.as_str())),
    ]
}

fn compare_sinks(
    expected: &BTreeSet<String>,
    told: &BTreeSet<String>,
    difference: &mut Difference,
) -> bool {
    if expected == told {
        return true;
    }
    difference.push(Mark::Title, "sinks that are told");
    for it in expected.union(told) {
        let mark = match (expected.contains(it), told.contains(it)) {
            (true, false) => Mark::Expected,
            (false, true) => Mark::Found,
            _ => Mark::Both,
        };
        difference.push(mark, make_safe(it));
    }
    false
}
