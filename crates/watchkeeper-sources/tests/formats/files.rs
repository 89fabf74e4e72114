use std::{error::Error as _, fs, path::Path};

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use watchkeeper_core::{
    author::DedupCache,
    embed::{Entry as _, Registry},
};
use watchkeeper_sources::{OpenError, discover, open, open_bytes};

use crate::{read, render};

const LINE: &str = r#"{"at":"2026-03-01T09:00:00Z","session":"s","event":"turn_end"}"#;

#[test]
fn opens_a_file_with_the_source_that_recognizes_it() {
    let kinds = Registry::linked().unwrap().sources;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let later = LINE.replace("09:00:00", "09:00:01");
    fs::write(&path, format!("\n{LINE}\nnot JSON\n{later}")).unwrap();
    let mut file = open(&path, None, &kinds).unwrap();
    assert_eq!(file.kind().kind(), "ndjson");
    let mut lines = Vec::new();
    file.read(&mut DedupCache::default(), &mut |event| lines.push(event.origin.unwrap().line))
        .unwrap();
    assert_eq!(lines, [2, 4]);
    assert_eq!(file.skipped_lines().total(), 1);

    let named = open(&path, Some(kinds.get("codex").unwrap()), &kinds).unwrap();
    assert_eq!(named.kind().kind(), "codex");
}

#[test]
fn a_byte_order_mark_changes_nothing() {
    let kinds = Registry::linked().unwrap().sources;
    let folder = tempfile::tempdir().unwrap();
    for (name, fixture) in [
        ("a.traj", &include_bytes!("fixtures/swe_agent.traj")[..]),
        ("a.json", include_bytes!("fixtures/openhands_trajectory.json")),
        ("b.json", include_bytes!("fixtures/opencode.json")),
        ("a.jsonl", include_bytes!("fixtures/claude_code_recent.jsonl")),
        ("a.ndjson", include_bytes!("fixtures/neutral.ndjson")),
    ] {
        let path = folder.path().join(name);
        let mut events = [b"".as_slice(), b"\xef\xbb\xbf"].map(|mark| {
            fs::write(&path, [mark, fixture].concat()).unwrap();
            let mut events = Vec::new();
            let mut file = open(&path, None, &kinds).unwrap();
            file.read(&mut DedupCache::default(), &mut |event| events.push(event)).unwrap();
            events
        });
        let [without, with] = &mut events;
        assert!(!without.is_empty(), "{name}");
        assert_eq!(with, without, "{name}");
    }
}

#[test]
fn recognizes_a_file_whose_first_line_is_long() {
    let kinds = Registry::linked().unwrap().sources;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.jsonl");
    let event = |text: &str| {
        format!(
            r#"{{"text":"{text}","event":"message","session":"s","at":"2026-03-01T09:00:00Z"}}"#
        )
    };
    for n_bytes in [70_000, 15_000_000] {
        let text = format!("{}\n{LINE}\n", event(&"x".repeat(n_bytes)));
        fs::write(&path, &text).unwrap();
        let in_memory = open_bytes(&path, text.into_bytes().into(), None, &kinds).unwrap();
        for mut file in [open(&path, None, &kinds).unwrap(), in_memory] {
            let mut n_events = 0;
            file.read(&mut DedupCache::default(), &mut |_| n_events += 1).unwrap();
            assert_eq!((file.kind().kind(), n_events), ("ndjson", 2));
        }
    }
}

#[test]
fn repeated_events_change_nothing() {
    let kinds = Registry::linked().unwrap().sources;
    let event = |secs: u32, rest: &str| {
        format!("{{\"at\":\"2026-03-01T09:00:0{secs}Z\",\"session\":\"s\",{rest}}}\n")
    };
    let part = event(3, r#""event":"message","delta":true,"text":"ha""#);
    let text = [
        event(1, r#""event":"prompt","text":"go""#),
        event(2, r#""event":"tool_call","id":"1","tool":"Read""#),
        // The same part of a text may be streamed twice at one time.
        part.clone(),
        part,
    ]
    .concat();
    let mut seen = DedupCache::default();
    let mut n_events = |name: &str, text: &str| {
        let bytes = text.as_bytes().into();
        let mut file = open_bytes(Path::new(name), bytes, None, &kinds).unwrap();
        let mut n_events = 0;
        file.read(&mut seen, &mut |_| n_events += 1).unwrap();
        n_events
    };
    assert_eq!(n_events("a", &text), 4);
    assert_eq!(n_events("copy of a", &text), 0);
    let other = text.replace("\"s\"", "\"other\"");
    let doubled: String = other.lines().take(2).flat_map(|it| [it, "\n", it, "\n"]).collect();
    assert_eq!(n_events("b", &doubled), 2);
}

#[test]
fn reports_why_a_file_cannot_be_opened() {
    let kinds = Registry::linked().unwrap().sources;
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &Path, expected: &str| {
        let error = open(path, None, &kinds).unwrap_err();
        let source = error.source().map(|it| format!(": {it}")).unwrap_or_default();
        let message = format!("{error}{source}");
        assert_eq!(message.replace(folder.path().to_str().unwrap(), "/…"), expected);
    };
    let notes = folder.path().join("notes.jsonl");
    fs::write(&notes, "# Notes\n").unwrap();
    check(
        &notes,
        "/…/notes.jsonl is not a session of a known agent; name its kind with `--source`",
    );
    check(
        &folder.path().join("none"),
        "cannot read /…/none: No such file or directory (os error 2)",
    );
    check(folder.path(), "cannot read /…: is a directory");
}

#[test]
fn discovers_files_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("b/subagents")).unwrap();
    for name in [
        "b/subagents/agent-2.jsonl",
        "b/subagents/agent-2.meta.json",
        "b.jsonl",
        "a.ndjson",
        "c.txt",
        "d.json",
        "e.traj",
    ] {
        fs::write(at(name), LINE).unwrap();
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path(), at("b/loop")).unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("gone.jsonl")).unwrap();
    }
    let kinds = Registry::linked().unwrap().sources;
    let paths = [folder.path().to_owned(), at("c.txt"), at("none"), at("d.json")];
    let found = discover(paths, kinds.iter());
    let names =
        found.files.iter().map(|it| it.strip_prefix(folder.path()).unwrap().to_str().unwrap());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["a.ndjson", "b.jsonl", "b/subagents/agent-2.jsonl", "c.txt", "d.json", "e.traj", "none",],
    );
}

#[test]
fn searches_deep_folders_and_names_the_stores_of_unsupported_agents() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_owned();
    let name = "d".repeat(200);
    while path.as_os_str().len() < 3_800 {
        path.push(&name);
    }
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("a.ndjson"), LINE).unwrap();
    let store = folder.path().join(".cursor/chats/store.db");
    fs::create_dir_all(store.parent().unwrap()).unwrap();
    fs::write(&store, "SQLite format 3").unwrap();
    let kinds = Registry::linked().unwrap().sources;
    let found = discover([folder.path()], kinds.iter());
    assert_eq!(found.files, [path.join("a.ndjson")]);
    assert_eq!(found.unsupported, [(store, "cursor (database)")]);
    assert!(found.unreadable.is_empty());
}

#[test]
fn a_compressed_session_of_codex_is_read_like_the_original() {
    let folder = tempfile::tempdir().unwrap();
    let text: &[u8] = include_bytes!("fixtures/codex_early.jsonl");
    let path = folder.path().join("rollout-1.jsonl.zst");
    let compressed = compress_to_vec(text, CompressionLevel::Fastest);
    fs::write(&path, &compressed).unwrap();
    let kinds = Registry::linked().unwrap().sources;
    assert_eq!(discover([folder.path()], kinds.iter()).files, std::slice::from_ref(&path));
    for kind in [None, kinds.get("codex").ok()] {
        let mut file = open(&path, kind, &kinds).unwrap();
        assert_eq!(file.kind().kind(), "codex");
        let mut events = Vec::new();
        file.read(&mut DedupCache::default(), &mut |event| events.push(event)).unwrap();
        assert_eq!(*events[0].origin.as_ref().unwrap().file, *path.to_string_lossy());
        let found = render(&(events, file.skipped_lines().clone()));
        assert_eq!(found, read("codex", "rollout-1.jsonl", text));
    }
    fs::write(&path, &compressed[..compressed.len() - 4]).unwrap();
    let error = open(&path, None, &kinds).map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
}
