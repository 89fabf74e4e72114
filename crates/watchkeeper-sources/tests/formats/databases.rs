//! Tests of the databases of agents.

use std::path::PathBuf;

use insta::assert_snapshot;
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use watchkeeper_core::{
    Event, SourceKind,
    author::{DedupCache, SkippedLines},
    clock::{Clock as _, SystemClock},
    embed::Registry,
};
use watchkeeper_sources::{FollowOptions, Follower, Goose, Opencode, Update, open};
use watchkeeper_testing::source;

use crate::render;

const AT: i64 = 1_767_254_400_000;

/// A database that its agent has open, as most are.
struct Agent {
    folder: TempDir,
    path: PathBuf,
    writer: Connection,
}

impl Agent {
    fn new(name: &str, schema: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join(name);
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.execute_batch(schema).unwrap();
        Self { folder, path, writer }
    }

    /// Reads the database to its end.
    fn read(&self) -> String {
        render(&self.events())
    }

    fn events(&self) -> (Vec<Event>, SkippedLines) {
        let kinds = Registry::linked().unwrap().sources;
        let mut file = open(&self.path, None, &kinds).unwrap();
        let mut events = Vec::new();
        file.read(&mut DedupCache::default(), &mut |event| events.push(event)).unwrap();
        (events, file.skipped_lines().clone())
    }

    fn follow(&self) -> Follow {
        let kinds = Registry::linked().unwrap().sources.iter().collect::<Vec<_>>();
        let root = vec![self.folder.path().to_owned()];
        Follow(Follower::new(root, kinds, FollowOptions::default()))
    }
}

struct Follow(Follower);

impl Follow {
    fn read(&mut self) -> String {
        let mut events = Vec::new();
        self.0.scan(SystemClock.now(), &mut |update| {
            if let Update::Event(event) = update {
                events.push(event);
            }
        });
        render(&(events, SkippedLines::default()))
    }
}

const OPENCODE: &str = "
    CREATE TABLE session(id TEXT PRIMARY KEY, time_updated INTEGER NOT NULL);
    CREATE TABLE event_sequence(aggregate_id TEXT PRIMARY KEY, seq INTEGER NOT NULL);
    CREATE TABLE event(id TEXT PRIMARY KEY, aggregate_id TEXT NOT NULL, seq INTEGER NOT NULL,
        type TEXT NOT NULL, data TEXT NOT NULL);";

fn opencode() -> Agent {
    Agent::new("opencode.db", OPENCODE)
}

/// Adds a change to the log.
fn log(agent: &Agent, session: &str, kind: &str, at: i64, data: Value) {
    let writer = &agent.writer;
    let mut data = data;
    data["sessionID"] = session.into();
    writer.execute("INSERT OR REPLACE INTO session VALUES (?1, ?2)", (session, at)).unwrap();
    writer.execute("INSERT OR IGNORE INTO event_sequence VALUES (?1, 0)", [session]).unwrap();
    let id: i64 = writer.query_row("SELECT count(*) FROM event", [], |row| row.get(0)).unwrap();
    let row = (format!("evt_{id}"), session, id, format!("{kind}.1"), data.to_string());
    writer.execute("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
}

fn session(agent: &Agent, id: &str, parent: Option<&str>, at: i64) {
    let mut info = json!({"id": id, "directory": "/w", "version": "1.18.33",
        "time": {"created": at, "updated": at}});
    if let Some(parent) = parent {
        info["parentID"] = parent.into();
    }
    log(agent, id, "session.created", at, json!({"info": info}));
}

fn message(agent: &Agent, session: &str, at: i64, info: Value) {
    log(agent, session, "message.updated", at, json!({"info": info}));
}

fn part(agent: &Agent, session: &str, message: &str, at: i64, part: Value) {
    let mut part = part;
    part["messageID"] = message.into();
    log(agent, session, "message.part.updated", at, json!({"part": part, "time": at}));
}

fn prompt(agent: &Agent, session: &str, id: &str, at: i64, text: &str) {
    message(agent, session, at, json!({"id": id, "role": "user", "time": {"created": at}}));
    let text = json!({"id": format!("prt_{id}"), "type": "text", "text": text});
    part(agent, session, id, at, text);
}

/// Adds the changes of a response with one call, as opencode does: the call is pending, runs and
/// ends, and the usage follows.
fn call(agent: &Agent, session: &str, nth: i64, command: &str, exit: Option<i64>) {
    let (id, at) = (format!("msg_{nth}"), AT + nth * 1000);
    let info = |usage: Value, finish: Option<&str>| {
        let mut info = json!({"id": id, "role": "assistant", "modelID": "model-x",
            "time": {"created": at}, "cost": usage["cost"], "tokens": usage["tokens"]});
        if let Some(finish) = finish {
            info["finish"] = finish.into();
            info["time"]["completed"] = (at + 500).into();
        }
        info
    };
    let none = json!({"cost": 0, "tokens": {"input": 0, "output": 0, "reasoning": 0,
        "cache": {"read": 0, "write": 0}}});
    let usage = json!({"cost": 0.25, "tokens": {"total": 1170, "input": 100, "output": 50,
        "reasoning": 20, "cache": {"read": 1000, "write": 0}}});
    let state = |state: Value| {
        json!({"id": format!("prt_{nth}"), "type": "tool", "callID": format!("call_{nth}"),
            "tool": "bash", "state": state})
    };
    let input = json!({"command": command, "description": "Run it"});
    message(agent, session, at, info(none, None));
    let step = json!({"id": format!("prt_{nth}_start"), "type": "step-start"});
    part(agent, session, &id, at, step);
    part(agent, session, &id, at + 10, state(json!({"status": "pending", "input": {}})));
    let time = json!({"start": at + 20, "end": at + 400});
    for at in [at + 20, at + 30] {
        let running =
            json!({"status": "running", "input": input, "time": {"start": time["start"]}});
        part(agent, session, &id, at, state(running));
    }
    let done = json!({"status": "completed", "input": input, "output": "…", "time": time,
        "metadata": {"exit": exit}});
    part(agent, session, &id, at + 400, state(done));
    let finish = json!({"id": format!("prt_{nth}_end"), "type": "step-finish",
        "reason": "tool-calls", "cost": usage["cost"], "tokens": usage["tokens"]});
    part(agent, session, &id, at + 450, finish);
    message(agent, session, at + 500, info(usage, Some("tool-calls")));
}

/// Adds the last response of a turn.
fn answer(agent: &Agent, session: &str, nth: i64, text: &str) {
    let (id, at) = (format!("msg_{nth}"), AT + nth * 1000);
    let part_id = format!("prt_{nth}");
    let mut info = json!({"id": id, "role": "assistant", "modelID": "model-x",
        "time": {"created": at}});
    message(agent, session, at, info.clone());
    let start = json!({"id": part_id, "type": "text", "text": "", "time": {"start": at}});
    part(agent, session, &id, at, start);
    let end =
        json!({"id": part_id, "type": "text", "text": text, "time": {"start": at, "end": at + 90}});
    part(agent, session, &id, at + 90, end);
    info["finish"] = "stop".into();
    info["time"]["completed"] = (at + 100).into();
    info["tokens"] = json!({"input": 5, "output": 2});
    message(agent, session, at + 100, info);
}

#[test]
fn reads_the_event_log_of_opencode() {
    let agent = opencode();
    agent.writer.execute("INSERT INTO session VALUES ('ses_old', 0)", []).unwrap();
    session(&agent, "ses_1", None, AT);
    prompt(&agent, "ses_1", "msg_0", AT, "Fix it");
    call(&agent, "ses_1", 1, "cargo test", Some(101));
    call(&agent, "ses_1", 2, "ls", None);
    answer(&agent, "ses_1", 3, "It is fixed.");
    log(&agent, "ses_1", "session.shared", AT, json!({}));
    log(&agent, "ses_1", "message.updated", AT, json!({"info": {"role": "assistant"}}));
    assert_snapshot!(agent.read(), @r#"
    1 08:00:00 ses_1 session_start cwd="/w" version="1.18.33"
    3 08:00:00 ses_1 prompt text="Fix it"
    7 08:00:01 ses_1 tool_call arguments={"command":"cargo test","description":"Run it"} class="run" id="call_1" response="msg_1" tool="bash"
    9 08:00:01 ses_1 tool_result exit_code=101 id="call_1" ok=false output="…"
    10 08:00:01 ses_1 model_call cache_read_tokens=1000 cost_usd=0.25 id="msg_1" input_tokens=100 model="model-x" output_tokens=70 reasoning_tokens=20
    15 08:00:02 ses_1 tool_call arguments={"command":"ls","description":"Run it"} class="run" id="call_2" response="msg_2" tool="bash"
    17 08:00:02 ses_1 tool_result id="call_2" ok=true output="…"
    18 08:00:02 ses_1 model_call cache_read_tokens=1000 cost_usd=0.25 id="msg_2" input_tokens=100 model="model-x" output_tokens=70 reasoning_tokens=20
    22 08:00:03 ses_1 message text="It is fixed."
    23 08:00:03 ses_1 model_call id="msg_3" input_tokens=5 model="model-x" output_tokens=2
    23 08:00:03 ses_1 turn_end
    skipped line 1: no message
    skipped part 1: session from before the event log
    skipped part 1: unknown type of event
    "#);
}

#[test]
fn a_sub_agent_in_the_database_belongs_to_the_first_session() {
    let agent = opencode();
    session(&agent, "ses_1", None, AT);
    prompt(&agent, "ses_1", "msg_0", AT, "Look");
    session(&agent, "ses_2", Some("ses_1"), AT + 100);
    session(&agent, "ses_3", Some("ses_2"), AT + 200);
    answer(&agent, "ses_3", 1, "Deep.");
    let state = json!({"status": "completed", "input": {"prompt": "Look"}, "output": "Seen.",
        "time": {"start": AT + 100, "end": AT + 5000}, "metadata": {"sessionId": "ses_2"}});
    let task =
        json!({"id": "prt_t", "type": "tool", "callID": "c", "tool": "task", "state": state});
    part(&agent, "ses_1", "msg_5", AT + 5000, task);
    assert_snapshot!(agent.read(), @r#"
    1 08:00:00 ses_1 session_start cwd="/w" version="1.18.33"
    4 08:00:00 ses_1/ses_2 agent_start
    5 08:00:00 ses_1/ses_3 agent_start parent="ses_2"
    8 08:00:01 ses_1/ses_3 message text="Deep."
    9 08:00:01 ses_1/ses_3 model_call id="msg_1" input_tokens=5 model="model-x" output_tokens=2
    9 08:00:01 ses_1/ses_3 turn_end
    10 08:00:00 ses_1 tool_call arguments={"prompt":"Look"} class="delegate" id="c" response="msg_5" tool="task"
    10 08:00:05 ses_1 tool_result id="c" ok=true output="Seen."
    10 08:00:05 ses_1/ses_2 agent_end
    3 08:00:00 ses_1 prompt text="Look"
    "#);
}

#[test]
fn events_of_opencode_arrive_as_they_are_committed() {
    let agent = opencode();
    session(&agent, "ses_0", None, 0);
    answer(&agent, "ses_0", 0, "Long ago.");
    agent.writer.execute("UPDATE session SET time_updated = 0", []).unwrap();
    let now = SystemClock.now().as_millisecond();
    let mut follow = agent.follow();
    session(&agent, "ses_1", None, now);
    assert!(follow.read().contains("ses_1 session_start"));
    prompt(&agent, "ses_1", "msg_0", now, "Fix it");
    // More parts of it may follow.
    assert_eq!(follow.read(), "");
    call(&agent, "ses_1", 1, "ls", None);
    let names: Vec<String> = follow
        .read()
        .lines()
        .filter_map(|line| line.split(' ').nth(3).map(str::to_owned))
        .collect();
    assert_eq!(names, ["prompt", "tool_call", "tool_result", "model_call"]);
    // The events are read again from the beginning, and are known.
    agent
        .writer
        .execute_batch("DELETE FROM event WHERE rowid = (SELECT max(rowid) FROM event)")
        .unwrap();
    assert_eq!(follow.read(), "");
    answer(&agent, "ses_1", 2, "Done.");
    assert!(follow.read().contains("message text=\"Done.\""));
}

#[test]
fn an_export_and_the_database_have_the_same_ids() {
    let agent = opencode();
    session(&agent, "ses_1", None, AT);
    prompt(&agent, "ses_1", "msg_0", AT, "Fix it");
    call(&agent, "ses_1", 1, "ls", Some(0));
    let export = json!({"info": {"id": "ses_1", "time": {"created": AT}}, "messages": [
        {"info": {"id": "msg_1", "role": "assistant", "modelID": "model-x", "time": {"created": AT + 1000},
            "finish": "tool-calls"},
         "parts": [
            {"type": "tool", "callID": "call_1", "tool": "bash", "state": {"status": "completed",
                "input": {"command": "ls", "description": "Run it"}, "output": "…", "metadata": {"exit": 0},
                "time": {"start": AT + 1020, "end": AT + 1400}}},
            {"type": "step-finish", "cost": 0.25, "tokens": {"total": 1170, "input": 100, "output": 50,
                "reasoning": 20, "cache": {"read": 1000, "write": 0}}}]}]});
    let (exported, _) = crate::events(
        "opencode",
        "x.json",
        export.to_string().as_bytes(),
        &mut DedupCache::default(),
    );
    let (stored, _) = agent.events();
    for name in ["tool_call", "tool_result", "model_call"] {
        let of = |events: &[Event]| {
            let event = events.iter().find(|event| event.kind.name() == name).cloned();
            event.map(|event| (event.session, event.kind))
        };
        assert_eq!(of(&stored), of(&exported), "{name}");
    }
}

#[test]
fn databases_of_early_versions_have_a_reason() {
    let agent = Agent::new(
        "opencode.db",
        "CREATE TABLE session(id); CREATE TABLE message(id); CREATE TABLE part(id)",
    );
    let folder = agent.folder.path().join("opencode");
    std::fs::create_dir(&folder).unwrap();
    drop(agent.writer);
    std::fs::rename(&agent.path, folder.join("opencode.db")).unwrap();
    let kinds = Registry::linked().unwrap().sources;
    let error = open(&folder.join("opencode.db"), None, &kinds).unwrap_err().to_string();
    assert!(error.contains("opencode (before its event log), which is not supported"), "{error}");
}

const GOOSE: &str = "
    CREATE TABLE schema_version(version INTEGER PRIMARY KEY);
    CREATE TABLE sessions(id TEXT PRIMARY KEY, session_type TEXT NOT NULL DEFAULT 'user',
        working_dir TEXT NOT NULL, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
        accumulated_input_tokens INTEGER, accumulated_output_tokens INTEGER);
    CREATE TABLE messages(id INTEGER PRIMARY KEY AUTOINCREMENT, session_id TEXT NOT NULL,
        role TEXT NOT NULL, content_json TEXT NOT NULL, created_timestamp INTEGER NOT NULL,
        metadata_json TEXT);";
const GOOSE_NOW: &str = "
    ALTER TABLE sessions ADD COLUMN model_config_json TEXT;
    ALTER TABLE sessions ADD COLUMN accumulated_cost REAL;";

fn goose(columns: &str) -> Agent {
    let agent = Agent::new("sessions.db", GOOSE);
    agent.writer.execute_batch(columns).unwrap();
    agent
        .writer
        .execute("INSERT INTO sessions(id, working_dir) VALUES ('20260101_1', '/w')", [])
        .unwrap();
    agent
}

fn add(agent: &Agent, role: &str, at: i64, content: &Value) {
    let row = ("20260101_1", role, content.to_string(), AT / 1000 + at);
    agent
        .writer
        .execute(
            "INSERT INTO messages(session_id, role, content_json, created_timestamp) \
             VALUES (?1, ?2, ?3, ?4)",
            row,
        )
        .unwrap();
}

fn request_of(id: &str, name: &str, arguments: Value) -> Value {
    let call = json!({"status": "success", "value": {"name": name, "arguments": arguments}});
    json!([{"type": "text", "text": "I look."}, {"type": "toolRequest", "id": id, "toolCall": call}])
}

fn response(id: &str, result: Value) -> Value {
    json!([{"type": "toolResponse", "id": id, "toolResult": result}])
}

/// Adds a session with all kinds of results.
fn add_session(agent: &Agent) {
    let text = |text: &str| json!([{"type": "text", "text": text}]);
    let view = json!({"command": "view", "path": "/w/a.rs"});
    add(agent, "user", 0, &text("Fix it"));
    add(agent, "assistant", 1, &request_of("c1", "developer__shell", json!({"command": "make"})));
    let failed = json!({"content": [{"type": "text", "text": "no rule"}], "isError": true});
    add(agent, "user", 2, &response("c1", json!({"status": "success", "value": failed})));
    add(agent, "assistant", 3, &request_of("c2", "developer__text_editor", view));
    let early = json!({"status": "success", "value": [{"type": "text", "text": "fn a() {}"}]});
    add(agent, "user", 4, &response("c2", early));
    add(
        agent,
        "assistant",
        5,
        &request_of("c3", "developer__shell", json!({"command": "rm -r ."})),
    );
    let declined = json!({"content": [{"type": "text", "text": "The user has declined to run this tool. DO NOT …"}]});
    add(agent, "user", 6, &response("c3", json!({"status": "success", "value": declined})));
    add(agent, "assistant", 7, &request_of("c4", "nothing", json!({})));
    add(
        agent,
        "user",
        8,
        &response("c4", json!({"status": "error", "error": "-32002: no such tool"})),
    );
    add(agent, "assistant", 9, &text("It is fixed."));
}

#[test]
fn reads_the_messages_of_goose() {
    for columns in ["", GOOSE_NOW] {
        let agent = goose(columns);
        add_session(&agent);
        agent
            .writer
            .execute_batch("INSERT INTO messages VALUES (99, 's', 'user', '[{]', 1, NULL)")
            .unwrap();
        insta::allow_duplicates! {
            assert_snapshot!(agent.read(), @r#"
            1 08:00:00 20260101_1 session_start cwd="/w"
            1 08:00:00 20260101_1 prompt text="Fix it"
            2 08:00:01 20260101_1 message text="I look."
            2 08:00:01 20260101_1 tool_call arguments={"command":"make"} class="run" id="c1" tool="developer__shell"
            3 08:00:02 20260101_1 tool_result id="c1" ok=false output="no rule"
            4 08:00:03 20260101_1 message text="I look."
            4 08:00:03 20260101_1 tool_call arguments={"command":"view","path":"/w/a.rs"} class="read" id="c2" tool="developer__text_editor"
            5 08:00:04 20260101_1 tool_result id="c2" ok=true output="fn a() {}"
            6 08:00:05 20260101_1 message text="I look."
            6 08:00:05 20260101_1 tool_call arguments={"command":"rm -r ."} class="run" id="c3" tool="developer__shell"
            7 08:00:06 20260101_1 tool_result cause="declined" id="c3" ok=false output="The user has declined to run this tool. DO NOT …"
            8 08:00:07 20260101_1 message text="I look."
            8 08:00:07 20260101_1 tool_call arguments={} class="other" id="c4" tool="nothing"
            9 08:00:08 20260101_1 tool_result id="c4" ok=false output="-32002: no such tool"
            10 08:00:09 20260101_1 message text="It is fixed."
            10 08:00:09 20260101_1 turn_end
            skipped line 1: not JSON
            "#);
        }
    }
}

#[test]
fn a_conversation_that_goose_replaces_gives_no_event_again() {
    let agent = goose(GOOSE_NOW);
    add_session(&agent);
    let mut follow = agent.follow();
    assert_ne!(follow.read(), "");
    // All messages get new ids, and a summary precedes the latest ones.
    agent.writer.execute_batch("BEGIN; DELETE FROM messages").unwrap();
    let summary = json!([{"type": "text", "text": "What happened so far"}]);
    add(&agent, "user", 10, &summary);
    agent
        .writer
        .execute(
            "UPDATE messages SET metadata_json = '{\"userVisible\":false,\"agentVisible\":true}'",
            [],
        )
        .unwrap();
    add_session(&agent);
    agent.writer.execute_batch("COMMIT").unwrap();
    let read = follow.read();
    assert!(read.ends_with(" prompt synthetic=true text=\"What happened so far\"\n"), "{read}");
    assert_eq!((read.lines().count(), follow.read()), (1, String::new()));
}

#[test]
fn tokens_of_goose_count_by_their_growth() {
    let agent = goose(GOOSE_NOW);
    let mut follow = agent.follow();
    let total = |input: i64, output: i64, cost: f64| {
        agent
            .writer
            .execute(
                "UPDATE sessions SET accumulated_input_tokens = ?1, accumulated_output_tokens = ?2, \
                 accumulated_cost = ?3, model_config_json = '{\"model_name\":\"model-x\"}'",
                (input, output, cost),
            )
            .unwrap();
    };
    let mut usage = Vec::new();
    for (nth, at) in (1_i64..=3).zip(0..) {
        total(nth * 1000, nth * 10, 0.5);
        let (request, result) = (json!({}), json!({"status": "success"}));
        add(&agent, "assistant", 2 * at, &request_of(&format!("c{nth}"), "shell", request));
        let read = follow.read();
        usage.extend(read.split_once(" model_call ").map(|(_, call)| call.to_owned()));
        add(&agent, "user", 2 * at + 1, &response(&format!("c{nth}"), result));
        follow.read();
    }
    assert_snapshot!(usage.concat(), @r#"
    cost_usd=0.5 id="1000/10" input_tokens=1000 model="model-x" output_tokens=10
    id="2000/20" input_tokens=1000 model="model-x" output_tokens=10
    id="3000/30" input_tokens=1000 model="model-x" output_tokens=10
    "#);
    // Of a recorded session, the times of the tokens are unknown.
    assert!(!agent.read().contains("model_call"));
}

/// Returns the rows of the lines of a kind.
fn rows_of<S: SourceKind>(agent: &Agent) -> String {
    let mut statement = agent.writer.prepare(S::DATABASE.unwrap().rows).unwrap();
    let n_columns = statement.column_count();
    let rows = statement.query_map((0, 1 << 24), |row| {
        (1..n_columns).map(|column| row.get::<_, String>(column)).collect::<Result<String, _>>()
    });
    rows.unwrap().map(|row| row.unwrap() + "\n").collect()
}

#[test]
fn the_rows_keep_the_promises_of_sources() {
    let agent = goose(GOOSE_NOW);
    add_session(&agent);
    source::check::<Goose>(&[("sessions.db", &rows_of::<Goose>(&agent))]);

    let agent = opencode();
    session(&agent, "ses_1", None, AT);
    prompt(&agent, "ses_1", "msg_0", AT, "Fix it");
    call(&agent, "ses_1", 1, "cargo test", Some(101));
    answer(&agent, "ses_1", 3, "It is fixed.");
    source::check::<Opencode>(&[("opencode.db", &rows_of::<Opencode>(&agent))]);
}
