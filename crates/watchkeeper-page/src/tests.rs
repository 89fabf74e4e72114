use proptest::prelude::*;
use watchkeeper_core::{
    Engine, Event, EventKind, Finding, SessionId, Severity, SignedDuration, Timestamp,
    author::{SessionStart, StateKind},
    embed::EngineConfig,
};
use watchkeeper_testing::Trace;

use crate::{
    BarKind, BarOutcome, Board, BoardLimits, BudgetDetectors, FindingRow, Recorder, Report,
    ReportedSession, SessionDetail, TimeSplit,
};

fn events(trace: &str) -> Vec<Event> {
    trace.parse::<Trace>().unwrap().events().cloned().collect()
}

/// Returns the detail of the session of a trace.
fn detail_of(events: &[Event], max_bars: usize) -> SessionDetail {
    let mut engine = Engine::new(Vec::new(), EngineConfig::default());
    let mut recorder = Recorder::new();
    let id = &events[0].session;
    for event in events {
        engine.observe(event, &mut Vec::new());
        let agent = engine.agent(id, event.agent.as_ref());
        recorder.observe(event, engine.session(id).unwrap(), agent);
    }
    recorder.detail(recorder.row(engine.session(id).unwrap()), max_bars)
}

fn detail(trace: &str) -> SessionDetail {
    detail_of(&events(trace), usize::MAX)
}

/// Returns the bars of a lane, one in a line: start, duration, kind, outcome, text.
fn bars(detail: &SessionDetail, lane: usize) -> Vec<String> {
    let bars = &detail.lanes[lane].bars;
    let line = |idx: usize| {
        let text = &detail.texts[bars.text[idx] as usize];
        format!(
            "{}+{} {:?} {:?} {text}",
            bars.start_ms[idx] / 1000,
            bars.duration_ms[idx] / 1000,
            bars.kind[idx],
            bars.outcome[idx]
        )
        .trim()
        .to_owned()
    };
    (0..bars.len()).map(line).collect()
}

const LOOP: &str = "0s prompt fix the build
5s call Bash {\"command\": \"make\"}
7s result fail no rule to make target
10s usage model=gpt-5 input=1000 output=100
11s call Bash {\"command\": \"make\"}
13s result fail no rule to make target
20s usage model=gpt-5 input=1000 output=100
21s turn_end
31s prompt try again";

#[test]
fn a_row_has_the_beginning_of_each_label() {
    let mut events = events("0s prompt fix the build");
    let labels = [("short", "a".to_owned()), ("long", "é".repeat(2000))];
    let labels = labels.map(|(name, value)| (name.into(), value.into())).into();
    let kind = EventKind::SessionStart(SessionStart { labels, ..SessionStart::default() });
    events.insert(0, Event { kind, ..events[0].clone() });
    let labels = detail_of(&events, usize::MAX).row.labels;
    assert_eq!((&*labels["short"], &*labels["long"]), ("a", &*"é".repeat(128)));
}

#[test]
fn calls_and_model_calls_are_bars_with_their_outcome() {
    let detail = detail(LOOP);
    assert_eq!(
        bars(&detail, 0),
        [
            "0+0 Prompt Ok `fix the build`",
            "0+5 Model Ok",
            "5+2 Run Failed `Bash` `make`",
            "7+4 Model Ok",
            "11+2 Run Failed `Bash` `make`",
            "13+8 Model Ok",
            "31+0 Prompt Ok `try again`",
            "31+0 Model Open",
        ]
    );
    assert_eq!(detail.lanes[0].bars.tokens, [0, 0, 0, 1100, 0, 1100, 0, 0]);
    assert_eq!(detail.lanes[0].bars.repeats, [0, 0, 0, 0, 1, 0, 0, 0]);
}

#[test]
fn each_moment_counts_once() {
    let time = detail(LOOP).row.time;
    let expected =
        TimeSplit { model_ms: 17_000, tools_ms: 4_000, idle_ms: 10_000, ..TimeSplit::default() };
    assert_eq!(time, expected);
}

#[test]
fn the_cost_of_a_response_belongs_to_the_results_that_it_reads() {
    let detail = detail(LOOP);
    let tools: Vec<_> =
        detail.costs.tools.iter().map(|it| (it.name.as_deref(), it.tokens)).collect();
    assert_eq!(tools, [(Some("Bash"), 2200)]);
    // The second result repeats the first, and the second response reads it.
    assert_eq!((detail.row.repeated_results, detail.costs.repeats_tokens), (1, 1100));
    assert!((detail.row.cost_usd.unwrap() / 2.0 - detail.row.repeats_usd).abs() < 1e-9);
}

#[test]
fn a_model_call_for_all_responses_belongs_to_all_results() {
    let detail = detail(
        "0s prompt fix the build
5s call Bash {\"command\": \"make\"}
7s result fail no rule to make target
10s call Read {\"file_path\": \"a\"}
11s result ok text
12s call Bash {\"command\": \"make\"}
13s result fail no rule to make target
14s message done
20s usage model=gpt-5 input=2900 output=100",
    );
    let tools: Vec<_> =
        detail.costs.tools.iter().map(|it| (it.name.as_deref(), it.tokens)).collect();
    assert_eq!(tools, [(Some("Bash"), 2000), (Some("Read"), 1000)]);
    assert_eq!(detail.costs.repeats_tokens, 1000);
}

#[test]
fn a_change_a_prompt_and_a_poll_make_no_repeat() {
    let call = "+1s call Bash {\"command\": \"make\"}\n+1s result fail no rule to make target\n";
    for between in [
        "+1s call Write {\"file_path\": \"a\", \"content\": \"b\"}\n+1s result ok done\n",
        "+1s prompt try again\n",
    ] {
        let detail = detail(&format!("0s prompt fix\n{call}{between}{call}"));
        assert_eq!(detail.row.repeated_results, 0, "{between}");
    }
    let poll = "+1s call Bash {\"command\": \"kubectl get pods\"}\n+1s result ok pending\n";
    assert_eq!(detail(&format!("0s prompt fix\n{poll}{poll}")).row.repeated_results, 0);
}

#[test]
fn waits_for_a_person_are_bars_and_the_state() {
    let detail = detail(
        "0s prompt fix
2s call Bash {\"command\": \"make\"}
3s wait permission",
    );
    assert_eq!(detail.row.state.kind, StateKind::WaitingForPermission);
    assert_eq!(detail.lanes[0].bars.kind.last(), Some(&BarKind::Permission));
    assert_eq!(detail.lanes[0].bars.outcome[2], BarOutcome::Open);
}

#[test]
fn sub_agents_have_lanes_of_their_own() {
    let detail = detail(
        "0s prompt fix
1s call Task {\"prompt\": \"look\"}
2s agent helper: call Read {\"file_path\": \"a.md\"}
3s agent helper: result ok text
4s agent helper: agent_end
5s result ok done",
    );
    assert_eq!(detail.row.sub_agents, 1);
    assert_eq!(detail.lanes[1].agent.as_deref(), Some("helper"));
    assert!(bars(&detail, 1).contains(&"2+1 Read Ok `Read` `a.md`".to_owned()));
}

#[test]
fn a_long_session_has_a_coarser_level_of_detail() {
    let call = "+1s call Bash {\"command\": \"make\"}\n+1s result fail no rule\n";
    let events = events(&format!("0s prompt fix\n{}", call.repeat(20_000)));
    let detail = detail_of(&events, 500);
    let bars = &detail.lanes[0].bars;
    assert!(bars.len() <= 500, "{}", bars.len());
    assert!(0 < detail.resolution_ms);
    let failed: u32 = bars.failed.iter().sum();
    let repeats: u32 = bars.repeats.iter().sum();
    assert_eq!((failed, repeats), (20_000, 19_999));
    assert_eq!(detail.row.events, 40_001);
}

#[test]
fn a_session_without_times_has_one_millisecond_for_each_event() {
    let mut events = events(LOOP);
    for (secs, event) in (0..).zip(&mut events) {
        event.at = watchkeeper_core::author::untimed(secs);
    }
    let detail = detail_of(&events, usize::MAX);
    assert_eq!((detail.starts_at, detail.length_ms), (None, events.len() as u64 - 1));
    assert_eq!((detail.row.started_at, detail.row.time), (None, TimeSplit::default()));
}

fn board(limits: BoardLimits) -> Board {
    Board::new(BudgetDetectors::default(), EngineConfig::default(), limits)
}

fn prompt_in(session: &str, secs: i64) -> Event {
    let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs);
    Event { session: session.into(), at, ..events("0s prompt fix").remove(0) }
}

#[test]
fn a_reader_receives_only_what_has_changed() {
    let board = board(BoardLimits::default());
    board.observe(&prompt_in("a", 1));
    board.observe(&prompt_in("b", 2));
    let all = board.changes_since(0);
    assert!(all.is_complete);
    assert_eq!(all.sessions.len(), 2);
    assert!(board.changes_since(all.version).sessions.is_empty());
    board.observe(&prompt_in("a", 3));
    let later = board.changes_since(all.version);
    assert!(!later.is_complete);
    assert_eq!(later.sessions.iter().map(|it| &*it.session).collect::<Vec<_>>(), ["a"]);
    assert!(board.changes_since(later.version + 1).is_complete, "a version of another board");
}

#[test]
fn a_finding_is_one_row_until_its_end() {
    let board = board(BoardLimits::default());
    board.observe(&prompt_in("a", 1));
    let at = Timestamp::UNIX_EPOCH;
    let mut finding = Finding::new(at, "repeated_call", "a", Severity::Medium, "again");
    finding.class = "runaway".into();
    board.report(&finding);
    let version = board.version();
    assert!(board.rows()[0].is_looping);
    finding.severity = Severity::High;
    board.report(&finding);
    finding.status = watchkeeper_core::Status::Resolved;
    finding.severity = Severity::Low;
    finding.message = "another call was made".to_owned();
    board.report(&finding);
    let changes = board.changes_since(version);
    let [row] = &changes.findings[..] else { panic!("{:?}", changes.findings) };
    assert_eq!(row.finding.severity, Severity::High);
    assert_eq!(row.resolution.as_deref(), Some("another call was made"));
    let row = &board.rows()[0];
    assert_eq!((row.is_looping, row.findings.high, row.findings.open), (false, 1, 0));
    assert_eq!(board.detail("a").unwrap().findings.len(), 1);
    // The next episode is another row.
    finding.status = watchkeeper_core::Status::Open;
    board.report(&finding);
    assert_eq!(board.findings().len(), 2);
}

#[test]
fn a_board_drops_ended_sessions_first_and_counts_them() {
    let board = board(BoardLimits { sessions: 2, findings: 2, ..BoardLimits::default() });
    board.observe(&prompt_in("a", 1));
    board.observe(&prompt_in("b", 2));
    let mut end = events("0s session_end").remove(0);
    end.session = SessionId::from("b");
    board.observe(&end);
    let version = board.version();
    board.observe(&prompt_in("c", 3));
    let changes = board.changes_since(version);
    assert_eq!(changes.removed, ["b"]);
    let sessions: Vec<String> = board.rows().into_iter().map(|row| row.session).collect();
    assert_eq!(sessions, ["a", "c"]);
    let totals = board.totals();
    assert_eq!((totals.sessions, totals.dropped_sessions, totals.events), (3, 1, 4));
    for detector in ["x", "y", "z"] {
        let at = Timestamp::UNIX_EPOCH;
        board.report(&Finding::new(at, detector, "a", Severity::Low, "m"));
    }
    assert_eq!(board.findings().len(), 2);
}

#[test]
fn more_active_sessions_than_are_listed_are_counted_once() {
    let board = board(BoardLimits { sessions: 2, ..BoardLimits::default() });
    for secs in 0..20 {
        for session in ["a", "b", "c", "d"] {
            board.observe(&prompt_in(session, secs));
        }
    }
    let rows: Vec<_> = board.rows().into_iter().map(|row| (row.session, row.events)).collect();
    assert_eq!(rows, [("a".to_owned(), 20), ("b".to_owned(), 20)]);
    let totals = board.totals();
    assert_eq!((totals.sessions, totals.dropped_sessions, totals.events), (4, 2, 80));

    // One with an open finding is listed, and one that has been idle for a minute is not.
    let at = Timestamp::UNIX_EPOCH;
    board.report(&Finding::new(at, "repeated_call", "c", Severity::High, "again"));
    assert_eq!(board.totals().findings.open, 1);
    board.observe(&prompt_in("c", 20));
    board.observe(&prompt_in("d", 80));
    let rows: Vec<_> = board.rows().into_iter().map(|row| (row.session, row.events)).collect();
    assert_eq!(rows, [("c".to_owned(), 21), ("d".to_owned(), 21)]);
    let totals = board.totals();
    assert_eq!((totals.sessions, totals.dropped_sessions, totals.events), (4, 2, 82));
    assert_eq!((totals.findings.high, totals.findings.open), (1, 1));
}

proptest! {
    #[test]
    fn any_events_give_consistent_timelines(events in watchkeeper_testing::events()) {
        prop_assume!(!events.is_empty());
        let id = events[0].session.clone();
        let events: Vec<Event> = events.into_iter().filter(|it| it.session == id).collect();
        let detail = detail_of(&events, 64);
        let time = detail.row.time;
        let sum = time.model_ms + time.retrying_ms + time.tools_ms + time.person_ms + time.idle_ms;
        let is_timed = events.iter().all(|it| Timestamp::UNIX_EPOCH <= it.at);
        prop_assert!(sum <= detail.length_ms);
        prop_assert!(!is_timed || sum == detail.length_ms);
        for lane in &detail.lanes {
            for idx in 0..lane.bars.len() {
                let end = lane.bars.start_ms[idx] + lane.bars.duration_ms[idx];
                prop_assert!(end <= detail.length_ms);
                prop_assert!((lane.bars.text[idx] as usize) < detail.texts.len());
            }
        }
    }
}

/// Returns the page of `n` sessions with `n_calls` calls each, and a finding in some.
fn report(n: usize, n_calls: usize) -> String {
    let call = "+1s call Bash {\"command\": \"make\"}\n+1s result fail no rule\n";
    let events = events(&format!("0s prompt fix\n{}", call.repeat(n_calls)));
    let mut engine = Engine::new(Vec::new(), EngineConfig::default());
    let mut recorder = Recorder::new();
    let id = &events[0].session;
    for event in &events {
        engine.observe(event, &mut Vec::new());
        recorder.observe(event, engine.session(id).unwrap(), engine.agent(id, None));
    }
    let facts = engine.session(id).unwrap();
    let sessions = (0..n).map(|idx| {
        let mut row = recorder.row(facts);
        row.session = format!("session-{idx}");
        let at = Timestamp::UNIX_EPOCH;
        let finding = Finding::new(at, "x", &*row.session, Severity::High, "m".repeat(200));
        let findings = if idx % 3 == 0 { vec![FindingRow::new(finding)] } else { Vec::new() };
        ReportedSession { row, recorder: &recorder, findings, measures: &[] }
    });
    let notice = |idx: usize| crate::Notice {
        is_error: idx == 0,
        file: Some(format!("/{}/{idx}.jsonl", "d".repeat(100))),
        text: "no session".to_owned(),
    };
    let report = Report {
        version: "1",
        sessions: sessions.collect(),
        notices: (0..n).map(notice).collect(),
        hidden: Vec::new(),
    };
    let mut page = Vec::new();
    report.write(&mut page).unwrap();
    String::from_utf8(page).unwrap()
}

fn data_of(page: &str) -> serde_json::Value {
    let (_, data) = page.split_once("type=\"application/json\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_report_of_any_number_of_sessions_is_small_and_counts_what_it_leaves_out() {
    let page = report(4_000, 100);
    assert!(page.len() < 5_000_000, "{}", page.len());
    let data = data_of(&page);
    assert_eq!(data["totals"]["sessions"], 4_000);
    let lists = [("rows", 4_000), ("findings", 1_334), ("details", 4_000), ("notices", 4_000)];
    for (list, n) in lists {
        let shown = if list == "rows" { "sessions" } else { list };
        let shown = data[shown].as_array().unwrap().len();
        assert!(0 < shown, "{list}");
        assert_eq!(data["omitted"][list], n - shown, "{list}");
    }
    // The sessions with findings come first.
    assert_eq!(data["details"][1]["row"]["session"], "session-3");
}

#[test]
fn a_session_of_ten_thousand_events_keeps_every_bar() {
    let page = report(1, 5_000);
    assert!(page.len() < 2_000_000, "{}", page.len());
    let data = data_of(&page);
    assert_eq!(data["details"][0]["resolution_ms"], 0);
    assert!(data["omitted"].as_object().unwrap().values().all(|n| n == 0));
}
