//! `watch` that is killed and started again, through the real program.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use watchkeeper_core::{
    SignedDuration, Timestamp,
    clock::{Clock as _, SystemClock},
};
use watchkeeper_testing::Dice;

use crate::program::{Folder, eventually, program};

/// Timeout that only a failing test reaches.
const LONG: Duration = Duration::from_secs(120);
/// The message after the existing files were read.
const STARTED: &str = "read ";

/// Returns the lines of a session, with the numbers of its calls: loops that end, and the end
/// of the session.
fn session_lines(session: usize, dice: &mut Dice) -> Vec<String> {
    let mut lines = vec!["\"prompt\",\"text\":\"go\"".to_owned()];
    for round in 0..3 {
        let arguments = format!("{{\"command\":\"make {round}\"}}");
        for n in 0..2 + dice.below(6) {
            let id = format!("{round}-{n}");
            lines.push(format!(
                "\"tool_call\",\"id\":\"{id}\",\"tool\":\"Bash\",\"arguments\":{arguments}"
            ));
            lines.push(format!(
                "\"tool_result\",\"id\":\"{id}\",\"ok\":true,\"output\":\"nothing to be done\""
            ));
        }
    }
    lines.push("\"session_end\"".to_owned());
    let line = |event: &String| format!("\"session\":\"s{session}\",\"event\":{event}");
    lines.iter().map(line).collect()
}

/// Returns the lines of a session with a loop.
fn loop_lines(session: usize, n_calls: usize, ends: bool) -> Vec<(usize, String)> {
    let mut lines = vec!["\"prompt\",\"text\":\"go\"".to_owned()];
    for id in 0..n_calls {
        lines.push(format!(
            "\"tool_call\",\"id\":\"{id}\",\"tool\":\"Bash\",\"arguments\":{{\"command\":\"make\"}}"
        ));
        lines.push(format!(
            "\"tool_result\",\"id\":\"{id}\",\"ok\":true,\"output\":\"nothing to be done\""
        ));
    }
    if ends {
        lines.push("\"session_end\"".to_owned());
    }
    let line = |event: &String| (session, format!("\"session\":\"s{session}\",\"event\":{event}"));
    lines.iter().map(line).collect()
}

/// Appends lines to the files of their sessions, with the present time.
fn append(folder: &Path, lines: &[(usize, String)]) {
    for line in lines {
        append_to(&folder.join(format!("s{}.ndjson", line.0)), std::slice::from_ref(line));
    }
}

/// Appends lines to a file, with the present time.
fn append_to(path: &Path, lines: &[(usize, String)]) {
    let at: Timestamp = SystemClock.now();
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    for (_, line) in lines {
        writeln!(file, "{{\"at\":\"{at}\",{line}}}").unwrap();
    }
}

/// A receiver on loopback that accepts seven of ten requests, and answers the others with 503.
struct Receiver {
    url: String,
    /// The number of times that each finding was accepted.
    accepted: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Receiver {
    fn start(seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let accepted: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let received = accepted.clone();
        // Ends with the process of the tests.
        thread::spawn(move || {
            let mut dice = Dice::new(seed);
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(body) = read_body(&stream) else { continue };
                let is_accepted = dice.below(10) < 7;
                if is_accepted {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    // The finding is the body, or its `data`.
                    let finding = if body["id"].is_string() { &body } else { &body["data"] };
                    if is_of_session(finding) {
                        *received.lock().unwrap().entry(id_of(finding)).or_default() += 1;
                    }
                }
                let status = if is_accepted { "204 No Content" } else { "503 Service Unavailable" };
                // The sender may have been killed.
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
            }
        });
        Self { url, accepted }
    }
}

fn read_body(stream: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut len = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| 0 < *n)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// A folder with sessions, a policy, the state and the file of a sink.
struct Setup {
    folder: Folder,
    receiver: Receiver,
}

impl Setup {
    fn new(seed: u64) -> Self {
        let (folder, receiver) = (Folder::new(), Receiver::start(seed));
        fs::create_dir(folder.path().join("sessions")).unwrap();
        let policy = "version = 1\n\
             [monitor]\n\
             check_interval = \"20ms\"\n\
             state_dir = \"state\"\n\
             [detectors.repeated_call]\n\
             kind = \"repeat-tool-call\"\n\
             levels = [{ at = 3, severity = \"medium\" }, { at = 5, severity = \"high\" }]\n\
             [sinks.file]\n\
             path = \"findings.ndjson\"\n\
             [secrets]\n\
             url = { file = \"url\" }\n\
             [sinks.webhook]\n\
             url = { secret = \"url\" }\n\
             allow_private = true\n\
             retry = { max_attempts = 1000, initial = \"5ms\", max = \"20ms\" }\n\
             [[routes]]\n\
             match = { kind = \"repeat-tool-call\" }\n\
             send_resolved = true\n\
             sinks = [\"file\", \"webhook\"]\n";
        folder.write("policy.toml", policy);
        let secret = folder.write("url", &receiver.url);
        let status = Command::new("chmod").arg("600").arg(secret).status().unwrap();
        assert!(status.success());
        Self { folder, receiver }
    }

    fn sessions(&self) -> std::path::PathBuf {
        self.folder.path().join("sessions")
    }

    /// Starts to watch, and waits for a line that begins with `message`.
    fn watch(&self, message: &'static str) -> Process {
        let mut command = program();
        command.current_dir(self.folder.path()).args(["watch", "--policy", "policy.toml"]);
        let mut child =
            command.arg("sessions").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let err = BufReader::new(child.stderr.take().unwrap());
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                if line.starts_with(message) {
                    let _ = sender.send(());
                }
            }
        });
        let process = Process(child);
        started.recv_timeout(LONG).expect("the program should watch");
        process
    }

    /// Returns the findings about sessions in the file.
    fn file(&self) -> Vec<Value> {
        let mut findings = self.all_in_file();
        findings.retain(is_of_session);
        findings
    }

    fn all_in_file(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("findings.ndjson"));
        let text = text.unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the number of times that each finding is in the file.
    fn in_file(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for finding in self.file() {
            *counts.entry(id_of(&finding)).or_default() += 1;
        }
        counts
    }

    /// Waits until the file has findings of a session with a status, and returns all findings.
    fn wait_for_status(&self, session: usize, status: &str) -> Vec<Value> {
        let session = format!("s{session}");
        let is_found = |it: &Value| it["session"] == *session && it["status"] == status;
        let findings = eventually(|| {
            let findings = self.file();
            if findings.iter().any(is_found) { Ok(findings) } else { Err(format!("{findings:?}")) }
        });
        findings.unwrap_or_else(|findings| panic!("nothing of {session} is {status}: {findings}"))
    }

    /// Waits until both sinks have received all findings.
    fn wait_for(&self, expected: &BTreeMap<String, String>) -> Result<(), String> {
        eventually(|| {
            let accepted = self.receiver.accepted.lock().unwrap().clone();
            let mut missing = String::new();
            for (sink, counts) in [("file", self.in_file()), ("webhook", accepted)] {
                for (_, finding) in expected.iter().filter(|(id, _)| !counts.contains_key(*id)) {
                    writeln!(missing, "{sink} has not received {finding}").unwrap();
                }
            }
            if missing.is_empty() { Ok(()) } else { Err(missing) }
        })
    }
}

/// Returns the findings of a run that is not interrupted, as JSON by their ids.
fn expected(lines: &[(usize, String)]) -> BTreeMap<String, String> {
    let setup = Setup::new(0);
    let child = setup.watch(STARTED);
    append(&setup.sessions(), lines);
    // The file has the findings in order: those of a last session are behind all others.
    let last = lines.iter().map(|(session, _)| session + 1).max().unwrap();
    let mut dice = Dice::new(0);
    let sentinel = session_lines(last, &mut dice).into_iter().map(|line| (last, line));
    append(&setup.sessions(), &sentinel.collect::<Vec<_>>());
    let is_last = |finding: &Value| {
        finding["session"] == format!("s{last}") && finding["status"] == "resolved"
    };
    let findings = eventually(|| {
        let findings = setup.file();
        let is_complete = findings.iter().any(is_last);
        if is_complete { Ok(findings) } else { Err(format!("only {} findings", findings.len())) }
    });
    let findings = findings.expect("the last session has findings");
    drop(child);
    let others = findings.iter().filter(|finding| finding["session"] != format!("s{last}"));
    others.map(|finding| (id_of(finding), finding.to_string())).collect()
}

/// Returns whether a finding is about a session, not about a sink that fails.
fn is_of_session(finding: &Value) -> bool {
    finding["session"] != ""
}

fn id_of(finding: &Value) -> String {
    finding["id"].as_str().unwrap().to_owned()
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both succeed unless the process has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Stops the program, and waits for its end.
    fn stop(mut self) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", "TERM", &id]).status().unwrap();
        assert!(sent.success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
    }
}

/// Kills `watch` at random moments. `WATCHKEEPER_KILLS` sets their number, and
/// `WATCHKEEPER_SEED` the moments; a failure prints both.
#[test]
fn kills_lose_no_finding_and_repeat_one_at_most() {
    let number = |name: &str, default| {
        env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let n_kills: usize = number("WATCHKEEPER_KILLS", 100).try_into().unwrap();
    let seed = number("WATCHKEEPER_SEED", u64::from(std::process::id()));
    eprintln!("WATCHKEEPER_KILLS={n_kills} WATCHKEEPER_SEED={seed}");
    let mut dice = Dice::new(seed);

    let mut lines = Vec::new();
    for session in 0..n_kills.div_ceil(2) {
        lines.extend(session_lines(session, &mut dice).into_iter().map(|line| (session, line)));
    }
    let setup = Setup::new(seed);
    let per_round = lines.len().div_ceil(2 * n_kills);
    let mut parts = lines.chunks(per_round);
    // Findings that ended before the first start are not delivered.
    drop(setup.watch(STARTED));
    for _ in 0..n_kills {
        let child = setup.watch("watching ");
        append(&setup.sessions(), parts.next().unwrap_or_default());
        // The pause is the moment of the kill.
        let (_sender, timer) = mpsc::channel::<()>();
        let pause = Duration::from_millis(dice.between(0, 149));
        assert_eq!(timer.recv_timeout(pause), Err(RecvTimeoutError::Timeout));
        drop(child);
        append(&setup.sessions(), parts.next().unwrap_or_default());
    }
    let expected = expected(&lines);
    assert!(n_kills < expected.len(), "{} findings", expected.len());
    let child = setup.watch(STARTED);
    let received = setup.wait_for(&expected);
    drop(child);
    received.unwrap_or_else(|missing| panic!("{missing}"));

    let accepted = setup.receiver.accepted.lock().unwrap().clone();
    for (sink, counts) in [("file", setup.in_file()), ("webhook", accepted)] {
        let mut message = String::new();
        for (id, n) in &counts {
            if !expected.contains_key(id) {
                let _ = writeln!(message, "{sink}: {id} is invented ({n})");
            }
        }
        assert!(message.is_empty(), "{message}");
        let n_repeated: usize = counts.values().map(|n| n - 1).sum();
        assert!(n_repeated <= n_kills, "{sink}: {n_repeated} repeated findings");
    }
}

#[test]
fn a_second_watch_of_the_same_paths_is_refused() {
    let setup = Setup::new(0);
    let child = setup.watch(STARTED);
    let mut command = program();
    command.current_dir(setup.folder.path()).args(["watch", "--policy", "policy.toml", "sessions"]);
    let output = command.output().unwrap();
    let id = child.0.id();
    drop(child);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains(&format!("error: process {id} follows the same paths")), "{err}");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn findings_that_wait_at_a_stop_are_delivered_after_the_next_start() {
    let setup = Setup::new(0);
    let url = setup.folder.path().join("url");
    // Nothing listens at the port of a listener that is gone.
    let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    fs::write(&url, format!("http://{gone}/")).unwrap();
    let child = setup.watch(STARTED);
    let lines = session_lines(0, &mut Dice::new(2)).into_iter().map(|line| (0, line));
    append(&setup.sessions(), &lines.collect::<Vec<_>>());
    let findings = eventually(|| {
        let findings = setup.file();
        let is_resolved = findings.iter().any(|finding| finding["status"] == "resolved");
        if is_resolved { Ok(findings) } else { Err("nothing is resolved".to_owned()) }
    });
    child.stop();

    fs::write(&url, &setup.receiver.url).unwrap();
    let child = setup.watch(STARTED);
    let expected = findings.unwrap().iter().map(|it| (id_of(it), it.to_string())).collect();
    let received = setup.wait_for(&expected);
    // The outage ended while no monitor was running.
    let is_end = |finding: &Value| {
        finding["detector"] == "watchkeeper-delivery"
            && finding["message"] == "over, as `watch` was started again"
    };
    let ended = eventually(|| {
        let findings = setup.all_in_file();
        if findings.iter().any(is_end) { Ok(()) } else { Err(format!("{findings:?}")) }
    });
    drop(child);
    received.unwrap_or_else(|missing| panic!("{missing}"));
    ended.unwrap_or_else(|findings| panic!("the outage is not over: {findings}"));
}

#[test]
fn a_renamed_file_repeats_no_finding() {
    let setup = Setup::new(0);
    let rename = |from: &str, to: &str| {
        fs::rename(setup.sessions().join(from), setup.sessions().join(to)).unwrap();
    };
    let child = setup.watch(STARTED);
    append(&setup.sessions(), &loop_lines(0, 4, false));
    setup.wait_for_status(0, "open");
    rename("s0.ndjson", "while-running.ndjson");
    append(&setup.sessions(), &loop_lines(1, 4, true));
    setup.wait_for_status(1, "resolved");
    child.stop();
    rename("while-running.ndjson", "while-down.ndjson");
    rename("s1.ndjson", "another.ndjson");

    let child = setup.watch(STARTED);
    append(&setup.sessions(), &loop_lines(2, 4, true));
    let findings = setup.wait_for_status(2, "resolved");
    child.stop();
    let of_session = |session: &str| findings.iter().filter(|it| it["session"] == session).count();
    assert_eq!(["s0", "s1", "s2"].map(of_session), [1, 2, 2], "{findings:?}");
}

/// A change, the message of the end that it causes, and the number of findings of a session that
/// goes on.
type Change<'a> = (&'a dyn Fn(&Setup), &'a str, usize);

#[test]
fn a_finding_ends_once_if_its_file_or_its_detector_is_gone() {
    let remove_file = |setup: &Setup| {
        fs::remove_file(setup.sessions().join("s0.ndjson")).unwrap();
    };
    let replace_file = |setup: &Setup| {
        let path = setup.sessions().join("s0.ndjson");
        fs::write(&path, "").unwrap();
        append_to(&path, &loop_lines(1, 1, false));
    };
    let empty_file = |setup: &Setup| {
        fs::write(setup.sessions().join("s0.ndjson"), "").unwrap();
    };
    let cut_file = |setup: &Setup| {
        let path = setup.sessions().join("s0.ndjson");
        let text = fs::read_to_string(&path).unwrap();
        let first: Vec<&str> = text.split_inclusive('\n').take(3).collect();
        fs::write(&path, first.concat()).unwrap();
    };
    let overwrite_file = |setup: &Setup| {
        let path = setup.sessions().join("s0.ndjson");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace('s', "x")).unwrap();
    };
    let rename_detector = |setup: &Setup| {
        let path = setup.folder.path().join("policy.toml");
        let policy = fs::read_to_string(&path).unwrap();
        fs::write(path, policy.replace("[detectors.repeated_call]", "[detectors.other]")).unwrap();
    };
    let is_gone = "over, as the session is no longer in the followed files";
    let changes: [Change<'_>; 6] = [
        (&remove_file, is_gone, 1),
        (&replace_file, is_gone, 1),
        (&empty_file, is_gone, 1),
        (&cut_file, "over, as the session file has changed", 1),
        (&overwrite_file, is_gone, 1),
        (&rename_detector, "over, as the policy has changed", 3),
    ];
    for (change, message, n_of_other) in changes {
        let setup = Setup::new(0);
        let child = setup.watch(STARTED);
        append(&setup.sessions(), &loop_lines(0, 4, false));
        setup.wait_for_status(0, "open");
        append(&setup.sessions(), &loop_lines(2, 4, false));
        setup.wait_for_status(2, "open");
        child.stop();
        change(&setup);
        for session in 3..5 {
            let child = setup.watch(STARTED);
            append(&setup.sessions(), &loop_lines(session, 4, true));
            setup.wait_for_status(session, "resolved");
            child.stop();
        }
        let findings = setup.wait_for_status(0, "resolved");
        let ends: Vec<&Value> = findings
            .iter()
            .filter(|it| it["status"] == "resolved" && it["detector"] == "repeated_call")
            .filter(|it| it["session"] == "s0")
            .collect();
        let [end] = &ends[..] else { panic!("{ends:?}") };
        assert_eq!(end["message"], message);
        let of_other = findings.iter().filter(|it| it["session"] == "s2");
        assert_eq!(of_other.count(), n_of_other, "{findings:?}");
    }
}

#[test]
fn a_file_that_was_replaced_while_watch_was_down_is_new() {
    let rotate = |path: &Path| fs::rename(path, path.with_extension("ndjson.1")).unwrap();
    let first_line = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.split_inclusive('\n').next().unwrap().to_owned()
    };
    let keep_first_line = |path: &Path| fs::write(path, first_line(path)).unwrap();
    let overwrite_behind_first_line = |path: &Path| {
        let len = fs::metadata(path).unwrap().len();
        keep_first_line(path);
        while fs::metadata(path).unwrap().len() < len {
            append_to(path, &[(1, "\"session\":\"s1\",\"event\":\"turn_end\"".to_owned())]);
        }
    };
    let replacements: [&dyn Fn(&Path); 5] = [
        &|path| fs::remove_file(path).unwrap(),
        &|path| fs::write(path, "").unwrap(),
        &rotate,
        &keep_first_line,
        &overwrite_behind_first_line,
    ];
    for (n, replace) in replacements.iter().enumerate() {
        let setup = Setup::new(0);
        let child = setup.watch(STARTED);
        append(&setup.sessions(), &loop_lines(0, 8, true));
        setup.wait_for_status(0, "resolved");
        child.stop();
        let path = setup.sessions().join("s0.ndjson");
        replace(&path);
        // Shorter than the earlier file, and over at the next start.
        append_to(&path, &loop_lines(1, 3, true));
        let child = setup.watch(STARTED);
        let findings = setup.wait_for_status(1, "resolved");
        child.stop();
        assert_eq!(
            findings.iter().filter(|it| it["session"] == "s1").count(),
            2,
            "replacement {n}"
        );
    }
}

#[test]
fn a_session_whose_clock_is_ahead_repeats_no_finding() {
    for ahead in [SignedDuration::from_secs(4), SignedDuration::from_hours(2)] {
        let setup = Setup::new(0);
        let child = setup.watch(STARTED);
        let at = SystemClock.now() + ahead;
        let lines = loop_lines(0, 8, false);
        let lines = lines.iter().map(|(_, line)| format!("{{\"at\":\"{at}\",{line}}}\n"));
        fs::write(setup.sessions().join("s0.ndjson"), lines.collect::<String>()).unwrap();
        setup.wait_for_status(0, "open");
        child.stop();
        let child = setup.watch(STARTED);
        append(&setup.sessions(), &loop_lines(1, 3, true));
        setup.wait_for_status(1, "resolved");
        child.stop();
        let counts = setup.in_file();
        assert!(counts.values().all(|n| *n == 1), "{ahead}: {counts:?}");
    }
}

/// Replaces a file as editors do.
fn replace(path: &Path, text: &str) {
    let next = path.with_extension("next");
    fs::write(&next, text).unwrap();
    fs::rename(next, path).unwrap();
}

#[test]
fn a_finding_that_a_policy_ends_is_sent_again_when_the_policy_returns() {
    let setup = Setup::new(0);
    let policy_file = setup.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&policy_file).unwrap();
    let without = policy.replace("[detectors.repeated_call]", "[detectors.other]");
    let less_severe = policy.replace(", { at = 5, severity = \"high\" }", "");
    append(&setup.sessions(), &[(9, "\"session\":\"s9\",\"event\":\"turn_end\"".to_owned())]);
    let child = setup.watch(STARTED);
    append(&setup.sessions(), &loop_lines(0, 6, false));
    let is_high = |finding: &Value| finding["severity"] == "high";
    let found = eventually(|| {
        let findings = setup.file();
        if findings.iter().any(is_high) { Ok(()) } else { Err(format!("{findings:?}")) }
    });
    found.unwrap_or_else(|findings| panic!("{findings}"));
    // Killed, it could repeat the finding that was accepted last.
    child.stop();
    // Waits until another session has an end, and returns the findings of the first one.
    let mut n_sessions = 1;
    let mut after = |text: &str| {
        replace(&policy_file, text);
        // The second process repeats nothing.
        for _ in 0..2 {
            let child = setup.watch(STARTED);
            let session = n_sessions;
            n_sessions += 1;
            append(&setup.sessions(), &loop_lines(session, 4, true));
            setup.wait_for_status(session, "resolved");
            drop(child);
        }
        let mut findings = setup.file();
        findings.retain(|it| it["session"] == "s0" && it["detector"] == "repeated_call");
        findings
    };
    let mut n_reports = vec![setup.file().len()];
    for text in [&without, &policy, &without, &less_severe, &without, &policy] {
        n_reports.push(after(text).len());
    }
    assert_eq!(n_reports, [2, 3, 4, 5, 6, 7, 8]);
    let mut end = loop_lines(0, 0, true);
    append(&setup.sessions(), &end.split_off(1));
    let findings = after(&policy);
    let statuses: Vec<_> = findings.iter().map(|it| it["status"].as_str().unwrap()).collect();
    let (open, over) = ("open", "resolved");
    assert_eq!(statuses, [open, open, over, open, over, open, over, open, over]);
    let ids: BTreeSet<String> = findings.iter().map(id_of).collect();
    assert_eq!(ids.len(), findings.len(), "{findings:?}");
    let withdrawn = findings.iter().filter(|it| it["withdrawn"] == true);
    assert_eq!(withdrawn.count(), 3);
}

#[test]
fn a_finding_ends_while_watch_runs_if_its_file_is_removed_and_not_if_it_is_replaced() {
    let setup = Setup::new(0);
    let path = setup.sessions().join("s0.ndjson");
    let child = setup.watch(STARTED);
    append(&setup.sessions(), &loop_lines(0, 4, false));
    append(&setup.sessions(), &loop_lines(1, 4, false));
    setup.wait_for_status(0, "open");
    setup.wait_for_status(1, "open");
    let text = fs::read_to_string(&path).unwrap();
    let other = setup.sessions().join("s1.ndjson");
    replace(&other, &fs::read_to_string(&other).unwrap());
    fs::remove_file(&path).unwrap();
    setup.wait_for_status(0, "resolved");
    // The next process has nothing to end.
    child.stop();
    let child = setup.watch(STARTED);
    fs::write(&path, text).unwrap();
    let findings = eventually(|| {
        let mut findings = setup.file();
        findings.retain(|it| it["session"] == "s0");
        if 3 <= findings.len() { Ok(findings) } else { Err(format!("{findings:?}")) }
    });
    child.stop();
    let findings = findings.unwrap_or_else(|findings| panic!("{findings}"));
    let statuses: Vec<_> = findings.iter().map(|it| it["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["open", "resolved", "open"]);
    let ids: BTreeSet<String> = findings.iter().map(id_of).collect();
    assert_eq!(ids.len(), 3, "{findings:?}");
    let of_other = setup.file();
    let ends = of_other.iter().filter(|it| it["session"] == "s1" && it["status"] == "resolved");
    assert_eq!(ends.count(), 0, "{of_other:?}");
}
