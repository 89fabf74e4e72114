//! `watch --ui`: the page, the API and metrics of the real program.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};
use watchkeeper_core::clock::{Clock as _, SystemClock};

use crate::{
    check::looping_from,
    program::{Folder, Ran, program},
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
        let mut command = program();
        command
            .args(["watch", "--state-dir"])
            .arg(folder.path().join("state"))
            .arg(folder.path().join("sessions"))
            .args(["--ui", address]);
        let watching = Watching::run(&mut command);
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
    let detail: Value = serde_json::from_str(&served.get("/api/v1/sessions/s1")).unwrap();
    assert_eq!(detail["row"]["tool_calls"], 12);
    // Each finding that has opened or escalated is delivered once.
    served.watching.until("[HIGH]");
    let numbers = |metrics: &str, name: &str, label: &str| {
        let of_name = metrics.lines().filter(|it| it.starts_with(name) && it.contains(label));
        of_name.map(|it| it.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum::<u64>()
    };
    let n_opened = loop {
        let metrics = served.get("/metrics");
        let open = |severity: &str| {
            let name = "watchkeeper_findings_total{kind=\"repeat-tool-call\"";
            numbers(&metrics, name, &format!("severity=\"{severity}\",status=\"open\""))
        };
        let n_opened = numbers(&metrics, "watchkeeper_findings_total", "status=\"open\"");
        let n_delivered =
            numbers(&metrics, "watchkeeper_sink_deliveries_total", "outcome=\"delivered\"");
        if open("high") == 1 && n_delivered == n_opened {
            assert_eq!(numbers(&metrics, "watchkeeper_events_total", ""), 25);
            break n_opened;
        }
    };
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
    let (_, body) = added.split_once("\r\n\r\n").unwrap();
    let id = serde_json::from_str::<Value>(body).unwrap()["id"].as_str().unwrap().to_owned();
    let ended = served.exchange("DELETE", &format!("/api/v1/silences/{id}"), "");
    assert!(ended.starts_with("HTTP/1.1 200 "), "{ended}");
    assert_eq!(served.get("/api/v1/silences"), r#"{"silences":[]}"#);
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
    let detail: Value = serde_json::from_str(&served.get("/api/v1/sessions/remote-1")).unwrap();
    assert_eq!(
        (&detail["row"]["source"], &detail["row"]["tool_calls"]),
        (&"otlp".into(), &12.into())
    );

    // An exporter that got no response sends a request again.
    let response = served.exchange("POST", "/v1/traces", &body);
    assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    served.exchange("POST", "/v1/traces", &spans_of_equal_calls("remote-2", 2, 12));
    served.watching.until("remote-2");
    let again: Value = serde_json::from_str(&served.get("/api/v1/sessions/remote-1")).unwrap();
    assert_eq!(again["row"]["events"], detail["row"]["events"]);

    let response = served.exchange("POST", "/v1/traces", "no JSON");
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
}

#[test]
fn a_screen_needs_a_terminal() {
    let folder = folder();
    let ran = Ran::of(program().args(["watch", "--top"]).arg(folder.path()));
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("--top draws on a terminal"), "{}", ran.err);
}
