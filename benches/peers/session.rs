//! The input of a guard: a session as steps, and calls with their results.

use std::collections::BTreeMap;

use serde_json::Value;
use watchkeeper_core::{Event, EventKind, ToolCall, ToolClass, ToolResult};

/// One step of a session.
pub(crate) enum Step<'a> {
    Prompt,
    /// A message, as the pieces in which it was streamed.
    Message(Vec<&'a str>),
    Thinking(&'a str),
    Call(Call<'a>),
    Compaction,
}

/// A tool call and its result.
pub(crate) struct Call<'a> {
    pub(crate) made: &'a ToolCall,
    pub(crate) arguments: Value,
    pub(crate) result: Option<&'a ToolResult>,
    /// The thoughts since the previous call.
    pub(crate) thought: String,
}

/// Converts events to steps.
pub(crate) fn steps(events: &[Event]) -> Vec<Step<'_>> {
    let mut results = BTreeMap::new();
    for event in events {
        if let EventKind::ToolResult(result) = &event.kind {
            results.insert(&*result.id, result);
        }
    }
    let mut steps = Vec::new();
    let mut thought = String::new();
    let mut is_in_message = false;
    for event in events {
        let was_in_message = std::mem::take(&mut is_in_message);
        let step = match &event.kind {
            EventKind::Prompt { .. } => Step::Prompt,
            EventKind::Message { text, delta } => {
                is_in_message = *delta;
                if *delta
                    && was_in_message
                    && let Some(Step::Message(pieces)) = steps.last_mut()
                {
                    pieces.push(text);
                    continue;
                }
                Step::Message(vec![text])
            }
            EventKind::Thinking { text } => {
                thought.push_str(text);
                Step::Thinking(text)
            }
            EventKind::ToolCall(call) => Step::Call(Call {
                made: call,
                arguments: call.arguments.to_value(),
                result: results.get(&*call.id).copied(),
                thought: std::mem::take(&mut thought),
            }),
            EventKind::Compaction { .. } => Step::Compaction,
            _ => continue,
        };
        steps.push(step);
    }
    steps
}

/// Returns the steps between prompts, turn by turn.
pub(crate) fn turns<'s, 'a>(steps: &'s [Step<'a>]) -> impl Iterator<Item = &'s [Step<'a>]> {
    steps.split(|it| matches!(it, Step::Prompt))
}

/// Returns the tool calls.
pub(crate) fn calls<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<&'s Call<'a>> {
    steps.iter().filter_map(Step::as_call).collect()
}

/// Returns whether a block of `period` items occurs `times` times in a row.
pub(crate) fn cycles<T>(
    items: &[T],
    period: usize,
    times: usize,
    is_same: impl Fn(&T, &T) -> bool,
) -> bool {
    let len = period * times;
    items.windows(len).any(|it| (period..len).all(|idx| is_same(&it[idx], &it[idx - period])))
}

impl<'a> Step<'a> {
    pub(crate) fn as_call(&self) -> Option<&Call<'a>> {
        match self {
            Self::Call(call) => Some(call),
            _ => None,
        }
    }

    /// Returns the whole text of a message.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Message(pieces) => Some(pieces.concat()),
            _ => None,
        }
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
