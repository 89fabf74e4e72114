use serde_json::Value;
use watchkeeper_core::{ToolCall, quote};

/// Returns a call in a few words that are safe for a terminal: the tool, and its first text
/// argument in order of names or all arguments.
pub fn call_summary(call: &ToolCall) -> String {
    match argument(call) {
        Some(argument) => format!("{} {argument}", quote(&call.tool)),
        None => quote(&call.tool),
    }
}

fn argument(call: &ToolCall) -> Option<String> {
    match call.arguments.to_value() {
        Value::Null => None,
        Value::String(text) => Some(first_line(&text)),
        Value::Object(arguments) if arguments.is_empty() => None,
        Value::Object(arguments) => {
            let text = arguments.values().find_map(Value::as_str).map(first_line);
            Some(text.unwrap_or_else(|| first_line(call.arguments.as_str())))
        }
        _ => Some(first_line(call.arguments.as_str())),
    }
}

/// Returns the first line of a text, quoted. The quote ends in `…` if there is more text.
pub fn first_line(text: &str) -> String {
    let text = text.trim();
    let line = text.lines().next().unwrap_or_default();
    let quoted = quote(line);
    if line.len() < text.len() && !quoted.ends_with("…`") {
        return format!("{}…`", quoted.strip_suffix('`').unwrap_or(&quoted));
    }
    quoted
}
