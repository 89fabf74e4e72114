use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum as _};
use watchkeeper_core::{
    Action, Level, Severity, SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
    embed::Registry,
    quote,
};
use watchkeeper_policy::{Mode, Policy};

use crate::{
    causes::with_causes,
    client_files::Scope,
    error::Error,
    global::Global,
    hook::{Client, HookFolder},
    hook_settings::{HookCommand, events, installed},
    hook_switches::{SettingsFile, off_switch},
    hook_trial::{TrialError, try_hook},
    installation::read_settings,
    loading,
    numbers::duration,
    opencode_plugin,
    output::{Output, Status, Style, quoted_path, safe_path},
    policy_file::PolicyFile,
    state_folder::StateFolder,
};

/// Test the hooks that clients of agents call
///
/// For each client with a hook of this program: reads its settings and the policy of the working
/// folder, runs the hook as the client does, with a session that does not exist, and prints what
/// the hook may do and when the client called it last. Exits with status 1 if a hook does not work.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Clients of agents [default: those with settings on this machine]
    #[arg(value_name = "CLIENT")]
    clients: Vec<Client>,

    #[command(flatten)]
    folder: StateFolder,
}

/// A hook in the settings of a client.
struct FoundHook {
    client: Client,
    file: PathBuf,
    trust: Trust,
}

/// The author of a file with settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    User,
    /// Anybody who can write to the project.
    Project,
}

/// A hook that works.
struct Works {
    time: Duration,
    /// The reason for which it carries out no action, if there is one.
    observes: Option<String>,
    /// The time at which the client called it last; `None` if it has not.
    called_at: Option<Timestamp>,
}

/// The reason for which a hook does not work.
enum Fault {
    Settings(String),
    MissingEvents(Vec<&'static str>),
    Disabled {
        file: PathBuf,
        switch: String,
    },
    /// A program of a project that is not this one, or an argument that `install` does not write.
    Untrusted(String),
    Policy(String),
    Trial(TrialError),
}

impl Doctor {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let variable = |name: &str| env::var_os(name);
        let folder = env::current_dir()?;
        let project = Scope::Project(folder.clone());
        let has_settings = |client: &Client| {
            client.user_folder(&variable).is_some_and(|folder| folder.is_dir())
                || client.hooks_file(&project, &variable).is_some_and(|file| file.exists())
        };
        let clients = if self.clients.is_empty() {
            Client::value_variants().iter().copied().filter(has_settings).collect()
        } else {
            self.clients.clone()
        };
        let mut status = Status::Success;
        for client in &clients {
            let name = client.name();
            writeln!(output.out, "{}", Style::Bold.paint(name, output.styles.out))?;
            let of_scope = |scope: &Scope| client.hooks_file(scope, &variable);
            let (user_file, project_file) = (of_scope(&Scope::User), of_scope(&project));
            // In the home folder, both are the same.
            let project_file = project_file.filter(|file| user_file.as_ref() != Some(file));
            let files = [(user_file, Trust::User), (project_file, Trust::Project)].into_iter();
            let hooks: Vec<_> =
                files.filter_map(|(file, trust)| FoundHook::read(*client, file?, trust)).collect();
            let n_hooks = hooks.len();
            let settings = texts(client.settings_files(&folder, &variable));
            let off = off_switch(&settings);
            for (hook, command) in hooks {
                let result = command.and_then(|command| match &off {
                    Some((file, switch)) => {
                        Err(Fault::Disabled { file: file.path.clone(), switch: switch.clone() })
                    }
                    None => self.test(&hook, &command, global, registry),
                });
                status = status.worse(print(&hook, result, output)?);
            }
            match n_hooks {
                0 => writeln!(output.out, "  no hook: `watchkeeper install {name}` adds it")?,
                1 => {}
                _ => writeln!(
                    output.out,
                    "  both hooks run at each call here: `watchkeeper uninstall {name} --project` \
                     removes one"
                )?,
            }
        }
        if clients.is_empty() {
            writeln!(output.err, "found no settings of a client")?;
        }
        output.out.flush()?;
        Ok(status)
    }

    fn test(
        &self,
        hook: &FoundHook,
        command: &HookCommand,
        global: &Global,
        registry: &Registry,
    ) -> Result<Works, Fault> {
        if hook.trust == Trust::Project {
            require_trusted(command)?;
        }
        let given = command.option("--policy").map(Path::new).or(global.policy.as_deref());
        let file = PolicyFile::find(given).policy;
        let policy = loading::policy_without_text(&file, registry)
            .map_err(|err| Fault::Policy(err.summary()))?;
        let state = command.option("--state-dir").map(PathBuf::from);
        let state = state.or_else(|| self.folder.path(Some(&policy)));
        let hooks = state.as_deref().map(HookFolder::of);
        let time = try_hook(hook.client, command).map_err(Fault::Trial)?;
        let called_at = hooks.and_then(|hooks| hooks.called_at(hook.client));
        let observes = reason_to_observe(command, &policy, &file);
        Ok(Works { time, observes, called_at })
    }
}

impl FoundHook {
    /// Reads the command line of the hook in a file. `None` if there is no hook.
    fn read(
        client: Client,
        file: PathBuf,
        trust: Trust,
    ) -> Option<(Self, Result<HookCommand, Fault>)> {
        let command = match read_settings(&file) {
            Ok(text) => command(client, &text?).transpose()?,
            Err(err) => Err(Fault::Settings(with_causes(&err))),
        };
        Some((Self { client, file, trust }, command))
    }

    /// Returns the command that installs the hook again.
    fn install(&self) -> String {
        let project = if self.trust == Trust::Project { " --project" } else { "" };
        format!("`watchkeeper install {}{project}`", self.client.name())
    }
}

/// Returns the command line that a client runs. `None` if there is no hook.
fn command(client: Client, text: &str) -> Result<Option<HookCommand>, Fault> {
    if client == Client::Opencode {
        let command = opencode_plugin::command(text);
        return Ok(command.and_then(|command| HookCommand::parse(&command, client)));
    }
    let hooks = installed(text, client).map_err(|err| Fault::Settings(err.to_string()))?;
    let Some((_, command)) = hooks.first() else { return Ok(None) };
    let is_missing = |event: &&&str| !hooks.iter().any(|(found, _)| found.as_str() == **event);
    let missing: Vec<&str> = events(client).iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        return Err(Fault::MissingEvents(missing));
    }
    Ok(HookCommand::parse(command, client))
}

/// Refuses what a project may choose, and nobody has checked.
fn require_trusted(command: &HookCommand) -> Result<(), Fault> {
    let program = command.program();
    let is_same = || Some(Path::new(program).canonicalize().ok()? == env::current_exe().ok()?);
    if program.contains('/') && !is_same().unwrap_or(false) {
        return Err(Fault::Untrusted(format!("runs {}", quoted_path(Path::new(program)))));
    }
    match command.other_than(&["--act", "--policy"]) {
        Some(argument) => Err(Fault::Untrusted(format!("has the argument {}", quote(argument)))),
        None => Ok(()),
    }
}

/// Returns the texts of the files that can be read.
fn texts(files: Vec<SettingsFile>) -> Vec<(SettingsFile, String)> {
    let read = |file: SettingsFile| {
        let text = read_settings(&file.path).ok()??;
        Some((file, text))
    };
    files.into_iter().filter_map(read).collect()
}

/// Returns why a hook carries out no action; `None` if it may carry out one.
pub(super) fn reason_to_observe(
    command: &HookCommand,
    policy: &Policy,
    file: &PolicyFile,
) -> Option<String> {
    let name = loading::policy_name(file.path());
    if policy.monitor.dry_run {
        return Some(format!("`dry_run` in {name}"));
    }
    let is_enforced = policy.monitor.mode == Mode::Enforce;
    let acts = |level: &Level| {
        level.severity != Severity::Low && level.action.is_some_and(|it| it != Action::Observe)
    };
    let mut levels = policy.detectors.iter().flat_map(|detector| &detector.levels);
    match command.option("--act") {
        Some(_) => None,
        None if !is_enforced => {
            Some(format!("it has no `--act`, and the mode of {name} is `observe`"))
        }
        None if levels.any(acts) => None,
        None => Some(format!("it has no `--act`, and {name} has no actions")),
    }
}

fn print(
    hook: &FoundHook,
    result: Result<Works, Fault>,
    output: &mut Output<'_>,
) -> io::Result<Status> {
    let file = safe_path(&hook.file);
    let styled = output.styles.out;
    match result {
        Ok(Works { time, observes, called_at }) => {
            let works = Style::Green.paint("works", styled);
            writeln!(output.out, "  {works}  {file}: answered in {} ms", time.as_millis())?;
            if let Some(reason) = observes {
                writeln!(output.out, "         observes only: {reason}")?;
            }
            match (called_at, hook.client.remaining_step()) {
                (Some(at), _) => {
                    let ago = SystemClock.now().duration_since(at).max(SignedDuration::ZERO);
                    writeln!(output.out, "         called last {} ago", duration(ago))?;
                }
                (None, Some(step)) => {
                    writeln!(output.out, "         not called yet: {step}")?;
                }
                (None, None) => {
                    writeln!(output.out, "         not called yet: only new sessions call it")?;
                }
            }
            Ok(Status::Success)
        }
        Err(fault) => {
            let fails = Style::Red.paint("fails", styled);
            writeln!(output.out, "  {fails}  {file}: {}", fault.text(hook))?;
            Ok(Status::Findings)
        }
    }
}

impl Fault {
    /// Returns the fault, and a remedy if there is one.
    fn text(&self, hook: &FoundHook) -> String {
        let install = hook.install();
        match self {
            Self::Settings(message) => message.clone(),
            Self::MissingEvents(events) => {
                format!("the hook for {} is missing; {install} adds it", events.join(" and "))
            }
            Self::Disabled { file, switch } => {
                format!("{switch} in {} switches the hook off", quoted_path(file))
            }
            Self::Untrusted(what) => format!(
                "the hook of this project {what}, and was not tested, as it may be anybody's; \
                 {install} replaces it"
            ),
            Self::Policy(summary) => {
                format!("the hook lets every call pass, since its policy is not used: {summary}")
            }
            Self::Trial(error @ (TrialError::MissingProgram | TrialError::Exit { .. })) => {
                format!("{error}; {install} corrects it")
            }
            Self::Trial(error) => error.to_string(),
        }
    }
}
