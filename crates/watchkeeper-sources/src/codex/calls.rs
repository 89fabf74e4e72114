//! Tool calls and their results.

use watchkeeper_core::{
    Fingerprint, Json, ToolCall, ToolClass, ToolResult,
    author::{Cause, Targets},
};

use super::{
    line::Payload,
    output::ToolOutput,
    state::{Outcome, State},
};
use crate::{
    content::Content,
    json::{Text, object, parse, parse_value},
    targets,
    tool_names::ToolNames,
};

/// The arguments that do not change what a call does.
const VOLATILE: &[&str] = &["yield_time_ms", "max_output_tokens", "timeout_ms", "justification"];

object! {
    /// The arguments of `apply_patch`.
    struct PatchArguments<'a> {
        b"input" => patch: Text<'a>,
    }
}

object! {
    /// The arguments of the shell.
    struct ShellArguments<'a> {
        b"command" => words: Vec<Text<'a>>,
    }
}

object! {
    /// The arguments of `write_stdin`.
    struct InputArguments<'a> {
        b"chars" => chars: Text<'a>,
    }
}

/// Returns the call of an item.
pub(super) fn call(payload: &Payload<'_>, state: &mut State) -> ToolCall {
    state.continue_response();
    let id = payload.call_id.or(payload.id).map(Text::boxed).unwrap_or_default();
    let name = match (payload.name, payload.kind) {
        (Some(name), _) => name.read(),
        // Calls without a name are named by their kind.
        (None, Some(kind)) => kind.read(),
        (None, None) => "unknown".into(),
    };
    let name = name.strip_suffix("_call").unwrap_or(&name);
    let namespace = payload.namespace.map(Text::read);
    let mut call = tool_call(id, name, namespace.as_deref(), arguments(payload), &mut state.tools);
    call.response = Some(format!("response-{}", state.n_responses).into());
    call
}

/// Returns the call of a tool. The namespace is the server of the tool, if it has one.
pub(crate) fn tool_call(
    id: Box<str>,
    name: &str,
    namespace: Option<&str>,
    arguments: Json,
    tools: &mut ToolNames,
) -> ToolCall {
    let (tool, class) = match namespace {
        Some(server) => {
            let name = name.trim_start_matches('_');
            tools.get(&format!("{server}__{name}"), class)
        }
        None => tools.get(name, class),
    };
    // A call that types nothing waits for more output.
    let waits = &*tool == "write_stdin" && types_nothing(&arguments);
    let class = if waits { ToolClass::Wait } else { class };
    let targets = targets_of(&tool, &arguments);
    let call = ToolCall::of_class(id, tool, arguments, Some(class), VOLATILE);
    match targets {
        Some(targets) => call.with_targets(targets),
        None => call,
    }
}

/// Returns the arguments of a call: JSON in a string, or an object.
fn arguments(payload: &Payload<'_>) -> Json {
    let raw = payload.arguments.map_or("null", |arguments| arguments.0);
    match parse_value::<Text<'_>>(raw.as_bytes()) {
        Ok(Some(text)) => Json::parse_or_text(&text.read()),
        _ => Json::parse_or_text(raw),
    }
}

/// Returns the result of an item.
pub(super) fn result(payload: &Payload<'_>, state: &mut State) -> ToolResult {
    let id = payload.call_id.or(payload.id).map(Text::boxed).unwrap_or_default();
    let outcome = state.outcomes.remove(Fingerprint::of(id.as_bytes()));
    let content = payload.output.as_ref();
    let content = content.filter(|content| !content.texts.is_empty() || content.other.is_some());
    let text = content.map(Content::text);
    let mut result = tool_result(id, text.as_deref(), outcome);
    if let Some(content) = content {
        content.distinguish(&mut result);
    }
    result
}

/// Returns the result of a call with this output. The `outcome` decides where the output does
/// not.
pub(crate) fn tool_result(
    id: Box<str>,
    text: Option<&str>,
    outcome: Option<Outcome>,
) -> ToolResult {
    let output = ToolOutput::read(text.unwrap_or_default());
    let outcome = outcome.filter(|_| !output.is_running).unwrap_or_default();
    let ok = output.ok.or(outcome.ok).unwrap_or(true);
    let mut result = ToolResult::new(id, ok, text.map(|_| output.body.into()));
    result.exit_code = output.exit_code.or(outcome.exit_code);
    if !ok {
        let declined = outcome.declined.then_some(Cause::Declined);
        result.cause = output.cause.or(declined);
    }
    result
}

/// Returns the class of a tool whose name is misleading.
pub(super) fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "write_stdin" | "local_shell" => Some(ToolClass::Run),
        "spawn_agent" | "send_input" => Some(ToolClass::Delegate),
        "wait" | "wait_agent" => Some(ToolClass::Wait),
        "request_user_input" => Some(ToolClass::Ask),
        "update_plan" | "close_agent" => Some(ToolClass::Other),
        // The name of the server does not describe the tool.
        _ => tool.rsplit_once("__").map(|(_, name)| ToolClass::of_name(name)),
    }
}

/// Returns the targets of tools whose arguments need more than
/// [`Targets::of_arguments`].
fn targets_of(tool: &str, arguments: &Json) -> Option<Targets> {
    let arguments = arguments.as_str().as_bytes();
    match tool {
        "apply_patch" => {
            let text: Option<Text<'_>> = parse_value(arguments).ok()?;
            let patch = text.or_else(|| parse::<PatchArguments<'_>>(arguments).ok()?.patch)?;
            Some(targets::of_patch(&patch.read()))
        }
        "shell" | "local_shell" | "container.exec" => {
            let words = parse::<ShellArguments<'_>>(arguments).ok()?.words?;
            let words: Vec<_> = words.iter().map(|word| word.read()).collect();
            let words: Vec<&str> = words.iter().map(|word| &**word).collect();
            (!words.is_empty()).then(|| targets::of_words(&words))
        }
        _ => None,
    }
}

/// Returns whether a call of `write_stdin` types nothing. Arguments that cannot be read count
/// as nothing typed: most of these calls wait.
fn types_nothing(arguments: &Json) -> bool {
    parse::<InputArguments<'_>>(arguments.as_str().as_bytes())
        .ok()
        .and_then(|arguments| arguments.chars)
        .is_none_or(|chars| chars.raw().is_empty())
}
