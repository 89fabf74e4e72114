//! A session as the guards of agents see it: steps, and calls with answers.

use std::collections::BTreeMap;

use serde_json::Value;
use watchkeeper_core::{Event, EventKind, ToolCall, ToolClass, ToolResult};

/// What happened, in order.
pub(crate) enum Step<'a> {
    Prompt,
    /// A message, in the pieces in which it was streamed.
    Message(Vec<&'a str>),
    Thinking(&'a str),
    Call(Call<'a>),
    Compaction,
}

/// A call of a tool, with the answer it got in the end.
pub(crate) struct Call<'a> {
    pub(crate) made: &'a ToolCall,
    pub(crate) arguments: Value,
    pub(crate) answer: Option<&'a ToolResult>,
    /// What the agent thought since its last call.
    pub(crate) thought: String,
}

/// Reads events as steps.
pub(crate) fn steps(events: &[Event]) -> Vec<Step<'_>> {
    let mut answers = BTreeMap::new();
    for event in events {
        if let EventKind::ToolResult(it) = &event.kind {
            answers.insert(&*it.id, it);
        }
    }
    let mut res = Vec::new();
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
                    && let Some(Step::Message(pieces)) = res.last_mut()
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
                answer: answers.get(&*call.id).copied(),
                thought: std::mem::take(&mut thought),
            }),
            EventKind::Compaction { .. } => Step::Compaction,
            _ => continue,
        };
        res.push(step);
    }
    res
}

/// The stretches between prompts.
pub(crate) fn turns<'s, 'a>(steps: &'s [Step<'a>]) -> impl Iterator<Item = &'s [Step<'a>]> {
    steps.split(|it| matches!(it, Step::Prompt))
}

/// The calls among the steps.
pub(crate) fn calls<'s, 'a>(steps: &'s [Step<'a>]) -> Vec<&'s Call<'a>> {
    steps.iter().filter_map(Step::as_call).collect()
}

/// Whether somewhere the last `period` things come `times` times on end.
pub(crate) fn cycles<T>(
    things: &[T],
    period: usize,
    times: usize,
    is_same: impl Fn(&T, &T) -> bool,
) -> bool {
    let len = period * times;
    things.windows(len).any(|it| (period..len).all(|idx| is_same(&it[idx], &it[idx - period])))
}

impl<'a> Step<'a> {
    pub(crate) fn as_call(&self) -> Option<&Call<'a>> {
        match self {
            Self::Call(call) => Some(call),
            _ => None,
        }
    }

    /// The whole text of a message.
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

    /// The same tool with the same arguments, in whatever order these stand.
    pub(crate) fn asks_as(&self, other: &Self) -> bool {
        self.tool() == other.tool() && self.arguments == other.arguments
    }

    /// The same tool with arguments that are written the same.
    pub(crate) fn is_written_as(&self, other: &Self) -> bool {
        self.tool() == other.tool() && self.made.arguments == other.made.arguments
    }

    /// Both are answered, and by the same words.
    pub(crate) fn is_answered_as(&self, other: &Self) -> bool {
        let (Some(answer), Some(other)) = (self.answer, other.answer) else { return false };
        (answer.ok, &answer.output, answer.exit_code) == (other.ok, &other.output, other.exit_code)
    }

    /// The same call with the same answer.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        self.asks_as(other) && self.is_answered_as(other)
    }

    /// The tool failed; that nobody said no to it, or stopped it, is certain.
    pub(crate) fn failed(&self) -> bool {
        self.answer.is_some_and(ToolResult::failed)
    }

    /// What the tool said, if it is known.
    pub(crate) fn output(&self) -> &'a str {
        self.answer.and_then(|it| it.output.as_deref()).unwrap_or_default()
    }
}
