//! Conversations of OpenHands, which consist of one file per event.

use std::process::Command;

use insta::assert_snapshot;
use watchkeeper_core::{
    SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
};

use crate::{
    program::{Folder, program},
    watch::Watching,
};

const START: &str = "2026-03-01T09:00:00Z";

/// Writes a conversation in which a command fails repeatedly.
struct Conversation<'a> {
    folder: &'a Folder,
    /// The difference between the local time of the agent and UTC.
    offset: SignedDuration,
    now: Timestamp,
    n_events: usize,
}

impl<'a> Conversation<'a> {
    fn begin(folder: &'a Folder, start: Timestamp, offset: SignedDuration) -> Self {
        let mut conversation = Self { folder, offset, now: start, n_events: 0 };
        let content = r#"[{"type":"text","text":"build it"}]"#;
        conversation.write(&format!(
            r#""source":"user","llm_message":{{"role":"user","content":{content}}},"kind":"MessageEvent""#
        ));
        conversation
    }

    fn write(&mut self, members: &str) {
        let at = (self.now + self.offset).strftime("%Y-%m-%dT%H:%M:%S.%6f");
        self.now += SignedDuration::from_secs(1);
        let n = self.n_events;
        self.n_events += 1;
        let name = format!("5b1e/events/event-{n:05}-0000000{n}.json");
        self.folder.write(&name, format!(r#"{{"id":"e{n}","timestamp":"{at}",{members}}}"#));
    }

    /// Calls a tool, which fails.
    fn fail(&mut self) {
        let n = self.n_events;
        let call = format!(r#""tool_name":"terminal","tool_call_id":"c{n}""#);
        self.write(&format!(
            r#""source":"agent","thought":[],"action":{{"command":"make","kind":"TerminalAction"}},{call},"llm_response_id":"r{n}","summary":"build {n}","kind":"ActionEvent""#
        ));
        let content = r#"[{"type":"text","text":"lexer.c:1: error: expected `;`"}]"#;
        self.write(&format!(
            r#""source":"environment",{call},"observation":{{"content":{content},"is_error":false,"exit_code":2,"timeout":false,"kind":"TerminalObservation"}},"kind":"ObservationEvent""#
        ));
    }

    fn state(&self, status: &str, usages: &str, costs: &str) {
        let metrics =
            format!(r#"{{"model_name":"m","token_usages":[{usages}],"costs":[{costs}]}}"#);
        self.folder.write(
            "5b1e/base_state.json",
            format!(
                r#"{{"id":"5b1e","agent":{{"llm":{{"model":"m"}}}},"execution_status":"{status}","stats":{{"usage_to_metrics":{{"agent":{metrics}}}}}}}"#
            ),
        );
    }
}

#[test]
fn reads_a_folder_of_events_as_one_session() {
    let folder = Folder::new();
    let start: Timestamp = START.parse().expect("the text is a time");
    let mut conversation = Conversation::begin(&folder, start, SignedDuration::ZERO);
    for _ in 0..100 {
        conversation.fail();
    }
    let at = start.as_second() + 1;
    conversation.state(
        "finished",
        r#"{"model":"m","prompt_tokens":1000,"completion_tokens":50,"cache_read_tokens":800,"response_id":"r1"}"#,
        &format!(r#"{{"model":"m","cost":0.25,"timestamp":{at}.5}}"#),
    );
    // The limit on open files is below the number of files.
    let program = program();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 40 && exec \"$0\" check 5b1e"])
        .arg(program.get_program())
        .current_dir(folder.path())
        .env_clear()
        .env("TZ", "UTC0")
        .output()
        .expect("there is a shell");
    let out = String::from_utf8(output.stdout).expect("the program should write UTF-8");
    let err = String::from_utf8(output.stderr).expect("the program should write UTF-8");
    assert_snapshot!(format!("{out}{err}exit {:?}", output.status.code()), @"
    5b1e/events/event-00000-00000000.json
      and 201 more files
      openhands · m
      2026-03-01 09:00 UTC, 3m 20s · 204 events · 100 tool calls (100 failed)
      1 model call · 200 tokens in, 800 from cache, 0 to cache, 50 out · $0.25
      [HIGH]   repeated_error: the same error occurred 100 times in 3m 18s, the last from `terminal`: `lexer.c:1: error: expected ';'`
               open at the end, 3m 16s after it was found
               5b1e/events/event-00002-00000002.json:1
               5b1e/events/event-00200-0000000200.json:1

    1 session in 202 files: 204 events, 100 tool calls (100 failed), 1 model call, 1.05k tokens, $0.25
    1 finding: 1 high, 0 medium, 0 low
    exit Some(1)
    ");
}

#[test]
fn follows_a_conversation_in_local_time() {
    let folder = Folder::new();
    let (ahead, now) = (SignedDuration::from_hours(3), SystemClock.now());
    let start = now - SignedDuration::from_secs(30);
    let mut conversation = Conversation::begin(&folder, start, ahead);
    let watching = Watching::start_in(&folder, &[], &[("TZ", "XYZ-3")]);
    for _ in 0..3 {
        conversation.fail();
    }
    let line = watching.until("the same error occurred 3 times");
    assert!(line.contains("MEDIUM") && line.contains("`terminal`"), "{line}");
    let (status, rest) = watching.end("INT");
    assert_eq!(status, Some(0), "{rest:?}");
    assert!(rest.iter().any(|it| it.starts_with("watched 8 events in 7 files")), "{rest:?}");
}
