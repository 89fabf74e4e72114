//! GitHub Copilot Chat in VS Code: a document for each session, or the changes of one, line by
//! line.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    EventKind, Json, SourceKind, ToolClass, ToolResult,
    author::{Cause, Environment, EventSink},
    register_source,
};

use crate::{
    conversation::Conversation,
    document::{LineCounter, Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_editors,
    json::{
        Located, Malformed, Millis, Present, RawText, Text, TextOr, object, parse, parse_head,
        parse_value,
    },
    lines::lines_of,
};

/// Reads the chat sessions of VS Code.
#[derive(Debug)]
pub struct CopilotChat(DocumentReader<Conversation>);

static WANTED: Wanted = Wanted {
    lists: &["requests"],
    members: &["sessionId"],
    // Other files have a change in each line.
    is_loose: true,
    has_preface: false,
};

register_source!(CopilotChat);

impl SourceKind for CopilotChat {
    const KIND: &'static str = "copilot-chat";
    const DOCS: &'static str = include_str!("../docs/copilot-chat.md");
    const FILES: &'static [&'static str] = &["*.json", "*.jsonl", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let document: Session = parse_head(head);
        let first = lines_of(head).next().unwrap_or_default();
        let change: Snapshot = parse_head(first);
        let is_session = |session: &Session| {
            let has_id = session.id.is_some() && session.created.is_some();
            session.requests.is_some() && (has_id || session.requester.is_some())
        };
        is_session(&document)
            || change.kind == Some(0) && change.session.as_ref().is_some_and(is_session)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        // Sessions of a workspace are in `workspaceStorage/<id>/chatSessions`.
        let mut folders = in_editors(environment, "globalStorage/emptyWindowChatSessions");
        folders.extend(in_editors(environment, "workspaceStorage"));
        folders
    }

    fn new(path: &Path) -> Self {
        let conversation = Conversation::of_rewritten(path).with_classes(class);
        Self(DocumentReader::new(&WANTED, conversation, read))
    }
}

object! {
    /// The first members of a session.
    struct Session {
        b"sessionId" => id: Present,
        b"creationDate" => created: Present,
        b"requesterUsername" => requester: Present,
        b"requests" => requests: Vec<Present>,
    }
}

object! {
    /// The first line of a file with changes.
    struct Snapshot {
        b"kind" => kind: u64,
        b"v" => session: Session,
    }
}

object! {
    /// A change: the whole session first, and then values that are added to its lists.
    struct Change<'a> {
        b"kind" => kind: u64,
        b"k" => path: Vec<TextOr<'a, u64>>,
        b"v" => value: RawText<'a>,
    }
}

object! {
    /// The whole session in a change.
    struct WholeSession<'a> {
        b"sessionId" => id: Text<'a>,
        b"requests" => requests: Vec<Request<'a>>,
    }
}

object! {
    struct Request<'a> {
        b"requestId" => id: Text<'a>,
        b"timestamp" => at: Millis,
        b"message" => prompt: Prompt<'a>,
        b"response" => response: Vec<Located<'a, Item<'a>>>,
        b"result" => result: RequestResult<'a>,
        b"isCanceled" => is_canceled: bool,
    }
}

object! {
    struct Prompt<'a> {
        b"text" => text: Text<'a>,
    }
}

object! {
    struct RequestResult<'a> {
        b"errorDetails" => error: Failure<'a>,
    }
}

object! {
    struct Failure<'a> {
        b"message" => message: Text<'a>,
    }
}

object! {
    /// A part of a response.
    struct Item<'a> {
        b"kind" => kind: Text<'a>,
        b"value" => value: Text<'a>,
        b"toolId" => tool: Text<'a>,
        b"toolCallId" => call: Text<'a>,
        b"isComplete" => is_complete: bool,
        b"isConfirmed" => confirmed: TextOr<'a, Confirmation>,
        b"invocationMessage" => invocation: TextOr<'a, Markdown<'a>>,
        b"pastTenseMessage" => past: TextOr<'a, Markdown<'a>>,
        b"toolSpecificData" => data: ToolData<'a>,
    }
}

object! {
    struct Confirmation {
        b"type" => kind: u64,
    }
}

object! {
    struct Markdown<'a> {
        b"value" => value: Text<'a>,
    }
}

object! {
    struct ToolData<'a> {
        b"command" => command: Text<'a>,
        b"commandLine" => command_line: CommandLine<'a>,
    }
}

object! {
    struct CommandLine<'a> {
        b"original" => original: Text<'a>,
    }
}

source_of_documents!(CopilotChat);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    match part.kind {
        PartKind::Member(_) => {
            conversation.identify(&part.string()?.unwrap_or_default());
        }
        PartKind::Entry => {
            read_request(&parse(part.text)?, part.lines(), conversation, sink);
        }
        PartKind::Whole => read_change(&parse(part.text)?, conversation, sink)?,
        PartKind::End => {}
    }
    Ok(())
}

fn read_change(
    change: &Change<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    let value = change.value.map(|value| value.0.as_bytes()).unwrap_or_default();
    let lines = LineCounter::of_line(sink.line());
    let path = change.path.as_deref().unwrap_or_default();
    let starts_at_requests =
        matches!(path.first(), Some(TextOr::Text(name)) if name.is("requests"));
    let last = match path.last() {
        Some(TextOr::Text(name)) if 1 < path.len() => name.raw(),
        _ => b"",
    };
    match (change.kind.ok_or("no kind")?, last) {
        (0, _) => {
            let session: WholeSession<'_> = parse(value)?;
            conversation.identify(&session.id.map(Text::read).unwrap_or_default());
            for request in session.requests.iter().flatten() {
                read_request(request, lines.clone(), conversation, sink);
            }
        }
        (2, _) if starts_at_requests && path.len() == 1 => {
            let requests: Option<Vec<Request<'_>>> = parse_value(value)?;
            for request in requests.iter().flatten() {
                read_request(request, lines.clone(), conversation, sink);
            }
        }
        (2, b"response") if starts_at_requests => {
            let items: Option<Vec<Located<'_, Item<'_>>>> = parse_value(value)?;
            conversation.begin(None, None);
            read_items(&items.unwrap_or_default(), lines, conversation, sink);
        }
        (1, b"result") if starts_at_requests => {
            let result: Option<RequestResult<'_>> = parse_value(value)?;
            conversation.begin(None, None);
            read_end(result.as_ref(), conversation, sink);
        }
        _ => {}
    }
    Ok(())
}

fn read_request(
    request: &Request<'_>,
    mut lines: LineCounter<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    conversation.begin(request.at.map(|at| at.0), request.id.map(Text::raw));
    sink.at_line(lines.line_of(0));
    let prompt = request.prompt.as_ref().and_then(|prompt| prompt.text);
    conversation.prompt(&prompt.map(Text::read).unwrap_or_default(), false, sink);
    read_items(request.response.as_deref().unwrap_or_default(), lines, conversation, sink);
    if request.is_canceled == Some(true) {
        conversation.turn_end(sink);
    } else if request.result.is_some() {
        read_end(request.result.as_ref(), conversation, sink);
    }
}

/// Reads the end of a response: an error, or the end of the turn.
fn read_end(
    result: Option<&RequestResult<'_>>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    match result.and_then(|result| result.error.as_ref()) {
        Some(error) => {
            let message = error.message.map(Text::boxed).unwrap_or_default();
            conversation.emit(EventKind::Error { message, retry: None }, sink);
        }
        None => conversation.turn_end(sink),
    }
}

/// Reads the parts of a response. Texts that follow each other are one message.
fn read_items(
    items: &[Located<'_, Item<'_>>],
    mut lines: LineCounter<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    let response = conversation.entry_id();
    let mut message = String::new();
    for Located { at, value: item, .. } in items {
        match item.kind.map(Text::raw) {
            None | Some(b"markdownContent") => {
                message.push_str(&item.value.map(Text::read).unwrap_or_default());
            }
            Some(b"thinking") => {
                conversation.thinking(&item.value.map(Text::read).unwrap_or_default(), sink);
            }
            Some(b"toolInvocationSerialized") => {
                conversation.message(&std::mem::take(&mut message), sink);
                sink.at_line(lines.line_of(*at));
                read_call(item, &response, conversation, sink);
            }
            // The others, such as references, are within a text or announce a call.
            _ => {}
        }
    }
    conversation.message(&message, sink);
}

fn read_call(
    item: &Item<'_>,
    response: &str,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) {
    /// The confirmation that a person did not give.
    const DENIED: u64 = 0;
    let text = |text: &TextOr<'_, Markdown<'_>>| match text {
        TextOr::Text(text) => Some(text.boxed()),
        TextOr::Other(markdown) => markdown.value.map(Text::boxed),
    };
    let id = item.call.map(Text::boxed).unwrap_or_default();
    let tool = item.tool.map_or_else(|| "unknown".into(), Text::read);
    let description = item.past.as_ref().or(item.invocation.as_ref()).and_then(text);
    let data = item.data.as_ref();
    let command = data.and_then(|data| {
        data.command.or_else(|| data.command_line.as_ref()?.original).map(Text::boxed)
    });
    let arguments = match command {
        Some(command) => serde_json::json!({ "command": command }),
        None if description.is_none() => serde_json::json!({}),
        None => serde_json::json!({ "message": description }),
    };
    conversation.call(Some(id.clone()), &tool, Json::from(&arguments), response, sink);
    if item.is_complete == Some(true) {
        let was_denied =
            matches!(&item.confirmed, Some(TextOr::Other(Confirmation { kind: Some(DENIED) })));
        // The output is not in the file.
        let mut result = ToolResult::new(id, !was_denied, None);
        result.cause = was_denied.then_some(Cause::Declined);
        conversation.result(result, sink);
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "copilot_getErrors" | "copilot_think" | "copilot_openSimpleBrowser" => {
            Some(ToolClass::Read)
        }
        "manage_todo_list" => Some(ToolClass::Other),
        _ => None,
    }
}
