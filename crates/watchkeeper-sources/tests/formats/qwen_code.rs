use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use watchkeeper_core::{SourceKind as _, author::DedupCache, embed::Registry};
use watchkeeper_sources::QwenCode;
use watchkeeper_testing::source;

use crate::{events, read};

const SESSION: &str = include_str!("fixtures/qwen_code.jsonl");

#[test]
fn keeps_the_promises_of_sources() {
    source::check::<QwenCode>(&[("q-1.jsonl", SESSION)]);
}

#[test]
fn reads_records() {
    assert_snapshot!(read("qwen-code", "q-1.jsonl", SESSION.as_bytes()), @r#"
    1 09:00:00 q-1 session_start cwd="/w/app" version="0.21.0"
    1 09:00:00 q-1 prompt text="Fix the test"
    2 09:00:03 q-1 thinking text="Run it first."
    2 09:00:03 q-1 message text="I run it."
    2 09:00:03 q-1 model_call cache_read_tokens=400 id="q2" input_tokens=500 model="qwen3-coder" output_tokens=50 reasoning_tokens=20
    2 09:00:03 q-1 tool_call arguments={"command":"make test","description":"Run it"} class="run" id="call_1" response="q2" tool="run_shell_command"
    2 09:00:03 q-1 tool_call arguments={"file_path":"/w/app/a.py","new_string":"2","old_string":"1"} class="write" id="call_2" response="q2" tool="edit"
    3 09:00:05 q-1 tool_result exit_code=2 id="call_1" ok=false output="1 failed"
    4 09:00:06 q-1 tool_result cause="declined" id="call_2" ok=false output="[Operation Cancelled] Reason: User did not allow tool call"
    5 09:00:07 q-1 error message="overloaded"
    6 09:00:08 q-1 compaction after_tokens=9000 before_tokens=90000
    7 09:00:09 q-1 prompt synthetic=true text="A task has ended"
    8 09:00:10 q-1/explore-1 message text="Done."
    8 09:00:10 q-1/explore-1 model_call id="q8" input_tokens=100 model="qwen3-coder" output_tokens=8 reasoning_tokens=3
    8 09:00:10 q-1/explore-1 turn_end
    skipped part 1: unknown type of record
    "#);
}

#[test]
fn copies_of_a_forked_session_count_once() {
    let mut seen = DedupCache::default();
    events("qwen-code", "q-1.jsonl", SESSION.as_bytes(), &mut seen);
    let fork = SESSION.replace("\"q-1\"", "\"q-2\"");
    assert_eq!(events("qwen-code", "q-2.jsonl", fork.as_bytes(), &mut seen).0, []);
}

#[test]
fn two_records_in_one_line_are_read() {
    let (first, rest) = SESSION.split_once('\n').unwrap();
    let (second, _) = rest.split_once('\n').unwrap();
    let text = format!("{first} {second}\n{first}{{\"uuid\":\"q9\n{first}[]\n");
    assert_snapshot!(read("qwen-code", "q-1.jsonl", text.as_bytes()), @r#"
    1 09:00:00 q-1 session_start cwd="/w/app" version="0.21.0"
    1 09:00:00 q-1 prompt text="Fix the test"
    1 09:00:03 q-1 thinking text="Run it first."
    1 09:00:03 q-1 message text="I run it."
    1 09:00:03 q-1 model_call cache_read_tokens=400 id="q2" input_tokens=500 model="qwen3-coder" output_tokens=50 reasoning_tokens=20
    1 09:00:03 q-1 tool_call arguments={"command":"make test","description":"Run it"} class="run" id="call_1" response="q2" tool="run_shell_command"
    1 09:00:03 q-1 tool_call arguments={"file_path":"/w/app/a.py","new_string":"2","old_string":"1"} class="write" id="call_2" response="q2" tool="edit"
    skipped line 1: ends in the middle of JSON
    skipped line 1: something follows the JSON
    "#);
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let sources = Registry::linked().unwrap().sources;
    for head in [SESSION, &SESSION[..250]] {
        let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head.as_bytes()));
        let kinds = known.map(watchkeeper_core::embed::Entry::kind).collect::<Vec<_>>();
        assert_eq!(kinds, ["qwen-code"]);
    }
}

#[test]
fn derives_folders_from_the_environment() {
    let home = |name: &str| (name == "HOME").then(|| "/h".into());
    assert_eq!(QwenCode::folders(&home), [PathBuf::from("/h/.qwen/projects")]);
    let own = |name: &str| (name == "QWEN_RUNTIME_DIR").then(|| "/q".into());
    assert_eq!(QwenCode::folders(&own), [PathBuf::from("/q/projects")]);
}
