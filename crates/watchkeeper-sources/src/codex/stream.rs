//! The stream that `codex exec --json` writes: an event for each step of a turn, without times.

use watchkeeper_core::{
    EventKind, Json, ModelCall, SessionId, ToolClass, ToolResult,
    author::{Cause, EventSink, Tokens},
};

use super::{calls, line::Usage};
use crate::{
    blocks::Output,
    conversation::Conversation,
    json::{Malformed, RawText, Text, object, parse},
};

/// The memory of a stream.
#[derive(Debug)]
pub(super) struct ExecStream {
    conversation: Conversation,
    /// The usage of the thread so far.
    usage: Tokens,
}

object! {
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"thread_id" => thread: Text<'a>,
        b"item" => item: Item<'a>,
        b"usage" => usage: Usage,
        b"message" => message: Text<'a>,
    }
}

object! {
    /// An item, with the members of all types.
    struct Item<'a> {
        b"id" => id: Text<'a>,
        b"type" => kind: Text<'a>,
        b"status" => status: Text<'a>,
        b"text" => text: Text<'a>,
        // Members of a command.
        b"command" => command: Text<'a>,
        b"aggregated_output" => output: Text<'a>,
        b"exit_code" => exit_code: i32,
        // Members of a change of files.
        b"changes" => changes: Vec<Change<'a>>,
        // Members of a call of another tool.
        b"server" => server: Text<'a>,
        b"tool" => tool: Text<'a>,
        b"arguments" => arguments: RawText<'a>,
        b"result" => result: McpResult<'a>,
        b"error" => error: Failure<'a>,
        b"prompt" => prompt: Text<'a>,
        b"receiver_thread_ids" => receivers: Vec<Text<'a>>,
        b"query" => query: Text<'a>,
    }
}

object! {
    struct Change<'a> {
        b"path" => path: Text<'a>,
        b"kind" => kind: Text<'a>,
    }
}

object! {
    struct McpResult<'a> {
        b"content" => content: Output<'a>,
    }
}

object! {
    struct Failure<'a> {
        b"message" => message: Text<'a>,
    }
}

/// The beginning of the first line of a stream.
pub(super) const FIRST: &[u8] = br#"{"type":"thread.started","thread_id":"#;

/// Returns whether a line is of a stream. The first one may be missing or damaged.
pub(super) fn has_line(line: &[u8]) -> bool {
    let kind = line.strip_prefix(br#"{"type":""#);
    let prefixes: [&[u8]; 3] = [b"thread.", b"turn.", b"item."];
    kind.is_some_and(|kind| prefixes.iter().any(|prefix| kind.starts_with(prefix)))
}

impl ExecStream {
    /// Creates the memory. The session has this id until a line names the thread.
    pub(super) fn new(session: &SessionId) -> Self {
        let conversation = Conversation::of_session(session).with_classes(class);
        Self { conversation, usage: Tokens::default() }
    }

    pub(super) fn read(&mut self, line: &[u8], sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let line: Line<'_> = parse(line)?;
        let conversation = &mut self.conversation;
        conversation.begin(None, None);
        match line.kind.ok_or("no type")?.raw() {
            b"thread.started" => {
                conversation.identify(&line.thread.map(Text::read).unwrap_or_default());
            }
            b"item.started" => begin_item(&line.item.ok_or("no item")?, conversation, sink),
            b"item.completed" => end_item(&line.item.ok_or("no item")?, conversation, sink),
            b"turn.completed" => {
                // The usage includes the earlier turns of the thread.
                let total = line.usage.map(|usage| usage.tokens()).unwrap_or_default();
                let tokens = total.minus(self.usage);
                self.usage = total;
                conversation.usage(ModelCall { tokens, ..ModelCall::default() }, sink);
                conversation.turn_end(sink);
            }
            b"error" => {
                let message = line.message.map(Text::boxed).unwrap_or_default();
                let retry = attempt(&message);
                conversation.emit(EventKind::Error { message, retry }, sink);
            }
            // The line before has the error.
            b"turn.failed" => conversation.turn_end(sink),
            b"turn.started" | b"item.updated" | b"item.plan.delta" => {}
            _ => sink.skip_part("unknown type of line"),
        }
        Ok(())
    }
}

/// Reads the call of an item that has begun.
fn begin_item(item: &Item<'_>, conversation: &mut Conversation, sink: &mut EventSink<'_>) {
    let Some((name, arguments)) = call(item) else { return };
    let response = conversation.entry_id();
    conversation.call(item.id.map(Text::boxed), &name, arguments, &response, sink);
}

/// Reads an item that has ended: a text, or the result of a call.
fn end_item(item: &Item<'_>, conversation: &mut Conversation, sink: &mut EventSink<'_>) {
    let text = item.text.map(Text::read).unwrap_or_default();
    match item.kind.map(Text::raw) {
        Some(b"agent_message" | b"plan") => conversation.message(&text, sink),
        Some(b"reasoning") => conversation.thinking(&text, sink),
        // A list of tasks, and a warning of the client.
        Some(b"todo_list" | b"error") => {}
        _ if call(item).is_none() => sink.skip_part("unknown type of item"),
        _ => {
            let id = item.id.map(Text::boxed).unwrap_or_default();
            // Some calls are written only when they have ended.
            if !conversation.has_open_call(&id) {
                begin_item(item, conversation, sink);
            }
            conversation.result(result(id, item), sink);
        }
    }
}

/// Returns the name and the arguments of a call.
fn call(item: &Item<'_>) -> Option<(String, Json)> {
    let kind = item.kind?.read();
    let text = |text: Option<Text<'_>>| text.map(Text::read).unwrap_or_default().into_owned();
    let (name, arguments) = match &*kind {
        "command_execution" => {
            let command = text(item.command);
            (kind.into_owned(), serde_json::json!({ "command": script(&command) }))
        }
        "file_change" => {
            let changes = item.changes.as_deref().unwrap_or_default();
            let paths: Vec<_> = changes.iter().map(|change| text(change.path)).collect();
            let kinds: Vec<_> = changes.iter().map(|change| text(change.kind)).collect();
            // The stream does not contain the change itself. Without the id, two different
            // changes of a file would be equal.
            let arguments = serde_json::json!({
                "paths": paths, "kinds": kinds, "item": text(item.id),
            });
            (kind.into_owned(), arguments)
        }
        "mcp_tool_call" => {
            let arguments = item.arguments.map_or("null", |arguments| arguments.0);
            let name = format!("{}__{}", text(item.server), text(item.tool));
            return Some((name, Json::parse_or_text(arguments)));
        }
        "collab_tool_call" => {
            let receivers = item.receivers.iter().flatten().map(|it| text(Some(*it)));
            let receivers: Vec<_> = receivers.collect();
            let arguments = serde_json::json!({ "prompt": text(item.prompt), "to": receivers });
            (text(item.tool), arguments)
        }
        "web_search" => (kind.into_owned(), serde_json::json!({ "query": text(item.query) })),
        _ => return None,
    };
    Some((name, Json::from(&arguments)))
}

fn result(id: Box<str>, item: &Item<'_>) -> ToolResult {
    let is = |status: &str| item.status.is_some_and(|own| own.is(status));
    let ok = !is("failed") && !is("declined") && item.exit_code.is_none_or(|code| code == 0);
    let error = item.error.as_ref().and_then(|error| error.message);
    let content = item.result.as_ref().and_then(|result| result.content.as_ref());
    let mut result = match (error.or(item.output), content) {
        (None, Some(content)) => content.result(id, ok),
        (text, _) => ToolResult::new(id, ok, text.map(Text::boxed)),
    };
    result.exit_code = item.exit_code;
    result.cause = is("declined").then_some(Cause::Declined);
    result
}

/// Returns the script of a command of a shell: `make` for `/bin/bash -lc 'make'`.
fn script(command: &str) -> &str {
    let script = command.split_once(" -lc ").filter(|(shell, _)| !shell.contains(' '));
    let script = script.map_or(command, |(_, script)| script);
    let quoted = script.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    quoted.filter(|quoted| !quoted.contains('\'')).unwrap_or(script)
}

/// Returns the number of the attempt in a message such as `Reconnecting... 1/5 (overloaded)`.
fn attempt(message: &str) -> Option<u32> {
    let rest = message.strip_prefix("Reconnecting... ")?;
    rest.split_once('/')?.0.parse().ok()
}

fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "command_execution" => Some(ToolClass::Run),
        "file_change" => Some(ToolClass::Write),
        _ => calls::class(tool),
    }
}

#[cfg(test)]
mod tests {
    use super::{attempt, script};

    #[test]
    fn returns_the_script_of_a_shell() {
        for (command, expected) in [
            ("/bin/bash -lc 'cat a.md'", "cat a.md"),
            ("bash -lc make", "make"),
            ("bash -lc 'a'\\''b'", "'a'\\''b'"),
            ("make -lc 'x'", "x"),
            ("a b -lc 'x'", "a b -lc 'x'"),
            ("'", "'"),
        ] {
            assert_eq!(script(command), expected, "{command}");
        }
    }

    #[test]
    fn finds_the_number_of_an_attempt() {
        assert_eq!(attempt("Reconnecting... 3/5 (overloaded)"), Some(3));
        assert_eq!(attempt("Reconnecting... soon"), None);
        assert_eq!(attempt("3/5"), None);
    }
}
