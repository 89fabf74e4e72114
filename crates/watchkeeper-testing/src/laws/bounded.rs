//! The law that the state of a detector stops growing.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use watchkeeper_core::{
    AgentId, Context, Detector, Event, EventKind, Json, ModelCall, Subscription, ToolCall,
    ToolResult,
    author::{Scope, Tokens},
    embed::NamedDetector,
};

use super::{
    law::{Broken, Law},
    runs::Subject,
};
use crate::{
    hostile,
    trace::{SESSION, Trace},
};

/// The number of events of one run.
const N_EVENTS: usize = 8_000;
/// The number of traces to repeat, at most.
const MAX_TRACES: usize = 2;
/// The number of events between two samples of the state.
const SAMPLE_EVERY: usize = 200;
/// The growth from the second to the last quarter of a run that is not a leak, in
/// bytes of `Debug` output: numbers get longer.
const MAX_GROWTH: usize = 1_000;

/// Plays long runs of distinct events and of repeated traces, with and without time
/// between the events. For detectors of whole sessions, the events come from one
/// agent and then from many.
pub(super) fn check(subject: &Subject, traces: &[Vec<Event>]) -> Result<(), Broken> {
    let is_per_agent = subject.pristine.per.is_none()
        && subject.pristine.detector.subscription().scope == Scope::Agent;
    for has_many_agents in [false, true] {
        if has_many_agents && is_per_agent {
            continue;
        }
        for gap in [SignedDuration::ZERO, SignedDuration::from_secs(1)] {
            let agent = if has_many_agents { "many agents" } else { "one agent" };
            let label = format!("events of {agent}, {gap:#} apart");
            let distinct = (0..N_EVENTS).map(|n| distinct_event(n, has_many_agents));
            let label_of_distinct = format!("{N_EVENTS} distinct {label}");
            is_bounded(subject, gap, distinct)
                .map_err(|growth| broken(&growth, &label_of_distinct, None))?;
            for trace in traces.iter().take(MAX_TRACES) {
                let label =
                    format!("{N_EVENTS} {label}, that repeat a trace with new ids and texts");
                is_bounded(subject, gap, repeated(trace, has_many_agents))
                    .map_err(|growth| broken(&growth, &label, Some(trace)))?;
            }
        }
    }
    Ok(())
}

fn broken(growth: &str, run: &str, trace: Option<&Vec<Event>>) -> Broken {
    let mut message = format!("{growth}\n\nthe run: {run}");
    if let Some(trace) = trace {
        let text = Trace::from(trace.clone()).to_string();
        let shown: String = text.chars().take(2_000).collect();
        message = format!("{message}\n\n{shown}");
    }
    Broken { law: Some(Law::Bounded), message, events: None }
}

fn is_bounded(
    subject: &Subject,
    gap: SignedDuration,
    events: impl Iterator<Item = Event>,
) -> Result<(), String> {
    let samples = Samples::default();
    let mut engine = subject.engine(measured(&subject.pristine, &samples, SAMPLE_EVERY));
    let mut findings = Vec::new();
    let mut now = Timestamp::UNIX_EPOCH;
    // The streams of a label have fewer events, and so does a stream that ends.
    let mut is_whole = subject.pristine.per.is_none();
    for mut event in events {
        is_whole &= !matches!(event.kind, EventKind::AgentEnd | EventKind::SessionEnd { .. });
        event.at = now;
        engine.observe(&event, &mut findings);
        findings.clear();
        now = now.saturating_add(gap).unwrap_or(now);
    }
    let samples = samples.sizes();
    let n_expected = N_EVENTS / SAMPLE_EVERY;
    if samples.len() < n_expected {
        return if is_whole {
            Err(format!(
                "its state cannot be measured: it received the events of {} samples, not of \
                 {n_expected}",
                samples.len(),
            ))
        } else {
            Ok(())
        };
    }
    let quarter = samples.len() / 4;
    let largest = samples[quarter..2 * quarter].iter().max().copied().unwrap_or(0);
    let smallest = samples[3 * quarter..].iter().min().copied().unwrap_or(0);
    if largest + MAX_GROWTH < smallest {
        return Err(format!(
            "its state grows: its `Debug` output has {largest} bytes after {} events and {smallest} \
             bytes after {}",
            N_EVENTS / 2,
            3 * N_EVENTS / 4,
        ));
    }
    Ok(())
}

/// The sizes of a detector's state over a run, in bytes of `Debug` output.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Arc<Mutex<Vec<usize>>>);

impl Samples {
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, detector: &dyn Detector) {
        let size = format!("{detector:?}").len();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(size);
    }
}

/// Wraps a detector, and samples the size of its state once in `sample_every`
/// events.
pub(super) fn measured(
    detector: &NamedDetector,
    samples: &Samples,
    sample_every: usize,
) -> NamedDetector {
    let inner = detector.detector.clone();
    let measured = Measured { inner, n_events: 0, sample_every, samples: samples.clone() };
    NamedDetector { detector: Box::new(measured), ..detector.clone() }
}

/// A detector that is never idle, so that its state is never dropped.
#[derive(Clone, Debug)]
struct Measured {
    inner: Box<dyn Detector>,
    n_events: usize,
    sample_every: usize,
    samples: Samples,
}

impl Detector for Measured {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.inner.observe(event, cx);
        self.n_events += 1;
        if self.n_events.is_multiple_of(self.sample_every) {
            self.samples.push(&*self.inner);
        }
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.inner.wake(cx);
    }

    fn subscription(&self) -> Subscription {
        self.inner.subscription().widened()
    }
}

/// Repeats a trace in one session, with new ids and texts.
fn repeated(trace: &[Event], has_many_agents: bool) -> impl Iterator<Item = Event> {
    let mut noise = hostile::Noise::new(7);
    let rounds = N_EVENTS.div_ceil(trace.len().max(1));
    (0..rounds)
        .flat_map(move |round| trace.iter().map(move |event| (round, event)))
        .map(move |(round, event)| {
            let mut event = event.clone();
            event.session = SESSION.into();
            event.agent = has_many_agents.then(|| AgentId::from(format!("agent {round}")));
            hostile::freshen(&mut event, round, &mut noise);
            event
        })
        .take(N_EVENTS)
}

/// Returns the n-th event of a session in which no text repeats.
fn distinct_event(n: usize, has_many_agents: bool) -> Event {
    let text = || Box::<str>::from(format!("text {n}, {}", "x".repeat(n % 50)));
    let kind = match n % 8 {
        0 => EventKind::Prompt { text: text(), synthetic: true },
        1 => EventKind::Message { text: text(), delta: true },
        2 => EventKind::Thinking { text: text() },
        3 => EventKind::ModelCall(ModelCall {
            id: Some(text()),
            model: Some(text()),
            tokens: Tokens { input: 1, output: 1, ..Tokens::default() },
            ..ModelCall::default()
        }),
        // One call without a result, and one with.
        4 | 5 => EventKind::ToolCall(ToolCall::new(
            format!("call {}", n - n % 8 + n % 2),
            format!("tool {n}"),
            Json::text(&text()),
        )),
        6 => EventKind::ToolResult(ToolResult::new(
            format!("call {}", n - n % 8 + 1),
            true,
            Some(text()),
        )),
        _ => EventKind::Handoff { to: text() },
    };
    let mut event = Event::new(Timestamp::UNIX_EPOCH, SESSION, kind);
    event.agent = has_many_agents.then(|| AgentId::from(format!("agent {}", n / 8)));
    event
}
