//! What is done without progress.

use watchkeeper_core::{Context, Event, EventKind, Fingerprint, Place, Report};

use crate::Of;

/// What was done since the last progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fruitless {
    n: u64,
    since: Option<Place>,
}

impl Fruitless {
    pub(crate) fn is_new(&self) -> bool {
        self.n == 0
    }

    pub(crate) fn observe(&mut self, event: &Event, of: Of, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => {
                self.progress("a person spoke", of, cx);
            }
            EventKind::ToolResult(_) if cx.agent().is_changing => {
                self.progress("something was changed", of, cx);
            }
            EventKind::ModelCall(_)
                if of == Of::Step && cx.usage().is_none_or(|it| !it.replaces) =>
            {
                self.count(of, cx);
            }
            EventKind::Handoff { .. } if of == Of::Handoff => self.count(of, cx),
            _ => {}
        }
    }

    fn count(&mut self, of: Of, cx: &mut Context<'_>) {
        if self.n == 0 {
            self.since = cx.place();
        }
        self.n += 1;
        let n = self.n;
        cx.report(Fingerprint::NONE, n, || {
            Report::new(format!("{} without progress", of.times(n)))
                .with("count", n)
                .since(self.since.as_ref().map(Place::evidence))
        });
    }

    fn progress(&mut self, what: &str, of: Of, cx: &mut Context<'_>) {
        let Self { n, .. } = std::mem::take(self);
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {what}", of.times(n))).with("count", n)
        });
    }
}

impl Of {
    fn times(self, n: u64) -> String {
        let what = match self {
            Self::Cycle => "round",
            Self::Step => "model call",
            Self::Handoff => "handoff",
        };
        if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
    }
}
