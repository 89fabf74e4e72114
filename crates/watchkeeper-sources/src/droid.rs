//! Factory Droid: the session files, and the stream of `droid exec`.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    EventKind, ModelCall, Source, SourceKind, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::{Arguments, Blocks, Output, is_reminder},
    conversation::{Conversation, tokens},
    document::LineCounter,
    home::in_home,
    json::{Malformed, Text, TextOr, Time, object, parse_head, parse_value},
    json_line::read_object,
    lines::lines_of,
};

/// Reads the sessions of Factory Droid.
#[derive(Debug)]
pub struct Droid(Conversation);

register_source!(Droid);

impl SourceKind for Droid {
    const KIND: &'static str = "droid";
    const DOCS: &'static str = include_str!("../docs/droid.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let mut lines = lines_of(head).filter(|line| !line.trim_ascii().is_empty());
        let first: Line<'_> = parse_head(lines.next().unwrap_or_default());
        let has_title = first.title.is_some() || first.owner.is_some();
        let is_stream = |line: &[u8]| {
            let line: Line<'_> = parse_head(line);
            let is_message = line.is("message") && line.text.is_some();
            line.session.is_some() && (is_message || line.is("tool_call") || line.is("completion"))
        };
        first.is("session_start") && first.id.is_some() && has_title
            || first.is("system") && first.session.is_some() && lines.take(8).any(is_stream)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".factory/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(Conversation::new(path))
    }
}

object! {
    struct Line<'a> {
        b"type" => kind: Text<'a>,
        b"id" => id: Text<'a>,
        b"timestamp" => at: Time,
        b"cwd" => cwd: Text<'a>,
        // Members of the header of a session file.
        b"title" | b"sessionTitle" => title: Text<'a>,
        b"owner" => owner: Text<'a>,
        b"message" => message: MessageOrText<'a>,
        // Members of a stream.
        b"session_id" | b"sessionId" => session: Text<'a>,
        b"model" => model: Text<'a>,
        b"role" => role: Text<'a>,
        b"text" | b"finalText" => text: Text<'a>,
        b"toolCallId" => call: Text<'a>,
        b"toolName" | b"toolId" => tool: Text<'a>,
        b"parameters" => arguments: Arguments<'a>,
        b"value" => output: Output<'a>,
        b"isError" => is_error: bool,
        b"usage" => usage: Usage,
    }
}

/// The message of a session file, or the text of an error.
type MessageOrText<'a> = TextOr<'a, Message<'a>>;

object! {
    struct Message<'a> {
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
        b"visibility" => visibility: Text<'a>,
    }
}

object! {
    struct Usage {
        b"input_tokens" => input: u64,
        b"output_tokens" => output: u64,
        b"cache_read_input_tokens" => cache_read: u64,
        b"cache_creation_input_tokens" => cache_write: u64,
    }
}

object! {
    /// The output of a command in a stream.
    struct CommandOutput<'a> {
        b"stdout" => stdout: Text<'a>,
        b"stderr" => stderr: Text<'a>,
        b"exitCode" => exit_code: i32,
    }
}

impl Line<'_> {
    fn is(&self, kind: &str) -> bool {
        self.kind.is_some_and(|own| own.is(kind))
    }
}

impl Source for Droid {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Droid {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let conversation = &mut self.0;
        conversation.begin(line.at.map(|at| at.0), None);
        match line.kind.ok_or("no type")?.raw() {
            b"session_start" => {
                conversation.identify(&line.id.map(Text::read).unwrap_or_default());
                conversation.start.cwd = line.cwd.map(Text::boxed);
            }
            b"system" => {
                conversation.identify(&line.session.map(Text::read).unwrap_or_default());
                conversation.start.cwd = line.cwd.map(Text::boxed);
                conversation.start.model = line.model.map(Text::boxed);
            }
            b"message" => match &line.message {
                Some(TextOr::Other(message)) => read_message(message, line.id, conversation, sink)?,
                _ => read_text(line, conversation, sink)?,
            },
            b"tool_call" => {
                let name = line.tool.map_or_else(|| "unknown".into(), Text::read);
                let arguments = line.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                let id = line.call.or(line.id).map(Text::boxed);
                let response = conversation.entry_id();
                conversation.call(id, &name, arguments, &response, sink);
            }
            b"tool_result" => {
                let id = line.call.or(line.id).map(Text::boxed).unwrap_or_default();
                conversation.result(result(id, line), sink);
            }
            b"completion" => {
                let usage = line.usage.as_ref();
                let tokens =
                    usage.map(|it| tokens(it.input, it.output, it.cache_read, it.cache_write));
                let tokens = tokens.unwrap_or_default();
                conversation.usage(ModelCall { tokens, ..ModelCall::default() }, sink);
                conversation.turn_end(sink);
            }
            b"error" => {
                let message = match &line.message {
                    Some(TextOr::Text(text)) => text.boxed(),
                    _ => Box::default(),
                };
                conversation.emit(EventKind::Error { message, retry: None }, sink);
            }
            b"todo_state" | b"compaction_state" | b"session_end" => {}
            _ => sink.skip_part("unknown type of line"),
        }
        Ok(())
    }
}

/// Reads a message of a session file.
fn read_message(
    message: &Message<'_>,
    id: Option<Text<'_>>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let lines = LineCounter::of_line(sink.line());
    let none = Blocks::default();
    let blocks = message.content.as_ref().unwrap_or(&none);
    match message.role.ok_or("no role")?.raw() {
        // A note of the client to the person, in place of a response.
        _ if message.visibility.is_some_and(|it| it.is("user_only")) => {
            conversation.turn_end(sink);
        }
        b"user" => conversation.read_prompt(blocks, lines, is_reminder, sink),
        b"assistant" => {
            let response = id.map_or_else(|| conversation.entry_id(), Text::boxed);
            if !conversation.read_response(blocks, lines, &response, sink) {
                conversation.turn_end(sink);
            }
        }
        b"system" => {}
        _ => sink.skip_part("unknown role"),
    }
    Ok(())
}

/// Reads a message of a stream.
fn read_text(
    line: &Line<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let text = line.text.map(Text::read).unwrap_or_default();
    match line.role.ok_or("no role")?.raw() {
        b"user" => {
            let text = text.rsplit_once("</system-reminder>").map_or(&*text, |(_, text)| text);
            conversation.prompt(text.trim(), false, sink);
        }
        b"assistant" => conversation.message(&text, sink),
        _ => sink.skip_part("unknown role"),
    }
    Ok(())
}

/// Returns the result of a stream: a text, or the output of a command.
fn result(id: Box<str>, line: &Line<'_>) -> ToolResult {
    let ok = line.is_error != Some(true);
    let Some(output) = &line.output else { return ToolResult::new(id, ok, None) };
    let command: Option<CommandOutput<'_>> = parse_value(output.raw()).ok().flatten();
    let Some(command) = command.filter(|it| it.exit_code.is_some() || it.stdout.is_some()) else {
        return output.result(id, ok);
    };
    let ok = ok && command.exit_code.is_none_or(|code| code == 0);
    let texts = [command.stdout, command.stderr].map(|text| text.map(Text::read));
    let texts: Vec<_> = texts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
    let mut result = ToolResult::new(id, ok, Some(texts.join("\n").into()));
    result.exit_code = command.exit_code;
    result
}
