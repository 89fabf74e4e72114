//! Turns in a row that end in an error, and turns that end with the process of the client.

use watchkeeper_core::{
    Context, Event, EventKind, Fingerprint, Report, Timestamp, author::Place, quote,
};

use crate::reasons::Reason;

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

/// The number of failed turns for which one counts that ended for a reason which only a
/// person can remove. The turn is lost, and so are those after it.
const LOST: u64 = 6;

/// The same for a turn of a sub-agent: its parent goes on, or reports the reason itself.
const LOST_OF_SUB_AGENT: u64 = 3;

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
    pub(crate) fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        match &event.kind {
            EventKind::Error { message, retry: None } if !is_interruption(message) => {
                self.add(message, event.agent.is_some(), cx);
            }
            EventKind::SessionEnd { reason: Some(reason) }
                if **reason == *EventKind::PROCESS_GONE =>
            {
                self.report_killed(cx);
            }
            EventKind::Prompt { .. }
            | EventKind::SessionStart(_)
            | EventKind::AgentStart { .. } => {
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

    fn add(&mut self, message: &str, is_sub_agent: bool, cx: &mut Context<'_>) {
        let row = self.row.get_or_insert_with(|| {
            Box::new(Row { n: 0, is_next_turn: true, since: cx.now(), first: cx.place() })
        });
        let reason = Reason::of(message);
        // One turn may record its error twice, and only one of them states the reason.
        let is_first = std::mem::take(&mut row.is_next_turn);
        if !is_first && reason.is_none() {
            return;
        }
        row.n += u64::from(is_first);
        let (n, took) = (row.n, cx.within(cx.now().duration_since(row.since)));
        let least = match reason {
            None => 0,
            Some(_) if is_sub_agent => LOST_OF_SUB_AGENT,
            Some(_) => LOST,
        };
        cx.report(Fingerprint::NONE, n.max(least), || {
            let mut text = match (n, reason) {
                (1, None) => "a turn ended in an error".to_owned(),
                (1, Some(reason)) => reason.text().to_owned(),
                (_, None) => format!("{n} turns in a row ended in an error{took}"),
                (_, Some(reason)) => format!("{}; {n} turns in a row failed{took}", reason.text()),
            };
            let message = message.trim();
            if !message.is_empty() {
                text.push_str(": ");
                text.push_str(&quote(message));
            }
            let report = Report::new(text).with("turns", n);
            let report = match reason {
                Some(reason) => report.with("reason", reason.name()),
                None => report,
            };
            report.since(row.first.as_ref().map(Place::evidence))
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
