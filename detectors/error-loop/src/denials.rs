//! Calls in a row that a rule, a hook or a classifier denied.

use watchkeeper_core::{
    Context, EventKind, Fingerprint, Report, Timestamp, ToolClass, ToolResult,
    author::{Cause, Place},
    quote,
};

/// The number of reads in a row after which the agent works without the denied calls.
/// Reads need no permission, so that fewer prove nothing.
const MAX_READS: u8 = 5;

/// The denied calls of one agent since another of its calls ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Denials {
    row: Option<Box<Row>>,
}

#[derive(Clone, Debug)]
struct Row {
    n: u64,
    /// The response of the latest denied call.
    response: Option<Fingerprint>,
    n_reads: u8,
    since: Timestamp,
    first: Option<Place>,
}

impl Denials {
    pub(crate) fn observe(&mut self, event: &EventKind, cx: &mut Context<'_>) {
        match event {
            EventKind::ToolResult(result) => match result.cause {
                Some(Cause::Blocked) => self.add(result, cx),
                Some(Cause::Declined) => self.end(cx, "a person declined a call"),
                Some(Cause::Sibling | Cause::Interrupted | Cause::Intercepted) => {}
                _ => self.add_finished(result, cx),
            },
            EventKind::Prompt { .. } => {
                if let Some(reason) = cx.agent().start().reason() {
                    self.end(cx, reason);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.row.is_none()
    }

    fn add(&mut self, result: &ToolResult, cx: &mut Context<'_>) {
        let call = cx.call();
        let response = call.and_then(|call| call.response);
        let row = self.row.get_or_insert_with(|| {
            Box::new(Row { n: 0, response: None, n_reads: 0, since: cx.now(), first: cx.place() })
        });
        // One rule denies all parallel calls. Each delegation is a task of its own.
        let is_same_response = response.is_some() && row.response == response;
        let is_delegation = call.is_some_and(|call| call.class == ToolClass::Delegate);
        (row.response, row.n_reads) = (response, 0);
        if is_same_response && !is_delegation {
            return;
        }
        row.n += 1;
        let (n, took) = (row.n, cx.within(cx.now().duration_since(row.since)));
        cx.report(Fingerprint::NONE, n, || {
            let mut text = match n {
                1 => "a call was denied, and no person was asked".to_owned(),
                _ => format!("{n} calls in a row were denied{took}, and no person was asked"),
            };
            if let Some(call) = call {
                text.push_str(": ");
                text.push_str(&quote(&call.tool));
            }
            let output = result.output.as_deref().unwrap_or_default().trim();
            if !output.is_empty() {
                text.push_str(if call.is_some() { " returned " } else { ": " });
                text.push_str(&quote(output));
            }
            Report::new(text).with("denials", n).since(row.first.as_ref().map(Place::evidence))
        });
    }

    /// Adds a call that ran to its end.
    fn add_finished(&mut self, result: &ToolResult, cx: &mut Context<'_>) {
        let Some(row) = &mut self.row else { return };
        if cx.call().is_some_and(|call| call.class == ToolClass::Read) {
            row.n_reads += u8::from(result.ok);
            if row.n_reads < MAX_READS {
                return;
            }
        }
        self.end(cx, "another call ran");
    }

    fn end(&mut self, cx: &mut Context<'_>, reason: &str) {
        let Some(row) = self.row.take() else { return };
        cx.resolve(Fingerprint::NONE, || {
            let n = row.n;
            Report::new(format!("no further denied calls after {n}: {reason}")).with("denials", n)
        });
    }
}
