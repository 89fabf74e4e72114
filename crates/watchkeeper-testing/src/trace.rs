//! Traces: events with their times.

mod parse;
#[cfg(all(test, feature = "laws"))]
mod tests;
mod write;

use std::fmt;

use jiff::{
    SignedDuration, Timestamp,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};
use watchkeeper_core::{Event, author::untimed};

/// The session of events that do not name one.
pub(crate) const SESSION: &str = "s1";

/// Events with their times.
///
/// In text form, each line consists of a time and an event. The time is an offset
/// from the start or, with a `+`, from the previous line:
///
/// ```text
/// 0s    session_start cwd=/work model=gpt-5 label.team=payments
/// 0s    prompt fix the build
/// 5s    synthetic a prompt made by the harness
/// 8s    thinking about it
/// 9s    message on my way
/// 9s    delta a piece of a message
/// 10s   usage id=m1 model=gpt-5 input=1000 output=20 cache_read=9000 context=400000
/// 10s   call Bash {"command": "make"}
/// 12s   result fail exit 2 no rule to make target
/// 13s   call #c9 Read @response-3 README.md
/// 14s   result #c9 ok
/// 15s   wait permission
/// 20s   resume permission
/// 21s   error retry=1 overloaded
/// 30s   compaction before=150000 after=9000
/// 31s   handoff reviewer
/// 32s   agent a1: agent_start
/// 32s   agent a2: agent_start parent=a1
/// 33s   session s2: agent a1: message hello
/// 40s   repeat 4 every 5s: call Bash make ;; result fail no rule
/// 70s   turn_end
/// 80s   session_end done
/// +5m   advance
/// advance 10m
/// ```
///
/// A `result` without an id belongs to the latest pending call of its agent. Its
/// status is `ok`, `fail`, `declined`, `sibling`, `interrupted` or `timeout`. The
/// output of a `result` without text is unknown. `context` is the size of the
/// context window in tokens. `usage` also accepts the names of NDJSON, such as
/// `input_tokens` and `cost_usd`. Text that starts with a quotation mark is a JSON
/// string, so any text can be written. A line that starts with `#` is a comment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    steps: Vec<Step>,
}

/// One step of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An event.
    Event(Event),
    /// The time advances without an event.
    Advance(Timestamp),
}

/// The error of a text that is not a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceError {
    line: usize,
    message: String,
}

impl Trace {
    /// The steps, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The events, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> + '_ {
        self.steps.iter().filter_map(|step| match step {
            Step::Event(event) => Some(event),
            Step::Advance(_) => None,
        })
    }
}

impl From<Vec<Event>> for Trace {
    fn from(events: Vec<Event>) -> Self {
        Self { steps: events.into_iter().map(Step::Event).collect() }
    }
}

impl TraceError {
    /// The number of the invalid line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The problem of the line.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for TraceError {}

/// Writes the time since the start of all traces.
pub(crate) fn offset(at: Timestamp) -> String {
    const PRINTER: SpanPrinter =
        SpanPrinter::new().designator(Designator::Compact).spacing(Spacing::None);
    let start = if at < Timestamp::UNIX_EPOCH { untimed(0) } else { Timestamp::UNIX_EPOCH };
    let since: SignedDuration = at.duration_since(start);
    PRINTER.duration_to_string(&since)
}
