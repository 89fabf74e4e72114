//! Codex: `~/.codex/sessions/<year>/<month>/<day>/rollout-<time>-<thread>.jsonl`.
//!
//! Every line is `{"timestamp", "type", "payload"}`. A thread and each of its
//! sub-agents has its own file. Versions since 0.146 number the lines and report
//! completed items. Earlier versions have one type of event for each kind of item.

mod calls;
mod events;
mod line;
mod output;
mod state;
mod stream;

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Fingerprint, Source, SourceKind,
    author::{ClientTotal, Environment, EventSink},
    register_source,
};

pub(crate) use self::{
    calls::{tool_call, tool_result},
    events::begins_like_the_harness,
    state::Outcome,
};
use self::{events::LineEvents, line::Line, state::State, stream::ExecStream};
use crate::{
    json::{Text, parse_into},
    lines::lines_of,
};

/// Reads the sessions of Codex, and the stream of `codex exec`.
#[derive(Debug)]
pub struct Codex {
    state: State,
    /// `None` unless the file is a stream.
    stream: Option<Box<ExecStream>>,
}

register_source!(Codex);

impl SourceKind for Codex {
    const KIND: &'static str = "codex";
    const DOCS: &'static str = include_str!("../docs/codex.md");
    const FILES: &'static [&'static str] = &["*.jsonl", "rollout-*.jsonl.zst"];

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        const KINDS: &[&str] =
            &["session_meta", "response_item", "event_msg", "turn_context", "compacted"];
        lines_of(head).any(|line| {
            // The last line may be incomplete. Its first members are enough.
            let mut members = Line::default();
            let result = parse_into(&mut members, line);
            let has_payload = members.payload.is_some() || result.is_err();
            let is_known = |kind: Text<'_>| KINDS.iter().any(|known| kind.is(known));
            members.kind.is_some_and(is_known) && has_payload || line.starts_with(stream::FIRST)
        })
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let home = match environment("CODEX_HOME").filter(|it| !it.is_empty()) {
            Some(folder) => Some(PathBuf::from(folder)),
            None => environment("HOME").map(|it| PathBuf::from(it).join(".codex")),
        };
        home.map(|it| it.join("sessions")).into_iter().collect()
    }

    fn new(path: &Path) -> Self {
        Self { state: State::new(path), stream: None }
    }
}

impl Source for Codex {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if self.stream.is_none() && stream::has_line(line) {
            self.stream = Some(Box::new(ExecStream::new(&self.state.session)));
        }
        if let Some(stream) = &mut self.stream {
            if let Err(reason) = stream.read(line, sink) {
                sink.skip_line(reason);
            }
            return;
        }
        let mut members = Line::default();
        if let Err(reason) = parse_into(&mut members, line) {
            return sink.skip_line(reason);
        }
        let Line { timestamp, kind, payload } = &members;
        let Some(kind) = kind else {
            return sink.skip_line("no type");
        };
        let Some(payload) = payload else {
            return sink.skip_line("no payload");
        };
        let Some(at) = timestamp.and_then(Text::time).or(self.state.latest) else {
            return sink.skip_line("no time");
        };
        self.state.latest = self.state.latest.max(Some(at));
        let content = Fingerprint::of(payload.raw);
        let after = &line[payload.at + payload.raw.len()..];
        let others = Fingerprint::of(&line[..payload.at]).and(Fingerprint::of(after));
        // A line that is repeated as a whole is a copy, in this file or another one.
        if sink.is_new(content.and(others).and(Fingerprint::of("codex"))) {
            LineEvents { at, payload, content, state: &mut self.state, sink }.read(kind.raw());
        }
    }

    fn client_total(&self) -> Option<ClientTotal> {
        // The count of a fork may include the thread that it was forked from.
        let tokens = self.state.client_total.filter(|_| !self.state.is_fork);
        tokens.map(|tokens| ClientTotal { tokens: Some(tokens), cost_usd: None })
    }
}
