//! Calls and results in the text of messages, which Cline uses for models without calls.
//!
//! A call is `<tool><argument>value</argument></tool>`, and its result begins with
//! `[tool for 'value'] Result:`.

use watchkeeper_core::{Json, author::Cause};

use crate::{blocks::Blocks, json::Text};

/// A call in a text.
pub(super) struct Markup<'t> {
    /// The text after the call.
    after: &'t str,
    pub(super) tool: &'t str,
    pub(super) arguments: Json,
}

/// A result in a text.
pub(super) struct Reply {
    pub(super) ok: bool,
    pub(super) output: String,
    pub(super) cause: Option<Cause>,
}

const TOOLS: &[&str] = &[
    "execute_command",
    "read_file",
    "write_to_file",
    "replace_in_file",
    "apply_diff",
    "insert_content",
    "search_and_replace",
    "search_files",
    "list_files",
    "list_code_definition_names",
    "codebase_search",
    "browser_action",
    "use_mcp_tool",
    "access_mcp_resource",
    "ask_followup_question",
    "attempt_completion",
    "plan_mode_respond",
    "new_task",
    "switch_mode",
    "update_todo_list",
    "web_fetch",
];

/// The largest number of calls or arguments that are read from one text, and of the names of
/// elements without an end in it.
const MAX_ELEMENTS: usize = 64;

/// Returns the calls in a text.
pub(super) fn calls(text: &str) -> impl Iterator<Item = Markup<'_>> {
    // Of another element, such as a thought, nothing is a call.
    let calls = Elements::of(text).filter(|element| TOOLS.contains(&element.name));
    let calls = calls.map(|Element { name, content, after }| Markup {
        after,
        tool: name,
        arguments: arguments(content),
    });
    calls.take(MAX_ELEMENTS)
}

/// Returns the text before the first call.
pub(super) fn before_calls(text: &str) -> &str {
    let Some(call) = calls(text).next() else { return text };
    let until_end = &text[..text.len() - call.after.len()];
    let start = until_end.rfind(&format!("<{}>", call.tool));
    start.map_or(text, |start| text[..start].trim_end())
}

fn arguments(content: &str) -> Json {
    let elements = Elements::of(content).take(MAX_ELEMENTS);
    let arguments: serde_json::Map<_, _> =
        elements.map(|it| (it.name.to_owned(), it.content.trim_matches('\n').into())).collect();
    Json::from(&serde_json::Value::Object(arguments))
}

/// An element of a text, which may contain others.
struct Element<'t> {
    name: &'t str,
    content: &'t str,
    /// The text after the element.
    after: &'t str,
}

/// The elements of a text, one after the other.
struct Elements<'t> {
    rest: &'t str,
    /// The names of elements that do not end, for which the rest is not searched again.
    unclosed: Vec<&'t str>,
}

impl<'t> Elements<'t> {
    const fn of(text: &'t str) -> Self {
        Self { rest: text, unclosed: Vec::new() }
    }
}

impl<'t> Iterator for Elements<'t> {
    type Item = Element<'t>;

    fn next(&mut self) -> Option<Element<'t>> {
        while self.unclosed.len() < MAX_ELEMENTS {
            let (_, opened) = self.rest.split_once('<')?;
            self.rest = opened;
            let is_in_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let len = opened.bytes().position(|byte| !is_in_name(byte))?;
            let (name, after) = opened.split_at(len);
            let Some(content) = after.strip_prefix('>').filter(|_| 0 < len) else { continue };
            if self.unclosed.contains(&name) {
                continue;
            }
            match content.split_once(&format!("</{name}>")) {
                Some((content, after)) => {
                    self.rest = after;
                    return Some(Element { name, content, after });
                }
                None => self.unclosed.push(name),
            }
        }
        None
    }
}

/// Returns the text after the header of a result.
fn header(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('[')?;
    let tool = rest.split([' ', ']']).next()?;
    let (_, after) = rest.split_once("] Result:")?;
    TOOLS.contains(&tool).then_some(after)
}

/// Returns the results in the blocks of a message. The output follows the header in the same
/// block or in the next one.
pub(super) fn replies(blocks: &Blocks<'_>) -> Vec<Reply> {
    let texts: Vec<_> = blocks.0.iter().map(|block| block.value.text.map(Text::read)).collect();
    let mut replies = Vec::new();
    for (nth, text) in texts.iter().enumerate() {
        let Some(output) = text.as_deref().and_then(header) else { continue };
        let next = || texts.get(nth + 1).and_then(Option::as_deref).unwrap_or_default();
        let output = if output.trim().is_empty() { next() } else { output };
        replies.push(Reply::of(output.trim()));
    }
    replies
}

impl Reply {
    fn of(output: &str) -> Self {
        const FAILURES: &[&str] = &["The tool execution failed", "<error>", "Error", "[ERROR]"];
        let was_denied = output.starts_with("The user denied this operation");
        let has_failed = FAILURES.iter().any(|beginning| output.starts_with(beginning));
        Self {
            ok: !was_denied && !has_failed,
            output: output.to_owned(),
            cause: was_denied.then_some(Cause::Declined),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{before_calls, calls, header};

    #[test]
    fn finds_calls_in_a_text() {
        let text = "<thinking>I look.</thinking>\n<read_file>\n<path>a/b.rs</path>\n</read_file> 1 < 2\n<list_files><path>.</path><recursive>true</recursive></list_files><read_file>";
        let found: Vec<_> =
            calls(text).map(|call| format!("{} {}", call.tool, call.arguments.as_str())).collect();
        assert_eq!(
            found,
            [r#"read_file {"path":"a/b.rs"}"#, r#"list_files {"path":".","recursive":"true"}"#],
        );
        assert_eq!(before_calls(text), "<thinking>I look.</thinking>");
        assert_eq!(before_calls("no call"), "no call");
    }

    #[test]
    fn elements_without_an_end_hide_no_call_and_take_no_time() {
        let call = "<read_file><path>a</path></read_file>";
        let unclosed = "<a><b>".repeat(200_000);
        assert_eq!(calls(&format!("{unclosed}{call}")).count(), 1);
        let names: Vec<_> = (0..1 << 14).map(|n| format!("{n:014b}")).collect();
        let names = names.iter().map(|it| format!("<{}>", it.replace('0', "o").replace('1', "i")));
        let text = format!("{}{}", names.collect::<String>(), "<a></a>".repeat(50_000));
        assert_eq!(calls(&text).count(), 0);
    }

    #[test]
    fn finds_the_header_of_a_result() {
        assert_eq!(header("[read_file for 'a'] Result:\nx"), Some("\nx"));
        assert_eq!(header("[attempt_completion] Result:"), Some(""));
        for other in ["[note] Result:", "read_file] Result:", "[read_file for 'a']", ""] {
            assert_eq!(header(other), None, "{other}");
        }
    }
}
