//! The hooks of this program in the settings of a client: JSON that people write and comment.
//!
//! An edit changes nothing but these hooks. Comments, order, indentation and the hooks of others
//! stay.

mod command;

use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstNode, CstObject, CstRootNode},
    json,
};
use thiserror::Error;
use watchkeeper_core::author::make_safe;

pub(crate) use self::command::{HookCommand, program_name};
use crate::hook::Client;

/// The seconds after which a client stops waiting for a hook. The hook itself gives up before.
const TIMEOUT: u32 = 5;

/// The settings of a client that cannot be edited.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SettingsError {
    #[error("{0}; correct the file, and try again")]
    NotJson(String),
    #[error("{part} is not {expected}; correct the file, and try again")]
    Unexpected { part: String, expected: &'static str },
}

/// An event of a client, and the command that the client runs at it.
pub(crate) type Installed = (String, String);

/// Returns the events at which a client runs the hook: before a tool call, and at a prompt, which
/// ends refusals.
///
/// The hook is not needed after a call: the client writes a result to its session file after it has
/// run the hooks of that result. Gemini CLI alone gives a text to its model only then.
pub(crate) fn events(client: Client) -> &'static [&'static str] {
    match client {
        Client::ClaudeCode | Client::Codex | Client::QwenCode => {
            &["PreToolUse", "UserPromptSubmit"]
        }
        Client::GeminiCli => &["BeforeTool", "AfterTool", "BeforeAgent"],
        Client::CopilotCli => &["preToolUse", "userPromptSubmitted"],
        Client::Cursor => &["preToolUse", "beforeSubmitPrompt"],
        // A plugin in place of settings.
        Client::Opencode => &[],
    }
}

/// Returns the settings with a hook. The hook replaces others of this program.
pub(crate) fn with_hook(
    text: &str,
    client: Client,
    command: &HookCommand,
) -> Result<String, SettingsError> {
    let wanted: Vec<Installed> =
        events(client).iter().map(|event| ((*event).to_owned(), command.text(client))).collect();
    if installed(text, client)? == wanted {
        return Ok(text.to_owned());
    }
    let text = without_hook(text, client)?;
    let root = parse(&text)?;
    let mark = byte_order_mark(&text);
    let settings = root_object(&root)?;
    if matches!(client, Client::Cursor | Client::CopilotCli) && settings.get("version").is_none() {
        settings.append("version", json!(1));
    }
    let hooks = settings.object_value_or_create("hooks").ok_or_else(hooks_are_no_object)?;
    for (event, command) in &wanted {
        let entries = hooks.array_value_or_create(event).ok_or_else(|| is_no_list(event))?;
        if entries.elements().is_empty() {
            entries.ensure_multiline();
        }
        entries.append(entry(client, command));
    }
    Ok(format!("{mark}{root}"))
}

/// Returns the settings without the hooks of this program, and without the lists that are empty
/// then.
pub(crate) fn without_hook(text: &str, client: Client) -> Result<String, SettingsError> {
    let root = parse(text)?;
    let settings = root_object(&root)?;
    let Some(hooks) = hooks_object(&settings)? else { return Ok(text.to_owned()) };
    let (mark, mut is_changed) = (byte_order_mark(text), false);
    for (event, entries) in lists(&hooks)? {
        let n_before = entries.elements().len();
        for entry in entries.elements() {
            remove_from_entry(entry, client);
        }
        let n_after = entries.elements().len();
        is_changed |= format!("{mark}{root}") != text;
        if n_after == 0
            && n_before != 0
            && let Some(list) = hooks.get(&event)
        {
            list.remove();
        }
    }
    if !is_changed {
        return Ok(text.to_owned());
    }
    if hooks.properties().is_empty()
        && let Some(hooks) = settings.get("hooks")
    {
        hooks.remove();
    }
    Ok(format!("{mark}{root}"))
}

/// Returns the hooks of this program, in the order of the file.
pub(crate) fn installed(text: &str, client: Client) -> Result<Vec<Installed>, SettingsError> {
    let root = parse(text)?;
    let Some(hooks) = hooks_object(&root_object(&root)?)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (event, entries) in lists(&hooks)? {
        for entry in entries.elements() {
            let inner = entry.as_object().and_then(|entry| entry.array_value("hooks"));
            let inner = inner.map_or_else(Vec::new, |inner| inner.elements());
            let commands =
                inner.iter().chain([&entry]).filter_map(|hook| own_command(hook, client));
            found.extend(commands.map(|command| (event.clone(), command)));
        }
    }
    Ok(found)
}

/// Removes the hooks of this program from an element of the list of an event. An entry that
/// contains no other hook is removed as a whole.
fn remove_from_entry(entry: CstNode, client: Client) {
    if own_command(&entry, client).is_some() {
        return entry.remove();
    }
    let inner = entry.as_object().and_then(|entry| entry.array_value("hooks"));
    let Some(inner) = inner else { return };
    let hooks = inner.elements();
    let is_own = |hook: &CstNode| own_command(hook, client).is_some();
    if !hooks.is_empty() && hooks.iter().all(is_own) {
        return entry.remove();
    }
    for hook in hooks.into_iter().filter(is_own) {
        hook.remove();
    }
}

/// Returns the command of a hook if it calls this program for the client.
fn own_command(hook: &CstNode, client: Client) -> Option<String> {
    let hook = hook.as_object()?;
    let command = hook.get("command").or_else(|| hook.get("bash"))?;
    let command = command.value()?.as_string_lit()?.decoded_value().ok()?;
    HookCommand::parse(&command, client).map(|_| command)
}

/// Returns the element of the list of an event, in the form of the client.
fn entry(client: Client, command: &str) -> CstInputValue {
    match client {
        Client::ClaudeCode | Client::Codex => {
            json!({ "hooks": [{ "type": "command", "command": command, "timeout": TIMEOUT }] })
        }
        Client::GeminiCli => json!({
            "matcher": "*",
            "hooks": [{
                "type": "command",
                "name": "watchkeeper",
                "command": command,
                "timeout": (TIMEOUT * 1_000),
            }],
        }),
        // Versions before 1.0 read the timeout in milliseconds, later ones in seconds.
        Client::QwenCode => json!({
            "hooks": [{ "type": "command", "name": "watchkeeper", "command": command }],
        }),
        Client::CopilotCli => json!({ "type": "command", "bash": command, "timeoutSec": TIMEOUT }),
        Client::Cursor | Client::Opencode => json!({ "command": command, "timeout": TIMEOUT }),
    }
}

/// Returns the mark with which some editors begin a file; clients ignore it.
fn byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').map_or("", |rest| &text[..text.len() - rest.len()])
}

/// Parses JSON with comments and trailing commas, as clients accept it.
pub(crate) fn parse(text: &str) -> Result<CstRootNode, SettingsError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    CstRootNode::parse(&text[byte_order_mark(text).len()..], &options)
        .map_err(|err| SettingsError::NotJson(make_safe(&err.to_string())))
}

pub(crate) fn root_object(root: &CstRootNode) -> Result<CstObject, SettingsError> {
    root.object_value_or_create().ok_or_else(|| SettingsError::Unexpected {
        part: "the JSON".to_owned(),
        expected: "an object",
    })
}

fn hooks_object(settings: &CstObject) -> Result<Option<CstObject>, SettingsError> {
    let Some(hooks) = settings.get("hooks") else { return Ok(None) };
    hooks.object_value().map(Some).ok_or_else(hooks_are_no_object)
}

/// Returns the events of hooks with their lists.
fn lists(hooks: &CstObject) -> Result<Vec<(String, CstArray)>, SettingsError> {
    let mut lists = Vec::new();
    for member in hooks.properties() {
        let event = member.decoded_name().unwrap_or_default();
        let list = member.array_value().ok_or_else(|| is_no_list(&event))?;
        lists.push((event, list));
    }
    Ok(lists)
}

fn hooks_are_no_object() -> SettingsError {
    SettingsError::Unexpected { part: "`hooks`".to_owned(), expected: "an object" }
}

fn is_no_list(event: &str) -> SettingsError {
    let part = format!("`hooks.{}`", make_safe(event));
    SettingsError::Unexpected { part, expected: "a list" }
}

#[cfg(test)]
mod tests;
