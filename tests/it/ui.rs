//! `watch --ui`: the page, the API and metrics of the real program.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use watchkeeper_core::clock::{Clock as _, SystemClock};

use crate::{
    check::looping_from,
    program::{Folder, Ran, eventually, program},
    watch::Watching,
};

/// Timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(60);

/// A `watch --ui`, and its address.
struct Served {
    watching: Watching,
    host: String,
    token: String,
}

impl Served {
    /// Watches the folder `sessions` of a folder, whose state is in `state`.
    fn start(folder: &Folder, address: &str) -> Self {
        Self::watch(program(), folder, address)
    }

    /// Watches with a command that has the arguments of the whole program.
    fn watch(mut command: Command, folder: &Folder, address: &str) -> Self {
        command
            .args(["watch", "--state-dir"])
            .arg(folder.path().join("state"))
            .arg(folder.path().join("sessions"))
            .args(["--ui", address]);
        Self::run(&mut command)
    }

    fn run(command: &mut Command) -> Self {
        let watching = Watching::run(command);
        let line = watching.until("page: ");
        let (host, token) = line.trim_start_matches("page: http://").split_once("/open/").unwrap();
        Self { host: host.to_owned(), token: token.to_owned(), watching }
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = self.connect();
        let (host, token) = (&self.host, &self.token);
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Connection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    fn get(&self, path: &str) -> String {
        let response = self.exchange("GET", path, "");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {response}");
        body.to_owned()
    }

    /// Waits until the metrics have these lines. The engine may be behind the page by a moment.
    fn wait_for_metrics(&self, lines: &[&str]) {
        let look = || {
            let metrics = self.get("/metrics");
            let has = |line: &&str| metrics.lines().any(|it| it == *line);
            if lines.iter().all(has) { Ok(()) } else { Err(metrics) }
        };
        eventually(look).unwrap_or_else(|metrics| panic!("no {lines:?} in {metrics}"));
    }

    /// Waits until the row of a session is complete, and returns it.
    fn wait_for_row(&self, session: &str, is_complete: impl Fn(&Value) -> bool) -> Value {
        let look = || {
            let detail = self.get(&format!("/api/v1/sessions/{session}"));
            let row = serde_json::from_str::<Value>(&detail).unwrap()["row"].take();
            if is_complete(&row) { Ok(row) } else { Err(detail) }
        };
        eventually(look).unwrap_or_else(|detail| panic!("{session}: {detail}"))
    }

    /// Opens the event stream. Returns the text of it up to `end`.
    fn events_until(&self, end: &str) -> String {
        let mut stream = self.connect();
        let (host, token) = (&self.host, &self.token);
        let request = format!(
            "GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut received = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&received);
            if text.contains(end) {
                return text.into_owned();
            }
            let n = stream.read(&mut bytes).unwrap();
            assert_ne!(n, 0, "the stream has ended: {text}");
            received.extend(&bytes[..n]);
        }
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("sessions")).unwrap();
    folder
}

#[test]
fn a_loop_is_on_the_page_and_in_the_metrics() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    assert!(served.get("/").contains("\"mode\":\"live\""));
    folder.write("sessions/a.jsonl", looping_from(SystemClock.now(), "s1", 12));
    let events = served.events_until("\"is_looping\":true");
    assert!(events.contains("event: changes\nid: "), "{events}");
    let sessions: Value = serde_json::from_str(&served.get("/api/v1/sessions")).unwrap();
    assert_eq!(sessions["sessions"][0]["session"], "s1");
    let findings: Value = serde_json::from_str(&served.get("/api/v1/findings")).unwrap();
    assert_eq!(findings["findings"][0]["session"], "s1");
    served.wait_for_row("s1", |row| row["tool_calls"] == 12);
    // Each finding that has opened or escalated is delivered once.
    served.watching.until("[HIGH]");
    let numbers = |metrics: &str, name: &str, label: &str| {
        let of_name = metrics.lines().filter(|it| it.starts_with(name) && it.contains(label));
        of_name.map(|it| it.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let n_opened = eventually(|| {
        let metrics = served.get("/metrics");
        let open = |severity: &str| {
            let name = "watchkeeper_findings_total{kind=\"repeat-tool-call\"";
            numbers(&metrics, name, &format!("severity=\"{severity}\",status=\"open\""))
        };
        let n_opened = numbers(&metrics, "watchkeeper_findings_total", "status=\"open\"");
        let n_delivered =
            numbers(&metrics, "watchkeeper_sink_deliveries_total", "outcome=\"delivered\"");
        let n_events = numbers(&metrics, "watchkeeper_events_total", "");
        let is_complete = open("high") == 1 && n_delivered == n_opened && n_events == 25;
        if is_complete { Ok(n_opened) } else { Err(metrics) }
    });
    let n_opened = n_opened.unwrap_or_else(|metrics| panic!("{metrics}"));
    let (status, rest) = served.watching.end("TERM");
    assert_eq!(status, Some(0));
    let end = rest.iter().find(|line| line.starts_with("watched ")).unwrap();
    let s = if n_opened == 1 { "" } else { "s" };
    assert!(end.contains(&format!(": {n_opened} finding{s}, ")), "{end}");
}

#[test]
fn a_silence_of_the_page_hides_findings() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    let silence = r#"{"match":{"session":["s1"]},"until":"2200-01-01T00:00:00Z","author":"ada","reason":"a test"}"#;
    let added = served.exchange("POST", "/api/v1/silences", silence);
    assert!(added.starts_with("HTTP/1.1 201 "), "{added}");
    let listed = Ran::of(
        program().args(["silence", "list", "--state-dir"]).arg(folder.path().join("state")),
    );
    assert!(listed.out.contains("ada: a test"), "{}", listed.out);
    // The next start reads the silence before the session.
    assert_eq!(served.watching.end("TERM").0, Some(0));
    let served = Served::start(&folder, "0");
    folder.write("sessions/a.jsonl", looping_from(SystemClock.now(), "s1", 12));
    served.events_until("\"silenced\":{\"id\":");
    assert!(!served.get("/metrics").contains("watchkeeper_findings_total{"), "counted as silenced");
    let (_, body) = added.split_once("\r\n\r\n").unwrap();
    let id = serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned();
    let ended = served.exchange("DELETE", &format!("/api/v1/silences/{id}"), "");
    assert!(ended.starts_with("HTTP/1.1 200 "), "{ended}");
    assert_eq!(served.get("/api/v1/silences"), r#"{"silences":[]}"#);
}

#[test]
fn an_acknowledgement_survives_a_restart() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    folder.write("sessions/a.jsonl", looping_from(SystemClock.now(), "s1", 12));
    served.events_until("\"is_looping\":true");
    let finding = |served: &Served| -> Value {
        let findings: Value = serde_json::from_str(&served.get("/api/v1/findings")).unwrap();
        findings["findings"][0].clone()
    };
    let found = finding(&served);
    let acknowledgement = json!({
        "fingerprint": found["fingerprint"],
        "at": found["at"],
        "author": "ada",
        "reason": "known",
    });
    let added = served.exchange("POST", "/api/v1/acknowledgements", &acknowledgement.to_string());
    assert!(added.starts_with("HTTP/1.1 201 "), "{added}");
    assert_eq!(finding(&served)["acknowledged"]["author"], "ada");
    served.watching.end("TERM");
    let served = Served::start(&folder, "0");
    served.events_until("\"reason\":\"known\"");
    let id = finding(&served)["acknowledged"]["id"].as_str().unwrap().to_owned();
    let removed = served.exchange("DELETE", &format!("/api/v1/acknowledgements/{id}"), "");
    assert!(removed.starts_with("HTTP/1.1 200 "), "{removed}");
    assert_eq!(finding(&served)["acknowledged"], Value::Null);
}

#[test]
fn the_history_has_the_findings_of_earlier_runs() {
    let folder = folder();
    let policy = folder.write(
        "policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n\
         [sinks.log]\nkind = \"file\"\npath = \"findings.jsonl\"\n\
         [[routes]]\nsinks = [\"log\"]\n",
    );
    let start = || {
        let mut command = program();
        command.arg("--policy").arg(&policy);
        Served::watch(command, &folder, "0")
    };
    let served = start();
    assert_eq!(served.get("/api/v1/history"), r#"{"findings":[]}"#);
    folder.write("sessions/a.jsonl", looping_from(SystemClock.now(), "s1", 12));
    served.events_until("\"is_looping\":true");
    served.watching.end("TERM");
    std::fs::remove_file(folder.path().join("sessions/a.jsonl")).unwrap();
    let served = start();
    let history: Value = serde_json::from_str(&served.get("/api/v1/history")).unwrap();
    let first = &history["findings"][0];
    assert_eq!((&first["session"], &first["sinks"]), (&"s1".into(), &json!(["log"])));
    assert!(first["delivered_at"].is_string(), "{first}");
}

#[test]
fn the_address_stays_the_same_after_a_restart() {
    let folder = folder();
    let first = Served::start(&folder, "0");
    let (host, token) = (first.host.clone(), first.token.clone());
    // Open streams do not delay the end.
    let _open = first.events_until("event: changes");
    assert_eq!(first.watching.end("TERM").0, Some(0));
    let second = Served::start(&folder, &host);
    assert_eq!((second.host, second.token), (host, token));
}

#[test]
fn an_address_that_cannot_be_used_is_an_error() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    let watch = |address: &str| {
        Ran::of(
            program()
                .args(["watch", "--state-dir"])
                .arg(folder.path().join("other"))
                .arg(folder.path().join("sessions"))
                .args(["--ui", address]),
        )
    };
    let ran = watch(&served.host);
    assert_eq!(ran.status, 2);
    let expected = format!(
        "error: cannot serve the page: {} is in use by another program; stop it, or choose another \
         port\n",
        served.host
    );
    assert_eq!(ran.err, expected);
    let ran = watch("0.0.0.0:0");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("set `ui_token` in `[monitor]`"), "{}", ran.err);
    let ran = watch("./sessions");
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("expected `PORT`, `HOST`, `HOST:PORT`"), "{}", ran.err);
}

#[test]
fn other_machines_need_the_token_of_the_policy() {
    let folder = folder();
    let token = folder.write("token", "0123456789abcdef0123\n");
    #[cfg(unix)]
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let policy = folder.write(
        "policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n\
         monitor.ui_token = { secret = \"ui\" }\nsecrets.ui = { file = \"token\" }\n",
    );
    let mut command = program();
    command
        .arg("--policy")
        .arg(policy)
        .args(["watch", "--state-dir"])
        .arg(folder.path().join("state"))
        .arg(folder.path().join("sessions"))
        .args(["--ui", "0.0.0.0:0"]);
    let watching = Watching::run(&mut command);
    let line = watching.until("page: ");
    // A secret is never printed.
    let host = line.trim_start_matches("page: http://").strip_suffix("/open/UI_TOKEN").unwrap();
    watching.until("other machines can reach the page, and nothing is encrypted");
    let host = host.replace("0.0.0.0", "127.0.0.1");
    let served = Served { watching, host, token: String::new() };
    assert!(served.exchange("GET", "/metrics", "").starts_with("HTTP/1.1 401 "));
    let served = Served { token: "0123456789abcdef0123".to_owned(), ..served };
    served.get("/metrics");
}

/// Returns an OTLP request with the spans of equal calls, one in each second until now.
fn spans_of_equal_calls(session: &str, trace: u64, n_calls: i64) -> String {
    let text = |key: &str, text: &str| json!({ "key": key, "value": { "stringValue": text } });
    let now = SystemClock.now().as_second();
    let span = |n: i64| {
        json!({
            "traceId": format!("{trace:032x}"),
            "spanId": format!("{n:016x}"),
            "name": "execute_tool search",
            "startTimeUnixNano": format!("{}000000000", now - n),
            "endTimeUnixNano": format!("{}500000000", now - n),
            "attributes": [
                text("gen_ai.operation.name", "execute_tool"),
                text("gen_ai.conversation.id", session),
                text("gen_ai.tool.name", "search"),
                text("gen_ai.tool.call.id", &format!("call-{n}")),
                text("gen_ai.tool.call.arguments", r#"{"query":"needle"}"#),
                text("gen_ai.tool.call.result", "nothing found"),
            ],
        })
    };
    let spans: Vec<Value> = (1..=n_calls).map(span).collect();
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

#[test]
fn an_agent_that_only_sends_telemetry_is_watched() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    let body = spans_of_equal_calls("remote-1", 1, 12);
    let response = served.exchange("POST", "/v1/traces", &body);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    let finding = served.watching.until("remote-1");
    assert!(finding.contains("`search`"), "{finding}");
    let row = served.wait_for_row("remote-1", |row| row["tool_calls"] == 12);
    assert_eq!(row["source"], "otlp");

    // An exporter that got no response sends a request again.
    let response = served.exchange("POST", "/v1/traces", &body);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    served.exchange("POST", "/v1/traces", &spans_of_equal_calls("remote-2", 2, 12));
    served.watching.until("remote-2");
    let again: Value = serde_json::from_str(&served.get("/api/v1/sessions/remote-1")).unwrap();
    assert_eq!(again["row"]["events"], row["events"]);

    let response = served.exchange("POST", "/v1/traces", "no JSON");
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

/// Returns a body in chunks of these sizes, the last of which is repeated.
fn chunked(body: &[u8], first: usize, others: usize) -> Vec<u8> {
    let (first, rest) = body.split_at(first.min(body.len()));
    let mut chunks = Vec::new();
    for chunk in [first].into_iter().chain(rest.chunks(others)) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    chunks
}

fn compressed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn telemetry_in_chunks_and_compressed_gives_the_same_events() {
    let folder = folder();
    let served = Served::start(&folder, "0");
    let whole = spans_of_equal_calls("whole", 1, 12);
    let response = served.exchange("POST", "/v1/traces", &whole);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    served.watching.until("whole");
    let numbers = |row: &Value| {
        ["events", "tool_calls", "failed_results", "state"].map(|key| match &row[key] {
            state @ Value::Object(_) => state["kind"].clone(),
            value => value.clone(),
        })
    };
    let expected = numbers(&served.wait_for_row("whole", |row| row["events"] == 25));
    for (trace, session, is_compressed) in [(2, "chunked", false), (3, "compressed", true)] {
        let body = spans_of_equal_calls(session, trace, 12).into_bytes();
        let body = if is_compressed { compressed(&body) } else { body };
        let encoding = if is_compressed { "Content-Encoding: gzip\r\n" } else { "" };
        let host = &served.host;
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{encoding}Transfer-Encoding: chunked\r\n\r\n"
        );
        let mut stream = served.connect();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&chunked(&body, 1, 100)).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{session}: {response}");
        served.watching.until(session);
        served.wait_for_row(session, |row| numbers(row) == expected);
    }
    let n_events = 3 * expected[0].as_u64().unwrap();
    let state = expected[3].as_str().unwrap();
    served.wait_for_metrics(&[
        &format!("watchkeeper_events_total {n_events}"),
        &format!("watchkeeper_sessions{{state=\"{state}\"}} 3"),
    ]);
}

#[test]
fn a_finding_about_received_telemetry_ends_at_the_next_start() {
    let folder = folder();
    let policy = folder.write(
        "policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n\
         [sinks.file]\npath = \"findings.ndjson\"\n\
         [[routes]]\nsend_resolved = true\nsinks = [\"file\", \"console\"]\n",
    );
    let start = || {
        let mut command = program();
        command.current_dir(folder.path()).arg("--policy").arg(&policy).args([
            "watch",
            "--state-dir",
            "state",
            "sessions",
            "--ui",
            "0",
        ]);
        Served::run(&mut command)
    };
    let served = start();
    served.exchange("POST", "/v1/traces", &spans_of_equal_calls("remote", 1, 12));
    served.watching.until("remote");
    assert_eq!(served.watching.end("TERM").0, Some(0));
    let served = start();
    served.watching.until("read ");
    assert_eq!(served.watching.end("TERM").0, Some(0));
    let findings = std::fs::read_to_string(folder.path().join("findings.ndjson")).unwrap();
    let last = findings.lines().last().unwrap();
    assert!(last.contains("over, as earlier telemetry cannot be read again"), "{findings}");
}

#[test]
fn check_reads_session_files_with_the_telemetry_of_several_sessions() {
    let folder = folder();
    let (other, shared) =
        (spans_of_equal_calls("other", 1, 3), spans_of_equal_calls("shared", 2, 3));
    folder.write("telemetry.jsonl", format!("{other}\n{shared}\n"));
    let start = SystemClock.now();
    let mut text = looping_from(start, "shared", 3);
    for n in 0..3 {
        // The ids of the spans.
        text = text.replace(&format!("\"c{n}\""), &format!("\"call-{}\"", n + 1));
    }
    folder.write("shared.jsonl", text);
    let mut command = program();
    command.args(["check", "--format", "json", "telemetry.jsonl", "shared.jsonl"]);
    let ran = Ran::of(command.current_dir(folder.path()));
    let report: Value = serde_json::from_str(&ran.out).expect(&ran.err);
    assert_eq!(report["totals"]["tool_calls"], 6, "{}", ran.out);
}

#[test]
fn a_screen_needs_a_terminal() {
    let folder = folder();
    let ran = Ran::of(program().args(["watch", "--top"]).arg(folder.path()));
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("--top draws on a terminal"), "{}", ran.err);
}

#[cfg(target_os = "linux")]
#[test]
fn a_screen_ends_with_its_terminal() {
    use std::{fs::File, process::Stdio, sync::mpsc, thread};

    use nix::{
        fcntl::OFlag,
        pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    };

    let folder = folder();
    // Programs of other tests must not inherit it.
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let mut screen = posix_openpt(flags).unwrap();
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname_r(&screen).unwrap();
    let mut command = program();
    let terminal = || Stdio::from(File::options().read(true).write(true).open(&name).unwrap());
    command.stdin(terminal()).stdout(terminal()).stderr(Stdio::null());
    let state = folder.path().join("state");
    command.args(["watch", "--top", "--state-dir"]).arg(state).arg(folder.path().join("sessions"));
    let mut child = command.spawn().unwrap();
    drop(command);
    assert_ne!(screen.read(&mut [0; 4096]).unwrap(), 0);
    drop(screen);
    let id = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    if ended.recv_timeout(LONG).is_err() {
        let _ = Command::new("kill").args(["-s", "KILL", &id]).status();
        panic!("the screen should end with its terminal");
    }
}
