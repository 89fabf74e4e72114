//! Texts of findings: the arguments of a call and its result, shortened.

use serde_json::Value;
use watchkeeper_core::{Json, ToolResult, author::Within, quote};

use crate::options::{Brief, Same};

/// The arguments that identify a call best, in order of preference.
const IDENTIFYING: &[&str] =
    &["command", "cmd", "file_path", "filePath", "path", "pattern", "query", "url", "code"];
/// Starts of lines that agents add above the output of a command.
const WRAPPING: &[&str] = &["Exit code", "Chunk ID:", "Wall time:", "Process exited", "Output:"];

/// The facts about a streak that its message contains.
pub(crate) struct Repeated<'a> {
    /// The name of the latest tool, quoted.
    pub(crate) tool: &'a str,
    /// The number of calls.
    pub(crate) n: u64,
    pub(crate) took: Within,
    /// The arguments, quoted; empty if unknown or different.
    pub(crate) arguments: &'a str,
    /// The latest known result.
    pub(crate) result: Option<Brief>,
    /// True if equal results differ in numbers, ids or times.
    pub(crate) differs: bool,
    /// True if the calls made the same change.
    pub(crate) is_change: bool,
}

/// Returns the message of a finding about equal calls.
pub(crate) fn message(repeated: &Repeated<'_>, result: Option<&ToolResult>, same: Same) -> String {
    let &Repeated { tool, n, took, arguments, is_change, .. } = repeated;
    let ignoring = if repeated.differs { ", ignoring numbers, ids and times" } else { "" };
    let condition = match (same.result, same.arguments) {
        (true, true) if repeated.result.is_none() => format!(
            "{tool} was called with the same arguments {n} times{took}, and no result is known"
        ),
        (true, true) if is_change => format!("{tool} made the same change {n} times{took}"),
        (true, true) => {
            format!("{tool} returned the same result for the same call {n} times{took}{ignoring}")
        }
        (true, false) if same.tool => format!(
            "{tool} returned the same result for {n} different calls in a row{took}{ignoring}"
        ),
        (true, false) => format!(
            "{n} different calls in a row returned the same result{took}{ignoring}, the last from {tool}"
        ),
        (false, true) => {
            format!("{tool} was called with the same arguments {n} times{took}")
        }
        (false, false) => format!("{tool} was called {n} times in a row{took}"),
    };
    match result.filter(|_| same.result && !is_change).map(quoted_result) {
        Some(result) if arguments.is_empty() => format!("{condition}: {result}"),
        Some(result) => format!("{condition}: {arguments} returns {result}"),
        None if arguments.is_empty() => condition,
        None => format!("{condition}: {arguments}"),
    }
}

/// Returns the message of a finding about equal calls with different results.
pub(crate) fn message_for_different_results(tool: &str, n: u64, arguments: &str) -> String {
    let colon = if arguments.is_empty() { "" } else { ": " };
    format!(
        "{tool} was called with the same arguments {n} times in a row, with different results{colon}{arguments}"
    )
}

/// Returns the message of a finding about turns that consist of one equal call.
pub(crate) fn message_for_equal_turns(tool: &str, n: u8) -> String {
    format!("{tool} was the only call of {n} turns in a row, with the same arguments and result")
}

/// Returns the argument that identifies a call best, quoted; empty if the call
/// has no arguments.
pub(crate) fn quoted_arguments(arguments: &Json) -> String {
    let value = arguments.to_value();
    let identifying = match &value {
        Value::String(text) => Some(text.as_str()),
        Value::Object(object) => IDENTIFYING.iter().find_map(|key| object.get(*key)?.as_str()),
        _ => None,
    };
    match identifying {
        Some("") => String::new(),
        Some(text) => quote(text.trim()),
        None if value.as_object().is_some_and(serde_json::Map::is_empty) => String::new(),
        None if value.is_null() => String::new(),
        None => quote(arguments.as_str()),
    }
}

/// Returns the first line of a result that is not empty, quoted.
fn quoted_result(result: &ToolResult) -> String {
    let output = result.output.as_deref().unwrap_or_default();
    let is_wrapping =
        |line: &&str| line.is_empty() || WRAPPING.iter().any(|start| line.starts_with(start));
    match output.lines().map(str::trim).find(|line| !is_wrapping(line)) {
        Some(line) => quote(line),
        None => "nothing".to_owned(),
    }
}
