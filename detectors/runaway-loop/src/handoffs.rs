//! Handoffs between agents without progress.

use std::collections::VecDeque;

use watchkeeper_core::{Context, Event, EventKind, Fingerprint};

use crate::count::Count;

/// The number of latest results that are compared.
const MAX_RESULTS: usize = 16;

const NOUN: &str = "handoff";

/// The handoffs of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handoffs {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    count: Count,
    /// The latest results with their calls, oldest first. A repeated result is
    /// no progress.
    results: VecDeque<Fingerprint>,
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
            EventKind::ToolResult(result) if result.ok => {
                let call = cx.call().map_or(Fingerprint::NONE, |call| call.fingerprint);
                if row.add(call.and(result.fingerprint.unwrap_or(Fingerprint::NONE))) {
                    row.count.reset(NOUN, "a tool returned a new result", cx);
                }
            }
            _ => {}
        }
    }
}

impl Row {
    /// Adds a result. Returns true if it is not among the latest results.
    fn add(&mut self, result: Fingerprint) -> bool {
        let is_new = !self.results.contains(&result);
        if is_new {
            if self.results.len() == MAX_RESULTS {
                self.results.pop_front();
            }
            self.results.push_back(result);
        }
        is_new
    }
}
