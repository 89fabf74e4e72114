//! Runs `tests/scenarios/*.md`: each holds a policy, a trace, and the findings
//! that the one makes of the other.
//!
//! `UPDATE=1 cargo test -p watchkeeper-tests` writes the findings that came out
//! into the files.

use std::{env, fs};

use watchkeeper_core::{Engine, EngineConfig, Finding, Status, Timestamp};
use watchkeeper_policy::render;
use watchkeeper_testing::{Step, Trace};

use crate::{conformance, tidy};

#[test]
fn scenarios() {
    let entries = fs::read_dir(tidy::root().join("tests/scenarios")).unwrap();
    let mut paths: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut failures = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let actual = play(block(&text, "toml"), block(&text, "trace"));
        let expected = block(&text, "findings");
        if actual != expected {
            if env::var_os("UPDATE").is_some() {
                let (old, new) = (fence("findings", expected), fence("findings", &actual));
                fs::write(&path, text.replace(&old, &new)).unwrap();
            }
            failures.push(format!("{}\nexpected:\n{expected}\nactual:\n{actual}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn play(policy: &str, trace: &str) -> String {
    let registry = conformance::registry();
    let loaded = conformance::load(&registry, policy);
    let Some(policy) = loaded.policy else { panic!("{}", render(&loaded, false)) };
    let trace: Trace = match trace.parse() {
        Ok(it) => it,
        Err(err) => panic!("not a trace: {err}"),
    };
    let mut engine = Engine::new(policy.detectors, EngineConfig::default());
    let mut findings = Vec::new();
    for step in trace.steps() {
        match step {
            Step::Event(event) => engine.observe(event, &mut findings),
            Step::Advance(now) => engine.advance(*now, &mut findings),
        }
    }
    findings.iter().map(line).collect()
}

/// When, how grave, by which detector, and what.
fn line(finding: &Finding) -> String {
    let at = finding.at.duration_since(Timestamp::UNIX_EPOCH);
    let what = match finding.status {
        Status::Open => finding.severity.name(),
        Status::Resolved => "resolved",
    };
    let offset = format!("{at:#}").replace(' ', "");
    format!("{offset:<8}{what:<9}{}: {}\n", finding.detector, finding.message)
}

/// The first block of a language in a Markdown file.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let open = format!("```{language}\n");
    let start = text.find(&open).unwrap_or_else(|| panic!("no block of {language}")) + open.len();
    let end = text[start..].find("```").expect("the block should be closed");
    &text[start..start + end]
}

fn fence(language: &str, body: &str) -> String {
    format!("```{language}\n{body}```")
}
