//! Handoffs between agents without progress.

use watchkeeper_core::{Context, Event, EventKind};

use crate::{count::Count, latest_results::LatestResults};

const NOUN: &str = "handoff";

/// The handoffs of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handoffs {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    count: Count,
    results: LatestResults,
}

impl Handoffs {
    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    pub(crate) fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        if let EventKind::Handoff { .. } = event.kind {
            return self.row.get_or_insert_default().count.add(NOUN, cx);
        }
        let Some(row) = &mut self.row else { return };
        match &event.kind {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    row.count.reset(NOUN, reason, cx);
                    self.row = None;
                }
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                row.count.reset(NOUN, "a change succeeded", cx);
            }
            EventKind::ToolResult(result) if row.results.add(result, cx) => {
                row.count.reset(NOUN, "a tool returned a new result", cx);
            }
            _ => {}
        }
    }
}
