use std::{fmt::Write as _, fs, path::PathBuf, sync::Arc};

use insta::assert_snapshot;
use tempfile::TempDir;
use watchkeeper_core::{Event, EventKind, SignedDuration, Timestamp, author::Origin};

use super::{
    LOOK_INTERVAL, MAX_SEARCHES, MAX_SESSIONS, ProcessOptions, ProcessTracker, SEARCH_INTERVAL,
    fake::{DOMAIN, FakeProc},
};

/// A configuration folder, the processes of a machine, and a tracker.
struct Stage {
    proc: FakeProc,
    config: TempDir,
    tracker: ProcessTracker,
    start: Timestamp,
    now: Timestamp,
}

impl Stage {
    fn new() -> Self {
        let proc = FakeProc::new();
        let config = TempDir::new().unwrap();
        let options = ProcessOptions { root: proc.path(""), ..ProcessOptions::default() };
        let tracker = ProcessTracker::new(options).unwrap();
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        Self { proc, config, tracker, start, now: start }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.config.path().join("projects/p").join(name)
    }

    /// Observes an event of Claude Code `secs` after the start.
    fn claude(&mut self, secs: i64, session: &str, agent: Option<&str>, kind: EventKind) {
        let file = self.file(&format!("{session}.jsonl"));
        self.observe(("claude-code", file), secs, session, agent, kind);
    }

    /// Observes a prompt in Codex, which writes a real file.
    fn codex(&mut self, session: &str) -> PathBuf {
        let file = self.file(&format!("rollout-{session}.jsonl"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        self.observe(("codex", file.clone()), 0, session, None, prompt());
        fs::canonicalize(file).unwrap()
    }

    fn observe(
        &mut self,
        (source, file): (&'static str, PathBuf),
        secs: i64,
        session: &str,
        agent: Option<&str>,
        kind: EventKind,
    ) {
        let mut event = Event::new(self.start + SignedDuration::from_secs(secs), session, kind);
        event.agent = agent.map(Into::into);
        event.origin = Some(Origin { source, file: Arc::from(file.to_str().unwrap()), line: 3 });
        self.tracker.observe(&event);
    }

    /// Writes the state file of process 7, with a status since `secs` after the start.
    fn state(&self, session: &str, status: &str, secs: i64) {
        self.state_of(7, session, DOMAIN, status, secs);
    }

    fn state_of(&self, pid: u32, session: &str, domain: &str, status: &str, secs: i64) {
        let since = (self.start + SignedDuration::from_secs(secs)).as_millisecond();
        let state = format!(
            r#"{{"pid":{pid},"procStart":"42","sessionId":"{session}","pidDomain":"{domain}",
            "status":"{status}","waitingFor":"permission prompt","statusUpdatedAt":{since}}}"#
        );
        let path = self.state_file(pid);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, state).unwrap();
    }

    fn state_file(&self, pid: u32) -> PathBuf {
        self.config.path().join(format!("sessions/{pid}.json"))
    }

    /// Looks `secs` after the start, and ends the sessions whose process is gone. Renders
    /// the events.
    fn look(&mut self, secs: i64) -> String {
        self.now = self.start + SignedDuration::from_secs(secs);
        let mut events = Vec::new();
        if self.tracker.look(self.now, &mut |event| events.push(event)) {
            self.tracker.end_sessions(self.now, &mut |event| events.push(event));
        }
        let mut text = String::new();
        for event in events {
            let Event { at, session, agent, origin, kind } = event;
            let agent = agent.map(|agent| format!(" {agent}")).unwrap_or_default();
            let secs = at.duration_since(self.start).as_secs();
            let detail = match kind {
                EventKind::Waiting(reason) | EventKind::Resumed(reason) => format!("{reason:?}"),
                EventKind::SessionEnd { ref reason } => format!("{reason:?}"),
                ref other => panic!("{other:?}"),
            };
            let file = origin.unwrap().file;
            let file = file.rsplit('/').next().unwrap();
            let name = kind.name();
            writeln!(text, "{secs}s {session}{agent} {name} {detail} by {file}").unwrap();
        }
        text
    }
}

fn prompt() -> EventKind {
    EventKind::Prompt { text: "go".into(), synthetic: false }
}

fn message() -> EventKind {
    EventKind::Message { text: "well".into(), delta: false }
}

#[test]
fn a_session_ends_once_if_its_process_is_gone_amid_a_turn() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert_eq!(stage.look(2), "");
    stage.proc.end(7);
    assert_snapshot!(stage.look(4), @r#"4s s session_end Some("process_gone") by 7.json"#);
    assert_eq!(stage.look(6), "");
    // Its last line may be read late.
    stage.claude(3, "s", None, message());
    assert_eq!(stage.look(8), "");
    // The session continues in another process, which ends too.
    stage.proc.start(8, 42);
    stage.state_of(8, "s", DOMAIN, "busy", 9);
    stage.claude(10, "s", None, prompt());
    assert_eq!(stage.look(12), "");
    stage.proc.end_unreaped(8, 42);
    assert_snapshot!(stage.look(14), @r#"14s s session_end Some("process_gone") by 8.json"#);
}

#[test]
fn a_process_that_was_gone_before_the_first_look_is_seen_if_it_cannot_be_hidden() {
    for (domain, is_seen) in [
        (DOMAIN, true),
        ("linux:ffffff:pid:[1]", false),
        ("linux:0a1b2c:pid:[2]", false),
        ("darwin", false),
    ] {
        let mut stage = Stage::new();
        stage.state_of(7, "s", domain, "busy", 0);
        stage.claude(1, "s", None, prompt());
        assert_eq!(!stage.look(2).is_empty(), is_seen, "{domain}");
    }
}

#[test]
fn the_number_of_a_process_may_be_given_to_another_one() {
    let mut stage = Stage::new();
    stage.proc.start(7, 43);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert_snapshot!(stage.look(2), @r#"2s s session_end Some("process_gone") by 7.json"#);
}

#[test]
fn an_end_between_two_turns_is_not_reported() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert_eq!(stage.look(2), "");
    stage.claude(3, "s", None, EventKind::TurnEnd);
    stage.proc.end(7);
    assert_eq!(stage.look(4), "");
    assert_eq!(stage.tracker.sessions.len(), 0);
}

#[test]
fn an_orderly_end_has_no_reason() {
    // The client removes its state file.
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, message());
    assert_eq!(stage.look(2), "");
    fs::remove_file(stage.state_file(7)).unwrap();
    assert_eq!(stage.look(4), "", "the process is alive");
    stage.proc.end(7);
    assert_snapshot!(stage.look(6), @"6s s session_end None by s.jsonl");
    // The turn has no end in the file, but the client was idle.
    stage.claude(1, "t", None, message());
    stage.state_of(8, "t", DOMAIN, "idle", 2);
    assert_snapshot!(stage.look(8), @"8s t session_end None by 8.json");
}

#[test]
fn a_client_that_began_another_session_does_not_end_the_first_one() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert_eq!(stage.look(2), "");
    stage.state("t", "busy", 3);
    assert_eq!(stage.look(4), "");
    stage.proc.end(7);
    assert_eq!(stage.look(6), "");
}

#[test]
fn an_event_that_arrives_after_the_look_keeps_the_session() {
    let mut stage = Stage::new();
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert!(stage.tracker.look(stage.now, &mut |_| ()));
    stage.claude(2, "s", None, EventKind::TurnEnd);
    stage.tracker.end_sessions(stage.now, &mut |event| panic!("{event:?}"));
}

#[test]
fn the_status_of_the_client_begins_and_ends_a_wait() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    assert_eq!(stage.look(2), "");
    stage.state("s", "waiting", 3);
    assert_snapshot!(stage.look(4), @"3s s waiting Permission by 7.json");
    assert_eq!(stage.look(6), "");
    // A line from before the wait arrives late.
    stage.claude(3, "s", None, message());
    assert_snapshot!(stage.look(8), @"3s s waiting Permission by 7.json");
    stage.state("s", "blocked", 9);
    assert_eq!(stage.look(10), "", "the reason is the same");
    stage.state("s", "idle", 11);
    assert_snapshot!(stage.look(16), @"11s s waiting Person by 7.json");
    stage.state("s", "shell", 17);
    assert_eq!(stage.look(18), "", "an unknown status changes nothing");
    stage.state("s", "busy", 19);
    assert_snapshot!(stage.look(20), @"19s s resumed Person by 7.json");
    // A later line proves that the agent works.
    stage.state("s", "waiting", 21);
    stage.claude(22, "s", None, message());
    assert_eq!(stage.look(23), "");
}

#[test]
fn waits_in_the_session_file_are_not_repeated() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.claude(1, "s", None, prompt());
    let wait = EventKind::Waiting(watchkeeper_core::author::WaitingFor::Permission);
    stage.claude(2, "s", None, wait);
    stage.state("s", "waiting", 2);
    assert_eq!(stage.look(4), "");
    stage.state("s", "busy", 5);
    assert_eq!(stage.look(6), "");
}

#[test]
fn an_idle_client_waits_for_a_person_once_the_end_of_the_turn_can_be_written() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.state("s", "idle", 1);
    stage.claude(1, "s", None, message());
    stage.claude(1, "s", Some("a"), message());
    assert_eq!(stage.look(3), "");
    assert_snapshot!(stage.look(6), @"1s s waiting Person by 7.json");
    stage.state("s", "busy", 60);
    stage.claude(60, "s", None, prompt());
    assert_eq!(stage.look(62), "");
}

#[test]
fn a_wait_of_the_client_is_one_of_every_agent_without_a_later_event() {
    let mut stage = Stage::new();
    stage.proc.start(7, 42);
    stage.claude(1, "s", None, prompt());
    stage.claude(2, "s", Some("a"), message());
    stage.claude(9, "s", Some("b"), message());
    stage.state("s", "waiting", 5);
    assert_snapshot!(stage.look(10), @"
    5s s waiting Permission by 7.json
    5s s a waiting Permission by 7.json
    ");
    stage.proc.end(7);
    assert_snapshot!(stage.look(12), @r#"12s s session_end Some("process_gone") by 7.json"#);
}

#[test]
fn nothing_is_read_without_an_open_turn_or_between_two_looks() {
    let mut stage = Stage::new();
    stage.state("s", "busy", 0);
    stage.claude(1, "s", None, prompt());
    stage.claude(2, "s", None, EventKind::TurnEnd);
    assert_eq!(stage.look(2), "");
    assert_eq!(stage.tracker.looked_at, None);
    stage.claude(3, "s", None, prompt());
    stage.tracker.looked_at = Some(stage.now);
    assert_eq!(stage.look(2 + LOOK_INTERVAL.as_secs() - 1), "");
    assert!(!stage.look(2 + LOOK_INTERVAL.as_secs()).is_empty());
}

#[test]
fn a_codex_session_ends_with_the_process_that_wrote_its_file() {
    let mut stage = Stage::new();
    let file = stage.codex("s");
    stage.proc.start(6, 41);
    stage.proc.open_file(6, &file, "0100000");
    stage.proc.start(7, 42);
    stage.proc.open_file(7, &file, "02102001");
    assert_eq!(stage.look(0), "");
    // Another process continues the session.
    stage.proc.end(7);
    stage.proc.start(8, 43);
    stage.proc.open_file(8, &file, "02102001");
    assert_eq!(stage.look(2), "");
    stage.proc.end(8);
    assert_snapshot!(stage.look(4), @r#"4s s session_end Some("process_gone") by rollout-s.jsonl"#);
}

#[test]
fn a_file_that_no_process_has_open_is_no_evidence() {
    let mut stage = Stage::new();
    stage.codex("s");
    let searches = (0..20).filter(|n| {
        let before = stage.tracker.searched_at;
        assert_eq!(stage.look(n * LOOK_INTERVAL.as_secs()), "");
        let is_search = stage.tracker.searched_at != before;
        assert!(!is_search || n * LOOK_INTERVAL.as_secs() % SEARCH_INTERVAL.as_secs() == 0);
        is_search
    });
    assert_eq!(searches.count(), usize::from(MAX_SEARCHES));
}

#[test]
fn the_number_of_sessions_is_bounded() {
    let mut stage = Stage::new();
    for n in 0..=MAX_SESSIONS {
        stage.claude(i64::try_from(n).unwrap(), &format!("{n}"), None, prompt());
    }
    assert_eq!(stage.tracker.sessions.len(), MAX_SESSIONS / 2 + 1);
    assert!(!stage.tracker.sessions.contains_key("0"));
    assert!(stage.tracker.sessions.contains_key(&*format!("{MAX_SESSIONS}")));
}

#[test]
fn a_system_without_visible_processes_has_no_tracker() {
    let root = TempDir::new().unwrap().path().to_owned();
    assert!(ProcessTracker::new(ProcessOptions { root, ..ProcessOptions::default() }).is_none());
}
