//! Claude Code: `~/.claude/projects/<folder>/<session>.jsonl`.
//!
//! A line contains one block of a message. The lines of one response of the model
//! share its id and repeat its usage. When a session is resumed or forked, its lines
//! are copied to a new file with the same ids. The stream of a client without a terminal has the
//! same lines, whose members have other names.

mod calls;
mod cut_attempts;
mod events;
mod line;
mod prompts;
mod state;
mod turns;
mod usage;

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use memchr::memmem::Finder;
use watchkeeper_core::{
    Source, SourceKind,
    author::{ClientTotal, Environment, EventSink},
    register_source,
};

pub(crate) use self::{
    calls::tool_call,
    prompts::{begins_like_the_harness, is_local},
    usage::without_suffix,
};
use self::{line::Line, state::State};
use crate::{
    json::{parse, parse_head, parse_into},
    lines::lines_of,
};

/// Reads the sessions of Claude Code.
#[derive(Debug)]
pub struct ClaudeCode(State);

register_source!(ClaudeCode);

impl SourceKind for ClaudeCode {
    const KIND: &'static str = "claude-code";
    const DOCS: &'static str = include_str!("../docs/claude-code.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        const WITH_EVENTS: &[&str] = &["user", "assistant", "system", "attachment", "progress"];
        let mut is_recognized = false;
        for line in lines_of(head) {
            // The last line may be incomplete. Its first members are enough.
            let line: Line<'_> = parse_head(line);
            // Other agents write lines with the same types and ids.
            let message = line.message.as_ref();
            if line.foreign.is_some() || message.is_some_and(|message| message.foreign.is_some()) {
                return false;
            }
            let is_known = WITH_EVENTS.iter().chain(events::IGNORED).any(|kind| line.is(kind));
            let has_id = line.session.is_some() || line.uuid.is_some() || line.leaf.is_some();
            // The clients of other agents have similar streams.
            let is_foreign = line.is_of_stream() || line.subtype.is_some_and(|it| it.is("init"));
            let is_own = !is_foreign || line.stream_version.is_some();
            is_recognized |= is_known && has_id && is_own;
            // A message of another agent would have the members of that agent.
            if is_recognized && message.is_some() {
                return true;
            }
        }
        is_recognized
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        if let Some(folder) = environment("CLAUDE_CONFIG_DIR").filter(|it| !it.is_empty()) {
            return vec![PathBuf::from(folder).join("projects")];
        }
        let Some(home) = environment("HOME").map(PathBuf::from) else {
            return Vec::new();
        };
        vec![home.join(".claude/projects"), home.join(".config/claude/projects")]
    }

    fn new(path: &Path) -> Self {
        Self(State::new(path))
    }
}

impl Source for ClaudeCode {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() || is_noise(line) {
            return;
        }
        let state = &mut self.0;
        let mut members = Line::default();
        let read = if line.starts_with(br#"{"type":"api-request","#) {
            parse(line).map(|request| events::read_request(&request, state, sink))
        } else {
            parse_into(&mut members, line).map(|()| events::read(&mut members, state, sink))
        };
        if let Err(reason) = read {
            sink.skip_line(reason);
        }
    }

    fn finish(&mut self, sink: &mut EventSink<'_>) {
        turns::end_implicit_turn(&mut self.0, sink);
    }

    fn pause(&mut self, sink: &mut EventSink<'_>) {
        turns::end_implicit_turn(&mut self.0, sink);
    }

    fn client_total(&self) -> Option<ClientTotal> {
        self.0.client_total
    }
}

/// Returns whether a line is one of the large lines without events. Recent versions
/// write many of them. The beginning of the line identifies them.
fn is_noise(line: &[u8]) -> bool {
    const BEGINNING: usize = 256;
    const KEY: &[u8] = br#""attachment":"#;
    // The search for a longer part has no fast form.
    static SNAPSHOT: LazyLock<Finder<'static>> =
        LazyLock::new(|| Finder::new(br#"{"type":"prompt_snapshot""#));
    if line.starts_with(br#"{"type":"api-request-"#) {
        return true;
    }
    let head = &line[..line.len().min(BEGINNING)];
    SNAPSHOT.find_iter(head).any(|at| head[..at].ends_with(KEY))
}

/// Returns the folder with the files of the sub-agents of a session file, if there is
/// one.
pub fn sub_agent_folder(file: &Path) -> Option<PathBuf> {
    let folder = file.with_extension("").join("subagents");
    folder.is_dir().then_some(folder)
}
