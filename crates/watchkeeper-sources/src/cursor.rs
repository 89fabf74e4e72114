//! Cursor: the transcripts of its agent, without times, ids and most results.

use std::path::{Path, PathBuf};

use memchr::memmem;
use watchkeeper_core::{
    Source, SourceKind, ToolClass,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::{Blocks, is_reminder},
    conversation::Conversation,
    document::LineCounter,
    home::in_home,
    json::{Malformed, Present, Text, object, parse_head},
    json_line::read_object,
    lines::first_line,
};

/// Reads the transcripts of Cursor.
#[derive(Debug)]
pub struct Cursor(Conversation);

register_source!(Cursor);

impl SourceKind for Cursor {
    const KIND: &'static str = "cursor";
    const DOCS: &'static str = include_str!("../docs/cursor.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let first = first_line(head);
        let line: Line<'_> = parse_head(first);
        let is_role = |role: Text<'_>| role.is("user") || role.is("assistant");
        let message = line.message.as_ref();
        line.role.is_some_and(is_role)
            && message.is_some_and(|message| message.content.is_some())
            && line.foreign.is_none()
            // A header of another agent would come first.
            && memmem::find(first, br#""message":"#).is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".cursor/projects"])
    }

    fn new(path: &Path) -> Self {
        let mut conversation = Conversation::new(path).with_classes(class);
        // The folder of sub-agents is `<session>/subagents`.
        let folder = path.parent().filter(|folder| folder.ends_with("subagents"));
        let session = folder.and_then(Path::parent).and_then(Path::file_name);
        if let (Some(session), Some(agent)) = (session, path.file_stem()) {
            conversation.identify(&session.to_string_lossy());
            conversation.set_agent(&agent.to_string_lossy());
        }
        Self(conversation)
    }
}

object! {
    struct Line<'a> {
        b"role" => role: Text<'a>,
        b"message" => message: Message<'a>,
        /// Members of other agents with similar lines.
        b"type" | b"timestamp" | b"sessionId" => foreign: Present,
    }
}

object! {
    struct Message<'a> {
        b"content" => content: Blocks<'a>,
    }
}

impl Source for Cursor {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Cursor {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let Self(conversation) = self;
        let role = line.role.ok_or("no role")?;
        conversation.begin(None, None);
        let lines = LineCounter::of_line(sink.line());
        let none = Blocks::default();
        let content = line.message.as_ref().and_then(|message| message.content.as_ref());
        let blocks = content.unwrap_or(&none);
        match role.raw() {
            b"user" => conversation.read_prompt(blocks, lines, is_reminder, sink),
            b"assistant" => {
                let response = conversation.entry_id();
                if !conversation.read_response(blocks, lines, &response, sink) {
                    conversation.turn_end(sink);
                }
            }
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }
}

/// Returns the class of a tool whose name is misleading.
fn class(tool: &str) -> Option<ToolClass> {
    match tool {
        "ReadLints" | "read_lints" => Some(ToolClass::Read),
        "Await" | "AwaitShell" => Some(ToolClass::Wait),
        "SwitchMode" | "CreatePlan" => Some(ToolClass::Other),
        _ => None,
    }
}
