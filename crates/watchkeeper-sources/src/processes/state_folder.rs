//! A folder of state files, each read again only after a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use super::client_state::{ClientState, pid_of_name};
use crate::follow::Stamp;

/// The largest number of state files in a folder. Clients that were killed leave theirs
/// behind.
const MAX_FILES: usize = 4096;

/// The state files of one configuration folder.
#[derive(Debug)]
pub(super) struct StateFolder {
    path: PathBuf,
    /// By the number of the process.
    files: BTreeMap<u32, (Stamp, Option<ClientState>)>,
}

/// Returns the folder of state files beside the folder `projects` that contains a session
/// file.
pub(super) fn beside_projects(session_file: &Path) -> Option<PathBuf> {
    let is_projects = |path: &&Path| path.file_name() == Some(OsStr::new("projects"));
    let projects = session_file.ancestors().skip(1).find(is_projects)?;
    Some(projects.parent()?.join("sessions"))
}

impl StateFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new() }
    }

    /// Reads the files that changed.
    pub(super) fn refresh(&mut self) {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.files.clear();
                }
                return;
            }
        };
        let mut found = BTreeSet::new();
        for entry in entries.filter_map(Result::ok) {
            let Some(pid) = entry.file_name().to_str().and_then(pid_of_name) else { continue };
            // The metadata of a link is that of the link.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() || MAX_FILES <= found.len() {
                continue;
            }
            found.insert(pid);
            let stamp = Stamp::of(&metadata);
            if self.files.get(&pid).is_none_or(|(before, _)| *before != stamp) {
                let state = ClientState::read(&entry.path(), pid);
                self.files.insert(pid, (stamp, state));
            }
        }
        self.files.retain(|pid, _| found.contains(pid));
    }

    /// Returns the states, in order of the numbers of their processes.
    pub(super) fn states(&self) -> impl Iterator<Item = &ClientState> {
        self.files.values().filter_map(|(_, state)| state.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use tempfile::TempDir;

    use super::{StateFolder, beside_projects};

    fn text(pid: u32, session: &str) -> String {
        format!(r#"{{"pid":{pid},"procStart":"1","sessionId":"{session}"}}"#)
    }

    fn sessions(folder: &mut StateFolder) -> Vec<String> {
        folder.refresh();
        folder.states().map(|state| state.session.to_string()).collect()
    }

    #[test]
    fn the_state_files_are_beside_the_projects() {
        for (file, folder) in [
            ("/c/projects/p/s.jsonl", Some("/c/sessions")),
            ("/c/projects/p/s/subagents/agent-a.jsonl", Some("/c/sessions")),
            ("/home/projects/c/projects/p/s.jsonl", Some("/home/projects/c/sessions")),
            ("/c/p/projects", None),
            ("s.jsonl", None),
        ] {
            let found = beside_projects(Path::new(file));
            assert_eq!(found.as_deref(), folder.map(Path::new), "{file}");
        }
    }

    #[test]
    fn follows_the_files_of_the_folder() {
        let root = TempDir::new().unwrap();
        let path = root.path().join("sessions");
        let mut folder = StateFolder::new(path.clone());
        assert!(sessions(&mut folder).is_empty());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("7.json"), text(7, "a")).unwrap();
        fs::write(path.join("8.json"), text(8, "b")).unwrap();
        fs::write(path.join("7.key"), text(7, "key")).unwrap();
        fs::write(path.join("9.json"), text(7, "another process")).unwrap();
        fs::create_dir(path.join("10.json")).unwrap();
        symlink(path.join("8.json"), path.join("11.json")).unwrap();
        assert_eq!(sessions(&mut folder), ["a", "b"]);
        fs::write(path.join("7.json"), text(7, "changed")).unwrap();
        fs::remove_file(path.join("8.json")).unwrap();
        assert_eq!(sessions(&mut folder), ["changed"]);
        fs::remove_dir_all(&path).unwrap();
        assert!(sessions(&mut folder).is_empty());
    }
}
