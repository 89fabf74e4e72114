//! Turns in a row that end in an error, and turns that end with the process of the client.

use watchkeeper_core::{Context, EventKind, Fingerprint, Report, Timestamp, author::Place, quote};

/// Parts of the errors that a harness records when a person stops a turn.
const INTERRUPTIONS: &[&str] = &[
    "messageabortederror",
    "interrupted by user",
    "interrupted by the user",
    "aborted by user",
    "aborted by the user",
    "user abort",
    "user interrupt",
    "canceled by user",
    "cancelled by user",
    "canceled by the user",
    "cancelled by the user",
];

/// The number of failed turns for which one counts whose client was killed: it writes no
/// error, and nothing follows.
const KILLED: u64 = 3;

/// The failed turns of one agent since its latest success.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailedTurns {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    n: u64,
    /// True if the turn of the latest error is over: a prompt followed.
    is_next_turn: bool,
    since: Timestamp,
    first: Option<Place>,
}

impl FailedTurns {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::Error { message, retry: None } if !is_interruption(message) => {
                self.add(message, cx);
            }
            EventKind::SessionEnd { reason: Some(reason) }
                if **reason == *EventKind::PROCESS_GONE =>
            {
                self.report_killed(cx);
            }
            EventKind::Prompt { .. } | EventKind::SessionStart(_) | EventKind::AgentStart => {
                if let Some(row) = &mut self.row {
                    row.is_next_turn = true;
                }
            }
            // A streamed part may belong to a response that was cut off.
            EventKind::Message { text, delta: false } if !text.trim_ascii().is_empty() => {
                self.end(cx, "the agent sent a message");
            }
            EventKind::ModelCall(call) if 0 < call.tokens.output => {
                self.end(cx, "the model responded");
            }
            EventKind::ToolResult(result) if result.ok => self.end(cx, "a tool succeeded"),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    fn add(&mut self, message: &str, cx: &mut Context<'_>) {
        let row = self.row.get_or_insert_with(|| {
            Box::new(Row { n: 0, is_next_turn: true, since: cx.now(), first: cx.place() })
        });
        // One turn may record its error twice.
        if !std::mem::take(&mut row.is_next_turn) {
            return;
        }
        row.n += 1;
        let (n, took) = (row.n, cx.within(cx.now().duration_since(row.since)));
        cx.report(Fingerprint::NONE, n, || {
            let mut text = match n {
                1 => "a turn ended in an error".to_owned(),
                _ => format!("{n} turns in a row ended in an error{took}"),
            };
            let message = message.trim();
            if !message.is_empty() {
                text.push_str(": ");
                text.push_str(&quote(message));
            }
            Report::new(text).with("turns", n).since(row.first.as_ref().map(Place::evidence))
        });
    }

    /// Reports the end of the process amid a turn. The end of the session then resolves
    /// the finding.
    fn report_killed(&mut self, cx: &mut Context<'_>) {
        let row = self.row.take();
        let n = row.as_ref().map_or(1, |row| row.n + 1);
        cx.report(Fingerprint::NONE, n.max(KILLED), || {
            let text = "the process of the client ended amid a turn";
            Report::new(text).with("turns", n)
        });
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(row) = self.row.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = row.n;
            Report::new(format!("no further failed turns after {n}: {reason}")).with("turns", n)
        });
    }
}

fn is_interruption(message: &str) -> bool {
    // The errors of interruptions are short.
    let message = message.get(..200).unwrap_or(message).to_ascii_lowercase();
    INTERRUPTIONS.iter().any(|part| message.contains(part))
}
