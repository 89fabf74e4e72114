//! GitHub Copilot CLI: `~/.copilot/session-state/<session>/events.jsonl`.
//!
//! Each line is `{"type", "data", "id", "timestamp"}`. The events of sub-agents are in the same
//! file, with the id of the agent or of the call that started it.

mod calls;
mod events;
mod line;
mod state;

use std::path::{Path, PathBuf};

use watchkeeper_core::{
    Source, SourceKind,
    author::{ClientTotal, Environment, EventSink},
    register_source,
};

use self::{line::Line, state::State};
use crate::{json::parse_head, lines::lines_of};

/// Reads the sessions of GitHub Copilot CLI.
#[derive(Debug)]
pub struct CopilotCli(State);

register_source!(CopilotCli);

impl SourceKind for CopilotCli {
    const KIND: &'static str = "copilot-cli";
    const DOCS: &'static str = include_str!("../docs/copilot-cli.md");

    fn recognizes(_path: &Path, head: &[u8]) -> bool {
        // The last line may be incomplete. Its first members are enough.
        lines_of(head).any(|line| parse_head::<Line<'_>>(line).is_of_session())
    }

    fn folders(environment: &Environment<'_>) -> Vec<PathBuf> {
        let folder = |name| environment(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let own = folder("COPILOT_HOME").or_else(|| Some(folder("HOME")?.join(".copilot")));
        own.map(|own| own.join("session-state")).into_iter().collect()
    }

    fn new(path: &Path) -> Self {
        Self(State::new(path))
    }
}

impl Source for CopilotCli {
    fn read_line(&mut self, line: &[u8], sink: &mut EventSink<'_>) {
        if line.trim_ascii().is_empty() {
            return;
        }
        if let Err(reason) = events::read(line, &mut self.0, sink) {
            sink.skip_line(reason);
        }
    }

    fn client_total(&self) -> Option<ClientTotal> {
        self.0.client_total
    }
}
