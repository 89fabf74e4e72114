//! Tool calls and their results.

use watchkeeper_core::{Json, ToolCall, ToolClass, ToolResult, author::Cause};

use super::{
    parts::{FunctionResponse, Parts},
    record::Call,
    shell::ShellOutput,
};
use crate::{
    document::compact,
    json::{RawText, Text},
    tool_names::ToolNames,
};

/// Returns the call of a tool. `response` identifies the model response.
pub(crate) fn tool_call(
    id: &str,
    name: Option<Text<'_>>,
    arguments: Option<RawText<'_>>,
    response: &str,
    tools: &mut ToolNames,
) -> ToolCall {
    let name = name.map_or_else(|| "unknown".into(), Text::read);
    let (tool, class) = tools.get(&name, class);
    let arguments = compact(arguments.map_or("null", |arguments| arguments.0));
    let arguments = Json::parse_or_text(&arguments);
    let mut call = ToolCall::of_class(id, tool, arguments, Some(class), volatile(&name));
    call.response = Some(response.into());
    call
}

/// Returns the result of a call, or `None` if the call has not ended.
pub(super) fn result(id: &str, call: &Call<'_>) -> Option<ToolResult> {
    let status = call.status.map(Text::raw)?;
    let tool = call.name.map_or_else(Default::default, Text::read);
    let response = call.result.iter().flat_map(Parts::responses).next();
    let ok = match status {
        b"success" => true,
        b"error" | b"cancelled" => false,
        _ => return None,
    };
    let mut result = result_of(id, &tool, ok, response);
    if status == b"cancelled" {
        result.cause = result.cause.or(Some(Cause::Interrupted));
    }
    Some(result)
}

/// Returns the result of a call of `tool`. A command that fails is a success of its tool, and
/// `ok` is the success of the tool.
pub(crate) fn result_of(
    id: &str,
    tool: &str,
    ok: bool,
    response: Option<&FunctionResponse<'_>>,
) -> ToolResult {
    let text = response.and_then(FunctionResponse::text);
    let cause = text.as_deref().and_then(cause);
    let ok = ok && cause.is_none() && !response.is_some_and(FunctionResponse::is_error);
    let Some(text) = text else { return ToolResult::new(id, ok, None) };
    if tool != "run_shell_command" {
        let mut result = ToolResult::new(id, ok, Some(text.into()));
        result.cause = cause;
        return result;
    }
    let output = ShellOutput::read(&text);
    let ok = ok && !output.was_killed && output.exit_code.is_none_or(|code| code == 0);
    let mut result = ToolResult::new(id, ok, Some(output.body.into()));
    (result.exit_code, result.cause) = (output.exit_code, cause);
    result
}

/// Returns the reason of a result that the tool did not return itself.
pub(super) fn cause(text: &str) -> Option<Cause> {
    const BEGINNINGS: &[(&str, Cause)] = &[
        ("[Operation Cancelled] Reason: User denied", Cause::Declined),
        ("[Operation Cancelled] Reason: User did not allow", Cause::Declined),
        ("[Operation Cancelled]", Cause::Interrupted),
        ("Command was automatically cancelled because it exceeded the timeout", Cause::Timeout),
        ("Command timed out after ", Cause::Timeout),
        ("Command was cancelled by user", Cause::Interrupted),
        ("Tool execution blocked: ", Cause::Blocked),
        ("Tool execution denied by policy", Cause::Blocked),
        ("Agent execution stopped by hook: ", Cause::Blocked),
    ];
    let text = text.strip_prefix("<untrusted_context>\n").unwrap_or(text);
    BEGINNINGS.iter().find(|(beginning, _)| text.starts_with(beginning)).map(|(_, cause)| *cause)
}

/// Returns the class of a tool whose name is misleading.
pub(super) fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        // Sub-agents that are tools of their own.
        "codebase_investigator" | "generalist" | "cli_help" => Some(ToolClass::Delegate),
        "exit_plan_mode" => Some(ToolClass::Ask),
        "save_memory" => Some(ToolClass::Write),
        _ => None,
    }
}

/// Returns the arguments that do not change what a call does.
fn volatile(tool: &str) -> &'static [&'static str] {
    match tool {
        "run_shell_command" => &["description"],
        "edit" | "replace" => &["instruction"],
        _ => &[],
    }
}
