//! The events of a line.

use jiff::Timestamp;
use watchkeeper_core::{
    EventKind, Fingerprint, ModelCall, ToolResult,
    author::{EventSink, Tokens},
};

use super::{
    calls,
    line::{McpResult, Payload, RateLimits, Usage},
    state::{PromptForm, State},
};
use crate::json::{Located, Text};

/// Emits the events of a line.
pub(super) struct LineEvents<'l, 's> {
    pub(super) at: Timestamp,
    pub(super) payload: &'l Located<'l, Payload<'l>>,
    /// The fingerprint of the text of the payload.
    pub(super) content: Fingerprint,
    pub(super) state: &'l mut State,
    pub(super) sink: &'l mut EventSink<'s>,
}

/// Kinds of payload without events, or with events that another line contains, too.
const IGNORED: &[&str] = &[
    "agent_message",
    "agent_reasoning",
    "collab_agent_interaction_end",
    "collab_agent_spawn_end",
    "collab_close_end",
    "collab_waiting_end",
    "compaction",
    "context_compacted",
    "dynamic_tool_call_request",
    "dynamic_tool_call_response",
    "entered_review_mode",
    "exited_review_mode",
    "ghost_snapshot",
    "guardian_assessment",
    "image_generation_end",
    "sub_agent_activity",
    "task_started",
    "thread_goal_updated",
    "thread_name_updated",
    "thread_rolled_back",
    "thread_settings_applied",
    "turn_started",
    "undo_completed",
    "view_image_tool_call",
    "web_search_end",
];

/// The beginnings of prompts that Codex writes itself.
const FROM_HARNESS: &[&str] = &[
    "<environment_context>",
    "<user_instructions>",
    "<subagent_notification>",
    "<turn_aborted>",
    "<system-reminder>",
    "# AGENTS.md instructions",
];

impl LineEvents<'_, '_> {
    /// Reads a line of the type `kind`.
    pub(super) fn read(&mut self, kind: &[u8]) {
        match kind {
            b"session_meta" => self.read_session(),
            b"turn_context" => {
                let model = self.payload.value.model.map(Text::boxed);
                self.state.model = model.or(self.state.model.take());
            }
            b"compacted" => {
                self.emit(EventKind::Compaction { before_tokens: None, after_tokens: None });
            }
            b"token_usage_record" => self.read_usage_record(),
            b"response_item" => self.read_item(),
            b"event_msg" => self.read_event(),
            b"world_state"
            | b"inter_agent_communication"
            | b"inter_agent_communication_metadata" => {}
            _ => self.sink.skip_part("unknown type of line"),
        }
    }

    /// Emits an event, unless its line was copied from another thread's file.
    fn emit(&mut self, kind: EventKind) {
        let payload = &self.payload.value;
        let mut is_first = self.sink.is_first_here(self.content);
        if let Some(id) = payload.call_id.or(payload.response_id) {
            // The copy of a call may differ from the call, except in its id.
            let key = Fingerprint::of(id.raw()).and(Fingerprint::of(kind.name()));
            is_first &= self.sink.is_first_here(key);
        }
        if !self.state.is_copy(self.at, &kind, is_first) {
            self.emit_always(kind);
        }
    }

    fn emit_always(&mut self, kind: EventKind) {
        self.sink.event(self.at, &self.state.session, self.state.agent.as_ref(), kind);
    }

    fn read_session(&mut self) {
        let payload = &self.payload.value;
        let Some(thread) = payload.id.or(payload.session_id) else {
            return self.sink.skip_line("no id");
        };
        if let Some(start) = self.state.open(self.at, thread, payload) {
            self.emit_always(start);
        }
    }

    fn read_item(&mut self) {
        let payload = &self.payload.value;
        match payload.kind() {
            b"message" if payload.role.is_some_and(|role| role.is("assistant")) => {
                self.state.continue_response();
                self.emit(EventKind::Message { text: payload.text(), delta: false });
            }
            b"message" => {}
            b"reasoning" => {
                self.state.continue_response();
                self.emit(EventKind::Thinking { text: payload.text() });
            }
            b"function_call" | b"custom_tool_call" | b"local_shell_call" | b"tool_search_call" => {
                let call = calls::call(payload, self.state);
                self.emit(EventKind::ToolCall(call));
            }
            b"web_search_call" | b"image_generation_call" => {
                // The service called the tool itself, and the line reports it afterwards.
                let call = calls::call(payload, self.state);
                let result = ToolResult::new(call.id.clone(), true, None);
                self.emit(EventKind::ToolCall(call));
                self.emit(EventKind::ToolResult(result));
            }
            b"function_call_output"
            | b"custom_tool_call_output"
            | b"local_shell_call_output"
            | b"tool_search_output" => {
                // Versions without usage records do not mark the end of a response.
                self.state.is_response_over |= !self.state.has_usage_records;
                let result = calls::result(payload, self.state);
                self.emit(EventKind::ToolResult(result));
            }
            kind => self.skip_unknown(kind),
        }
    }

    fn read_event(&mut self) {
        let payload = &self.payload.value;
        match payload.kind() {
            b"user_message" if self.state.prompts != Some(PromptForm::Item) => {
                self.state.prompts = Some(PromptForm::Event);
                self.emit_prompt(payload.message.map(Text::boxed).unwrap_or_default());
            }
            b"user_message" => {}
            b"item_completed" => {
                if let Some(item) = &payload.item {
                    self.read_completed(item);
                }
            }
            b"token_count" => self.read_count(),
            b"task_complete" | b"turn_complete" | b"turn_aborted" => {
                if let Some(message) = payload.error.as_ref().and_then(|error| error.message) {
                    self.emit(EventKind::Error { message: message.boxed(), retry: None });
                }
                self.emit(EventKind::TurnEnd);
            }
            b"error" => {
                let message = payload.message.map(Text::boxed).unwrap_or_default();
                self.emit(EventKind::Error { message, retry: None });
            }
            b"mcp_tool_call_end" => {
                let is_error = payload.result.as_ref().is_some_and(McpResult::is_error);
                self.state.record_outcome(payload, payload.call_id, Some(!is_error));
            }
            b"patch_apply_end" | b"exec_command_end" => {
                self.state.record_outcome(payload, payload.call_id, payload.success);
            }
            kind => self.skip_unknown(kind),
        }
    }

    fn read_completed(&mut self, item: &Payload<'_>) {
        match item.kind() {
            b"UserMessage" if self.state.prompts != Some(PromptForm::Event) => {
                self.state.prompts = Some(PromptForm::Item);
                self.emit_prompt(item.text());
            }
            b"CommandExecution" | b"FileChange" | b"McpToolCall" => {
                let is_error = item.result.as_ref().is_some_and(McpResult::is_error);
                let ok = match item.status.map(Text::raw) {
                    Some(b"completed") => Some(!is_error),
                    Some(b"failed" | b"declined") => Some(false),
                    _ => None,
                };
                self.state.record_outcome(item, item.call_id.or(item.id), ok);
            }
            _ => {}
        }
    }

    fn emit_prompt(&mut self, text: Box<str>) {
        let synthetic = begins_like_the_harness(&text);
        self.emit(EventKind::Prompt { text, synthetic });
    }

    /// Reads the usage of a response, unless an earlier record of this response was read.
    fn read_usage_record(&mut self) {
        let state = &mut *self.state;
        state.has_usage_records = true;
        (state.has_record, state.n_failures, state.is_response_over) = (true, 0, true);
        let payload = &self.payload.value;
        let Some(usage) = &payload.usage else {
            return self.sink.skip_part("no usage");
        };
        if state.record_usage(payload) {
            self.emit_usage(payload.response_id, usage.tokens());
        }
    }

    /// Reads the total usage of the thread after an attempt to get a response.
    fn read_count(&mut self) {
        self.read_quotas();
        let info = self.payload.value.info.as_ref();
        let total = info.and_then(|info| info.total.as_ref()).map(Usage::tokens);
        if self.state.has_usage_records {
            if total.is_some() {
                self.read_attempt();
            }
        } else {
            self.read_usage_since(total);
        }
    }

    /// Emits the quotas that have changed: each count repeats them.
    fn read_quotas(&mut self) {
        let limits = self.payload.value.rate_limits.as_ref();
        let quotas = limits.into_iter().flat_map(RateLimits::named);
        for quota in quotas.filter_map(|(name, limit)| limit.quota(name)) {
            let known = &mut self.state.quotas;
            if known.contains(&quota) {
                continue;
            }
            known.retain(|known| known.name != quota.name);
            known.push(quota.clone());
            self.emit(EventKind::Quota(quota));
        }
    }

    /// Emits an error if no response was recorded since the count before this one: the attempt
    /// was cut off or timed out, and the client makes another one.
    fn read_attempt(&mut self) {
        if std::mem::take(&mut self.state.has_record) {
            return;
        }
        self.state.n_failures = self.state.n_failures.saturating_add(1);
        let message = "the model's response was cut off or timed out".into();
        let retry = Some(self.state.n_failures);
        self.emit_always(EventKind::Error { message, retry });
    }

    /// Emits the usage since the count before this one, in versions that do not report the usage
    /// of each response. The same count may be repeated.
    fn read_usage_since(&mut self, total: Option<Tokens>) {
        let info = self.payload.value.info.as_ref();
        let state = &mut *self.state;
        if total == Some(state.total) {
            return;
        }
        state.is_response_over = true;
        let since = total.map(|total| total.minus(state.total));
        state.total = total.unwrap_or(state.total);
        let latest = info.and_then(|info| info.latest.as_ref()).map(Usage::tokens);
        if let Some(tokens) = latest.or(since) {
            self.emit_usage(None, tokens);
        }
    }

    fn emit_usage(&mut self, id: Option<Text<'_>>, tokens: Tokens) {
        let (id, model) = (id.map(Text::boxed), self.state.model.clone());
        self.emit(EventKind::ModelCall(ModelCall { id, model, tokens, ..ModelCall::default() }));
    }

    fn skip_unknown(&mut self, kind: &[u8]) {
        if !IGNORED.iter().any(|ignored| ignored.as_bytes() == kind) {
            self.sink.skip_part("unknown kind of payload");
        }
    }
}

/// Returns whether a prompt has the beginning of a prompt that Codex writes itself.
pub(crate) fn begins_like_the_harness(text: &str) -> bool {
    FROM_HARNESS.iter().any(|beginning| text.starts_with(beginning))
}
