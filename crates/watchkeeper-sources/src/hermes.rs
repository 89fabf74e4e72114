//! Hermes Agent: one document for each session, or a line for each message.

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    SourceKind,
    author::{Environment, EventSink},
    register_source,
};

use crate::{
    blocks::is_never_synthetic,
    chat::ChatMessage,
    conversation::Conversation,
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    home::in_home,
    json::{Malformed, Present, Text, object, parse, parse_head},
    lines::first_line,
};

/// Reads the sessions of Hermes Agent.
#[derive(Debug)]
pub struct Hermes(DocumentReader<Conversation>);

static WANTED: Wanted = Wanted {
    lists: &["messages"],
    members: &["session_id", "model", "cwd"],
    // Other files have a message in each line.
    is_loose: true,
    has_preface: false,
};

register_source!(Hermes);

impl SourceKind for Hermes {
    const KIND: &'static str = "hermes";
    const DOCS: &'static str = include_str!("../docs/hermes.md");
    const FILES: &'static [&'static str] = &["*.json", "*.jsonl", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let document: Head<'_> = parse_head(head);
        let first = first_line(head);
        let line: Head<'_> = parse_head(first);
        document.session.is_some() && document.platform.is_some() && document.start.is_some()
            || line.role.is_some_and(|role| role.is("session_meta")) && line.platform.is_some()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("HERMES_HOME").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("sessions")];
        }
        in_home(environment, &[".hermes/sessions"])
    }

    fn new(path: &Path) -> Self {
        Self(DocumentReader::new(&WANTED, Conversation::of_rewritten(path), read))
    }
}

object! {
    /// The first members of a document, or of the first line.
    struct Head<'a> {
        b"session_id" => session: Present,
        b"platform" => platform: Present,
        b"session_start" => start: Present,
        b"role" => role: Text<'a>,
    }
}

source_of_documents!(Hermes);

fn read(
    part: &Part<'_>,
    conversation: &mut Conversation,
    sink: &mut EventSink<'_>,
) -> Result<(), Malformed> {
    match part.kind {
        PartKind::Member(name) => {
            let value = part.string()?;
            match name {
                "session_id" => conversation.identify(&value.unwrap_or_default()),
                "model" => conversation.start.model = value,
                _ => conversation.start.cwd = value,
            }
        }
        PartKind::Entry | PartKind::Whole => {
            let message: ChatMessage<'_> = parse(part.text)?;
            let at = message.at.and_then(|at| conversation.time(at));
            conversation.begin(at, None);
            conversation.read_chat_message(&message, part.lines(), is_never_synthetic, sink)?;
        }
        PartKind::End => {}
    }
    Ok(())
}
