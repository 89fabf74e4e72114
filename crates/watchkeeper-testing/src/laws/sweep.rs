//! Hostile text in every place of a trace that makes the detector report.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use watchkeeper_core::{Event, EventKind};

use super::{
    bounded,
    law::{Broken, Failure, Law},
    minimize::minimize,
    runs::Subject,
};
use crate::hostile::{self, HUGE, Noise};

/// The number of repetitions of the whole trace.
const N_ROUNDS: usize = 30;
/// The number of events that are played at most.
const MAX_EVENTS: usize = 6_000;
/// The state that a detector may need while it reads a huge text, in bytes of
/// `Debug` output.
const MAX_STATE: usize = HUGE - 10_000;

/// Plays a trace many times, with odd arguments, and with each of its texts
/// replaced by hostile ones.
pub(super) fn check(subject: &Subject, trace: &[Event]) -> Result<(), Broken> {
    let state = format!("{:?}", subject.pristine.detector).len();
    let try_events = |events: Vec<Event>| {
        let Err((law, message)) = examine(subject, &events, state) else { return Ok(()) };
        let mut latest = message;
        let events = minimize(events, |candidate| match examine(subject, candidate, state) {
            Err((other, message)) if other == law => {
                latest = message;
                true
            }
            _ => false,
        });
        Err(Broken { law: Some(law), message: latest, events: Some(events) })
    };
    try_events(repeated(trace, false))?;
    try_events(repeated(trace, true))?;
    let variants = variants(trace);
    let max_variants = (MAX_EVENTS / trace.len().max(1)).max(1);
    let stride = variants.len().div_ceil(max_variants).max(1);
    for variant in variants.iter().step_by(stride) {
        try_events(variant.apply(trace))?;
    }
    Ok(())
}

/// Fails if the detector panics, a message is not legible, or the state contains a
/// huge text.
fn examine(subject: &Subject, events: &[Event], pristine: usize) -> Result<(), Failure> {
    let samples = bounded::Samples::default();
    subject.run_checked(events)?;
    let has_huge_text = events.iter().any(|event| {
        let mut is_huge = false;
        hostile::change_texts(&mut event.clone(), &mut |text| {
            is_huge |= HUGE <= text.len();
            None
        });
        is_huge
    });
    if !has_huge_text {
        return Ok(());
    }
    let mut engine = subject.engine(bounded::measured(&subject.pristine, &samples, 1));
    let mut findings = Vec::new();
    for event in events {
        engine.observe(event, &mut findings);
    }
    let largest = samples.sizes().into_iter().max().unwrap_or(0).saturating_sub(pristine);
    if MAX_STATE < largest {
        let message = format!(
            "it keeps long texts: its `Debug` output has {largest} bytes after a text of {HUGE}; \
             keep a fingerprint, or a short part that `quote` returns"
        );
        return Err((Law::Bounded, message));
    }
    Ok(())
}

/// Repeats the trace at one time or at its own pace.
fn repeated(trace: &[Event], is_at_once: bool) -> Vec<Event> {
    let mut events = Vec::new();
    let Some((first, last)) = trace.first().zip(trace.last()) else { return events };
    let length = last.at.duration_since(first.at);
    let n_rounds = N_ROUNDS.min(MAX_EVENTS / trace.len()).max(1);
    for round in 0..n_rounds {
        for event in trace {
            let mut event = event.clone();
            hostile::renumber(&mut event, round);
            let shift = i32::try_from(round).map_or(length, |round| length * round);
            event.at = if is_at_once {
                first.at
            } else {
                event.at.saturating_add(shift).unwrap_or(event.at)
            };
            events.push(event);
        }
    }
    events
}

/// A change of a trace.
enum Variant {
    /// Replaces a text wherever it is.
    Replace(String, Value),
    /// Makes a text huge wherever it is, except in names and ids.
    Lengthen(String),
    /// Replaces the arguments of each call.
    Arguments(Value),
    /// Replaces texts and arguments at random.
    Disturb(u64),
}

impl Variant {
    fn apply(&self, trace: &[Event]) -> Vec<Event> {
        let mut events = trace.to_vec();
        let mut noise = match self {
            Self::Disturb(seed) => Noise::new(*seed),
            _ => Noise::new(0),
        };
        for event in &mut events {
            match self {
                Self::Replace(old, new) => {
                    hostile::change_texts(event, &mut |text| (text == old).then(|| new.clone()));
                }
                Self::Lengthen(old) => {
                    let huge = Value::from(format!("{old}{}", "x".repeat(HUGE)));
                    if !is_name(event, old) {
                        hostile::change_texts(event, &mut |text| {
                            (text == old).then(|| huge.clone())
                        });
                    }
                }
                Self::Arguments(arguments) => hostile::replace_arguments(event, arguments),
                Self::Disturb(_) => hostile::disturb(event, &mut noise),
            }
        }
        events
    }
}

/// Returns whether a text is a name or an id in an event.
fn is_name(event: &Event, text: &str) -> bool {
    if event.agent.as_ref().is_some_and(|agent| agent.as_str() == text) {
        return true;
    }
    match &event.kind {
        EventKind::ToolCall(call) => {
            [Some(&*call.id), Some(&*call.tool), call.response.as_deref()].contains(&Some(text))
        }
        EventKind::ToolResult(result) => &*result.id == text,
        EventKind::Prompt { .. }
        | EventKind::Message { .. }
        | EventKind::Thinking { .. }
        | EventKind::Error { .. } => false,
        _ => true,
    }
}

fn variants(trace: &[Event]) -> Vec<Variant> {
    const MAX_TEXTS: usize = 60;
    let mut texts = BTreeSet::new();
    for event in trace {
        hostile::change_texts(&mut event.clone(), &mut |text| {
            if texts.len() < MAX_TEXTS && text.len() < HUGE {
                texts.insert(text.to_owned());
            }
            None
        });
    }
    let has_calls = trace.iter().any(|event| matches!(event.kind, EventKind::ToolCall(_)));
    let mut variants: Vec<_> = (0..20).map(Variant::Disturb).collect();
    if has_calls {
        variants.extend(hostile::ODD_ARGUMENTS.iter().map(|odd| Variant::Arguments(odd())));
    }
    for text in &texts {
        for hostile in hostile::TEXTS {
            let hostile = hostile();
            let longer = Value::from(format!("{text}{hostile}"));
            variants.push(Variant::Replace(text.clone(), longer));
            variants.push(Variant::Replace(text.clone(), Value::from(hostile)));
        }
        variants.push(Variant::Lengthen(text.clone()));
        for odd in [Value::Null, json!(7), json!([text]), json!({ "text": text })] {
            variants.push(Variant::Replace(text.clone(), odd));
        }
    }
    variants
}
