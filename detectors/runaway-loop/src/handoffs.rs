//! Handoffs between agents without progress.

use std::collections::VecDeque;

use watchkeeper_core::{Context, Event, EventKind, Fingerprint, Report, author::Place};

/// The number of latest results that are compared.
const MAX_RESULTS: usize = 16;

/// The handoffs of a session since its latest progress.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handoffs {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    n: u64,
    first: Option<Place>,
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
            return self.row.get_or_insert_default().count(cx);
        }
        let Some(row) = &mut self.row else { return };
        match &event.kind {
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    row.resolve(cx, reason);
                    self.row = None;
                }
            }
            EventKind::ToolResult(_) if cx.agent().has_new_change() => {
                row.resolve(cx, "a change succeeded");
            }
            EventKind::ToolResult(result) if result.ok => {
                let call = cx.call().map_or(Fingerprint::NONE, |call| call.fingerprint);
                if row.add(call.and(result.fingerprint.unwrap_or(Fingerprint::NONE))) {
                    row.resolve(cx, "a tool returned a new result");
                }
            }
            _ => {}
        }
    }
}

impl Row {
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

    fn resolve(&mut self, cx: &mut Context<'_>, reason: &str) {
        let n = std::mem::take(&mut self.n);
        self.first = None;
        cx.resolve(Fingerprint::NONE, || {
            Report::new(format!("progress after {}: {reason}", amount(n))).with("count", n)
        });
    }
}

fn amount(n: u64) -> String {
    if n == 1 { "1 handoff".to_owned() } else { format!("{n} handoffs") }
}
