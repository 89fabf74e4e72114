use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use watchkeeper_core::embed::{Entry as _, Registry};

use crate::{
    error::Error,
    global::Global,
    output::{Output, Status, safe_path},
    policy_file::{REPOSITORY_POLICY, user_policy},
};

const TEMPLATE: &str = include_str!("../../templates/init/policy.toml");

/// Write a commented policy for the agents on this machine
///
/// Without a path, writes `.watchkeeper.toml` into the working folder. All commands find
/// this file in the folder and, in a repository, below it.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// File to write [default: .watchkeeper.toml]
    file: Option<PathBuf>,

    /// Write the policy of the user: `watchkeeper/policy.toml` in `$XDG_CONFIG_HOME` or
    /// `~/.config`
    #[arg(long, conflicts_with = "file")]
    user: bool,

    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// An agent, and whether its folder of sessions exists.
struct Agent {
    kind: &'static str,
    folder: PathBuf,
    exists: bool,
}

impl Init {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let environment = |name: &str| std::env::var_os(name);
        let file = match self.file {
            Some(file) => file,
            None if self.user => user_policy(&environment).ok_or(Error::NoUserFolder)?,
            None => PathBuf::from(REPOSITORY_POLICY),
        };
        let agents = agents(registry);
        write(&file, &policy(&agents), self.force)?;
        if global.quiet {
            return Ok(Status::Success);
        }
        let name = safe_path(&file);
        // The file is found without `--policy` at the usual places.
        let is_usual = self.user || file == Path::new(REPOSITORY_POLICY);
        let option = if is_usual { String::new() } else { format!(" --policy {name}") };
        writeln!(output.err, "wrote {name}")?;
        for agent in agents.iter().filter(|it| it.exists) {
            writeln!(
                output.err,
                "found sessions of {} in {}",
                agent.kind,
                safe_path(&agent.folder)
            )?;
        }
        if !agents.iter().any(|it| it.exists) {
            writeln!(output.err, "found no sessions of an agent yet")?;
        }
        write!(
            output.err,
            "\nNext steps:\n  \
             watchkeeper{option} check     check the recorded sessions\n  \
             watchkeeper{option} watch     follow the running sessions\n  \
             watchkeeper{option} validate  check the policy after a change\n  \
             watchkeeper{option} policy    print every value with its origin\n"
        )?;
        Ok(Status::Success)
    }
}

/// Returns the agents that the linked sources can read.
fn agents(registry: &Registry) -> Vec<Agent> {
    let environment = |name: &str| std::env::var_os(name);
    let mut agents = Vec::new();
    for source in registry.sources.iter() {
        for folder in source.folders(&environment) {
            let exists = folder.is_dir();
            agents.push(Agent { kind: source.kind(), folder, exists });
        }
    }
    agents
}

/// Returns the text of the policy.
fn policy(agents: &[Agent]) -> String {
    let (mut found, mut missing) = (String::new(), String::new());
    for Agent { kind, folder, exists } in agents {
        let lines = if *exists { &mut found } else { &mut missing };
        *lines += &["#   ", kind, ": ", &safe_path(folder), "\n"].concat();
    }
    let mut text = String::new();
    for (title, lines) in [
        ("# Sessions of these agents were found on this machine:\n", found),
        ("# These agents are followed as soon as their folders exist:\n", missing),
    ] {
        if !lines.is_empty() {
            text += &[title, &lines, "#\n"].concat();
        }
    }
    TEMPLATE.replace("#AGENTS#\n", &text)
}

/// Writes a file, and the folders above it.
pub(super) fn write(file: &Path, text: &str, force: bool) -> Result<(), Error> {
    let failed = |source: io::Error| Error::Write { path: file.to_owned(), source };
    if let Some(parent) = file.parent().filter(|it| !it.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if force {
        return fs::write(file, text).map_err(failed);
    }
    let created = fs::File::create_new(file);
    match created {
        Ok(mut created) => created.write_all(text.as_bytes()).map_err(failed),
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::PolicyExists { path: file.to_owned() })
        }
        Err(err) => Err(failed(err)),
    }
}
