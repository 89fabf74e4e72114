//! Tests of the targets of tool calls.

use watchkeeper_core::{
    EventKind,
    author::{DedupCache, Targets},
};

use crate::events;

/// Returns the targets of the only call in a file.
fn targets(kind: &str, path: &str, text: &str) -> Targets {
    let (events, skipped) = events(kind, path, text.as_bytes(), &mut DedupCache::default());
    assert_eq!(skipped.total(), 0, "{skipped:?}");
    let mut calls = events.iter().filter_map(|event| match &event.kind {
        EventKind::ToolCall(call) => Some(call.targets().into_owned()),
        _ => None,
    });
    let targets = calls.next().unwrap();
    assert!(calls.next().is_none());
    targets
}

fn path(path: &str) -> Targets {
    Targets::new().with_path(path)
}

fn command(command: &str) -> Targets {
    Targets::new().with_command(command)
}

#[test]
fn of_claude_code() {
    for (tool, input, expected) in [
        ("Read", r#"{"file_path":"/w/a.rs"}"#, path("/w/a.rs")),
        ("NotebookEdit", r#"{"notebook_path":"/w/a.ipynb"}"#, path("/w/a.ipynb")),
        ("Grep", r#"{"pattern":"x","path":"/w"}"#, path("/w")),
        ("Bash", r#"{"command":"make","description":"Build"}"#, command("make")),
        (
            "WebFetch",
            r#"{"url":"https://a.example"}"#,
            Targets::new().with_url("https://a.example"),
        ),
        ("SlashCommand", r#"{"command":"/review"}"#, Targets::new()),
    ] {
        let line = format!(
            r#"{{"type":"assistant","sessionId":"s","timestamp":"2026-01-01T00:00:00Z","message":{{"content":[{{"type":"tool_use","id":"t","name":"{tool}","input":{input}}}]}}}}"#
        );
        assert_eq!(targets("claude-code", "s.jsonl", &line), expected, "{tool}");
    }
}

#[test]
fn of_codex() {
    let patch = r"*** Begin Patch\n*** Add File: a.rs\n+x\n*** Update File: b.rs\n*** End Patch";
    let files = path("a.rs").with_path("b.rs");
    let text = |text: &str| serde_json::to_string(text).unwrap();
    for (payload, expected) in [
        (
            format!(
                r#""type":"function_call","name":"shell","arguments":{}"#,
                text(r#"{"command":["bash","-lc","make test"],"workdir":"/w"}"#)
            ),
            command("make test"),
        ),
        (
            format!(
                r#""type":"function_call","name":"shell","arguments":{}"#,
                text(&format!(r#"{{"command":["apply_patch","{patch}"]}}"#))
            ),
            files.clone(),
        ),
        (
            r#""type":"local_shell_call","action":{"type":"exec","command":["ls","-l"]}"#
                .to_owned(),
            command("ls -l"),
        ),
        (
            format!(
                r#""type":"function_call","name":"exec_command","arguments":{}"#,
                text(r#"{"cmd":"make"}"#)
            ),
            command("make"),
        ),
        (
            format!(r#""type":"custom_tool_call","name":"apply_patch","input":"{patch}""#),
            files.clone(),
        ),
        (
            format!(
                r#""type":"function_call","name":"apply_patch","arguments":{}"#,
                text(&format!(r#"{{"input":"{patch}"}}"#))
            ),
            files,
        ),
    ] {
        let line = format!(
            r#"{{"timestamp":"2026-01-01T00:00:00Z","type":"response_item","payload":{{"call_id":"c",{payload}}}}}"#
        );
        assert_eq!(targets("codex", "s.jsonl", &line), expected, "{payload}");
    }
}

#[test]
fn of_openhands() {
    for (tool, action, expected) in [
        ("terminal", r#"{"command":"make"}"#, command("make")),
        ("file_editor", r#"{"command":"view","path":"/w/a.rs"}"#, path("/w/a.rs")),
        ("task_tracker", r#"{"command":"plan","task_list":[]}"#, Targets::new()),
    ] {
        let text = format!(
            r#"{{"id":"e","timestamp":"2026-01-01T00:00:00","source":"agent","kind":"ActionEvent","tool_name":"{tool}","tool_call_id":"c","action":{action}}}"#
        );
        assert_eq!(targets("openhands", "s.jsonl", &text), expected, "{tool}");
    }
}

#[test]
fn of_opencode() {
    let patch = r#"{"patchText":"*** Begin Patch\n*** Delete File: a.rs\n*** End Patch"}"#;
    for (tool, input, expected) in [
        ("bash", r#"{"command":"make","description":"Build"}"#, command("make")),
        ("read", r#"{"filePath":"/w/a.rs"}"#, path("/w/a.rs")),
        ("apply_patch", patch, path("a.rs")),
    ] {
        let text = format!(
            r#"{{"info":{{"id":"ses_1","time":{{"created":1}}}},"messages":[{{"info":{{"id":"msg_1","role":"assistant","time":{{"created":2}}}},"parts":[{{"type":"tool","callID":"c","tool":"{tool}","state":{{"status":"running","input":{input}}}}}]}}]}}"#
        );
        assert_eq!(targets("opencode", "s.json", &text), expected, "{tool}");
    }
}
