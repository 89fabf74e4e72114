//! Live sessions, through the real program.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, SystemTime},
};

use watchkeeper_core::{
    SignedDuration,
    clock::{Clock as _, SystemClock},
};

use crate::{
    check::{PANICKING, looping_from},
    program::{Folder, program},
};

/// Timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Watching {
    child: Running,
    lines: Receiver<String>,
}

/// A process that is killed on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both succeed unless the child has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watching {
    /// Starts to watch a folder, and waits until the program watches.
    fn start(folder: &Folder, args: &[&str]) -> Self {
        Self::start_in(folder, args, &[])
    }

    /// Starts to watch a folder with variables of the environment.
    pub(crate) fn start_in(folder: &Folder, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.envs(variables.iter().copied()).arg("watch").args(args).arg(folder.path());
        Self::run(&mut command)
    }

    /// Starts a command, and waits until the program watches.
    pub(crate) fn run(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program should start");
        let out = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let err = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let (sender, lines) = mpsc::channel();
        let messages = sender.clone();
        thread::spawn(move || {
            err.lines().map_while(Result::ok).try_for_each(|line| messages.send(line))
        });
        let watching = Self { child: Running(child), lines };
        watching.until("watching ");
        // Not earlier: `until` would skip the first findings.
        thread::spawn(move || {
            out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        watching
    }

    /// Waits for a line that contains `text`.
    #[track_caller]
    pub(crate) fn until(&self, text: &str) -> String {
        self.until_any(&[text])
    }

    /// Waits for a line that contains one of `texts`.
    #[track_caller]
    fn until_any(&self, texts: &[&str]) -> String {
        let mut others = Vec::new();
        loop {
            let line = self.lines.recv_timeout(LONG);
            let line =
                line.unwrap_or_else(|_| panic!("no line with any of {texts:?}: {others:#?}"));
            if texts.iter().any(|it| line.contains(it)) {
                return line;
            }
            others.push(line);
        }
    }

    /// Waits for a line with each of `texts`, in any order: two pipes pass on findings and messages.
    /// Returns the lines in the order of `texts`.
    #[track_caller]
    pub(crate) fn until_each<const N: usize>(&self, texts: [&str; N]) -> [String; N] {
        let mut found = [const { None }; N];
        while found.iter().any(Option::is_none) {
            let missing = texts.iter().zip(&found).filter(|(_, line)| line.is_none());
            let line = self.until_any(&missing.map(|(text, _)| *text).collect::<Vec<_>>());
            let mut places = texts.iter().zip(&mut found);
            let place = places.find(|(text, place)| place.is_none() && line.contains(**text));
            place.expect("the line has one of the texts").1.replace(line);
        }
        found.map(|line| line.expect("all are found"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.0.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Sends a signal and waits for the exit. Returns the exit status and the
    /// remaining lines.
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, Vec<String>) {
        self.signal(signal);
        let lines = self.lines.iter().collect();
        (self.child.0.wait().expect("the process ends").code(), lines)
    }
}

#[test]
fn stops_at_a_finding_that_nobody_reads() {
    let folder = Folder::new();
    let mut command = program();
    command.arg("watch").arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program should start");
    drop(child.stdout.take());
    let err = BufReader::new(child.stderr.take().expect("standard error is piped"));
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || err.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut watching = Watching { child: Running(child), lines };
    watching.until("watching ");
    folder.write("s.ndjson", looping_now(5));
    watching.until("stopping, since standard output was closed");
    let error = watching.until("error: ");
    assert!(error.contains("sinks lost"), "{error}");
    assert_eq!(watching.child.0.wait().expect("the process ends").code(), Some(2));
}

/// Returns a looping session with current timestamps.
pub(crate) fn looping_now(n_calls: usize) -> String {
    looping_from(SystemClock.now() - SignedDuration::from_secs(30), "live", n_calls)
}

#[test]
fn reports_a_loop_as_it_happens_until_a_signal() {
    for signal in ["INT", "TERM"] {
        let folder = Folder::new();
        let file = folder.write("s.ndjson", "");
        let watching = Watching::start(&folder, &[]);
        let mut file = OpenOptions::new().append(true).open(file).unwrap();
        let text = looping_now(4);
        let (first, last) = text.split_at(text.len() - 20);
        file.write_all(first.as_bytes()).unwrap();
        watching.until("3 times");
        // The end of a line that completes the fourth round.
        file.write_all(last.as_bytes()).unwrap();
        let line = watching.until("4 times");
        assert!(line.contains("MEDIUM") && line.contains("`Bash`"), "{line}");
        let (status, rest) = watching.end(signal);
        assert_eq!(status, Some(0), "{rest:?}");
        assert!(rest.iter().any(|it| it.starts_with("watched 9 events")), "{rest:?}");
    }
}

#[test]
fn a_panic_of_a_source_ends_one_file_and_is_reported() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    let panicking = folder.write("s.acme", "");
    let watching = Watching::start_in(&folder, &[], &[("ACME_SOURCE", "1")]);
    let mut panicking = OpenOptions::new().append(true).open(panicking).unwrap();
    panicking.write_all(PANICKING.as_bytes()).unwrap();
    let line = watching.until("error: source `acme-prompts` panicked");
    assert!(line.contains("line 2 says panic") && line.contains("s.acme"), "{line}");
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(looping_now(4).as_bytes()).unwrap();
    watching.until("4 times");
    assert_eq!(watching.end("INT").0, Some(0));
}

/// Watches a file with a policy, and waits until the program watches.
fn watch_to_audit(folder: &Folder, policy: &Path, file: &Path) -> Running {
    let child = program()
        .current_dir(folder.path())
        .args(["watch", "--verbose", "--policy"])
        .args([policy, file])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Running(child);
    let mut err = BufReader::new(child.0.stderr.as_mut().unwrap());
    let mut line = String::new();
    while !line.starts_with("watching ") {
        line.clear();
        assert_ne!(err.read_line(&mut line).unwrap(), 0, "the program should watch");
    }
    child
}

#[test]
fn delivers_findings_written_just_before_the_end() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    let policy = folder.write(
        "policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n\
         [sinks.audit]\nkind = \"file\"\npath = \"audit.ndjson\"\n",
    );
    let mut child = watch_to_audit(&folder, &policy, &file);
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(looping_now(5).as_bytes())
        .unwrap();
    let pid = child.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let audit = fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
    assert!(audit.contains("\"severity\":\"medium\""), "{audit}");
}

#[test]
fn watches_on_after_standard_error_is_closed() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    let policy = folder.write(
        "policy.toml",
        "version = 1\nextends = [\"builtin:default\"]\n\
         [sinks.audit]\nkind = \"file\"\npath = \"audit.ndjson\"\n\
         [sinks.console]\nenabled = false\n",
    );
    let mut watching = watch_to_audit(&folder, &policy, &file);
    drop(watching.0.stderr.take());
    // The program prints a notice about the first line.
    let text = format!("not JSON\n{}", looping_now(5));
    OpenOptions::new().append(true).open(&file).unwrap().write_all(text.as_bytes()).unwrap();
    let pid = watching.0.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(watching.0.wait().unwrap().code(), Some(0));
    let audit = fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
    assert!(audit.contains("\"severity\":\"medium\""), "{audit}");
}

#[test]
fn reports_lost_findings_at_once_and_at_the_end() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    // The path of the sink's file is a folder.
    folder.write("audit/kept.txt", "");
    let audit = folder.path().join("audit");
    let text = format!(
        "version = 1\nextends = [\"builtin:default\"]\n\
         [sinks.audit]\nkind = \"file\"\npath = {:?}\n",
        audit.display().to_string()
    );
    let policy = folder.write("policy.toml", text);
    let policy = policy.to_str().expect("the path is text");
    let watching = Watching::start(&folder, &["--policy", policy]);
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(looping_now(4).as_bytes()).unwrap();
    watching.until("4 times");
    // The loss is reported with the next finding after the sink has failed.
    let is_reported = (0..100).any(|n| {
        let next = looping_now(4).replace("\"live\"", &format!("\"s{n}\""));
        file.write_all(next.as_bytes()).unwrap();
        watching.until_any(&["4 times", "sink `audit` lost"]).contains("lost")
    });
    assert!(is_reported, "no loss was reported");
    let (status, rest) = watching.end("TERM");
    assert_eq!(status, Some(2), "{rest:?}");
    assert!(rest.iter().any(|it| it.starts_with("error: sinks lost ")), "{rest:?}");
}

#[test]
fn findings_are_data_on_standard_output() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    let watching = Watching::start(&folder, &["--format", "json"]);
    watching.until("read 0 files");
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(looping_now(4).as_bytes()).unwrap();
    let line = watching.until("4 times");
    assert!(line.starts_with("{\"") && line.contains("\"severity\":\"medium\""), "{line}");
    assert_eq!(watching.end("INT").0, Some(0));
}

#[test]
fn prints_findings_that_no_route_sends_to_the_terminal() {
    let folder = Folder::new();
    let file = folder.write("s.ndjson", "");
    let base = "version = 1\nextends = [\"builtin:default\"]\n[sinks.audit]\nkind = \"file\"\npath = \"audit.ndjson\"\n[[routes]]\nsinks = [\"audit\"]\nmatch = { severity = \"high\" }\n";
    let policy = folder.write("policies/policy.toml", base);
    let args = ["-v", "--policy", policy.to_str().unwrap(), "--format", "json"];
    let watching = Watching::start(&folder, &args);
    watching.until("read 0 files");
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(looping_now(8).as_bytes()).unwrap();
    assert!(watching.until("8 times").starts_with("{\""));
    assert_eq!(watching.end("INT").0, Some(0));
    // The path is relative to the policy.
    assert!(folder.path().join("policies/audit.ndjson").exists());

    let console = base.replace("\"audit\"]", "\"console\"]").replace("\"high\"", "\"low\"");
    let console = folder.write("console.toml", console);
    let watching = Watching::start(&folder, &["--policy", console.to_str().unwrap()]);
    watching.until("read ");
    let (status, lines) = watching.end("INT");
    assert_eq!(status, Some(0));
    assert!(!lines.iter().any(|line| line.contains("8 times")), "{lines:?}");
}

#[test]
fn waits_for_paths_to_appear_and_continues_after_a_hangup() {
    let folder = Folder::new();
    let mut command = program();
    command.env("HOME", folder.path()).arg("watch");
    let watching = Watching::run(&mut command);
    watching.signal("HUP");
    watching.until("policy: no change");
    folder.write(".claude/projects/p/s.jsonl", looping_now(4));
    watching.until("4 times");
    assert_eq!(watching.end("TERM").0, Some(0));
}

/// A policy whose findings about time are not delayed.
const WITHOUT_DELAY: &str = "version = 1\nextends = [\"builtin:default\"]\n\
                             [monitor]\ncheck_interval = \"1ms\"\n";

/// A watched folder of sessions.
struct Sessions {
    folder: Folder,
    watching: Watching,
    /// Lines of the start that were not returned yet.
    lines: Vec<String>,
    n_loops: usize,
}

impl Sessions {
    /// Starts to watch sessions, of which these exist already, and waits until they are read.
    fn watch(sessions: &[(&str, &str, SignedDuration)]) -> Self {
        let folder = Folder::new();
        folder.write("sessions/.keep", "");
        for (name, text, age) in sessions {
            let path = folder.write(&format!("sessions/{name}"), text);
            let modified = SystemTime::from(SystemClock.now() - *age);
            OpenOptions::new().append(true).open(path).unwrap().set_modified(modified).unwrap();
        }
        let policy = folder.write("policy.toml", WITHOUT_DELAY);
        let mut command = program();
        command.args(["watch", "--policy"]).arg(policy).arg(folder.path().join("sessions"));
        let watching = Watching::run(&mut command);
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("read ")) {
            lines.push(watching.until(""));
        }
        Self { folder, watching, lines, n_loops: 0 }
    }

    /// Appends a line to a file.
    fn append(&self, name: &str, line: &str) {
        let path = self.folder.path().join("sessions").join(name);
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }

    /// Waits until everything so far is handled. Returns the findings about the session `id`.
    fn findings(&mut self, id: &str) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.lines);
        // The monitor may handle the first loop together with earlier events, and report it
        // before findings about time.
        for _ in 0..2 {
            self.report_loop(&mut lines);
        }
        lines.retain(|line| line.contains(&format!(" {id}: ")));
        lines
    }

    /// Waits for a finding about the session `id`.
    fn until_finding(&mut self, id: &str, detector: &str) {
        let is_awaited =
            |line: &String| line.contains(&format!(" {id}: ")) && line.contains(detector);
        while !self.lines.iter().any(is_awaited) {
            self.lines.push(self.watching.until(""));
        }
    }

    /// Adds a session with a loop, and reads lines until the loop is reported.
    fn report_loop(&mut self, lines: &mut Vec<String>) {
        self.n_loops += 1;
        let looping = format!("loop{}", self.n_loops);
        let text = looping_now(4).replace("\"live\"", &format!("\"{looping}\""));
        self.append(&format!("{looping}.ndjson"), &text);
        while !lines.last().is_some_and(|line| line.contains(&format!(" {looping}: "))) {
            lines.push(self.watching.until(""));
        }
    }
}

/// Returns a line of a session with an event that was recorded some time ago.
fn event(session: &str, age: SignedDuration, event: &str) -> String {
    let at = SystemClock.now() - age;
    format!("{{\"at\":\"{at}\",\"session\":\"{session}\",\"event\":{event}}}\n")
}

#[test]
fn reports_a_loop_that_began_long_before_the_start() {
    let start = SystemClock.now() - SignedDuration::from_mins(40);
    let text = looping_from(start, "old", 9);
    let mut sessions = Sessions::watch(&[("s.ndjson", &text, SignedDuration::ZERO)]);
    let findings = sessions.findings("old");
    let found: Vec<_> = findings.iter().filter(|line| line.contains("repeated_call")).collect();
    let [line] = &found[..] else { panic!("{findings:?}") };
    assert!(line.contains("[HIGH]"), "{line}");
}

#[test]
fn a_slow_clock_of_an_agent_is_no_silence() {
    const SLOW: SignedDuration = SignedDuration::from_hours(3);
    let mut sessions = Sessions::watch(&[("s.ndjson", "", SignedDuration::ZERO)]);
    for (name, id) in [("s.ndjson", "slow"), ("new.ndjson", "new")] {
        for line in [
            "\"prompt\",\"text\":\"go\"",
            "\"tool_call\",\"id\":\"c\",\"tool\":\"Bash\",\"arguments\":{\"command\":\"ls\"}",
            "\"tool_result\",\"id\":\"c\",\"ok\":true,\"output\":\"a.txt\"",
        ] {
            sessions.append(name, &event(id, SLOW, line));
            assert_eq!(sessions.findings(id), [""; 0], "{line}");
        }
    }
}

#[test]
fn a_clock_that_was_ahead_before_the_start_hides_no_silence() {
    const AHEAD: SignedDuration = SignedDuration::from_hours(3);
    let since_prompt = SignedDuration::from_mins(20);
    let prompt = event("s", since_prompt - AHEAD, "\"prompt\",\"text\":\"go\"");
    let end = event("s", -AHEAD, "\"agent_end\",\"agent\":\"reviewer\"");
    let mut sessions = Sessions::watch(&[("s.ndjson", &(prompt + &end), SignedDuration::ZERO)]);
    sessions.until_finding("s", "silent_model");
}

#[test]
fn a_turn_without_an_end_mark_that_ends_in_text_is_no_silence() {
    const AGE: SignedDuration = SignedDuration::from_mins(8);
    let line = |kind: &str, content: &str| {
        let at = SystemClock.now() - AGE;
        format!(
            "{{\"type\":\"{kind}\",\"uuid\":\"{kind}\",\"sessionId\":\"s\",\"timestamp\":\"{at}\",\
             \"message\":{{\"role\":\"{kind}\",\"id\":\"m\",\"content\":[{content}]}}}}\n"
        )
    };
    let prompt = line("user", "{\"type\":\"text\",\"text\":\"go\"}");
    let text = line("assistant", "{\"type\":\"text\",\"text\":\"Done.\"}");
    Sessions::watch(&[("s.jsonl", &prompt, AGE)]).until_finding("s", "silent_model");
    let mut sessions = Sessions::watch(&[("s.jsonl", &(prompt + &text), AGE)]);
    assert_eq!(sessions.findings("s"), [""; 0]);
}

#[test]
fn names_what_is_not_read() {
    let folder = Folder::new();
    folder.write(".augment/sessions/.keep", "");
    let checked = program().env("HOME", folder.path()).arg("check").output().unwrap();
    let note = "note: agents on this machine that are not supported: augment\n";
    assert!(String::from_utf8_lossy(&checked.stderr).starts_with(note));
    let named = folder.write(".augment/sessions/named.json", "{}\n");
    folder.write("sessions/.augment/sessions/a.json", "{}\n");
    folder.write("sessions/crush.db", "");
    let binary = folder.write("binary", [0, 159, 146, 150]);
    let mut command = program();
    command.arg("watch").args([folder.path().join("sessions"), named, binary]);
    command.arg("/dev/null").arg(folder.path().join("missing"));
    let watching = Watching::run(&mut command);
    let line = watching.until("read 0 files of 0 sessions");
    assert_eq!(
        line,
        "read 0 files of 0 sessions; 1 file of no known format; \
         3 files of 2 agents that are not supported: augment 2, crush 1"
    );
    let line = watching.until("named.json` is not read");
    assert!(line.ends_with(": it is a session of augment, which is not supported"), "{line}");
    let line = watching.until("binary` is not read");
    assert!(line.ends_with(": no source recognizes it yet"), "{line}");
    let line = watching.until("/dev/null` is not read");
    assert!(line.ends_with(": it is neither a file nor a folder"), "{line}");
}

#[cfg(target_os = "linux")]
#[test]
fn reports_once_that_the_process_of_a_client_ended_amid_a_turn() {
    let folder = Folder::new();
    // Reads its standard input until the test ends the process.
    let client = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
    let mut client = Running(client.expect("`cat` runs"));
    let pid = client.0.id();
    let read = |path: &str| fs::read_to_string(path).expect("the system shows its processes");
    let stat = read(&format!("/proc/{pid}/stat"));
    let fields = stat.rsplit_once(')').expect("the name ends").1;
    let started = fields.split_whitespace().nth(19).expect("there is a start");
    let machine_id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let machine_id = machine_id.trim();
    let namespace = fs::read_link("/proc/self/ns/pid").expect("there is a namespace");
    let namespace = namespace.display();
    let state = format!(
        r#"{{"pid":{pid},"procStart":"{started}","sessionId":"s1","status":"busy",
        "statusUpdatedAt":{},"pidDomain":"linux:{machine_id}:{namespace}"}}"#,
        SystemClock.now().as_millisecond(),
    );
    folder.write(&format!("sessions/{pid}.json"), state);
    let prompt = format!(
        r#"{{"type":"user","uuid":"u1","sessionId":"s1","timestamp":"{}","cwd":"/work",
        "message":{{"role":"user","content":"fix the build"}}}}"#,
        SystemClock.now(),
    );
    folder.write("projects/p/s1.jsonl", prompt.replace('\n', "") + "\n");

    let mut command = program();
    command.arg("watch").arg(folder.path().join("projects"));
    let watching = Watching::run(&mut command);
    watching.until("read 1 file of 1 session");
    client.0.kill().expect("the process can be ended");
    client.0.wait().expect("the process ends");
    let line = watching.until("the process of the client ended amid a turn");
    assert!(line.contains("LOW"), "{line}");
    let (status, rest) = watching.end("INT");
    assert_eq!(status, Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("1 finding")), "{rest:?}");
}
