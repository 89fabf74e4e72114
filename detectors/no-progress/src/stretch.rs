use watchkeeper_core::{
    Context, Fingerprint, Report, Timestamp,
    author::{Contribution, Place},
};

use crate::{evidence::Evidence, main_cause::MainCause};

/// A stretch of work without progress, from its first step that added nothing.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) evidence: Evidence,
    steps: Steps,
    cause: MainCause,
    since: Timestamp,
    first: Option<Place>,
}

/// The number of steps of a stretch, by contribution.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    all: u32,
    nothing: u32,
    failed: u32,
    known: u32,
    repeated: u32,
}

impl Stretch {
    pub(crate) fn new(cx: &Context<'_>) -> Self {
        Self {
            evidence: Evidence::default(),
            steps: Steps::default(),
            cause: MainCause::default(),
            since: cx.now(),
            first: cx.place(),
        }
    }

    pub(crate) fn count(&mut self, contribution: Contribution, cx: &Context<'_>) {
        if let (Contribution::Failed, Some(cause)) = (contribution, cx.error_cause()) {
            self.cause.add(&cause);
        }
        let Steps { all, nothing, failed, known, repeated } = &mut self.steps;
        *all = all.saturating_add(1);
        let count = match contribution {
            Contribution::Nothing => nothing,
            Contribution::Failed => failed,
            Contribution::Known | Contribution::PartlyKnown => known,
            Contribution::RepeatedChange => repeated,
            _ => return,
        };
        *count = count.saturating_add(1);
    }

    pub(crate) fn report(&self, cx: &mut Context<'_>) {
        let within = cx.within(cx.now().duration_since(self.since));
        cx.report(Fingerprint::NONE, self.evidence.steps(), || {
            let Steps { all, nothing, failed, known, repeated } = self.steps;
            let cause = self.cause.describe().unwrap_or_default();
            let reasons: Vec<String> = [
                (nothing, "found nothing", ""),
                (failed, "failed", &*cause),
                (known, "returned known text", ""),
                (repeated, "repeated a change", ""),
            ]
            .into_iter()
            .filter(|(n, ..)| *n != 0)
            .map(|(n, reason, cause)| format!("{n} {reason}{cause}"))
            .collect();
            let reasons = reasons.join(", ");
            let n_without = nothing + failed + known + repeated;
            let steps = match all {
                1 => "the latest step".to_owned(),
                _ => format!("{n_without} of the last {all} steps{within}"),
            };
            Report::new(format!("{steps} made no progress: {reasons}"))
                .with("steps", all)
                .with("found_nothing", nothing)
                .with("failed", failed)
                .with("known", known)
                .with("repeated_changes", repeated)
                .since(self.first.as_ref().map(Place::evidence))
        });
    }
}
