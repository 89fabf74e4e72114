//! Model calls without progress.

use watchkeeper_core::{Context, Event, EventKind};

use crate::{count::Count, latest_results::LatestResults, options::Progress};

/// The model calls of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct NoProgress {
    count: Count,
    /// With `progress = "result"`, the results since the first model call.
    results: Option<Box<LatestResults>>,
}

impl NoProgress {
    const NOUN: &'static str = "model call";

    pub(crate) fn is_empty(&self) -> bool {
        self.count.is_zero() && self.results.is_none()
    }

    pub(crate) fn observe(&mut self, event: &Event, progress: Progress, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.count.reset(Self::NOUN, reason, cx);
                    self.results = None;
                }
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                self.count.reset(Self::NOUN, "a change succeeded", cx);
            }
            EventKind::ToolResult(result) => {
                if let Some(results) = &mut self.results
                    && results.add(result, cx)
                {
                    self.count.reset(Self::NOUN, "a tool returned a new result", cx);
                }
            }
            EventKind::ModelCall(_) if cx.usage().is_none_or(|usage| !usage.replaces) => {
                if progress == Progress::Result {
                    self.results.get_or_insert_default();
                }
                self.count.add(Self::NOUN, cx);
            }
            _ => {}
        }
    }
}
