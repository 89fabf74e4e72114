//! Runs of a detector over one trace, and the comparison of their findings.

use std::{rc::Rc, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    Engine, Event, Finding, SessionId,
    author::make_safe,
    embed::{EngineConfig, ExplanationDetail, NamedDetector},
};

use super::{
    law::{Failure, Law},
    panics, probe,
};
use crate::play::render;

/// The length of the longest legible message, in bytes.
const MAX_MESSAGE: usize = 2000;

/// The detector whose laws are checked.
pub(super) struct Subject {
    pub(super) pristine: NamedDetector,
    /// Builds the detector again from its options.
    pub(super) fresh: Rc<dyn Fn() -> NamedDetector>,
    /// The time that passes after the last event.
    pub(super) tail: SignedDuration,
}

impl Subject {
    /// Checks all laws that one short trace can break. Returns the number of reports,
    /// those below every level included.
    pub(super) fn examine(&self, events: &[Event], ticks: &[u8]) -> Result<usize, Failure> {
        let findings = self.run_checked(events)?;
        self.is_same_later(&findings, events)?;
        self.keeps_contract(events, &findings)?;
        let disturbed = self.run(events, ticks);
        same(Law::Punctual, ("undisturbed", &findings), ("with clock advances", &disturbed))?;
        // Sessions that share a label share a stream.
        let has_own_sessions = self.pristine.per.is_none();
        let mut sessions: Vec<&SessionId> = events.iter().map(|event| &event.session).collect();
        sessions.sort();
        sessions.dedup();
        let mut n_reports = findings.len();
        for session in &sessions {
            if has_own_sessions && 1 < sessions.len() {
                let alone: Vec<_> =
                    events.iter().filter(|event| event.session == **session).cloned().collect();
                let among: Vec<_> =
                    findings.iter().filter(|it| it.session == **session).cloned().collect();
                // Time passes as long as among the other sessions.
                let end = self.end(events);
                let alone = self.run_detector(self.pristine.clone(), &alone, &[], end);
                same(Law::Isolated, ("among other sessions", &among), ("alone", &alone))?;
            }
            let (explained, messages) = self.run_explained(events, session);
            same(Law::Explainable, ("unexplained", &findings), ("explained", &explained))?;
            for message in &messages {
                is_legible(message)?;
            }
            n_reports += messages.len();
        }
        Ok(n_reports)
    }

    /// Returns whether the detector reports something.
    pub(super) fn reports(&self, events: &[Event]) -> bool {
        events.first().is_some_and(|event| {
            let (findings, messages) = self.run_explained(events, &event.session);
            !findings.is_empty() || !messages.is_empty()
        })
    }

    /// Runs the trace in two engines at the same time, one with a second detector
    /// built from the same options, and compares the findings.
    pub(super) fn is_same_later(
        &self,
        findings: &[Finding],
        events: &[Event],
    ) -> Result<(), Failure> {
        let mut engines = [self.engine(self.pristine.clone()), self.engine((self.fresh)())];
        let mut outputs = [Vec::new(), Vec::new()];
        for event in events {
            for (engine, output) in engines.iter_mut().zip(&mut outputs) {
                engine.observe(event, output);
            }
        }
        for (engine, output) in engines.iter_mut().zip(&mut outputs) {
            engine.advance(self.end(events), output);
            sort_by_session(output);
        }
        let [again, fresh] = outputs;
        same(Law::Deterministic, ("in the first run", findings), ("in another run", &again))?;
        same(Law::Deterministic, ("from one detector", findings), ("from an equal one", &fresh))
    }

    /// Plays events. Fails if the detector panics or a message is not legible.
    pub(super) fn run_checked(&self, events: &[Event]) -> Result<Vec<Finding>, Failure> {
        let (findings, panic) = panics::capture(|| self.run(events, &[]));
        if let Some(panic) = panic {
            return Err((Law::Total, format!("it panicked: {panic}")));
        }
        for finding in &findings {
            is_legible(&finding.message)?;
        }
        Ok(findings)
    }

    /// Plays events and the tail. `ticks` is the number of clock advances before each
    /// event, and repeats. The findings are sorted by session.
    pub(super) fn run(&self, events: &[Event], ticks: &[u8]) -> Vec<Finding> {
        self.run_detector(self.pristine.clone(), events, ticks, self.end(events))
    }

    fn run_detector(
        &self,
        detector: NamedDetector,
        events: &[Event],
        ticks: &[u8],
        end: Timestamp,
    ) -> Vec<Finding> {
        let mut engine = self.engine(detector);
        let mut findings = Vec::new();
        // The clock is never ahead of a later event.
        let mut limits: Vec<_> = events.iter().map(|event| event.at).collect();
        for idx in (1..limits.len()).rev() {
            limits[idx - 1] = limits[idx - 1].min(limits[idx]);
        }
        let mut now = Timestamp::UNIX_EPOCH;
        let mut ticks = ticks.iter().cycle();
        for (event, limit) in events.iter().zip(limits) {
            let n_ticks = ticks.next().map_or(0, |n| i32::from(*n));
            for tick in 1..=n_ticks {
                let step = limit.duration_since(now) / (n_ticks + 1 - tick);
                now = now.saturating_add(step).unwrap_or(limit);
                engine.advance(now, &mut findings);
            }
            engine.observe(event, &mut findings);
        }
        engine.advance(end, &mut findings);
        sort_by_session(&mut findings);
        findings
    }

    /// Runs the trace while the engine explains a session. Also returns the messages
    /// of all reports, those without a finding included.
    fn run_explained(&self, events: &[Event], session: &SessionId) -> (Vec<Finding>, Vec<String>) {
        let mut engine = self.engine(self.pristine.clone());
        engine.explain(session.clone());
        let (mut findings, mut messages) = (Vec::new(), Vec::new());
        let mut collect = |engine: &mut Engine| {
            for entry in engine.take_explanation() {
                if let ExplanationDetail::Reported { message, .. } = entry.what {
                    messages.push(message);
                }
            }
        };
        for event in events {
            engine.observe(event, &mut findings);
            collect(&mut engine);
        }
        engine.advance(self.end(events), &mut findings);
        collect(&mut engine);
        sort_by_session(&mut findings);
        (findings, messages)
    }

    /// Checks the subscription and the idle state, with a detector that receives
    /// every event.
    fn keeps_contract(&self, events: &[Event], findings: &[Finding]) -> Result<(), Failure> {
        let broken = Arc::default();
        let probe = probe::Probe::new(self.pristine.detector.clone(), Arc::clone(&broken));
        let probed = NamedDetector { detector: Box::new(probe), ..self.pristine.clone() };
        let unfiltered = self.run_detector(probed, events, &[], self.end(events));
        probe::take(&broken)?;
        same(
            Law::Subscribed,
            ("with the events of its subscription", findings),
            ("with all events", &unfiltered),
        )
    }

    pub(super) fn engine(&self, detector: NamedDetector) -> Engine {
        let config = EngineConfig {
            session_expiry: SignedDuration::from_hours(24 * 365),
            ..EngineConfig::default()
        };
        Engine::new(vec![detector], config)
    }

    fn end(&self, events: &[Event]) -> Timestamp {
        let last = events.iter().map(|event| event.at).max().unwrap_or(Timestamp::UNIX_EPOCH);
        last.saturating_add(self.tail).unwrap_or(last)
    }
}

fn is_legible(message: &str) -> Result<(), Failure> {
    let problem = if message.is_empty() {
        "a message is empty".to_owned()
    } else if MAX_MESSAGE < message.len() {
        format!("a message has {} bytes, more than {MAX_MESSAGE}", message.len())
    } else if message.ends_with('.') {
        format!("a message ends with a full stop: {message:?}")
    } else if message != make_safe(message) {
        format!("a message is not safe for a terminal; use `quote` for text of agents: {message:?}")
    } else {
        return Ok(());
    };
    Err((Law::Legible, problem))
}

/// Compares the findings of two runs.
fn same(
    law: Law,
    (one_run, findings): (&str, &[Finding]),
    (other_run, others): (&str, &[Finding]),
) -> Result<(), Failure> {
    if findings == others {
        return Ok(());
    }
    let (findings, others) = (render(findings), render(others));
    let hint = if findings == others { "\nonly data, ids or evidence differ\n" } else { "" };
    let message =
        format!("two runs differ\n\n{one_run}:\n{findings}\n{other_run}:\n{others}{hint}");
    Err((law, message))
}

/// Sorts findings by session and time. An engine may wake the streams of two groups of one session,
/// such as two folders, in any order.
fn sort_by_session(findings: &mut [Finding]) {
    findings.sort_by(|a, b| (&a.session, a.at).cmp(&(&b.session, b.at)));
}
