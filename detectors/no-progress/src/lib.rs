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
        Level::new(7, Severity::Medium),
        Level::new(14, Severity::High),
    ];
    const LIMIT: u64 = 7;
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
            EventKind::ToolResult(_) => {
                if let (Some(call), Some(contribution)) = (cx.call(), cx.contribution())
                    && self.options.includes(call.class)
                {
                    self.add_step(call, contribution, cx);
                }
            }
            _ => {}
        }
    }

    fn subscription(&self) -> Subscription {
        const RESULTS: EventSet = EventSet::of(&["tool_result"]);
        Subscription::to(RESULTS.or(EventSet::of(&["prompt"]))).starting_with(RESULTS)
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
        cx.note(|| explanation(call, contribution, &weights));
        let adds_evidence = weights.of(contribution) != 0;
        if contribution == Contribution::Neutral || self.stretch.is_none() && !adds_evidence {
            return;
        }
        let stretch = self.stretch.get_or_insert_with(|| Box::new(Stretch::new(cx)));
        stretch.count(contribution, cx);
        match stretch.evidence.add(contribution, call.response, &weights) {
            Some(Reset::Change) => self.end(cx, "a change was made"),
            Some(Reset::New) => self.end(cx, "results were new"),
            None if adds_evidence => stretch.report(cx),
            None => {}
        }
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        if self.stretch.take().is_some() {
            cx.resolve(Fingerprint::NONE, || Report::new(format!("progress again: {reason}")));
        }
    }
}

/// Returns the contribution of a step in words, for an explanation.
fn explanation(call: &Call, contribution: Contribution, weights: &Weights) -> String {
    let tool = quote(&call.tool);
    let words = match contribution {
        Contribution::Change => "made a change, which starts over",
        Contribution::New => "returned new text",
        Contribution::PartlyKnown => "returned text that is known by half",
        Contribution::Known => "returned known text",
        Contribution::RepeatedChange => "repeated a change",
        Contribution::Nothing => "found nothing",
        Contribution::Failed => "failed",
        _ => "counts as no step",
    };
    match (weights.of(contribution), contribution) {
        (0, Contribution::New) if weights.new != 0 => {
            format!("{tool} {words}: -{} steps", steps(weights.new))
        }
        (0, _) => format!("{tool} {words}"),
        (added, _) => format!("{tool} {words}: +{} steps", steps(added)),
    }
}

/// Returns a number of half steps as a number of steps.
fn steps(half_steps: u32) -> f64 {
    f64::from(half_steps) / 2.0
}
