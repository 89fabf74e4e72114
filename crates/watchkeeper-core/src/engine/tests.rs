use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{
    Engine, EngineConfig, NamedDetector,
    episodes::MAX_EPISODES,
    session::{Agent, MAX_AGENTS, Session},
    sessions::SessionsKind,
    streams::{ActiveDetector, Streams},
    wakeups::Wakeup,
};
use crate::{
    AgentId, Context, Detector, Event, EventKind, Finding, Fingerprint, Level, ModelCall, Report,
    Scope, SessionId, SessionStart, Severity, Status, Subscription, Tokens, ToolCall, ToolResult,
    WaitingFor,
};

mod explanation;
mod model;
mod subscriptions;

/// The session expiry of these tests, in seconds.
const EXPIRY: i64 = 40;

/// The behaviour of a detector of these tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    /// Wakes after a silence, again and again.
    Silence,
    /// Counts the messages since the last prompt.
    Messages,
    /// Counts the events of a session.
    Events,
    /// Counts the events of all sessions that share a label, and forgets them
    /// after a silence.
    Team,
    /// Requests a wake-up at every event, earlier or later than before.
    Rearm,
    /// Panics at a compaction after the first event.
    Fragile,
    /// Panics when it is woken.
    Restless,
}

/// A detector of these tests, in whole seconds. The engine and the model run the same
/// code.
#[derive(Clone, Debug)]
struct Probe {
    sort: Sort,
    n: u64,
    now: i64,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Report(u64, u64),
    Resolve(u64),
    WakeAt(i64),
    CancelWake,
}

impl Probe {
    fn new(sort: Sort) -> Self {
        Self { sort, n: 0, now: i64::MIN }
    }

    /// Acts on an event, or on a wake-up.
    fn step(&mut self, now: i64, event: Option<&str>) -> Vec<Act> {
        use Act::{CancelWake, Report, Resolve, WakeAt};

        assert!(self.now <= now, "time ran back from {} to {now}", self.now);
        self.now = now;
        match (self.sort, event) {
            (Sort::Silence, Some(event)) => {
                self.n = 0;
                let next = if event == "turn_end" { CancelWake } else { WakeAt(now + 7) };
                vec![Resolve(0), next]
            }
            (Sort::Silence, None) => {
                self.n += 1;
                vec![Report(0, self.n), WakeAt(now + 7)]
            }
            (Sort::Messages, Some("prompt")) => {
                self.n = 0;
                vec![Resolve(0), Resolve(1)]
            }
            (Sort::Messages, Some("message")) => {
                self.n += 1;
                vec![Report(self.n % 2, self.n)]
            }
            (Sort::Events, Some(_)) => {
                self.n += 1;
                vec![Report(1, self.n / 2)]
            }
            (Sort::Team, Some(_)) => {
                self.n += 1;
                vec![Report(2, self.n / 2), WakeAt(now + 11)]
            }
            (Sort::Team, None) => {
                self.n = 0;
                vec![Report(3, 6), Resolve(2)]
            }
            // A time that has passed counts as the present one.
            (Sort::Rearm, Some("prompt")) => vec![WakeAt(now - 5)],
            (Sort::Rearm, Some("message")) => vec![WakeAt(now + 15), Resolve(0)],
            (Sort::Rearm, Some(_)) => vec![WakeAt(now + 3)],
            (Sort::Rearm, None) => vec![Report(0, 3), WakeAt(now - 1)],
            (Sort::Fragile, Some(event)) => {
                if event == "compaction" && 0 < self.n {
                    panic_quietly("it broke");
                }
                self.n += 1;
                vec![Report(0, self.n)]
            }
            (Sort::Restless, Some("error")) => vec![Report(0, 2), WakeAt(now + 5)],
            (Sort::Restless, None) => panic_quietly("woken"),
            _ => Vec::new(),
        }
    }

    fn run(&mut self, event: Option<&Event>, cx: &mut Context<'_>) {
        let now = cx.now();
        for act in self.step(now.as_second(), event.map(|it| it.kind.name())) {
            match act {
                Act::Report(subject, measure) => {
                    let report = || Report::new(format!("{measure} of {subject}"));
                    cx.report(Fingerprint::from(subject), measure, report);
                }
                Act::Resolve(subject) => {
                    cx.resolve(Fingerprint::from(subject), || Report::new("over"));
                }
                Act::WakeAt(at) => cx.wake_at(time(at)),
                Act::CancelWake => cx.cancel_wake(),
            }
        }
        if self.is_idle_state() {
            *self = Self::new(self.sort);
        }
    }

    /// Returns whether the state is that of a new probe.
    fn is_idle_state(&self) -> bool {
        matches!(self.sort, Sort::Silence | Sort::Messages | Sort::Rearm) && self.n == 0
    }
}

/// Panics as `panic!` does, and writes no backtrace for each of thousands.
fn panic_quietly(message: &'static str) -> ! {
    std::panic::resume_unwind(Box::new(message))
}

impl Detector for Probe {
    fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
        self.run(Some(event), cx);
    }

    fn wake(&mut self, cx: &mut Context<'_>) {
        self.run(None, cx);
    }

    fn subscription(&self) -> Subscription {
        Subscription::default().scope(match self.sort {
            Sort::Events | Sort::Team | Sort::Fragile => Scope::Session,
            _ => Scope::Agent,
        })
    }

    fn is_idle(&self) -> bool {
        self.is_idle_state()
    }
}

const ALL: [Sort; 7] = [
    Sort::Silence,
    Sort::Messages,
    Sort::Events,
    Sort::Team,
    Sort::Rearm,
    Sort::Fragile,
    Sort::Restless,
];

const LEVELS: [Level; 4] = [
    Level::new(2, Severity::Low),
    Level::new(3, Severity::Low),
    Level::new(4, Severity::Medium),
    Level::new(6, Severity::High),
];

fn named(sort: Sort) -> NamedDetector {
    NamedDetector {
        id: format!("{sort:?}").into(),
        kind: "probe".into(),
        class: "runaway".into(),
        levels: LEVELS.to_vec(),
        inhibited_by: Vec::new(),
        per_label: (sort == Sort::Team).then(|| "team".to_owned()),
        sessions: crate::SessionFilter::default(),
        detector: Box::new(Probe::new(sort)),
    }
}

fn engine_with(sorts: &[Sort], config: EngineConfig) -> Engine {
    Engine::new(sorts.iter().copied().map(named).collect(), config)
}

fn engine(sorts: &[Sort]) -> Engine {
    let session_expiry = SignedDuration::from_secs(EXPIRY);
    engine_with(sorts, EngineConfig { session_expiry, ..EngineConfig::default() })
}

fn time(secs: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(secs)
}

fn message() -> EventKind {
    EventKind::Message { text: "".into(), delta: false }
}

fn prompt() -> EventKind {
    EventKind::Prompt { text: "".into(), synthetic: false }
}

fn start(team: &str) -> EventKind {
    let labels = vec![("team".into(), team.into())];
    EventKind::SessionStart(SessionStart { labels, ..SessionStart::default() })
}

fn failure() -> EventKind {
    EventKind::Error { message: "".into(), retry: None }
}

const COMPACTION: EventKind = EventKind::Compaction { before_tokens: None, after_tokens: None };
const SESSION_END: EventKind = EventKind::SessionEnd { reason: None };

fn observe(engine: &mut Engine, secs: i64, session: &str, kind: EventKind) -> Vec<Finding> {
    observe_event(engine, &Event::new(time(secs), session, kind))
}

fn observe_event(engine: &mut Engine, event: &Event) -> Vec<Finding> {
    let mut findings = Vec::new();
    engine.observe(event, &mut findings);
    findings
}

fn advance(engine: &mut Engine, secs: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    engine.advance(time(secs), &mut findings);
    findings
}

/// Writes each finding in one line.
fn render(findings: &[Finding]) -> Vec<String> {
    let line = |finding: &Finding| {
        let Finding { detector, session, severity, status, count, .. } = finding;
        let secs = finding.at.as_second();
        let agent = finding.agent.as_ref().map_or_else(String::new, |it| format!("/{it}"));
        match status {
            Status::Open => format!("{secs}s {session}{agent} {detector} {severity} {count}"),
            Status::Resolved => format!("{secs}s {session}{agent} {detector} over {count}"),
        }
    };
    findings.iter().map(line).collect()
}

/// Sorts findings by their contents.
fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by(|a, b| {
        let key = |it: &Finding| (it.at, it.detector.clone(), it.session.clone(), it.id);
        key(a).cmp(&key(b))
    });
    findings
}

#[derive(Clone, Debug)]
enum Step {
    Event(Event),
    Advance(i64),
}

fn run(steps: &[Step], sorts: &[Sort]) -> Vec<Finding> {
    run_in(engine(sorts), steps)
}

fn run_in(mut engine: Engine, steps: &[Step]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for step in steps {
        match step {
            Step::Event(event) => engine.observe(event, &mut findings),
            Step::Advance(secs) => engine.advance(time(*secs), &mut findings),
        }
        assert!(engine.sessions.n_timers() <= engine.n_sessions(), "an alarm is left over");
    }
    findings
}

fn kinds() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        6 => Just(message()),
        3 => Just(prompt()),
        2 => Just(EventKind::TurnEnd),
        2 => Just(failure()),
        1 => Just(COMPACTION),
        1 => Just(EventKind::AgentEnd),
        1 => Just(SESSION_END),
        2 => prop_oneof![Just("red"), Just("blue")].prop_map(start),
    ]
}

/// Events of a few sessions and agents in order of time, some of them `late`, and
/// calls of `advance` between them.
fn steps(late: impl Strategy<Value = i64>) -> impl Strategy<Value = Vec<Step>> {
    let pauses = prop_oneof![8 => 0_i64..6, 2 => 6_i64..15, 1 => 30_i64..60];
    let step = (pauses, late, 0..3_usize, 0..4_usize, proptest::option::weighted(0.8, kinds()));
    // Labels count from the first event on.
    let starts = vec(prop_oneof![Just(None), Just(Some("red")), Just(Some("blue"))], 3);
    (starts, vec(step, 1..60)).prop_map(|(starts, steps)| {
        let mut now = 0;
        let to_step = |(pause, late, session, agent, kind): (i64, i64, usize, usize, _)| {
            now += pause;
            let Some(kind) = kind else { return Step::Advance(now - late) };
            let event = Event::new(time(now - late), ["s1", "s2", "s3"][session], kind);
            // The main agent speaks most.
            Step::Event(match agent {
                0 => event.in_agent("a"),
                1 => event.in_agent("b"),
                _ => event,
            })
        };
        let to_start = |(session, team): (_, Option<&str>)| {
            team.map(|it| Step::Event(Event::new(time(0), session, start(it))))
        };
        let starts = ["s1", "s2", "s3"].into_iter().zip(starts).filter_map(to_start);
        let mut steps: Vec<_> = starts.chain(steps.into_iter().map(to_step)).collect();
        steps.push(Step::Advance(now + 100));
        steps
    })
}

proptest! {
    #[test]
    fn agrees_with_the_model(steps in steps(prop_oneof![4 => Just(0_i64), 1 => 0_i64..20])) {
        let rendered = |findings: &[Finding]| {
            let class = |it: &Finding| if &*it.class == "error" { " broke" } else { "" };
            let mut res: Vec<_> = render(findings)
                .into_iter()
                .zip(findings)
                .map(|(line, it)| (it.at, format!("{line}{}", class(it))))
                .collect();
            res.sort();
            res.into_iter().map(|(_, it)| it).collect::<Vec<_>>()
        };
        prop_assert_eq!(rendered(&run(&steps, &ALL)), model::run(&steps, &ALL));
    }

    #[test]
    fn calls_of_advance_change_no_finding(
        steps in steps(Just(0)),
        every in 1_i64..20,
    ) {
        let is_event = |it: &&Step| matches!(it, Step::Event(_));
        let last = steps.last().cloned();
        let rare: Vec<_> = steps.iter().filter(is_event).cloned().chain(last).collect();
        let mut often = Vec::new();
        let mut now = 0;
        for step in &rare {
            let until = match step {
                Step::Event(event) => event.at.as_second(),
                Step::Advance(secs) => *secs,
            };
            while now < until {
                often.push(Step::Advance(now));
                now += every;
            }
            often.push(Step::Advance(until));
            often.push(step.clone());
        }
        let calm = sorted(run(&rare, &ALL));
        prop_assert_eq!(&sorted(run(&often, &ALL)), &calm);
        prop_assert_eq!(&sorted(run(&steps, &ALL)), &calm);
    }

    #[test]
    fn the_order_of_sessions_changes_no_finding(steps in steps(Just(0))) {
        let sorts: Vec<_> = ALL.into_iter().filter(|it| *it != Sort::Team).collect();
        let of = |session: &str| {
            let is_of = |it: &&Step| matches!(it, Step::Event(it) if it.session.as_str() == session);
            steps.iter().filter(is_of).cloned().collect::<Vec<_>>()
        };
        let end = steps.last().cloned();
        let among: Vec<_> =
            steps.iter().filter(|it| matches!(it, Step::Event(_))).cloned().chain(end.clone()).collect();
        let among = sorted(run(&among, &sorts));
        for order in [["s1", "s2", "s3"], ["s3", "s2", "s1"], ["s2", "s3", "s1"]] {
            let one_by_one: Vec<_> = order.iter().flat_map(|it| of(it)).chain(end.clone()).collect();
            prop_assert_eq!(&sorted(run(&one_by_one, &sorts)), &among);
        }
    }

    #[test]
    fn accepts_any_time(
        times in vec((any::<i128>(), 0..3_usize, kinds()), 0..20),
        looks in vec(any::<i128>(), 0..5),
    ) {
        let (min, max) = (Timestamp::MIN.as_nanosecond(), Timestamp::MAX.as_nanosecond());
        // Half of all are close to the ends of time.
        let time = |n: i128| {
            let nanos = if n % 2 == 0 { n } else { (n % 1_000_000_000_000).saturating_mul(1 << 60) };
            Timestamp::from_nanosecond(nanos.clamp(min, max)).expect("the time is in range")
        };
        let mut engine = engine(&[Sort::Events, Sort::Messages]);
        let mut findings = Vec::new();
        for (at, session, kind) in times {
            let session = ["s1", "s2", "s3"][session];
            engine.observe(&Event::new(time(at), session, kind), &mut findings);
            for look in &looks {
                engine.postpone(time(*look), SignedDuration::from_hours(1));
                engine.advance(time(*look), &mut findings);
            }
        }
        engine.advance(Timestamp::MAX, &mut findings);
        prop_assert_eq!(engine.n_sessions(), 0);
        prop_assert!(findings.iter().all(|it| &*it.class != "error"));
    }
}

#[test]
fn a_wake_up_comes_before_an_event_of_its_time() {
    let mut engine = engine(&[Sort::Silence]);
    for secs in [0, 6] {
        assert!(observe(&mut engine, secs, "s", message()).is_empty());
    }
    // The second of two wake-ups reaches the lowest level.
    let findings = observe(&mut engine, 20, "s", message());
    assert_eq!(render(&findings), ["20s s Silence low 2", "20s s Silence over 2"]);
}

#[test]
fn late_events_do_not_move_time_back() {
    let mut engine = engine(&[Sort::Messages]);
    let times = [10, 3, 4, 11];
    let findings: Vec<_> =
        times.into_iter().flat_map(|secs| observe(&mut engine, secs, "s", message())).collect();
    let all = ["10s s Messages low 2", "10s s Messages low 3", "11s s Messages medium 4"];
    assert_eq!(render(&findings), all);
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!(facts.last_event_at, time(11));
    assert_eq!(facts.started_at, time(10));
}

#[test]
fn a_finding_opens_once_and_escalates_once_per_severity() {
    let mut engine = engine(&[Sort::Events]);
    let findings: Vec<_> =
        (0..30).flat_map(|secs| observe(&mut engine, secs, "s", message())).collect();
    let all = ["3s s Events low 2", "7s s Events medium 4", "11s s Events high 6"];
    assert_eq!(render(&findings), all);
    assert!(findings.iter().all(|it| it.fingerprint == findings[0].fingerprint));
    assert!(findings.iter().skip(1).all(|it| it.id != findings[0].id));
    // The resolved finding has the last count.
    let findings = observe(&mut engine, 30, "s", SESSION_END);
    assert_eq!(render(&findings), ["30s s Events over 15"]);
    assert_eq!(findings[0].message, "over, as the session ended");
}

#[test]
fn a_resolved_condition_opens_again() {
    let mut engine = engine(&[Sort::Silence]);
    observe(&mut engine, 0, "s", message());
    let mut findings = advance(&mut engine, 15);
    findings.extend(observe(&mut engine, 16, "s", message()));
    findings.extend(advance(&mut engine, 33));
    let all = ["14s s Silence low 2", "16s s Silence over 2", "30s s Silence low 2"];
    assert_eq!(render(&findings), all);
}

#[test]
fn the_end_of_an_agent_resolves_what_is_open_in_it() {
    let mut engine = engine(&[Sort::Messages, Sort::Events]);
    let mut findings = Vec::new();
    let in_agent = |secs, kind| Event::new(time(secs), "s", kind).in_agent("a");
    for secs in 0..3 {
        findings.extend(observe_event(&mut engine, &in_agent(secs, message())));
    }
    findings.extend(observe_event(&mut engine, &in_agent(3, EventKind::AgentEnd)));
    // The agent starts again.
    findings.extend(observe_event(&mut engine, &in_agent(4, message())));
    let all = [
        "1s s/a Messages low 2",
        "2s s/a Messages low 3",
        "3s s Events low 2",
        "3s s/a Messages over 2",
        "3s s/a Messages over 3",
    ];
    let mut rendered = render(&findings);
    rendered.sort();
    assert_eq!(rendered, all);
    let findings = observe_event(&mut engine, &in_agent(5, SESSION_END));
    assert!(findings.is_empty(), "a session_end of an agent ends only the agent");
    assert_eq!(render(&observe(&mut engine, 6, "s", SESSION_END)), ["6s s Events over 3"]);
}

#[test]
fn a_detector_that_panics_is_off_for_that_session_alone() {
    let mut engine = engine(&[Sort::Fragile, Sort::Events, Sort::Restless]);
    let mut findings = Vec::new();
    for session in ["s1", "s2"] {
        for secs in 0..3 {
            findings.extend(observe(&mut engine, secs, session, message()));
        }
    }
    findings.clear();
    let broke = observe(&mut engine, 3, "s1", COMPACTION);
    let (errors, others): (Vec<_>, Vec<_>) =
        broke.into_iter().partition(|it| &*it.class == "error");
    assert_eq!(render(&errors), ["3s s1 Fragile medium 1"]);
    assert_eq!(
        errors[0].message,
        "detector `Fragile` panicked and is off for this session: `it broke`"
    );
    assert_eq!(render(&others), ["3s s1 Events low 2"]);
    findings.extend(observe(&mut engine, 4, "s1", COMPACTION));
    assert!(findings.is_empty());
    let findings = observe(&mut engine, 4, "s2", message());
    assert_eq!(render(&findings), ["4s s2 Events low 2", "4s s2 Fragile medium 4"]);
}

#[test]
fn a_panic_for_one_agent_turns_the_detector_off_for_the_session() {
    let mut engine = engine(&[Sort::Restless]);
    let mut findings = Vec::new();
    for agent in ["a", "b"] {
        let event = Event::new(time(0), "s", failure()).in_agent(agent);
        findings.extend(observe_event(&mut engine, &event));
    }
    findings.extend(observe(&mut engine, 0, "s", failure()));
    assert_eq!(findings.len(), 3);
    let findings = advance(&mut engine, 20);
    assert_eq!(render(&findings), ["5s s Restless medium 1"]);
    let event = Event::new(time(21), "s", failure()).in_agent("c");
    assert!(observe_event(&mut engine, &event).is_empty());
    assert!(advance(&mut engine, 60).is_empty());
}

#[test]
fn an_inactive_session_is_dropped() {
    let mut engine = engine(&[Sort::Silence]);
    observe(&mut engine, 0, "s1", message());
    observe(&mut engine, 1, "s2", message());
    observe(&mut engine, 30, "s1", message());
    // However often its detectors wake.
    advance(&mut engine, EXPIRY);
    assert_eq!(engine.n_sessions(), 2);
    advance(&mut engine, EXPIRY + 1);
    assert_eq!(engine.n_sessions(), 1);
    advance(&mut engine, EXPIRY + 30);
    assert_eq!((engine.n_sessions(), engine.next_wakeup()), (0, None));
}

#[test]
fn a_session_that_comes_back_too_late_is_a_new_one() {
    let mut engine = engine(&[Sort::Messages]);
    (0..3).for_each(|secs| drop(observe(&mut engine, secs, "s", message())));
    assert!(observe(&mut engine, 2 + EXPIRY, "s", message()).is_empty());
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!((facts.started_at, facts.totals.events), (time(2 + EXPIRY), 1));
}

#[test]
fn drops_inactive_sessions_above_the_limit() {
    let config = EngineConfig { max_sessions: 4, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Silence], config);
    let mut findings = Vec::new();
    for secs in 0..1000 {
        findings.extend(observe(&mut engine, secs, "busy", EventKind::TurnEnd));
        findings.extend(observe(&mut engine, secs, &format!("s{secs}"), message()));
        assert!(engine.n_sessions() <= 4);
        assert!(engine.sessions.n_timers() <= 4 && engine.sessions.n_turns() <= 4);
        assert!(engine.session(&SessionId::from("busy")).is_some());
    }
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages.len(), 10);
    assert_eq!(
        messages[..2],
        [
            "more than 4 sessions at once: 1 forgotten so far",
            "more than 4 sessions at once: 2 forgotten so far",
        ]
    );
    assert!(findings.iter().all(|it| &*it.class == "error"));
}

#[test]
fn watches_at_least_one_session() {
    let config = EngineConfig { max_sessions: 0, ..EngineConfig::default() };
    let mut engine = engine_with(&[Sort::Messages], config);
    assert!(observe(&mut engine, 0, "s", message()).is_empty());
    assert_eq!(render(&observe(&mut engine, 1, "s", message())), ["1s s Messages low 2"]);
    assert_eq!(observe(&mut engine, 2, "t", message()).len(), 1);
    assert_eq!(engine.n_sessions(), 1);
}

#[test]
fn dropped_sessions_leave_no_timers() {
    let mut engine = engine(&[Sort::Silence]);
    for secs in 0..2000 {
        let id = if secs % 2 == 0 { "again".to_owned() } else { format!("s{secs}") };
        observe(&mut engine, secs, &id, message());
        engine.forget(&SessionId::from(id.as_str()));
        observe(&mut engine, secs, "stays", message());
        advance(&mut engine, secs);
    }
    assert_eq!(engine.n_sessions(), 1);
    assert_eq!(engine.sessions.n_timers(), 1);
    assert!(engine.sessions.n_turns() <= 2 + 64, "{}", engine.sessions.n_turns());
}

#[test]
fn a_session_has_one_timer() {
    let mut engine = engine_with(&[Sort::Silence], EngineConfig::default());
    for turn in 0..1000 {
        observe(&mut engine, 20 * turn, "s", message());
        advance(&mut engine, 20 * turn + 15);
        observe(&mut engine, 20 * turn + 16, "s", EventKind::TurnEnd);
        advance(&mut engine, 20 * turn + 19);
    }
    assert_eq!(engine.sessions.n_timers(), 1);
}

#[test]
fn sessions_that_share_a_label_share_a_stream() {
    let mut engine = engine(&[Sort::Team]);
    let mut findings = Vec::new();
    findings.extend(observe(&mut engine, 0, "s1", start("red")));
    findings.extend(observe(&mut engine, 1, "s2", start("red")));
    findings.extend(observe(&mut engine, 2, "s3", start("blue")));
    findings.extend(observe(&mut engine, 3, "s4", message()));
    findings.extend(observe(&mut engine, 4, "s1", message()));
    findings.extend(observe(&mut engine, 5, "s2", message()));
    // The end of one session does not end the stream.
    findings.extend(observe(&mut engine, 6, "s2", SESSION_END));
    engine.forget(&SessionId::from("s2"));
    findings.extend(advance(&mut engine, 17));
    let all = [
        "5s s2 Team low 2",
        "13s s3 Team high 6",
        "14s s4 Team high 6",
        "17s s2 Team high 6",
        "17s s2 Team over 2",
    ];
    assert_eq!(render(&findings), all);
    // Fingerprints and labels depend on the label, not on the session.
    assert_eq!(findings[0].fingerprint, findings[4].fingerprint);
    assert_eq!(findings[0].labels, findings[4].labels);
    assert_eq!(findings[4].labels["team"], "red");
}

#[test]
fn a_wake_up_of_a_label_is_about_the_session_with_the_latest_event() {
    let steps = |look: bool| {
        let event = |secs, id: &str, kind| Step::Event(Event::new(time(secs), id, kind));
        let look = look.then_some(Step::Advance(12));
        [event(0, "s1", start("red"))]
            .into_iter()
            .chain(look)
            .chain([event(20, "s2", start("red"))])
            .collect::<Vec<_>>()
    };
    let findings = run(&steps(false), &[Sort::Team]);
    assert_eq!(render(&findings), ["11s s1 Team high 6"]);
    assert_eq!(findings, run(&steps(true), &[Sort::Team]));
}

#[test]
fn a_label_after_the_first_event_makes_no_second_stream() {
    let mut engine = engine(&[Sort::Team]);
    observe(&mut engine, 0, "s", message());
    observe(&mut engine, 1, "s", start("red"));
    observe(&mut engine, 2, "s", message());
    let findings = observe(&mut engine, 3, "s", message());
    assert_eq!(render(&findings), ["3s s Team low 2"]);
    assert_eq!(engine.labels[0].sessions.len(), 0);
}

#[test]
fn drops_inactive_label_values_above_the_limit() {
    let mut engine = engine_with(&[Sort::Team], EngineConfig::default());
    let n = i64::try_from(SessionsKind::MAX_LABEL_VALUES).expect("it is small") + 3;
    let mut findings = Vec::new();
    for secs in 0..n {
        findings.extend(observe(
            &mut engine,
            secs / 1000,
            &format!("s{secs}"),
            start(&format!("{secs}")),
        ));
    }
    assert_eq!(engine.labels[0].sessions.len(), SessionsKind::MAX_LABEL_VALUES);
    assert_eq!(engine.labels[0].sessions.n_timers(), SessionsKind::MAX_LABEL_VALUES);
    let has_value = |value: &str| engine.labels[0].sessions.get(&SessionId::from(value)).is_some();
    assert!(!has_value("0") && has_value("5"));
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    let rendered =
        |n: u8| format!("more than 4096 values of one label at once: {n} forgotten so far");
    assert_eq!(messages, [rendered(1), rendered(2)]);
    advance(&mut engine, 2 * 24 * 60 * 60);
    assert_eq!(engine.labels[0].sessions.len(), 0);
    assert_eq!(engine.next_wakeup(), None);
}

#[test]
fn a_panic_for_a_label_turns_the_detector_off_for_that_value() {
    let mut detector = named(Sort::Fragile);
    detector.per_label = Some("team".to_owned());
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    observe(&mut engine, 0, "s1", start("red"));
    let findings = observe(&mut engine, 1, "s2", start("red"));
    assert_eq!(render(&findings), ["1s s2 Fragile low 2"]);
    let findings = observe(&mut engine, 2, "s1", COMPACTION);
    assert_eq!(
        findings[0].message,
        "detector `Fragile` panicked and is off where the label `team` is `red`: `it broke`"
    );
    assert!(observe(&mut engine, 3, "s2", message()).is_empty());
    assert!(observe(&mut engine, 3, "s3", start("blue")).is_empty());
    assert_eq!(render(&observe(&mut engine, 4, "s3", message())), ["4s s3 Fragile low 2"]);
}

#[test]
fn drops_inactive_agents_above_the_limit() {
    let mut engine = engine(&[Sort::Messages]);
    let say = |engine: &mut Engine, agent: usize| {
        let event = Event::new(time(0), "s", message()).in_agent(format!("a{agent}"));
        observe_event(engine, &event)
    };
    for agent in 0..=MAX_AGENTS {
        say(&mut engine, 0);
        say(&mut engine, agent);
    }
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!(facts.open_turns as usize, MAX_AGENTS);
    // The first has the latest event each time; the second was dropped.
    assert!(say(&mut engine, 1).is_empty());
    assert_eq!(say(&mut engine, MAX_AGENTS).len(), 1);
}

#[test]
fn drops_the_oldest_condition_above_the_limit() {
    #[derive(Clone, Debug)]
    struct Many(u64);
    impl Detector for Many {
        fn observe(&mut self, event: &Event, cx: &mut Context<'_>) {
            let report = || Report::new("again");
            match event.kind {
                EventKind::Prompt { .. } => cx.report(Fingerprint::from(0), 6, report),
                _ => cx.report(Fingerprint::from(self.0), 3, report),
            }
            self.0 += 1;
        }
    }
    let detector = NamedDetector { detector: Box::new(Many(0)), ..named(Sort::Messages) };
    let mut engine = Engine::new(vec![detector], EngineConfig::default());
    for secs in 0..MAX_EPISODES {
        let secs = i64::try_from(secs).expect("it is small");
        assert_eq!(observe(&mut engine, secs, "s", message()).len(), 1);
    }
    // The first is still known: it gets worse, and does not open again.
    assert_eq!(render(&observe(&mut engine, 40, "s", prompt())), ["40s s Messages high 6"]);
    assert!(observe(&mut engine, 41, "s", prompt()).is_empty());
    observe(&mut engine, 42, "s", message());
    let findings = observe(&mut engine, 43, "s", SESSION_END);
    let n_resolved = findings.iter().filter(|it| it.status == Status::Resolved).count();
    assert_eq!(n_resolved, MAX_EPISODES);
}

#[test]
fn an_inhibited_detector_reports_only_higher_severities() {
    let more = NamedDetector {
        id: "more".into(),
        levels: vec![Level::new(4, Severity::Medium)],
        ..named(Sort::Messages)
    };
    let less = NamedDetector {
        id: "less".into(),
        inhibited_by: vec!["more".into()],
        ..named(Sort::Messages)
    };
    let mut engine = Engine::new(vec![less, more], EngineConfig::default());
    let mut findings = Vec::new();
    for secs in 1..=6 {
        findings.extend(observe(&mut engine, secs, "s", message()));
    }
    // Another agent is another matter.
    for secs in 7..=8 {
        let mut event = Event::new(time(secs), "s", message());
        event.agent = Some(AgentId::from("a"));
        findings.extend(observe_event(&mut engine, &event));
    }
    findings.extend(observe(&mut engine, 9, "s", prompt()));
    let rendered = render(&findings);
    assert_eq!(
        rendered,
        [
            "2s s less low 2",
            "3s s less low 3",
            "4s s more medium 4",
            "5s s more medium 5",
            "6s s less high 6",
            "8s s/a less low 2",
            "9s s less over 6",
            "9s s less over 5",
            "9s s more over 6",
            "9s s more over 5",
        ]
    );
}

#[test]
fn findings_contain_the_usage_since_they_were_opened() {
    let usage = |tokens| {
        EventKind::ModelCall(ModelCall {
            id: None,
            model: None,
            tokens: Tokens { output: tokens, ..Tokens::default() },
            cost_usd: Some(0.25),
            context_tokens: None,
        })
    };
    let rendered = |class: &str| {
        let detector = NamedDetector { class: class.into(), ..named(Sort::Messages) };
        let mut engine = Engine::new(vec![detector], EngineConfig::default());
        let mut findings = Vec::new();
        for secs in 0..4 {
            findings.extend(observe(&mut engine, secs, "s", usage(1_000)));
            findings.extend(observe(&mut engine, secs, "s", message()));
        }
        findings.extend(observe(&mut engine, 4, "s", prompt()));
        findings.into_iter().map(|it| it.message).collect::<Vec<_>>()
    };
    assert_eq!(
        rendered("runaway"),
        [
            "2 of 0",
            "3 of 1",
            "4 of 0; since it was found: 2,000 tokens, $0.50",
            "over; since it was found: 2,000 tokens, $0.50",
            "over; since it was found: 1,000 tokens, $0.25",
        ]
    );
    // Findings about usage contain it anyway.
    assert_eq!(rendered("budget"), ["2 of 0", "3 of 1", "4 of 0", "over", "over"]);
}

#[test]
fn postponed_wake_ups_come_later() {
    let mut engine = engine(&[Sort::Silence, Sort::Team]);
    observe(&mut engine, 0, "old", message());
    observe(&mut engine, 100, "s", start("red"));
    // Due at 7 and 11, at 107 and at 111.
    engine.postpone(time(102), SignedDuration::from_secs(1000));
    let findings = advance(&mut engine, 1106);
    assert_eq!(
        render(&findings),
        ["11s old Team high 6", "14s old Silence low 2", "28s old Silence medium 4"]
    );
    // An event of the time after the jump finds nothing due.
    assert!(observe(&mut engine, 1106, "s", EventKind::TurnEnd).is_empty());
    assert_eq!(engine.n_sessions(), 1);
    assert_eq!(render(&advance(&mut engine, 1130)), ["1117s s Team high 6"]);
}

#[test]
fn findings_of_one_time_are_in_order_of_detectors() {
    let mut engine = engine(&ALL);
    observe(&mut engine, 0, "s", start("red"));
    observe(&mut engine, 1, "s", message());
    observe(&mut engine, 1, "s", message());
    let findings = observe(&mut engine, 1, "s", message());
    let all =
        ["1s s Events low 2", "1s s Fragile medium 4", "1s s Messages low 3", "1s s Team low 2"];
    assert_eq!(render(&findings), all);
}

#[test]
fn every_stream_receives_the_call_of_a_result() {
    #[derive(Clone, Debug)]
    struct Answered(Scope);
    impl Detector for Answered {
        fn observe(&mut self, _: &Event, cx: &mut Context<'_>) {
            let tool = cx.call().map(|it| it.tool.clone());
            if let Some(tool) = tool {
                cx.report(Fingerprint::NONE, 2, || Report::new(&*tool));
            }
        }

        fn subscription(&self) -> Subscription {
            Subscription::default().scope(self.0)
        }
    }
    let with = |id: &str, scope, per_label: Option<&str>| NamedDetector {
        id: id.into(),
        per_label: per_label.map(str::to_owned),
        detector: Box::new(Answered(scope)),
        ..named(Sort::Messages)
    };
    let detectors = vec![
        with("label", Scope::Agent, Some("team")),
        with("session", Scope::Session, None),
        with("agent", Scope::Agent, None),
    ];
    let mut engine = Engine::new(detectors, EngineConfig::default());
    observe(&mut engine, 0, "s", start("red"));
    let call = ToolCall::new("c1", "bash", crate::Json::default());
    observe(&mut engine, 1, "s", EventKind::ToolCall(call));
    let result = ToolResult::new("c1", true, None);
    let findings = observe(&mut engine, 2, "s", EventKind::ToolResult(result));
    assert_eq!(render(&findings), ["2s s agent low 2", "2s s label low 2", "2s s session low 2"]);
    assert!(findings.iter().all(|it| it.message == "bash"));
}

#[test]
fn the_session_counts_its_agents() {
    let mut engine = engine(&[]);
    let id = SessionId::from("s");
    let mut check = |agent: Option<&str>, kind, expected| {
        let event = Event { agent: agent.map(AgentId::from), ..Event::new(time(0), "s", kind) };
        observe_event(&mut engine, &event);
        let facts = engine.session(&id).expect("it is watched");
        assert_eq!((facts.open_turns, facts.waiting_agents), expected, "{event:?}");
    };
    check(None, prompt(), (1, 0));
    check(Some("a"), EventKind::AgentStart, (2, 0));
    check(Some("a"), EventKind::Waiting(WaitingFor::Permission), (2, 1));
    check(Some("b"), message(), (3, 1));
    check(Some("a"), EventKind::Resumed(WaitingFor::Permission), (3, 0));
    check(Some("a"), EventKind::Waiting(WaitingFor::Person), (3, 1));
    check(Some("a"), EventKind::AgentEnd, (2, 0));
    check(None, EventKind::TurnEnd, (1, 0));
    check(None, EventKind::Waiting(WaitingFor::Person), (1, 1));
    check(None, SESSION_END, (0, 0));
}

#[test]
fn parallel_responses_of_agents_count_once() {
    let mut engine = engine(&[]);
    let tokens = Tokens { input: 7, ..Tokens::default() };
    for _ in 0..3 {
        for agent in 0..10 {
            let id = Some(format!("answer-{agent}").into());
            let call = ModelCall { id, tokens, ..ModelCall::default() };
            let event = Event::new(time(0), "s", EventKind::ModelCall(call));
            observe_event(&mut engine, &event.in_agent(format!("a{agent}")));
        }
    }
    let facts = engine.session(&SessionId::from("s")).expect("it is watched");
    assert_eq!((facts.totals.model_calls, facts.totals.tokens.total()), (10, 70));
}

/// The memory of the engine for one session of one agent with six active detectors
/// and two wake-ups, in bytes. Ids, open conditions, pending calls and the states of
/// detectors come in addition.
const MAX_SESSION_BYTES: usize = 840;

#[test]
fn a_session_is_small() {
    // A table is half empty at worst, and a node of a tree as well.
    let index = 2 * (size_of::<(SessionId, Box<Session>)>() + 1)
        + 2 * size_of::<(crate::compact::PackedTimestamp, SessionId)>()
        + size_of::<SessionId>();
    let state = size_of::<Session>() + 6 * size_of::<ActiveDetector>() + 2 * size_of::<Wakeup>();
    println!(
        "session {} (agent {}, streams {}), state {state}, index {index}",
        size_of::<Session>(),
        size_of::<Agent>(),
        size_of::<Streams>(),
    );
    assert!(state <= MAX_SESSION_BYTES, "{state}");
    assert!(index <= 150, "{index}");
}
