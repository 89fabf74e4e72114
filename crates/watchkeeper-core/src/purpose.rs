//! The purposes of tool calls.
//!
//! | purpose | recognized by | equal calls that count as one |
//! | --- | --- | --- |
//! | poll | a status, progress or check tool; `kubectl get`, `gh run view`, `ps`; a command that also sleeps | 5: the state changes outside the session |
//! | wait | `sleep` and nothing else | 5: only time passes |
//! | act | click, type, send, set, upload, submit | 1: the same act has the same effect |
//! | navigate | keys, scroll, next, back, undo, `tmux send-keys` | 10: each call moves one step |
//! | search | search, grep, glob, query; `grep`, `rg`, `find` | 1 |
//! | read | the class `read` | 1 |
//! | write | the class `write` | 1 |
//! | run | the class `run` | 1 |
//! | ask, delegate | the classes of the same names | 1 |
//! | other | everything else | 1 |
//!
//! The class comes first, as a source may know the tool. Within a class, the words of the name
//! decide, then an `action` argument or the shape of a command.

mod command;
mod kind;
#[cfg(test)]
mod tests;

use memchr::memmem;

use self::command::of_command;
pub use self::kind::Purpose;
use crate::{Json, ToolClass};

impl Purpose {
    /// Returns the purpose of a call of this class.
    pub(crate) fn of(class: ToolClass, tool: &str, arguments: &Json) -> Self {
        let tool = tool.rsplit_once("__").map_or(tool, |(_, name)| name);
        let named = || of_words(tool);
        match class {
            ToolClass::Ask => Self::Ask,
            ToolClass::Write => Self::Write,
            ToolClass::Wait if named() == Some(Self::Wait) => Self::Wait,
            ToolClass::Wait => Self::Poll,
            ToolClass::Delegate => named().filter(|it| *it == Self::Poll).unwrap_or(Self::Delegate),
            ToolClass::Read => match named() {
                Some(purpose @ (Self::Poll | Self::Search)) => purpose,
                _ => Self::Read,
            },
            ToolClass::Run => match command_text(arguments.as_str()) {
                Some(command) => of_command(command),
                None => named().filter(|it| *it == Self::Poll).unwrap_or(Self::Run),
            },
            ToolClass::Other => match named() {
                // Todo lists and plans are records of the agent itself.
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

/// Returns the purpose that the words of a name indicate.
fn of_words(name: &str) -> Option<Purpose> {
    let mut purpose = None;
    for word in words(name) {
        let mut lower = [0; 16];
        let Some(lower) = lower.get_mut(..word.len()) else { continue };
        lower.copy_from_slice(word.as_bytes());
        lower.make_ascii_lowercase();
        let next = of_word(lower);
        purpose = match (purpose, next) {
            (None, next) => next,
            // `get_job_status`, `run_status`
            (Some(Purpose::Read | Purpose::Search | Purpose::Run), Some(Purpose::Poll))
            // `press_key`, `send_keys`
            | (Some(Purpose::Act), Some(Purpose::Navigate))
            // `status_update`
            | (Some(Purpose::Poll), Some(Purpose::Act | Purpose::Write)) => next,
            (known, _) => known,
        };
    }
    purpose
}

/// Returns the words of a name in camel case, or with separators.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).flat_map(|part| {
        let mut rest = part;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let bytes = rest.as_bytes();
            let starts_word =
                |at: &usize| bytes[*at].is_ascii_uppercase() && bytes[at - 1].is_ascii_lowercase();
            let end = (1..bytes.len()).find(starts_word).unwrap_or(bytes.len());
            let (word, after) = rest.split_at(end);
            rest = after;
            Some(word)
        })
    })
}

/// Returns the purpose that a word in lower case indicates.
fn of_word(word: &[u8]) -> Option<Purpose> {
    Some(match word {
        b"status" | b"progress" | b"check" | b"poll" | b"health" | b"healthcheck" | b"liveness"
        | b"readiness" | b"ready" | b"state" | b"taskget" | b"logs" | b"tail" | b"monitor"
        | b"watch" | b"heartbeat" | b"ping" | b"inspect" | b"checks" | b"runs" | b"pods"
        | b"events" => Purpose::Poll,
        b"sleep" | b"wait" | b"delay" | b"pause" => Purpose::Wait,
        b"click" | b"tap" | b"type" | b"press" | b"fill" | b"hover" | b"drag" | b"drop"
        | b"select" | b"act" | b"send" | b"post" | b"reply" | b"comment" | b"add" | b"set"
        | b"put" | b"update" | b"upload" | b"submit" | b"publish" | b"upsert" | b"assign"
        | b"label" | b"close" | b"enable" | b"disable" | b"start" | b"stop" | b"restart"
        | b"trigger" | b"toggle" | b"deploy" | b"notify" | b"email" | b"schedule" | b"queue"
        | b"enqueue" | b"commit" | b"push" | b"merge" | b"approve" | b"archive" | b"navigate" => {
            Purpose::Act
        }
        b"key" | b"keys" | b"hotkey" | b"keypress" | b"keystroke" | b"scroll" | b"swipe"
        | b"next" | b"prev" | b"previous" | b"back" | b"forward" | b"undo" | b"redo" | b"arrow"
        | b"step" | b"zoom" | b"seek" | b"pagedown" | b"pageup" | b"flip" => Purpose::Navigate,
        b"search" | b"grep" | b"glob" | b"find" | b"query" | b"lookup" | b"list" | b"filter"
        | b"websearch" => Purpose::Search,
        b"read" | b"get" | b"fetch" | b"view" | b"describe" | b"show" | b"open" | b"snapshot"
        | b"screenshot" => Purpose::Read,
        b"write" | b"edit" | b"create" | b"delete" | b"insert" | b"remove" => Purpose::Write,
        b"bash" | b"shell" | b"exec" | b"run" | b"execute" | b"evaluate" => Purpose::Run,
        _ => return None,
    })
}

/// Returns the purpose that the argument `action` indicates, as in `{"action":"scroll"}`.
fn of_action(arguments: &str) -> Option<Purpose> {
    string_of(arguments, "\"action\"").and_then(of_words)
}

/// The arguments that contain a command, quoted.
const COMMAND_KEYS: &[&str] =
    &["\"command\"", "\"cmd\"", "\"shell_command\"", "\"command_line\"", "\"script\""];

/// Returns the command in JSON arguments, with its escapes.
fn command_text(arguments: &str) -> Option<&str> {
    match arguments.strip_prefix('"') {
        Some(text) => Some(until_quote(text)),
        None => COMMAND_KEYS.iter().find_map(|key| string_of(arguments, key)),
    }
}

/// Returns the string, or the text of the array, that follows a key.
fn string_of<'a>(arguments: &'a str, key: &str) -> Option<&'a str> {
    let at = memmem::find(arguments.as_bytes(), key.as_bytes())?;
    let value = &arguments[at + key.len()..];
    let value = value.trim_start().strip_prefix(':')?.trim_start();
    match value.strip_prefix('"') {
        Some(text) => Some(until_quote(text)),
        None => value.strip_prefix('[')?.split(']').next(),
    }
}

/// Returns the text before the first quote that is not escaped.
fn until_quote(text: &str) -> &str {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    });
    &text[..end.unwrap_or(text.len())]
}
