//! The names that follow from the path of a file.

use std::path::Path;

use watchkeeper_core::{AgentId, SessionId};

/// The names of the sessions and the agent of a file.
#[derive(Debug)]
pub(super) struct Names {
    /// The session of a file with a whole session.
    pub(super) file: SessionId,
    /// The prefix of the names of tasks in the file.
    pub(super) run: String,
    /// The session of a file with one event.
    pub(super) folder: SessionId,
    pub(super) agent: Option<AgentId>,
    /// The sub-agent that started the agent of the file.
    pub(super) parent: Option<AgentId>,
    pub(super) has_one_event: bool,
    pub(super) is_state: bool,
}

/// The name of the file with the state of a conversation of the SDK.
const STATE: &str = "base_state.json";

impl Names {
    pub(super) fn of(path: &Path) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let stem = path.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let mut folder = path.parent().unwrap_or(path);
        let run = if stem == "output" { name(folder) } else { None };
        let is_page = is_named(folder, "event_cache");
        if is_page || is_named(folder, "events") {
            folder = folder.parent().unwrap_or(folder);
        }
        // The folder of a sub-agent is `<session>/subagents/<agent>`.
        let mut agents = Vec::new();
        while let Some(above) = folder.parent().filter(|above| is_named(above, "subagents")) {
            agents.extend(name(folder).filter(|name| !name.is_empty()));
            folder = above.parent().unwrap_or(above);
        }
        let mut agents = agents.into_iter().map(AgentId::from);
        let folder = name(folder).unwrap_or_else(|| stem.clone().into_owned());
        let file = if is_page { folder.as_str() } else { &stem };
        Self {
            file: SessionId::from(file),
            run: run.unwrap_or_else(|| stem.clone().into_owned()),
            folder: SessionId::from(folder.as_str()),
            agent: agents.next(),
            parent: agents.next(),
            has_one_event: path.extension().is_some_and(|extension| extension == "json"),
            is_state: is_state(path),
        }
    }
}

/// Returns whether a file has the name of the state of a conversation.
pub(super) fn is_state(path: &Path) -> bool {
    is_named(path, STATE)
}

fn is_named(path: &Path, expected: &str) -> bool {
    path.file_name().is_some_and(|name| name == expected)
}
