//! Checks of a kind of sink.
//!
//! | promise | requirement |
//! | --- | --- |
//! | documented | the manual and the options have no [problem](crate::manual) |
//! | patient | [`Sink::retry`](watchkeeper_core::Sink::retry) allows at least one attempt, and waits between attempts |
//! | opens | [`Sink::open`](watchkeeper_core::Sink::open) succeeds with the options of the test, also after an earlier sink was dropped |
//! | delivers | an ordinary finding is delivered |
//! | total | no finding makes the sink panic |
//! | decisive | a finding that the sink cannot deliver is refused, so that the queue does not retry it |
//!
//! [`check`] delivers the [`findings`] of this module: open and resolved ones, with hostile and
//! long text. [`deliver`] delivers findings of your own, so that a test can look at what the
//! receiver got:
//!
//! ```
//! use std::sync::Mutex;
//! # use schemars::JsonSchema;
//! # use serde::Deserialize;
//! # use watchkeeper_core::{Finding, InvalidOption, Sink, SinkKind, author::SinkError};
//! use watchkeeper_testing::sink;
//!
//! static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
//!
//! struct Memory;
//!
//! impl Sink for Memory {
//!     fn deliver(&mut self, finding: &Finding) -> Result<(), SinkError> {
//!         LINES.lock().unwrap().push(finding.message.clone());
//!         Ok(())
//!     }
//! }
//! # #[derive(Deserialize, JsonSchema)]
//! # #[serde(deny_unknown_fields)]
//! # struct MemoryOptions {}
//! # impl SinkKind for Memory {
//! #     const KIND: &'static str = "acme-memory";
//! #     const DOCS: &'static str = "# acme-memory\n\nKeeps messages.\n\n## What it does\n\n## Example\n\n```toml\n[sinks.acme-memory]\n```\n\n## Limits\n";
//! #     type Options = MemoryOptions;
//! #     fn new(_: MemoryOptions) -> Result<Self, InvalidOption> { Ok(Self) }
//! # }
//!
//! let results = sink::deliver::<Memory>("", &[sink::finding()]);
//! assert!(results[0].is_ok());
//! assert_eq!(LINES.lock().unwrap().len(), 1);
//! sink::check::<Memory>("");
//! ```

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Map, json};
use watchkeeper_core::{
    Finding, Fingerprint, Severity, SinkKind, Status, Timestamp,
    author::{Evidence, Options, Origin, SinkError},
    embed::SinkEntry,
};

use crate::{
    hostile, manual,
    promise::{Violation, guard},
};

/// Checks the promises of a kind of sink. `options` are its own keys in a policy, as TOML.
///
/// The options name a receiver that works: a temporary folder, or a server of the test.
///
/// # Panics
///
/// If the options are refused, or if the sink breaks a promise. The message contains the
/// promise, and a test that repeats the failure.
#[track_caller]
pub fn check<S: SinkKind>(options: &str) {
    if let Some(violation) = find_violation::<S>(options) {
        panic!("{violation}");
    }
}

/// Opens a sink, delivers each of the findings once, and drops the sink. Returns the result of
/// each delivery.
///
/// # Panics
///
/// If the options are refused, or if the sink cannot be opened.
#[track_caller]
pub fn deliver<S: SinkKind>(options: &str, findings: &[Finding]) -> Vec<Result<(), SinkError>> {
    let mut sink = build::<S>(options);
    if let Err(err) = sink.open() {
        panic!("cannot open `{}`: {err}", S::KIND);
    }
    findings.iter().map(|finding| sink.deliver(finding)).collect()
}

/// Builds a sink from its own keys in a policy, as TOML, without opening it.
///
/// # Panics
///
/// If the options are refused.
#[track_caller]
pub fn build<S: SinkKind>(options: &str) -> S {
    match Options::parse(options).and_then(|options| options.build(S::new)) {
        Ok(sink) => sink,
        Err(err) => panic!("the options of `{}` are invalid: {err}", S::KIND),
    }
}

/// Returns an ordinary finding: an agent that repeats a call.
pub fn finding() -> Finding {
    let evidence = |line| {
        let origin =
            Origin { source: "ndjson", file: "/home/ada/sessions/shop.jsonl".into(), line };
        Evidence::new(Some(&origin), "tool_call")
    };
    let mut finding = Finding::new(
        Timestamp::UNIX_EPOCH,
        "repeated_call",
        "shop",
        Severity::High,
        "`make` returned the same result 4 times in 31s",
    );
    finding.kind = "repeat-tool-call".into();
    finding.class = "runaway".into();
    finding.count = 4;
    finding.source = Some("ndjson");
    finding.labels = Arc::new(BTreeMap::from([("team".to_owned(), "payments".to_owned())]));
    finding.data = Map::from_iter([("repeats".into(), json!(4)), ("tool".into(), json!("Bash"))]);
    finding.evidence = vec![evidence(790), evidence(812)];
    finding
}

/// Returns the findings that [`check`] delivers: the ordinary one, its resolution, one of a
/// sub-agent, one about the monitor itself, some with hostile text in every field, and a long
/// one. Each has another id.
pub fn findings() -> Vec<Finding> {
    let mut resolved = finding();
    resolved.status = Status::Resolved;
    "another call was made".clone_into(&mut resolved.message);
    resolved.evidence.clear();

    let mut of_helper = finding();
    of_helper.severity = Severity::Low;
    of_helper.agent = Some("helper".into());

    let mut of_monitor = finding();
    of_monitor.severity = Severity::Medium;
    of_monitor.session = "".into();
    of_monitor.source = None;
    of_monitor.labels = Arc::default();
    of_monitor.data.clear();
    of_monitor.evidence = vec![Evidence::new(None, "session_start")];
    of_monitor.count = u64::MAX;

    let mut long = finding();
    long.message = "a".repeat(10_000);
    long.data.insert("output".into(), "é".repeat(hostile::HUGE).into());
    long.evidence = vec![finding().evidence[0].clone(); 1_000];

    let mut findings = vec![finding(), resolved, of_helper, of_monitor];
    findings.extend(hostile::TEXTS.iter().map(|text| hostile_finding(&text())));
    findings.push(long);
    for (idx, finding) in (1_u64..).zip(&mut findings) {
        finding.id = Fingerprint::from(idx);
    }
    findings
}

/// Returns a finding with `text` in every field that contains text.
fn hostile_finding(text: &str) -> Finding {
    let origin = Origin { source: "ndjson", file: text.into(), line: 0 };
    let mut finding = finding();
    finding.detector = text.into();
    finding.class = text.into();
    finding.session = text.into();
    finding.agent = Some(text.into());
    finding.labels = Arc::new(BTreeMap::from([(text.to_owned(), text.to_owned())]));
    text.clone_into(&mut finding.message);
    finding.data = Map::from_iter([(text.to_owned(), json!([text, { text: text }]))]);
    finding.evidence = vec![Evidence::new(Some(&origin), "tool_call")];
    finding
}

#[track_caller]
fn find_violation<S: SinkKind>(options: &str) -> Option<Violation> {
    let violation =
        |promise, message: String, code| Some(Violation { kind: S::KIND, promise, message, code });
    let problems = manual::sink_problems(&SinkEntry::of::<S>(""));
    if !problems.is_empty() {
        let list = problems.join("\n* ");
        let message = format!("the manual or the options have problems:\n* {list}");
        return violation("the manual documents the options", message, None);
    }

    let mut sink = build::<S>(options);
    let retry = sink.retry();
    if retry.max_attempts == 0 {
        let message = "`retry` allows no attempt".to_owned();
        return violation("`retry` allows at least one attempt", message, None);
    }
    let waits = Duration::ZERO < retry.initial && retry.initial <= retry.max;
    if 1 < retry.max_attempts && !waits {
        let message = format!("`retry` returns {retry:?}");
        return violation("`retry` waits between attempts: 0 < initial <= max", message, None);
    }

    let type_name = std::any::type_name::<S>().rsplit("::").next().unwrap_or_default();
    let deliver = |findings: &str| {
        Some(format!("sink::deliver::<{type_name}>({options:?}, &sink::findings(){findings});"))
    };
    let opens = "`open` succeeds, also after an earlier sink was dropped";
    match guard(|| sink.open()) {
        Ok(Ok(())) => {}
        Ok(Err(err)) => return violation(opens, format!("`open` failed: {err}"), deliver("[..0]")),
        Err(panic) => return violation(opens, format!("`open` {panic}"), deliver("[..0]")),
    }
    for (idx, finding) in findings().iter().enumerate() {
        let code = deliver(&format!("[{idx}..={idx}]"));
        match guard(|| sink.deliver(finding)) {
            Err(panic) => {
                let message = format!("`deliver` {panic}");
                return violation("no finding makes a sink panic", message, code);
            }
            Ok(Err(err)) if idx == 0 => {
                let message = format!("`deliver` failed: {err}");
                return violation("an ordinary finding is delivered", message, code);
            }
            Ok(Err(err @ SinkError::Unavailable { .. })) => {
                let message = format!("`deliver` failed, and the queue retries: {err}");
                let promise = "a finding that cannot be delivered is refused: `SinkError::refused`";
                return violation(promise, message, code);
            }
            Ok(_) => {}
        }
    }
    drop(sink);

    // A monitor that restarts delivers the latest findings again.
    let mut sink = build::<S>(options);
    let code = deliver("[..1]");
    match guard(|| sink.open().and_then(|()| sink.deliver(&finding()))) {
        Ok(Ok(())) => None,
        Ok(Err(err)) => {
            let message = format!("a second sink with the same options failed: {err}");
            violation(opens, message, code)
        }
        Err(panic) => violation(opens, format!("a second sink {panic}"), code),
    }
}
