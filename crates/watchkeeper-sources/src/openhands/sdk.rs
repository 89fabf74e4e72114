//! Events of the SDK.

use std::borrow::Cow;

use watchkeeper_core::{AgentId, EventKind, Fingerprint, ToolClass, ToolResult, author::Cause};

use super::{
    entry::Entry,
    events::{COMPACTION, EntryEvents, class_of_command},
    state_file::{BaseState, Stats},
    state_file_events::{emit_status, emit_totals},
};
use crate::{
    document::compact,
    json::{Malformed, Raw, RawText, Text, TextOr, decode, parse_value},
};

/// Arguments that do not change what a call does.
const VOLATILE: &[&str] = &["kind", "security_risk", "timeout"];
/// Arguments that do not change what a call does, in raw arguments of the model.
const VOLATILE_RAW: &[&str] = &["security_risk", "summary", "timeout"];

impl EntryEvents<'_, '_> {
    /// Reads an event of the kind `kind`.
    pub(super) fn read_sdk(&mut self, kind: &[u8]) -> Result<(), Malformed> {
        match kind {
            b"SystemPromptEvent" => self.state.emit_start(self.sink),
            b"MessageEvent" => self.read_message(),
            b"ActionEvent" => self.read_sdk_action(),
            b"ObservationEvent" | b"AgentErrorEvent" | b"UserRejectObservation" => {
                self.read_sdk_observation(kind);
            }
            b"ACPToolCallEvent" => self.read_foreign_call(),
            b"Condensation" => self.emit(COMPACTION),
            b"ConversationStateUpdateEvent" => self.read_update()?,
            b"ConversationErrorEvent" => {
                let code = self.entry.code.map(Text::read).unwrap_or_default();
                let detail = self.entry.error.map(Text::read).unwrap_or_default();
                let message = format!("{code}: {detail}").into();
                self.emit(EventKind::Error { message, retry: None });
                self.emit(EventKind::TurnEnd);
            }
            b"PauseEvent" | b"InterruptEvent" => self.emit(EventKind::TurnEnd),
            b"CondensationRequest"
            | b"CondensationSummaryEvent"
            | b"HookExecutionEvent"
            | b"LLMCompletionLogEvent"
            | b"StreamingDeltaEvent"
            | b"TokenEvent" => {}
            _ => self.sink.skip_part("unknown kind of event"),
        }
        Ok(())
    }

    fn read_message(&mut self) {
        let text = self.entry.message();
        if self.entry.is_from("agent") {
            self.emit_reasoning();
            self.emit_message(&text);
            // A run ends when the model calls no tool.
            self.emit(EventKind::TurnEnd);
        } else {
            let synthetic = !self.entry.is_from("user");
            self.emit_prompt(text, synthetic);
        }
    }

    fn emit_reasoning(&mut self) {
        if let Some(text) = self.entry.reasoning() {
            self.emit(EventKind::Thinking { text: text.boxed() });
        }
    }

    fn read_sdk_action(&mut self) {
        let entry = self.entry;
        self.emit_reasoning();
        self.emit_message(&entry.message());
        let tool = entry.tool().map_or("unknown".into(), Text::read);
        // Invalid arguments are reported as an error, and the call is not run.
        let is_valid = entry.arguments().is_some();
        if tool == "finish" && is_valid {
            let message = entry.arg(|args| args.message).map(Text::read).unwrap_or_default();
            self.emit_message(&message);
            return self.emit(EventKind::TurnEnd);
        }
        let class = class(&tool, entry.arg(|args| args.command));
        let volatile = if is_valid { VOLATILE } else { VOLATILE_RAW };
        self.emit_call(&id(entry), &tool, class, volatile);
    }

    fn read_sdk_observation(&mut self, kind: &[u8]) {
        let entry = self.entry;
        let is_tool = |name| entry.tool().is_some_and(|tool| tool.is(name));
        if is_tool("finish") && kind != b"AgentErrorEvent" {
            return;
        }
        let id = id(entry);
        let result = match kind {
            b"ObservationEvent" if is_tool("think") => ToolResult::new(&*id, true, None),
            b"ObservationEvent" => entry.result(&id, |_| None),
            _ => {
                let text = entry.error.map(Text::boxed);
                let was_stopped =
                    text.as_deref().is_some_and(|text| text.starts_with("A restart occurred"));
                let mut result = ToolResult::new(&*id, false, text);
                result.cause = if kind == b"UserRejectObservation" {
                    Some(Cause::Declined)
                } else {
                    was_stopped.then_some(Cause::Interrupted)
                };
                result
            }
        };
        self.emit_result(result);
    }

    /// Reads a call by another agent that OpenHands runs. The event is repeated at each
    /// change of the call.
    fn read_foreign_call(&mut self) {
        let entry = self.entry;
        let id = id(entry);
        let parent = entry.parent_call.map(Text::read);
        if let Some(parent) = &parent {
            self.state.delegates.push(AgentId::from(parent.as_ref()));
            if self.is_first("agent", parent) {
                let parent = self.state.delegates.iter().rev().nth(1).cloned();
                self.emit(EventKind::AgentStart { parent });
            }
        }
        if self.is_first("call", &id) {
            let kind = entry.tool_kind.filter(|kind| !kind.is("other")).or(entry.title);
            let tool = kind.map_or("unknown".into(), Text::read);
            let class = match &*tool {
                "edit" | "delete" | "move" => Some(ToolClass::Write),
                "execute" => Some(ToolClass::Run),
                "think" => Some(ToolClass::Other),
                _ => None,
            };
            self.emit_call(&id, &tool, class, &[]);
        }
        let has_status = |name| entry.status.is_some_and(|status| status.is(name));
        let has_failed = has_status("failed") || entry.is_error();
        if (has_failed || has_status("completed")) && self.is_first("result", &id) {
            let output = entry.raw_output.map(output_of_foreign_call);
            let result = ToolResult::new(&*id, !has_failed, output);
            self.emit(EventKind::ToolResult(result));
        }
        if parent.is_some() {
            self.state.delegates.pop();
        }
    }

    /// Records a part of a call by another agent, and returns whether the part is new.
    fn is_first(&mut self, part: &str, id: &str) -> bool {
        let key = Fingerprint::of(part).and(Fingerprint::of(id));
        self.state.is_new(key, self.sink)
    }

    /// Reads an update of the state of the conversation.
    fn read_update(&mut self) -> Result<(), Malformed> {
        let Some(Raw(value)) = self.entry.value else { return Ok(()) };
        let status = match self.entry.key.map(Text::raw) {
            Some(b"execution_status" | b"agent_status") => parse_value(value)?,
            Some(b"stats") => {
                let stats: Option<Stats<'_>> = parse_value(value)?;
                emit_totals(stats.as_ref(), self.state, self.sink);
                None
            }
            Some(b"full_state") => {
                let base: BaseState<'_> = parse_value(value)?.unwrap_or_default();
                emit_totals(base.stats.as_ref(), self.state, self.sink);
                base.status
            }
            _ => None,
        };
        if let Some(status) = status {
            emit_status(status, self.state, self.sink);
        }
        Ok(())
    }
}

/// Returns the id of a call. An error has no id of the event.
fn id<'a>(entry: &Entry<'a>) -> Cow<'a, str> {
    entry.call.map_or_else(|| decode(entry.id.map_or(b"", |id| id.0)), Text::read)
}

/// Returns the class of a tool whose name does not determine the class.
fn class(tool: &str, command: Option<Text<'_>>) -> Option<ToolClass> {
    match tool {
        "bash" | "execute_bash" | "terminal" => Some(class_of_command(command)),
        "file_editor" | "planning_file_editor" | "str_replace_editor" => {
            let is_view = command.is_some_and(|command| command.is("view"));
            Some(if is_view { ToolClass::Read } else { ToolClass::Write })
        }
        "task_tracker" | "think" => Some(ToolClass::Other),
        _ => None,
    }
}

/// Returns the text of an output, or the JSON of an output of another type.
fn output_of_foreign_call(output: RawText<'_>) -> Box<str> {
    match parse_value(output.0.as_bytes()) {
        Ok(Some(TextOr::<Raw<'_>>::Text(text))) => text.boxed(),
        _ => compact(output.0).into(),
    }
}
