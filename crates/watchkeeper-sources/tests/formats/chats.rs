//! Tests of sessions that are messages, of the agents that share one reader of them.

use std::path::Path;

use insta::assert_snapshot;
use watchkeeper_core::{
    author::DedupCache,
    embed::{Entry, Registry},
};
use watchkeeper_sources::{
    Aider, Amp, Antigravity, Cline, ClineSdk, Continue, CopilotChat, Cursor, Droid, Gptme, Grok,
    Hermes, Junie, Kimi, Kiro, MiniSweAgent, OpenClaw, Pi, Zencoder,
};
use watchkeeper_testing::source::check;

use crate::{events, hostile::FIXTURES, read};

/// The name and the text of each sample, and its kind.
macro_rules! samples {
    ($($name:ident: $kind:literal, $path:literal, $file:literal;)*) => {
        $(const $name: (&str, &str) =
            ($path, include_str!(concat!("fixtures/", $file)));)*
        const SAMPLES: &[(&str, (&str, &str))] = &[$(($kind, $name)),*];
    };
}

samples! {
    AIDER: "aider", "app/.aider.chat.history.md", "aider.md";
    AMP: "amp", "T-1.json", "amp.json";
    ANTIGRAVITY: "antigravity", "ag-1/.system_generated/logs/transcript.jsonl", "antigravity.jsonl";
    CLINE_HISTORY: "cline", "tasks/cl-1/api_conversation_history.json", "cline_history.json";
    CLINE_SCREEN: "cline", "tasks/cl-1/ui_messages.json", "cline_screen.json";
    CLINE_SDK: "cline-sdk", "cs-1.messages.json", "cline_sdk.json";
    CONTINUE: "continue", "cn-1.json", "continue.json";
    COPILOT_CHAT: "copilot-chat", "chatSessions/cc-1.json", "copilot_chat.json";
    COPILOT_CHANGES: "copilot-chat", "chatSessions/cc-2.jsonl", "copilot_chat.jsonl";
    CURSOR: "cursor", "agent-transcripts/cu-1/cu-1.jsonl", "cursor.jsonl";
    DROID: "droid", "d-1.jsonl", "droid.jsonl";
    DROID_STREAM: "droid", "stream.jsonl", "droid_stream.jsonl";
    GPTME: "gptme", "gp-1/conversation.jsonl", "gptme.jsonl";
    GROK: "grok", "gr-1/chat_history.jsonl", "grok.jsonl";
    HERMES: "hermes", "session_h-1.json", "hermes.json";
    HERMES_LINES: "hermes", "h-2.jsonl", "hermes.jsonl";
    JUNIE: "junie", "ju-1/events.jsonl", "junie.jsonl";
    KIMI: "kimi", "ki-1/agents/main/wire.jsonl", "kimi.jsonl";
    KIRO: "kiro", "kr-1.jsonl", "kiro.jsonl";
    KIRO_RECENT: "kiro", "kr-2.jsonl", "kiro_recent.jsonl";
    KIRO_SAVED: "kiro", "kr-3.json", "kiro.json";
    MINI_SWE_AGENT: "mini-swe-agent", "run/t-1/t-1.traj.json", "mini_swe_agent.json";
    OPENCLAW: "openclaw", "oc-1.jsonl", "openclaw.jsonl";
    PI: "pi", "pi-1.jsonl", "pi.jsonl";
    ZENCODER: "zencoder", "z-1.jsonl", "zencoder.jsonl";
}

fn read_sample((path, text): (&str, &str)) -> String {
    let kind = SAMPLES.iter().find(|(_, sample)| *sample == (path, text)).unwrap().0;
    read(kind, path, text.as_bytes())
}

#[test]
fn each_sample_is_of_one_kind() {
    let sources = Registry::linked().unwrap().sources;
    let samples = SAMPLES.iter().map(|(kind, (path, text))| (*kind, *path, text.as_bytes()));
    for (kind, path, text) in samples.chain(FIXTURES.iter().copied()) {
        let recognizing = sources.iter().filter(|it| it.recognizes(Path::new(path), text));
        let found: Vec<_> = recognizing.map(Entry::kind).collect();
        assert_eq!(found, [kind], "{path}");
    }
}

#[test]
fn keeps_the_promises_of_sources() {
    check::<Aider>(&[AIDER]);
    check::<Amp>(&[AMP]);
    check::<Antigravity>(&[ANTIGRAVITY]);
    check::<Cline>(&[CLINE_HISTORY, CLINE_SCREEN]);
    check::<ClineSdk>(&[CLINE_SDK]);
    check::<Continue>(&[CONTINUE]);
    check::<CopilotChat>(&[COPILOT_CHAT, COPILOT_CHANGES]);
    check::<Cursor>(&[CURSOR]);
    check::<Droid>(&[DROID, DROID_STREAM]);
    check::<Gptme>(&[GPTME]);
    check::<Grok>(&[GROK]);
    check::<Hermes>(&[HERMES, HERMES_LINES]);
    check::<Junie>(&[JUNIE]);
    check::<Kimi>(&[KIMI]);
    check::<Kiro>(&[KIRO, KIRO_RECENT, KIRO_SAVED]);
    check::<MiniSweAgent>(&[MINI_SWE_AGENT]);
    check::<OpenClaw>(&[OPENCLAW]);
    check::<Pi>(&[PI]);
    check::<Zencoder>(&[ZENCODER]);
}

#[test]
fn counts_entries_of_rewritten_files_once() {
    let sources = Registry::linked().unwrap().sources;
    for (kind, (path, text)) in SAMPLES {
        if !sources.get(kind).unwrap().is_rewritten() {
            continue;
        }
        let text = text.as_bytes();
        let (all, _) = events(kind, path, text, &mut DedupCache::default());
        let mut seen = DedupCache::default();
        let mut found = Vec::new();
        for n_bytes in (0..text.len()).step_by(97).chain([text.len()]) {
            found.extend(events(kind, path, &text[..n_bytes], &mut seen).0);
        }
        assert!(found == all, "{path}");
    }
}

#[test]
fn removed_messages_make_no_other_message_new() {
    let (path, text) = CLINE_HISTORY;
    let mut seen = DedupCache::default();
    let (all, _) = events("cline", path, text.as_bytes(), &mut seen);
    assert!(!all.is_empty());
    let mut messages: Vec<&str> = text.split(",\n").collect();
    messages.drain(1..3);
    let (new, _) = events("cline", path, messages.join(",\n").as_bytes(), &mut seen);
    assert!(new.is_empty(), "{new:?}");
}

#[test]
fn reads_a_chat_history_of_aider() {
    assert_snapshot!(read_sample(AIDER), @r#"
    10 00:00:00 app 2026-01-05 08:00:00 session_start model="model-x"
    10 00:00:00 app 2026-01-05 08:00:00 prompt text="Fix the sign\nin calc.py"
    13 00:00:01 app 2026-01-05 08:00:00 message text="I change the sign.\n\ncalc.py\n```\n<<<<<<< SEARCH\nreturn a - b\n=======\nreturn a + b\n>>>>>>> REPLACE\n```"
    24 00:00:02 app 2026-01-05 08:00:00 model_call cost_usd=0.0045 input_tokens=2300 model="model-x" output_tokens=95
    29 00:00:03 app 2026-01-05 08:00:00 message text="The test passes now."
    32 00:00:04 app 2026-01-05 08:00:00 model_call cache_read_tokens=3000 cache_write_tokens=1000 cost_usd=0.01 input_tokens=8000 model="model-x" output_tokens=20
    34 00:00:04 app 2026-01-05 08:00:00 turn_end
    36 00:00:00 app 2026-01-05 09:30:00 session_start
    36 00:00:00 app 2026-01-05 09:30:00 prompt text="/ask why?"
    38 00:00:01 app 2026-01-05 09:30:00 message text="Because."
    38 00:00:01 app 2026-01-05 09:30:00 turn_end
    "#);
}

#[test]
fn reads_a_thread_of_amp() {
    assert_snapshot!(read_sample(AMP), @r#"
    7 08:00:01 T-1 session_start cwd="/w"
    7 08:00:01 T-1 prompt text="Fix it"
    8 08:00:03 T-1 model_call cache_read_tokens=50 cache_write_tokens=10 id="2" input_tokens=100 model="model-x" output_tokens=20
    9 08:00:03 T-1 thinking text="I look."
    10 08:00:03 T-1 tool_call arguments={"cmd":"make"} class="run" id="t1" response="2" tool="Bash"
    11 08:00:03 T-1 tool_call arguments={"path":"/w/a"} class="read" id="t2" response="2" tool="Read"
    12 08:00:03 T-1 tool_call arguments={"pattern":"a"} class="read" id="t3" response="2" tool="Grep"
    15 08:00:03 T-1 tool_result exit_code=2 id="t1" ok=false output="no rule"
    16 08:00:03 T-1 tool_result id="t2" ok=false output="no such file"
    18 08:00:09 T-1 message text="Done."
    18 08:00:09 T-1 turn_end
    "#);
}

#[test]
fn reads_a_transcript_of_antigravity() {
    assert_snapshot!(read_sample(ANTIGRAVITY), @r#"
    1 08:00:00 ag-1 session_start
    1 08:00:00 ag-1 prompt text="List the files."
    3 08:00:01 ag-1 thinking text="I list them."
    3 08:00:01 ag-1 tool_call arguments={"DirectoryPath":"\"/w\""} class="read" id="call-0000000000000003-1" response="3" tool="list_dir"
    3 08:00:01 ag-1 tool_call arguments={"CommandLine":"\"make\""} class="run" id="call-0000000000000003-2" response="3" tool="run_command"
    4 08:00:02 ag-1 tool_result id="call-0000000000000003-1" ok=true output="a.txt"
    5 08:00:03 ag-1 tool_result id="call-0000000000000003-2" ok=false output="no rule"
    7 08:00:05 ag-1 compaction
    8 08:00:06 ag-1 prompt synthetic=true text="Go on."
    9 08:00:07 ag-1 message text="One file."
    9 08:00:07 ag-1 turn_end
    "#);
}

#[test]
fn reads_the_messages_of_cline() {
    assert_snapshot!(read_sample(CLINE_HISTORY), @r#"
    1 08:00:00 cl-1 session_start
    1 08:00:00 cl-1 prompt text="<task>\nFix the lexer\n</task>"
    2 08:00:03 cl-1 message text="<thinking>I look.</thinking>"
    2 08:00:03 cl-1 tool_call arguments={"path":"a.rs"} class="read" id="call-9b239b64fb1afcdf-1" response="2" tool="read_file"
    3 08:00:04 cl-1 tool_result id="call-9b239b64fb1afcdf-1" ok=true output="fn a()"
    4 08:00:06 cl-1 message text="I run it."
    4 08:00:06 cl-1 tool_call arguments={"command":"make"} class="run" id="t1" response="4" tool="execute_command"
    5 08:00:07 cl-1 tool_result id="t1" ok=false output="no rule"
    6 08:00:08 cl-1 tool_call arguments={"command":"rm a"} class="run" id="call-827aa3bc62a9343f-0" response="6" tool="execute_command"
    7 08:00:09 cl-1 tool_result cause="declined" id="call-827aa3bc62a9343f-0" ok=false output="The user denied this operation."
    "#);
}

#[test]
fn reads_the_screen_of_cline() {
    assert_snapshot!(read_sample(CLINE_SCREEN), @r#"
    2 08:00:01 cl-1 session_start
    2 08:00:01 cl-1 model_call cache_read_tokens=50 cache_write_tokens=10 cost_usd=0.25 id="1767600001000" input_tokens=100 output_tokens=20
    4 08:00:03 cl-1 waiting for="permission"
    6 08:00:04 cl-1 error message="429" retry=0
    7 08:00:04 cl-1 error message="no credit"
    8 08:00:04 cl-1 compaction
    9 08:00:04 cl-1 waiting for="person"
    10 08:00:09 cl-1 turn_end
    "#);
}

#[test]
fn reads_a_session_of_the_cline_sdk() {
    assert_snapshot!(read_sample(CLINE_SDK), @r#"
    2 08:00:00 cs-1 session_start
    2 08:00:00 cs-1 prompt text="Fix it"
    3 08:00:03 cs-1 model_call cache_read_tokens=50 cache_write_tokens=10 cost_usd=0.25 id="m2" input_tokens=100 model="model-x" output_tokens=20
    3 08:00:03 cs-1 thinking text="I look."
    3 08:00:03 cs-1 tool_call arguments={"commands":["make"]} class="run" id="c1" response="m2" tool="execute_command"
    4 08:00:04 cs-1 tool_result id="c1" ok=false output="[{\"query\":\"make\",\"result\":\"no rule\",\"success\":false}]"
    5 08:00:05 cs-1 message text="Done."
    5 08:00:05 cs-1 turn_end
    "#);
}

#[test]
fn reads_a_session_of_continue() {
    assert_snapshot!(read_sample(CONTINUE), @r#"
    2 00:00:00 cn-1 session_start cwd="/w"
    2 00:00:00 cn-1 prompt text="Rename foo"
    3 00:00:01 cn-1 tool_call arguments={"filepath":"a.py"} class="write" id="c1" response="2" tool="edit_existing_file"
    3 00:00:01 cn-1 tool_call arguments={"command":"make"} class="run" id="c2" response="2" tool="run_terminal_command"
    3 00:00:01 cn-1 tool_call arguments={} class="read" id="c3" response="2" tool="ls"
    4 00:00:01 cn-1 tool_result id="c1" ok=true output="ok"
    4 00:00:01 cn-1 tool_result cause="declined" id="c2" ok=false output=""
    5 00:00:02 cn-1 message text="Done."
    5 00:00:02 cn-1 turn_end
    "#);
}

#[test]
fn reads_a_chat_session_of_vs_code() {
    assert_snapshot!(read_sample(COPILOT_CHAT), @r#"
    7 08:00:01 cc-1 session_start
    7 08:00:01 cc-1 prompt text="Run the tests"
    7 08:00:01 cc-1 message text="I run them."
    16 08:00:01 cc-1 tool_call arguments={"message":"Read a.rs, lines 1 to 9"} class="read" id="t1" response="1" tool="copilot_readFile"
    16 08:00:01 cc-1 tool_result id="t1" ok=true
    17 08:00:01 cc-1 tool_call arguments={"command":"make"} class="run" id="t2" response="1" tool="run_in_terminal"
    17 08:00:01 cc-1 tool_result cause="declined" id="t2" ok=false
    17 08:00:01 cc-1 thinking text="Hm."
    17 08:00:01 cc-1 message text="Done."
    17 08:00:01 cc-1 turn_end
    23 08:00:09 cc-1 prompt text="Again"
    23 08:00:09 cc-1 error message="rate limited"
    "#);
}

#[test]
fn reads_the_changes_of_a_chat_session() {
    assert_snapshot!(read_sample(COPILOT_CHANGES), @r#"
    3 08:00:01 cc-2 session_start
    3 08:00:01 cc-2 prompt text="Read it"
    3 08:00:01 cc-2 message text="I read it."
    4 08:00:01 cc-2 tool_call arguments={} class="read" id="t1" response="2" tool="copilot_readFile"
    4 08:00:01 cc-2 tool_result id="t1" ok=true
    4 08:00:01 cc-2 message text="Done."
    5 08:00:01 cc-2 turn_end
    "#);
}

#[test]
fn reads_a_transcript_of_cursor() {
    assert_snapshot!(read_sample(CURSOR), @r#"
    1 00:00:00 cu-1 session_start
    1 00:00:00 cu-1 prompt text="List the files"
    2 00:00:01 cu-1 message text="I list them."
    2 00:00:01 cu-1 tool_call arguments={"command":"ls"} class="run" id="call-0000000000000002-1" response="2" tool="Shell"
    2 00:00:01 cu-1 tool_call arguments={"paths":["a"]} class="read" id="call-0000000000000002-2" response="2" tool="ReadLints"
    3 00:00:02 cu-1 tool_result id="call-0000000000000002-1" ok=true output="a.txt"
    4 00:00:03 cu-1 message text="One file."
    4 00:00:03 cu-1 turn_end
    skipped part 1: unknown type of block
    "#);
}

#[test]
fn reads_a_session_of_droid() {
    assert_snapshot!(read_sample(DROID), @r#"
    2 08:00:00 d-1 session_start cwd="/w"
    2 08:00:00 d-1 prompt text="Fix the lexer"
    3 08:00:02 d-1 thinking text="I look."
    3 08:00:02 d-1 tool_call arguments={"command":"make"} class="run" id="t1" response="m2" tool="Execute"
    3 08:00:02 d-1 tool_call arguments={"file_path":"/w/a"} class="read" id="t2" response="m2" tool="Read"
    4 08:00:04 d-1 tool_result id="t1" ok=false output="Error: no rule"
    4 08:00:04 d-1 tool_result id="t2" ok=true output="fn a()"
    5 08:00:06 d-1 message text="Done."
    5 08:00:06 d-1 turn_end
    7 08:01:00 d-1 prompt text="And now?"
    8 08:01:01 d-1 turn_end
    "#);
}

#[test]
fn reads_a_stream_of_droid() {
    assert_snapshot!(read_sample(DROID_STREAM), @r#"
    2 08:00:01 d-2 session_start cwd="/w" model="model-x"
    2 08:00:01 d-2 prompt text="List files"
    3 08:00:02 d-2 message text="Ok"
    4 08:00:03 d-2 tool_call arguments={"command":"ls"} class="run" id="c1" response="4" tool="Execute"
    5 08:00:04 d-2 tool_result exit_code=2 id="c1" ok=false output="a\n"
    6 08:00:05 d-2 tool_call arguments={"file_path":"b"} class="read" id="c2" response="6" tool="Read"
    7 08:00:06 d-2 tool_result id="c2" ok=false output="No such file"
    8 08:00:07 d-2 model_call cache_read_tokens=3 input_tokens=10 output_tokens=5
    8 08:00:07 d-2 turn_end
    9 08:00:08 d-2 error message="no key"
    "#);
}

#[test]
fn reads_a_conversation_of_gptme() {
    assert_snapshot!(read_sample(GPTME), @r#"
    2 08:00:01 gp-1 session_start
    2 08:00:01 gp-1 prompt text="Write hello"
    3 08:00:05 gp-1 model_call cache_read_tokens=50 cache_write_tokens=5 cost_usd=0.25 id="3" input_tokens=100 model="model-x" output_tokens=20
    3 08:00:05 gp-1 message text="I save it.\n```save hello.py\nprint(1)\n```\n"
    3 08:00:05 gp-1 tool_call arguments={"content":"print(1)","path":"hello.py"} class="write" id="call-0000000000000003-2" response="3" tool="save"
    4 08:00:06 gp-1 tool_result id="call-0000000000000003-2" ok=true output="Saved to hello.py"
    5 08:00:08 gp-1 message text="```shell\npython hello.py\n```"
    5 08:00:08 gp-1 tool_call arguments={"command":"python hello.py"} class="run" id="call-0000000000000005-1" response="5" tool="shell"
    6 08:00:09 gp-1 tool_result id="call-0000000000000005-1" ok=false output="Error during execution: no python"
    7 08:00:10 gp-1 message text="There is no Python."
    7 08:00:10 gp-1 turn_end
    "#);
}

#[test]
fn reads_a_session_of_grok() {
    assert_snapshot!(read_sample(GROK), @r#"
    2 00:00:01 gr-1 session_start
    2 00:00:01 gr-1 prompt synthetic=true text="<user_info>x</user_info>"
    3 00:00:02 gr-1 prompt text="Read a.py"
    4 00:00:03 gr-1 thinking text="I read it."
    5 00:00:04 gr-1 message text="I read it."
    5 00:00:04 gr-1 tool_call arguments={"target_file":"a.py"} class="read" id="call-1" response="5" tool="read_file"
    6 00:00:05 gr-1 tool_result id="call-1" ok=true output="print(1)\n"
    7 00:00:06 gr-1 tool_call arguments={"query":"print","type":"search"} class="read" id="ws_1" response="7" tool="web_search"
    7 00:00:06 gr-1 tool_result id="ws_1" ok=true
    8 00:00:07 gr-1 message text="It prints 1."
    8 00:00:07 gr-1 turn_end
    "#);
}

#[test]
fn reads_a_session_of_hermes() {
    assert_snapshot!(read_sample(HERMES), @r#"
    8 00:00:00 h-1 session_start cwd="/w" model="model-x"
    8 00:00:00 h-1 prompt text="Show the folder"
    9 00:00:01 h-1 thinking text="A shell."
    11 00:00:01 h-1 message text="I look."
    14 00:00:01 h-1 tool_call arguments={"command":"pwd"} class="run" id="c1" response="2" tool="terminal"
    17 00:00:02 h-1 tool_result id="c1" ok=false output="No."
    18 00:00:03 h-1 message text="It does not work."
    18 00:00:03 h-1 turn_end
    "#);
}

#[test]
fn reads_the_lines_of_hermes() {
    assert_snapshot!(read_sample(HERMES_LINES), @r#"
    2 08:00:01 h-2 session_start model="model-x"
    2 08:00:01 h-2 prompt text="Show the folder"
    3 08:00:03 h-2 tool_call arguments={"command":"pwd"} class="run" id="c1" response="3" tool="terminal"
    4 08:00:04 h-2 tool_result id="c1" ok=true output="/w"
    5 08:00:05 h-2 message text="It is /w."
    5 08:00:05 h-2 turn_end
    "#);
}

#[test]
fn reads_a_session_of_junie() {
    assert_snapshot!(read_sample(JUNIE), @r#"
    1 08:00:00 ju-1 session_start
    1 08:00:00 ju-1 prompt text="Find the needle"
    4 08:00:02 ju-1 model_call cache_read_tokens=50 cache_write_tokens=10 cost_usd=0.25 input_tokens=100 model="model-x" output_tokens=20
    5 08:00:02 ju-1 thinking text="I look."
    7 08:00:04 ju-1 tool_call arguments=[{"relativePath":"a.txt"}] class="read" id="s1" response="7" tool="view_files"
    7 08:00:04 ju-1 tool_result id="s1" ok=true output="found"
    9 08:00:05 ju-1 tool_call arguments={"command":"grep needle a.txt"} class="run" id="s2" response="9" tool="terminal"
    10 08:00:06 ju-1 tool_result exit_code=1 id="s2" ok=false output="no"
    11 08:00:07 ju-1 message text="It is not there."
    11 08:00:07 ju-1 turn_end
    12 08:00:08 ju-1 error message="no credit"
    "#);
}

#[test]
fn reads_a_session_of_kimi() {
    assert_snapshot!(read_sample(KIMI), @r#"
    3 08:00:01 ki-1 session_start cwd="/w"
    3 08:00:01 ki-1 prompt text="Run ls"
    7 08:00:03 ki-1 error message="the request is sent again" retry=2
    8 08:00:04 ki-1 thinking text="I run it."
    8 08:00:04 ki-1 waiting for="permission"
    10 08:00:05 ki-1 tool_call arguments={"command":"ls /no"} class="run" id="Bash_0" response="s1" tool="Bash"
    11 08:00:06 ki-1 tool_result id="Bash_0" ok=false output="ls: no such file"
    12 08:00:06 ki-1 model_call cache_read_tokens=50 id="s1" input_tokens=100 model="m/kimi-x" output_tokens=20
    14 08:00:08 ki-1 message text="There is none."
    14 08:00:08 ki-1 waiting for="permission"
    15 08:00:08 ki-1 model_call cache_read_tokens=150 id="s2" input_tokens=10 model="m/kimi-x" output_tokens=5
    15 08:00:08 ki-1 turn_end
    16 08:00:09 ki-1 prompt synthetic=true text="Count"
    17 08:00:10 ki-1 turn_end
    18 08:00:11 ki-1 compaction after_tokens=90 before_tokens=900
    19 08:00:11 ki-1 model_call id="19" input_tokens=900 model="m/kimi-x" output_tokens=80
    skipped line 1: line of an earlier version
    "#);
}

#[test]
fn reads_a_session_of_kiro() {
    assert_snapshot!(read_sample(KIRO), @r#"
    1 00:00:00 kr-1 session_start
    1 00:00:00 kr-1 prompt text="Fix the lexer"
    2 00:00:01 kr-1 message text="I read it."
    2 00:00:01 kr-1 tool_call arguments={"path":"a.rs"} class="read" id="t1" response="r1" tool="read"
    3 00:00:02 kr-1 tool_result id="t1" ok=false output="no such file"
    4 00:00:03 kr-1 message text="Done."
    4 00:00:03 kr-1 turn_end
    "#);
}

#[test]
fn reads_a_recent_session_of_kiro() {
    assert_snapshot!(read_sample(KIRO_RECENT), @r#"
    1 08:00:00 kr-2 session_start
    1 08:00:00 kr-2 prompt text="Fix the lexer"
    2 08:00:02 kr-2 message text="I run the tests."
    3 08:00:03 kr-2 tool_call arguments={"command":"make"} class="run" id="t1" response="3" tool="shell"
    4 08:00:05 kr-2 tool_result id="t1" ok=true output="ok"
    skipped part 1: unknown type of line
    "#);
}

#[test]
fn reads_a_saved_conversation_of_kiro() {
    assert_snapshot!(read_sample(KIRO_SAVED), @r#"
    2 00:00:00 k-1 session_start
    2 00:00:00 k-1 prompt text="Add a comment"
    2 00:00:00 k-1 message text="I add it."
    2 00:00:00 k-1 tool_call arguments={"path":"README.md"} class="write" id="call-0000000000000001-2" response="1" tool="fs_write"
    3 00:00:01 k-1 message text="It is added."
    "#);
}

#[test]
fn reads_a_trajectory_of_mini_swe_agent() {
    assert_snapshot!(read_sample(MINI_SWE_AGENT), @r#"
    5 00:00:01 run/t-1 session_start
    5 00:00:01 run/t-1 prompt text="Fix the lexer"
    6 00:00:02 run/t-1 model_call cache_read_tokens=50 id="3" input_tokens=100 model="model-x" output_tokens=20
    6 00:00:02 run/t-1 message text="I look.\n```bash\nls\n```"
    6 00:00:02 run/t-1 tool_call arguments={"command":"ls"} class="run" id="call-0000000000000003-2" response="3" tool="bash"
    7 00:00:03 run/t-1 tool_result exit_code=0 id="call-0000000000000003-2" ok=true output="<returncode>0</returncode>\n<output>\na.rs\n</output>"
    8 00:00:04 run/t-1 tool_call arguments={"command":"make"} class="run" id="c1" response="5" tool="bash"
    9 00:00:05 run/t-1 tool_result exit_code=2 id="c1" ok=false output="<returncode>2</returncode>\n<output>\nno rule\n</output>"
    10 00:00:06 run/t-1 message text="I do not know."
    11 00:00:07 run/t-1 prompt synthetic=true text="Please always provide exactly one action."
    12 00:00:08 run/t-1 session_end reason="Submitted"
    "#);
}

#[test]
fn reads_a_session_of_openclaw() {
    assert_snapshot!(read_sample(OPENCLAW), @r#"
    3 08:00:01 oc-1 session_start cwd="/w"
    3 08:00:01 oc-1 prompt text="Show the state"
    4 08:00:02 oc-1 tool_call arguments={"command":"git status"} class="run" id="t1" response="m2" tool="run_terminal"
    5 08:00:03 oc-1 tool_result id="t1" ok=true output="M a"
    6 08:00:04 oc-1 message text="One file."
    6 08:00:04 oc-1 turn_end
    "#);
}

#[test]
fn reads_a_session_of_pi() {
    assert_snapshot!(read_sample(PI), @r#"
    4 08:00:01 pi-1 session_start cwd="/w"
    4 08:00:01 pi-1 prompt text="Fix the lexer"
    5 08:00:03 pi-1 model_call cache_read_tokens=50 cache_write_tokens=5 cost_usd=0.25 id="a4" input_tokens=100 model="model-x" output_tokens=20
    5 08:00:03 pi-1 thinking text="I look."
    5 08:00:03 pi-1 message text="I run the tests."
    5 08:00:03 pi-1 tool_call arguments={"command":"make test"} class="run" id="c1" response="a4" tool="bash"
    6 08:00:09 pi-1 tool_result id="c1" ok=false output="1 failed"
    7 08:00:10 pi-1 compaction before_tokens=900
    8 08:00:12 pi-1 model_call id="a7" input_tokens=10 model="model-y" output_tokens=2
    8 08:00:12 pi-1 message text="Done."
    8 08:00:12 pi-1 turn_end
    10 08:00:14 pi-1 error message="overloaded"
    skipped part 1: unknown type of line
    "#);
}

#[test]
fn reads_a_session_of_zencoder() {
    assert_snapshot!(read_sample(ZENCODER), @r#"
    3 00:00:01 z-1 session_start model="model-x"
    3 00:00:01 z-1 prompt text="Read main.go"
    5 00:00:03 z-1 thinking text="I read it."
    5 00:00:03 z-1 tool_call arguments={"file_path":"main.go"} class="read" id="t1" response="4" tool="Read"
    6 00:00:04 z-1 tool_result id="t1" ok=true output="package main"
    7 00:00:05 z-1 message text="Done."
    8 00:00:06 z-1 turn_end
    "#);
}
