//! The times of lines by their arrival, and pauses.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::SystemTime,
};

use tempfile::TempDir;
use watchkeeper_core::{
    Event, EventKind, SignedDuration, Timestamp,
    author::untimed,
    clock::{Clock as _, SystemClock},
    embed::SourceEntry,
};
use watchkeeper_sources::{ClaudeCode, FollowOptions, Follower, Ndjson, Update};

static NDJSON: SourceEntry = SourceEntry::of::<Ndjson>("here");
static CLAUDE_CODE: SourceEntry = SourceEntry::of::<ClaudeCode>("here");

/// The age of an event that is not corrected, at most, with the default options.
const OLDEST: i64 = 30;

/// A folder, its follower, and the time.
struct Stage {
    folder: TempDir,
    follower: Follower,
    now: Timestamp,
}

impl Stage {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let options = FollowOptions { poll_only: true, ..FollowOptions::default() };
        let paths = vec![folder.path().to_owned()];
        let follower = Follower::new(paths, [&NDJSON, &CLAUDE_CODE], options);
        Self { folder, follower, now: SystemClock.now() }
    }

    /// Adds text to a file, which has the present time of the stage then.
    fn append(&self, name: &str, text: &str) {
        append(&self.folder.path().join(name), text, self.now);
    }

    /// Adds an event for each age in seconds to a file.
    fn append_aged(&self, name: &str, ages: &[i64]) {
        for age in ages {
            let at = self.now - SignedDuration::from_secs(*age);
            let line = format!("{{\"at\":\"{at}\",\"session\":\"s\",\"event\":\"turn_end\"}}\n");
            self.append(name, &line);
        }
    }

    /// Lets a second pass and scans.
    fn scan(&mut self) -> Vec<Event> {
        self.now += SignedDuration::from_secs(1);
        let mut events = Vec::new();
        self.follower.scan(self.now, &mut |update| {
            if let Update::Event(event) = update {
                events.push(event);
            }
        });
        events
    }

    /// Scans a second later. Returns the ages of the events before this second.
    fn scan_ages(&mut self) -> Vec<i64> {
        let now = self.now;
        self.scan().iter().map(|event| now.duration_since(event.at).as_secs()).collect()
    }
}

fn append(path: &Path, text: &str, modified: Timestamp) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_modified(SystemTime::from(modified)).unwrap();
}

#[test]
fn moves_added_lines_that_are_too_old() {
    const DAY: i64 = 24 * 60 * 60;
    for (ages, expected) in [
        (vec![0], vec![0]),
        (vec![-3_600], vec![-3_600]),
        (vec![OLDEST], vec![OLDEST]),
        (vec![OLDEST + 1], vec![OLDEST]),
        (vec![5 * 60], vec![OLDEST]),
        (vec![10 * DAY], vec![OLDEST]),
        // The periods between the lines stay.
        (vec![5 * 60, 4 * 60, 3 * 60], vec![OLDEST + 120, OLDEST + 60, OLDEST]),
        (vec![DAY, DAY + 1], vec![OLDEST, OLDEST + 1]),
        // The lines were written over five minutes, and arrive together.
        (vec![5 * 60, 4 * 60, 2], vec![5 * 60, 4 * 60, 2]),
    ] {
        let mut stage = Stage::new();
        stage.append_aged("a.ndjson", &[0]);
        stage.scan();
        stage.append_aged("a.ndjson", &ages);
        assert_eq!(stage.scan_ages(), expected, "{ages:?}");
    }
}

#[test]
fn moves_the_lines_of_a_session_that_began_after_the_end_of_an_earlier_process() {
    for (ages, is_new, expected) in [
        (vec![7_200, 7_195], true, vec![0, -5]),
        (vec![90, 89], true, vec![0, -1]),
        (vec![90, 89], false, vec![90, 89]),
        // An accurate clock.
        (vec![9, 3], true, vec![9, 3]),
        // A copy of an old session.
        (vec![7_200, 3_600], true, vec![7_200, 3_600]),
    ] {
        let mut stage = Stage::new();
        let path = stage.folder.path().join("new.ndjson");
        File::create(&path).unwrap();
        let Ok(created) = fs::metadata(&path).unwrap().created() else { return };
        // A test can set the time of the change alone.
        stage.now = Timestamp::try_from(created).unwrap();
        stage.append_aged("new.ndjson", &ages);
        let since = SignedDuration::from_secs(if is_new { -1 } else { 1 });
        let new_since = Some(stage.now + since);
        let options = FollowOptions { poll_only: true, new_since, ..FollowOptions::default() };
        let paths = vec![stage.folder.path().to_owned()];
        stage.follower = Follower::new(paths, [&NDJSON, &CLAUDE_CODE], options);
        assert_eq!(stage.scan_ages(), expected, "{ages:?}");
    }
}

#[test]
fn moves_the_lines_of_a_new_session_but_not_of_a_copy() {
    for (ages, expected) in [
        (vec![5 * 60, 5 * 60 - 2], vec![OLDEST + 2, OLDEST]),
        (vec![7_200], vec![OLDEST]),
        (vec![7_200, 3_600], vec![7_200, 3_600]),
        (vec![3, 1], vec![3, 1]),
    ] {
        let mut stage = Stage::new();
        stage.scan();
        stage.append_aged("new.ndjson", &ages);
        assert_eq!(stage.scan_ages(), expected, "{ages:?}");
        // An empty file exists before the session begins.
        let mut stage = Stage::new();
        stage.append("new.ndjson", "");
        stage.scan();
        stage.append_aged("new.ndjson", &[300]);
        assert_eq!(stage.scan_ages(), [OLDEST]);
    }
}

#[test]
fn keeps_the_times_of_files_that_exist_at_the_start() {
    let ages = [3_000, 2_000, 1_000];
    let mut stage = Stage::new();
    stage.append_aged("a.ndjson", &ages);
    assert_eq!(stage.scan_ages(), ages);
    // A file that was moved into the folder was written earlier.
    let elsewhere = TempDir::new().unwrap();
    let path = elsewhere.path().join("b.ndjson");
    let at = stage.now - SignedDuration::from_mins(20);
    let line = format!("{{\"at\":\"{at}\",\"session\":\"b\",\"event\":\"turn_end\"}}\n");
    append(&path, &line, at);
    fs::rename(path, stage.folder.path().join("b.ndjson")).unwrap();
    assert_eq!(stage.scan_ages(), [20 * 60]);
}

#[test]
fn keeps_the_times_of_lines_after_the_clock_was_set_back() {
    let mut stage = Stage::new();
    stage.append_aged("a.ndjson", &[0]);
    stage.scan();
    stage.now -= SignedDuration::from_hours(3);
    stage.append_aged("a.ndjson", &[2]);
    assert_eq!(stage.scan_ages(), [2]);
}

#[test]
fn leaves_sessions_without_times_alone() {
    let mut stage = Stage::new();
    let line = format!("{{\"at\":\"{}\",\"session\":\"s\",\"event\":\"turn_end\"}}\n", untimed(7));
    stage.append("a.ndjson", &line);
    stage.scan();
    stage.append("a.ndjson", &line.replace("turn_end", "compaction"));
    let events = stage.scan();
    assert_eq!(events.iter().map(|event| event.at).collect::<Vec<_>>(), [untimed(7)]);
}

#[test]
fn ends_a_turn_without_an_end_mark_after_a_pause() {
    let line = |kind: &str, at: Timestamp, content: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"uuid\":\"{kind}{at}\",\"sessionId\":\"s\",\"timestamp\":\"{at}\",\
             \"message\":{{\"role\":\"{kind}\",\"id\":\"m{at}\",\"content\":[{content}]}}}}\n"
        )
    };
    let text = "{\"type\":\"text\",\"text\":\"Done.\"}";
    let call = "{\"type\":\"tool_use\",\"id\":\"c\",\"name\":\"Bash\",\"input\":{}}";
    let n_ends =
        |events: &[Event]| events.iter().filter(|event| event.kind == EventKind::TurnEnd).count();
    for (content, n_expected) in [(text, 1), (call, 0)] {
        let mut stage = Stage::new();
        let response_at = stage.now;
        let lines = line("user", response_at - SignedDuration::from_secs(5), text)
            + &line("assistant", response_at, content);
        stage.append("s.jsonl", &lines);
        assert_eq!(n_ends(&stage.scan()), 0);
        let mut events = Vec::new();
        let mut step = |stage: &mut Stage, secs: i64| {
            stage.now = response_at + SignedDuration::from_secs(secs);
            stage.follower.step(stage.now, std::time::Duration::ZERO, &mut |update| {
                if let Update::Event(event) = update {
                    events.push(event);
                }
            });
            n_ends(&events)
        };
        assert_eq!(step(&mut stage, 29), 0);
        assert_eq!(step(&mut stage, 31), n_expected);
        assert_eq!(step(&mut stage, 33), n_expected);
        // The agent continues, and pauses again.
        stage.append("s.jsonl", &line("assistant", stage.now, text));
        assert_eq!(step(&mut stage, 40), n_expected);
        assert_eq!(step(&mut stage, 69), n_expected);
        assert_eq!(step(&mut stage, 71), n_expected + 1);
    }

    // The agent stopped a while before the start.
    let mut stage = Stage::new();
    let at = stage.now - SignedDuration::from_mins(40);
    let lines = line("user", at, text) + &line("assistant", at, text);
    append(&stage.folder.path().join("s.jsonl"), &lines, at);
    assert_eq!(n_ends(&stage.scan()), 1);
}
