//! opencode: the output of `opencode export <session>`.
//!
//! An export is one JSON object: `{"info": {…}, "messages": [{"info": {…},
//! "parts": […]}, …]}`. A message of the assistant is one model response, with its
//! calls and their results.

mod calls;
mod events;
mod message;
mod state;

use std::path::Path;

use memchr::memchr;
use watchkeeper_core::{Source, SourceKind, author::EventSink, register_source};

use self::{message::Export, state::State};
use crate::{
    document::{Document, Wanted},
    json::{parse, parse_head, parse_value},
};

/// Reads the sessions that opencode exports.
#[derive(Debug)]
pub struct Opencode {
    document: Document,
    state: State,
}

static WANTED: Wanted = Wanted {
    lists: &["messages"],
    members: &["info"],
    is_loose: false,
    // On some systems, the output of the command begins with its progress.
    has_preface: true,
};

register_source!(Opencode);

impl SourceKind for Opencode {
    const KIND: &'static str = "opencode";
    const DOCS: &'static str = include_str!("../docs/opencode.md");
    const FILES: &'static [&'static str] = &["*.json", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        let Some(start) = memchr(b'{', head) else { return false };
        // The head may be incomplete. Its first members are enough.
        let export: Export<'_> = parse_head(&head[start..]);
        let id = export.session.and_then(|session| session.id);
        id.is_some_and(message::is_session)
    }

    fn new(path: &Path) -> Self {
        Self { document: Document::new(&WANTED), state: State::new(path) }
    }
}

impl Source for Opencode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let state = &mut self.state;
        self.document.read_line(line, sink, |part, sink| {
            if part.is_entry() {
                return events::read_message(parse(part.text)?, part.lines(), state, sink);
            }
            let session = parse_value(part.text)?.unwrap_or_default();
            sink.at_line(part.lines().line_of(0));
            events::read_session(&session, state, sink);
            Ok(())
        });
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        self.document.end(sink);
    }
}
