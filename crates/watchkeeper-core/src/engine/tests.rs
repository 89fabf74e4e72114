use jiff::{SignedDuration, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{
    Engine, EngineConfig, LabelRule, NamedDetector, Per,
    episodes::MAX_EPISODES,
    session::{Agent, MAX_AGENTS, Session},
    sessions::SessionsKind,
    streams::{ActiveDetector, Streams},
    wakeups::Wakeup,
};
use crate::{
    Action, AgentId, Context, Detector, Event, EventKind, Finding, Fingerprint, Level, ModelCall,
    Report, Scope, SessionFacts, SessionId, SessionStart, Severity, Status, Subscription, Tokens,
    ToolCall, ToolResult, WaitingFor, period::known_time,
};

mod bounds;
mod explanation;
mod findings;
mod groups;
mod labels;
mod model;
mod replacement;
mod subscriptions;
mod untimed;

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
        annotations: std::sync::Arc::default(),
        levels: LEVELS.to_vec(),
        inhibited_by: Vec::new(),
        per: (sort == Sort::Team).then(|| Per::Label("team".to_owned())),
        sessions: crate::SessionFilter::default(),
        options: Fingerprint::NONE,
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
        // No time passes in sessions whose times are before 1970.
        let mut now = 20;
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
        // No time passes in a session without times.
        let is_untimed = |session: &&SessionFacts| known_time(session.last_event_at()).is_none();
        prop_assert!(engine.sessions().iter().all(is_untimed));
        prop_assert!(findings.iter().all(|it| &*it.class != "error"));
    }
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
    let with = |id: &str, scope, per: Option<&str>| NamedDetector {
        id: id.into(),
        per: per.map(|it| Per::Label(it.to_owned())),
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
    let messages: Vec<_> = findings.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["bash", "bash (team `red`)", "bash"]);
}

#[test]
fn the_session_counts_its_agents() {
    let mut engine = engine(&[]);
    let id = SessionId::from("s");
    let mut check = |agent: Option<&str>, kind, expected| {
        let event = Event { agent: agent.map(AgentId::from), ..Event::new(time(0), "s", kind) };
        observe_event(&mut engine, &event);
        let facts = engine.session(&id).expect("it is watched");
        assert_eq!(
            (facts.open_turns, facts.running_sub_agents, facts.waiting_agents),
            expected,
            "{event:?}"
        );
    };
    check(None, prompt(), (1, 0, 0));
    check(Some("a"), EventKind::AgentStart { parent: None }, (2, 1, 0));
    check(Some("a"), EventKind::Waiting(WaitingFor::Permission), (2, 1, 1));
    check(Some("b"), message(), (3, 2, 1));
    check(Some("a"), EventKind::Resumed(WaitingFor::Permission), (3, 2, 0));
    check(Some("a"), EventKind::Waiting(WaitingFor::Person), (3, 2, 1));
    check(Some("a"), EventKind::AgentEnd, (2, 1, 0));
    check(None, EventKind::TurnEnd, (1, 1, 0));
    check(None, EventKind::Waiting(WaitingFor::Person), (1, 1, 1));
    check(None, SESSION_END, (0, 0, 0));
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
