//! Zencoder: a header, and a line for each message, without times.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Source, SourceKind,
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

/// Reads the sessions of Zencoder.
#[derive(Debug)]
pub struct Zencoder(Conversation);

register_source!(Zencoder);

impl SourceKind for Zencoder {
    const KIND: &'static str = "zencoder";
    const DOCS: &'static str = include_str!("../docs/zencoder.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let first = first_line(head);
        let header: Line<'_> = parse_head(first);
        header.id.is_some()
            && header.chat.is_some()
            && header.created.is_some()
            && header.role.is_none()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        in_home(environment, &[".zencoder/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(Conversation::new(path))
    }
}

object! {
    struct Line<'a> {
        // Members of the header.
        b"id" => id: Text<'a>,
        b"chatId" | b"creationReason" => chat: Present,
        b"createdAt" => created: Present,
        b"modelId" => model: Text<'a>,
        // Members of a message.
        b"role" => role: Text<'a>,
        b"content" => content: Blocks<'a>,
    }
}

impl Source for Zencoder {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        read_object(line, sink, |line, sink| self.read(line, sink));
    }
}

impl Zencoder {
    fn read(&mut self, line: &Line<'_>, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
        let Self(conversation) = self;
        let Some(role) = line.role else {
            let id = line.id.ok_or("no role")?;
            conversation.identify(&id.read());
            conversation.start.model = line.model.map(Text::boxed);
            return Ok(());
        };
        conversation.begin(None, None);
        let lines = LineCounter::of_line(sink.line());
        let none = Blocks::default();
        let blocks = line.content.as_ref().unwrap_or(&none);
        match role.raw() {
            b"user" | b"tool" => conversation.read_prompt(blocks, lines, is_reminder, sink),
            b"assistant" => {
                let response = conversation.entry_id();
                conversation.read_response(blocks, lines, &response, sink);
            }
            b"finish" => conversation.turn_end(sink),
            b"system" | b"permission" => {}
            _ => sink.skip_part("unknown role"),
        }
        Ok(())
    }
}
