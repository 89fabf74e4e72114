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
//! | write | the class `write` | 1 | the same change again |
//! | run | the class `run` | 1 | the same program does the same |
//! | ask, delegate | the classes of the same names | 1 | |
//! | other | everything else | 1 | |
//!
//! [`Purpose::weight`] contains the numbers. The class comes first, as a source may know the
//! tool. Within a class, the words of the name decide, then an `action` argument or the
//! commands of a script.

mod command;
mod kind;
mod polls;
mod shell;
#[cfg(test)]
mod tests;

use memchr::memmem;

use self::command::of_command;
pub use self::kind::{Purpose, SpacedWeight, Weight};
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

/// The number of bytes in the longest word of the tables.
const LONGEST: usize = 16;

/// Returns the purpose that the words of a name indicate.
fn of_words(name: &str) -> Option<Purpose> {
    let mut purpose = None;
    let (mut previous, mut gets, mut is_of_work) = ([0; LONGEST], false, false);
    let (mut checks, mut begins_with_check, mut has_remote) = (false, false, false);
    for word in words(name) {
        let mut lower = [0; LONGEST];
        let Some(start) = lower.get_mut(..word.len()) else {
            is_of_work = false;
            continue;
        };
        start.copy_from_slice(word.as_bytes());
        start.make_ascii_lowercase();
        let next = if is_step(&previous, &lower) {
            Some(Purpose::Navigate)
        } else {
            of_word(&lower[..word.len()])
        };
        purpose = match (purpose, next) {
            (None, next) => next,
            // `get_job_status`, `run_status`
            (Some(Purpose::Read | Purpose::Search | Purpose::Run), Some(Purpose::Poll))
            // `press_key`, `send_keys`
            | (Some(Purpose::Act), Some(Purpose::Navigate))
            // `status_update`
            | (Some(Purpose::Poll), Some(Purpose::Act | Purpose::Write)) => next,
            // `deploy_status`
            (Some(Purpose::Act), Some(Purpose::Poll)) if is_noun_as_well(&previous) => next,
            (known, _) => known,
        };
        let is_first = previous == [0; LONGEST];
        let is_check = CHECKS.contains(&&lower[..word.len()]);
        checks |= is_check;
        begins_with_check |= is_first && is_check;
        // `run` is a verb at the start.
        has_remote |= is_remote(&lower[..word.len()])
            || is_work(&lower[..word.len()]) && !(is_first && word.eq_ignore_ascii_case("run"));
        let is_getter = GETTERS.iter().any(|getter| *getter == &lower[..word.len()]);
        gets |= is_getter;
        // Either the verb or the object comes last: `get_job`, `job_get`.
        is_of_work = is_getter && is_of_work || is_work(&lower[..word.len()]);
        previous = lower;
    }
    match purpose {
        Some(Purpose::Read | Purpose::Search | Purpose::Run) if gets && is_of_work => {
            Some(Purpose::Poll)
        }
        // `check_deployment`, `job_state`, but not `check_types`
        None | Some(Purpose::Read | Purpose::Search | Purpose::Run) if checks && has_remote => {
            Some(Purpose::Poll)
        }
        // `check_email`
        Some(_) if begins_with_check && has_remote => Some(Purpose::Poll),
        purpose => purpose,
    }
}

/// Words that indicate a poll only beside a word for work or for something remote.
const CHECKS: &[&[u8]] = &[b"check", b"checks", b"events", b"state"];

/// Returns true if a word names something remote or asynchronous that can be checked.
fn is_remote(word: &[u8]) -> bool {
    const NOUNS: &[&[u8]] = &[
        b"availability",
        b"ci",
        b"cluster",
        b"connection",
        b"deploy",
        b"download",
        b"email",
        b"emails",
        b"endpoint",
        b"inbox",
        b"mail",
        b"messages",
        b"notifications",
        b"payment",
        b"pr",
        b"queue",
        b"release",
        b"replies",
        b"server",
        b"service",
        b"services",
        b"site",
        b"task",
        b"tasks",
        b"training",
        b"upload",
        b"url",
        b"website",
        b"workflow",
        b"workflows",
    ];
    NOUNS.contains(&word)
}

/// Returns true if a verb, padded with zeros, is a noun as well.
fn is_noun_as_well(word: &[u8]) -> bool {
    const NOUNS: &[&[u8]] =
        &[b"commit", b"deploy", b"email", b"merge", b"push", b"queue", b"schedule", b"upload"];
    NOUNS.iter().any(|noun| word.strip_prefix(*noun).is_some_and(|rest| rest.first() == Some(&0)))
}

/// Verbs of tools that return the present state of something.
const GETTERS: &[&[u8]] =
    &[b"get", b"list", b"fetch", b"describe", b"show", b"retrieve", b"view", b"read"];

/// Returns true if a word names work that goes on outside the session. A task is a record of
/// the agent itself in most agents.
fn is_work(word: &[u8]) -> bool {
    const NOUNS: &[&[u8]] = &[
        b"alarm",
        b"build",
        b"container",
        b"crawl",
        b"deploy",
        b"deployment",
        b"execution",
        b"instance",
        b"invocation",
        b"job",
        b"machine",
        b"operation",
        b"pipeline",
        b"pod",
        b"process",
        b"processe",
        b"replica",
        b"rollout",
        b"run",
        b"stack",
    ];
    NOUNS.contains(&word) || word.strip_suffix(b"s").is_some_and(|word| NOUNS.contains(&word))
}

/// Returns true if two words in a row name a step in a direction, as in `page_down`.
fn is_step(previous: &[u8], word: &[u8]) -> bool {
    const MOVED: &[&[u8]] = &[b"brightness", b"dpad", b"page", b"volume"];
    const DIRECTIONS: &[&[u8]] = &[b"down", b"left", b"right", b"up"];
    let trimmed = |word: &[u8]| word.len() - word.iter().rev().take_while(|it| **it == 0).count();
    DIRECTIONS.contains(&&word[..trimmed(word)]) && MOVED.contains(&&previous[..trimmed(previous)])
}

/// Returns the purpose that a word in lower case indicates.
fn of_word(word: &[u8]) -> Option<Purpose> {
    Some(match word {
        b"status" | b"statuses" | b"progress" | b"poll" | b"health" | b"healthcheck"
        | b"liveness" | b"readiness" | b"ready" | b"running" | b"taskget" | b"logs" | b"tail"
        | b"monitor" | b"watch" | b"heartbeat" | b"ping" | b"pods" | b"pane" | b"metrics"
        | b"uptime" => Purpose::Poll,
        b"sleep" | b"wait" | b"delay" | b"pause" => Purpose::Wait,
        b"click" | b"tap" | b"type" | b"press" | b"fill" | b"hover" | b"drag" | b"drop"
        | b"select" | b"act" | b"send" | b"post" | b"reply" | b"comment" | b"add" | b"set"
        | b"put" | b"update" | b"upload" | b"submit" | b"publish" | b"upsert" | b"assign"
        | b"label" | b"close" | b"enable" | b"disable" | b"start" | b"stop" | b"restart"
        | b"trigger" | b"toggle" | b"deploy" | b"notify" | b"email" | b"schedule" | b"queue"
        | b"enqueue" | b"commit" | b"push" | b"merge" | b"approve" | b"archive" | b"navigate"
        | b"transition" | b"associate" | b"link" | b"attach" | b"register" | b"subscribe"
        | b"invite" | b"mark" | b"pin" | b"react" | b"vote" | b"book" | b"change" | b"draw"
        | b"play" | b"connect" | b"launch" | b"activate" | b"lock" | b"unlock" | b"tag"
        | b"share" | b"confirm" | b"store" | b"save" | b"resolve" | b"dismiss" | b"acknowledge"
        | b"invoke" | b"cancel" | b"refund" | b"charge" | b"resize" | b"scale" => Purpose::Act,
        b"key" | b"keys" | b"hotkey" | b"keypress" | b"keystroke" | b"keystrokes" | b"scroll"
        | b"wheel" | b"swipe" | b"next" | b"prev" | b"previous" | b"back" | b"forward"
        | b"undo" | b"redo" | b"arrow" | b"step" | b"zoom" | b"seek" | b"pagedown" | b"pageup"
        | b"flip" | b"move" | b"turn" | b"rotate" | b"pan" | b"tilt" | b"cursor" | b"input" => {
            Purpose::Navigate
        }
        b"search" | b"grep" | b"glob" | b"find" | b"query" | b"lookup" | b"list" | b"filter"
        | b"websearch" => Purpose::Search,
        b"read" | b"get" | b"fetch" | b"view" | b"describe" | b"show" | b"open" | b"snapshot"
        | b"screenshot" | b"retrieve" | b"inspect" => Purpose::Read,
        b"write" | b"edit" | b"create" | b"delete" | b"insert" | b"remove" => Purpose::Write,
        b"bash" | b"shell" | b"exec" | b"run" | b"execute" | b"evaluate" => Purpose::Run,
        // `feedkeys`, `sendkeys`
        _ if word.ends_with(b"keys") => Purpose::Navigate,
        _ => return None,
    })
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
