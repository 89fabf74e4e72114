use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use watchkeeper_core::{EventKind, SourceKind as _, author::DedupCache, embed::Registry};
use watchkeeper_sources::Codex;

use crate::{events, read, render};

const EARLY: &[u8] = include_bytes!("fixtures/codex_early.jsonl");
const RECENT: &[u8] = include_bytes!("fixtures/codex_recent.jsonl");
const AGENT: &[u8] = include_bytes!("fixtures/codex_agent.jsonl");

#[test]
fn reads_early_versions() {
    assert_snapshot!(read("codex", "rollout-1.jsonl", EARLY), @r#"
    1 08:00:00 th-1 session_start cwd="/w/app" version="0.104.0"
    3 08:00:01 th-1 prompt text="Fix it"
    7 08:00:03 th-1 thinking text="**Looking**"
    9 08:00:03 th-1 message text="I run the tests."
    10 08:00:03 th-1 tool_call arguments={"cmd":"cargo test","yield_time_ms":30000} class="run" id="c1" response="response-1" tool="exec_command"
    11 08:00:03 th-1 model_call cache_read_tokens=6000 input_tokens=1000 model="gpt-x" output_tokens=90 reasoning_tokens=20
    13 08:00:33 th-1 tool_result id="c1" ok=true output="Compiling\n"
    14 08:00:35 th-1 tool_call arguments={"chars":"","session_id":4242,"yield_time_ms":30000} class="wait" id="c2" response="response-2" tool="write_stdin"
    15 08:00:50 th-1 tool_result exit_code=101 id="c2" ok=false output="test failed\n"
    16 08:00:55 th-1 tool_call arguments="*** Begin Patch\n*** End Patch" class="write" id="c3" response="response-3" tool="apply_patch"
    18 08:00:55 th-1 tool_result id="c3" ok=false output="no such context"
    19 08:00:58 th-1 tool_call arguments={"n":1} class="read" id="c4" response="response-4" tool="mcp__github__fetch_pr"
    21 08:00:59 th-1 tool_result id="c4" ok=false output="no such pull request"
    23 08:01:02 th-1 tool_call arguments={"query":"lexer","type":"search"} class="read" id="" response="response-5" tool="web_search"
    23 08:01:02 th-1 tool_result id="" ok=true
    24 08:01:05 th-1 tool_call arguments={"command":["ls"]} class="run" id="c5" response="response-5" tool="shell"
    25 08:01:05 th-1 tool_result exit_code=0 id="c5" ok=true output="a.rs\n"
    26 08:01:08 th-1 tool_call arguments={"cmd":"sleep 99"} class="run" id="c6" response="response-6" tool="exec_command"
    27 08:01:20 th-1 tool_result cause="interrupted" id="c6" ok=false output="aborted by user"
    28 08:01:20 th-1 turn_end
    30 09:00:00 th-1 compaction
    32 09:00:02 th-1 prompt text="Go on"
    33 09:00:05 th-1 model_call cache_read_tokens=1000 input_tokens=1000 model="gpt-x" output_tokens=60
    34 09:00:05 th-1 turn_end
    "#);
}

#[test]
fn reads_recent_versions() {
    assert_snapshot!(read("codex", "rollout-2.jsonl", RECENT), @r#"
    1 08:00:00 th-2 session_start cwd="/w/app" version="0.169.0"
    5 08:00:00 th-2 prompt text="Look"
    7 08:00:02 th-2 message text="I look."
    8 08:00:02 th-2 tool_call arguments={"cmd":"cat missing.txt","yield_time_ms":10000} class="run" id="c1" response="response-1" tool="exec_command"
    9 08:00:02 th-2 model_call cache_read_tokens=4000 cache_write_tokens=500 id="resp_1" input_tokens=5394 model="gpt-y" output_tokens=95 reasoning_tokens=10
    11 08:00:02 th-2 tool_result exit_code=1 id="c1" ok=false output="cat: missing.txt: No such file or directory\n"
    13 08:00:04 th-2 tool_call arguments={"cmd":"rm -r ."} class="run" id="c2" response="response-2" tool="exec_command"
    14 08:00:04 th-2 model_call id="resp_2" input_tokens=100 model="gpt-y" output_tokens=5
    15 08:00:04 th-2 tool_result cause="blocked" id="c2" ok=false output="Command blocked by PreToolUse hook: no. Command: rm -r ."
    16 08:00:05 th-2 tool_call arguments="not JSON" class="write" id="c3" response="response-3" tool="apply_patch"
    18 08:00:05 th-2 tool_result id="c3" ok=false output="it did not apply"
    19 08:00:09 th-2 error message="high demand"
    19 08:00:09 th-2 turn_end
    skipped part 1: unknown kind of payload
    "#);
}

#[test]
fn assigns_sub_agents_to_their_session_and_counts_copies_once() {
    let mut seen = DedupCache::default();
    events("codex", "rollout-2.jsonl", RECENT, &mut seen);
    assert_snapshot!(render(&events("codex", "rollout-3.jsonl", AGENT, &mut seen)), @r#"
    1 08:01:00 th-2/th-3 agent_start
    4 08:01:00 th-2/th-3 prompt text="Look closer"
    5 08:01:03 th-2/th-3 tool_call arguments={"cmd":"cat other.txt"} class="run" id="c9" response="response-1" tool="exec_command"
    6 08:01:04 th-2/th-3 turn_end
    "#);
}

/// Returns the lines of a thread, one second apart. Each is a type and a payload.
fn thread(lines: &[(&str, &str)]) -> String {
    let lines = (0..).zip(lines).map(|(secs, (kind, payload))| {
        format!(
            r#"{{"timestamp":"2026-11-01T08:00:{secs:02}.000Z","type":"{kind}","payload":{payload}}}"#
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

const META: (&str, &str) = ("session_meta", r#"{"id":"th-9"}"#);
const FIRST: (&str, &str) =
    ("response_item", r#"{"type":"function_call","name":"shell","arguments":"1","call_id":"c1"}"#);
const SECOND: (&str, &str) =
    ("response_item", r#"{"type":"function_call","name":"shell","arguments":"2","call_id":"c2"}"#);
const OUTPUT: (&str, &str) =
    ("response_item", r#"{"type":"function_call_output","call_id":"c1","output":"a"}"#);
const RECORD: (&str, &str) = (
    "token_usage_record",
    r#"{"response_id":"r1","usage":{"input_tokens":9,"output_tokens":1},"thread_token_usage":{"input_tokens":20,"output_tokens":1}}"#,
);
const COUNT: (&str, &str) = (
    "event_msg",
    r#"{"type":"token_count","info":{"total_token_usage":{"input_tokens":9,"output_tokens":1}}}"#,
);

#[test]
fn parallel_calls_have_the_same_response() {
    let responses = |lines: &[(&str, &str)]| {
        let text = thread(lines);
        let (events, _) = events("codex", "r.jsonl", text.as_bytes(), &mut DedupCache::default());
        let calls = events.into_iter().filter_map(|event| match event.kind {
            EventKind::ToolCall(call) => call.response,
            _ => None,
        });
        calls.collect::<Vec<_>>()
    };
    let same = ["response-1", "response-1"].map(Box::from);
    let other = ["response-1", "response-2"].map(Box::from);
    for (lines, expected) in [
        (&[META, FIRST, SECOND, RECORD, OUTPUT][..], &same),
        (&[META, FIRST, SECOND, COUNT, OUTPUT], &same),
        (&[META, FIRST, RECORD, OUTPUT, SECOND], &other),
        (&[META, FIRST, COUNT, SECOND], &other),
        (&[META, FIRST, OUTPUT, SECOND], &other),
    ] {
        assert_eq!(responses(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_limit_of_the_account_is_a_quota_when_it_changes() {
    let count = |primary: &str| {
        format!(
            r#"{{"type":"token_count","info":null,"rate_limits":{{"primary":{primary},"secondary":null}}}}"#
        )
    };
    let first = count(r#"{"used_percent":12.5,"window_minutes":300,"resets_at":1780000000}"#);
    let later = count(r#"{"used_percent":13,"window_minutes":300}"#);
    let unknown = count(r#"{"window_minutes":300}"#);
    let [first, later, unknown] = [&first, &later, &unknown].map(|it| ("event_msg", &**it));
    let text = thread(&[META, first, first, later, unknown]);
    let read = events("codex", "r.jsonl", text.as_bytes(), &mut DedupCache::default());
    assert_snapshot!(render(&read), @r#"
    1 08:00:00 th-9 session_start
    2 08:00:01 th-9 quota name="primary" resets_at="2026-05-28T20:26:40Z" used_percent=12.5 window_minutes=300
    4 08:00:03 th-9 quota name="primary" used_percent=13.0 window_minutes=300
    "#);
}

#[test]
fn a_count_without_a_response_is_a_failed_attempt() {
    let text = thread(&[META, FIRST, RECORD, OUTPUT, COUNT, COUNT, COUNT]);
    let (events, _) = events("codex", "r.jsonl", text.as_bytes(), &mut DedupCache::default());
    let retries = events.iter().filter_map(|event| match event.kind {
        EventKind::Error { retry, .. } => Some(retry),
        _ => None,
    });
    assert_eq!(retries.collect::<Vec<_>>(), [Some(1), Some(2)]);
}

#[test]
fn a_sub_agent_keeps_its_first_second() {
    let spawned =
        r#"{"id":"th-8","source":{"subagent":{"thread_spawn":{"parent_thread_id":"th-9"}}}}"#;
    let copied = ("session_meta", r#"{"id":"th-9"}"#);
    let n_calls = |lines: &[(&str, &str)], seen: &mut DedupCache| {
        // All lines have the time of the first one.
        let text = thread(lines).replace("08:00:01", "08:00:00").replace("08:00:02", "08:00:00");
        let (events, _) = events("codex", "agent.jsonl", text.as_bytes(), seen);
        events.iter().filter(|event| matches!(event.kind, EventKind::ToolCall(_))).count()
    };
    let meta = ("session_meta", spawned);
    assert_eq!(n_calls(&[meta, FIRST], &mut DedupCache::default()), 1);
    // A copied history begins with the line of the other thread.
    assert_eq!(n_calls(&[meta, copied, FIRST], &mut DedupCache::default()), 0);
    let mut seen = DedupCache::default();
    let parent = thread(&[META, FIRST]).replace("\"1\"", "\"first\"");
    events("codex", "parent.jsonl", parent.as_bytes(), &mut seen);
    assert_eq!(n_calls(&[meta, FIRST, SECOND], &mut seen), 1);
}

#[test]
fn repeated_lines_change_nothing() {
    let text = thread(&[META, FIRST, RECORD, OUTPUT, COUNT]);
    let doubled: String = text.lines().flat_map(|it| [it, "\n\0", it, "\0\n"]).collect();
    let names = |text: &str, seen: &mut DedupCache| {
        let (events, _) = events("codex", "r.jsonl", text.as_bytes(), seen);
        events.iter().map(|event| event.kind.name()).collect::<Vec<_>>()
    };
    let mut seen = DedupCache::default();
    let once = names(&text, &mut seen);
    assert_eq!(once, ["session_start", "tool_call", "model_call", "tool_result"]);
    assert_eq!(names(&doubled, &mut DedupCache::default()), once);
    assert_eq!(names(&text, &mut seen), [""; 0]);
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let sources = Registry::linked().unwrap().sources;
    for text in [EARLY, RECENT, AGENT] {
        for head in [text, &text[..100]] {
            let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head));
            let kinds = known.map(watchkeeper_core::embed::Entry::kind).collect::<Vec<_>>();
            assert_eq!(kinds, ["codex"]);
        }
    }
}

#[test]
fn derives_folders_from_the_environment() {
    let home = |name: &str| (name == "HOME").then(|| "/h".into());
    assert_eq!(Codex::folders(&home), [PathBuf::from("/h/.codex/sessions")]);
    let own = |name: &str| (name == "CODEX_HOME").then(|| "/c".into());
    assert_eq!(Codex::folders(&own), [PathBuf::from("/c/sessions")]);
}

#[test]
fn a_sub_agent_of_a_sub_agent_has_a_parent() {
    let spawned = r#"{"id":"th-8","session_id":"th-1","source":{"subagent":{"thread_spawn":{"parent_thread_id":"th-7"}}}}"#;
    let of_main = spawned.replace("th-7", "th-1");
    let meta = |spawned: &str| {
        read("codex", "agent.jsonl", thread(&[("session_meta", spawned)]).as_bytes())
    };
    assert_snapshot!(meta(spawned), @r#"1 08:00:00 th-1/th-8 agent_start parent="th-7""#);
    assert_snapshot!(meta(&of_main), @"1 08:00:00 th-1/th-8 agent_start");
}
