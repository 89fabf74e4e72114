//! The purposes that the words of a name indicate.

use super::kind::Purpose;
use crate::name_words::words;

/// The number of bytes in the longest word of the tables.
const LONGEST: usize = 16;

/// Returns the purpose that the words of a name indicate.
pub(super) fn of_words(name: &str) -> Option<Purpose> {
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
