use std::path::{Path, PathBuf};

use insta::assert_snapshot;
use watchkeeper_core::{
    SourceKind as _,
    author::{DedupCache, Tokens},
    embed::Registry,
};
use watchkeeper_sources::{CopilotCli, open_bytes};
use watchkeeper_testing::source;

use crate::{events, read};

const SESSION: &str = include_str!("fixtures/copilot_cli.jsonl");

#[test]
fn keeps_the_promises_of_sources() {
    source::check::<CopilotCli>(&[("p-1/events.jsonl", SESSION)]);
}

#[test]
fn reads_events() {
    assert_snapshot!(read("copilot-cli", "p-1/events.jsonl", SESSION.as_bytes()), @r#"
    1 09:00:00 p-1 session_start cwd="/w/app" model="gpt-x" version="1.0.64"
    3 09:00:01 p-1 prompt text="Fix the test"
    5 09:00:03 p-1 thinking text="Run it first."
    5 09:00:03 p-1 message text="I run it."
    5 09:00:03 p-1 model_call id="m1" input_tokens=0 model="gpt-x" output_tokens=40
    5 09:00:03 p-1 tool_call arguments={"command":"make test","description":"Run it"} class="run" id="c1" response="m1" tool="bash"
    5 09:00:03 p-1 tool_call arguments={"file_text":"x","path":"/w/app/a.md"} class="write" id="c2" response="m1" tool="create"
    7 09:00:03 p-1 waiting for="permission"
    10 09:00:22 p-1 resumed for="permission"
    11 09:00:22 p-1 tool_result cause="declined" id="c2" ok=false output="The user rejected this tool call."
    12 09:00:25 p-1 tool_result exit_code=2 id="c1" ok=false output="1 failed"
    14 09:00:28 p-1 model_call id="m2" input_tokens=0 model="gpt-x" output_tokens=10
    14 09:00:28 p-1 tool_call arguments={"agent_type":"explore","prompt":"Look"} class="delegate" id="c3" response="m2" tool="task"
    15 09:00:28 p-1/c3 agent_start
    16 09:00:29 p-1/c3 tool_call arguments={"path":"/w/app/a.py"} class="read" id="c4" tool="view"
    17 09:00:29 p-1/c3 tool_result id="c4" ok=true output="x = 1"
    18 09:00:31 p-1/c3 agent_end
    19 09:00:31 p-1 tool_result id="c3" ok=true output="fine"
    20 09:00:32 p-1 compaction after_tokens=9000 before_tokens=90000
    21 09:00:33 p-1 prompt synthetic=true text="Use the skill"
    22 09:00:34 p-1 error message="overloaded"
    23 09:00:36 p-1 message text="Done."
    23 09:00:36 p-1 model_call id="m3" input_tokens=0 model="gpt-x" output_tokens=5
    24 09:00:36 p-1 turn_end
    25 09:00:40 p-1 turn_end
    27 09:00:42 p-1 session_end reason="routine"
    skipped part 1: unknown type of event
    "#);
}

#[test]
fn the_end_of_a_session_has_the_totals_of_the_client() {
    let kinds = Registry::linked().unwrap().sources;
    let bytes = SESSION.as_bytes().into();
    let mut file = open_bytes(Path::new("events.jsonl"), bytes, None, &kinds).unwrap();
    file.read(&mut DedupCache::default(), &mut |_| {}).unwrap();
    let tokens = file.client_total().unwrap().tokens.unwrap();
    let expected =
        Tokens { input: 400, cache_read: 600, output: 55, reasoning: 7, ..Tokens::default() };
    assert_eq!(tokens, expected);
}

#[test]
fn lines_without_the_start_belong_to_the_session_of_the_folder() {
    let line = SESSION.lines().nth(2).unwrap();
    let (events, _) =
        events("copilot-cli", "/h/p-7/events.jsonl", line.as_bytes(), &mut DedupCache::default());
    assert_eq!(events[0].session.as_str(), "p-7");
}

#[test]
fn recognizes_a_file_by_any_length_of_its_head() {
    let sources = Registry::linked().unwrap().sources;
    for head in [SESSION, &SESSION[..100]] {
        let known = sources.iter().filter(|it| it.recognizes(Path::new("x"), head.as_bytes()));
        let kinds = known.map(watchkeeper_core::embed::Entry::kind).collect::<Vec<_>>();
        assert_eq!(kinds, ["copilot-cli"]);
    }
}

#[test]
fn derives_folders_from_the_environment() {
    let home = |name: &str| (name == "HOME").then(|| "/h".into());
    assert_eq!(CopilotCli::folders(&home), [PathBuf::from("/h/.copilot/session-state")]);
    let own = |name: &str| (name == "COPILOT_HOME").then(|| "/c".into());
    assert_eq!(CopilotCli::folders(&own), [PathBuf::from("/c/session-state")]);
}
