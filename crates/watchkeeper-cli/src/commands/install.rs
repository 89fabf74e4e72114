use std::{env, path::Path};

use clap::Args;
use similar::{ChangeTag, TextDiff};
use watchkeeper_core::{author::make_safe, embed::Registry};
use watchkeeper_policy::Policy;

use super::doctor::reason_to_observe;

use crate::{
    client_files::Scope,
    error::Error,
    global::Global,
    hook::{Act, Client},
    hook_settings::{HookCommand, program_name},
    installation::{Change, InstallError, Installation},
    loading,
    output::{Output, Status, Style, safe_path},
    state_folder::StateFolder,
};

/// The unchanged lines around a change.
const CONTEXT: usize = 3;

/// Let the clients of agents call `watchkeeper hook` before each tool call
///
/// Edits the settings of the client, prints the difference, and keeps everything else in the file,
/// also comments. `watchkeeper uninstall` restores the file, and `watchkeeper doctor` tests the hook.
/// The hook gets the options `--act` and `--policy` of this command, and `--state-dir` without
/// `--project`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    clients: Clients,

    /// Strongest action of the hook, in any mode of the policy [default: the actions of the policy]
    #[arg(long, value_name = "ACTION")]
    act: Option<Act>,
}

/// The settings to edit.
#[derive(Debug, Args)]
pub(super) struct Clients {
    /// Clients of agents
    #[arg(value_name = "CLIENT", required = true)]
    names: Vec<Client>,

    /// Edit the settings of the project in the working folder, in place of those of the user
    #[arg(long)]
    project: bool,

    /// Print the difference, and write nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    folder: StateFolder,
}

impl Install {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let command = self.command(global)?;
        let dry = self.clients.is_dry();
        let file = loading::find(global.policy.as_deref(), output);
        let policy = loading::policy_without_text(&file, registry);
        let fault = match &policy {
            Ok(policy) => {
                let reason = reason_to_observe(&command, policy, &file);
                reason.map(|reason| format!("the hook only observes: {reason}"))
            }
            Err(err) => Some(format!("warning: the policy is not used: {}", err.summary())),
        };
        let (policy, is_quiet) = (policy.ok(), global.quiet);
        let status =
            self.clients.each(policy.as_ref(), output, |client, installation, output| {
                let change = installation.add(&command, dry)?;
                print(&change, installation.file(), dry, output)?;
                if change.is_any() && !dry && !global.quiet {
                    if let Some(step) = client.remaining_step() {
                        writeln!(output.err, "{step}")?;
                    }
                    writeln!(output.err, "new sessions of {} call the hook", client.name())?;
                }
                Ok(())
            })?;
        if let Some(fault) = fault.filter(|_| !is_quiet && status == Status::Success) {
            writeln!(output.err, "{fault}")?;
        }
        Ok(status)
    }

    /// Returns the command line that clients run.
    fn command(&self, global: &Global) -> Result<HookCommand, Error> {
        let is_project = self.clients.project;
        // In a project, each member finds the program by its name.
        let program = if is_project { program_name() } else { program_path() };
        let mut command = HookCommand::new(&program.ok_or(InstallError::NoProgram)?, self.act);
        // The state of a project's members is their own.
        let state_folder = self.clients.folder.given().filter(|_| !is_project);
        for (name, path) in [("--policy", global.policy.as_deref()), ("--state-dir", state_folder)]
        {
            let Some(path) = path else { continue };
            // In a project, each member has the files in the same places of the project.
            let path = if is_project { path.to_owned() } else { std::path::absolute(path)? };
            let text = path.to_str().ok_or_else(|| InstallError::NotUtf8(path.clone()))?;
            command = command.with_option(name, text);
        }
        Ok(command)
    }
}

impl Clients {
    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// Changes the settings of each client in turn.
    pub(super) fn each(
        self,
        policy: Option<&Policy>,
        output: &mut Output<'_>,
        change: impl Fn(Client, &Installation, &mut Output<'_>) -> Result<(), Error>,
    ) -> Result<Status, Error> {
        let state_folder = self.folder.path(policy);
        let scope = if self.project { Scope::Project(env::current_dir()?) } else { Scope::User };
        let mut status = Status::Success;
        for client in self.names {
            let file = client.hooks_file(&scope, &|name| env::var_os(name));
            let file = file.ok_or(InstallError::NoHome)?;
            let installation = Installation::new(client, file, state_folder.as_deref());
            match change(client, &installation, output) {
                // Settings of one client that cannot be edited concern no other one.
                Err(err @ Error::Install(_)) => {
                    status = output.fail(&format!("{}\n", err.render()));
                }
                result => result?,
            }
        }
        output.out.flush()?;
        Ok(status)
    }
}

/// Prints a change as a unified diff.
pub(super) fn print(
    change: &Change,
    file: &Path,
    dry: bool,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    let name = safe_path(file);
    if !change.is_any() {
        writeln!(output.err, "{name} is unchanged")?;
        return Ok(());
    }
    let [before, after] =
        [&change.before, &change.after].map(|text| text.as_deref().unwrap_or_default());
    let styled = output.styles.out;
    let diff = TextDiff::from_lines(before, after);
    for group in diff.grouped_ops(CONTEXT) {
        writeln!(output.out, "{}", Style::Dim.paint(&format!("--- {name}"), styled))?;
        for line in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let text = make_safe(line.value().trim_end_matches(['\r', '\n']));
            let line = match line.tag() {
                ChangeTag::Equal => format!("  {text}"),
                ChangeTag::Insert => Style::Green.paint(&format!("+ {text}"), styled),
                ChangeTag::Delete => Style::Red.paint(&format!("- {text}"), styled),
            };
            writeln!(output.out, "{line}")?;
        }
    }
    let done = match (&change.after, dry) {
        (None, true) => "would remove",
        (None, false) => "removed",
        (Some(_), true) => "would write",
        (Some(_), false) => "wrote",
    };
    writeln!(output.err, "{done} {name}")?;
    Ok(())
}

/// Returns the path of this program: that by which a shell finds it, which often is a link that
/// stays the same over updates, or else the file itself.
fn program_path() -> Option<String> {
    let program = env::current_exe().ok()?;
    let name = program.file_name()?;
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).filter(|folder| folder.is_absolute());
    let found = found
        .map(|folder| folder.join(name))
        .find(|path| path.canonicalize().is_ok_and(|found| found == program));
    Some(found.unwrap_or(program).to_str()?.to_owned())
}
