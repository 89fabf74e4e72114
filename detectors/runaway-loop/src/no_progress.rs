//! Model calls or handoffs without progress.

use watchkeeper_core::{Context, Event, EventKind, Fingerprint, Report, author::Place};

use crate::options::Of;

/// The model calls or handoffs of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProgress {
    n: u64,
    first: Option<Place>,
}

impl NoProgress {
    pub(crate) fn is_empty(&self) -> bool {
        self.n == 0
    }

    pub(crate) fn observe(&mut self, event: &Event, of: Of, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => {
                self.resolve("a person sent a prompt", of, cx);
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                self.resolve("a change succeeded", of, cx);
            }
            EventKind::ModelCall(_)
                if of == Of::Step && cx.usage().is_none_or(|usage| !usage.replaces) =>
            {
                self.count(of, cx);
            }
            EventKind::Handoff { .. } if of == Of::Handoff => self.count(of, cx),
            _ => {}
        }
    }

    fn count(&mut self, of: Of, cx: &mut Context<'_>) {
        if self.n == 0 {
            self.first = cx.place();
        }
        self.n += 1;
        let n = self.n;
        cx.report(Fingerprint::NONE, n, || {
            Report::new(format!("{} without progress", of.amount(n)))
                .with("count", n)
                .since(self.first.as_ref().map(Place::evidence))
        });
    }

    fn resolve(&mut self, reason: &str, of: Of, cx: &mut Context<'_>) {
        let Self { n, .. } = std::mem::take(self);
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {reason}", of.amount(n))).with("count", n)
        });
    }
}

impl Of {
    /// Returns a text such as "3 model calls".
    fn amount(self, n: u64) -> String {
        let noun = match self {
            Self::Cycle => "round",
            Self::Step => "model call",
            Self::Handoff => "handoff",
        };
        if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
    }
}
