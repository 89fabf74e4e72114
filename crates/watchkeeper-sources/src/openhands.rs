//! OpenHands: `~/.openhands/conversations/<conversation>/events/event-*.json`.
//!
//! Each event is one JSON object in its own file, in a line of a file, or in a list: a
//! trajectory, or the `history` of a benchmark task. There are two generations of
//! events. Events of the SDK have a `kind`. Earlier events have an `action` or an
//! `observation`.

mod before_sdk;
mod entry;
mod events;
mod head;
mod names;
mod outcome;
mod results;
mod sdk;
mod state;
mod state_file;
mod state_file_events;
mod task;
mod usage;

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    SourceKind,
    author::{Environment, EventSink},
    register_source,
};

use self::state::State;
use crate::{
    document::{Part, PartKind, Wanted},
    document_reader::{DocumentReader, source_of_documents},
    json::{Malformed, parse_value},
};

/// Reads the sessions of OpenHands.
#[derive(Debug)]
pub struct OpenHands(DocumentReader<State>);

static WANTED: Wanted = Wanted {
    lists: &["history", "trajectory"],
    members: &["error", "instance_id", "issue", "metadata"],
    is_loose: true,
    has_preface: false,
};

register_source!(OpenHands);

impl SourceKind for OpenHands {
    const KIND: &'static str = "openhands";
    const DOCS: &'static str = include_str!("../docs/openhands.md");
    const FILES: &'static [&'static str] = &["*.json", "*.jsonl", "!*.meta.json"];
    const IS_REWRITTEN: bool = true;

    fn recognizes(path: &Path, head: &[u8]) -> bool {
        head::is_of_openhands(path, head)
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let folder = |name| environment(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let home = environment("HOME").map(PathBuf::from);
        let own = folder("OPENHANDS_PERSISTENCE_DIR")
            .or_else(|| home.as_deref().map(|home| home.join(".openhands")));
        let conversations = folder("OPENHANDS_CONVERSATIONS_DIR")
            .or_else(|| own.as_deref().map(|own| own.join("conversations")));
        let mut folders: Vec<PathBuf> = conversations.into_iter().collect();
        if let Some(own) = own {
            // The folders of the server and of versions before the SDK.
            folders.extend([own.join("v1_conversations"), own.join("sessions")]);
        }
        folders.extend(home.map(|home| home.join(".openhands-state/sessions")));
        folders
    }

    fn new(path: &Path) -> Self {
        Self(DocumentReader::new(&WANTED, State::new(path), read))
    }
}

source_of_documents!(OpenHands);

/// Reads a part of a file.
fn read(part: &Part<'_>, state: &mut State, sink: &mut EventSink<'_>) -> Result<(), Malformed> {
    match part.kind {
        PartKind::Whole => {
            state.begin_whole();
            if !state.names.is_state {
                return events::read_entry(part, state, sink);
            }
            sink.at_line(part.lines().line_of(0));
            let base = parse_value(part.text)?.unwrap_or_default();
            state_file_events::read_file(&base, state, sink);
            Ok(())
        }
        PartKind::Entry => {
            if !state.is_in_list {
                state.begin_list(sink.line());
            }
            events::read_entry(part, state, sink)
        }
        PartKind::Member(name) => {
            task::read_member(name, part.text, &mut state.task, &mut state.start)
        }
        PartKind::End => {
            events::end_list(state, sink);
            Ok(())
        }
    }
}
