//! Tries policies on sessions, in virtual time, and compares what comes out
//! with what should.

mod difference;
mod scenarios;
mod test_files;

use std::{collections::BTreeSet, ops::Range, path::Path};

use watchkeeper_core::{Engine, Finding, Registry, Router, SignedDuration};
use watchkeeper_policy::Policy;
use watchkeeper_testing::Step;

pub(crate) use self::{scenarios::run_scenarios, test_files::run_test_file};

/// What came of one test.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// It was made to pass: the file holds what came out.
    Updated,
    /// With the difference, for a person.
    Failed(String),
}

/// What came of the tests of a file.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) trials: Vec<Trial>,
    /// What is doubtful about the policy, for a person.
    pub(crate) doubts: String,
}

/// Why the tests of a file were not run.
#[derive(Debug)]
pub(crate) enum NotRun {
    /// The file or its policy is wrong; with what is wrong, for a person.
    Wrong(String),
    /// A file cannot be read, or there is none.
    Unreadable(String),
}

/// What the tests of a file need to know.
pub(crate) struct Setup<'a> {
    pub(crate) registry: &'a Registry,
    /// The policy of `--policy`.
    pub(crate) policy: Option<&'a Path>,
    /// A part of the names of the tests that are run.
    pub(crate) filter: Option<&'a str>,
    /// Whether scenarios are made to hold what comes out.
    pub(crate) update: bool,
    pub(crate) styled: bool,
}

impl Setup<'_> {
    fn takes(&self, name: &str) -> bool {
        self.filter.is_none_or(|it| name.contains(it))
    }
}

/// What a policy made of a session.
struct Played {
    findings: Vec<Finding>,
    /// The sinks that were told of any.
    sinks: BTreeSet<String>,
}

/// Runs the detectors of a policy, and asks its routes where the findings go.
fn play(policy: &Policy, steps: impl IntoIterator<Item = Step>) -> Played {
    let mut engine = Engine::new(policy.detectors.clone(), policy.engine_config());
    let mut findings = Vec::new();
    for step in steps {
        match step {
            Step::Event(event) => engine.observe(&event, &mut findings),
            Step::Advance(now) => engine.advance(now, &mut findings),
        }
    }
    let ids: Vec<String> = policy.sinks.iter().map(|it| it.id.clone()).collect();
    let mut router = Router::new(policy.routes.clone(), &ids);
    let sinks = findings.iter().flat_map(|it| router.route(it)).map(|it| ids[it].clone()).collect();
    Played { findings, sinks }
}

/// How long after the start: `2h30m5s`.
fn offset(since: SignedDuration) -> String {
    format!("{since:#}").replace(' ', "")
}

/// Where a line, counted from 1, of a part of a text is in the text; without its
/// indentation.
fn line_span(text: &str, part: &Range<usize>, line: usize) -> Range<usize> {
    let mut at = part.start;
    for (n, it) in (1..).zip(text[part.clone()].split_inclusive('\n')) {
        if n == line {
            let indent = it.len() - it.trim_start().len();
            return at + indent..at + it.trim_end().len().max(indent);
        }
        at += it.len();
    }
    part.clone()
}
