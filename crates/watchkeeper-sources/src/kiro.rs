//! Kiro: the lines of two versions of its command-line agent, and a saved conversation.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    SourceKind, ToolResult,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::{Arguments, Output},
    content::join,
    conversation::Conversation,
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_home,
    json::{Malformed, Present, Text, TextOr, Time, object, parse, parse_head, parse_value},
    lines::first_line,
};

/// Reads the sessions of Kiro.
#[derive(Debug)]
pub struct Kiro(DocumentReader<Conversation>);

static WANTED: Wanted = Wanted {
    lists: &["history"],
    members: &["conversation_id"],
    // Other files have one object in each line.
    is_loose: true,
    has_preface: false,
};

register_source!(Kiro);

impl SourceKind for Kiro {
    const KIND: &'static str = "kiro";
    const DOCS: &'static str = include_str!("../docs/kiro.md");
    const FILES: &'static [&'static str] = &["*.jsonl", "*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let saved: Saved = parse_head(head);
        let first = first_line(head);
        let line: Line<'_> = parse_head(first);
        let is = |kinds: &[&str], kind: Option<Text<'_>>| {
            kind.is_some_and(|kind| kinds.iter().any(|it| kind.is(it)))
        };
        let kind = line.payload.as_ref().and_then(|payload| payload.kind);
        saved.conversation.is_some() && saved.history.is_some()
            || line.data.is_some() && is(&["Prompt", "AssistantMessage", "ToolResults"], line.kind)
            || line.kind.is_none()
                && line.at.is_some()
                && is(&["user", "assistant", "tool_call", "tool_result"], kind)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".kiro/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(DocumentReader::new(&WANTED, Conversation::of_rewritten(path), read))
    }
}

object! {
    /// The beginning of a saved conversation.
    struct Saved {
        b"conversation_id" => conversation: Present,
        b"history" => history: Vec<Present>,
    }
}

object! {
    /// A line of either version.
    struct Line<'a> {
        // Members of the first version.
        b"kind" => kind: Text<'a>,
        b"data" => data: Data<'a>,
        // Members of the second version.
        b"timestamp" => at: Time,
        b"payload" => payload: Payload<'a>,
    }
}

object! {
    struct Data<'a> {
        b"message_id" => id: Text<'a>,
        b"content" => content: Vec<Block<'a>>,
    }
}

object! {
    struct Block<'a> {
        b"kind" => kind: Text<'a>,
        b"data" => data: TextOr<'a, CallOrResult<'a>>,
    }
}

object! {
    struct CallOrResult<'a> {
        b"toolUseId" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"input" => arguments: Arguments<'a>,
        b"content" => output: Output<'a>,
        b"status" => status: Text<'a>,
    }
}

object! {
    struct Payload<'a> {
        b"type" => kind: Text<'a>,
        b"content" => content: Output<'a>,
        b"toolName" => tool: Text<'a>,
        b"toolCallId" => call: Text<'a>,
        b"args" => arguments: Arguments<'a>,
    }
}

object! {
    /// A turn of a saved conversation.
    struct Turn<'a> {
        b"user" => user: User<'a>,
        b"assistant" => assistant: Assistant<'a>,
    }
}

object! {
    struct User<'a> {
        b"content" => content: UserContent<'a>,
    }
}

object! {
    struct UserContent<'a> {
        b"Prompt" => prompt: Prompt<'a>,
    }
}

object! {
    struct Prompt<'a> {
        b"prompt" => text: Text<'a>,
    }
}

object! {
    struct Assistant<'a> {
        b"Response" => response: Response<'a>,
        b"ToolUse" => tool_use: Response<'a>,
    }
}

object! {
    struct Response<'a> {
        b"content" => content: Text<'a>,
        b"tool_uses" => calls: Vec<SavedCall<'a>>,
    }
}

object! {
    struct SavedCall<'a> {
        b"id" => id: Text<'a>,
        b"name" => name: Text<'a>,
        b"args" => arguments: Arguments<'a>,
    }
}

source_of_documents!(Kiro);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    sink.at_line(part.lines().line_of(0));
    match part.kind {
        PartKind::Member(_) => {
            conversation.identify(&part.string()?.unwrap_or_default());
        }
        PartKind::Entry => {
            conversation.begin(None, None);
            read_turn(&parse(part.text)?, conversation, sink);
        }
        PartKind::Whole => {
            let line: Line<'_> = parse(part.text)?;
            match (&line.kind, &line.payload) {
                (Some(kind), _) => read_first_version(*kind, &line, conversation, sink)?,
                (None, Some(payload)) => {
                    conversation.begin(line.at.map(|at| at.0), None);
                    read_second_version(payload, conversation, sink)?;
                }
                (None, None) => return Err("no kind"),
            }
        }
        PartKind::End => {}
    }
    Ok(())
}

fn read_turn(turn: &Turn<'_>, conversation: &mut Conversation, sink: &mut EventSink<'_>) {
    let content = turn.user.as_ref().and_then(|user| user.content.as_ref());
    if let Some(prompt) = content.and_then(|content| content.prompt.as_ref()?.text) {
        conversation.prompt(&prompt.read(), false, sink);
    }
    let Some(assistant) = &turn.assistant else { return };
    for response in [&assistant.response, &assistant.tool_use].into_iter().flatten() {
        let id = conversation.entry_id();
        conversation.message(&response.content.map(Text::read).unwrap_or_default(), sink);
        let calls = response.calls.as_deref().unwrap_or_default();
        for call in calls {
            let name = call.name.map_or_else(|| "unknown".into(), Text::read);
            let arguments = call.arguments.as_ref().map(Arguments::json).unwrap_or_default();
            conversation.call(call.id.map(Text::boxed), &name, arguments, &id, sink);
        }
    }
}

fn read_first_version(
    kind: Text<'_>,
    line: &Line<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let data = line.data.as_ref().ok_or("no data")?;
    conversation.begin(None, None);
    let response = data.id.map_or_else(|| conversation.entry_id(), Text::boxed);
    let is_prompt = kind.is("Prompt");
    let mut has_call = false;
    for block in data.content.as_deref().unwrap_or_default() {
        match (block.kind.map(Text::raw), &block.data) {
            (Some(b"text"), Some(TextOr::Text(text))) if is_prompt => {
                conversation.prompt(&text.read(), false, sink);
            }
            (Some(b"text"), Some(TextOr::Text(text))) => conversation.message(&text.read(), sink),
            (Some(b"toolUse"), Some(TextOr::Other(call))) => {
                has_call = true;
                let name = call.name.map_or_else(|| "unknown".into(), Text::read);
                let arguments = call.arguments.as_ref().map(Arguments::json).unwrap_or_default();
                let id = call.id.map(Text::boxed);
                conversation.call(id, &name, arguments, &response, sink);
            }
            (Some(b"toolResult"), Some(TextOr::Other(result))) => {
                let id = result.id.map(Text::boxed).unwrap_or_default();
                let ok = result.status.is_none_or(|status| !status.is("error"));
                let output = result.output.as_ref().map(text_of);
                conversation.result(ToolResult::new(id, ok, output), sink);
            }
            _ => sink.skip_part("unknown kind of block"),
        }
    }
    if kind.is("AssistantMessage") && !has_call {
        conversation.turn_end(sink);
    }
    Ok(())
}

/// Returns the texts of an output, or the JSON of another one.
fn text_of(output: &Output<'_>) -> Box<str> {
    let blocks: Option<Vec<Block<'_>>> = parse_value(output.raw()).ok().flatten();
    let blocks = blocks.unwrap_or_default();
    let texts = blocks.iter().map(|block| match &block.data {
        Some(TextOr::Text(text)) => Some(*text),
        _ => None,
    });
    match texts.collect::<Option<Vec<_>>>() {
        Some(texts) if !texts.is_empty() => join(&texts),
        _ => output.text(),
    }
}

fn read_second_version(
    payload: &Payload<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let text = || payload.content.as_ref().map(Output::text).unwrap_or_default();
    match payload.kind.ok_or("no type")?.raw() {
        b"user" => conversation.prompt(&text(), false, sink),
        b"assistant" => conversation.message(&text(), sink),
        b"tool_call" => {
            let name = payload.tool.map_or_else(|| "unknown".into(), Text::read);
            let arguments = payload.arguments.as_ref().map(Arguments::json).unwrap_or_default();
            let response = conversation.entry_id();
            let id = payload.call.map(Text::boxed);
            conversation.call(id, &name, arguments, &response, sink);
        }
        b"tool_result" => {
            let id = payload.call.map(Text::boxed).unwrap_or_default();
            let result = match &payload.content {
                Some(output) => output.result(id, true),
                None => ToolResult::new(id, true, None),
            };
            conversation.result(result, sink);
        }
        _ => sink.skip_part("unknown type of line"),
    }
    Ok(())
}
