//! opencode: its database, the output of `opencode export <session>`, and the stream of
//! `opencode run --format json`.
//!
//! An export is one JSON object: `{"info": {…}, "messages": [{"info": {…},
//! "parts": […]}, …]}`. A message of the assistant is one model response, with its
//! calls and their results. The database has an event log with the changes of all
//! sessions, messages and parts.

mod calls;
mod content;
mod events;
mod log;
mod message;
mod state;
mod stream;

use std::path::{Path, PathBuf};

use memchr::memchr;
use watchkeeper_core::{
    Source, SourceKind,
    author::{Database, Environment, EventSink},
    register_source,
};

use self::{log::Log, message::Export, state::State};
use crate::{
    document::{Document, Wanted},
    json::{parse, parse_head, parse_value},
    lines::first_line,
};

/// Reads the sessions in the database of opencode, sessions that it exports, and streams.
#[derive(Debug)]
pub struct Opencode {
    document: Document,
    state: State,
    /// The memory of the database, or of the stream.
    log: Log,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing was read.
    Unknown,
    Export,
    Database,
    Stream,
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
    const FILES: &'static [&'static str] =
        &["opencode.db", "opencode-*.db", "*.json", "!*.meta.json", "!msg_*.json", "!prt_*.json"];
    const IS_REWRITTEN: bool = true;
    const DATABASE: Option<Database> = Some(log::DATABASE);

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        if head.starts_with(log::FIRST) || stream::has_line(first_line(head)) {
            return true;
        }
        let Some(start) = memchr(b'{', head) else { return false };
        // The head may be incomplete. Its first members are enough.
        let export: Export<'_> = parse_head(&head[start..]);
        let id = export.session.and_then(|session| session.id);
        id.is_some_and(message::is_session)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let data = environment("XDG_DATA_HOME").filter(|folder| !folder.is_empty());
        let data = data.map(PathBuf::from).or_else(|| {
            environment("HOME").map(|home| PathBuf::from(home).join(".local").join("share"))
        });
        data.map(|data| data.join("opencode")).into_iter().collect()
    }

    fn new(path: &Path) -> Self {
        Self {
            document: Document::new(&WANTED),
            state: State::new(path),
            log: Log::default(),
            form: Form::Unknown,
        }
    }
}

impl Source for Opencode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        self.form = match self.form {
            Form::Unknown | Form::Export if stream::has_line(line) => Form::Stream,
            Form::Unknown if line.starts_with(log::START) => Form::Database,
            Form::Unknown => Form::Export,
            form => form,
        };
        let read = match self.form {
            Form::Database => Some(self.log.read_row(line, sink)),
            Form::Stream if line.trim_ascii().is_empty() => Some(Ok(())),
            Form::Stream => Some(stream::read(line, &mut self.log, sink)),
            Form::Unknown | Form::Export => None,
        };
        if let Some(read) = read {
            if let Err(reason) = read {
                sink.skip_line(reason);
            }
            return;
        }
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
        self.log.end_prompts(sink);
        if self.form == Form::Export {
            self.document.end(sink);
        }
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        self.log.end_prompts(sink);
    }
}
