//! The input of a guard: a session as steps, and calls with their results.

use std::collections::BTreeMap;

use serde_json::Value;
use watchkeeper_core::{AgentId, Event, EventKind, ToolCall, ToolClass, ToolResult};
use watchkeeper_testing::labels::StepCounter;

use crate::reports::Numbered;

/// One step of an agent.
pub(crate) struct Step<'a> {
    /// The number of tool calls in the session file so far.
    number: u64,
    pub(crate) kind: StepKind<'a>,
}

pub(crate) enum StepKind<'a> {
    Prompt,
    /// A message, as the pieces in which it was streamed.
    Message(Vec<&'a str>),
    Thinking(&'a str),
    Call(Call<'a>),
    Compaction,
}

/// A tool call and its result.
pub(crate) struct Call<'a> {
    /// The number of tool calls in the session file so far.
    number: u64,
    pub(crate) made: &'a ToolCall,
    pub(crate) arguments: Value,
    pub(crate) result: Option<&'a ToolResult>,
    /// The thoughts since the previous call.
    pub(crate) thought: String,
}

/// Converts the events of a session to the steps of each of its agents. A guard runs in one agent.
pub(crate) fn agents(events: &[Event]) -> Vec<Vec<Step<'_>>> {
    let mut agents: BTreeMap<Option<&AgentId>, Agent<'_>> = BTreeMap::new();
    for event in events {
        if let EventKind::ToolResult(result) = &event.kind {
            let agent = agents.entry(event.agent.as_ref()).or_default();
            agent.results.insert(&*result.id, result);
        }
    }
    let mut counter = StepCounter::default();
    for event in events {
        counter.observe(event);
        let agent = agents.entry(event.agent.as_ref()).or_default();
        agent.add(event, counter.count());
    }
    agents.into_values().map(|agent| agent.steps).collect()
}

#[derive(Default)]
struct Agent<'a> {
    steps: Vec<Step<'a>>,
    results: BTreeMap<&'a str, &'a ToolResult>,
    thought: String,
    /// Whether the latest event is a piece of a message.
    is_in_message: bool,
}

impl<'a> Agent<'a> {
    fn add(&mut self, event: &'a Event, number: u64) {
        let was_in_message = std::mem::take(&mut self.is_in_message);
        let kind = match &event.kind {
            EventKind::Prompt { .. } => StepKind::Prompt,
            EventKind::Message { text, delta } => {
                self.is_in_message = *delta;
                if *delta
                    && was_in_message
                    && let Some(Step { kind: StepKind::Message(pieces), .. }) =
                        self.steps.last_mut()
                {
                    pieces.push(text);
                    return;
                }
                StepKind::Message(vec![text])
            }
            EventKind::Thinking { text } => {
                self.thought.push_str(text);
                StepKind::Thinking(text)
            }
            EventKind::ToolCall(call) => StepKind::Call(Call {
                number,
                made: call,
                arguments: call.arguments.to_value(),
                result: self.results.get(&*call.id).copied(),
                thought: std::mem::take(&mut self.thought),
            }),
            EventKind::Compaction { .. } => StepKind::Compaction,
            _ => return,
        };
        self.steps.push(Step { number, kind });
    }
}

/// Returns the steps between prompts, turn by turn.
pub(crate) fn turns<'s, 'a>(steps: &'s [Step<'a>]) -> impl Iterator<Item = &'s [Step<'a>]> {
    steps.split(|it| matches!(it.kind, StepKind::Prompt))
}

/// Returns the tool calls.
pub(crate) fn calls<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<&'s Call<'a>> {
    steps.iter().filter_map(Step::as_call).collect()
}

/// Returns the indices of the items with which a block of `period` items has occurred `times` times
/// in a row.
pub(crate) fn cycles<T>(
    items: &[T],
    period: usize,
    times: usize,
    is_same: impl Fn(&T, &T) -> bool,
) -> impl Iterator<Item = usize> {
    let mut n_same = 0;
    (period..items.len()).filter(move |idx| {
        n_same = if is_same(&items[*idx], &items[idx - period]) { n_same + 1 } else { 0 };
        period * (times - 1) <= n_same
    })
}

impl<'a> Step<'a> {
    pub(crate) fn as_call(&self) -> Option<&Call<'a>> {
        match &self.kind {
            StepKind::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Returns the pieces of a message.
    pub(crate) fn pieces(&self) -> Option<&[&'a str]> {
        match &self.kind {
            StepKind::Message(pieces) => Some(pieces),
            _ => None,
        }
    }

    /// Returns the whole text of a message.
    pub(crate) fn message(&self) -> Option<String> {
        self.pieces().map(<[&str]>::concat)
    }
}

impl Numbered for Step<'_> {
    fn number(&self) -> u64 {
        self.number
    }
}

impl Numbered for Call<'_> {
    fn number(&self) -> u64 {
        self.number
    }
}

impl<'a> Call<'a> {
    pub(crate) fn tool(&self) -> &'a str {
        &self.made.tool
    }

    pub(crate) fn is(&self, class: ToolClass) -> bool {
        self.made.class == class
    }

    /// Returns whether tool and arguments are equal, in any order of the arguments' keys.
    pub(crate) fn is_same_call(&self, other: &Self) -> bool {
        self.tool() == other.tool() && self.arguments == other.arguments
    }

    /// Returns whether the tool and the text of the arguments are equal.
    pub(crate) fn is_same_text(&self, other: &Self) -> bool {
        self.tool() == other.tool() && self.made.arguments == other.made.arguments
    }

    /// Returns whether both calls have results, and these are equal.
    pub(crate) fn has_same_result(&self, other: &Self) -> bool {
        let (Some(result), Some(other)) = (self.result, other.result) else { return false };
        (result.ok, &result.output, result.exit_code) == (other.ok, &other.output, other.exit_code)
    }

    /// Returns whether calls and results are equal.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        self.is_same_call(other) && self.has_same_result(other)
    }

    /// Returns whether the tool failed, as opposed to a call that was declined or interrupted.
    pub(crate) fn failed(&self) -> bool {
        self.result.is_some_and(ToolResult::failed)
    }

    /// Returns the output of the tool, or an empty text.
    pub(crate) fn output(&self) -> &'a str {
        self.result.and_then(|it| it.output.as_deref()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::cycles;

    #[test]
    fn cycles_end_with_each_item_that_continues_them() {
        let ends = |items: &[u8], period, times| -> Vec<usize> {
            cycles(items, period, times, |a, b| a == b).collect()
        };
        assert_eq!(ends(b"aaaab", 1, 3), [2, 3]);
        assert_eq!(ends(b"xababab", 2, 3), [6]);
        assert_eq!(ends(b"abababa", 2, 3), [5, 6]);
        assert_eq!(ends(b"aabaab", 1, 3), [0; 0]);
        assert_eq!(ends(b"", 1, 2), [0; 0]);
    }
}
