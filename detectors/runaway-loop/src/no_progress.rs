//! Model calls without progress.

use watchkeeper_core::{Context, Event, EventKind, Fingerprint, Report, author::Place};

/// The model calls of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProgress {
    n: u64,
    first: Option<Place>,
}

impl NoProgress {
    pub(crate) fn is_empty(&self) -> bool {
        self.n == 0
    }

    pub(crate) fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { synthetic: false, .. } => {
                self.resolve("a person sent a prompt", cx);
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                self.resolve("a change succeeded", cx);
            }
            EventKind::ModelCall(_) if cx.usage().is_none_or(|usage| !usage.replaces) => {
                self.count(cx);
            }
            _ => {}
        }
    }

    fn count(&mut self, cx: &mut Context<'_>) {
        if self.n == 0 {
            self.first = cx.place();
        }
        self.n += 1;
        let n = self.n;
        cx.report(Fingerprint::NONE, n, || {
            Report::new(format!("{} without progress", amount(n)))
                .with("count", n)
                .since(self.first.as_ref().map(Place::evidence))
        });
    }

    fn resolve(&mut self, reason: &str, cx: &mut Context<'_>) {
        let Self { n, .. } = std::mem::take(self);
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {reason}", amount(n))).with("count", n)
        });
    }
}

fn amount(n: u64) -> String {
    if n == 1 { "1 model call".to_owned() } else { format!("{n} model calls") }
}
