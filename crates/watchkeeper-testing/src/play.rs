//! Runs of a detector over one trace.

use std::fmt::Write as _;

use watchkeeper_core::{
    AgentId, DetectorKind, Engine, Finding, Fingerprint, Severity, Status,
    author::Options,
    embed::{EngineConfig, NamedDetector, SessionFilter},
};

use crate::trace::{SESSION, Step, Trace, offset};

/// Runs a detector over a trace, with the default levels of its kind, and returns
/// its findings as [`render`] writes them.
///
/// `options` are the detector's own keys in a policy, as TOML. The run ends with the
/// trace; a last line such as `advance 10m` lets time pass.
///
/// # Panics
///
/// If the options are refused, or the text is not a trace.
#[track_caller]
pub fn play<D: DetectorKind>(options: &str, trace: &str) -> String {
    play_detector(&detector::<D>(options), trace)
}

/// Runs a detector of a policy over a trace; see [`play`].
#[track_caller]
pub fn play_detector(detector: &NamedDetector, trace: &str) -> String {
    let trace: Trace = match trace.parse() {
        Ok(trace) => trace,
        Err(err) => panic!("invalid trace: {err}"),
    };
    render(&findings(detector, &trace))
}

/// Runs a detector over a trace and returns its findings.
pub fn findings(detector: &NamedDetector, trace: &Trace) -> Vec<Finding> {
    let mut engine = Engine::new(vec![detector.clone()], EngineConfig::default());
    let mut findings = Vec::new();
    for step in trace.steps() {
        match step {
            Step::Event(event) => engine.observe(event, &mut findings),
            Step::Advance(now) => engine.advance(*now, &mut findings),
        }
    }
    findings
}

/// Builds a detector with the default levels of its kind. Its id is the kind.
///
/// # Panics
///
/// If the options are refused.
#[track_caller]
pub fn detector<D: DetectorKind>(options: &str) -> NamedDetector {
    let built = Options::parse(options).and_then(|options| options.build(D::new));
    let detector = match built {
        Ok(detector) => detector,
        Err(err) => panic!("the options of `{}` are invalid: {err}", D::KIND),
    };
    NamedDetector {
        id: D::KIND.into(),
        kind: D::KIND.into(),
        class: D::CLASS.into(),
        annotations: std::sync::Arc::default(),
        levels: D::LEVELS.to_vec(),
        inhibited_by: Vec::new(),
        per: None,
        sessions: SessionFilter::default(),
        options: Fingerprint::NONE,
        detector: Box::new(detector),
    }
}

/// Writes findings, one to a line: the time since the start of the trace, the
/// severity or `resolved`, the session unless it is the first, the agent unless it
/// is the main agent, and the message.
pub fn render(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let status = match (finding.status, finding.severity) {
            (Status::Resolved, _) => "resolved",
            (Status::Open, Severity::Low) => "low",
            (Status::Open, Severity::Medium) => "medium",
            (Status::Open, Severity::High) => "high",
        };
        let session = Some(finding.session.as_str()).filter(|id| *id != SESSION);
        let agent = finding.agent.as_ref().map(AgentId::as_str);
        let stream: String =
            session.into_iter().chain(agent).flat_map(|name| [name, ": "]).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:7} {status:8}  {stream}{}", offset(finding.at), finding.message);
    }
    text
}
