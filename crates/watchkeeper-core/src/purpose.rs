//! The purposes of tool calls.
//!
//! | purpose | recognized by | equal calls that count as one | reason |
//! | --- | --- | --- | --- |
//! | poll | a status or progress tool; `get_job`, `list_runs`, `check_deployment`; `kubectl get`, `gh run view`, `ps`; a sleep and a command that reads | 5, or 15 minutes | the state changes outside the session |
//! | wait | `sleep` and nothing else | 5, or 15 minutes | only time passes |
//! | navigate | keys, scroll, next, back, undo, move, `tmux send-keys` | 10; 3 if a page does not change | each call moves one step |
//! | act | click, type, send, set, upload, submit | 1 | the same act has the same effect |
//! | search | search, grep, glob, query; `grep`, `rg`, `find` | 1 | the same search finds the same |
//! | read | the class `read`; `cat`, `git log`, `curl` without data | 1 | as above |
//! | write | the class `write`; `echo` and the like into a file, `sed -i`, `patch` | 1 | the same change again |
//! | run | the class `run` | 1 | the same program does the same |
//! | ask, delegate | the classes of the same names | 1 | |
//! | plan | `todowrite`, `update_plan` | 1 | a record of the agent for itself |
//! | other | everything else | 1 | |
//!
//! [`Purpose::weight`] contains the numbers. The class comes first, as a source may know the
//! tool. Within a class, the words of the name decide, then an `action` argument or the
//! commands of a script.

mod command;
mod kind;
mod polls;
mod programs;
mod shell;
#[cfg(test)]
mod tests;
mod words;

use memchr::memmem;

pub(crate) use self::programs::first_program;
use self::{command::of_command, words::of_words};
pub use self::{
    kind::{Purpose, SpacedWeight, Weight},
    programs::runs_program,
};
use crate::{
    Json, ToolClass,
    event::CommandArguments,
    name_words::{without_server, words},
};

impl Purpose {
    /// Returns the purpose of a call of this class.
    pub(crate) fn of(class: ToolClass, tool: &str, arguments: &Json) -> Self {
        let named = || of_words(without_server(tool));
        match class {
            ToolClass::Ask => Self::Ask,
            ToolClass::Write => Self::Write,
            ToolClass::Wait if named() == Some(Self::Wait) => Self::Wait,
            ToolClass::Wait => Self::Poll,
            ToolClass::Delegate => {
                named().filter(|purpose| *purpose == Self::Poll).unwrap_or(Self::Delegate)
            }
            ToolClass::Read => match named() {
                Some(purpose @ (Self::Poll | Self::Search)) => purpose,
                _ => Self::Read,
            },
            ToolClass::Run => match CommandArguments::of(arguments).command {
                Some(command) => of_command(&command),
                None => match named() {
                    Some(purpose @ (Self::Poll | Self::Navigate)) => purpose,
                    _ => Self::Run,
                },
            },
            ToolClass::Other => match named() {
                _ if is_plan(tool) => Self::Plan,
                // A tool that writes for others has the class `Write`.
                Some(Self::Write) => Self::Other,
                Some(purpose) => purpose,
                None => of_action(arguments.as_str()).unwrap_or_default(),
            },
        }
    }

    /// Returns the purpose of a shell command.
    pub(crate) fn of_command(command: &str) -> Self {
        of_command(command)
    }
}

/// Returns true if the name of a tool contains a word for a plan of the agent.
fn is_plan(tool: &str) -> bool {
    let is_plan = |word: &str| {
        let starts_with =
            |start: &str| word.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
        starts_with("todo") || word.eq_ignore_ascii_case("plan")
    };
    words(without_server(tool)).any(is_plan)
}

/// Returns the purpose that the argument `action` indicates, as in `{"action":"scroll"}`.
fn of_action(arguments: &str) -> Option<Purpose> {
    string_of(arguments, "\"action\"").and_then(of_words)
}

/// Returns the string that follows a key.
fn string_of<'a>(arguments: &'a str, key: &str) -> Option<&'a str> {
    let idx = memmem::find(arguments.as_bytes(), key.as_bytes())?;
    let value = arguments[idx + key.len()..].trim_start().strip_prefix(':')?.trim_start();
    value.strip_prefix('"')?.split('"').next()
}
