//! The events of an entry of a file.

use watchkeeper_core::{
    EventKind, Fingerprint, Json, ModelCall, ToolCall, ToolClass, ToolResult,
    author::{EventSink, SessionStart},
};

use super::{entry::Entry, state::State, usage::Used};
use crate::{
    document::{LineCounter, Part, compact},
    json::{Malformed, Text, decode},
    targets,
};

/// Emits the events of an entry: in `sdk.rs`, or in `trajectory.rs` for earlier versions.
pub(super) struct EntryEvents<'l, 's> {
    pub(super) entry: &'l Entry<'l>,
    lines: LineCounter<'l>,
    pub(super) state: &'l mut State,
    pub(super) sink: &'l mut EventSink<'s>,
}

pub(super) const COMPACTION: EventKind =
    EventKind::Compaction { before_tokens: None, after_tokens: None };

/// Reads an entry of a list, or the only entry of a file.
pub(super) fn read_entry(
    part: &Part<'_>,
    state: &mut State,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let entry = &Entry::parse(part.text)?;
    state.begin_entry(entry, part.text, sink);
    let mut lines = part.lines();
    sink.at_line(lines.line_of(0));
    let mut events = EntryEvents { entry, lines, state, sink };
    match entry.kind {
        Some(kind) => events.read_sdk(kind.raw()),
        None => events.read_trajectory(),
    }
}

/// Emits the end of a benchmark task at the end of its list.
pub(super) fn end_list(state: &mut State, sink: &mut EventSink<'_>) {
    let task = state.task.take();
    state.start = SessionStart::default();
    if !std::mem::take(&mut state.is_in_list) {
        return;
    }
    if let Some(task) = task {
        state.delegates.clear();
        state.is_new_entry = state.is_new(Fingerprint::of("end"), sink);
        state.emit(EventKind::SessionEnd { reason: task.error }, sink);
    }
}

impl State {
    /// Emits the start of the session or the sub-agent, once.
    pub(super) fn emit_start(&mut self, sink: &mut EventSink<'_>) {
        if self.is_new_entry
            && !std::mem::replace(&mut self.has_started, true)
            && self.is_new(Fingerprint::of("start"), sink)
        {
            let start = match self.agent {
                Some(_) => EventKind::AgentStart { parent: self.names.parent.clone() },
                None => EventKind::SessionStart(self.start.clone()),
            };
            sink.event(self.now, &self.session, self.agent.as_ref(), start);
        }
    }

    /// Emits an event, unless the entry was read before.
    pub(super) fn emit(&mut self, kind: EventKind, sink: &mut EventSink<'_>) {
        let ends_turn = matches!(kind, EventKind::TurnEnd);
        let was_over = std::mem::replace(&mut self.is_turn_over, ends_turn);
        if !self.is_new_entry || ends_turn && was_over {
            return;
        }
        self.emit_start(sink);
        let agent = self.delegates.last().or(self.agent.as_ref());
        sink.event(self.now, &self.session, agent, kind);
    }

    /// Emits a model call, unless its usage is zero.
    pub(super) fn emit_usage(
        &mut self,
        id: Option<Box<str>>,
        model: Option<Text<'_>>,
        used: Used,
        sink: &mut EventSink<'_>,
    ) {
        let (tokens, cost_usd) = (used.tokens(), used.cost_usd());
        if 0 < tokens.total() || cost_usd.is_some() {
            let model = model.map(Text::boxed);
            let call = ModelCall { id, model, tokens, cost_usd, ..ModelCall::default() };
            self.emit(EventKind::ModelCall(call), sink);
        }
    }
}

impl EntryEvents<'_, '_> {
    pub(super) fn emit(&mut self, kind: EventKind) {
        self.state.emit(kind, self.sink);
    }

    /// Emits a message, unless it is empty.
    pub(super) fn emit_message(&mut self, text: &str) {
        if !text.trim().is_empty() {
            let text = text.trim_end().into();
            self.emit(EventKind::Message { text, delta: false });
        }
    }

    pub(super) fn emit_prompt(&mut self, text: Box<str>, synthetic: bool) {
        let synthetic = synthetic || is_nudge(&text);
        self.emit(EventKind::Prompt { text, synthetic });
    }

    /// Emits a call of `tool`. Without a `class`, the name determines the class.
    pub(super) fn emit_call(
        &mut self,
        id: &str,
        tool: &str,
        class: Option<ToolClass>,
        volatile: &[&str],
    ) {
        let entry = self.entry;
        let (tool, of_name) = self.state.tools.get(tool, |_| None);
        let arguments = match (entry.arguments(), entry.raw_arguments()) {
            (Some(raw), _) => Json::parse_or_text(&compact(&decode(raw))),
            (None, Some(text)) => Json::parse_or_text(&text.read()),
            (None, None) => Json::parse_or_text("null"),
        };
        let class = class.unwrap_or(of_name);
        let mut call = ToolCall::of_class(id, tool, arguments, Some(class), volatile);
        call.response = entry.response_id().map(Text::boxed);
        // The `command` of an editor or a task tracker is one of its own operations.
        if entry.arg(|args| args.command).is_some()
            && matches!(class, ToolClass::Read | ToolClass::Write | ToolClass::Other)
        {
            let targets = targets::without_command(&call.arguments);
            call = call.with_targets(targets);
        }
        self.emit(EventKind::ToolCall(call));
    }

    pub(super) fn emit_result(&mut self, result: ToolResult) {
        self.sink.at_line(self.lines.line_of(self.entry.output_at()));
        self.emit(EventKind::ToolResult(result));
    }
}

/// Returns the class of a command. An empty command waits for the running one.
pub(super) fn class_of_command(command: Option<Text<'_>>) -> ToolClass {
    let is_empty = command.is_some_and(|command| command.read().trim().is_empty());
    if is_empty { ToolClass::Wait } else { ToolClass::Run }
}

/// Returns whether a prompt comes from OpenHands or from a benchmark instead of a
/// person.
fn is_nudge(text: &str) -> bool {
    const BEGINNINGS: &[&str] = &[
        "Please continue working on the task on whatever approach you think is suitable",
        "The task appears incomplete (iteration ",
        "Your last response did not include a function call or a message",
    ];
    BEGINNINGS.iter().any(|beginning| text.starts_with(beginning))
}
