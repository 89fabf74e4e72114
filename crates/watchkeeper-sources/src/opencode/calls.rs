//! Tool calls and their results.

use watchkeeper_core::{
    AgentId, EventKind, Json, ToolCall, ToolClass, ToolResult,
    author::{Cause, Targets},
};

use super::{
    events::MessageEvents,
    message::{CallState, Part, PatchArguments},
};
use crate::{
    document::compact,
    json::{Located, Text, parse},
    targets,
    tool_names::ToolNames,
};

impl MessageEvents<'_, '_> {
    /// Reads a call, and its result if it has ended.
    pub(super) fn read_call(&mut self, id: Box<str>, part: &Located<'_, Part<'_>>, response: &str) {
        let Located { at, value: part, .. } = part;
        let unknown = CallState::default();
        let state = part.state.as_ref().unwrap_or(&unknown);
        let times = state.time.as_ref();
        let call = call(id.clone(), part, response, &mut self.state.tools);
        let class = call.class;
        self.push(times.and_then(|times| times.start), *at, EventKind::ToolCall(call));
        let Some(result) = result(id, state) else { return };
        let at = state.result().map_or(0, |result| result.at);
        self.push(times.and_then(|times| times.end), at, EventKind::ToolResult(result));
        if let Some(agent) = called_agent(class, state) {
            self.push_end_of(agent, at);
        }
    }
}

/// Returns the call of a part.
pub(super) fn call(
    id: Box<str>,
    part: &Part<'_>,
    response: &str,
    tools: &mut ToolNames,
) -> ToolCall {
    let name = part.tool.map_or_else(|| "unknown".into(), Text::read);
    let (tool, class) = tools.get(&name, class_of);
    let volatile = volatile(&tool);
    let input = part.state.as_ref().and_then(|state| state.input);
    let input = compact(input.map_or("null", |input| input.0));
    let arguments = Json::parse_or_text(&input);
    let mut call = ToolCall::of_class(id, tool, arguments, Some(class), volatile);
    call.response = Some(response.into());
    match targets_of(&name, &input) {
        Some(targets) => call.with_targets(targets),
        None => call,
    }
}

/// Returns the sub-agent that a call has run.
pub(super) fn called_agent(class: ToolClass, state: &CallState<'_>) -> Option<AgentId> {
    let agent = state.metadata.as_ref()?.session?;
    (class == ToolClass::Delegate).then(|| AgentId::from(agent.read().as_ref()))
}

/// Returns the targets of a tool whose arguments need more than [`Targets::of_arguments`].
fn targets_of(tool: &str, input: &str) -> Option<Targets> {
    if tool != "apply_patch" {
        return None;
    }
    let arguments: PatchArguments<'_> = parse(input.as_bytes()).ok()?;
    Some(targets::of_patch(&arguments.patch?.read()))
}

/// Returns the result of a call that has ended.
pub(super) fn result(id: Box<str>, state: &CallState<'_>) -> Option<ToolResult> {
    let has_completed = state.has_completed()?;
    let output = state.result().map(|output| output.value.boxed());
    let exit_code = state.metadata.as_ref().and_then(|metadata| metadata.exit_code);
    let text = output.as_deref().unwrap_or_default();
    let cause = cause(text, has_completed).filter(|_| exit_code.is_none_or(|code| code != 0));
    let ok = has_completed && exit_code.is_none_or(|code| code == 0) && cause.is_none();
    let mut result = ToolResult::new(id, ok, output);
    (result.exit_code, result.cause) = (exit_code, cause);
    Some(result)
}

/// Returns the cause of a failed result that the tool did not return itself.
fn cause(output: &str, has_completed: bool) -> Option<Cause> {
    const DECLINED: &[&str] = &["The user rejected permission", "The user dismissed this question"];
    if has_completed {
        // opencode appends the reason why it stopped a command to the output.
        let (_, metadata) = output.rsplit_once("<bash_metadata>")?;
        if metadata.contains("exceeding timeout") {
            Some(Cause::Timeout)
        } else if metadata.contains("User aborted") {
            Some(Cause::Interrupted)
        } else {
            None
        }
    } else if output.starts_with("Tool execution aborted") {
        Some(Cause::Interrupted)
    } else if DECLINED.iter().any(|beginning| output.starts_with(beginning)) {
        Some(Cause::Declined)
    } else if output.starts_with("The user has specified a rule which prevents") {
        Some(Cause::Blocked)
    } else {
        None
    }
}

/// Returns the class of a tool whose name is misleading.
fn class_of(tool: &str) -> Option<ToolClass> {
    match tool {
        "question" | "plan_exit" | "plan_enter" => Some(ToolClass::Ask),
        "invalid" => Some(ToolClass::Other),
        _ => None,
    }
}

/// Returns the arguments that do not change what a call does.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "bash" => &["description", "timeout"],
        "task" => &["description"],
        _ => &[],
    }
}
