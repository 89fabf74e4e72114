//! Findings and options for tests.

use std::{collections::BTreeMap, ffi::OsStr, process::Command, sync::Arc};

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, json};
use watchkeeper_core::{
    Finding, Fingerprint, Severity, SinkKind, Status, Timestamp,
    author::{Annotations, Evidence, Options, OptionsError, Origin},
};

/// Builds a sink from the options in a policy.
pub(crate) fn build<S: SinkKind>(options: &str) -> Result<S, OptionsError> {
    Options::parse(options)?.build(S::new)
}

/// Returns the message of the error in some options.
#[track_caller]
pub(crate) fn mistake<S: SinkKind>(options: &str) -> String {
    match build::<S>(options) {
        Ok(_) => panic!("no mistake found in: {options}"),
        Err(err) => err.message,
    }
}

/// Builds a sink from the example in its manual.
pub(crate) fn build_example<S: SinkKind>() -> Result<S, OptionsError> {
    let (_, example) = S::DOCS.split_once("```toml\n").expect("the manual has an example");
    let (example, _) = example.split_once("```").expect("the example ends");
    let own = |line: &&str| !line.starts_with("[sinks.") && !line.starts_with("kind = ");
    build(&example.lines().filter(own).collect::<Vec<_>>().join("\n"))
}

/// Runs a test again in a new process, which `command` starts, with an
/// environment variable.
#[track_caller]
pub(crate) fn run_again(command: &mut Command, test: &str, variable: (&str, &OsStr)) {
    let (_, test) = test.split_once("::").expect("the path begins with the crate");
    let command = command.args(["--exact", test, "--nocapture"]).env(variable.0, variable.1);
    let output = command.output().expect("the command should start");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
}

/// Returns a typical finding.
pub(crate) fn finding() -> Finding {
    let evidence = |line| {
        let file = "/home/ada/.claude/projects/shop/5b1e.jsonl".into();
        Evidence::new(Some(&Origin { source: "claude-code", file, line }), "tool_call")
    };
    let mut finding = Finding::new(
        "2026-11-22T10:14:07.120Z".parse().expect("the text is a time"),
        "repeated_call",
        "5b1e0c2a-7f4d-4b6e-9f3e-0123456789ab",
        Severity::High,
        "`Bash` returned the same result for the same call 4 times in 31s: \
         `make` returns `no rule to make it`",
    );
    finding.id = Fingerprint::from(0x9f2c_0000_0000_0001);
    finding.kind = "repeat-tool-call".into();
    finding.class = "runaway".into();
    finding.count = 4;
    finding.source = Some("claude-code");
    finding.fingerprint = Fingerprint::from(0xab);
    finding.labels = Arc::new(BTreeMap::from([("team".to_owned(), "payments".to_owned())]));
    finding.data = Map::from_iter([("repeats".into(), json!(4)), ("tool".into(), json!("Bash"))]);
    finding.evidence = vec![evidence(790), evidence(812)];
    finding
}

/// Returns a typical finding of a detector with annotations.
pub(crate) fn annotated() -> Finding {
    let mut annotations = Annotations::default();
    let link = |text: &str| text.parse().expect("the text is a link");
    annotations.runbook_url = Some(link("https://wiki.example/loops?from=a&to=b"));
    annotations.references = vec![link("https://wiki.example/incident/7")];
    annotations.tags = ["loop", "owner:payments"].map(|it| it.parse().expect("a tag")).into();
    let mut finding = finding();
    finding.annotations = Arc::new(annotations);
    finding
}

/// Generates findings with arbitrary and hostile text in every field.
pub(crate) fn any_finding() -> impl Strategy<Value = Finding> {
    // Text that controls terminals is rare in arbitrary text.
    let text = || {
        let hostile = prop::sample::select(vec![
            "\u{1b}]0;title\u{7}",
            "\u{1b}]52;c;cm0gLXJm\u{1b}\\",
            "\u{1b}[?1049h",
            "\u{9b}2J",
            "\r",
            "\n",
            "\t",
            "\u{7f}",
            "\u{202e}",
            "\u{2066}",
            "\u{2028}",
            "\u{85}",
            "é",
            "漢",
            "\u{10ffff}",
            "\\",
            "\"",
        ]);
        let piece = prop_oneof![any::<String>(), hostile.prop_map(str::to_owned)];
        vec(piece, 0..40).prop_map(|it| it.concat())
    };
    let names = (text(), text(), text(), option::of(text()));
    let content = (any::<(u64, bool)>(), 0..3_usize, text(), text());
    let link = option::of("https://[a-z]{1,9}/[!-&(-;=?-Z_a-z~]{0,490}");
    let locations = vec((option::of(text()), option::of(any::<u64>())), 0..3);
    (any::<i32>(), names, content, locations, link).prop_map(
        |(at, names, content, locations, link)| {
            let (detector, class, session, agent) = names;
            let ((count, is_open), severity, message, value) = content;
            let at = Timestamp::from_second(at.into()).expect("the time is in range");
            let severity = Severity::ALL[severity];
            let mut finding = Finding::new(at, &detector, session, severity, message);
            finding.class = class.into();
            let mut annotations = Annotations::default();
            annotations.runbook_url = link.and_then(|text| text.parse().ok());
            finding.annotations = annotations.into();
            finding.status = if is_open { Status::Open } else { Status::Resolved };
            finding.count = count;
            finding.replaces = agent.as_deref().map(Into::into);
            finding.agent = agent.map(Into::into);
            finding.data = Map::from_iter([(value.clone(), json!(value))]);
            let evidence = |(file, line): (Option<String>, Option<u64>)| {
                let mut evidence = Evidence::new(None, "tool_call");
                evidence.file = file.map(Into::into);
                evidence.line = line;
                evidence
            };
            finding.evidence = locations.into_iter().map(evidence).collect();
            finding
        },
    )
}

/// Returns whether a character may reach a terminal. Independent of the code
/// under test.
pub(crate) fn is_harmless(c: char) -> bool {
    match u32::from(c) {
        0x20..=0x7e => true,
        // Control characters, the soft hyphen, marks that change the direction
        // of text, line and paragraph separators, the byte order mark, tags.
        0..=0x9f
        | 0xad
        | 0x61c
        | 0x200b..=0x200f
        | 0x2028..=0x202e
        | 0x2066..=0x2069
        | 0xfeff
        | 0xe0000..=0xe007f => false,
        _ => true,
    }
}
