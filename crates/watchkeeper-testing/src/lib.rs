//! A test kit for authors of detectors.
//!
//! Time is data here: a [`Trace`] says when each event happened, and no test
//! ever waits. [`play`] runs a detector over one; [`laws`] state what every
//! detector must do, whatever it detects. The feature `laws`, on by default,
//! brings them and proptest.
//!
//! ```
//! use watchkeeper_testing::Trace;
//!
//! let trace: Trace = "
//!     0s    prompt fix the build
//!     10s   call Bash {\"command\": \"make\"}
//!     12s   result fail exit 2 no rule to make target
//!     +1m   agent helper: message I am on it
//!     2m    repeat 4 every 5s: call Bash make ;; result fail no rule
//!     advance 10m
//! "
//! .parse()
//! .expect("every line is an event");
//! assert_eq!(trace.events().count(), 12);
//! ```

#[cfg(feature = "laws")]
pub mod laws;

#[cfg(feature = "laws")]
mod arbitrary;
mod trace;

use std::fmt::Write as _;

use jiff::{
    SignedDuration, Timestamp,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};
use watchkeeper_core::{
    AgentId, DetectorKind, Engine, EngineConfig, Finding, NamedDetector, Options, SessionFilter,
    Severity, Status,
};

#[cfg(feature = "laws")]
pub use crate::arbitrary::events;
pub use crate::trace::{Step, Trace, TraceError};

/// The session of every event that names no other.
const SESSION: &str = "s1";

/// Runs a detector over a trace, with the default levels of its kind; returns
/// its findings, one to a line.
///
/// The options are the keys of the detector's own in a policy, as TOML. Time
/// ends with the trace: its last line may let some pass.
#[track_caller]
pub fn play<D: DetectorKind>(options: &str, trace: &str) -> String {
    play_detector(&detector::<D>(options), trace)
}

/// Runs a detector of a policy over a trace; returns its findings, one to a
/// line.
#[track_caller]
pub fn play_detector(detector: &NamedDetector, trace: &str) -> String {
    let trace: Trace = match trace.parse() {
        Ok(it) => it,
        Err(err) => panic!("not a trace: {err}"),
    };
    render(&findings(detector, &trace))
}

/// Runs a detector over a trace.
pub fn findings(detector: &NamedDetector, trace: &Trace) -> Vec<Finding> {
    let mut engine = Engine::new(vec![detector.clone()], EngineConfig::default());
    let mut res = Vec::new();
    for step in trace.steps() {
        match step {
            Step::Event(event) => engine.observe(event, &mut res),
            Step::Advance(now) => engine.advance(*now, &mut res),
        }
    }
    res
}

/// Makes a detector with the default levels of its kind, named after its kind.
#[track_caller]
pub fn detector<D: DetectorKind>(options: &str) -> NamedDetector {
    let built = Options::parse(options).and_then(|it| it.build(D::new));
    let detector = match built {
        Ok(it) => it,
        Err(err) => panic!("the options of `{}` are wrong: {err}", D::KIND),
    };
    NamedDetector {
        id: D::KIND.into(),
        kind: D::KIND.into(),
        class: D::CLASS.into(),
        levels: D::LEVELS.to_vec(),
        inhibited_by: Vec::new(),
        per_label: None,
        sessions: SessionFilter::default(),
        detector: Box::new(detector),
    }
}

/// Writes findings as a person would read them, one to a line: when, how
/// grave, in which session and agent if it is not the first, and what.
pub fn render(findings: &[Finding]) -> String {
    let mut res = String::new();
    for finding in findings {
        let what = match (finding.status, finding.severity) {
            (Status::Resolved, _) => "resolved",
            (Status::Open, Severity::Low) => "low",
            (Status::Open, Severity::Medium) => "medium",
            (Status::Open, Severity::High) => "high",
        };
        let session = Some(finding.session.as_str()).filter(|it| *it != SESSION);
        let agent = finding.agent.as_ref().map(AgentId::as_str);
        let mut who: Vec<_> = session.into_iter().chain(agent).collect();
        who.push("");
        let who = who.join(": ");
        // Writing to a string cannot fail.
        let _ = writeln!(res, "{:7} {what:8}  {who}{}", offset(finding.at), finding.message);
    }
    res
}

/// How long after the start of all traces something happened.
fn offset(at: Timestamp) -> String {
    const PRINTER: SpanPrinter =
        SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
    let since: SignedDuration = at.duration_since(Timestamp::UNIX_EPOCH);
    PRINTER.duration_to_string(&since)
}
