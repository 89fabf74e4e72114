//! Model calls without progress.

use watchkeeper_core::{Context, Event, EventKind};

use crate::count::Count;

/// The model calls of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProgress {
    count: Count,
}

impl NoProgress {
    const NOUN: &'static str = "model call";

    pub(crate) fn is_empty(&self) -> bool {
        self.count.is_zero()
    }

    pub(crate) fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.count.reset(Self::NOUN, reason, cx);
                }
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                self.count.reset(Self::NOUN, "a change succeeded", cx);
            }
            EventKind::ModelCall(_) if cx.usage().is_none_or(|usage| !usage.replaces) => {
                self.count.add(Self::NOUN, cx);
            }
            _ => {}
        }
    }
}
