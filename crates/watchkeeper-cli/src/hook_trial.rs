//! Runs the program of a hook with the arguments that its client passes, to see whether it answers.

use std::{
    io::{self, Read as _, Write as _},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use thiserror::Error;
use watchkeeper_core::{
    author::make_safe,
    clock::{Clock as _, SystemClock},
};

use crate::{
    hook::{Client, TRIAL_SESSION},
    hook_settings::{HookCommand, events},
};

/// The time after which a hook that does not answer is stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest part of an answer or of an error message that is read, in bytes.
const MAX_MESSAGE: u64 = 1 << 10;

/// A hook that does not work.
#[derive(Debug, Error)]
pub(crate) enum TrialError {
    #[error("cannot run the hook: {0}")]
    Start(io::Error),
    #[error("the hook did not answer within {} s", PATIENCE.as_secs())]
    NoAnswer,
    #[error("the program of the hook is missing, or cannot be run")]
    MissingProgram,
    #[error("the hook ended with {status}: {}", first_line(.message))]
    Exit { status: ExitStatus, message: String },
    #[error("an unknown session has an answer: {}", make_safe(.0.trim()))]
    Answer(String),
}

/// Runs a hook with a session that does not exist, and returns the time of its answer.
pub(crate) fn try_hook(client: Client, command: &HookCommand) -> Result<Duration, TrialError> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &command.text_with_messages(client)]);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut shell, 0);
    let start = SystemClock.uptime();
    let mut hook = shell.spawn().map_err(TrialError::Start)?;
    if let Some(mut stdin) = hook.stdin.take() {
        // The status of a hook that has ended already is examined below.
        let _ = stdin.write_all(sample(client).as_bytes());
    }
    let pid = hook.id();
    let (sender, answers) = mpsc::channel();
    thread::spawn(move || {
        let read = |stream: Option<&mut dyn io::Read>| {
            let mut bytes = Vec::new();
            // What cannot be read counts as not written.
            let _ = stream.map(|stream| stream.take(MAX_MESSAGE).read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let answer = read(hook.stdout.as_mut().map(|it| it as _));
        let message = read(hook.stderr.as_mut().map(|it| it as _));
        let _ = sender.send((answer, message, hook.wait()));
    });
    let Ok((answer, message, status)) = answers.recv_timeout(PATIENCE) else {
        stop(pid);
        return Err(TrialError::NoAnswer);
    };
    let status = status.map_err(TrialError::Start)?;
    let time = SystemClock.uptime().saturating_sub(start);
    match status.code() {
        Some(0) if message.trim().is_empty() => {}
        // As a shell reports a program that it may not run, or does not find.
        Some(126 | 127) => return Err(TrialError::MissingProgram),
        _ => return Err(TrialError::Exit { status, message }),
    }
    // A session that does not exist has no findings.
    if answer.trim().is_empty() { Ok(time) } else { Err(TrialError::Answer(answer)) }
}

/// Kills a hook, and the processes that it started.
#[cfg(unix)]
fn stop(pid: u32) {
    if let Some(group) = rustix::process::Pid::from_raw(pid.cast_signed()) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Leaves the hook alone: other platforms have no process groups.
#[cfg(not(unix))]
fn stop(_: u32) {}

/// Returns what a client would write to the hook.
fn sample(client: Client) -> String {
    let event = events(client).first().copied().unwrap_or("tool.execute.before");
    serde_json::json!({
        "hook_event_name": event,
        "session_id": TRIAL_SESSION,
        "sessionId": TRIAL_SESSION,
        "conversation_id": TRIAL_SESSION,
        "tool_name": "none",
        "tool_input": {},
    })
    .to_string()
}

fn first_line(message: &str) -> String {
    make_safe(message.trim().lines().next().unwrap_or_default())
}
