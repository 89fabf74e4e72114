//! Continue: one document for each session, without times.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    SourceKind, ToolResult,
    author::{Cause, Environment, EventSink},
    register_source,
};

use crate::{
    blocks::is_never_synthetic,
    chat::ChatMessage,
    content::join,
    conversation::Conversation,
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_home,
    json::{Located, Malformed, Present, Text, object, parse, parse_head},
};

/// Reads the sessions of Continue.
#[derive(Debug)]
pub struct Continue(DocumentReader<Conversation>);

static WANTED: Wanted = Wanted {
    lists: &["history"],
    members: &["sessionId", "workspaceDirectory"],
    is_loose: false,
    has_preface: false,
};

register_source!(Continue);

impl SourceKind for Continue {
    const KIND: &'static str = "continue";
    const DOCS: &'static str = include_str!("../docs/continue.md");
    const FILES: &'static [&'static str] = &["*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let head: Head = parse_head(head);
        head.session.is_some() && head.workspace.is_some() && head.history.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("CONTINUE_GLOBAL_DIR").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("sessions")];
        }
        in_home(environment, &[".continue/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(DocumentReader::new(&WANTED, Conversation::of_rewritten(path), read))
    }
}

object! {
    struct Head {
        b"sessionId" => session: Present,
        b"workspaceDirectory" => workspace: Present,
        b"history" => history: Vec<Present>,
    }
}

object! {
    struct Item<'a> {
        b"message" => message: ChatMessage<'a>,
        b"toolCallStates" => states: Vec<Located<'a, CallState<'a>>>,
    }
}

object! {
    /// The state of a call, with its result.
    struct CallState<'a> {
        b"toolCallId" => id: Text<'a>,
        b"status" => status: Text<'a>,
        b"output" => output: Vec<ContextItem<'a>>,
    }
}

object! {
    struct ContextItem<'a> {
        b"content" => content: Text<'a>,
    }
}

source_of_documents!(Continue);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    if let PartKind::Member(name) = part.kind {
        let value = part.string()?;
        match name {
            "sessionId" => conversation.identify(&value.unwrap_or_default()),
            _ => conversation.start.cwd = value.filter(|folder| !folder.is_empty()),
        }
        return Ok(());
    }
    let item: Item<'_> = parse(part.text)?;
    let message = item.message.ok_or("no message")?;
    conversation.begin(None, None);
    conversation.read_chat_message(&message, part.lines(), is_never_synthetic, sink)?;
    let mut lines = part.lines();
    for Located { at, value: state, .. } in item.states.iter().flatten() {
        if let Some(result) = state.result() {
            sink.at_line(lines.line_of(*at));
            conversation.result(result, sink);
        }
    }
    Ok(())
}

impl CallState<'_> {
    /// Returns the result of a call that has ended.
    fn result(&self) -> Option<ToolResult> {
        let cause = match self.status?.raw() {
            b"done" | b"errored" => None,
            b"canceled" => Some(Cause::Declined),
            _ => return None,
        };
        let ok = self.status.is_some_and(|status| status.is("done"));
        let output = self.output.as_deref().unwrap_or_default();
        let texts: Vec<_> = output.iter().filter_map(|item| item.content).collect();
        let id = self.id.map(Text::boxed).unwrap_or_default();
        let mut result = ToolResult::new(id, ok, Some(join(&texts)));
        result.cause = cause;
        Some(result)
    }
}
