use std::{
    env,
    io::{self, Read as _, Write as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum as _};
use watchkeeper_core::{
    SignedDuration, Timestamp,
    author::make_safe,
    clock::{Clock as _, SystemClock},
    embed::Registry,
};

use super::install::state_folder;
use crate::{
    causes::with_causes,
    client_files::Scope,
    error::Error,
    global::Global,
    hook::{Client, HookFolder},
    hook_settings::{HookCommand, are_hooks_disabled, events, installed},
    installation::Installation,
    numbers::duration,
    opencode_plugin,
    output::{Output, Status, Style, quoted_path, safe_path},
    state_folder::StateFolder,
};

/// The time after which a hook that does not answer is stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest part of an error message that is printed, in bytes.
const MAX_MESSAGE: u64 = 1 << 10;

/// Test the hooks that clients of agents call
///
/// For each client with a hook of this program: reads its settings, runs the hook as the client
/// does, with a session that does not exist, and prints when the client called it last. Exits with
/// status 1 if a hook does not work.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Clients of agents [default: those with settings on this machine]
    #[arg(value_name = "CLIENT")]
    clients: Vec<Client>,

    #[command(flatten)]
    folder: StateFolder,
}

/// The author of a file with settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    User,
    /// Anybody who can write to the project.
    Project,
}

/// A hook that does not work.
enum Fault {
    Settings(String),
    MissingEvents(Vec<&'static str>),
    Disabled,
    /// A program of a project that is not this one.
    OtherProgram(String),
    Start(io::Error),
    NoAnswer,
    MissingProgram,
    Exit {
        status: ExitStatus,
        message: String,
    },
    Answer(String),
}

impl Doctor {
    pub(crate) fn run(
        self,
        global: &Global,
        registry: &Registry,
        output: &mut Output<'_>,
    ) -> Result<Status, Error> {
        let state = state_folder(&self.folder, global, registry, output);
        let hooks = state.as_deref().map(HookFolder::of);
        let variable = |name: &str| env::var_os(name);
        let project = Scope::Project(env::current_dir()?);
        let has_settings = |client: &Client| {
            client.user_folder(&variable).is_some_and(|folder| folder.is_dir())
                || client.hooks_file(&project, &variable).is_some_and(|file| file.exists())
        };
        let clients = if self.clients.is_empty() {
            Client::value_variants().iter().copied().filter(has_settings).collect()
        } else {
            self.clients
        };
        let mut status = Status::Success;
        for client in &clients {
            let called_at = hooks.as_ref().and_then(|hooks| hooks.called_at(*client));
            writeln!(output.out, "{}", Style::Bold.paint(client.name(), output.styles.out))?;
            let mut n_hooks = 0;
            let of_scope = |scope: &Scope| client.hooks_file(scope, &variable);
            let (user_file, project_file) = (of_scope(&Scope::User), of_scope(&project));
            // In the home folder, both are the same.
            let project_file = project_file.filter(|file| user_file.as_ref() != Some(file));
            let files = [(user_file, Trust::User), (project_file, Trust::Project)];
            for (file, trust) in files {
                let Some(file) = file else { continue };
                let installation = Installation::new(*client, file, None);
                let Some(result) = examine(*client, &installation, trust) else { continue };
                n_hooks += 1;
                status = status.worse(print(*client, &installation, result, called_at, output)?);
            }
            if let Some(hooks) = &hooks {
                // The test was no call of the client. It may have stored none, too.
                let _ = hooks.set_called_at(*client, called_at);
            }
            if n_hooks == 0 {
                let name = client.name();
                writeln!(output.out, "  no hook: `watchkeeper install {name}` adds it")?;
            }
        }
        if clients.is_empty() {
            writeln!(output.err, "found no settings of a client")?;
        }
        output.out.flush()?;
        Ok(status)
    }
}

/// Tests the hook in a file, and returns the time of its answer. `None` if there is no hook.
fn examine(
    client: Client,
    installation: &Installation,
    trust: Trust,
) -> Option<Result<Duration, Fault>> {
    let text = match installation.read() {
        Ok(text) => text?,
        Err(err) => return Some(Err(Fault::Settings(with_causes(&err)))),
    };
    let command = match command(client, &text) {
        Ok(command) => command?,
        Err(fault) => return Some(Err(fault)),
    };
    let program = HookCommand::program_of(&command, client)?;
    if trust == Trust::Project && !is_this_program(&program) {
        return Some(Err(Fault::OtherProgram(program)));
    }
    Some(call(client, HookCommand::without_fallback(&command)))
}

/// Returns whether the program of a hook is a name that the system looks up, or this program.
fn is_this_program(program: &str) -> bool {
    let is_same = || Some(Path::new(program).canonicalize().ok()? == env::current_exe().ok()?);
    !program.contains('/') || is_same().unwrap_or(false)
}

/// Returns the command line that a client runs. `None` if there is no hook.
fn command(client: Client, text: &str) -> Result<Option<String>, Fault> {
    if client == Client::Opencode {
        return Ok(opencode_plugin::command(text));
    }
    let hooks = installed(text, client).map_err(|err| Fault::Settings(err.to_string()))?;
    let Some((_, command)) = hooks.first() else { return Ok(None) };
    let is_missing = |event: &&&str| !hooks.iter().any(|(found, _)| found.as_str() == **event);
    let missing: Vec<&str> = events(client).iter().filter(is_missing).copied().collect();
    if !missing.is_empty() {
        return Err(Fault::MissingEvents(missing));
    }
    if are_hooks_disabled(text).unwrap_or(false) {
        return Err(Fault::Disabled);
    }
    Ok(Some(command.clone()))
}

/// Runs a hook as its client does, and returns the time of its answer.
fn call(client: Client, command: &str) -> Result<Duration, Fault> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let start = SystemClock.uptime();
    let mut hook = shell.spawn().map_err(Fault::Start)?;
    if let Some(mut stdin) = hook.stdin.take() {
        // The status of a hook that has ended already is examined below.
        let _ = stdin.write_all(sample(client).as_bytes());
    }
    let (sender, answers) = mpsc::channel();
    let streams = (hook.stdout.take(), hook.stderr.take());
    thread::spawn(move || {
        let (mut out, mut err) = (String::new(), String::new());
        let (Some(stdout), Some(stderr)) = streams else { return };
        // Bytes that are no text count as no answer.
        let _ = stdout.take(MAX_MESSAGE).read_to_string(&mut out);
        let _ = stderr.take(MAX_MESSAGE).read_to_string(&mut err);
        let _ = sender.send((out, err));
    });
    let Ok((answer, message)) = answers.recv_timeout(PATIENCE) else {
        stop(&hook);
        let _ = hook.wait();
        return Err(Fault::NoAnswer);
    };
    let status = hook.wait().map_err(Fault::Start)?;
    let time = SystemClock.uptime().saturating_sub(start);
    match status.code() {
        Some(0) if message.trim().is_empty() => {}
        // As a shell reports a program that it does not find, or may not run.
        Some(126 | 127) => return Err(Fault::MissingProgram),
        _ => return Err(Fault::Exit { status, message }),
    }
    // A session that does not exist has no findings.
    if answer.trim().is_empty() { Ok(time) } else { Err(Fault::Answer(answer)) }
}

/// Kills a hook, and the processes that it started.
fn stop(hook: &std::process::Child) {
    #[cfg(unix)]
    if let Some(group) = rustix::process::Pid::from_raw(hook.id().cast_signed()) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Returns what a client would write to the hook.
fn sample(client: Client) -> String {
    let event = events(client).first().copied().unwrap_or("tool.execute.before");
    serde_json::json!({
        "hook_event_name": event,
        "session_id": "watchkeeper-doctor",
        "sessionId": "watchkeeper-doctor",
        "conversation_id": "watchkeeper-doctor",
        "tool_name": "none",
        "tool_input": {},
    })
    .to_string()
}

fn print(
    client: Client,
    installation: &Installation,
    result: Result<Duration, Fault>,
    called_at: Option<Timestamp>,
    output: &mut Output<'_>,
) -> io::Result<Status> {
    let file = safe_path(installation.file());
    let styled = output.styles.out;
    match result {
        Ok(time) => {
            let works = Style::Green.paint("works", styled);
            writeln!(output.out, "  {works}  {file}: answered in {} ms", time.as_millis())?;
            match (called_at, client.remaining_step()) {
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
            writeln!(output.out, "  {fails}  {file}: {}", fault.text(client))?;
            Ok(Status::Findings)
        }
    }
}

impl Fault {
    /// Returns the fault, and a remedy if there is one.
    fn text(&self, client: Client) -> String {
        let name = client.name();
        match self {
            Self::Settings(message) => message.clone(),
            Self::MissingEvents(events) => format!(
                "the hook for {} is missing; `watchkeeper install {name}` adds it",
                events.join(" and ")
            ),
            Self::Disabled => "the settings switch all hooks off".to_owned(),
            Self::OtherProgram(program) => format!(
                "the hook of this project runs {}, which was not tested, as it may be anybody's; \
                 `watchkeeper install {name} --project` replaces it",
                quoted_path(Path::new(program))
            ),
            Self::Start(err) => format!("cannot run the hook: {err}"),
            Self::NoAnswer => format!("the hook did not answer within {} s", PATIENCE.as_secs()),
            Self::MissingProgram => format!(
                "the program of the hook is missing; `watchkeeper install {name}` corrects its path"
            ),
            Self::Exit { status, message } => {
                let message = make_safe(message.trim().lines().next().unwrap_or_default());
                format!(
                    "the hook ended with {status}: {message}; `watchkeeper install {name}` corrects it"
                )
            }
            Self::Answer(answer) => {
                format!("an unknown session has an answer: {}", make_safe(answer.trim()))
            }
        }
    }
}
