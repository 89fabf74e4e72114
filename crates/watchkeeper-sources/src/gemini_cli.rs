//! Gemini CLI: `~/.gemini/tmp/<project>/chats/session-<time>-<id>.jsonl`.
//!
//! The first line identifies the session. Each other line is a message, or an object with
//! changes. A message that changes is appended again with the same id, and a change may repeat
//! all messages, so each part of a message counts when it is new. A sub-agent has its own file in
//! `chats/<parent>`. Earlier versions rewrite one JSON object: the first line with a list of
//! messages. The stream of a client without a terminal has other lines.

mod calls;
mod events;
mod parts;
mod record;
mod shell;
mod state;
mod stream;

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Source, SourceKind,
    author::{Environment, EventSink},
    register_source,
};

pub(crate) use self::{
    calls::{result_of, tool_call},
    parts::Parts,
};
use self::{record::Head, state::State, stream::Stream};
use crate::{
    document::{Document, Wanted},
    json::parse_head,
};

/// Reads the sessions of Gemini CLI.
#[derive(Debug)]
pub struct GeminiCli {
    form: Form,
    /// The name of the file is that of early versions.
    is_json: bool,
    state: State,
}

/// The form of a file.
#[derive(Debug)]
enum Form {
    /// Before the first line.
    Unknown,
    /// A record in each line.
    Lines,
    /// One object in many lines.
    Object(Box<Document>),
    /// The stream of a client without a terminal.
    Stream(Box<Stream>),
}

impl Form {
    fn object() -> Self {
        Self::Object(Box::new(Document::new(&WANTED)))
    }
}

static WANTED: Wanted = Wanted {
    lists: &["messages"],
    members: &["sessionId", "kind"],
    is_loose: false,
    has_preface: false,
};

register_source!(GeminiCli);

impl SourceKind for GeminiCli {
    const KIND: &'static str = "gemini-cli";
    const DOCS: &'static str = include_str!("../docs/gemini-cli.md");
    const FILES: &'static [&'static str] = &["*.jsonl", "session-*.json"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        // The head may be incomplete. Its first members are enough.
        head.starts_with(stream::FIRST) || parse_head::<Head<'_>>(head).is_of_session()
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let home = environment("GEMINI_CLI_HOME").filter(|it| !it.is_empty());
        let home = home.or_else(|| environment("HOME"));
        home.map(|it| PathBuf::from(it).join(".gemini/tmp")).into_iter().collect()
    }

    fn new(path: &Path) -> Self {
        let is_json = path.extension().is_some_and(|extension| extension == "json");
        Self { form: Form::Unknown, is_json, state: State::new(path) }
    }
}

impl Source for GeminiCli {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        let Self { form, is_json, state } = self;
        let trimmed = line.trim_ascii();
        if let (Form::Unknown, [_, ..]) = (&form, trimmed) {
            *form = match trimmed {
                b"{" => Form::object(),
                _ if trimmed.starts_with(stream::START) => {
                    Form::Stream(Box::new(Stream::new(&state.session)))
                }
                // The object of an early version, with a damaged beginning.
                [.., end] if *is_json && *end != b'}' => Form::object(),
                _ => Form::Lines,
            };
        }
        let read = match form {
            Form::Object(document) => {
                document.read_line(line, sink, |part, sink| events::read_part(part, state, sink));
                Ok(())
            }
            _ if trimmed.is_empty() => Ok(()),
            Form::Stream(stream) => stream.read(line, sink),
            Form::Lines | Form::Unknown => events::read_line(line, state, sink),
        };
        if let Err(reason) = read {
            sink.skip_line(reason);
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        if let Form::Object(document) = &self.form {
            document.end(sink);
        }
        events::end_turn(&mut self.state, sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        events::end_turn(&mut self.state, sink);
    }
}
