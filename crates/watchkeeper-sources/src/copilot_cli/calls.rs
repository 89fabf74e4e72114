//! Tool calls and their results.

use watchkeeper_core::{Json, ToolCall, ToolClass, ToolResult, author::Cause};

use super::line::Data;
use crate::{
    content::Content,
    json::{RawText, Text},
    tool_names::ToolNames,
};

/// Returns the call of a tool. `response` identifies the message with the call.
pub(super) fn call(
    id: &str,
    tool: Option<Text<'_>>,
    arguments: Option<RawText<'_>>,
    response: Option<Text<'_>>,
    tools: &mut ToolNames,
) -> ToolCall {
    let name = tool.map_or_else(|| "unknown".into(), Text::read);
    let (tool, class) = tools.get(&name, class);
    let arguments = Json::parse_or_text(arguments.map_or("null", |arguments| arguments.0));
    let volatile: &[&str] = if class == ToolClass::Run { &["description"] } else { &[] };
    let mut call = ToolCall::of_class(id, tool, arguments, Some(class), volatile);
    call.response = response.map(Text::boxed);
    call
}

/// Returns the result of a call. `denial` is the reason why permission was denied.
pub(super) fn result(id: &str, data: &Data<'_>, denial: Option<Cause>) -> ToolResult {
    let content = data.result.as_ref().and_then(|result| result.content.as_ref());
    let text = content.map(Content::text);
    let error = data.error.as_ref().and_then(|error| error.message).map(Text::boxed);
    let text = error.or(text);
    let (body, exit_code) = text.as_deref().map_or(("", None), split_exit_code);
    let ok =
        data.success != Some(false) && denial.is_none() && exit_code.is_none_or(|code| code == 0);
    let mut result = ToolResult::new(id, ok, text.is_some().then(|| body.into()));
    (result.exit_code, result.cause) = (exit_code, denial);
    result
}

/// Separates the output of a command from its exit code, which the client appends:
/// `<exited with exit code 1>`.
fn split_exit_code(text: &str) -> (&str, Option<i32>) {
    let split = || {
        let (body, end) = text.trim_end().strip_suffix('>')?.rsplit_once('<')?;
        let (before, code) = end.rsplit_once(" with exit code ")?;
        let is_end = before == "exited" || before.starts_with("command with ");
        let code = code.parse().ok().filter(|_| is_end)?;
        Some((body.trim_end_matches('\n'), Some(code)))
    };
    split().unwrap_or((text, None))
}

/// Returns the reason of a denial from the answer to a request for permission, or `None` if the
/// request was approved.
pub(super) fn denial(answer: &[u8]) -> Option<Cause> {
    match answer {
        b"denied-interactively-by-user" => Some(Cause::Declined),
        _ => answer.starts_with(b"denied").then_some(Cause::Blocked),
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "read_bash" | "read_powershell" | "read_agent" => Some(ToolClass::Wait),
        "list_bash" | "list_powershell" | "rg" => Some(ToolClass::Read),
        "stop_bash" | "stop_powershell" => Some(ToolClass::Other),
        "exit_plan_mode" => Some(ToolClass::Ask),
        "store_memory" => Some(ToolClass::Write),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::split_exit_code;

    #[test]
    fn separates_the_exit_code_from_the_output() {
        for (text, expected) in [
            ("a\n<exited with exit code 1>", ("a", Some(1))),
            ("\n<exited with exit code 0>", ("", Some(0))),
            ("a\n<command with shellId: 2 completed with exit code 3>\n", ("a", Some(3))),
            ("a <b>", ("a <b>", None)),
            ("ended with exit code 1", ("ended with exit code 1", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_exit_code(text), expected, "{text}");
        }
    }
}
