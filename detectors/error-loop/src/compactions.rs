//! Compactions of the context without work in between.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, Timestamp, author::Place};

/// The compactions of one agent without work in between.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compactions {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    n: u64,
    since: Timestamp,
    first: Option<Place>,
}

impl Compactions {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Compaction { .. } => self.add(cx),
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.end(cx, reason);
                }
            }
            EventKind::Message { text, .. } if !text.trim_ascii().is_empty() => {
                self.end(cx, "the agent sent a message");
            }
            EventKind::ToolResult(result) if result.ok => self.end(cx, "a tool succeeded"),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    fn add(&mut self, cx: &mut Context<'_>) {
        let row = self
            .row
            .get_or_insert_with(|| Box::new(Row { n: 0, since: cx.now(), first: cx.place() }));
        row.n += 1;
        let (n, took) = (row.n, cx.within(cx.now().duration_since(row.since)));
        cx.report(Fingerprint::NONE, n, || {
            Report::new(match n {
                1 => "the context was compacted once".to_owned(),
                _ => format!("the context was compacted {n} times{took}, without work in between"),
            })
            .with("compactions", n)
            .since(row.first.as_ref().map(Place::evidence))
        });
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(row) = self.row.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = row.n;
            Report::new(format!("no further compactions after {n}: {reason}"))
                .with("compactions", n)
        });
    }
}
