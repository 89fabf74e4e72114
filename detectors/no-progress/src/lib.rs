#![doc = include_str!("../README.md")]

mod evidence;
mod main_cause;
mod options;
mod stretch;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use watchkeeper_core::{
    Context, Detector, DetectorKind, Event, EventKind, EventSet, Fingerprint, InvalidOption, Level,
    Report, Severity, Subscription,
    author::{Call, Contribution},
    quote,
};

use crate::stretch::Stretch;
pub use crate::{
    evidence::{Evidence, Reset, Weights},
    options::{NoProgressOptions, Progress},
};

/// Finds agents that are busy without progress.
#[derive(Clone, Debug)]
pub struct NoProgress {
    options: Arc<NoProgressOptions>,
    stretch: Option<Box<Stretch>>,
}

watchkeeper_core::register!(NoProgress);

impl DetectorKind for NoProgress {
    const KIND: &'static str = "no-progress";
    const DOCS: &'static str = include_str!("../README.md");
    const CLASS: &'static str = "runaway";
    const LEVELS: &'static [Level] = &[
        Level::new(5, Severity::Low),
        Level::new(6, Severity::Medium),
        Level::new(12, Severity::High),
    ];
    const LIMIT: u64 = 6;
    type Options = NoProgressOptions;

    fn new(options: NoProgressOptions) -> Result<Self, InvalidOption> {
        if options.classes.as_ref().is_some_and(Vec::is_empty) {
            return Err(InvalidOption::new("classes", "the list is empty; name a class"));
        }
        Ok(Self { options: Arc::new(options), stretch: None })
    }
}

impl Detector for NoProgress {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.end(cx, reason);
                }
            }
            // A new result begins no stretch.
            EventKind::ToolResult(_) if self.stretch.is_none() && cx.has_new_text() => {}
            EventKind::ToolResult(_) => {
                let (Some(call), Some(contribution)) = (cx.call(), cx.contribution()) else {
                    return;
                };
                // A change is progress, whatever the class of its tool.
                if contribution == Contribution::Change || self.options.includes(call.class) {
                    self.add_step(call, contribution, cx);
                }
            }
            _ => {}
        }
    }

    fn subscription(&self) -> Subscription {
        const RESULTS: EventSet = EventSet::of(&["tool_result"]);
        Subscription::to(RESULTS.or(EventSet::of(&["prompt"])))
            .starting_with(EventSet::RESULTS_WITHOUT_NEW_TEXT)
            .with_contributions()
    }

    fn is_idle(&self) -> bool {
        self.stretch.is_none()
    }
}

impl NoProgress {
    fn add_step(&mut self, call: &Call, contribution: Contribution, cx: &mut Context<'_>) {
        let weights = match self.options.progress {
            Progress::Any => Weights::FITTED,
            Progress::Change => Weights::FITTED.of_changes(),
        };
        let adds_evidence = weights.of(contribution) != 0;
        if contribution == Contribution::Neutral || self.stretch.is_none() && !adds_evidence {
            return;
        }
        let stretch = self.stretch.get_or_insert_with(|| Box::new(Stretch::new(cx)));
        let before = stretch.evidence.half_steps();
        stretch.count(contribution, cx);
        let reset = stretch.evidence.add(contribution, call.response, &weights);
        let after = stretch.evidence.half_steps();
        cx.note(|| explanation(&call.tool, contribution, before, after));
        match reset {
            Some(Reset::Change) => self.end(cx, "a change was made"),
            Some(Reset::New) => self.end(cx, "results were new"),
            None if adds_evidence => stretch.report(cx),
            None => {}
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        if self.stretch.take().is_some() {
            let report = || Report::new(format!("no further steps without progress: {reason}"));
            cx.resolve(Fingerprint::NONE, report);
        }
    }
}

/// Returns the contribution of a step, and the change of the evidence in half steps, in words.
fn explanation(tool: &str, contribution: Contribution, before: u32, after: u32) -> String {
    let words = match contribution {
        Contribution::Change => "made a change, which starts over",
        Contribution::New => "returned new text",
        Contribution::PartlyKnown => "returned text that is half new",
        Contribution::Known => "returned known text",
        Contribution::RepeatedChange => "repeated a change",
        Contribution::Nothing => "found nothing",
        Contribution::Failed => "failed",
        Contribution::Neutral => "is no step",
        _ => "contributed",
    };
    let tool = quote(tool);
    match (before, after) {
        _ if contribution == Contribution::Change => format!("{tool} {words}"),
        (before, after) if after < before => {
            format!("{tool} {words}: -{}", steps(before - after))
        }
        (before, after) => format!("{tool} {words}: +{}", steps(after - before)),
    }
}

/// Returns a number of half steps as text, such as `1/2 step` and `1 step`.
fn steps(half_steps: u32) -> String {
    match half_steps {
        0 => "0 steps".to_owned(),
        1 => "1/2 step".to_owned(),
        2 => "1 step".to_owned(),
        n if n % 2 == 0 => format!("{} steps", n / 2),
        n => format!("{} 1/2 steps", n / 2),
    }
}
