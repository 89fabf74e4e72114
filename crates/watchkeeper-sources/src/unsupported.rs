//! Session files of agents without a source, which are counted and not read.

use std::{
    cell::OnceCell,
    fs::File,
    io::Read as _,
    path::{Component, Path},
};

use memchr::memmem;

/// The agents without a source. Of two that match, the first one counts.
const AGENTS: &[Agent] = &[
    // Stores with names that no source reads.
    Agent { name: "amazon-q", folders: &["amazon-q"], names: &["data.sqlite3"], ..Agent::NONE },
    Agent { name: "crush", names: &["crush.db"], ..Agent::NONE },
    Agent { name: "cursor (database)", folders: &["chats"], names: &["store.db"], ..Agent::NONE },
    Agent {
        name: "cursor (database)",
        folders: &["Cursor"],
        names: &["state.vscdb"],
        ..Agent::NONE
    },
    Agent {
        name: "kiro (database)",
        folders: &["kiro-cli"],
        names: &["data.sqlite3"],
        ..Agent::NONE
    },
    Agent {
        name: "opencode (before its event log)",
        folders: &["opencode"],
        names: &["opencode.db"],
        ..Agent::NONE
    },
    // Transcripts, by a folder of the agent or by their shape.
    Agent {
        name: "kimi (before Kimi Code)",
        shapes: &[Shape { start: r#"{"role":"_checkpoint""#, contains: &[] }],
        ..Agent::NONE
    },
    Agent { name: "augment", folders: &[".augment", "sessions"], ..Agent::NONE },
    Agent { name: "goose (before its database)", folders: &["goose", "sessions"], ..Agent::NONE },
    Agent { name: "opencode (before 1.2)", folders: &["opencode", "storage"], ..Agent::NONE },
];

/// The session files of one agent.
struct Agent {
    name: &'static str,
    /// Names of folders above the file, outermost first; empty for any.
    folders: &'static [&'static str],
    /// Names of the file; empty for any.
    names: &'static [&'static str],
    /// Shapes of the content, any of which is enough, wherever the file is.
    shapes: &'static [Shape],
}

/// The beginning of a file, compared without the whitespace of JSON.
struct Shape {
    start: &'static str,
    contains: &'static [&'static str],
}

impl Agent {
    const NONE: Self = Self { name: "", folders: &[], names: &[], shapes: &[] };

    /// Returns whether the folders and the name of a path are those of the agent.
    fn has_path(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let has_name = self.names.is_empty() || name.is_some_and(|it| self.names.contains(&it));
        let mut wanted = self.folders.iter();
        let mut next = wanted.next();
        for component in path.parent().into_iter().flat_map(Path::components) {
            if let Component::Normal(folder) = component
                && next.is_some_and(|next| folder == *next)
            {
                next = wanted.next();
            }
        }
        has_name && next.is_none() && !(self.names.is_empty() && self.folders.is_empty())
    }
}

/// Returns the agent of a file that no source reads by its name.
pub(crate) fn agent_of_name(path: &Path) -> Option<&'static str> {
    let named = AGENTS.iter().filter(|agent| !agent.names.is_empty());
    named.into_iter().find(|agent| agent.has_path(path)).map(|agent| agent.name)
}

/// Returns the agent of a file that no source recognizes, by its path or by its
/// first bytes.
pub(crate) fn agent_of(path: &Path, head: &[u8]) -> Option<&'static str> {
    let by_path = AGENTS.iter().find(|agent| agent.has_path(path));
    let by_shape = || {
        let text: OnceCell<Vec<u8>> = OnceCell::new();
        let is_of = |shape: &Shape| {
            let start = without_whitespace(head).take(shape.start.len());
            if !start.eq(shape.start.bytes()) {
                return false;
            }
            let text = text.get_or_init(|| without_whitespace(head).collect());
            shape.contains.iter().all(|it| memmem::find(text, it.as_bytes()).is_some())
        };
        AGENTS.iter().find(|agent| agent.shapes.iter().any(is_of))
    };
    by_path.or_else(by_shape).map(|agent| agent.name)
}

/// Returns the agent of a file that a source recognizes and finds no session in.
/// Returns `None` if the file cannot be read, or cannot be read again: opening a pipe
/// for the second time can block forever.
pub fn unsupported_agent(path: &Path) -> Option<&'static str> {
    const HEAD: u64 = 64 << 10;
    let mut head = Vec::new();
    if !path.is_file() {
        return None;
    }
    File::open(path).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    agent_of(path, &head)
}

/// Returns the agents without a source that have a folder in the home folder of a user,
/// sorted.
pub fn unsupported_agents_in(home: &Path) -> Vec<&'static str> {
    let has_folder = |agent: &&Agent| {
        let Some((first, inner)) = agent.folders.split_first() else { return false };
        if !first.starts_with('.') || !home.join(first).is_dir() {
            return false;
        }
        // Two agents can share a folder.
        let has_other = |it: &Agent| it.name != agent.name && it.folders.first() == Some(first);
        let is_shared = AGENTS.iter().any(has_other);
        !is_shared || inner.first().is_some_and(|inner| home.join(first).join(inner).is_dir())
    };
    let mut agents: Vec<&str> = AGENTS.iter().filter(has_folder).map(|agent| agent.name).collect();
    agents.sort_unstable();
    agents.dedup();
    agents
}

/// Returns JSON without the whitespace outside its strings.
fn without_whitespace(json: &[u8]) -> impl Iterator<Item = u8> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    let (mut in_string, mut is_escaped) = (false, false);
    json.iter().copied().filter(move |byte| {
        if !in_string && byte.is_ascii_whitespace() {
            return false;
        }
        if *byte == b'"' && !is_escaped {
            in_string = !in_string;
        }
        is_escaped = in_string && *byte == b'\\' && !is_escaped;
        true
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{agent_of, agent_of_name, unsupported_agents_in};

    #[test]
    fn recognizes_agents_by_the_shape_of_their_files() {
        let head = br#"{"role": "_checkpoint", "id": 0}"#;
        assert_eq!(agent_of(Path::new("a.jsonl"), head), Some("kimi (before Kimi Code)"));
    }

    #[test]
    fn recognizes_agents_by_the_path_of_their_files() {
        for (agent, path) in [
            ("goose (before its database)", "/h/.local/share/goose/sessions/a.jsonl"),
            ("augment", "/h/.augment/sessions/a.json"),
        ] {
            assert_eq!(agent_of(Path::new(path), b""), Some(agent), "{path}");
        }
        for (agent, path) in
            [("cursor (database)", "/h/.cursor/chats/a/b/store.db"), ("crush", "/p/crush.db")]
        {
            assert_eq!(agent_of_name(Path::new(path)), Some(agent), "{path}");
        }
    }

    #[test]
    fn finds_agents_by_their_folders_in_the_home_folder() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(unsupported_agents_in(home.path()), [""; 0]);
        for folder in [".augment/sessions", ".gemini/tmp", ".claude/projects", "sessions"] {
            std::fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        assert_eq!(unsupported_agents_in(home.path()), ["augment"]);
    }

    #[test]
    fn ignores_files_of_no_agent() {
        for (path, head) in [
            ("package.json", r#"{"name":"a","version":"1.0.0"}"#),
            ("/h/.gemini/settings.json", r#"{"security":{}}"#),
            ("tsconfig.json", "{}"),
            ("a.jsonl", r#"{"role":"user","content":"a"}"#),
            ("a.jsonl", r#"{"type":"system","content":"a"}"#),
            ("a.jsonl", ""),
            ("a.jsonl", "\"\\"),
        ] {
            assert_eq!(agent_of(Path::new(path), head.as_bytes()), None, "{path} {head}");
        }
        assert_eq!(agent_of_name(Path::new("/p/store.db")), None);
        assert_eq!(agent_of_name(Path::new("/p/README.md")), None);
    }
}
