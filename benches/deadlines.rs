//! The cost of waking up with very many sessions.

use std::io;

use watchkeeper_core::{
    Engine, Event, EventKind, Finding, Json, SessionId, SignedDuration, Timestamp, ToolCall,
    ToolResult,
};

use crate::{
    Plan, measure,
    table::{Figure, Row},
    traffic::Engines,
};

const N_SESSIONS: usize = 1_000_000;
/// The number of events between two wake-ups.
const N_EVENTS: usize = 1_000;
/// The time between two events of a session: shorter than the shortest timeout.
const PERIOD: SignedDuration = SignedDuration::from_secs(60);
/// The number of periods before the measurement.
const N_PERIODS: usize = 16;
/// The maximum processor time of a wake-up, in nanoseconds.
const GOAL: f64 = 250_000.0;
/// The number of wake-ups without a due timer that are measured together.
const N_IDLE: usize = 100;

pub(crate) fn rows(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut sessions = Sessions::new(Engines::new(&plan.policy).engine());
    // Longer than most timeouts, so that each timer has come up and was set again.
    for _ in 0..N_PERIODS * N_SESSIONS / N_EVENTS {
        sessions.observe();
        sessions.wake();
    }
    sessions.findings.clear();
    let (mut due, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds(1_500) {
        sessions.observe();
        let before = measure::thread_cpu()?;
        sessions.wake();
        due.push(measure::thread_cpu()? - before);
        let before = measure::thread_cpu()?;
        for _ in 0..N_IDLE {
            sessions.wake();
        }
        idle.push(measure::each(measure::thread_cpu()? - before, N_IDLE));
    }
    let (n_rounds, n_findings) = (due.len(), sessions.findings.len());
    #[expect(clippy::cast_precision_loss, reason = "a measurement is not that exact")]
    let mean = due.iter().sum::<f64>() / n_rounds as f64;
    let remark = format!(
        "mean of {n_rounds}, each after {N_EVENTS} events of 1,000,000 sessions; {n_findings} findings"
    );
    Ok(vec![
        Row::new("deadlines, a wake-up", Figure::Nanos(mean)).at_most(GOAL).remark(remark),
        Row::new("deadlines, nothing due", Figure::Nanos(measure::median(idle))),
    ])
}

/// Sessions that work in turn, each with a timer.
struct Sessions {
    engine: Engine,
    ids: Vec<SessionId>,
    findings: Vec<Finding>,
    n_events: usize,
    now: Timestamp,
}

impl Sessions {
    fn new(engine: Engine) -> Self {
        let id = |n| SessionId::from(format!("session-{n:08}"));
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * 20_000);
        let ids = (0..N_SESSIONS).map(id).collect();
        Self { engine, ids, findings: Vec::new(), n_events: 0, now }
    }

    /// Observes the next events: calls and their results.
    fn observe(&mut self) {
        let gap = PERIOD / i32::try_from(N_SESSIONS).unwrap_or(i32::MAX);
        for _ in 0..N_EVENTS {
            let (session_idx, n) = (self.n_events % N_SESSIONS, self.n_events / N_SESSIONS);
            self.n_events += 1;
            self.now += gap;
            let id = format!("call-{}", n.saturating_sub(1) / 2);
            let kind = match n {
                0 => EventKind::Prompt { text: "make the tests pass".into(), synthetic: false },
                n if n % 2 == 1 => {
                    let arguments = Json::parse_or_text(&format!(r#"{{"command":"make {n}"}}"#));
                    EventKind::ToolCall(ToolCall::new(id, "Bash", arguments))
                }
                n => EventKind::ToolResult(ToolResult::new(id, true, Some(format!("{n}").into()))),
            };
            let event = Event::new(self.now, self.ids[session_idx].clone(), kind);
            self.engine.observe(&event, &mut self.findings);
        }
    }

    fn wake(&mut self) {
        self.engine.advance(self.now, &mut self.findings);
    }
}
