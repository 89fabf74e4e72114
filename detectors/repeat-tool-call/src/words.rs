//! What was asked and what was said, in a few words.

use serde_json::Value;
use watchkeeper_core::{Json, ToolCall, ToolResult, quote};

/// The arguments that tell most of what a call is about, the first of them best.
const TELLING: &[&str] =
    &["command", "cmd", "file_path", "filePath", "path", "pattern", "query", "url", "code"];
/// What agents write above the output of a command.
const WRAPPING: &[&str] = &["Exit code", "Chunk ID:", "Wall time:", "Process exited", "Output:"];

/// What a call asks for, quoted; nothing, if it is given nothing.
pub(crate) fn asked(arguments: &Json) -> String {
    let value = arguments.to_value();
    let told = match &value {
        Value::String(text) => Some(text.as_str()),
        Value::Object(object) => TELLING.iter().find_map(|it| object.get(*it)?.as_str()),
        _ => None,
    };
    match told {
        Some("") => String::new(),
        Some(text) => quote(text.trim()),
        None if value.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
        None if value.is_null() => String::new(),
        None => quote(arguments.as_str()),
    }
}

/// Whether a call does nothing but let some time pass.
pub(crate) fn only_sleeps(call: &ToolCall) -> bool {
    let is_time = |it: &str| {
        it.starts_with(|c: char| c.is_ascii_digit())
            && it
                .trim_end_matches(['s', 'm', 'h'])
                .bytes()
                .all(|it| it.is_ascii_digit() || it == b'.')
    };
    let value = call.arguments.to_value();
    let command = value.get("command").or_else(|| value.get("cmd")).unwrap_or(&value);
    let sleeps = |it: &str| it.trim().strip_prefix("sleep ").is_some_and(is_time);
    call.tool.eq_ignore_ascii_case("sleep") || command.as_str().is_some_and(sleeps)
}

/// The first line of an answer that says something, quoted.
pub(crate) fn said(result: &ToolResult) -> String {
    let output = result.output.as_deref().unwrap_or_default();
    let is_wrapping = |it: &&str| it.is_empty() || WRAPPING.iter().any(|word| it.starts_with(word));
    match output.lines().map(str::trim).find(|it| !is_wrapping(it)) {
        Some(line) => quote(line),
        None => "nothing".to_owned(),
    }
}
