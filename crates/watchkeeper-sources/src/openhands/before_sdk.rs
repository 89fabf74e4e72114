//! Events of versions before the SDK.

use watchkeeper_core::{
    AgentId, EventKind, Fingerprint, ToolClass, ToolResult,
    author::{Cause, WaitingFor},
};

use super::{
    entry::{Entry, ModelResponse},
    events::{COMPACTION, EntryEvents, class_of_command},
    usage::{Totals, Usage, Used},
};
use crate::json::{Malformed, Text, decode};

/// The largest number of nested delegates.
const MAX_DELEGATES: usize = 16;

/// Arguments that do not change what a call does.
const VOLATILE: &[&str] = &[
    "action_risk",
    "blocking",
    "confirmation_state",
    "hidden",
    "impl_source",
    "is_confirmed",
    "keep_prompt",
    "security_risk",
    "thought",
    "timeout",
];

impl EntryEvents<'_, '_> {
    /// Reads an action or an observation.
    pub(super) fn read_trajectory(&mut self) -> Result<(), Malformed> {
        match (self.entry.action_kind(), self.entry.observation_kind()) {
            (Some(action), _) => self.read_action(&decode(action.raw())),
            (None, Some(observation)) => self.read_observation(&decode(observation.raw())),
            (None, None) => return Err("neither action nor observation"),
        }
        Ok(())
    }

    fn read_action(&mut self, action: &str) {
        let entry = self.entry;
        // Old tasks begin with the prompt, which has no source.
        let is_of_agent =
            entry.source.map_or(1 < self.state.n_entries, |source| source.is("agent"));
        match action {
            "system" => {
                self.state.start.version = entry.arg(|args| args.version).map(Text::boxed);
                self.state.emit_start(self.sink);
            }
            "message" if !is_of_agent => {
                let text = entry.arg(|args| args.content).map(Text::boxed).unwrap_or_default();
                self.emit_prompt(text, entry.is_from("environment"));
            }
            "condensation" => self.emit(COMPACTION),
            "change_agent_state"
            | "condensation_request"
            | "loop_recovery"
            | "null"
            | "pause"
            | "recall"
            | "resume"
            | "start"
            | "stop"
            | "summarize" => {}
            // OpenHands itself prepares the workspace of the agent.
            _ if !is_of_agent => {}
            _ => self.read_action_of_agent(action),
        }
    }

    fn read_action_of_agent(&mut self, action: &str) {
        let entry = self.entry;
        match action {
            "message" => {
                let text = entry.arg(|args| args.content);
                self.emit_message(&text.map(Text::read).unwrap_or_default());
                self.emit_usage();
                if entry.waits_for_response() {
                    self.emit(EventKind::TurnEnd);
                }
            }
            "finish" | "reject" => {
                let text = entry.arg(|args| {
                    args.final_thought.filter(|text| !text.raw().is_empty()).or(args.thought)
                });
                self.emit_message(&text.map(Text::read).unwrap_or_default());
                self.emit_usage();
                // The end of a delegate is reported by a later observation, too.
                if self.state.delegates.is_empty() {
                    self.emit(EventKind::TurnEnd);
                }
            }
            _ => match tool(action, entry) {
                Some((tool, class)) => self.read_call(&tool, class, action),
                None => self.sink.skip_part("unknown action"),
            },
        }
    }

    fn read_call(&mut self, tool: &str, class: Option<ToolClass>, action: &str) {
        if action != "think" {
            let thought = self.entry.arg(|args| args.thought);
            self.emit_message(&thought.map(Text::read).unwrap_or_default());
        }
        self.emit_usage();
        let id = self.id();
        let volatile = if action == "think" { &[] } else { VOLATILE };
        self.emit_call(&id, tool, class, volatile);
        let state = &mut *self.state;
        if action == "delegate" && state.is_in_list && state.delegates.len() < MAX_DELEGATES {
            state.delegates.push(AgentId::from(format!("delegate-{id}")));
            let parent = state.delegates.iter().rev().nth(1).cloned();
            self.emit(EventKind::AgentStart { parent });
        }
        self.state.latest_call = Some(id);
    }

    /// Returns the id of an action. Actions of old tasks have none.
    fn id(&self) -> Box<str> {
        match self.entry.id {
            Some(id) => decode(id.0).into(),
            None => self.state.n_entries.to_string().into(),
        }
    }

    fn read_observation(&mut self, observation: &str) {
        let entry = self.entry;
        match observation {
            "agent_state_changed" => return self.read_agent_state(),
            "condense" | "microagent" | "null" | "recall" | "workspace_context" => return,
            "loop_detection" => {
                let message = entry.output();
                return self.emit(EventKind::Error { message, retry: None });
            }
            _ => {}
        }
        // Actions of OpenHands itself have observations, too.
        if entry.is_from("user") || entry.is_from("environment") {
            return;
        }
        if observation == "delegate" && !self.state.delegates.is_empty() {
            self.emit(EventKind::AgentEnd);
            self.state.delegates.pop();
        }
        // In old tasks, observations do not name their action.
        let latest = self.state.latest_call.take().filter(|_| entry.id.is_none());
        let cause = entry.cause.map(|cause| Box::from(cause.as_str()));
        let id = match cause.or(latest) {
            Some(id) => id,
            // OpenHands did not understand the tool call of the model.
            None if observation == "error" => {
                let id = self.id();
                self.emit_call(&id, "unknown", Some(ToolClass::Other), VOLATILE);
                id
            }
            None => return self.sink.skip_part("observation of nothing"),
        };
        self.emit_result(result(id, observation, entry));
    }

    fn read_agent_state(&mut self) {
        let state = self.entry.of_outcome(|outcome| outcome.agent_state);
        let reason = self.entry.of_outcome(|outcome| outcome.reason);
        let reason = reason.map(Text::boxed).unwrap_or_default();
        match state.map(Text::raw).unwrap_or_default() {
            b"awaiting_user_input" | b"finished" | b"paused" | b"rejected" | b"stopped" => {
                self.emit(EventKind::TurnEnd);
            }
            b"awaiting_user_confirmation" => {
                self.emit(EventKind::Waiting(WaitingFor::Permission));
            }
            b"user_confirmed" | b"user_rejected" => {
                self.emit(EventKind::Resumed(WaitingFor::Permission));
            }
            b"error" => {
                self.emit(EventKind::Error { message: reason, retry: None });
                self.emit(EventKind::TurnEnd);
            }
            b"rate_limited" => {
                let message = if reason.is_empty() { "rate limited".into() } else { reason };
                self.emit(EventKind::Error { message, retry: Some(0) });
            }
            _ => {}
        }
    }

    /// Emits the usage of the model response of an action.
    fn emit_usage(&mut self) {
        let (entry, state) = (self.entry, &mut *self.state);
        // A delegate has its own totals.
        let has_totals = state.is_in_list && state.delegates.is_empty();
        let totals = entry.totals.as_ref().filter(|_| has_totals).map(Totals::used);
        let since = totals.and_then(|totals| Some(totals.since(state.totals?)));
        state.totals = totals.or(state.totals);
        let id = entry.response_id();
        let response = id.map(|id| Fingerprint::of(id.raw()));
        let is_known = response.is_some() && response == state.latest_response;
        state.latest_response = response.or(state.latest_response);
        // Without the usage of a response, its cost may still be known from the totals.
        let used_by = |response: &ModelResponse<'_>| {
            response.usage.as_ref().map(Usage::used).unwrap_or_default()
        };
        let used = match (since, entry.response().filter(|_| !is_known).map(used_by)) {
            // Totals include responses without an action.
            (Some(since), _) if totals.is_some_and(Used::has_tokens) => since,
            (Some(since), Some(used)) => used.at_cost(since.cost_usd().unwrap_or(0.0)),
            (_, Some(used)) => used,
            (_, None) => return,
        };
        let model = entry.response().and_then(|response| response.model);
        state.emit_usage(id.map(Text::boxed), model, used, self.sink);
    }
}

/// Returns the tool of an action, and its class if the name does not determine it.
fn tool(action: &str, entry: &Entry<'_>) -> Option<(String, Option<ToolClass>)> {
    let class = match action {
        "run" => Some(class_of_command(entry.arg(|args| args.command))),
        "run_ipython" => Some(class_of_code(entry.arg(|args| args.code))),
        "read" | "browse" => Some(ToolClass::Read),
        "edit" | "push" | "send_pr" | "write" => Some(ToolClass::Write),
        "delegate" => Some(ToolClass::Delegate),
        "add_task" | "browse_interactive" | "modify_task" | "task_tracking" | "think" => {
            Some(ToolClass::Other)
        }
        "call_tool_mcp" | "mcp" => None,
        _ => return None,
    };
    let of_server = if class.is_none() { entry.arg(|args| args.name) } else { None };
    let name = of_server.or(entry.tool());
    Some((name.map_or_else(|| action.to_owned(), |name| name.read().into_owned()), class))
}

/// Returns the class of code. Early agents edited files by calling functions in code.
fn class_of_code(code: Option<Text<'_>>) -> ToolClass {
    let code = code.map(Text::read).unwrap_or_default();
    let function = code.trim_start().split('(').next().unwrap_or_default();
    match function {
        "append_file" | "create_file" | "edit_file_by_replace" | "insert_content_at_line" => {
            ToolClass::Write
        }
        "find_file" | "goto_line" | "open_file" | "scroll_down" | "scroll_up" | "search_dir"
        | "search_file" => ToolClass::Read,
        _ => ToolClass::Run,
    }
}

/// Returns the result of a call with the kind of observation `observation`.
fn result(id: Box<str>, observation: &str, entry: &Entry<'_>) -> ToolResult {
    match observation {
        // The observation of a thought is always the same.
        "think" => ToolResult::new(id, true, None),
        "error" => {
            let output = entry.output();
            let has_timed_out = output.contains("before the requested timeout of");
            let mut result = ToolResult::new(id, false, Some(output));
            result.cause = has_timed_out.then_some(Cause::Timeout);
            result
        }
        "user_rejected" => {
            let mut result = ToolResult::new(id, false, Some(entry.output()));
            result.cause = Some(Cause::Declined);
            result
        }
        _ => entry.result(&id, |output| failure(observation, output)),
    }
}

/// Returns the error message of an observation whose failure is visible only in its
/// text.
fn failure<'a>(observation: &str, output: &'a str) -> Option<&'a str> {
    const OF_CODE: &[&str] = &[
        "ERROR:",
        "[No exact match found in ",
        "[Your proposed edit has introduced new syntax error(s).",
    ];
    let has_failed = match observation {
        // The prefix is not part of the message.
        "edit" | "read" | "write" => return output.strip_prefix("ERROR:").map(str::trim_start),
        "mcp" => output.contains("\"isError\":true") || output.contains("\"isError\": true"),
        "run_ipython" => {
            OF_CODE.iter().any(|beginning| output.starts_with(beginning))
                || output.contains("Traceback (most recent call last)")
        }
        _ => false,
    };
    has_failed.then_some(output)
}
